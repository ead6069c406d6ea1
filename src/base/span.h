/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_SPAN_H
#define XIN_BASE_SPAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/trace.h"

/*
 * Spans: what a task did, when, and what came of it.
 *
 *   struct span *span = span_begin(SPAN_CLIENT, "SELECT knowledge_sources");
 *   span_add(span, attr_str(ATTR_DB_SYSTEM, "postgresql"));
 *   ...
 *   span_end(span, rc);
 *
 * span_begin makes a child of the task's running span and makes it the running
 * one until span_end, on the same task. NULL means that nothing is recorded
 * (tracing is off, no trace, not sampled): one branch, and the arguments of
 * span_add and span_event are then not even evaluated. Every function takes
 * NULL. Recording takes no lock and, after a thread's first spans, no memory:
 * a record is of fixed size, out of the thread's own pool, and is written as
 * the bytes of an OTLP Span message, which the exporter only strings together.
 *
 * Bounded: 128 attributes, 128 events, 1 KiB for a string, 4 KiB for a span;
 * what is over is left out and counted in dropped_*_count.
 */
#define SPAN_SCHEMA_URL "https://opentelemetry.io/schemas/1.41.1"
#define SPAN_SCOPE      "xin"

enum span_kind {
	SPAN_INTERNAL = 1,
	SPAN_SERVER,
	SPAN_CLIENT,
	SPAN_PRODUCER,
	SPAN_CONSUMER
};

enum attribute {
#define ATTRIBUTE(sym, type, name, help) sym,
#include "base/attributes.def"
#undef ATTRIBUTE
	ATTR_COUNT
};

enum attr_type { ATTR_IS_STR, ATTR_IS_INT, ATTR_IS_REAL, ATTR_IS_BOOL };
struct attr {
	enum attribute key;
	enum attr_type type;
	union {
		const char *str;
		int64_t num;
		double real;
	} value;
};

/* NULL and "" are left out. For a list of strings: a list of this one. */
static inline struct attr
attr_str(enum attribute key, const char *value)
{
	return (struct attr){ key, ATTR_IS_STR, { .str = value } };
}

static inline struct attr
attr_int(enum attribute key, int64_t value)
{
	return (struct attr){ key, ATTR_IS_INT, { .num = value } };
}

static inline struct attr
attr_real(enum attribute key, double value)
{
	return (struct attr){ key, ATTR_IS_REAL, { .real = value } };
}

static inline struct attr
attr_bool(enum attribute key, bool value)
{
	return (struct attr){ key, ATTR_IS_BOOL, { .num = value } };
}

struct span;
extern atomic_bool span__on;
struct span *span__begin(enum span_kind kind, const char *name);
void span__add(struct span *span, const struct attr *attrs, size_t count);
void span__event(struct span *span, const char *name, const struct attr *attrs,
    size_t count);

/* `name`: low cardinality, at most 127 bytes; copied. */
static inline struct span *
span_begin(enum span_kind kind, const char *name)
{
	return atomic_load_explicit(&span__on, memory_order_relaxed)
		   ? span__begin(kind, name)
		   : NULL;
}

/* Where a task enters a trace (trace_enter): the answer to a request, a job
 * that is processed. Whether recorded or not, the task then has a span id of
 * its own, for log lines and answers. */
struct span *span_enter(
    enum span_kind kind, const char *name, const struct trace_headers *from);
/* The same for what shall not be recorded (probes). */
void span_enter_unrecorded(const struct trace_headers *from);

void span_name(struct span *span, const char *name);
#define span_add(span, ...)                                                    \
	do {                                                                   \
		if ((span) != NULL) {                                          \
			const struct attr span_attrs_[] = { __VA_ARGS__ };     \
			span__add(span, span_attrs_,                           \
			    sizeof(span_attrs_) / sizeof(span_attrs_[0]));     \
		}                                                              \
	} while (0)
/* The instant is now. */
#define span_event(span, name, ...)                                            \
	do {                                                                   \
		if ((span) != NULL) {                                          \
			const struct attr span_attrs_[] = { __VA_ARGS__ };     \
			span__event(span, name, span_attrs_,                   \
			    sizeof(span_attrs_) / sizeof(span_attrs_[0]));     \
		}                                                              \
	} while (0)
/* To a span that this one belongs to without being its child. */
void span_link(struct span *span, const char trace_id[33],
    const char span_id[17], uint8_t flags);
/* Status ERROR, with error.type: a code or an HTTP status. Once. */
void span_fail(struct span *span, const char *type);
/* Ends it, with status ERROR and error.type when `rc` is an error. The sentence
 * is not recorded: it may quote what users wrote; the log has it. */
void span_end(struct span *span, enum err_code rc);
/* The same for a call of a service: what callers reckon with (not found,
 * conflict, cancelled, no job in time) is told by no error status. */
void span_end_call(struct span *span, enum err_code rc);
/* The running span of this task, NULL = none is recorded. */
struct span *span_current(void);

/* Where ended spans go: called on the thread that ended it, with the bytes of
 * a ScopeSpans.spans field (tag and length counted in). NULL = tracing is off.
 * Must neither block nor keep the bytes. */
typedef void (*span_sink_fn)(
    enum service service, const void *bytes, size_t len);
void span_sink(span_sink_fn sink);

/* Name of a key, for tests and pages. */
const char *span_attribute_name(enum attribute key);

#endif
