/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_TRACE_H
#define XIN_BASE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/task.h"

/*
 * Trace context of a task: where it comes from and how it goes on. W3C Trace
 * Context level 2 (traceparent, tracestate) and W3C Baggage; the context lives
 * in struct task, its strings in the task's arena.
 */
#define TRACE_SAMPLED     0x01
#define TRACE_RANDOM      0x02
#define TRACE_PARENT_SIZE 56 /* "00-" 32 "-" 16 "-" 2 and a NUL */

/* As they came, several lines of one name joined by commas; NULL = absent. */
struct trace_headers {
	const char *traceparent;
	const char *tracestate;
	const char *baggage;
};

enum trace_sampler {
	TRACE_PARENT_ALWAYS_ON,
	TRACE_PARENT_ALWAYS_OFF,
	TRACE_PARENT_RATIO,
	TRACE_ALWAYS_ON,
	TRACE_ALWAYS_OFF,
	TRACE_RATIO,
};

struct trace_options {
	enum trace_sampler sampler;
	double ratio;    /* of traces, 0..1, for the two ratio samplers */
	bool no_context; /* traceparent and tracestate are not read or sent */
	bool no_baggage;
};
/* Before threads start; without it all of {0}. */
void trace_setup(const struct trace_options *options);

/* A task enters a trace: the caller's where its traceparent is valid, else a
 * new one, and whether its spans are recorded is decided. Afterwards
 * task->span_id is the caller's span, "" at a root. A bad tracestate or baggage
 * is dropped; it does not make traceparent invalid. */
void trace_enter(struct task *task, const struct trace_headers *from);
/* A fresh id for a span of the task. Ids are no secrets. */
void trace_new_span_id(uint8_t id[8]);

/* `traceparent` of the task's running span, as version 00. False (and "")
 * outside a trace. */
bool trace_parent(const struct task *task, char out[TRACE_PARENT_SIZE]);
/* What may be sent to our own services beside it; NULL = none. */
const char *trace_state(const struct task *task);
const char *trace_baggage(const struct task *task);

/* ---- the three grammars ---- */
bool trace_parse_parent(
    const char *text, char trace_id[33], char span_id[17], uint8_t *flags_out);
/* Copies what is worth sending on, in at most 512 bytes: whole entries, long
 * ones dropped first, then the last. False when invalid; over 32 entries are.
 */
#define TRACE_STATE_SIZE 513
bool trace_clean_state(const char *text, char out[TRACE_STATE_SIZE]);
/* Copies the well-formed members, the first 64 and 8192 bytes at most. False
 * when none is left. */
#define TRACE_BAGGAGE_SIZE 8193
bool trace_clean_baggage(const char *text, char out[TRACE_BAGGAGE_SIZE]);

#endif
