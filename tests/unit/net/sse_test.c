/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events: the standard's examples, cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "net/sse.h"

static enum err_code
note(void *arg, const char *name, const char *data, size_t len)
{
	assert_int_equal(strlen(data), len);
	buf_addf(arg, "%s<%s>", name, data);
	return strcmp(data, "stop") == 0 ? err_set(ERR_CANCELLED, "enough")
					 : OK;
}

static enum err_code
read_in_pieces(const char *text, size_t len, size_t piece, struct buf *seen)
{
	enum err_code rc = OK;
	struct sse sse;

	buf_init(seen, 0);
	sse_init(&sse, 64, note, seen);
	for (size_t at = 0; rc == OK && at < len; at += piece)
		rc = sse_feed(
		    &sse, text + at, len - at < piece ? len - at : piece);
	sse_done(&sse);
	return rc;
}

static void
expect(const char *text, const char *events)
{
	struct buf seen;

	for (size_t piece = 1; piece <= strlen(text); piece++) {
		assert_int_equal(
		    read_in_pieces(text, strlen(text), piece, &seen), OK);
		assert_string_equal(buf_str(&seen), events);
		buf_done(&seen);
	}
}

static void
events_are_the_same_wherever_the_stream_is_cut(void **state)
{
	(void)state;
	expect("data: a\n\ndata: b\n\n", "message<a>message<b>");
	expect("data: a\r\n\r\ndata: b\r\n\r\n", "message<a>message<b>");
	expect("data: a\r\rdata: b\r\r", "message<a>message<b>");
	expect("data: a\ndata: b\n\n", "message<a\nb>");
	expect("event: add\ndata: 7\n\n", "add<7>");
	expect("event: add\n\ndata: 7\n\n", "message<7>");
	expect("\xEF\xBB\xBF"
	       "data: \xE2\x82\xAC\n\n",
	    "message<\xE2\x82\xAC>");
}

static void
fields_are_read_as_the_standard_says(void **state)
{
	(void)state;
	expect(": comment\n\ndata:x\n\n", "message<x>");
	expect("data\n\ndata\ndata\n\ndata:", "message<>message<\n>");
	expect(
	    "data:  x\nid: 3\nretry: 9\nfoo: bar\nDATA: no\n\n", "message< x>");
	expect("data: not ended\n", "");
	expect("\n\n\n", "");
}

static void
an_event_over_the_ceiling_ends_the_stream(void **state)
{
	char text[200];
	struct buf seen;

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "data: a\n\ndata: ", 15);
	for (size_t piece = 1; piece <= sizeof(text); piece += 7) {
		assert_int_equal(
		    read_in_pieces(text, sizeof(text), piece, &seen),
		    ERR_TOO_LARGE);
		assert_string_equal(buf_str(&seen), "message<a>");
		buf_done(&seen);
	}
	memcpy(text,
	    "data: abcdefghijklm\ndata: nopqrstuvwxyz\n"
	    "data: abcdefghijklm\ndata: nopqrstuvwxyz\n"
	    "data: abcdefghijklm\n\n",
	    101);
	assert_int_equal(read_in_pieces(text, 101, 3, &seen), ERR_TOO_LARGE);
	assert_int_equal(seen.len, 0);
	buf_done(&seen);
}

static void
the_receiver_can_end_it(void **state)
{
	const char *text = "data: stop\n\ndata: more\n\n";
	struct buf seen;

	(void)state;
	assert_int_equal(
	    read_in_pieces(text, strlen(text), 5, &seen), ERR_CANCELLED);
	assert_string_equal(buf_str(&seen), "message<stop>");
	buf_done(&seen);
}

int
main(void)
{
	const struct CMUnitTest sse[] = {
		cmocka_unit_test(
		    events_are_the_same_wherever_the_stream_is_cut),
		cmocka_unit_test(fields_are_read_as_the_standard_says),
		cmocka_unit_test(an_event_over_the_ceiling_ends_the_stream),
		cmocka_unit_test(the_receiver_can_end_it),
	};

	return cmocka_run_group_tests(sse, NULL, NULL);
}
