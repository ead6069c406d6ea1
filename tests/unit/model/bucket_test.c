/* SPDX-License-Identifier: Apache-2.0 */
/* The pace of a provider key, on a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "model/bucket.h"

static int
set_up(void **state)
{
	(void)state;
	clock_fake_start(UINT64_C(1760000000000));
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	clock_fake_stop();
	return 0;
}

static void
calls_are_spread_after_ten_seconds_worth_of_them(void **state)
{
	struct model_bucket *b = model__bucket_ref("site", "key", 60);
	uint64_t wait;

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(model__bucket_take(b, 0, &wait), OK);
		assert_int_equal(wait, 0);
	}
	assert_int_equal(model__bucket_take(b, 999, &wait), ERR_OVERLOADED);
	assert_int_equal(model__bucket_take(b, 1000, &wait), OK);
	assert_int_equal(wait, 1000);
	assert_int_equal(model__bucket_take(b, 5000, &wait), OK);
	assert_int_equal(wait, 2000);
	clock_fake_advance(3000);
	assert_int_equal(model__bucket_take(b, 0, &wait), OK);
	clock_fake_advance(60000);
	for (int i = 0; i < 10; i++)
		assert_int_equal(model__bucket_take(b, 0, &wait), OK);
	assert_int_equal(model__bucket_take(b, 0, &wait), ERR_OVERLOADED);
	model__bucket_unref(b);
}

static void
one_key_has_one_bucket_and_another_key_another(void **state)
{
	struct model_bucket *a = model__bucket_ref("site", "key", 1);
	struct model_bucket *same = model__bucket_ref("site", "key", 1);
	struct model_bucket *other = model__bucket_ref("site", "other", 1);
	uint64_t wait;

	(void)state;
	assert_ptr_equal(a, same);
	assert_ptr_not_equal(a, other);
	assert_int_equal(model__bucket_take(a, 0, &wait), OK);
	assert_int_equal(model__bucket_take(same, 0, &wait), ERR_OVERLOADED);
	assert_int_equal(model__bucket_take(other, 0, &wait), OK);
	model__bucket_unref(a);
	model__bucket_unref(same);
	model__bucket_unref(other);
}

static void
a_hold_is_for_everybody_and_ends(void **state)
{
	struct model_bucket *b = model__bucket_ref("site", "key", 6000);
	uint64_t wait;

	(void)state;
	model__bucket_hold(b, 2000);
	model__bucket_hold(b, 500);
	assert_int_equal(model__bucket_take(b, 1999, &wait), ERR_OVERLOADED);
	assert_int_equal(model__bucket_take(b, 2000, &wait), OK);
	assert_int_equal(wait, 2000);
	clock_fake_advance(2000);
	assert_int_equal(model__bucket_take(b, 0, &wait), OK);
	model__bucket_unref(b);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest bucket[] = {
		T(calls_are_spread_after_ten_seconds_worth_of_them),
		T(one_key_has_one_bucket_and_another_key_another),
		T(a_hold_is_for_everybody_and_ends),
	};

	return cmocka_run_group_tests(bucket, NULL, NULL);
}
