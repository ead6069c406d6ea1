/* SPDX-License-Identifier: Apache-2.0 */
/* Starts, controls and stops the double of Qdrant. */
#include "qdrant_server.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/task.h"
#include "net/http_client.h"

#define SCRIPT "tests/support/qdrant_double.py"

struct qdrant_server {
	pid_t pid;
	int port;
	char url[64];
};

static void
become(int out, int port, const char *api_key)
{
	const char *record = getenv("XIN_QDRANT_RECORD");
	const char *args[10] = { "python3", "-B", SCRIPT, "--port" };
	char number[16];
	size_t n = 4;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(out, STDOUT_FILENO);
	snprintf(number, sizeof(number), "%d", port);
	args[n++] = number;
	if (api_key != NULL) {
		args[n++] = "--api-key";
		args[n++] = api_key;
	}
	if (record != NULL) {
		args[n++] = "--record";
		args[n++] = record;
	}
	execvp(args[0], (char *const *)(uintptr_t)args);
	_exit(127);
}

struct qdrant_server *
qdrant_server_start(int port, const char *api_key)
{
	struct qdrant_server *server;
	char line[64] = "";
	int ends[2];
	FILE *out;

	if (pipe(ends) != 0)
		panic("pipe");
	server = mem_zero(sizeof(*server));
	server->pid = fork();
	if (server->pid == 0)
		become(ends[1], port, api_key);
	close(ends[1]);
	out = fdopen(ends[0], "r");
	if (fgets(line, sizeof(line), out) == NULL ||
	    sscanf(line, "port %d", &server->port) != 1) {
		int status;

		fclose(out);
		waitpid(server->pid, &status, 0);
		mem_free(server);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
			return NULL;
		panic("%s does not start", SCRIPT);
	}
	fclose(out);
	snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%d",
	    server->port);
	return server;
}

void
qdrant_server_stop(struct qdrant_server *server)
{
	if (server == NULL)
		return;
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
	mem_free(server);
}

const char *
qdrant_server_url(const struct qdrant_server *server)
{
	return server->url;
}

int
qdrant_server_port(const struct qdrant_server *server)
{
	return server->port;
}

static json_t *
control(const struct qdrant_server *server, const char *method,
    const char *what, const char *body)
{
	static const char *const headers[] = { "Content-Type: application/json",
		NULL };
	struct http_call_reply reply;
	char url[128];
	struct http_call call = { .method = method,
		.url = url,
		.headers = headers,
		.body = body,
		.body_len = strlen(body),
		.max_reply_bytes = 65536 };
	json_t *answer = NULL;

	snprintf(url, sizeof(url), "%s/_double/%s", server->url, what);
	if (http_call(&call, deadline_in_ms(10000), &reply) != OK ||
	    reply.status != 200 ||
	    json_parse(reply.body.data, reply.body.len, &answer) != OK)
		panic("the double of Qdrant: %s", err_message());
	http_call_reply_done(&reply);
	return answer;
}

void
qdrant_server_reset(const struct qdrant_server *server)
{
	json_decref(control(server, "POST", "reset", "{}"));
}

void
qdrant_server_fail(const struct qdrant_server *server, const char *match,
    int times, const char *how)
{
	char *body =
	    mem_printf("{\"match\":\"%s\",\"times\":%d,%s}", match, times, how);

	json_decref(control(server, "POST", "fail", body));
	mem_free(body);
}

int
qdrant_server_count(const struct qdrant_server *server, const char *kind)
{
	json_t *stats = control(server, "GET", "stats", "");
	int count = (int)json_int(json_object_get(stats, "requests"), kind, 0);

	json_decref(stats);
	return count;
}
