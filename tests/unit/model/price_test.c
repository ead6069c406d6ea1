/* SPDX-License-Identifier: Apache-2.0 */
/* XIN_MODEL_PRICES: what is read, what is refused, what a call then costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "model/price.h"

static struct price_list *
list_of(const char *prices)
{
	struct price_list *list = NULL;

	assert_int_equal(price_list_read(prices, "EUR", &list), OK);
	return list;
}

static void
a_call_costs_its_tokens_times_the_prices_of_a_million(void **state)
{
	struct price_list *list =
	    list_of("small=0.15/0.60, org/large=2.5/10,odd=name=1/2,free=0/0");
	struct price_cost cost;

	(void)state;
	assert_string_equal(price_currency(list), "EUR");
	assert_true(price_of(list, "small", NULL, 1000000, 1000000, &cost));
	assert_true(cost.prompt == 150000000 && cost.completion == 600000000);
	assert_true(price_of(list, "small", NULL, 1, 0, &cost));
	assert_true(cost.prompt == 150 && cost.completion == 0);
	assert_true(price_of(list, "org/large", NULL, 100, 7, &cost));
	assert_true(cost.prompt == 250000 && cost.completion == 70000);
	assert_true(price_of(list, "odd=name", NULL, 1, 1, &cost));
	assert_true(price_of(list, "free", NULL, 5, -1, &cost));
	assert_true(cost.prompt == 0 && cost.completion == 0);
	price_list_free(list);
}

static void
the_name_that_answered_goes_before_the_one_that_was_asked(void **state)
{
	struct price_list *list = list_of("m=1/1,m-2026-01-31=2/2");
	struct price_cost cost;

	(void)state;
	assert_true(price_of(list, "m-2026-01-31", "m", 1, 0, &cost));
	assert_int_equal(cost.prompt, 2000);
	assert_true(price_of(list, "m-2027-01-31", "m", 1, 0, &cost));
	assert_int_equal(cost.prompt, 1000);
	assert_false(price_of(list, "other", "another", 1, 1, &cost));
	assert_false(price_of(list, "other", NULL, 1, 1, &cost));
	price_list_free(list);
}

static void
bad_lists_are_refused_with_their_entry(void **state)
{
	static const char *const bad[] = { "small", "small=1", "small=1/",
		"small=/1", "=1/1", "small=1/-1", "small=1/1e3", "small=1/inf",
		"small=1/1.2.3", "small=./1", "small=1/2,,big=1/2",
		"a=1/1,a=1/1", "small=1/2 ,b=1/1", "small=1/10000001",
		"small=0x1/1" };
	struct price_list *list = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (price_list_read(bad[i], "USD", &list) != ERR_CONFIG)
			fail_msg("taken: \"%s\"", bad[i]);
		assert_non_null(strstr(err_message(), "XIN_MODEL_PRICES"));
	}
	assert_int_equal(price_list_read("", "usd", &list), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "XIN_MODEL_CURRENCY"));
	price_list_free(list_of(""));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_call_costs_its_tokens_times_the_prices_of_a_million),
		cmocka_unit_test(
		    the_name_that_answered_goes_before_the_one_that_was_asked),
		cmocka_unit_test(bad_lists_are_refused_with_their_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
