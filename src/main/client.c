/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands for people share: options, and calls of the API. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/loop.h"
#include "main/command.h"

#define CALL_MS        120000
#define REPLY_MAX      ((size_t)16 << 20)
#define WATCH_STALL_MS 30000 /* three pings */

static bool
take_option(int argc, char **argv, int *at, const struct option_spec *specs)
{
	const char *name = argv[*at] + 2;
	size_t len = strcspn(name, "=");

	for (; specs->name != NULL; specs++) {
		if (strlen(specs->name) != len ||
		    strncmp(specs->name, name, len) != 0)
			continue;
		if (specs->flag_out != NULL) {
			*specs->flag_out = true;
			return true;
		}
		if (name[len] == '=') {
			*specs->value_out = name + len + 1;
			return true;
		}
		if (*at + 1 >= argc) {
			fprintf(
			    stderr, "xin: --%s needs a value\n", specs->name);
			return false;
		}
		*specs->value_out = argv[++*at];
		return true;
	}
	fprintf(stderr, "xin: unknown option %s\n", argv[*at]);
	return false;
}

bool
command_options(
    int argc, char **argv, const struct option_spec *specs, int *count_out)
{
	int count = 0;

	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0') {
			if (!take_option(argc, argv, &i, specs))
				return false;
		} else {
			argv[count++] = argv[i];
		}
	}
	*count_out = count;
	return true;
}

int
command_fail(enum err_code rc)
{
	fprintf(stderr, "xin: %s\n", err_message());
	return rc == OK ? 0 : 1;
}

bool
command_setup(void)
{
	log_setup(2, LOG_LEVEL_WARN, true);
	if (config_load(".env") == OK)
		return true;
	command_fail(ERR_CONFIG);
	return false;
}

static const char *
base_url(void)
{
	return getenv("XIN_URL") ?: "http://127.0.0.1:8000";
}

/* Beside the service itself (in its pod) its own admin key will do. */
static const char *
own_key(void)
{
	const char *key = getenv("XIN_KEY");

	if (key == NULL && getenv("XIN_URL") == NULL &&
	    config_is_set(CFG_ADMIN_KEY))
		key = config_str(CFG_ADMIN_KEY);
	return key;
}

static enum err_code
read_answer(const struct http_call_reply *reply, json_t **answer_out)
{
	json_t *answer = NULL;
	const json_t *error;

	if (reply->status == 204) {
		*answer_out = NULL;
		return OK;
	}
	if (json_parse(buf_str(&reply->body), reply->body.len, &answer) != OK)
		return err_set(
		    ERR_UPSTREAM, "HTTP %d without JSON", reply->status);
	error = json_object_get(answer, "error");
	if (reply->status >= 400 && json_is_object(error)) {
		enum err_code rc =
		    err_set(err_from_name(json_str(error, "code") ?: ""),
			"%s (HTTP %d, request %s)",
			json_str(error, "message") ?: "no reason",
			reply->status, json_str(error, "request_id") ?: "?");

		json_decref(answer);
		return rc;
	}
	*answer_out = answer;
	return OK;
}

enum err_code
client_call(const char *method, const char *path, const char *content_type,
    const void *body, size_t len, json_t **answer_out)
{
	const char *key = own_key();
	char type[300], auth[300];
	const char *headers[3] = { NULL };
	struct http_call_reply reply;
	struct http_call call = {
		.method = method,
		.headers = headers,
		.body = body,
		.body_len = len,
		.max_reply_bytes = REPLY_MAX,
	};
	size_t n = 0;
	char *url;
	enum err_code rc;

	if (body != NULL) {
		snprintf(type, sizeof(type), "Content-Type: %s", content_type);
		headers[n++] = type;
	}
	if (key != NULL) {
		snprintf(auth, sizeof(auth), "Authorization: Bearer %s", key);
		headers[n++] = auth;
	}
	url = mem_printf("%s%s", base_url(), path);
	call.url = url;
	rc = http_call(&call, deadline_in_ms(CALL_MS), &reply);
	mem_free(url);
	if (rc != OK)
		return err_add(rc, "%s", base_url());
	rc = read_answer(&reply, answer_out);
	http_call_reply_done(&reply);
	return rc;
}

enum err_code
client_watch(const char *path,
    enum err_code (*on_data)(void *arg, const char *data, size_t len),
    void *arg)
{
	const char *key = own_key();
	char auth[300];
	const char *headers[] = { key != NULL ? auth : NULL, NULL };
	struct http_call_reply reply;
	struct http_call call = {
		.method = "GET",
		.headers = headers,
		.max_reply_bytes = SIZE_MAX,
		.max_error_bytes = REPLY_MAX,
		.on_data = on_data,
		.arg = arg,
		.idle_ms = WATCH_STALL_MS,
	};
	json_t *none = NULL;
	char *url;
	enum err_code rc;

	snprintf(auth, sizeof(auth), "Authorization: Bearer %s", key ?: "");
	url = mem_printf("%s%s", base_url(), path);
	call.url = url;
	rc = http_call(&call, 0, &reply);
	mem_free(url);
	if (rc != OK)
		return err_add(rc, "%s", base_url());
	if (reply.status != 200)
		rc = read_answer(&reply, &none);
	json_decref(none);
	http_call_reply_done(&reply);
	return rc;
}

enum err_code
client_json(const char *method, const char *path, const json_t *body,
    json_t **answer_out)
{
	char *text = body != NULL ? json_text(body) : NULL;
	enum err_code rc = client_call(method, path, "application/json", text,
	    text ? strlen(text) : 0, answer_out);

	mem_free(text);
	return rc;
}

int
client_run(enum err_code (*fn)(void *arg), void *arg)
{
	enum err_code rc = loops_start(1);

	if (rc == OK) {
		rc = loop_call(loop_at(0), fn, arg);
		if (rc != OK)
			command_fail(rc);
		loops_stop(1000);
		return rc == OK ? 0 : 1;
	}
	return command_fail(rc);
}
