/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of kv: the same tests over every back end. Redis keeps its own
 * time for what expires, so time passes through pass_time, with a margin. */
#include "fiber_group.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "kv/kv.h"
#include "kv/kv_backend.h"
#include "redis_server.h"

#define MARGIN 500

static const char *const urls[] = { "memory:", "", "redis:" };
static const char *url;
static struct redis_server *server; /* NULL unless the URL is Redis' */

static int
set_up(void **state)
{
	struct kv *kv;

	clock_fake_start(UINT64_C(1760000000000));
	if (server != NULL)
		redis_server_flush(server);
	assert_int_equal(kv_open(url, &kv), OK);
	*state = kv;
	return 0;
}

static int
tear_down(void **state)
{
	kv_close(*state);
	clock_fake_stop();
	return 0;
}

static void
pass_time(int64_t ms)
{
	clock_fake_advance((uint64_t)ms);
	if (server != NULL)
		redis_server_pass_time(server, ms);
}

static void
expect(struct kv *kv, const char *brand, const char *key, const char *value)
{
	char *got;

	assert_int_equal(kv_get(kv, brand, key, &got), OK);
	assert_string_equal(got, value);
	mem_free(got);
}

static void
expect_none(struct kv *kv, const char *brand, const char *key)
{
	char *got;

	assert_int_equal(kv_get(kv, brand, key, &got), ERR_NOT_FOUND);
}

static void
a_value_is_kept_for_its_brand_only(void **state)
{
	struct kv *kv = *state;

	assert_int_equal(kv_set(kv, "acme", "k", "v1", 0), OK);
	expect(kv, "acme", "k", "v1");
	expect_none(kv, "other", "k");
	assert_int_equal(kv_set(kv, "other", "k", "v2", 0), OK);
	assert_int_equal(kv_set(kv, "acme", "k", "v3", 0), OK);
	expect(kv, "acme", "k", "v3");
	expect(kv, "other", "k", "v2");
	assert_int_equal(kv_delete(kv, "acme", "k"), OK);
	assert_int_equal(kv_delete(kv, "acme", "k"), OK);
	expect_none(kv, "acme", "k");
	expect(kv, "other", "k", "v2");
}

static void
an_expired_value_is_gone(void **state)
{
	struct kv *kv = *state;

	assert_int_equal(kv_set(kv, "acme", "k", "v", 2000), OK);
	assert_int_equal(kv_set(kv, "acme", "day", "v", 0), OK);
	pass_time(2000 - MARGIN);
	expect(kv, "acme", "k", "v");
	pass_time(MARGIN);
	expect_none(kv, "acme", "k");
	pass_time(24 * 3600 * 1000 - 2000 - MARGIN);
	expect(kv, "acme", "day", "v");
	pass_time(MARGIN);
	expect_none(kv, "acme", "day");
}

static void
a_full_brand_is_refused_until_something_expires(void **state)
{
	struct kv *kv = *state;
	char key[32];

	for (int i = 0; i < KV_BRAND_ENTRIES_MAX; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(
		    kv_set(kv, "acme", key, "v", i == 77 ? 1000 : 0), OK);
	}
	assert_int_equal(kv_set(kv, "acme", "more", "v", 0), ERR_TOO_LARGE);
	assert_int_equal(kv_set(kv, "acme", "k5", "new", 0), OK);
	assert_int_equal(kv_set(kv, "other", "more", "v", 0), OK);
	pass_time(1000);
	assert_int_equal(kv_set(kv, "acme", "more", "v", 0), OK);
	assert_int_equal(kv_set(kv, "acme", "again", "v", 0), ERR_TOO_LARGE);
	expect(kv, "acme", "k5", "new");
	expect_none(kv, "acme", "k77");
}

static void
a_brand_has_sixteen_mebibytes(void **state)
{
	struct kv *kv = *state;
	char *value = mem_zero(65537);
	char key[32];
	int stored = 0;

	memset(value, 'x', 65536);
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		if (kv_set(kv, "acme", key, value, 0) == OK)
			stored++;
	}
	assert_int_equal(stored, 255); /* each carries its key and head */
	mem_free(value);
}

static void
bad_arguments_are_refused(void **state)
{
	struct kv *kv = *state;
	char *big = mem_zero(65538);
	uint64_t wait;
	char *got;

	memset(big, 'x', 65537);
	assert_int_equal(kv_set(kv, "acme", "k", big, 0), ERR_TOO_LARGE);
	assert_int_equal(kv_set(kv, "acme", big, "v", 0), ERR_TOO_LARGE);
	assert_int_equal(kv_set(kv, "acme", "", "v", 0), ERR_INVALID);
	assert_int_equal(kv_get(kv, "No Brand", "k", &got), ERR_INVALID);
	assert_int_equal(kv_take_token(kv, "k", 0, 1, &wait), ERR_INVALID);
	assert_int_equal(kv_take_token(kv, "", 1, 1, &wait), ERR_INVALID);
	assert_int_equal(kv_open("etcd:", &kv), ERR_CONFIG);
	mem_free(big);
}

static void
a_bucket_gives_its_burst_and_then_refills_evenly(void **state)
{
	struct kv *kv = *state;
	uint64_t wait = 0;

	for (int i = 0; i < 5; i++)
		assert_int_equal(kv_take_token(kv, "b", 60, 5, &wait), OK);
	assert_int_equal(
	    kv_take_token(kv, "b", 60, 5, &wait), ERR_RATE_LIMITED);
	assert_int_equal(wait, 1000);
	assert_int_equal(kv_take_token(kv, "other", 60, 5, &wait), OK);
	clock_fake_advance(400);
	assert_int_equal(
	    kv_take_token(kv, "b", 60, 5, &wait), ERR_RATE_LIMITED);
	assert_int_equal(wait, 600);
	clock_fake_advance(wait);
	assert_int_equal(kv_take_token(kv, "b", 60, 5, &wait), OK);
	assert_int_equal(
	    kv_take_token(kv, "b", 60, 5, &wait), ERR_RATE_LIMITED);
	clock_fake_advance(3600 * 1000);
	for (int i = 0; i < 5; i++)
		assert_int_equal(kv_take_token(kv, "b", 60, 5, &wait), OK);
	assert_int_equal(
	    kv_take_token(kv, "b", 60, 5, &wait), ERR_RATE_LIMITED);
}

static void
waiting_as_told_is_always_enough(void **state)
{
	struct kv *kv = *state;
	uint64_t wait;

	for (int64_t rate = 7; rate < 100000; rate = rate * 3 + 1) {
		char key[32];

		snprintf(key, sizeof(key), "r%lld", (long long)rate);
		assert_int_equal(kv_take_token(kv, key, rate, 1, &wait), OK);
		for (int i = 0; i < 20; i++) {
			assert_int_equal(kv_take_token(kv, key, rate, 1, &wait),
			    ERR_RATE_LIMITED);
			clock_fake_advance(wait);
			assert_int_equal(
			    kv_take_token(kv, key, rate, 1, &wait), OK);
		}
	}
}

static void
the_idlest_bucket_is_dropped(void **state)
{
	struct kv_buckets *buckets = kv__buckets_new(16); /* one a shard */
	uint64_t wait;
	char key[32];

	(void)state;
	assert_int_equal(kv__buckets_take(buckets, "k", 1, 1, &wait), OK);
	assert_int_equal(
	    kv__buckets_take(buckets, "k", 1, 1, &wait), ERR_RATE_LIMITED);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "o%d", i);
		assert_int_equal(
		    kv__buckets_take(buckets, key, 1, 1, &wait), OK);
	}
	assert_int_equal(kv__buckets_take(buckets, "k", 1, 1, &wait), OK);
	kv__buckets_free(buckets);
}

static void
many_buckets_keep_their_counts(void **state)
{
	struct kv *kv = *state;
	uint64_t wait;
	char key[32];

	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 5000; i++) {
			snprintf(key, sizeof(key), "u%d", i);
			assert_int_equal(kv_take_token(kv, key, 1, 1, &wait),
			    round == 0 ? OK : ERR_RATE_LIMITED);
		}
}

struct crowd {
	struct kv *kv;
	_Atomic int taken, alive;
};

static void
crowd_run(void *arg)
{
	struct crowd *c = arg;
	char key[16], *got;
	uint64_t wait;

	for (int i = 0; i < 1000; i++) {
		if (kv_take_token(c->kv, "shared", 1, 500, &wait) == OK)
			atomic_fetch_add(&c->taken, 1);
		snprintf(key, sizeof(key), "k%d", i % 50);
		if (kv_set(c->kv, "acme", key, key, 0) == OK &&
		    kv_get(c->kv, "acme", key, &got) == OK)
			mem_free(got);
	}
	atomic_fetch_sub(&c->alive, 1);
}

static void
loops_never_take_more_than_the_burst(void **state)
{
	struct crowd c = { .kv = *state, .alive = 4 };

	for (unsigned i = 0; i < 4; i++)
		assert_true(
		    loop_spawn(loop_at(i % 2), SERVICE_NONE, crowd_run, &c));
	clock_fake_stop(); /* or nobody could sleep */
	while (atomic_load(&c.alive) > 0)
		assert_int_equal(fiber_sleep(5), OK);
	assert_int_equal(c.taken, 500);
}

static void
a_lease_has_one_owner(void **state)
{
	struct kv *kv = *state;

	assert_int_equal(kv_lease_take(kv, "c1", "me", 10000), OK);
	assert_int_equal(kv_lease_take(kv, "c1", "you", 10000), ERR_CONFLICT);
	assert_int_equal(kv_lease_take(kv, "c2", "you", 10000), OK);
	assert_int_equal(kv_lease_take(kv, "c1", "me", 10000), OK);
	assert_int_equal(kv_lease_renew(kv, "c1", "you", 10000), ERR_CONFLICT);
	assert_int_equal(kv_lease_release(kv, "c1", "you"), OK);
	assert_int_equal(kv_lease_take(kv, "c1", "you", 10000), ERR_CONFLICT);
	assert_int_equal(kv_lease_release(kv, "c1", "me"), OK);
	assert_int_equal(kv_lease_renew(kv, "c1", "me", 10000), ERR_CONFLICT);
	assert_int_equal(kv_lease_take(kv, "c1", "you", 10000), OK);
}

static void
a_lease_that_is_not_renewed_is_lost(void **state)
{
	struct kv *kv = *state;

	assert_int_equal(kv_lease_take(kv, "c1", "me", 10000), OK);
	pass_time(10000 - MARGIN);
	assert_int_equal(kv_lease_renew(kv, "c1", "me", 10000), OK);
	pass_time(10000 - MARGIN);
	assert_int_equal(kv_lease_take(kv, "c1", "you", 10000), ERR_CONFLICT);
	pass_time(MARGIN);
	assert_int_equal(kv_lease_take(kv, "c1", "you", 10000), OK);
	assert_int_equal(kv_lease_renew(kv, "c1", "me", 10000), ERR_CONFLICT);
	assert_int_equal(kv_lease_take(kv, "", "me", 1), ERR_INVALID);
	assert_int_equal(kv_lease_take(kv, "k", "", 1), ERR_INVALID);
	assert_int_equal(kv_lease_take(kv, "k", "me", 0), ERR_INVALID);
}

static void
embedded_leases_have_a_ceiling(void **state)
{
	struct kv_leases *leases = kv__leases_new(2);

	(void)state;
	assert_int_equal(kv__leases_take(leases, "a", "t", 1000, true), OK);
	assert_int_equal(kv__leases_take(leases, "b", "t", 9000, true), OK);
	assert_int_equal(
	    kv__leases_take(leases, "c", "t", 9000, true), ERR_OVERLOADED);
	clock_fake_advance(1000);
	assert_int_equal(kv__leases_take(leases, "c", "t", 9000, true), OK);
	kv__leases_free(leases);
}

/* Redis goes away under it. */
static void
without_redis_limits_are_open_and_the_rest_says_so(void **state)
{
	double before = metric_value(METRIC_RATE_OPEN, METRIC_NO_LABELS);
	struct kv *kv = *state;
	uint64_t wait;
	char *got;

	if (server == NULL)
		return;
	redis_server_kill(server);
	clock_fake_stop();
	for (int i = 0; i < 20; i++)
		assert_int_equal(kv_take_token(kv, "k", 1, 1, &wait), OK);
	assert_true(
	    metric_value(METRIC_RATE_OPEN, METRIC_NO_LABELS) == before + 20);
	assert_int_equal(kv_get(kv, "acme", "k", &got), ERR_UNAVAILABLE);
	assert_int_equal(kv_set(kv, "acme", "k", "v", 0), ERR_UNAVAILABLE);
	assert_non_null(strstr(err_message(), "Redis 127.0.0.1:"));
	assert_int_equal(kv_lease_take(kv, "k", "me", 1), ERR_UNAVAILABLE);
	redis_server_restart(server);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest kv_contract[] = {
		T(a_value_is_kept_for_its_brand_only),
		T(an_expired_value_is_gone),
		T(a_full_brand_is_refused_until_something_expires),
		T(a_brand_has_sixteen_mebibytes),
		T(bad_arguments_are_refused),
		T(a_bucket_gives_its_burst_and_then_refills_evenly),
		T(waiting_as_told_is_always_enough),
		T(the_idlest_bucket_is_dropped),
		T(many_buckets_keep_their_counts),
		T(loops_never_take_more_than_the_burst),
		T(a_lease_has_one_owner),
		T(a_lease_that_is_not_renewed_is_lost),
		T(embedded_leases_have_a_ceiling),
		T(without_redis_limits_are_open_and_the_rest_says_so),
	};
	int failed = 0;

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		url = urls[i];
		if (str_starts(url, "redis:")) {
			if (!redis_server_have())
				continue;
			server = redis_server_start(NULL);
			redis_server_configure(server);
		}
		failed += fiber_group(kv_contract, NULL, NULL);
		redis_server_stop(server);
		server = NULL;
	}
	return failed;
}
