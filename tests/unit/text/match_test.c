/* SPDX-License-Identifier: Apache-2.0 */
/* Pattern sets: what is found, what the checks refuse, what is not compiled. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/buf.h"
#include "text/match.h"

static const struct match_pattern pii[] = {
	{ "card", "[0-9](?:[ -]?[0-9]){12,18}", false, "luhn", true },
	{ "iban", "[A-Z]{2}[0-9]{2}[A-Z0-9 ]+", true, "iban", true },
	{ "national", "[0-9]{10}", false, "ir_national_id", true },
};

static void
assert_hits(const struct match_pattern *patterns, size_t count, bool fold,
    const char *text, const char *expected)
{
	struct match_set *set;
	struct match_hit hits[16];
	struct buf out;
	size_t n;

	assert_int_equal(match_compile(patterns, count, fold, &set), OK);
	n = match_scan(set, text, strlen(text), hits, 16);
	assert_int_equal(match_any(set, text, strlen(text)), n > 0);
	buf_init(&out, 0);
	for (size_t i = 0; i < n; i++)
		buf_addf(&out, "%s:%.*s;", hits[i].name,
		    (int)(hits[i].end - hits[i].start), text + hits[i].start);
	assert_string_equal(buf_str(&out), expected);
	buf_done(&out);
	match_unref(set);
}

static void
card_numbers_need_their_check_digit(void **state)
{
	(void)state;
	assert_hits(pii, 1, true, "pay 4111 1111 1111 1111 now",
	    "card:4111 1111 1111 1111;");
	assert_hits(pii, 1, true, "6037991234567893", "card:6037991234567893;");
	assert_hits(pii, 1, true, "order 4111 1111 1111 1112", "");
	assert_hits(pii, 1, true, "0000000000000000", "");
}

static void
a_number_before_a_card_does_not_hide_it(void **state)
{
	(void)state;
	assert_hits(pii, 1, true, "12 4111 1111 1111 1111",
	    "card:4111 1111 1111 1111;");
}

static void
persian_digits_are_seen_and_places_map_back(void **state)
{
	(void)state;
	assert_hits(
	    pii, 1, true, "کارت ۶۰۳۷۹۹۱۲۳۴۵۶۷۸۹۳ من", "card:۶۰۳۷۹۹۱۲۳۴۵۶۷۸۹۳;");
	assert_hits(pii, 1, false, "۶۰۳۷۹۹۱۲۳۴۵۶۷۸۹۳", "");
	assert_hits(pii, 1, true, "4111\u200C1111\u200E11111111.",
	    "card:4111\u200C1111\u200E11111111;");
}

static void
ibans_are_checked_by_97_and_length(void **state)
{
	(void)state;
	assert_hits(pii + 1, 1, true, "DE89370400440532013000",
	    "iban:DE89370400440532013000;");
	assert_hits(pii + 1, 1, true, "IR062960000000100324200001",
	    "iban:IR062960000000100324200001;");
	assert_hits(pii + 1, 1, true, "GB82 WEST 1234 5698 7654 32",
	    "iban:GB82 WEST 1234 5698 7654 32;");
	assert_hits(pii + 1, 1, true, "IR160120000000001234567890",
	    "iban:IR160120000000001234567890;");
	assert_hits(pii + 1, 1, true, "DE89370400440532013001", "");
}

static void
national_numbers_are_checked_by_11(void **state)
{
	(void)state;
	assert_hits(pii + 2, 1, true, "0012345679 1234567891 4990370155",
	    "national:0012345679;national:1234567891;national:4990370155;");
	assert_hits(pii + 2, 1, true, "1111111111 1234567890", "");
	assert_hits(pii + 2, 1, true, "x0012345679", "");
	assert_hits(pii + 2, 1, true, "00123456791", "");
}

static void
hits_are_leftmost_longest_and_sorted(void **state)
{
	static const struct match_pattern patterns[] = {
		{ "a", "a+", false, NULL, false },
		{ "b", "ab+", true, NULL, false },
	};

	(void)state;
	assert_hits(patterns, 2, false, "aaa ABB aa", "a:aaa;b:ABB;a:aa;");
}

static void
what_cannot_compile_says_why(void **state)
{
	static const struct match_pattern look = { "look", "(?<=a)b", false,
		NULL, false };
	static const struct match_pattern check = { "c", "b", false, "magic",
		false };
	static const struct match_pattern empty = { "e", "", false, NULL,
		false };
	struct match_set *set = NULL;

	(void)state;
	assert_int_equal(match_compile(&look, 1, false, &set), ERR_INVALID);
	assert_non_null(strstr(err_message(), "look"));
	assert_int_equal(match_compile(&check, 1, false, &set), ERR_INVALID);
	assert_non_null(strstr(err_message(), "magic"));
	assert_int_equal(match_compile(&empty, 1, false, &set), ERR_INVALID);
	assert_int_equal(match_compile(&look, 0, false, &set), ERR_INVALID);
	assert_null(set);
}

static void
a_set_lives_as_long_as_its_last_holder(void **state)
{
	struct match_set *set;

	(void)state;
	assert_int_equal(match_compile(pii, 3, true, &set), OK);
	match_ref(set);
	match_unref(set);
	assert_true(match_any(set, "4111111111111111", 16));
	match_unref(set);
	match_unref(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(card_numbers_need_their_check_digit),
		cmocka_unit_test(a_number_before_a_card_does_not_hide_it),
		cmocka_unit_test(persian_digits_are_seen_and_places_map_back),
		cmocka_unit_test(ibans_are_checked_by_97_and_length),
		cmocka_unit_test(national_numbers_are_checked_by_11),
		cmocka_unit_test(hits_are_leftmost_longest_and_sorted),
		cmocka_unit_test(what_cannot_compile_says_why),
		cmocka_unit_test(a_set_lives_as_long_as_its_last_holder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
