/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_TASK_H
#define XIN_BASE_TASK_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/mem.h"

/*
 * A task is one request or one job: what stays true for it from beginning to
 * end, whatever stack it runs on. The fiber runtime sets `task_self()` at every
 * switch. Log lines, spans and metrics read the identity from here.
 */

enum service {
	SERVICE_NONE,
	SERVICE_GATEWAY,
	SERVICE_ORCHESTRATOR,
	SERVICE_WORKER,
	SERVICE_COUNT
};

/* "xin-channel-gateway", "xin-orchestrator", "xin-ingestion-worker", "xin". */
const char *service_name(enum service service);

#define REQUEST_ID_SIZE 129
#define BRAND_ID_SIZE   64
#define GENERATION_SIZE 16

struct task {
	struct arena arena;
	struct error error;
	uint64_t deadline_ms; /* monotonic; 0 = none */
	enum service service;
	bool cancelled;
	char request_id[REQUEST_ID_SIZE]; /* correlation_id in logs */
	char brand_id[BRAND_ID_SIZE];
	char generation[GENERATION_SIZE]; /* of its scripts; "" = none */
	/* W3C trace context (base/trace.h): "" = none. */
	char trace_id[33];
	char span_id[17];       /* of the running span, or of the caller's */
	uint8_t trace_flags;    /* TRACE_SAMPLED, TRACE_RANDOM */
	const char *tracestate; /* in the arena; NULL = none */
	const char *baggage;
	struct span
	    *span; /* the running one (base/span.h); NULL = unrecorded */
};

void task_init(struct task *task, enum service service);
void task_done(struct task *task);

/* Work for `like` goes on in `task`: its service, request, brand and trace, so
 * that its spans become children of the span that runs there now. `like` may be
 * another thread's as long as it stands still. */
void task_inherit(struct task *task, const struct task *like);

/* The running task, or NULL outside one. */
struct task *task_self(void);
/* Used by the fiber runtime, and by threads that work for a task. */
void task_enter(struct task *task);

/* Milliseconds left to `deadline_ms` (monotonic), 0 when passed. A deadline of
 * 0 means none and gives UINT64_MAX. */
uint64_t deadline_left_ms(uint64_t deadline_ms);
uint64_t deadline_in_ms(uint64_t ms);
/* The earlier of two deadlines, 0 meaning none. */
uint64_t deadline_min(uint64_t a, uint64_t b);

#endif
