/* SPDX-License-Identifier: Apache-2.0 */
/* `xin tail`: what happens in a running service, a line each, until ^C. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "main/command.h"
#include "net/sse.h"

#define EVENT_MAX ((size_t)64 << 10)
#define AGAIN_MS  1000

static struct {
	const char *brand, *kind;
	bool json;
	bool reached; /* once: then a lost connection is made again */
	struct sse sse;
} tail;

static void
show_fields(const json_t *line)
{
	static const char *const known[] = { "event", "level", "timestamp",
		"service", "trace_id", "span_id", "brand_id", NULL };
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)line, key, value) {
		bool left_out = json_is_null(value);

		for (size_t i = 0; known[i] != NULL; i++)
			left_out = left_out || strcmp(key, known[i]) == 0;
		if (left_out)
			continue;
		if (json_is_string(value)) {
			printf(" %s=%s", key, json_string_value(value));
		} else {
			char *text = json_text(value);

			printf(" %s=%s", key, text);
			mem_free(text);
		}
	}
}

static enum err_code
show(void *arg, const char *name, const char *data, size_t len)
{
	json_auto json_t *line = NULL;
	const char *at;

	(void)arg;
	if (tail.json) {
		printf("%.*s\n", (int)len, data);
	} else if (json_parse(data, len, &line) == OK) {
		at = json_str(line, "timestamp") ?: "";
		printf("%.12s %-7s %-20s %-12s", strlen(at) > 11 ? at + 11 : at,
		    json_str(line, "level") ?: "", name,
		    json_str(line, "brand_id") ?: "");
		show_fields(line);
		putchar('\n');
	}
	fflush(stdout);
	return OK;
}

static enum err_code
on_data(void *arg, const char *data, size_t len)
{
	(void)arg;
	tail.reached = true;
	return sse_feed(&tail.sse, data, len);
}

static enum err_code
watch(void *arg)
{
	struct buf path;
	enum err_code rc;

	(void)arg;
	buf_init(&path, 0);
	buf_adds(&path, "/v1/events?");
	if (tail.brand != NULL)
		buf_addf(&path, "brand=%s&", tail.brand);
	if (tail.kind != NULL)
		buf_addf(&path, "kind=%s", tail.kind);
	sse_init(&tail.sse, EVENT_MAX, show, NULL);
	for (;;) {
		rc = client_watch(buf_str(&path), on_data, NULL);
		if (!tail.reached ||
		    (rc != OK && rc != ERR_UNAVAILABLE && rc != ERR_DEADLINE))
			break; /* a wrong key does not get better */
		sse_clear(&tail.sse);
		fputs("xin: the connection was lost; trying again\n", stderr);
		if (fiber_sleep(AGAIN_MS) != OK)
			break;
	}
	sse_done(&tail.sse);
	buf_done(&path);
	return rc;
}

int
command_tail(int argc, char **argv)
{
	const struct option_spec options[] = { { "brand", &tail.brand, NULL },
		{ "kind", &tail.kind, NULL }, { "json", NULL, &tail.json },
		{ 0 } };
	int words;

	if (!command_options(argc, argv, options, &words) || words > 0)
		return 2;
	if ((tail.brand != NULL && !str_is_name(tail.brand)) ||
	    (tail.kind != NULL && !str_is_name(tail.kind))) {
		fputs("xin: a brand or a kind is a name\n", stderr);
		return 2;
	}
	return command_setup() ? client_run(watch, NULL) : 1;
}
