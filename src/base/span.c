/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Span records: one buffer of fixed size each, filled with the fields of an
 * OTLP Span message (opentelemetry/proto/trace/v1/trace.proto) as they become
 * known; proto3 readers take fields in any order. Its own length is known at
 * the end, so the field's head is put into the room left before it.
 */
#include "base/span.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/mem.h"
#include "base/protobuf.h"
#include "base/str.h"

#define RECORD_BYTES 4096
#define HEAD_BYTES   8 /* tag and length of the whole */
/* Kept back for the end: name, time, status, counts; and our own attributes. */
#define END_BYTES     192
#define OWN_BYTES     448
#define OWN_ATTRS     3
#define NAME_BYTES    128
#define STRING_MAX    1024
#define ATTRS_MAX     128
#define EVENTS_MAX    128
#define EVENT_ATTRS   128
#define POOL_MAX      256
#define TYPE_BYTES    48
#define REMOTE_KNOWN  0x100u
#define PARENT_REMOTE 0x200u

/* Fields of Span, Event, Link, Status, KeyValue, AnyValue. */
enum {
	SPAN_TRACE_ID = 1,
	SPAN_ID,
	SPAN_TRACE_STATE,
	SPAN_PARENT_ID,
	SPAN_NAME,
	SPAN_KIND,
	SPAN_START,
	SPAN_END,
	SPAN_ATTRIBUTE,
	SPAN_ATTRIBUTES_DROPPED,
	SPAN_EVENT,
	SPAN_EVENTS_DROPPED,
	SPAN_LINK,
	SPAN_STATUS = 15,
	SPAN_FLAGS = 16,
	EVENT_TIME = 1,
	EVENT_NAME,
	EVENT_ATTRIBUTE,
	EVENT_DROPPED,
	LINK_TRACE_ID = 1,
	LINK_SPAN_ID,
	LINK_FLAGS = 6,
	STATUS_CODE = 3,
	SPANS_FIELD = 2, /* of ScopeSpans */
};

struct span {
	struct span *outer; /* the running one before; the pool's next */
	struct task *task;
	char outer_id[17];
	char name[NAME_BYTES];
	char type[TYPE_BYTES]; /* error.type, "" = no error */
	enum service service;
	bool ended;
	uint64_t start_ns;   /* wall */
	uint64_t start_mono; /* and monotonic: durations do not jump */
	uint32_t flags;
	unsigned attrs, attrs_dropped, events, events_dropped;
	size_t len;
	uint8_t bytes[RECORD_BYTES];
};

enum table_type { STR, STRS, INT, REAL, BOOL };

static const struct {
	const char *name;
	uint8_t len;
	uint8_t type;
} table[ATTR_COUNT] = {
#define ATTRIBUTE(sym, type, name, help)                                       \
	[sym] = { name, sizeof(name) - 1, type },
#include "base/attributes.def"
#undef ATTRIBUTE
};

atomic_bool span__on;
static _Atomic(span_sink_fn) sink_fn;

void
span_sink(span_sink_fn sink)
{
	atomic_store(&sink_fn, sink);
	atomic_store(&span__on, sink != NULL);
}

const char *
span_attribute_name(enum attribute key)
{
	return table[key].name;
}

/* ---- records ---- */

static _Thread_local struct span *pool;
static _Thread_local unsigned pooled;
static pthread_key_t pool_key;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;

static void
free_pool(void *arg)
{
	(void)arg;
	while (pool != NULL) {
		struct span *span = pool;

		pool = span->outer;
		mem_free(span);
	}
	pooled = 0;
}

static void
make_key(void)
{
	if (pthread_key_create(&pool_key, free_pool) != 0)
		panic("no thread key for spans");
}

static struct span *
take_record(void)
{
	struct span *span = pool;

	if (span == NULL) {
		pthread_once(&pool_once, make_key);
		pthread_setspecific(pool_key, &pool);
		return mem_alloc(sizeof(*span));
	}
	pool = span->outer;
	pooled--;
	return span;
}

static void
give_record(struct span *span)
{
	if (pooled >= POOL_MAX) {
		mem_free(span);
		return;
	}
	span->outer = pool;
	pool = span;
	pooled++;
}

/* ---- attributes ---- */

/* A longer string is cut between characters. */
static size_t
cut(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);

	if (len <= max)
		return len;
	len = max;
	while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	return len;
}

/* A proto3 string is valid UTF-8, or readers refuse all of the message. */
static uint8_t *
put_string(uint8_t *p, unsigned field, const char *text, size_t len)
{
	uint8_t *start;

	p = pb_bytes(p, field, text, len);
	if (str_is_utf8(text, len))
		return p;
	for (start = p - len; start < p; start++)
		if (*start >= 0x80)
			*start = '?';
	return p;
}

static size_t
value_size(const struct attr *attr, size_t text)
{
	switch (attr->type) {
	case ATTR_IS_STR:
		return 1 + pb_varint_size(text) + text;
	case ATTR_IS_INT:
		return 1 + pb_varint_size((uint64_t)attr->value.num);
	case ATTR_IS_REAL:
		return 9;
	case ATTR_IS_BOOL:
		return 2;
	}
	return 0;
}

static uint8_t *
put_value(uint8_t *p, const struct attr *attr, size_t text)
{
	uint64_t bits;

	switch (attr->type) {
	case ATTR_IS_STR:
		return put_string(p, 1, attr->value.str, text);
	case ATTR_IS_INT:
		return pb_uint(p, 3, (uint64_t)attr->value.num);
	case ATTR_IS_REAL:
		memcpy(&bits, &attr->value.real, sizeof(bits));
		return pb_fixed64(p, 4, bits);
	case ATTR_IS_BOOL:
		return pb_uint(p, 2, attr->value.num != 0);
	}
	return p;
}

static void
check_type(const struct attr *attr)
{
	static const uint8_t type_of[] = { [ATTR_IS_STR] = STR,
		[ATTR_IS_INT] = INT,
		[ATTR_IS_REAL] = REAL,
		[ATTR_IS_BOOL] = BOOL };

	must(table[attr->key].type == type_of[attr->type] ||
	     (table[attr->key].type == STRS && attr->type == ATTR_IS_STR));
}

/* One KeyValue as field `field`; NULL when it does not fit before `end`. A
 * list is AnyValue{ array_value{ values } }: two more lengths around. */
static uint8_t *
put_attr(
    uint8_t *p, const uint8_t *end, unsigned field, const struct attr *attr)
{
	size_t text = 0, value, any, key = table[attr->key].len, whole;
	bool list = table[attr->key].type == STRS;

	check_type(attr);
	if (attr->type == ATTR_IS_STR)
		text = cut(attr->value.str, STRING_MAX);
	any = value = value_size(attr, text);
	if (list) {
		any = 1 + pb_varint_size(value) + value; /* values = 1 */
		any += 1 + pb_varint_size(any);          /* array_value = 5 */
	}
	whole = 1 + pb_varint_size(key) + key + 1 + pb_varint_size(any) + any;
	if ((size_t)(end - p) < whole + 8)
		return NULL;
	p = pb_varint(pb_tag(p, field, PB_BYTES), whole);
	p = pb_bytes(p, 1, table[attr->key].name, key);
	p = pb_varint(pb_tag(p, 2, PB_BYTES), any);
	if (list) {
		p = pb_varint(
		    pb_tag(p, 5, PB_BYTES), 1 + pb_varint_size(value) + value);
		p = pb_varint(pb_tag(p, 1, PB_BYTES), value);
	}
	return put_value(p, attr, text);
}

static bool
is_absent(const struct attr *attr)
{
	return attr->type == ATTR_IS_STR &&
	       (attr->value.str == NULL || attr->value.str[0] == '\0');
}

static const uint8_t *
room_end(const struct span *span)
{
	return span->bytes + RECORD_BYTES - END_BYTES -
	       (span->ended ? 0 : OWN_BYTES);
}

void
span__add(struct span *span, const struct attr *attrs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t *p = NULL;

		if (is_absent(&attrs[i]))
			continue;
		if (span->attrs < ATTRS_MAX - (span->ended ? 0 : OWN_ATTRS))
			p = put_attr(span->bytes + span->len, room_end(span),
			    SPAN_ATTRIBUTE, &attrs[i]);
		if (p == NULL) {
			span->attrs_dropped++;
			continue;
		}
		span->attrs++;
		span->len = (size_t)(p - span->bytes);
	}
}

/* ---- events and links ---- */

static uint64_t
now_ns(const struct span *span)
{
	return span->start_ns + (clock_mono_ns() - span->start_mono);
}

void
span__event(
    struct span *span, const char *name, const struct attr *attrs, size_t count)
{
	uint8_t event[2048], *p = event, *next;
	unsigned dropped = 0;
	size_t len;

	p = pb_fixed64(p, EVENT_TIME, now_ns(span));
	p = put_string(p, EVENT_NAME, name, cut(name, NAME_BYTES));
	for (size_t i = 0; i < count && i < EVENT_ATTRS; i++) {
		if (is_absent(&attrs[i]))
			continue;
		next = put_attr(
		    p, event + sizeof(event) - 8, EVENT_ATTRIBUTE, &attrs[i]);
		p = next != NULL ? next : p;
		dropped += next == NULL;
	}
	if (dropped > 0)
		p = pb_uint(p, EVENT_DROPPED, dropped);
	len = (size_t)(p - event);
	if (span->events >= EVENTS_MAX ||
	    (size_t)(room_end(span) - span->bytes) < span->len + len + 4) {
		span->events_dropped++;
		return;
	}
	span->events++;
	p = pb_bytes(span->bytes + span->len, SPAN_EVENT, event, len);
	span->len = (size_t)(p - span->bytes);
}

void
span_link(struct span *span, const char trace_id[33], const char span_id[17],
    uint8_t flags)
{
	uint8_t link[64], *p = link, id[16];

	if (span == NULL || !crypto_unhex(trace_id, 32, id, 16) ||
	    (size_t)(room_end(span) - span->bytes) < span->len + sizeof(link))
		return;
	p = pb_bytes(p, LINK_TRACE_ID, id, 16);
	if (!crypto_unhex(span_id, 16, id, 8))
		return;
	p = pb_bytes(p, LINK_SPAN_ID, id, 8);
	p = pb_fixed32(p, LINK_FLAGS, flags | REMOTE_KNOWN | PARENT_REMOTE);
	p = pb_bytes(
	    span->bytes + span->len, SPAN_LINK, link, (size_t)(p - link));
	span->len = (size_t)(p - span->bytes);
}

/* ---- life ---- */

static void
write_ids(struct span *span, const struct task *task, const uint8_t id[8])
{
	uint8_t trace[16], parent[8], *p = span->bytes + HEAD_BYTES;

	crypto_unhex(task->trace_id, 32, trace, sizeof(trace));
	p = pb_bytes(p, SPAN_TRACE_ID, trace, sizeof(trace));
	p = pb_bytes(p, SPAN_ID, id, 8);
	if (crypto_unhex(
		task->span_id, strlen(task->span_id), parent, sizeof(parent)))
		p = pb_bytes(p, SPAN_PARENT_ID, parent, sizeof(parent));
	if (task->tracestate != NULL)
		p = pb_bytes(p, SPAN_TRACE_STATE, task->tracestate,
		    strlen(task->tracestate));
	span->len = (size_t)(p - span->bytes);
}

static bool
is_recorded(const struct task *task)
{
	return task != NULL && (task->trace_flags & TRACE_SAMPLED) != 0 &&
	       task->trace_id[0] != '\0';
}

struct span *
span__begin(enum span_kind kind, const char *name)
{
	struct task *task = task_self();
	struct span *span;
	uint8_t id[8], *p;

	if (!is_recorded(task))
		return NULL;
	span = take_record();
	span->outer = task->span;
	span->task = task;
	span->type[0] = '\0';
	span->ended = false;
	span->service = task->service;
	span->attrs = span->attrs_dropped = 0;
	span->events = span->events_dropped = 0;
	span->flags = task->trace_flags | REMOTE_KNOWN;
	memcpy(span->outer_id, task->span_id, sizeof(span->outer_id));
	str_copy_n(span->name, NAME_BYTES, name, cut(name, NAME_BYTES - 1));
	trace_new_span_id(id);
	write_ids(span, task, id);
	span->start_mono = clock_mono_ns();
	span->start_ns = clock_wall_us() * 1000;
	p = pb_uint(span->bytes + span->len, SPAN_KIND, (uint64_t)kind);
	p = pb_fixed64(p, SPAN_START, span->start_ns);
	span->len = (size_t)(p - span->bytes);
	crypto_hex(id, sizeof(id), task->span_id);
	task->span = span;
	return span;
}

void
span_enter_unrecorded(const struct trace_headers *from)
{
	struct task *task = task_self();
	uint8_t id[8];

	task->span = NULL;
	trace_enter(task, from);
	task->trace_flags &= (uint8_t)~TRACE_SAMPLED; /* nor its children */
	trace_new_span_id(id);
	crypto_hex(id, sizeof(id), task->span_id);
}

struct span *
span_enter(
    enum span_kind kind, const char *name, const struct trace_headers *from)
{
	struct task *task = task_self();
	struct span *span;
	uint8_t id[8];

	task->span = NULL;
	trace_enter(task, from);
	span = span_begin(kind, name);
	if (span == NULL) {
		trace_new_span_id(id);
		crypto_hex(id, sizeof(id), task->span_id);
	} else if (span->outer_id[0] != '\0') {
		span->flags |= PARENT_REMOTE;
	}
	return span;
}

void
span_name(struct span *span, const char *name)
{
	if (span != NULL)
		str_copy_n(
		    span->name, NAME_BYTES, name, cut(name, NAME_BYTES - 1));
}

void
span_fail(struct span *span, const char *type)
{
	if (span != NULL && span->type[0] == '\0')
		str_copy(span->type, TYPE_BYTES, type);
}

/* The room for this was kept back. */
static void
finish(struct span *span, uint64_t end_ns)
{
	const struct task *task = span->task;
	uint8_t *p;

	span->ended = true;
	span_add(span, attr_str(ATTR_ERROR_TYPE, span->type),
	    attr_str(ATTR_CORRELATION, task->request_id),
	    attr_str(ATTR_BRAND, task->brand_id));
	p = span->bytes + span->len;
	p = put_string(p, SPAN_NAME, span->name, strlen(span->name));
	p = pb_fixed64(p, SPAN_END, end_ns);
	p = pb_fixed32(p, SPAN_FLAGS, span->flags);
	if (span->attrs_dropped > 0)
		p = pb_uint(p, SPAN_ATTRIBUTES_DROPPED, span->attrs_dropped);
	if (span->events_dropped > 0)
		p = pb_uint(p, SPAN_EVENTS_DROPPED, span->events_dropped);
	if (span->type[0] != '\0') {
		const uint8_t status[] = { STATUS_CODE << 3 | PB_VARINT, 2 };

		p = pb_bytes(p, SPAN_STATUS, status, sizeof(status));
	}
	span->len = (size_t)(p - span->bytes);
}

void
span_end(struct span *span, enum err_code rc)
{
	span_sink_fn sink;
	struct task *task;
	size_t len, head;

	if (span == NULL)
		return;
	task = span->task;
	if (rc != OK)
		span_fail(span, err_name(rc));
	finish(span, now_ns(span));
	len = span->len - HEAD_BYTES;
	head = 1 + pb_varint_size(len);
	pb_varint(
	    pb_tag(span->bytes + HEAD_BYTES - head, SPANS_FIELD, PB_BYTES),
	    len);
	sink = atomic_load_explicit(&sink_fn, memory_order_acquire);
	if (sink != NULL)
		sink(
		    span->service, span->bytes + HEAD_BYTES - head, len + head);
	task->span = span->outer;
	memcpy(task->span_id, span->outer_id, sizeof(task->span_id));
	give_record(span);
}

void
span_end_call(struct span *span, enum err_code rc)
{
	if (rc == ERR_NOT_FOUND || rc == ERR_CONFLICT || rc == ERR_CANCELLED)
		rc = OK;
	span_end(span, rc);
}

struct span *
span_current(void)
{
	const struct task *task = task_self();

	return task != NULL ? task->span : NULL;
}
