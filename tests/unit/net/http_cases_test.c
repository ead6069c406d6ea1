/* SPDX-License-Identifier: Apache-2.0 */
/* llhttp's own request cases against the whole server: what its file calls an
 * error is refused. Each is sent as it stands, and again with a Host, so that
 * the missing Host of many is not what refuses them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/str.h"
#include "http_peer.h"
#include "shared_data.h"

static enum err_code
swallow(struct http_request *req, void *arg)
{
	const char *data;
	size_t len;

	(void)arg;
	do {
		enum err_code rc = http_read(req, &data, &len);

		if (rc != OK)
			return rc;
	} while (len > 0);
	return http_reply(req, 200, "text/plain", "ok", 2);
}

static const struct http_route routes[] = {
	{ HTTP_M_GET, "/", HTTP_BODY_STREAM, swallow },
	{ HTTP_M_GET, "/{path...}", HTTP_BODY_STREAM, swallow },
	{ HTTP_M_POST, "/", HTTP_BODY_STREAM, swallow },
	{ HTTP_M_POST, "/{path...}", HTTP_BODY_STREAM, swallow },
	{ HTTP_M_PUT, "/", HTTP_BODY_STREAM, swallow },
	{ HTTP_M_PUT, "/{path...}", HTTP_BODY_STREAM, swallow },
	{ 0, NULL, 0, NULL },
};

/* These have a good request before the bad one. */
static bool
begins_well(const char *id)
{
	return str_ends(id, "No restart when keep-alive is off (1.0)") ||
	       strstr(id, "CRLF between requests, implicit") != NULL;
}

/* The bytes, with a Host after the request line where they have none. */
static bool
with_host(const char *text, size_t len, struct buf *out)
{
	const char *eol = memmem(text, len, "\r\n", 2);

	if (eol == NULL || strcasestr(text, "\nhost:") != NULL)
		return false;
	buf_init(out, 0);
	buf_add(out, text, (size_t)(eol - text) + 2);
	buf_adds(out, "Host: h\r\n");
	buf_add(out, eol + 2, len - (size_t)(eol - text) - 2);
	return true;
}

static size_t
good_answers(const char *text, size_t len)
{
	struct buf seen;
	size_t good = 0;
	const char *at;

	http_peer_exchange(text, len, &seen);
	for (at = buf_str(&seen); (at = strstr(at, "HTTP/1.1 2")) != NULL; at++)
		good++;
	buf_done(&seen);
	return good;
}

/* Base 64 (RFC 4648). */
static void
decode(const char *from, struct buf *out)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"
				  "qrstuvwxyz0123456789+/";
	unsigned bits = 0, held = 0;

	buf_init(out, 0);
	for (; *from != '\0' && *from != '='; from++) {
		bits = bits << 6 | (unsigned)(strchr(set, *from) - set);
		held += 6;
		if (held >= 8) {
			held -= 8;
			buf_addc(out, (char)(bits >> held));
		}
	}
}

struct tally {
	size_t refused, complete, answered;
};

static void
run_case(const json_t *entry, struct tally *tally)
{
	const char *id = json_str(entry, "_id");
	const char *label = json_str(entry, "label");
	struct buf raw, hosted;
	bool more;

	if (strcmp(json_str(entry, "type"), "request") != 0)
		return;
	decode(json_str(entry, "raw_b64"), &raw);
	more = with_host(buf_str(&raw), raw.len, &hosted);
	if (strcmp(label, "error") == 0) {
		size_t most = begins_well(id) ? 1 : 0;

		if (good_answers(buf_str(&raw), raw.len) > most)
			fail_msg("accepted: %s", id);
		if (more && good_answers(hosted.data, hosted.len) > most)
			fail_msg("accepted with a Host: %s", id);
		tally->refused++;
	} else if (strcmp(label, "complete") == 0) {
		tally->complete++;
		if (good_answers(more ? hosted.data : buf_str(&raw),
			more ? hosted.len : raw.len) > 0)
			tally->answered++;
	}
	buf_done(&raw);
	if (more)
		buf_done(&hosted);
}

static void
what_llhttp_calls_an_error_is_refused(void **state)
{
	struct tally tally = { 0 };
	struct buf text;
	char path[768], *save, *line;

	(void)state;
	shared_data_path("http/llhttp/cases.jsonl", path, sizeof(path));
	if (!shared_data_read(path, &text)) {
		print_message("skipped: no %s (XIN_SHARED_DATA)\n", path);
		skip();
	}
	for (line = strtok_r(text.data, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		json_auto json_t *entry = json_loads(line, 0, NULL);

		assert_non_null(entry);
		run_case(entry, &tally);
	}
	print_message("refused %zu errors; answered %zu of %zu that llhttp "
		      "completes\n",
	    tally.refused, tally.answered, tally.complete);
	assert_true(tally.refused >= 50);
	/* The others have foreign methods, upgrades, or no end. */
	assert_true(tally.answered >= 15);
	buf_done(&text);
}

static int
start(void **state)
{
	(void)state;
	http_peer_start(&(struct http_options){ .routes = routes });
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	http_peer_stop();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_llhttp_calls_an_error_is_refused),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
