/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of the store, over every back end: sources and their leases,
 * keys, scripts, and the decorators. What is said is in store_talk_test.c.
 */
#include "store_fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"

#define HASH_A                                                                 \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B                                                                 \
	"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define LEASE ((int64_t)30000)

/* ---- sources ---- */

static struct source
upload(const char *brand, const char *title, const char *hash)
{
	struct source s = { 0 };

	str_copy(s.brand_id, sizeof(s.brand_id), brand);
	s.title = mem_strdup(title);
	s.content_type = mem_strdup("text/plain");
	s.metadata = mem_strdup("{\"b\":1,\"a\":2}");
	str_copy(s.sha256, sizeof(s.sha256), hash);
	s.object_key = mem_printf("%s/%s", brand, hash);
	s.size_bytes = 12;
	str_copy(s.correlation_id, sizeof(s.correlation_id), "rq_1");
	return s;
}

static struct source
added(struct store *store, const char *brand, const char *title)
{
	struct source s = upload(brand, title, HASH_A);
	bool existed = true;

	assert_int_equal(store_source_add(store, &s, false, &existed), OK);
	assert_false(existed);
	return s;
}

static enum source_status
status_of(struct store *store, const struct source *source)
{
	struct source row;
	enum source_status status;

	assert_int_equal(
	    store_source_get(store, source->brand_id, source->id, &row), OK);
	status = row.status;
	source_done(&row);
	return status;
}

static enum err_code
claim(struct store *store, const struct source *s, int64_t version,
    const char *owner)
{
	struct source row;
	enum err_code rc = store_source_claim(
	    store, s->brand_id, s->id, version, owner, LEASE, 5, &row);

	if (rc == OK)
		source_done(&row);
	return rc;
}

static void
a_new_source_is_pending_and_complete(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual"), row;

	assert_true(ident_valid(s.id, "kn"));
	assert_int_equal(store_source_get(store, "acme", s.id, &row), OK);
	assert_int_equal(row.status, SOURCE_PENDING);
	assert_string_equal(row.title, "Manual");
	assert_string_equal(row.metadata, "{\"a\":2,\"b\":1}");
	assert_string_equal(row.sha256, HASH_A);
	assert_string_equal(row.step, "");
	assert_string_equal(row.steps, "[]");
	assert_string_equal(row.error_code, "");
	assert_string_equal(row.correlation_id, "rq_1");
	assert_null(row.external_id);
	assert_int_equal(row.version, 1);
	assert_int_equal(row.live_version, 0);
	assert_int_equal(row.size_bytes, 12);
	assert_int_equal(row.created_at, STORE_FIXTURE_START);
	source_done(&row);
	source_done(&s);
}

static void
another_brand_never_sees_a_source(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual"), row;

	assert_int_equal(
	    store_source_get(store, "other", s.id, &row), ERR_NOT_FOUND);
	assert_int_equal(
	    store_source_delete(store, "other", s.id, &row), ERR_NOT_FOUND);
	assert_int_equal(
	    store_source_retry(store, "other", s.id), ERR_NOT_FOUND);
	assert_int_equal(
	    store_source_cancel(store, "other", s.id), ERR_NOT_FOUND);
	assert_int_equal(
	    store_source_claim(store, "other", s.id, 1, "w", LEASE, 5, &row),
	    ERR_NOT_FOUND);
	source_done(&s);
}

static void
the_same_document_again_is_the_same_source(void **state)
{
	struct store *store = store_of(state);
	struct source first = added(store, "acme", "Manual");
	struct source again = upload("acme", "Manual", HASH_A);
	struct source titled = upload("acme", "Other title", HASH_A);
	bool existed;

	/* Metadata is compared as JSON, whatever the order of its keys. */
	mem_free(again.metadata);
	again.metadata = mem_strdup("{ \"a\": 2, \"b\": 1 }");
	assert_int_equal(store_source_add(store, &again, false, &existed), OK);
	assert_true(existed);
	assert_string_equal(again.id, first.id);
	assert_int_equal(again.version, 1);
	assert_int_equal(store_source_add(store, &titled, false, &existed), OK);
	assert_false(existed);
	assert_string_not_equal(titled.id, first.id);
	source_done(&first);
	source_done(&again);
	source_done(&titled);
}

static void
force_makes_a_new_version_of_the_same_source(void **state)
{
	struct store *store = store_of(state);
	struct source first = added(store, "acme", "Manual");
	struct source again = upload("acme", "Manual", HASH_A);
	bool existed;

	assert_int_equal(store_source_add(store, &again, true, &existed), OK);
	assert_false(existed);
	assert_string_equal(again.id, first.id);
	assert_int_equal(again.version, 2);
	assert_int_equal(again.status, SOURCE_PENDING);
	source_done(&first);
	source_done(&again);
}

/* Whoever stores the objects learns which one is of no use any more. */
static void
a_new_version_names_the_object_that_it_replaces(void **state)
{
	struct store *store = store_of(state);
	struct source first = added(store, "acme", "Manual");
	struct source again = upload("acme", "Manual", HASH_A), row;
	char *old = mem_strdup(first.object_key);
	bool existed;

	assert_null(first.old_object_key);
	mem_free(again.object_key);
	again.object_key = mem_strdup("acme/second");
	assert_int_equal(store_source_add(store, &again, true, &existed), OK);
	assert_string_equal(again.old_object_key, old);
	assert_int_equal(store_source_get(store, "acme", again.id, &row), OK);
	assert_null(row.old_object_key);
	/* The same object again (a reindex) replaces nothing. */
	assert_int_equal(store_source_replace(store, &row), OK);
	assert_int_equal(row.version, 3);
	assert_null(row.old_object_key);
	mem_free(row.object_key);
	row.object_key = mem_strdup("acme/third");
	assert_int_equal(store_source_replace(store, &row), OK);
	assert_string_equal(row.old_object_key, "acme/second");
	source_done(&row);
	/* Nor does an upload that changes nothing. */
	mem_free(again.object_key);
	again.object_key = mem_strdup("acme/fourth");
	assert_int_equal(store_source_add(store, &again, false, &existed), OK);
	assert_true(existed);
	assert_null(again.old_object_key);
	mem_free(old);
	source_done(&first);
	source_done(&again);
}

static void
an_external_id_names_one_source_through_its_versions(void **state)
{
	struct store *store = store_of(state);
	struct source a = upload("acme", "Manual", HASH_A);
	struct source b = upload("acme", "Manual", HASH_B);
	struct source c = upload("acme", "Manual", HASH_B);
	bool existed;

	a.external_id = mem_strdup("doc-1");
	b.external_id = mem_strdup("doc-1");
	c.external_id = mem_strdup("doc-1");
	assert_int_equal(store_source_add(store, &a, false, &existed), OK);
	assert_int_equal(store_source_add(store, &b, false, &existed), OK);
	assert_false(existed);
	assert_string_equal(b.id, a.id);
	assert_int_equal(b.version, 2);
	assert_string_equal(b.sha256, HASH_B);
	assert_int_equal(store_source_add(store, &c, false, &existed), OK);
	assert_true(existed);
	assert_int_equal(c.version, 2);
	source_done(&a);
	source_done(&b);
	source_done(&c);
}

static void
only_one_worker_claims_a_document(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual"), row;

	assert_int_equal(
	    store_source_claim(store, "acme", s.id, 1, "w1", LEASE, 5, &row),
	    OK);
	assert_int_equal(row.status, SOURCE_PROCESSING);
	assert_int_equal(row.attempts, 1);
	assert_string_equal(row.lease_owner, "w1");
	assert_int_equal(row.lease_until, STORE_FIXTURE_START + LEASE);
	source_done(&row);
	assert_int_equal(claim(store, &s, 1, "w2"), ERR_CONFLICT);
	assert_int_equal(claim(store, &s, 1, "w1"), ERR_CONFLICT);
	source_done(&s);
}

/* Fibers of both loops race; none of them asserts. */
struct race {
	struct store *store;
	const struct source *source;
	_Atomic int next, won, lost, wrong, alive;
};

static void
race_to_claim(void *arg)
{
	struct race *r = arg;
	struct source row;
	char owner[16];
	enum err_code rc;

	snprintf(owner, sizeof(owner), "w%d", atomic_fetch_add(&r->next, 1));
	rc = store_source_claim(r->store, r->source->brand_id, r->source->id, 1,
	    owner, LEASE, 5, &row);
	if (rc == OK) {
		atomic_fetch_add(&r->won, 1);
		if (!str_eq(row.lease_owner, owner))
			atomic_fetch_add(&r->wrong, 1);
		source_done(&row);
	} else {
		atomic_fetch_add(rc == ERR_CONFLICT ? &r->lost : &r->wrong, 1);
	}
	atomic_fetch_sub(&r->alive, 1);
}

static void
race_to_answer(void *arg)
{
	struct race *r = arg;
	char *answer = NULL;
	enum err_code rc =
	    store_dedup_begin(r->store, "raced", "f", 1000, &answer);

	if (rc == OK && answer == NULL)
		atomic_fetch_add(&r->won, 1);
	else
		atomic_fetch_add(rc == ERR_CONFLICT ? &r->lost : &r->wrong, 1);
	mem_free(answer);
	atomic_fetch_sub(&r->alive, 1);
}

static void
run_race(struct race *r, fiber_fn fn)
{
	atomic_store(&r->alive, 40);
	for (unsigned i = 0; i < 40; i++)
		assert_true(loop_spawn(loop_at(i % 2), SERVICE_WORKER, fn, r));
	while (atomic_load(&r->alive) > 0)
		assert_int_equal(fiber_sleep(1), OK);
	assert_int_equal(r->won, 1);
	assert_int_equal(r->lost, 39);
	assert_int_equal(r->wrong, 0);
}

static void
of_many_workers_one_wins(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual");
	struct race r = { .store = store, .source = &s };

	clock_fake_stop(); /* sleeping needs real time */
	run_race(&r, race_to_claim);
	source_done(&s);
}

static void
of_many_copies_of_a_message_one_runs(void **state)
{
	struct race r = { .store = store_of(state) };

	clock_fake_stop();
	run_race(&r, race_to_answer);
}

static void
a_job_for_an_older_version_claims_nothing(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual");

	assert_int_equal(claim(store, &s, 2, "w1"), ERR_CONFLICT);
	assert_int_equal(status_of(store, &s), SOURCE_PENDING);
	source_done(&s);
}

static void
figures_count_by_status_and_know_the_longest_standstill(void **state)
{
	struct store *store = store_of(state);
	struct store_figures figures;
	struct source a, b;

	assert_int_equal(store_figures(store, &figures), OK);
	assert_int_equal(figures.sources[SOURCE_PENDING], 0);
	assert_int_equal(figures.still_since, 0);
	a = added(store, "acme", "Manual");
	clock_fake_advance(5000);
	b = added(store, "other", "Prices");
	assert_int_equal(claim(store, &b, 1, "w1"), OK);
	assert_int_equal(store_figures(store, &figures), OK);
	assert_int_equal(figures.sources[SOURCE_PENDING], 1);
	assert_int_equal(figures.sources[SOURCE_PROCESSING], 1);
	assert_int_equal(figures.sources[SOURCE_READY], 0);
	assert_int_equal(figures.still_since, a.updated_at);
	assert_true(b.updated_at > a.updated_at);
	source_done(&a);
	source_done(&b);
}

static void
a_worker_that_lost_its_lease_changes_nothing(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual"), row;
	int64_t old;

	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	clock_fake_advance(LEASE + 1);
	assert_int_equal(claim(store, &s, 1, "w2"), OK);
	assert_int_equal(
	    store_source_renew(store, s.id, "w1", LEASE), ERR_CONFLICT);
	assert_int_equal(
	    store_source_progress(store, s.id, "w1", "chunk", 1, 2, "[]"),
	    ERR_CONFLICT);
	assert_int_equal(
	    store_source_ready(store, s.id, "w1", 1, 3, "[]", &old),
	    ERR_CONFLICT);
	assert_int_equal(store_source_fail(store, s.id, "w1", "io", "x", true,
			     false, 0, "[]"),
	    ERR_CONFLICT);
	assert_int_equal(
	    store_source_cancelled(store, s.id, "w1"), ERR_CONFLICT);
	assert_int_equal(store_source_get(store, "acme", s.id, &row), OK);
	assert_int_equal(row.status, SOURCE_PROCESSING);
	assert_string_equal(row.lease_owner, "w2");
	assert_int_equal(row.attempts, 2);
	assert_string_equal(row.step, "");
	source_done(&row);
	source_done(&s);
}

static void
a_renewed_lease_keeps_others_out(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual");

	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	clock_fake_advance(LEASE - 1);
	assert_int_equal(store_source_renew(store, s.id, "w1", LEASE), OK);
	clock_fake_advance(LEASE - 1);
	assert_int_equal(claim(store, &s, 1, "w2"), ERR_CONFLICT);
	clock_fake_advance(2);
	assert_int_equal(claim(store, &s, 1, "w2"), OK);
	source_done(&s);
}

static void
ready_switches_the_live_version(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual"), row;
	int64_t old = -1;

	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	assert_int_equal(store_source_progress(store, s.id, "w1", "embed", 2, 8,
			     "[{\"name\":\"embed\"}]"),
	    OK);
	assert_int_equal(
	    store_source_ready(store, s.id, "w1", 2, 8, "[]", &old),
	    ERR_CONFLICT);
	assert_int_equal(
	    store_source_ready(store, s.id, "w1", 1, 8, "[1]", &old), OK);
	assert_int_equal(old, 0);
	assert_int_equal(store_source_get(store, "acme", s.id, &row), OK);
	assert_int_equal(row.status, SOURCE_READY);
	assert_int_equal(row.live_version, 1);
	assert_int_equal(row.chunks, 8);
	assert_string_equal(row.steps, "[1]");
	assert_string_equal(row.step, "embed");
	assert_string_equal(row.lease_owner, "");
	source_done(&row);
	assert_int_equal(claim(store, &s, 1, "w2"), ERR_CONFLICT);
	source_done(&s);
}

static void
make_ready(struct store *store, const struct source *s, int64_t version)
{
	int64_t old;

	assert_int_equal(claim(store, s, version, "w"), OK);
	assert_int_equal(
	    store_source_ready(store, s->id, "w", version, 1, "[]", &old), OK);
	assert_int_equal(old, version - 1);
}

static void
a_failed_new_version_leaves_the_old_one_live(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual"), row;
	struct source next = upload("acme", "Manual", HASH_B);

	make_ready(store, &s, 1);
	str_copy(next.id, sizeof(next.id), s.id);
	assert_int_equal(store_source_replace(store, &next), OK);
	assert_int_equal(next.version, 2);
	assert_int_equal(next.live_version, 1);
	assert_int_equal(next.status, SOURCE_PENDING);
	assert_int_equal(claim(store, &s, 1, "w1"), ERR_CONFLICT);
	assert_int_equal(claim(store, &s, 2, "w1"), OK);
	assert_int_equal(store_source_fail(store, s.id, "w1", "guard_blocked",
			     "no", false, false, 0, "[]"),
	    OK);
	assert_int_equal(store_source_get(store, "acme", s.id, &row), OK);
	assert_int_equal(row.status, SOURCE_READY);
	assert_int_equal(row.live_version, 1);
	assert_string_equal(row.error_code, "guard_blocked");
	source_done(&row);
	/* And it can be tried again. */
	assert_int_equal(store_source_retry(store, "acme", s.id), OK);
	make_ready(store, &s, 2);
	source_done(&s);
	source_done(&next);
}

static void
the_live_versions_of_many_are_told_at_once(void **state)
{
	struct store *store = store_of(state);
	struct source one = added(store, "acme", "One"), two;
	const char *ids[3] = { one.id, "kn_nothing", NULL };
	int64_t live[3], old;
	bool existed;

	two = upload("acme", "Two", HASH_B);
	assert_int_equal(store_source_add(store, &two, false, &existed), OK);
	ids[2] = two.id;
	assert_int_equal(claim(store, &one, 1, "w"), OK);
	assert_int_equal(
	    store_source_ready(store, one.id, "w", 1, 3, "[]", &old), OK);
	assert_int_equal(store_live_versions(store, "acme", ids, 3, live), OK);
	assert_int_equal(live[0], 1);
	assert_int_equal(live[1], 0);
	assert_int_equal(live[2], 0);
	/* Another brand has none of them. */
	assert_int_equal(store_live_versions(store, "other", ids, 1, live), OK);
	assert_int_equal(live[0], 0);
	assert_int_equal(store_live_versions(store, "acme", ids, 0, live), OK);
	assert_int_equal(
	    store_live_versions(store, "acme", ids, 1001, live), ERR_TOO_LARGE);
	source_done(&one);
	source_done(&two);
}

static void
a_replacement_fences_the_worker_of_the_older_version(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual");
	struct source next = upload("acme", "Manual", HASH_B);
	int64_t old;

	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	str_copy(next.id, sizeof(next.id), s.id);
	assert_int_equal(store_source_replace(store, &next), OK);
	assert_int_equal(
	    store_source_ready(store, s.id, "w1", 1, 8, "[]", &old),
	    ERR_CONFLICT);
	assert_int_equal(claim(store, &s, 2, "w2"), OK);
	assert_int_equal(
	    store_source_ready(store, s.id, "w2", 2, 8, "[]", &old), OK);
	assert_int_equal(old, 0);
	source_done(&s);
	source_done(&next);
}

static void
waiting_for_a_back_end_uses_up_no_attempt(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual"), row;

	for (int i = 0; i < 8; i++) {
		assert_int_equal(claim(store, &s, 1, "w1"), OK);
		assert_int_equal(
		    store_source_fail(store, s.id, "w1", "unavailable",
			"storage is away", true, true,
			STORE_FIXTURE_START + 1000 * (i + 1), "[]"),
		    OK);
		clock_fake_advance(1000);
	}
	assert_int_equal(store_source_get(store, "acme", s.id, &row), OK);
	assert_int_equal(row.attempts, 0);
	assert_int_equal(row.waiting_since, STORE_FIXTURE_START);
	source_done(&row);
	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	assert_int_equal(store_source_fail(store, s.id, "w1", "io", "x", true,
			     false, STORE_FIXTURE_START + 9000, "[]"),
	    OK);
	assert_int_equal(store_source_get(store, "acme", s.id, &row), OK);
	assert_int_equal(row.attempts, 1);
	assert_int_equal(row.waiting_since, 0);
	source_done(&row);
	source_done(&s);
}

static void
a_failure_with_a_retry_waits_until_it_is_due(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual");
	struct source_list list;

	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	assert_int_equal(store_source_fail(store, s.id, "w1", "upstream", "502",
			     true, false, STORE_FIXTURE_START + 5000, "[]"),
	    OK);
	assert_int_equal(status_of(store, &s), SOURCE_PENDING);
	assert_int_equal(store_source_stuck(store, 10, &list), OK);
	assert_int_equal(list.count, 0);
	source_list_done(&list);
	clock_fake_advance(5000);
	assert_int_equal(store_source_stuck(store, 10, &list), OK);
	assert_int_equal(list.count, 1);
	assert_string_equal(list.items[0].id, s.id);
	assert_int_equal(
	    list.items[0].next_attempt_at, STORE_FIXTURE_START + 5000);
	assert_true(list.items[0].error_retryable);
	source_list_done(&list);
	source_done(&s);
}

static void
an_expired_lease_is_stuck_and_a_held_one_is_not(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual");
	struct source_list list;

	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	assert_int_equal(store_source_stuck(store, 10, &list), OK);
	assert_int_equal(list.count, 0);
	source_list_done(&list);
	clock_fake_advance(LEASE + 1);
	assert_int_equal(store_source_stuck(store, 10, &list), OK);
	assert_int_equal(list.count, 1);
	source_list_done(&list);
	source_done(&s);
}

static void
attempts_run_out(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual"), row;

	for (int i = 0; i < 5; i++) {
		assert_int_equal(claim(store, &s, 1, "w1"), OK);
		clock_fake_advance(LEASE + 1);
	}
	assert_int_equal(claim(store, &s, 1, "w1"), ERR_CONFLICT);
	assert_int_equal(store_source_get(store, "acme", s.id, &row), OK);
	assert_int_equal(row.status, SOURCE_FAILED);
	assert_string_equal(row.error_code, "attempts_exhausted");
	source_done(&row);
	assert_int_equal(store_source_retry(store, "acme", s.id), OK);
	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	source_done(&s);
}

static void
a_failed_document_uploaded_again_is_tried_again(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual");
	struct source again = upload("acme", "Manual", HASH_A);
	bool existed = false;

	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	assert_int_equal(store_source_fail(store, s.id, "w1", "io", "x", false,
			     false, 0, "[]"),
	    OK);
	assert_int_equal(status_of(store, &s), SOURCE_FAILED);
	assert_int_equal(store_source_add(store, &again, false, &existed), OK);
	assert_true(existed);
	assert_string_equal(again.id, s.id);
	assert_int_equal(again.status, SOURCE_PENDING);
	assert_int_equal(again.attempts, 0);
	assert_string_equal(again.error_code, "");
	source_done(&again);
	source_done(&s);
}

static void
cancel_reaches_the_worker_at_its_next_write(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual"), row;
	int64_t old;

	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	assert_int_equal(store_source_cancel(store, "acme", s.id), OK);
	assert_int_equal(store_source_get(store, "acme", s.id, &row), OK);
	assert_int_equal(row.status, SOURCE_PROCESSING);
	assert_true(row.cancel_requested);
	source_done(&row);
	assert_int_equal(
	    store_source_renew(store, s.id, "w1", LEASE), ERR_CANCELLED);
	assert_int_equal(
	    store_source_progress(store, s.id, "w1", "chunk", 0, 0, "[]"),
	    ERR_CANCELLED);
	assert_int_equal(
	    store_source_ready(store, s.id, "w1", 1, 1, "[]", &old),
	    ERR_CANCELLED);
	assert_int_equal(store_source_cancelled(store, s.id, "w1"), OK);
	assert_int_equal(status_of(store, &s), SOURCE_CANCELLED);
	assert_int_equal(
	    store_source_cancel(store, "acme", s.id), ERR_CONFLICT);
	source_done(&s);
}

static void
cancel_of_a_waiting_or_abandoned_document_is_immediate(void **state)
{
	struct store *store = store_of(state);
	struct source a = added(store, "acme", "A");
	struct source b = added(store, "acme", "B");

	assert_int_equal(store_source_cancel(store, "acme", a.id), OK);
	assert_int_equal(status_of(store, &a), SOURCE_CANCELLED);
	assert_int_equal(claim(store, &a, 1, "w1"), ERR_CONFLICT);
	assert_int_equal(claim(store, &b, 1, "w1"), OK);
	clock_fake_advance(LEASE + 1);
	assert_int_equal(store_source_cancel(store, "acme", b.id), OK);
	assert_int_equal(status_of(store, &b), SOURCE_CANCELLED);
	assert_int_equal(
	    store_source_renew(store, b.id, "w1", LEASE), ERR_CONFLICT);
	assert_int_equal(store_source_retry(store, "acme", b.id), OK);
	assert_int_equal(status_of(store, &b), SOURCE_PENDING);
	source_done(&a);
	source_done(&b);
}

static void
a_cancel_whose_worker_died_ends_at_the_next_claim(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual");

	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	assert_int_equal(store_source_cancel(store, "acme", s.id), OK);
	clock_fake_advance(LEASE + 1);
	assert_int_equal(claim(store, &s, 1, "w2"), ERR_CONFLICT);
	assert_int_equal(status_of(store, &s), SOURCE_CANCELLED);
	source_done(&s);
}

static void
a_waiting_document_cannot_be_retried(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual");

	assert_int_equal(store_source_retry(store, "acme", s.id), ERR_CONFLICT);
	source_done(&s);
}

static void
delete_gives_the_row_and_frees_its_names(void **state)
{
	struct store *store = store_of(state);
	struct source s = added(store, "acme", "Manual"), row;

	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	assert_int_equal(store_source_delete(store, "acme", s.id, &row), OK);
	assert_string_equal(row.object_key, "acme/" HASH_A);
	source_done(&row);
	assert_int_equal(
	    store_source_get(store, "acme", s.id, &row), ERR_NOT_FOUND);
	assert_int_equal(
	    store_source_renew(store, s.id, "w1", LEASE), ERR_CONFLICT);
	source_done(&s);
	s = added(store, "acme", "Manual");
	source_done(&s);
}

static void
a_list_pages_through_every_source_once(void **state)
{
	struct store *store = store_of(state);
	struct source_list page;
	char *cursor = NULL;
	int seen = 0, pages = 0;

	for (int i = 0; i < 7; i++) {
		char title[16];
		struct source s;

		snprintf(title, sizeof(title), "T%d", i);
		s = added(store, "acme", title);
		source_done(&s);
		if (i % 2 == 1) /* pairs share a millisecond */
			clock_fake_advance(1);
	}
	do {
		assert_int_equal(store_source_list(
				     store, "acme", -1, NULL, cursor, 3, &page),
		    OK);
		mem_free(cursor);
		cursor = page.next_cursor;
		page.next_cursor = NULL;
		seen += (int)page.count;
		pages++;
		if (pages == 1)
			assert_string_equal(page.items[0].title, "T6");
		source_list_done(&page);
	} while (cursor != NULL && pages < 10);
	assert_int_equal(seen, 7);
	assert_int_equal(pages, 3);
}

static void
a_list_filters_by_status_and_external_id(void **state)
{
	struct store *store = store_of(state);
	struct source a = added(store, "acme", "A");
	struct source b = upload("acme", "B", HASH_B);
	struct source_list list;
	bool existed;

	b.external_id = mem_strdup("x-1");
	assert_int_equal(store_source_add(store, &b, false, &existed), OK);
	make_ready(store, &a, 1);
	assert_int_equal(store_source_list(store, "acme", SOURCE_READY, NULL,
			     NULL, 10, &list),
	    OK);
	assert_int_equal(list.count, 1);
	assert_string_equal(list.items[0].id, a.id);
	assert_null(list.next_cursor);
	source_list_done(&list);
	assert_int_equal(
	    store_source_list(store, "acme", -1, "x-1", NULL, 10, &list), OK);
	assert_int_equal(list.count, 1);
	assert_string_equal(list.items[0].id, b.id);
	source_list_done(&list);
	assert_int_equal(
	    store_source_list(store, "other", -1, NULL, NULL, 10, &list), OK);
	assert_int_equal(list.count, 0);
	source_list_done(&list);
	source_done(&a);
	source_done(&b);
}

static void
bad_arguments_are_named(void **state)
{
	struct store *store = store_of(state);
	struct source s = upload("acme", "Manual", HASH_A), row;
	struct source_list list;
	bool existed;

	assert_int_equal(
	    store_source_get(store, "No Brand", "x", &row), ERR_INVALID);
	assert_int_equal(
	    store_source_list(store, "acme", -1, NULL, NULL, 0, &list),
	    ERR_INVALID);
	assert_int_equal(store_source_list(
			     store, "acme", -1, NULL, "not a cursor", 5, &list),
	    ERR_INVALID);
	mem_free(s.metadata);
	s.metadata = mem_strdup("[1]");
	assert_int_equal(
	    store_source_add(store, &s, false, &existed), ERR_INVALID);
	assert_non_null(strstr(err_message(), "metadata"));
	source_done(&s);
}

/* ---- keys, scripts, decorators ---- */

static void
a_revoked_key_is_not_found(void **state)
{
	struct store *store = store_of(state);
	char id[IDENT_SIZE], other[IDENT_SIZE];
	struct api_key key;
	json_t *items;
	int64_t n;

	assert_int_equal(
	    store_key_add(store, "ops", "admin brand:acme", HASH_A, id), OK);
	assert_int_equal(
	    store_key_add(store, "x", "admin", HASH_A, other), ERR_CONFLICT);
	assert_int_equal(store_key_count(store, &n), OK);
	assert_int_equal(n, 1);
	assert_int_equal(store_key_find(store, HASH_A, &key), OK);
	assert_string_equal(key.id, id);
	assert_string_equal(key.scopes, "admin brand:acme");
	api_key_done(&key);
	assert_int_equal(store_key_find(store, HASH_B, &key), ERR_NOT_FOUND);
	assert_int_equal(store_key_revoke(store, id), OK);
	assert_int_equal(store_key_find(store, HASH_A, &key), ERR_NOT_FOUND);
	assert_int_equal(store_key_revoke(store, "ky_none"), ERR_NOT_FOUND);
	assert_int_equal(store_key_list(store, &items), OK);
	assert_int_equal(json_array_size(items), 1);
	assert_true(json_int(json_array_get(items, 0), "revoked_at", 0) > 0);
	json_decref(items);
	assert_int_equal(store_key_count(store, &n), OK);
	assert_int_equal(n, 0);
	assert_int_equal(store_audit(store, "ops", "key.revoke", id, NULL), OK);
}

static void
the_last_good_scripts_come_back(void **state)
{
	struct store *store = store_of(state);
	char *packed;
	size_t len;

	assert_int_equal(
	    store_scripts_load(store, &packed, &len), ERR_NOT_FOUND);
	for (int i = 0; i < 15; i++) {
		char hash[16];

		snprintf(hash, sizeof(hash), "h%d", i);
		assert_int_equal(store_scripts_save(store, hash, hash, 4), OK);
	}
	assert_int_equal(store_scripts_save(store, "h9", "a\0b", 3), OK);
	assert_int_equal(store_scripts_load(store, &packed, &len), OK);
	assert_int_equal(len, 3);
	assert_memory_equal(packed, "a\0b", 3);
	mem_free(packed);
}

static void
the_store_can_be_written(void **state)
{
	assert_int_equal(store_ping(store_of(state)), OK);
}

static void
the_fault_decorator_fails_the_nth_call(void **state)
{
	struct store_fixture *f = *state;
	struct store *store;
	char *faulty = mem_printf("fault:2:%s", store_fixture_url());
	int64_t n;

	assert_int_equal(store_open(faulty, f->db, &store), OK);
	assert_int_equal(store_key_count(store, &n), OK);
	assert_int_equal(store_key_count(store, &n), ERR_UNAVAILABLE);
	assert_non_null(strstr(err_message(), "key.count"));
	assert_int_equal(store_key_count(store, &n), OK);
	store_close(store);
	mem_free(faulty);
	/* Decorators may stand together. */
	assert_int_equal(store_open("trace:fault:1:", f->db, &store), OK);
	assert_int_equal(store_key_count(store, &n), ERR_UNAVAILABLE);
	store_close(store);
	assert_int_equal(
	    store_open("fault:x:sqlite:", f->db, &store), ERR_CONFIG);
	assert_int_equal(store_open("mongo:", f->db, &store), ERR_CONFIG);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(a_new_source_is_pending_and_complete),
		STORE_TEST(another_brand_never_sees_a_source),
		STORE_TEST(the_same_document_again_is_the_same_source),
		STORE_TEST(force_makes_a_new_version_of_the_same_source),
		STORE_TEST(a_new_version_names_the_object_that_it_replaces),
		STORE_TEST(
		    an_external_id_names_one_source_through_its_versions),
		STORE_TEST(only_one_worker_claims_a_document),
		STORE_TEST(of_many_workers_one_wins),
		STORE_TEST(of_many_copies_of_a_message_one_runs),
		STORE_TEST(a_job_for_an_older_version_claims_nothing),
		STORE_TEST(
		    figures_count_by_status_and_know_the_longest_standstill),
		STORE_TEST(a_worker_that_lost_its_lease_changes_nothing),
		STORE_TEST(a_renewed_lease_keeps_others_out),
		STORE_TEST(ready_switches_the_live_version),
		STORE_TEST(a_failed_new_version_leaves_the_old_one_live),
		STORE_TEST(the_live_versions_of_many_are_told_at_once),
		STORE_TEST(
		    a_replacement_fences_the_worker_of_the_older_version),
		STORE_TEST(a_failure_with_a_retry_waits_until_it_is_due),
		STORE_TEST(waiting_for_a_back_end_uses_up_no_attempt),
		STORE_TEST(an_expired_lease_is_stuck_and_a_held_one_is_not),
		STORE_TEST(attempts_run_out),
		STORE_TEST(a_failed_document_uploaded_again_is_tried_again),
		STORE_TEST(cancel_reaches_the_worker_at_its_next_write),
		STORE_TEST(
		    cancel_of_a_waiting_or_abandoned_document_is_immediate),
		STORE_TEST(a_cancel_whose_worker_died_ends_at_the_next_claim),
		STORE_TEST(a_waiting_document_cannot_be_retried),
		STORE_TEST(delete_gives_the_row_and_frees_its_names),
		STORE_TEST(a_list_pages_through_every_source_once),
		STORE_TEST(a_list_filters_by_status_and_external_id),
		STORE_TEST(bad_arguments_are_named),
		STORE_TEST(a_revoked_key_is_not_found),
		STORE_TEST(the_last_good_scripts_come_back),
		STORE_TEST(the_store_can_be_written),
		STORE_TEST(the_fault_decorator_fails_the_nth_call),
	};

	return store_fixture_run(
	    "store_contract", tests, sizeof(tests) / sizeof(tests[0]));
}
