/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of the queue: the same tests over every back end. A new back end
 * adds its URL to `urls` (and opens what it needs in set_up). Redis keeps its
 * own time for leases, so time passes through pass_time, with a margin.
 */
#include "fiber_group.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "queue/queue.h"
#include "redis_server.h"
#include "sqlite/sqlite.h"

static const char *const urls[] = { "sqlite:", "redis:" };
static const char *url;
static struct redis_server *server; /* NULL unless the URL is Redis' */

#define LEASE  ((int64_t)30000)
#define MARGIN ((int64_t)2000)
#define START  UINT64_C(1760000000000)

struct fixture {
	char *folder, *path;
	struct sqlite *db;
	struct queue *queue;
};

static void
open_all(struct fixture *f)
{
	assert_int_equal(sqlite_open(f->path, &f->db), OK);
	assert_int_equal(queue_open(url, f->db, &f->queue), OK);
}

static void
close_all(struct fixture *f)
{
	queue_close(f->queue);
	sqlite_close(f->db);
}

static int
set_up(void **state)
{
	struct fixture *f = mem_zero(sizeof(*f));

	f->folder = test_folder_new();
	f->path = mem_printf("%s/xin.db", f->folder);
	if (server != NULL)
		redis_server_flush(server);
	open_all(f);
	*state = f;
	return 0;
}

static int
set_up_fake(void **state)
{
	clock_fake_start(START);
	return set_up(state);
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	clock_fake_stop();
	close_all(f);
	test_folder_remove(f->folder);
	mem_free(f->path);
	mem_free(f);
	return 0;
}

static void
pass_time(int64_t ms)
{
	clock_fake_advance((uint64_t)ms);
	if (server != NULL)
		redis_server_pass_time(server, ms);
}

static struct queue *
queue_of(void **state)
{
	return ((struct fixture *)*state)->queue;
}

static enum err_code
put(struct queue *queue, const char *id, const char *brand, int64_t run_at)
{
	char kwargs[128];

	snprintf(
	    kwargs, sizeof(kwargs), "{\"v\":1,\"brand_id\":\"%s\"}", brand);
	return queue_put(queue, id, brand, "ingest_source", kwargs, run_at);
}

/* One look, no waiting. */
static enum err_code
take(struct queue *queue, struct job *job)
{
	return queue_take(queue, LEASE, clock_mono_ms(), job);
}

static void
expect_next(struct queue *queue, const char *id)
{
	struct job job;

	assert_int_equal(take(queue, &job), OK);
	assert_string_equal(job.id, id);
	assert_int_equal(queue_finish(queue, &job), OK);
	job_done(&job);
}

static void
expect_none(struct queue *queue)
{
	struct job job;

	assert_int_equal(take(queue, &job), ERR_DEADLINE);
}

static void
a_job_is_taken_whole_and_finished_once(void **state)
{
	struct queue *queue = queue_of(state);
	struct job job;

	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	assert_int_equal(take(queue, &job), OK);
	assert_string_equal(job.id, "a1");
	assert_string_equal(job.brand_id, "acme");
	assert_string_equal(job.function, "ingest_source");
	assert_string_equal(job.kwargs, "{\"v\":1,\"brand_id\":\"acme\"}");
	assert_string_equal(job.args, "[]");
	assert_int_equal(job.attempt, 1);
	expect_none(queue);
	assert_int_equal(queue_finish(queue, &job), OK);
	assert_int_equal(queue_finish(queue, &job), ERR_CONFLICT);
	expect_none(queue);
	job_done(&job);
}

static void
putting_a_known_job_does_nothing(void **state)
{
	struct queue *queue = queue_of(state);
	struct job job;

	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	assert_int_equal(take(queue, &job), OK);
	assert_int_equal(put(queue, "a1", "acme", 0), OK); /* it runs */
	expect_none(queue);
	assert_int_equal(queue_finish(queue, &job), OK);
	expect_none(queue);
	/* Finished ids are free again. */
	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	expect_next(queue, "a1");
	job_done(&job);
}

static void
brands_take_turns(void **state)
{
	struct queue *queue = queue_of(state);
	char id[16];

	for (int i = 0; i < 4; i++) {
		snprintf(id, sizeof(id), "b%d", i);
		assert_int_equal(put(queue, id, "big", 0), OK);
		clock_fake_advance(1);
	}
	assert_int_equal(put(queue, "s0", "small", 0), OK);
	assert_int_equal(put(queue, "a0", "also", 0), OK);
	expect_next(queue, "a0");
	expect_next(queue, "b0");
	expect_next(queue, "s0");
	expect_next(queue, "b1");
	assert_int_equal(put(queue, "a1", "also", 0), OK);
	expect_next(queue, "a1");
	expect_next(queue, "b2");
	expect_next(queue, "b3");
	expect_none(queue);
}

static void
position_counts_the_turns_of_others(void **state)
{
	struct queue *queue = queue_of(state);
	const char *ids[] = { "b0", "b1", "b2", "s0", "s1", "a0" };
	struct job job;
	int64_t at[6], n;

	assert_int_equal(put(queue, "m0", "middle", 0), OK);
	expect_next(queue, "m0"); /* the round is at "middle" now */
	for (int i = 0; i < 6; i++) {
		assert_int_equal(put(queue, ids[i],
				     ids[i][0] == 'b'   ? "big"
				     : ids[i][0] == 's' ? "small"
							: "also",
				     0),
		    OK);
		clock_fake_advance(1);
	}
	for (int i = 0; i < 6; i++)
		assert_int_equal(queue_position(queue, ids[i], &at[i]), OK);
	/* What was said must come true. */
	for (int64_t turn = 0; turn < 6; turn++) {
		assert_int_equal(take(queue, &job), OK);
		for (int i = 0; i < 6; i++)
			if (strcmp(ids[i], job.id) == 0)
				assert_int_equal(at[i], turn);
		assert_int_equal(queue_finish(queue, &job), OK);
		job_done(&job);
	}
	assert_int_equal(queue_position(queue, "b0", &n), OK);
	assert_int_equal(n, -1);
}

static void
a_delayed_job_waits_until_it_is_due(void **state)
{
	struct queue *queue = queue_of(state);

	assert_int_equal(put(queue, "a1", "acme", START + 1000), OK);
	assert_int_equal(put(queue, "a2", "acme", 0), OK);
	expect_next(queue, "a2");
	expect_none(queue);
	clock_fake_advance(1000);
	expect_next(queue, "a1");
}

static void
putting_a_delayed_job_sooner_makes_it_sooner(void **state)
{
	struct queue *queue = queue_of(state);

	assert_int_equal(put(queue, "a1", "acme", START + 1000), OK);
	assert_int_equal(put(queue, "a1", "acme", START + 5000), OK);
	expect_none(queue);
	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	expect_next(queue, "a1");
}

static void
an_expired_lease_gives_the_job_back(void **state)
{
	struct queue *queue = queue_of(state);
	struct job first, second;

	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	assert_int_equal(take(queue, &first), OK);
	pass_time(LEASE - MARGIN);
	expect_none(queue);
	pass_time(MARGIN + 1);
	assert_int_equal(take(queue, &second), OK);
	assert_string_equal(second.id, "a1");
	assert_int_equal(second.attempt, 2);
	assert_int_equal(queue_renew(queue, &first, LEASE), ERR_CONFLICT);
	assert_int_equal(queue_finish(queue, &first), ERR_CONFLICT);
	assert_int_equal(queue_retry(queue, &first, 0, true), ERR_CONFLICT);
	assert_int_equal(queue_bury(queue, &first, "x"), ERR_CONFLICT);
	assert_int_equal(queue_finish(queue, &second), OK);
	job_done(&first);
	job_done(&second);
}

static void
a_renewed_lease_stays(void **state)
{
	struct queue *queue = queue_of(state);
	struct job job;

	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	assert_int_equal(take(queue, &job), OK);
	pass_time(LEASE - MARGIN);
	assert_int_equal(queue_renew(queue, &job, LEASE), OK);
	pass_time(LEASE - MARGIN);
	expect_none(queue);
	assert_int_equal(queue_finish(queue, &job), OK);
	job_done(&job);
}

static void
a_retry_comes_back_with_the_next_attempt(void **state)
{
	struct queue *queue = queue_of(state);
	struct job job;

	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	assert_int_equal(take(queue, &job), OK);
	assert_int_equal(queue_retry(queue, &job, START + 500, true), OK);
	job_done(&job);
	expect_none(queue);
	clock_fake_advance(500);
	assert_int_equal(take(queue, &job), OK);
	assert_int_equal(job.attempt, 2);
	/* What was not the job's fault does not count. */
	assert_int_equal(queue_retry(queue, &job, START + 900, false), OK);
	job_done(&job);
	clock_fake_advance(500);
	assert_int_equal(take(queue, &job), OK);
	assert_int_equal(job.attempt, 2);
	job_done(&job);
}

static void
a_job_that_kills_its_workers_becomes_a_dead_letter(void **state)
{
	struct queue *queue = queue_of(state);
	struct job job;
	json_t *items;

	config_override(CFG_MAX_ATTEMPTS, "2");
	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(take(queue, &job), OK);
		job_done(&job);
		pass_time(LEASE + 1);
	}
	expect_none(queue);
	config_override(CFG_MAX_ATTEMPTS, "5");
	assert_int_equal(queue_dead(queue, 10, &items), OK);
	assert_int_equal(json_array_size(items), 1);
	assert_non_null(
	    strstr(json_str(json_array_get(items, 0), "reason"), " 3 times"));
	json_decref(items);
}

static void
a_buried_job_keeps_its_reason_and_can_be_put_again(void **state)
{
	struct queue *queue = queue_of(state);
	struct queue_depth depth;
	struct job job;
	json_t *items;

	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	assert_int_equal(take(queue, &job), OK);
	assert_int_equal(queue_bury(queue, &job, "unreadable"), OK);
	job_done(&job);
	assert_int_equal(queue_dead(queue, 10, &items), OK);
	assert_string_equal(json_str(json_array_get(items, 0), "id"), "a1");
	assert_string_equal(
	    json_str(json_array_get(items, 0), "reason"), "unreadable");
	json_decref(items);
	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	assert_int_equal(queue_depth(queue, &depth), OK);
	assert_int_equal(depth.dead, 0);
	expect_next(queue, "a1");
}

static void
an_aborted_job_never_runs(void **state)
{
	struct queue *queue = queue_of(state);
	struct job job;

	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	assert_int_equal(queue_abort(queue, "a1"), OK);
	assert_int_equal(queue_abort(queue, "a1"), OK);
	expect_none(queue);
	assert_int_equal(put(queue, "a2", "acme", 0), OK);
	assert_int_equal(take(queue, &job), OK);
	assert_int_equal(queue_abort(queue, "a2"), OK); /* it runs: stays */
	assert_int_equal(queue_finish(queue, &job), OK);
	job_done(&job);
}

static void
a_full_queue_refuses(void **state)
{
	struct queue *queue = queue_of(state);

	config_override(CFG_MAX_QUEUE, "3");
	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	assert_int_equal(put(queue, "a2", "acme", 0), OK);
	assert_int_equal(put(queue, "a3", "acme", START + 9), OK);
	assert_int_equal(put(queue, "a4", "acme", 0), ERR_OVERLOADED);
	assert_int_equal(put(queue, "a1", "acme", 0), OK); /* known */
	expect_next(queue, "a1");
	assert_int_equal(put(queue, "a4", "acme", 0), OK);
	assert_int_equal(put(queue, "a5", "acme", 0), ERR_OVERLOADED);
	config_override(CFG_MAX_QUEUE, "100000");
}

static void
depth_tells_every_state(void **state)
{
	struct queue *queue = queue_of(state);
	struct queue_depth depth;
	struct job job;

	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	assert_int_equal(put(queue, "a2", "acme", 0), OK);
	assert_int_equal(put(queue, "a3", "acme", START + 60000), OK);
	assert_int_equal(take(queue, &job), OK);
	clock_fake_advance(700);
	assert_int_equal(queue_depth(queue, &depth), OK);
	assert_int_equal(depth.waiting, 1);
	assert_int_equal(depth.delayed, 1);
	assert_int_equal(depth.running, 1);
	assert_int_equal(depth.dead, 0);
	assert_int_equal(depth.oldest_wait_ms, 700);
	job_done(&job);
}

static void
jobs_survive_a_restart(void **state)
{
	struct fixture *f = *state;
	struct job job;

	assert_int_equal(put(f->queue, "a1", "acme", 0), OK);
	assert_int_equal(put(f->queue, "a2", "acme", 0), OK);
	assert_int_equal(take(f->queue, &job), OK);
	close_all(f);
	open_all(f);
	expect_next(f->queue, "a2");
	expect_none(f->queue);
	pass_time(LEASE + 1);
	expect_next(f->queue, "a1");
	job_done(&job);
}

static void
bad_arguments_are_refused(void **state)
{
	struct queue *queue = queue_of(state);
	char long_id[200];
	struct job job;
	json_t *items;

	memset(long_id, 'x', sizeof(long_id) - 1);
	long_id[sizeof(long_id) - 1] = '\0';
	assert_int_equal(put(queue, long_id, "acme", 0), ERR_TOO_LARGE);
	assert_int_equal(put(queue, "", "acme", 0), ERR_INVALID);
	assert_int_equal(
	    queue_take(queue, 0, clock_mono_ms(), &job), ERR_INVALID);
	assert_int_equal(queue_dead(queue, 0, &items), ERR_INVALID);
	assert_int_equal(queue_open("amqp:", NULL, &queue), ERR_CONFIG);
}

/* ---- waiting, with the real clock; no assert outside the first fiber ---- */

struct taker {
	struct queue *queue;
	struct fiber *waiting; /* of loop 0 */
	_Atomic int taken, wrong;
	_Atomic int alive;
	_Atomic uint64_t took_ms;
	uint64_t deadline;
};

static void
take_until_deadline(void *arg)
{
	struct taker *t = arg;
	struct job job;
	enum err_code rc;

	while ((rc = queue_take(t->queue, LEASE, t->deadline, &job)) == OK) {
		atomic_store(&t->took_ms, clock_mono_ms());
		if (job.attempt != 1 || queue_finish(t->queue, &job) != OK)
			atomic_fetch_add(&t->wrong, 1);
		job_done(&job);
		atomic_fetch_add(&t->taken, 1);
	}
	if (rc != ERR_DEADLINE)
		atomic_fetch_add(&t->wrong, 1);
	atomic_fetch_sub(&t->alive, 1);
}

static void
a_waiting_taker_on_another_loop_is_woken_at_once(void **state)
{
	struct queue *queue = queue_of(state);
	struct taker t = { .queue = queue, .alive = 1 };
	uint64_t put_ms;

	t.deadline = deadline_in_ms(1500);
	assert_true(
	    loop_spawn(loop_at(1), SERVICE_WORKER, take_until_deadline, &t));
	assert_int_equal(fiber_sleep(100), OK);
	put_ms = clock_mono_ms();
	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	while (atomic_load(&t.alive) > 0)
		assert_int_equal(fiber_sleep(10), OK);
	assert_int_equal(t.wrong, 0);
	assert_int_equal(t.taken, 1);
	assert_true(t.took_ms - put_ms < 500);
}

static void
a_waiting_taker_wakes_when_a_delayed_job_is_due(void **state)
{
	struct queue *queue = queue_of(state);
	int64_t due = (int64_t)clock_wall_ms() + 150;
	struct job job;

	assert_int_equal(put(queue, "a1", "acme", due), OK);
	assert_int_equal(
	    queue_take(queue, LEASE, deadline_in_ms(3000), &job), OK);
	assert_true((int64_t)clock_wall_ms() >= due);
	assert_true((int64_t)clock_wall_ms() < due + 1500);
	job_done(&job);
}

static void
a_taker_leaves_at_its_deadline(void **state)
{
	uint64_t start = clock_mono_ms();
	struct job job;

	assert_int_equal(
	    queue_take(queue_of(state), LEASE, deadline_in_ms(80), &job),
	    ERR_DEADLINE);
	assert_true(clock_mono_ms() - start >= 80);
	assert_true(clock_mono_ms() - start < 1500);
}

static void
cancelled_taker(void *arg)
{
	struct taker *t = arg;
	struct job job;

	if (queue_take(t->queue, LEASE, deadline_in_ms(20000), &job) !=
	    ERR_CANCELLED)
		atomic_fetch_add(&t->wrong, 1);
	atomic_fetch_sub(&t->alive, 1);
}

static void
a_cancelled_taker_passes_its_wake_up_on(void **state)
{
	struct queue *queue = queue_of(state);
	struct taker t = { .queue = queue, .alive = 1 };
	struct fiber *fiber = fiber_start(cancelled_taker, &t);
	struct taker next = { .queue = queue, .alive = 1 };

	assert_int_equal(fiber_sleep(50), OK);
	next.deadline = deadline_in_ms(800);
	fiber_start(take_until_deadline, &next);
	assert_int_equal(fiber_sleep(50), OK);
	/* The put wakes the first; before it runs, it is cancelled. */
	assert_int_equal(put(queue, "a1", "acme", 0), OK);
	fiber_cancel(fiber);
	while (atomic_load(&t.alive) + atomic_load(&next.alive) > 0)
		assert_int_equal(fiber_sleep(10), OK);
	assert_int_equal(t.wrong + next.wrong, 0);
	assert_int_equal(next.taken, 1);
}

static void
every_job_is_taken_once_by_many_takers(void **state)
{
	struct queue *queue = queue_of(state);
	struct taker t = { .queue = queue, .alive = 8 };
	char id[24], brand[8];

	t.deadline = deadline_in_ms(1500);
	for (unsigned i = 0; i < 8; i++)
		assert_true(loop_spawn(
		    loop_at(i % 2), SERVICE_WORKER, take_until_deadline, &t));
	for (int i = 0; i < 200; i++) {
		snprintf(id, sizeof(id), "job-%d", i);
		snprintf(brand, sizeof(brand), "b%d", i % 5);
		assert_int_equal(put(queue, id, brand, 0), OK);
	}
	while (atomic_load(&t.alive) > 0)
		assert_int_equal(fiber_sleep(10), OK);
	assert_int_equal(t.wrong, 0);
	assert_int_equal(t.taken, 200);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up_fake, tear_down)
#define R(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest queue_contract[] = {
		T(a_job_is_taken_whole_and_finished_once),
		T(putting_a_known_job_does_nothing),
		T(brands_take_turns),
		T(position_counts_the_turns_of_others),
		T(a_delayed_job_waits_until_it_is_due),
		T(putting_a_delayed_job_sooner_makes_it_sooner),
		T(an_expired_lease_gives_the_job_back),
		T(a_renewed_lease_stays),
		T(a_retry_comes_back_with_the_next_attempt),
		T(a_job_that_kills_its_workers_becomes_a_dead_letter),
		T(a_buried_job_keeps_its_reason_and_can_be_put_again),
		T(an_aborted_job_never_runs),
		T(a_full_queue_refuses),
		T(depth_tells_every_state),
		T(jobs_survive_a_restart),
		T(bad_arguments_are_refused),
		R(a_waiting_taker_on_another_loop_is_woken_at_once),
		R(a_waiting_taker_wakes_when_a_delayed_job_is_due),
		R(a_taker_leaves_at_its_deadline),
		R(a_cancelled_taker_passes_its_wake_up_on),
		R(every_job_is_taken_once_by_many_takers),
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
		failed += fiber_group(queue_contract, NULL, NULL);
		redis_server_stop(server);
		server = NULL;
	}
	return failed;
}
