/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded queue: what changes it. All changes run on the writer thread, so
 * a take is a plain select and update, and the counts for the ceiling are plain
 * variables. Questions are in queue_sqlite_read.c.
 *
 * Fairness: a take serves the first brand, in the order of names, after the one
 * that was served last, and of that brand the job that has waited longest. A
 * brand with ten thousand documents delays another by one job.
 */
#include "queue/queue_sqlite.h"

#include "base/checkup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/mem.h"
#include "base/str.h"

#define POLL_MS 5000 /* nobody else puts; a belt beside the braces */

struct call {
	struct queue_sqlite *queue;
	const char *id, *brand, *function, *kwargs;
	int64_t run_at;
	bool free; /* the attempt does not count */
	enum queue_put_result result;
	const struct job *held;
	int64_t lease_ms;
	const char *reason;
	struct queue_look look;
	struct job job;
	bool found;
	bool changed; /* the counts followed what may yet fail to commit */
};

int64_t
queue_sqlite__now(void)
{
	return (int64_t)clock_wall_ms();
}

/* ---- counts ---- */

static enum err_code
recount(sqlite3 *db, struct queue_sqlite *q)
{
	sqlite3_stmt *s;
	bool row;

	TRY(sqlite_query(db, &s,
	    "SELECT (SELECT count(*) FROM jobs WHERE state = 'waiting'),"
	    " (SELECT count(*) FROM jobs WHERE state = 'dead')",
	    ""));
	TRY(sqlite_step(db, s, &row));
	q->waiting = sqlite3_column_int64(s, 0);
	q->dead = sqlite3_column_int64(s, 1);
	sqlite3_reset(s);
	return OK;
}

static enum err_code
fresh_counts(sqlite3 *db, struct queue_sqlite *q)
{
	if (!atomic_exchange(&q->stale, false))
		return OK;
	return recount(db, q);
}

static void
move_counts(struct call *c, int64_t waiting, int64_t dead)
{
	struct queue_sqlite *q = c->queue;

	q->waiting += waiting;
	q->dead += dead;
	c->changed = true;
}

static enum err_code
write_call(struct queue *queue, sqlite_fn fn, struct call *c)
{
	enum err_code rc;

	c->queue = queue_sqlite__of(queue);
	rc = sqlite_write(c->queue->db, fn, c);
	if (rc != OK && c->changed)
		atomic_store(&c->queue->stale, true);
	return rc;
}

/* ---- put ---- */

static enum err_code
insert(sqlite3 *db, struct call *c, bool was_dead)
{
	struct queue_sqlite *q = c->queue;
	int64_t now = queue_sqlite__now();

	if (q->waiting >= config_int(CFG_MAX_QUEUE))
		return err_set(ERR_OVERLOADED,
		    "the queue is full: %lld jobs wait", (long long)q->waiting);
	if (was_dead)
		TRY(sqlite_run(
		    db, NULL, "DELETE FROM jobs WHERE id = ?", "t", c->id));
	TRY(sqlite_run(db, NULL,
	    "INSERT INTO jobs(id, brand_id, function, kwargs, run_at, put_at)"
	    " VALUES(?, ?, ?, ?, ?, ?)",
	    "ttttii", c->id, c->brand, c->function, c->kwargs,
	    c->run_at > 0 ? c->run_at : now, now));
	move_counts(c, 1, was_dead ? -1 : 0);
	c->result = QUEUE_PUT_NEW;
	return OK;
}

/* A job that waits is not put twice, but whoever wants it sooner gets that (a
 * person pressed "retry" while it waited for its next attempt). */
static enum err_code
put(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	bool found, waits, dead;
	sqlite3_stmt *s;

	TRY(fresh_counts(db, c->queue));
	TRY(sqlite_query(
	    db, &s, "SELECT state FROM jobs WHERE id = ?", "t", c->id));
	TRY(sqlite_step(db, s, &found));
	waits =
	    found && str_eq((const char *)sqlite3_column_text(s, 0), "waiting");
	dead = found && str_eq((const char *)sqlite3_column_text(s, 0), "dead");
	sqlite3_reset(s);
	if (!found || dead)
		return insert(db, c, dead);
	c->result = QUEUE_PUT_KNOWN;
	if (!waits)
		return OK;
	return sqlite_run(db, NULL,
	    "UPDATE jobs SET run_at = ?1 WHERE id = ?2 AND run_at > ?1", "it",
	    c->run_at > 0 ? c->run_at : queue_sqlite__now(), c->id);
}

static enum err_code
queue_sqlite_put(struct queue *queue, const char *id, const char *brand,
    const char *function, const char *kwargs, int64_t run_at,
    enum queue_put_result *result_out)
{
	struct call c = { .id = id,
		.brand = brand,
		.function = function,
		.kwargs = kwargs,
		.run_at = run_at };

	TRY(write_call(queue, put, &c));
	*result_out = c.result;
	return OK;
}

/* ---- take ---- */

/* One attempt more than the ceiling is handed out: the worker's claim then
 * finds that the document is out of attempts and says so in its row. */
static enum err_code
reap(sqlite3 *db, struct call *c, int64_t now)
{
	int64_t most = config_int(CFG_MAX_ATTEMPTS);
	int back, buried;

	TRY(sqlite_run(db, &back,
	    "UPDATE jobs SET state = 'waiting', token = '', lease_until = 0"
	    " WHERE state = 'running' AND lease_until < ? AND attempt <= ?",
	    "ii", now, most));
	TRY(sqlite_run(db, &buried,
	    "UPDATE jobs SET state = 'dead', token = '', lease_until = 0,"
	    " reason = 'the lease expired ' || attempt || ' times',"
	    " ended_at = ?1 WHERE state = 'running' AND lease_until < ?1",
	    "i", now));
	c->look.reaped = back;
	c->look.buried = buried;
	if (back + buried > 0)
		move_counts(c, back, buried);
	return OK;
}

/* The brand after `after` that has jobs waiting, due or not. */
static enum err_code
next_brand(sqlite3 *db, const char *after, char brand_out[BRAND_ID_SIZE],
    bool *found_out)
{
	sqlite3_stmt *s;

	TRY(sqlite_query(db, &s,
	    "SELECT brand_id FROM jobs WHERE state = 'waiting'"
	    " AND brand_id > ? ORDER BY brand_id LIMIT 1",
	    "t", after));
	TRY(sqlite_step(db, s, found_out));
	if (*found_out)
		str_copy(brand_out, BRAND_ID_SIZE,
		    (const char *)sqlite3_column_text(s, 0));
	sqlite3_reset(s);
	return OK;
}

static enum err_code
first_due(sqlite3 *db, struct call *c, const char *brand, int64_t now)
{
	struct job *job = &c->job;
	sqlite3_stmt *s;

	TRY(sqlite_query(db, &s,
	    "SELECT id, function, kwargs, attempt FROM jobs"
	    " WHERE state = 'waiting' AND brand_id = ? AND run_at <= ?"
	    " ORDER BY run_at, seq LIMIT 1",
	    "ti", brand, now));
	TRY(sqlite_step(db, s, &c->found));
	if (c->found) {
		str_copy(job->id, sizeof(job->id),
		    (const char *)sqlite3_column_text(s, 0));
		str_copy(job->brand_id, sizeof(job->brand_id), brand);
		job->function = sqlite_text(s, 1);
		job->kwargs = sqlite_text(s, 2);
		job->args = mem_strdup("[]");
		job->attempt = sqlite3_column_int64(s, 3) + 1;
		ident_new("jb", job->token);
	}
	sqlite3_reset(s);
	return OK;
}

/* Once around the brands, from the one after the last served. */
static enum err_code
find_job(sqlite3 *db, struct call *c, int64_t now)
{
	const char *last = c->queue->last_brand;
	char brand[BRAND_ID_SIZE], after[BRAND_ID_SIZE];
	bool wrapped = false, found;

	str_copy(after, sizeof(after), last);
	for (;;) {
		TRY(next_brand(db, after, brand, &found));
		if (!found && wrapped)
			return OK;
		if (!found) {
			wrapped = true;
			after[0] = '\0';
			continue;
		}
		if (wrapped && strcmp(brand, last) > 0)
			return OK;
		TRY(first_due(db, c, brand, now));
		if (c->found)
			return OK;
		str_copy(after, sizeof(after), brand);
	}
}

static enum err_code
lease_job(sqlite3 *db, struct call *c, int64_t now)
{
	TRY(sqlite_run(db, NULL,
	    "UPDATE jobs SET state = 'running', attempt = ?, token = ?,"
	    " lease_until = ? WHERE id = ?",
	    "itit", c->job.attempt, c->job.token, now + c->lease_ms,
	    c->job.id));
	move_counts(c, -1, 0);
	pthread_mutex_lock(&c->queue->turn_lock);
	str_copy(c->queue->last_brand, sizeof(c->queue->last_brand),
	    c->job.brand_id);
	pthread_mutex_unlock(&c->queue->turn_lock);
	return OK;
}

static enum err_code
next_event(sqlite3 *db, struct call *c)
{
	sqlite3_stmt *s;
	bool row;

	TRY(sqlite_query(db, &s,
	    "SELECT min(at) FROM (SELECT min(run_at) AS at FROM jobs"
	    " WHERE state = 'waiting' UNION ALL SELECT min(lease_until) + 1"
	    " FROM jobs WHERE state = 'running')",
	    ""));
	TRY(sqlite_step(db, s, &row));
	c->look.next_at = sqlite3_column_int64(s, 0); /* 0 for NULL */
	sqlite3_reset(s);
	return OK;
}

/* Nothing found is not an error here: it would take back the reaping. */
static enum err_code
take(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int64_t now = queue_sqlite__now();

	TRY(fresh_counts(db, c->queue));
	TRY(reap(db, c, now));
	TRY(find_job(db, c, now));
	return c->found ? lease_job(db, c, now) : next_event(db, c);
}

static enum err_code
queue_sqlite_take(struct queue *queue, int64_t lease_ms,
    struct queue_look *look_out, struct job *job_out)
{
	struct call c = { .lease_ms = lease_ms };
	enum err_code rc = write_call(queue, take, &c);

	if (rc != OK) {
		job_done(&c.job);
		return rc;
	}
	*look_out = c.look;
	if (!c.found)
		return err_set(ERR_NOT_FOUND, "no job is due");
	*job_out = c.job;
	return OK;
}

/* ---- under the lease ---- */

static enum err_code
lost(const struct job *job)
{
	return err_set(ERR_CONFLICT, "the lease of job %s was lost", job->id);
}

#define HELD " WHERE id = ? AND token = ? AND state = 'running'"

static enum err_code
renew(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(sqlite_run(db, &changes, "UPDATE jobs SET lease_until = ?" HELD,
	    "itt", queue_sqlite__now() + c->lease_ms, c->held->id,
	    c->held->token));
	return changes > 0 ? OK : lost(c->held);
}

static enum err_code
queue_sqlite_renew(struct queue *queue, struct job *job, int64_t lease_ms)
{
	struct call c = { .held = job, .lease_ms = lease_ms };

	return write_call(queue, renew, &c);
}

static enum err_code
finish(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(sqlite_run(db, &changes, "DELETE FROM jobs" HELD, "tt", c->held->id,
	    c->held->token));
	if (changes == 0)
		return lost(c->held);
	return OK;
}

static enum err_code
queue_sqlite_finish(struct queue *queue, const struct job *job)
{
	struct call c = { .held = job };

	return write_call(queue, finish, &c);
}

static enum err_code
retry(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(fresh_counts(db, c->queue));
	TRY(sqlite_run(db, &changes,
	    "UPDATE jobs SET state = 'waiting', token = '', lease_until = 0,"
	    " attempt = attempt - ?, run_at = ?" HELD,
	    "iitt", (int64_t)c->free,
	    c->run_at > 0 ? c->run_at : queue_sqlite__now(), c->held->id,
	    c->held->token));
	if (changes == 0)
		return lost(c->held);
	move_counts(c, 1, 0);
	return OK;
}

static enum err_code
queue_sqlite_retry(
    struct queue *queue, const struct job *job, int64_t run_at, bool counts)
{
	struct call c = { .held = job, .run_at = run_at, .free = !counts };

	return write_call(queue, retry, &c);
}

static enum err_code
bury(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes, pruned = 0;

	TRY(fresh_counts(db, c->queue));
	TRY(sqlite_run(db, &changes,
	    "UPDATE jobs SET state = 'dead', token = '', lease_until = 0,"
	    " reason = ?, ended_at = ?" HELD,
	    "titt", c->reason, queue_sqlite__now(), c->held->id,
	    c->held->token));
	if (changes == 0)
		return lost(c->held);
	if (c->queue->dead >= QUEUE_DEAD_MAX)
		TRY(sqlite_run(db, &pruned,
		    "DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs"
		    " WHERE state = 'dead' ORDER BY ended_at, seq LIMIT ?)",
		    "i", c->queue->dead + 1 - QUEUE_DEAD_MAX));
	move_counts(c, 0, 1 - pruned);
	return OK;
}

static enum err_code
queue_sqlite_bury(
    struct queue *queue, const struct job *job, const char *reason)
{
	struct call c = { .held = job, .reason = reason };

	return write_call(queue, bury, &c);
}

static enum err_code
abort_waiting(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(fresh_counts(db, c->queue));
	TRY(sqlite_run(db, &changes,
	    "DELETE FROM jobs WHERE id = ? AND state = 'waiting'", "t", c->id));
	if (changes > 0)
		move_counts(c, -1, 0);
	return OK;
}

static enum err_code
queue_sqlite_abort(struct queue *queue, const char *id)
{
	struct call c = { .id = id };

	return write_call(queue, abort_waiting, &c);
}

/* ---- opening ---- */

static enum err_code
first_count(sqlite3 *db, void *arg)
{
	return recount(db, arg);
}

static void
queue_sqlite_close(struct queue *queue)
{
	struct queue_sqlite *q = queue_sqlite__of(queue);

	pthread_mutex_destroy(&q->turn_lock);
	mem_free(q);
}

/* Jobs that ran when the process ended keep their leases, which expire. */
static enum err_code
queue_sqlite_open(const char *url, struct sqlite *db, struct queue **queue_out)
{
	struct queue_sqlite *q;
	enum err_code rc;

	(void)url; /* the caller opened the file that it names */
	if (db == NULL)
		return err_set(ERR_CONFIG, "queue: no database is open");
	q = mem_zero(sizeof(*q));
	q->db = db;
	pthread_mutex_init(&q->turn_lock, NULL);
	rc = sqlite_write(db, first_count, q);
	if (rc != OK) {
		queue_sqlite_close(&q->queue);
		return rc;
	}
	*queue_out = &q->queue;
	return OK;
}

static enum err_code
queue_sqlite_checkup(struct queue *queue, struct checkup *checkup)
{
	(void)queue;
	str_copy(checkup->facts, sizeof(checkup->facts), "embedded");
	return OK;
}

const struct queue_backend queue_sqlite_backend = {
	.scheme = "sqlite:",
	.open = queue_sqlite_open,
	.close = queue_sqlite_close,
	.put = queue_sqlite_put,
	.take = queue_sqlite_take,
	.renew = queue_sqlite_renew,
	.finish = queue_sqlite_finish,
	.retry = queue_sqlite_retry,
	.bury = queue_sqlite_bury,
	.abort = queue_sqlite_abort,
	.position = queue_sqlite__position,
	.depth = queue_sqlite__depth,
	.checkup = queue_sqlite_checkup,
	.dead = queue_sqlite__dead,
	.poll_ms = POLL_MS,
};
