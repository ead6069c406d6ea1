/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of the store: the same tests over every back end. A new back end
 * adds its URL to `urls` (and opens what it needs in set_up).
 */
#include "fiber_group.h"
#include "postgres_server.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "postgres/postgres.h"
#include "sqlite/sqlite.h"
#include "store/store.h"

static const char *url;

#define HASH_A                                                                 \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B                                                                 \
	"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define LEASE ((int64_t)30000)
#define START UINT64_C(1760000000000)

struct fixture {
	char *folder;
	struct sqlite *db;
	struct store *store;
};

/* Each test begins with an empty store; the embedded one with a new file. */
static void
empty_postgres(void)
{
	struct postgres_batch batch = { 0 };
	struct postgres *link;

	assert_int_equal(postgres_open(url, &link), OK);
	postgres_add(&batch,
	    "TRUNCATE knowledge_sources, conversations, turns, messages, dedup,"
	    " api_keys, audit, script_generations",
	    "");
	assert_int_equal(postgres_run(link, &batch), OK);
	postgres_clear(&batch);
	postgres_close(link);
}

static int
set_up(void **state)
{
	struct fixture *f = mem_zero(sizeof(*f));
	char *path;

	if (str_starts(url, "postgres"))
		empty_postgres();
	clock_fake_start(START);
	f->folder = test_folder_new();
	path = mem_printf("%s/xin.db", f->folder);
	assert_int_equal(sqlite_open(path, &f->db), OK);
	mem_free(path);
	assert_int_equal(store_open(url, f->db, &f->store), OK);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	store_close(f->store);
	sqlite_close(f->db);
	test_folder_remove(f->folder);
	mem_free(f);
	clock_fake_stop();
	return 0;
}

static struct store *
store_of(void **state)
{
	return ((struct fixture *)*state)->store;
}

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
	assert_int_equal(row.created_at, START);
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
	assert_int_equal(row.lease_until, START + LEASE);
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
		assert_int_equal(store_source_fail(store, s.id, "w1",
				     "unavailable", "storage is away", true,
				     true, START + 1000 * (i + 1), "[]"),
		    OK);
		clock_fake_advance(1000);
	}
	assert_int_equal(store_source_get(store, "acme", s.id, &row), OK);
	assert_int_equal(row.attempts, 0);
	assert_int_equal(row.waiting_since, START);
	source_done(&row);
	assert_int_equal(claim(store, &s, 1, "w1"), OK);
	assert_int_equal(store_source_fail(store, s.id, "w1", "io", "x", true,
			     false, START + 9000, "[]"),
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
			     true, false, START + 5000, "[]"),
	    OK);
	assert_int_equal(status_of(store, &s), SOURCE_PENDING);
	assert_int_equal(store_source_stuck(store, 10, &list), OK);
	assert_int_equal(list.count, 0);
	source_list_done(&list);
	clock_fake_advance(5000);
	assert_int_equal(store_source_stuck(store, 10, &list), OK);
	assert_int_equal(list.count, 1);
	assert_string_equal(list.items[0].id, s.id);
	assert_int_equal(list.items[0].next_attempt_at, START + 5000);
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

/* ---- conversations and turns ---- */

static struct conversation
opened(struct store *store, const char *user)
{
	struct conversation c;

	assert_int_equal(store_conversation_open(
			     store, "acme", "webchat", user, NULL, 1800000, &c),
	    OK);
	return c;
}

static void
say(struct store *store, const struct conversation *c, const char *message,
    const char *reply, const char *dedup)
{
	struct turn_row t = { .channel = "webchat",
		.user_id = "u1",
		.message = message,
		.reply = reply,
		.outcome = "done",
		.body = "{\"reply\":\"hi\",\"citations\":[{\"title\":\"T\"}]}",
		.capsule = "{\"steps\":[]}",
		.generation = "g1",
		.started_at = (int64_t)clock_wall_ms(),
		.ended_at = (int64_t)clock_wall_ms(),
		.dedup_key = dedup };

	ident_new("tn", t.id);
	str_copy(t.brand_id, sizeof(t.brand_id), "acme");
	str_copy(t.conversation_id, sizeof(t.conversation_id), c->id);
	assert_int_equal(store_turn_add(store, &t), OK);
}

static void
an_open_conversation_goes_on_until_it_is_idle(void **state)
{
	struct store *store = store_of(state);
	struct conversation a = opened(store, "u1"), b, c, d;

	assert_true(ident_valid(a.id, "cv"));
	assert_string_equal(a.status, "open");
	assert_string_equal(a.slots, "{}");
	clock_fake_advance(1799999);
	say(store, &a, "hello", "hi", NULL);
	clock_fake_advance(1799999);
	b = opened(store, "u1");
	assert_string_equal(b.id, a.id);
	assert_int_equal(b.messages, 2);
	clock_fake_advance(2);
	c = opened(store, "u1");
	assert_string_not_equal(c.id, a.id);
	d = opened(store, "u2");
	assert_string_not_equal(d.id, c.id);
	conversation_done(&a);
	conversation_done(&b);
	conversation_done(&c);
	conversation_done(&d);
}

static void
a_closed_conversation_is_followed_by_a_new_one(void **state)
{
	struct store *store = store_of(state);
	struct conversation a = opened(store, "u1"), b, c;

	assert_int_equal(
	    store_conversation_status(store, "acme", a.id, "handoff"), OK);
	b = opened(store, "u1");
	assert_string_equal(b.id, a.id);
	assert_string_equal(b.status, "handoff");
	assert_int_equal(
	    store_conversation_status(store, "acme", a.id, "closed"), OK);
	c = opened(store, "u1");
	assert_string_not_equal(c.id, a.id);
	assert_int_equal(
	    store_conversation_status(store, "acme", a.id, "odd"), ERR_INVALID);
	assert_int_equal(
	    store_conversation_status(store, "acme", "cv_none", "open"),
	    ERR_NOT_FOUND);
	conversation_done(&a);
	conversation_done(&b);
	conversation_done(&c);
}

static void
a_conversation_is_its_users_and_its_brands(void **state)
{
	struct store *store = store_of(state);
	struct conversation a = opened(store, "u1"), b;
	json_t *items;
	char *next;

	assert_int_equal(store_conversation_open(
			     store, "acme", "webchat", "u1", a.id, 1, &b),
	    OK);
	conversation_done(&b);
	assert_int_equal(store_conversation_open(
			     store, "acme", "webchat", "u2", a.id, 1, &b),
	    ERR_NOT_FOUND);
	assert_int_equal(store_conversation_open(
			     store, "other", "webchat", "u1", a.id, 1, &b),
	    ERR_NOT_FOUND);
	assert_int_equal(
	    store_conversation_get(store, "other", a.id, &b), ERR_NOT_FOUND);
	assert_int_equal(
	    store_messages(store, "other", a.id, NULL, 10, &items, &next),
	    ERR_NOT_FOUND);
	assert_int_equal(
	    store_history(store, "other", a.id, 10, &items), ERR_NOT_FOUND);
	assert_int_equal(store_conversation_slots(store, "other", a.id, "{}"),
	    ERR_NOT_FOUND);
	conversation_done(&a);
}

static void
slots_are_kept(void **state)
{
	struct store *store = store_of(state);
	struct conversation a = opened(store, "u1"), b;

	assert_int_equal(store_conversation_slots(
			     store, "acme", a.id, "{\"name\":\"Sara\"}"),
	    OK);
	assert_int_equal(
	    store_conversation_slots(store, "acme", a.id, "[]"), ERR_INVALID);
	assert_int_equal(store_conversation_get(store, "acme", a.id, &b), OK);
	assert_string_equal(b.slots, "{\"name\":\"Sara\"}");
	conversation_done(&a);
	conversation_done(&b);
}

static void
messages_come_in_order_with_their_citations(void **state)
{
	struct store *store = store_of(state);
	struct conversation c = opened(store, "u1");
	json_t *items;
	char *next = NULL, *after;

	say(store, &c, "one", "two", NULL);
	say(store, &c, "three", "", NULL); /* no reply, no message */
	say(store, &c, "four", "five", NULL);
	assert_int_equal(
	    store_messages(store, "acme", c.id, NULL, 3, &items, &next), OK);
	assert_int_equal(json_array_size(items), 3);
	assert_string_equal(json_str(json_array_get(items, 0), "text"), "one");
	assert_string_equal(json_str(json_array_get(items, 0), "role"), "user");
	assert_string_equal(json_str(json_array_get(items, 1), "text"), "two");
	assert_string_equal(
	    json_str(json_array_get(items, 1), "role"), "assistant");
	assert_int_equal(json_array_size(json_object_get(
			     json_array_get(items, 1), "citations")),
	    1);
	assert_string_equal(
	    json_str(json_array_get(items, 2), "text"), "three");
	assert_non_null(next);
	json_decref(items);
	assert_int_equal(
	    store_messages(store, "acme", c.id, next, 3, &items, &after), OK);
	assert_int_equal(json_array_size(items), 2);
	assert_null(after);
	json_decref(items);
	mem_free(next);

	assert_int_equal(store_history(store, "acme", c.id, 3, &items), OK);
	assert_int_equal(json_array_size(items), 3);
	assert_string_equal(
	    json_str(json_array_get(items, 0), "text"), "three");
	assert_string_equal(json_str(json_array_get(items, 2), "text"), "five");
	json_decref(items);
	conversation_done(&c);
}

static void
conversations_are_listed_by_user(void **state)
{
	struct store *store = store_of(state);
	struct conversation a = opened(store, "u1"), b = opened(store, "u2");
	json_t *items;
	char *next;

	assert_int_equal(store_conversation_list(
			     store, "acme", NULL, NULL, 1, &items, &next),
	    OK);
	assert_int_equal(json_array_size(items), 1);
	assert_non_null(next);
	mem_free(next);
	json_decref(items);
	assert_int_equal(store_conversation_list(
			     store, "acme", "u2", NULL, 9, &items, &next),
	    OK);
	assert_int_equal(json_array_size(items), 1);
	assert_string_equal(json_str(json_array_get(items, 0), "id"), b.id);
	assert_null(next);
	json_decref(items);
	conversation_done(&a);
	conversation_done(&b);
}

static void
a_turn_needs_its_conversation_and_comes_once(void **state)
{
	struct store *store = store_of(state);
	struct conversation c = opened(store, "u1");
	struct turn_row t = { .id = "tn_1",
		.brand_id = "acme",
		.conversation_id = "cv_none",
		.channel = "webchat",
		.user_id = "u1",
		.message = "m",
		.reply = "r",
		.outcome = "done",
		.body = "{\"n\":1}",
		.dedup_key = "k" };
	json_t *body, *capsule;
	char *answer;

	assert_int_equal(store_turn_add(store, &t), ERR_NOT_FOUND);
	/* Nothing of a refused turn remains. */
	assert_int_equal(store_dedup_begin(store, "k", "f", 1000, &answer), OK);
	assert_null(answer);
	str_copy(t.conversation_id, sizeof(t.conversation_id), c.id);
	assert_int_equal(store_turn_add(store, &t), OK);
	assert_int_equal(store_turn_add(store, &t), ERR_CONFLICT);
	assert_int_equal(
	    store_turn_get(store, "acme", "tn_1", &body, &capsule), OK);
	assert_int_equal(json_int(body, "n", 0), 1);
	assert_int_equal(json_object_size(capsule), 0);
	json_decref(body);
	json_decref(capsule);
	assert_int_equal(
	    store_turn_get(store, "other", "tn_1", &body, NULL), ERR_NOT_FOUND);
	assert_int_equal(
	    store_turn_feedback(store, "acme", "tn_1", "up", NULL), OK);
	assert_int_equal(
	    store_turn_feedback(store, "acme", "tn_1", "sideways", NULL),
	    ERR_INVALID);
	assert_int_equal(store_turn_feedback(store, "other", "tn_1", "up", ""),
	    ERR_NOT_FOUND);
	conversation_done(&c);
}

/* ---- de-duplication ---- */

static void
a_duplicate_gets_the_first_answer(void **state)
{
	struct store *store = store_of(state);
	struct conversation c = opened(store, "u1");
	char *answer = NULL;

	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), OK);
	assert_null(answer);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), ERR_CONFLICT);
	assert_int_equal(store_dedup_begin(store, "k1", "g", 1000, &answer),
	    ERR_IDEMPOTENCY);
	say(store, &c, "hello", "hi", "k1");
	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), OK);
	assert_non_null(strstr(answer, "\"reply\":\"hi\""));
	mem_free(answer);
	/* A later finish does not replace it. */
	assert_int_equal(store_dedup_finish(store, "k1", "late"), OK);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), OK);
	assert_string_not_equal(answer, "late");
	mem_free(answer);
	assert_int_equal(store_dedup_begin(store, "k1", "g", 1000, &answer),
	    ERR_IDEMPOTENCY);
	conversation_done(&c);
}

static void
a_claim_whose_owner_died_is_taken_over(void **state)
{
	struct store *store = store_of(state);
	char *answer = NULL;

	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), OK);
	clock_fake_advance(1000);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), OK);
	assert_null(answer);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), ERR_CONFLICT);
	assert_int_equal(store_dedup_drop(store, "k1"), OK);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "other", 1000, &answer), OK);
	assert_null(answer);
}

static void
an_answer_is_forgotten_after_a_day(void **state)
{
	struct store *store = store_of(state);
	char *answer = NULL;

	assert_int_equal(store_dedup_finish(store, "k1", "first"), OK);
	clock_fake_advance(24 * 3600 * 1000 - 1);
	assert_int_equal(store_sweep(store), OK);
	assert_int_equal(store_dedup_begin(store, "k1", "", 1000, &answer), OK);
	assert_string_equal(answer, "first");
	mem_free(answer);
	clock_fake_advance(1);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "new", 1000, &answer), OK);
	assert_null(answer);
	assert_int_equal(store_sweep(store), OK);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "new", 1000, &answer), ERR_CONFLICT);
}

/* ---- erasure and retention ---- */

/* A turn whose stored answer names its conversation, as real ones do. */
static void
say_fully(struct store *store, const struct conversation *c, const char *key)
{
	char body[160];
	struct turn_row t = { .brand_id = "acme",
		.channel = "webchat",
		.user_id = c->user_id,
		.message = "my number is 555",
		.reply = "noted",
		.outcome = "done",
		.body = body,
		.dedup_key = key };

	ident_new("tn", t.id);
	str_copy(t.conversation_id, sizeof(t.conversation_id), c->id);
	snprintf(body, sizeof(body), "{\"conversation_id\":\"%s\"}", c->id);
	assert_int_equal(store_turn_add(store, &t), OK);
}

static bool
is_claimable(struct store *store, const char *key)
{
	char *answer = NULL;

	assert_int_equal(store_dedup_begin(store, key, "", 1, &answer), OK);
	mem_free(answer);
	return answer == NULL;
}

static void
an_erased_user_leaves_nothing_behind(void **state)
{
	struct store *store = store_of(state);
	struct conversation mine = opened(store, "u1"), kept;
	struct store_erasure e = { .brand = "other", .user_id = "u1" };
	json_t *items;
	char *next;
	int64_t n;

	say_fully(store, &mine, "turn|acme|webchat|1");
	say_fully(store, &mine, "idem|turn|acme|1");
	kept = opened(store, "u2");
	say_fully(store, &kept, "turn|acme|webchat|2");
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 0); /* another brand's user of that name */
	e.brand = "acme";
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 1);
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 0);
	assert_int_equal(
	    store_messages(store, "acme", mine.id, NULL, 9, &items, &next),
	    ERR_NOT_FOUND);
	assert_true(is_claimable(store, "turn|acme|webchat|1"));
	assert_true(is_claimable(store, "idem|turn|acme|1"));
	assert_false(is_claimable(store, "turn|acme|webchat|2"));
	assert_int_equal(
	    store_messages(store, "acme", kept.id, NULL, 9, &items, &next), OK);
	assert_int_equal(json_array_size(items), 2);
	json_decref(items);
	conversation_done(&mine);
	conversation_done(&kept);
}

/* Turns wait for the writer meanwhile: the answers of others are looked through
 * once, not once for each conversation. */
static void
erasing_takes_one_look_at_the_answers_of_others(void **state)
{
	struct store *store = store_of(state);
	struct store_erasure e = { .brand = "acme", .user_id = "u1" };
	struct conversation c = { 0 };
	struct timespec began, ended;
	struct buf answer;
	char key[64];
	int64_t n;

	for (int i = 0; i < STORE_ERASE_MAX; i++) {
		c = opened(store, "u1");
		if (i < STORE_ERASE_MAX - 1)
			conversation_done(&c);
		clock_fake_advance(31 * 60 * 1000);
	}
	buf_init(&answer, 0);
	buf_addf(&answer, "{\"reply\":\"%s%30000s\"}", c.id, "");
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "turn|acme|webchat|o%d", i);
		assert_int_equal(
		    store_dedup_finish(store, key, buf_str(&answer)), OK);
	}
	say_fully(store, &c, "turn|acme|webchat|1");
	clock_gettime(CLOCK_MONOTONIC, &began);
	assert_int_equal(store_erase(store, &e, &n), OK);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_int_equal(n, STORE_ERASE_MAX);
	assert_in_range(ended.tv_sec - began.tv_sec, 0, 2);
	assert_true(is_claimable(store, "turn|acme|webchat|1"));
	/* To speak of a conversation is not to be of it. */
	assert_false(is_claimable(store, "turn|acme|webchat|o1"));
	buf_done(&answer);
	conversation_done(&c);
}

static void
one_conversation_is_erased_with_its_turns(void **state)
{
	struct store *store = store_of(state);
	struct conversation c = opened(store, "u1");
	struct store_erasure e = { .brand = "other", .conversation_id = c.id };
	json_t *body;
	int64_t n;
	struct turn_row t = { .id = "tn_gone",
		.brand_id = "acme",
		.channel = "webchat",
		.user_id = "u1",
		.message = "m",
		.outcome = "done",
		.body = "{}" };

	str_copy(t.conversation_id, sizeof(t.conversation_id), c.id);
	assert_int_equal(store_turn_add(store, &t), OK);
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 0);
	e.brand = "acme";
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 1);
	assert_int_equal(store_turn_get(store, "acme", "tn_gone", &body, NULL),
	    ERR_NOT_FOUND);
	/* A turn that was running in it stores nothing. */
	str_copy(t.id, sizeof(t.id), "tn_late");
	assert_int_equal(store_turn_add(store, &t), ERR_NOT_FOUND);
	e = (struct store_erasure){ .brand = "acme" };
	assert_int_equal(store_erase(store, &e, &n), ERR_INVALID);
	conversation_done(&c);
}

static void
old_conversations_are_erased_some_at_a_time(void **state)
{
	struct store *store = store_of(state);
	struct store_erasure e = { 0 };
	char user[16];
	json_t *items;
	char *next;
	int64_t n;

	for (int i = 0; i < STORE_ERASE_MAX + 1; i++) {
		struct conversation c;

		snprintf(user, sizeof(user), "u%d", i);
		c = opened(store, user);
		conversation_done(&c);
	}
	clock_fake_advance(1000);
	e.before = (int64_t)clock_wall_ms();
	clock_fake_advance(1000);
	{
		struct conversation fresh = opened(store, "fresh");

		conversation_done(&fresh);
	}
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, STORE_ERASE_MAX);
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 1);
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 0);
	assert_int_equal(store_conversation_list(
			     store, "acme", NULL, NULL, 9, &items, &next),
	    OK);
	assert_int_equal(json_array_size(items), 1);
	json_decref(items);
}

static void
the_audit_is_read_newest_first_and_forgotten_by_age(void **state)
{
	struct store *store = store_of(state);
	json_t *items;
	char *next, *end;

	assert_int_equal(store_audit(store, "ky_1", "key.add", "a", "x"), OK);
	assert_int_equal(store_audit(store, "ky_1", "key.add", "b", ""), OK);
	clock_fake_advance(1000);
	assert_int_equal(store_audit(store, "ky_2", "key.revoke", "a", ""), OK);
	assert_int_equal(store_audit_list(store, NULL, 2, &items, &next), OK);
	assert_int_equal(json_array_size(items), 2);
	assert_string_equal(
	    json_str(json_array_get(items, 0), "action"), "key.revoke");
	json_decref(items);
	assert_int_equal(store_audit_list(store, next, 2, &items, &end), OK);
	assert_int_equal(json_array_size(items), 1);
	assert_string_equal(json_str(json_array_get(items, 0), "detail"), "x");
	assert_null(end);
	json_decref(items);
	mem_free(next);
	assert_int_equal(
	    store_audit_forget(store, (int64_t)clock_wall_ms()), OK);
	assert_int_equal(store_audit_list(store, NULL, 9, &items, &end), OK);
	assert_int_equal(json_array_size(items), 1);
	json_decref(items);
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
	struct fixture *f = *state;
	struct store *store;
	char *faulty = mem_printf("fault:2:%s", url);
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

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest store_contract[] = {
		T(a_new_source_is_pending_and_complete),
		T(another_brand_never_sees_a_source),
		T(the_same_document_again_is_the_same_source),
		T(force_makes_a_new_version_of_the_same_source),
		T(a_new_version_names_the_object_that_it_replaces),
		T(an_external_id_names_one_source_through_its_versions),
		T(only_one_worker_claims_a_document),
		T(of_many_workers_one_wins),
		T(of_many_copies_of_a_message_one_runs),
		T(a_job_for_an_older_version_claims_nothing),
		T(figures_count_by_status_and_know_the_longest_standstill),
		T(a_worker_that_lost_its_lease_changes_nothing),
		T(a_renewed_lease_keeps_others_out),
		T(ready_switches_the_live_version),
		T(a_failed_new_version_leaves_the_old_one_live),
		T(the_live_versions_of_many_are_told_at_once),
		T(a_replacement_fences_the_worker_of_the_older_version),
		T(a_failure_with_a_retry_waits_until_it_is_due),
		T(waiting_for_a_back_end_uses_up_no_attempt),
		T(an_expired_lease_is_stuck_and_a_held_one_is_not),
		T(attempts_run_out),
		T(a_failed_document_uploaded_again_is_tried_again),
		T(cancel_reaches_the_worker_at_its_next_write),
		T(cancel_of_a_waiting_or_abandoned_document_is_immediate),
		T(a_cancel_whose_worker_died_ends_at_the_next_claim),
		T(a_waiting_document_cannot_be_retried),
		T(delete_gives_the_row_and_frees_its_names),
		T(a_list_pages_through_every_source_once),
		T(a_list_filters_by_status_and_external_id),
		T(bad_arguments_are_named),
		T(an_open_conversation_goes_on_until_it_is_idle),
		T(a_closed_conversation_is_followed_by_a_new_one),
		T(a_conversation_is_its_users_and_its_brands),
		T(slots_are_kept),
		T(messages_come_in_order_with_their_citations),
		T(conversations_are_listed_by_user),
		T(a_turn_needs_its_conversation_and_comes_once),
		T(a_duplicate_gets_the_first_answer),
		T(a_claim_whose_owner_died_is_taken_over),
		T(an_answer_is_forgotten_after_a_day),
		T(an_erased_user_leaves_nothing_behind),
		T(erasing_takes_one_look_at_the_answers_of_others),
		T(one_conversation_is_erased_with_its_turns),
		T(old_conversations_are_erased_some_at_a_time),
		T(the_audit_is_read_newest_first_and_forgotten_by_age),
		T(a_revoked_key_is_not_found),
		T(the_last_good_scripts_come_back),
		T(the_store_can_be_written),
		T(the_fault_decorator_fails_the_nth_call),
	};
	int failed = 0, applied, version;

	url = "sqlite:";
	failed += fiber_group_run("store_contract sqlite", store_contract,
	    sizeof(store_contract) / sizeof(store_contract[0]), NULL, NULL);
	url = postgres_server_url();
	if (url != NULL) {
		if (postgres_migrate(url, &applied, &version) != OK)
			panic("%s", err_message());
		failed +=
		    fiber_group_run("store_contract postgres", store_contract,
			sizeof(store_contract) / sizeof(store_contract[0]),
			NULL, NULL);
		postgres_server_done();
	}
	return failed;
}
