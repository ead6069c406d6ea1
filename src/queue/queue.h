/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_QUEUE_QUEUE_H
#define XIN_QUEUE_QUEUE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/ident.h"
#include "base/task.h"

/*
 * The job queue. The database row of a document is the truth, a job is the
 * wake-up to work on it. A taken job has a lease; an expired lease gives the
 * job back. Jobs of several brands are taken in fair turns. Job ids are made
 * by the caller and unique: putting the same id again while it waits or runs
 * is OK and does nothing. All functions WAIT.
 */
struct queue;
struct sqlite;
enum err_code queue_open(
    const char *url, struct sqlite *db, struct queue **queue_out);
void queue_close(struct queue *queue);

struct job {
	char id[96];                  /* "ingest:<source_id>:<version>" */
	char brand_id[BRAND_ID_SIZE]; /* "" when kwargs name none */
	char *function;               /* "ingest_source" */
	char *kwargs;                 /* JSON object text */
	char *args;   /* JSON array text of Python's positional arguments */
	bool aborted; /* a client asked to end it: do not run it, finish it */
	char *result; /* JSON text for Python's Job.result(), set by whoever
		       * ran it; NULL = null. At most QUEUE_RESULT_MAX. */
	int64_t attempt;        /* 1 for the first */
	char token[IDENT_SIZE]; /* proof of the lease */
	/* The back end's own: the job as it was stored, for its result. */
	char *stored;
	size_t stored_len;
	char *fault;              /* why it cannot be run */
	int64_t put_at, taken_at; /* wall ms */
};
#define QUEUE_RESULT_MAX ((size_t)256 << 10)
void job_done(struct job *job);

/* ERR_OVERLOADED when XIN_MAX_QUEUE jobs wait. `run_at` wall ms, 0 = now.
 * `kwargs` has the brand as "brand_id" too: in Redis it stands nowhere else. */
enum err_code queue_put(struct queue *queue, const char *id, const char *brand,
    const char *function, const char *kwargs, int64_t run_at);
/*
 * Redis' queue is ARQ's (python-arq 0.26): producers and workers in Python may
 * share it. Say once, before the first take, which functions are run here (a
 * static list that ends with NULL; unsaid = all). Jobs of other functions are
 * left to workers that know them, since ARQ's own way, failing what one does
 * not know, would eat their jobs. A record of ours that cannot be read (it
 * holds Python objects) becomes a dead letter inside queue_take. The embedded
 * queue has no other workers and hands everything out.
 */
void queue_serve(struct queue *queue, const char *const *functions);

/* Take one job, waiting until the deadline: ERR_DEADLINE when none came. Wakes
 * up at once when queue_put ran in this process (Redis: in any). */
enum err_code queue_take(struct queue *queue, int64_t lease_ms,
    uint64_t deadline_ms, struct job *job_out);
/* With the token of the lease; ERR_CONFLICT when it was lost. Renewing fails
 * with ERR_CANCELLED, and sets job->aborted, when a client asked to end it. */
enum err_code queue_renew(
    struct queue *queue, struct job *job, int64_t lease_ms);
/* How often to renew: a third of the lease, sooner where that is also how one
 * hears of an abort. */
uint64_t queue_beat_ms(const struct queue *queue, int64_t lease_ms);
enum err_code queue_finish(struct queue *queue, const struct job *job);
/* Not before `run_at` (wall ms, 0 = now). `counts` false: this attempt does not
 * count, since the fault was a back end that is away. */
enum err_code queue_retry(
    struct queue *queue, const struct job *job, int64_t run_at, bool counts);
enum err_code queue_bury(struct queue *queue, const struct job *job,
    const char *reason); /* dead letter */
/* Remove a waiting job, and ask for the end of a running one where the back end
 * can (Redis: its next queue_renew is told); OK when there is none. */
enum err_code queue_abort(struct queue *queue, const char *id);
/* How many wait before it (0 = next), -1 when it does not wait. Redis: from the
 * fair turns of the 300 oldest jobs, its rank behind them; an estimate, since
 * others take and put meanwhile. */
enum err_code queue_position(
    struct queue *queue, const char *id, int64_t *position_out);
struct checkup;
enum err_code queue_checkup(struct queue *queue, struct checkup *checkup);
struct queue_depth { /* Redis: running ones among the first 1,000 due */
	int64_t waiting, delayed, running, dead;
	int64_t oldest_wait_ms;
};
enum err_code queue_depth(struct queue *queue, struct queue_depth *depth_out);
enum err_code queue_dead(struct queue *queue, int limit, json_t **items_out);

#endif
