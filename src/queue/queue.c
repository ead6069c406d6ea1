/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front of the queue: choice of back end, checks, counters, and the waiting
 * of queue_take. A taker registers before it looks, so a job that is put
 * between the look and the wait wakes it; it also wakes when the next delayed
 * job or expiring lease falls due.
 */
#include "queue/queue.h"

#include <stdio.h>
#include <string.h>

#include "base/checkup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "queue/queue_backend.h"

#define FUNCTION_MAX_BYTES 128
#define KWARGS_MAX_BYTES   65536
#define REASON_MAX_BYTES   4096
#define LEASE_MAX_MS       ((int64_t)3600 * 1000)

static const struct queue_backend *const backends[] = {
	&queue_sqlite_backend,
	&queue_redis_backend,
};

enum err_code
queue_open(const char *url, struct sqlite *db, struct queue **queue_out)
{
	struct queue *queue;

	if (url[0] == '\0')
		url = backends[0]->scheme; /* the embedded one */
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		if (!str_starts(url, backends[i]->scheme))
			continue;
		TRY(backends[i]->open(url, db, &queue));
		queue->backend = backends[i];
		queue->waiters = waiters_new();
		*queue_out = queue;
		return OK;
	}
	return err_set(ERR_CONFIG,
	    "queue URL \"%.64s\": this build knows sqlite: and redis:", url);
}

void
queue_close(struct queue *queue)
{
	struct waiters *waiters;

	if (queue == NULL)
		return;
	waiters = queue->waiters;
	queue->backend->close(queue);
	waiters_free(waiters);
}

void
queue_serve(struct queue *queue, const char *const *functions)
{
	queue->functions = functions;
}

void
job_done(struct job *job)
{
	if (job == NULL)
		return;
	mem_free(job->function);
	mem_free(job->kwargs);
	mem_free(job->args);
	mem_free(job->fault);
	mem_free(job->result);
	mem_free(job->stored);
	*job = (struct job){ 0 };
}

static void
count(const char *outcome, int64_t n)
{
	if (n > 0)
		metric_count(METRIC_QUEUE_JOBS, LABELS(outcome), (uint64_t)n);
}

static enum err_code
check_text(const char *field, const char *text, size_t max)
{
	if (text == NULL || text[0] == '\0')
		return err_set(ERR_INVALID, "job %s is missing", field);
	if (strnlen(text, max + 1) > max)
		return err_set(
		    ERR_TOO_LARGE, "job %s is over %zu bytes", field, max);
	return OK;
}

static enum err_code
check_lease(int64_t lease_ms)
{
	if (lease_ms < 1 || lease_ms > LEASE_MAX_MS)
		return err_set(ERR_INVALID, "lease: want 1 ms to 1 hour");
	return OK;
}

enum err_code
queue_put(struct queue *queue, const char *id, const char *brand,
    const char *function, const char *kwargs, int64_t run_at)
{
	enum queue_put_result result;

	TRY(check_text("id", id, sizeof(((struct job *)0)->id) - 1));
	TRY(check_text("brand", brand, BRAND_ID_SIZE - 1));
	TRY(check_text("function", function, FUNCTION_MAX_BYTES));
	TRY(check_text("kwargs", kwargs, KWARGS_MAX_BYTES));
	TRY(queue->backend->put(
	    queue, id, brand, function, kwargs, run_at, &result));
	if (result == QUEUE_PUT_NEW)
		count("enqueued", 1);
	waiters_wake_one(queue->waiters);
	return OK;
}

/* One look; ERR_NOT_FOUND when nothing is due, and when to look again. */
static enum err_code
look(struct queue *queue, int64_t lease_ms, int64_t *next_at_out,
    struct job *job_out)
{
	struct queue_look found = { 0 };
	enum err_code rc =
	    queue->backend->take(queue, lease_ms, &found, job_out);

	count("reaped", found.reaped);
	count("dead", found.buried);
	count("passed", found.passed);
	*next_at_out = found.next_at;
	/* Jobs came back: others may find work too. */
	if (found.reaped > 0)
		waiters_wake_one(queue->waiters);
	return rc;
}

static uint64_t
wait_until(const struct queue *queue, uint64_t deadline_ms, int64_t next_at)
{
	uint64_t wait_ms = queue->backend->poll_ms;
	int64_t now = (int64_t)clock_wall_ms();

	if (next_at > 0 && next_at <= now)
		wait_ms = 1;
	else if (next_at > 0 && (uint64_t)(next_at - now) < wait_ms)
		wait_ms = (uint64_t)(next_at - now);
	return deadline_min(deadline_ms, deadline_in_ms(wait_ms));
}

/* OK = look again. */
static enum err_code
wait_for_work(struct queue *queue, struct waiter *waiter, uint64_t deadline_ms,
    int64_t next_at)
{
	enum err_code rc = ERR_DEADLINE;

	if (deadline_left_ms(deadline_ms) > 0)
		rc = waiter_wait(
		    waiter, wait_until(queue, deadline_ms, next_at));
	if (rc == ERR_DEADLINE && deadline_left_ms(deadline_ms) > 0)
		return OK;
	if (rc == ERR_DEADLINE)
		return err_set(rc, "no job came");
	return rc;
}

enum err_code
queue_take(struct queue *queue, int64_t lease_ms, uint64_t deadline_ms,
    struct job *job_out)
{
	const struct task *task = task_self();

	TRY(check_lease(lease_ms));
	if (fiber_cancelled())
		return err_set(ERR_CANCELLED, "cancelled");
	if (task != NULL)
		deadline_ms = deadline_min(deadline_ms, task->deadline_ms);
	for (;;) {
		struct waiter *waiter = waiter_add(queue->waiters);
		int64_t next_at;
		enum err_code rc = look(queue, lease_ms, &next_at, job_out);
		bool again = false, spent;

		if (rc == ERR_NOT_FOUND) {
			rc = wait_for_work(queue, waiter, deadline_ms, next_at);
			again = rc == OK;
		}
		spent = waiter_remove(queue->waiters, waiter);
		if (again)
			continue;
		/* A wake-up that came to one who leaves is another's. */
		if (spent)
			waiters_wake_one(queue->waiters);
		return rc;
	}
}

enum err_code
queue_renew(struct queue *queue, struct job *job, int64_t lease_ms)
{
	TRY(check_lease(lease_ms));
	return queue->backend->renew(queue, job, lease_ms);
}

uint64_t
queue_beat_ms(const struct queue *queue, int64_t lease_ms)
{
	uint64_t third = (uint64_t)lease_ms / 3;
	uint64_t most = queue->backend->beat_ms;

	return most != 0 && most < third ? most : third;
}

enum err_code
queue_finish(struct queue *queue, const struct job *job)
{
	if (job->result != NULL)
		TRY(check_text("result", job->result, QUEUE_RESULT_MAX));
	TRY(queue->backend->finish(queue, job));
	count(job->aborted ? "aborted" : "done", 1);
	return OK;
}

enum err_code
queue_retry(
    struct queue *queue, const struct job *job, int64_t run_at, bool counts)
{
	TRY(queue->backend->retry(queue, job, run_at, counts));
	count("retried", 1);
	waiters_wake_one(queue->waiters);
	return OK;
}

enum err_code
queue_bury(struct queue *queue, const struct job *job, const char *reason)
{
	TRY(check_text("reason", reason, REASON_MAX_BYTES));
	TRY(queue->backend->bury(queue, job, reason));
	count("dead", 1);
	return OK;
}

enum err_code
queue_abort(struct queue *queue, const char *id)
{
	return queue->backend->abort(queue, id);
}

enum err_code
queue_position(struct queue *queue, const char *id, int64_t *position_out)
{
	return queue->backend->position(queue, id, position_out);
}

enum err_code
queue_depth(struct queue *queue, struct queue_depth *depth_out)
{
	return queue->backend->depth(queue, depth_out);
}

enum err_code
queue_checkup(struct queue *queue, struct checkup *checkup)
{
	struct queue_depth depth;
	size_t len;

	TRY(queue_depth(queue, &depth));
	TRY(queue->backend->checkup(queue, checkup));
	len = strlen(checkup->facts);
	snprintf(checkup->facts + len, sizeof(checkup->facts) - len,
	    ": %lld waiting, %lld delayed, %lld running, %lld dead",
	    (long long)depth.waiting, (long long)depth.delayed,
	    (long long)depth.running, (long long)depth.dead);
	return OK;
}

enum err_code
queue_dead(struct queue *queue, int limit, json_t **items_out)
{
	if (limit < 1 || limit > 1000)
		return err_set(ERR_INVALID, "limit: want 1 to 1000");
	return queue->backend->dead(queue, limit, items_out);
}
