/* SPDX-License-Identifier: Apache-2.0 */
/* The scripted model server as a child process, and its control over HTTP. */
#include "model_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/error.h"

static struct {
	pid_t pid;
	int input; /* closing it ends the child */
	int port;
	char url[64];
} peer;

static _Noreturn void
be_the_server(int input, int output, int dimensions)
{
	char length[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(length, sizeof(length), "%d", dimensions);
	dup2(input, 0);
	dup2(output, 1);
	execlp("python3", "python3", "tests/support/model_server.py",
	    "--dimensions", length, (char *)NULL);
	_exit(127);
}

bool
model_peer_start(int dimensions)
{
	int in[2], out[2];
	FILE *said;

	if (pipe(in) != 0 || pipe(out) != 0)
		panic("no pipes for the model server");
	peer.pid = fork();
	if (peer.pid == 0) {
		close(in[1]);
		close(out[0]);
		be_the_server(in[0], out[1], dimensions);
	}
	close(in[0]);
	close(out[1]);
	peer.input = in[1];
	said = fdopen(out[0], "r");
	if (fscanf(said, "port %d", &peer.port) != 1)
		peer.port = 0;
	fclose(said);
	snprintf(
	    peer.url, sizeof(peer.url), "http://127.0.0.1:%d/v1", peer.port);
	if (peer.port == 0)
		model_peer_stop();
	return peer.port != 0;
}

const char *
model_peer_url(void)
{
	return peer.url;
}

static void
exchange(const char *method, const char *body, struct buf *answer)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)peer.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char piece[4096];
	ssize_t n;

	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		panic("the model server is gone");
	dprintf(fd,
	    "%s /control HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
	    "Content-Length: %zu\r\n\r\n%s",
	    method, strlen(body), body);
	buf_init(answer, 0);
	while ((n = recv(fd, piece, sizeof(piece), 0)) > 0)
		buf_add(answer, piece, (size_t)n);
	close(fd);
}

void
model_peer_script(const char *json)
{
	struct buf answer;

	exchange("POST", json, &answer);
	buf_done(&answer);
}

json_t *
model_peer_told(void)
{
	struct buf answer;
	const char *body;
	json_t *told;

	exchange("GET", "", &answer);
	body = strstr(buf_str(&answer), "\r\n\r\n");
	told = body != NULL ? json_loads(body, 0, NULL) : NULL;
	if (told == NULL)
		panic("control said: %s", buf_str(&answer));
	buf_done(&answer);
	return told;
}

size_t
model_peer_calls(void)
{
	json_t *told = model_peer_told();
	size_t count = json_array_size(json_object_get(told, "calls"));

	json_decref(told);
	return count;
}

void
model_peer_forget(void)
{
	struct buf answer;

	exchange("DELETE", "", &answer);
	buf_done(&answer);
}

void
model_peer_stop(void)
{
	if (peer.pid <= 0)
		return;
	close(peer.input);
	kill(peer.pid, SIGTERM);
	waitpid(peer.pid, NULL, 0);
	peer.pid = 0;
}
