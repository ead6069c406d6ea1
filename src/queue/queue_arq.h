/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_QUEUE_QUEUE_ARQ_H
#define XIN_QUEUE_QUEUE_ARQ_H

#include "base/buf.h"
#include "queue/queue.h"

/*
 * ARQ's records (python-arq 0.26, arq/jobs.py): a job is {t, f, a, k, et}, a
 * result adds {s, r, st, ft, q, id}. JSON or pickle, told apart by the first
 * byte; a result is written as its job was.
 */
enum queue_arq_format { QUEUE_ARQ_JSON, QUEUE_ARQ_PICKLE };

/* `kwargs` is JSON object text. ERR_INVALID. */
enum err_code queue_arq__write(enum queue_arq_format format,
    const char *function, const char *kwargs, int64_t put_at, struct buf *out);

/* Fill function, args, kwargs, brand_id, put_at and `stored` from a stored
 * record, which is copied. What cannot be read is told by job->fault, and by
 * an empty function when not even that can be read. Returns the record's own
 * "t", 0 when it has none. */
int64_t queue_arq__read(const void *data, size_t len, struct job *job);

enum queue_arq_end {
	QUEUE_ARQ_DONE,     /* r = job->result */
	QUEUE_ARQ_FAILED,   /* r = `reason`: text, or RuntimeError in pickle */
	QUEUE_ARQ_CANCELLED /* r = CancelledError */
};
/* `fallback` is the format for a job whose record is gone. */
void queue_arq__result(const struct job *job, enum queue_arq_format fallback,
    const char *queue_name, enum queue_arq_end end, const char *reason,
    struct buf *out);

#endif
