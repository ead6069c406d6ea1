/* SPDX-License-Identifier: Apache-2.0 */
/* The ground floor: errors, memory, buffers, strings, time, ids, hashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/error.h"
#include "base/ident.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"

static void
an_error_is_prefixed_on_the_way_up(void **state)
{
	(void)state;
	assert_int_equal(
	    err_set(ERR_NOT_FOUND, "document %s", "kn_1"), ERR_NOT_FOUND);
	assert_int_equal(err_add(ERR_NOT_FOUND, "ingest"), ERR_NOT_FOUND);
	assert_string_equal(err_message(), "ingest: document kn_1");
	err_set(ERR_IO, "again: %s", err_message());
	assert_string_equal(err_message(), "again: ingest: document kn_1");
}

static void
a_task_keeps_its_own_error(void **state)
{
	struct task task;

	(void)state;
	task_init(&task, SERVICE_WORKER);
	err_set(ERR_IO, "of the thread");
	task_enter(&task);
	err_set(ERR_INVALID, "of the task");
	task_enter(NULL);
	assert_string_equal(err_message(), "of the thread");
	assert_string_equal(task.error.message, "of the task");
	task_done(&task);
}

static void
every_code_has_a_name_that_leads_back(void **state)
{
	(void)state;
	for (int code = 1; code < ERR_COUNT; code++) {
		assert_int_equal(err_from_name(err_name(code)), code);
		assert_true(err_status(code) >= 400);
		assert_true(strlen(err_help(code)) > 0);
	}
	assert_int_equal(err_from_name("no such"), ERR_INTERNAL);
}

static void
an_arena_stops_at_its_ceiling(void **state)
{
	struct arena arena;

	(void)state;
	arena_init(&arena, 100000);
	for (int i = 0; i < 10; i++)
		assert_non_null(arena_alloc(&arena, 9000));
	assert_null(arena_alloc(&arena, 20000));
	assert_string_equal(
	    err_message(), "memory of one task is over 100000 bytes");
	arena_clear(&arena);
	assert_string_equal(arena_printf(&arena, "%d-%s", 7, "x"), "7-x");
	arena_done(&arena);
}

static void
a_full_buffer_leaves_the_rest_out(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 5);
	buf_adds(&buf, "abc");
	buf_adds(&buf, "def");
	assert_true(buf.full);
	assert_string_equal(buf_str(&buf), "abc");
	buf_done(&buf);
}

static void
json_strings_escape_controls_and_bad_utf8(void **state)
{
	static const char text[] = "a\"\\\n\x01\xff\xd8\xb3\xe2\x82";
	struct buf buf;

	(void)state;
	buf_init(&buf, 0);
	buf_add_json(&buf, text, sizeof(text) - 1);
	assert_string_equal(buf_str(&buf),
	    "\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\xd8\xb3\xef\xbf\xbd"
	    "\xef\xbf\xbd\"");
	buf_done(&buf);
}

static void
utf8_is_checked_strictly(void **state)
{
	(void)state;
	assert_true(str_is_utf8("سلام", strlen("سلام")));
	assert_false(str_is_utf8("\xc0\x80", 2));         /* overlong */
	assert_false(str_is_utf8("\xed\xa0\x80", 3));     /* surrogate */
	assert_false(str_is_utf8("\xf4\x90\x80\x80", 4)); /* > U+10FFFF */
	assert_false(str_is_utf8("\xe2\x82", 2));         /* cut */
}

static void
names_are_lower_case_words(void **state)
{
	(void)state;
	assert_true(str_is_name("alpha"));
	assert_true(str_is_name("a-b_9"));
	assert_false(str_is_name(""));
	assert_false(str_is_name("-a"));
	assert_false(str_is_name("../etc"));
	assert_false(str_is_name("Alpha"));
}

static void
numbers_are_read_whole_or_not(void **state)
{
	uint64_t u;
	int64_t i;

	(void)state;
	assert_true(str_to_u64("18446744073709551615", &u));
	assert_false(str_to_u64("18446744073709551616", &u));
	assert_false(str_to_u64("-1", &u));
	assert_false(str_to_u64("1x", &u));
	assert_true(str_to_i64("-5", &i));
	assert_int_equal(i, -5);
	assert_false(str_to_i64("-", &i));
}

static void
a_faked_clock_moves_by_hand(void **state)
{
	char text[CLOCK_RFC3339_SIZE];
	uint64_t deadline;

	(void)state;
	clock_fake_start(1700000000123);
	clock_rfc3339(clock_wall_ms(), text);
	assert_string_equal(text, "2023-11-14T22:13:20.123Z");
	deadline = deadline_in_ms(50);
	assert_int_equal(deadline_left_ms(deadline), 50);
	clock_fake_advance(60);
	assert_int_equal(deadline_left_ms(deadline), 0);
	clock_fake_stop();
	assert_true(deadline_left_ms(0) == UINT64_MAX);
}

static void
a_timestamp_follows_the_second_both_ways(void **state)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} cases[] = {
		{ 0, "1970-01-01T00:00:00.000Z" },
		{ 1699999999999, "2023-11-14T22:13:19.999Z" },
		{ 1700000000000, "2023-11-14T22:13:20.000Z" },
		{ 1700000000007, "2023-11-14T22:13:20.007Z" },
		{ 1709251199990, "2024-02-29T23:59:59.990Z" },
		{ 1709251200100, "2024-03-01T00:00:00.100Z" },
		{ 1699999999999, "2023-11-14T22:13:19.999Z" },
	};
	char text[CLOCK_RFC3339_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		clock_rfc3339(cases[i].ms, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void
whole_numbers_are_written_as_printf_does(void **state)
{
	static const int64_t cases[] = { 0, 7, -7, 10, 99, 100, -1000,
		INT64_MAX, INT64_MIN };
	char wanted[32];
	struct buf buf;

	(void)state;
	buf_init(&buf, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(wanted, sizeof(wanted), "%lld", (long long)cases[i]);
		buf_clear(&buf);
		buf_addi(&buf, cases[i]);
		assert_string_equal(buf_str(&buf), wanted);
	}
	buf_done(&buf);
}

static void
ids_have_a_prefix_and_sort_by_time(void **state)
{
	char a[IDENT_SIZE], b[IDENT_SIZE];

	(void)state;
	clock_fake_start(1700000000000);
	ident_new("kn", a);
	clock_fake_advance(1);
	ident_new("kn", b);
	clock_fake_stop();
	assert_true(ident_valid(a, "kn"));
	assert_false(ident_valid(a, "cv"));
	assert_false(ident_valid("kn_short", "kn"));
	assert_true(strcmp(a, b) < 0);
}

/* RFC 4231 case 2, and the vectors of our own webhook form. */
static void
hmac_gives_the_published_vectors(void **state)
{
	static const char body[] = "{\"text\":\"سلام\"}";
	uint8_t mac[SHA256_SIZE];
	char hex[SHA256_HEX_SIZE];

	(void)state;
	for (int i = 0; i < 2; i++) { /* the second time with the key kept */
		crypto_hmac_sha256(
		    "Jefe", 4, "what do ya want for nothing?", 28, mac);
		crypto_hex(mac, sizeof(mac), hex);
		assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c7"
					 "5a003f089d2739839dec58b964ec3843");
	}
	crypto_hmac_sha256("topsecret", 9, body, strlen(body), mac);
	crypto_hex(mac, sizeof(mac), hex);
	assert_string_equal(hex, "7cfe67f7d69f158ab14333e16fb4bce7"
				 "a794a5b0cb7646c4b8dcf1ca327fa3ae");
}

static void
codes_read_back(void **state)
{
	uint8_t bytes[3] = { 0xfb, 0xef, 0xff }, back[3];
	char hex[7], code[9];

	(void)state;
	crypto_hex(bytes, 3, hex);
	assert_string_equal(hex, "fbefff");
	assert_true(crypto_unhex(hex, 6, back, 3));
	assert_memory_equal(bytes, back, 3);
	assert_false(crypto_unhex("fbefzz", 6, back, 3));
	assert_false(crypto_unhex("fbef", 4, back, 3));
	crypto_base64url(bytes, 3, code);
	assert_string_equal(code, "--__");
	crypto_base64url(bytes, 1, code);
	assert_string_equal(code, "-w");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_is_prefixed_on_the_way_up),
		cmocka_unit_test(a_task_keeps_its_own_error),
		cmocka_unit_test(every_code_has_a_name_that_leads_back),
		cmocka_unit_test(an_arena_stops_at_its_ceiling),
		cmocka_unit_test(a_full_buffer_leaves_the_rest_out),
		cmocka_unit_test(json_strings_escape_controls_and_bad_utf8),
		cmocka_unit_test(utf8_is_checked_strictly),
		cmocka_unit_test(names_are_lower_case_words),
		cmocka_unit_test(numbers_are_read_whole_or_not),
		cmocka_unit_test(a_faked_clock_moves_by_hand),
		cmocka_unit_test(a_timestamp_follows_the_second_both_ways),
		cmocka_unit_test(whole_numbers_are_written_as_printf_does),
		cmocka_unit_test(ids_have_a_prefix_and_sort_by_time),
		cmocka_unit_test(hmac_gives_the_published_vectors),
		cmocka_unit_test(codes_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
