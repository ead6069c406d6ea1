/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TELEMETRY_SPAN_QUEUE_H
#define XIN_TELEMETRY_SPAN_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/task.h"

/*
 * Ended spans on their way to the exporter: a ring of bytes for each thread
 * that ends spans, written by it and read by the exporter, without a lock.
 * Bounded in spans over all rings and in bytes for each; what does not fit is
 * dropped and counted (xin_tracing_spans_total{outcome="dropped"}).
 */
struct span_batch {
	struct buf spans[SERVICE_COUNT]; /* ScopeSpans.spans fields */
	size_t counts[SERVICE_COUNT];
	size_t count;
};

/* `full` is called once, on the thread that ended the span, when `batch_max`
 * spans wait; span_queue_drain makes it due again. */
void span_queue_open(size_t queue_max, size_t batch_max, void (*full)(void));
/* The span sink (base/span.h). */
void span_queue_push(enum service service, const void *bytes, size_t len);
/* One thread only: add at most `max` spans to the batch; how many were. */
size_t span_queue_drain(struct span_batch *batch, size_t max);
size_t span_queue_len(void);
/* Once no thread ends spans any more. */
void span_queue_close(void);

void span_batch_init(struct span_batch *batch);
void span_batch_done(struct span_batch *batch);

#endif
