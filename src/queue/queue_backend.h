/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_QUEUE_QUEUE_BACKEND_H
#define XIN_QUEUE_QUEUE_BACKEND_H

#include "fiber/waiters.h"
#include "queue/queue.h"

/*
 * For those who implement a back end, and for the contract tests. The front
 * (queue.c) checks arguments, counts, and does the waiting of queue_take; an op
 * asks the database once and answers. Every op is required.
 */
enum queue_put_result {
	QUEUE_PUT_NEW,
	QUEUE_PUT_KNOWN /* waits or runs already */
};

/* What the last look left behind, for the front's counters and waiting. */
struct queue_look {
	int64_t reaped;  /* expired leases given back */
	int64_t buried;  /* of which out of attempts, and unreadable ones */
	int64_t passed;  /* left to workers that know their functions */
	int64_t next_at; /* wall ms when a job or lease falls due, 0 = none */
};

struct queue_backend {
	const char *scheme; /* "sqlite:" */
	enum err_code (*open)(
	    const char *url, struct sqlite *db, struct queue **queue_out);
	void (*close)(struct queue *queue);
	enum err_code (*put)(struct queue *queue, const char *id,
	    const char *brand, const char *function, const char *kwargs,
	    int64_t run_at, enum queue_put_result *result_out);
	/* ERR_NOT_FOUND when nothing is due; *look_out is set either way. */
	enum err_code (*take)(struct queue *queue, int64_t lease_ms,
	    struct queue_look *look_out, struct job *job_out);
	enum err_code (*renew)(
	    struct queue *queue, struct job *job, int64_t lease_ms);
	enum err_code (*finish)(struct queue *queue, const struct job *job);
	enum err_code (*retry)(struct queue *queue, const struct job *job,
	    int64_t run_at, bool counts);
	enum err_code (*bury)(
	    struct queue *queue, const struct job *job, const char *reason);
	enum err_code (*abort)(struct queue *queue, const char *id);
	enum err_code (*position)(
	    struct queue *queue, const char *id, int64_t *position_out);
	enum err_code (*depth)(
	    struct queue *queue, struct queue_depth *depth_out);
	enum err_code (*dead)(
	    struct queue *queue, int limit, json_t **items_out);
	/* Who it is, for people. */
	enum err_code (*checkup)(struct queue *queue, struct checkup *checkup);
	/* How often a waiting taker looks without being woken: other
	 * processes may put jobs too. */
	uint64_t poll_ms;
	/* Longest time between two renewals, 0 = as the lease wants it. */
	uint64_t beat_ms;
};

/* A back end's own structure begins with this one, zeroed. */
struct queue {
	const struct queue_backend *backend;
	struct waiters *waiters;
	const char *const *functions; /* of queue_serve; NULL = all */
};

extern const struct queue_backend queue_sqlite_backend;
extern const struct queue_backend queue_redis_backend;

/* Dead letters kept; older ones are deleted. */
#define QUEUE_DEAD_MAX 10000

#endif
