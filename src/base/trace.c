/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trace context: reading traceparent, tracestate and baggage as W3C says,
 * deciding whether a trace is recorded, and writing traceparent again. Nothing
 * here records; base/span.c does.
 */
#include "base/trace.h"

#include <ctype.h>
#include <string.h>

#include "base/crypto.h"
#include "base/str.h"

#define NOISE_BYTES   2048
#define STATE_MEMBERS 32
#define STATE_LONG    128 /* entries longer than this give way first */
#define BAGGAGE_MAX   64

static struct trace_options options;

void
trace_setup(const struct trace_options *given)
{
	options = *given;
}

/* Drawn many at a time: each call of the generator costs system calls. */
static void
noise(uint8_t *out, size_t len)
{
	static _Thread_local uint8_t pool[NOISE_BYTES];
	static _Thread_local size_t left;

	if (left < len) {
		crypto_random(pool, sizeof(pool));
		left = sizeof(pool);
	}
	left -= len;
	memcpy(out, pool + left, len);
}

void
trace_new_span_id(uint8_t id[8])
{
	do
		noise(id, 8);
	while (memcmp(id, "\0\0\0\0\0\0\0", 8) == 0);
}

/* ---- traceparent ---- */

static bool
is_hex(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!((text[i] >= '0' && text[i] <= '9') ||
			(text[i] >= 'a' && text[i] <= 'f')))
			return false;
	return true;
}

static bool
is_id(const char *text, size_t len)
{
	return is_hex(text, len) && strspn(text, "0") < len;
}

static uint8_t
hex_byte(const char *text)
{
	uint8_t byte = 0;

	crypto_unhex(text, 2, &byte, 1);
	return byte;
}

/* A version above 00 may go on after the flags, behind a dash. */
bool
trace_parse_parent(
    const char *text, char trace_id[33], char span_id[17], uint8_t *flags_out)
{
	size_t len = strnlen(text, 512);
	uint8_t version;

	if (len < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-')
		return false;
	if (!is_hex(text, 2) || !is_id(text + 3, 32) || !is_id(text + 36, 16) ||
	    !is_hex(text + 53, 2))
		return false;
	version = hex_byte(text);
	if (version == 0xff || (version == 0 && len != 55) ||
	    (len > 55 && text[55] != '-'))
		return false;
	str_copy_n(trace_id, 33, text + 3, 32);
	str_copy_n(span_id, 17, text + 36, 16);
	*flags_out = hex_byte(text + 53) & (TRACE_SAMPLED | TRACE_RANDOM);
	return true;
}

bool
trace_parent(const struct task *task, char out[TRACE_PARENT_SIZE])
{
	out[0] = '\0';
	if (task == NULL || task->trace_id[0] == '\0' ||
	    task->span_id[0] == '\0' || options.no_context)
		return false;
	memcpy(out, "00-", 3);
	memcpy(out + 3, task->trace_id, 32);
	out[35] = '-';
	memcpy(out + 36, task->span_id, 16);
	out[52] = '-';
	crypto_hex(&task->trace_flags, 1, out + 53);
	return true;
}

const char *
trace_state(const struct task *task)
{
	return options.no_context ? NULL : task->tracestate;
}

const char *
trace_baggage(const struct task *task)
{
	return options.no_baggage ? NULL : task->baggage;
}

/* ---- lists ---- */

struct member {
	const char *text;
	size_t len;
};

/* Without blanks around it. */
static struct member
trimmed(const char *text, size_t len)
{
	while (len > 0 && (*text == ' ' || *text == '\t'))
		text++, len--;
	while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
		len--;
	return (struct member){ text, len };
}

/* The next member without blanks around it; false at the end. Empty ones are
 * given out too. */
static bool
next_member(const char **at, struct member *out)
{
	size_t len;

	if (*at == NULL)
		return false;
	len = strcspn(*at, ",");
	*out = trimmed(*at, len);
	*at = (*at)[len] == ',' ? *at + len + 1 : NULL;
	return true;
}

static size_t
join(const struct member *members, size_t count, char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		if (members[i].len == 0)
			continue;
		if (used + (used > 0) + members[i].len >= size)
			break;
		if (used > 0)
			out[used++] = ',';
		memcpy(out + used, members[i].text, members[i].len);
		used += members[i].len;
	}
	out[used] = '\0';
	return used;
}

/* ---- tracestate ---- */

static bool
is_state_member(const struct member *m)
{
	const char *equals = memchr(m->text, '=', m->len);
	size_t key, value;

	if (equals == NULL)
		return false;
	key = (size_t)(equals - m->text);
	value = m->len - key - 1;
	if (key < 1 || key > 256 || value < 1 || value > 256)
		return false;
	for (size_t i = 0; i < key; i++) {
		char c = m->text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			(i > 0 && strchr("_-*/@", c) != NULL)))
			return false;
	}
	for (size_t i = 0; i < value; i++)
		if (equals[1 + i] < 0x20 || equals[1 + i] > 0x7e ||
		    equals[1 + i] == '=')
			return false;
	return true;
}

static size_t
length_of(const struct member *members, size_t count)
{
	size_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += members[i].len > 0 ? members[i].len + 1 : 0;
	return total > 0 ? total - 1 : 0;
}

bool
trace_clean_state(const char *text, char out[TRACE_STATE_SIZE])
{
	struct member members[STATE_MEMBERS], m;
	size_t count = 0;

	out[0] = '\0';
	while (next_member(&text, &m)) {
		if (m.len == 0)
			continue;
		if (!is_state_member(&m))
			return false;
		if (count == STATE_MEMBERS)
			return false; /* the grammar ends at 32 */
		members[count++] = m;
	}
	for (size_t i = count; i > 0; i--)
		if (length_of(members, count) >= TRACE_STATE_SIZE &&
		    members[i - 1].len > STATE_LONG)
			members[i - 1].len = 0;
	return join(members, count, out, TRACE_STATE_SIZE) > 0;
}

/* ---- baggage ---- */

static bool
is_token(char c)
{
	return isalnum((unsigned char)c) ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool
is_baggage_octet(char c)
{
	return c >= 0x21 && c <= 0x7e && strchr("\",;\\", c) == NULL;
}

/* token OWS "=" OWS octets; a property may be a token alone. */
static bool
is_baggage_pair(const char *text, size_t len, bool may_be_key)
{
	const char *equals = memchr(text, '=', len);
	size_t before = equals != NULL ? (size_t)(equals - text) : len;
	struct member key = trimmed(text, before), value = { NULL, 0 };

	if (equals != NULL)
		value = trimmed(equals + 1, len - before - 1);
	else if (!may_be_key)
		return false;
	for (size_t i = 0; i < key.len; i++)
		if (!is_token(key.text[i]))
			return false;
	for (size_t i = 0; i < value.len; i++)
		if (!is_baggage_octet(value.text[i]))
			return false;
	return key.len > 0;
}

static bool
is_baggage_member(const struct member *m)
{
	const char *end = m->text + m->len;

	for (const char *at = m->text; at <= end;) {
		const char *stop = memchr(at, ';', (size_t)(end - at));
		size_t len = (size_t)((stop != NULL ? stop : end) - at);

		if (!is_baggage_pair(at, len, at != m->text))
			return false;
		at += len + 1;
	}
	return true;
}

bool
trace_clean_baggage(const char *text, char out[TRACE_BAGGAGE_SIZE])
{
	struct member members[BAGGAGE_MAX], m;
	size_t count = 0;

	while (count < BAGGAGE_MAX && next_member(&text, &m))
		if (is_baggage_member(&m))
			members[count++] = m;
	return join(members, count, out, TRACE_BAGGAGE_SIZE) > 0;
}

/* ---- entering ---- */

/* The right-most 56 bits of a trace id are random (level 2): all services take
 * the same decision for the same trace. */
static bool
within_ratio(const char *trace_id)
{
	uint8_t bytes[7];
	uint64_t value = 0;

	crypto_unhex(trace_id + 18, 14, bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		value = value << 8 | bytes[i];
	return (double)value < options.ratio * 72057594037927936.0; /* 2^56 */
}

static bool
decide(const struct task *task, bool continued)
{
	bool parent = (task->trace_flags & TRACE_SAMPLED) != 0;

	switch (options.sampler) {
	case TRACE_PARENT_ALWAYS_ON:
		return !continued || parent;
	case TRACE_PARENT_ALWAYS_OFF:
		return continued && parent;
	case TRACE_PARENT_RATIO:
		return continued ? parent : within_ratio(task->trace_id);
	case TRACE_ALWAYS_ON:
		return true;
	case TRACE_ALWAYS_OFF:
		return false;
	case TRACE_RATIO:
		return within_ratio(task->trace_id);
	}
	return false;
}

static void
begin_anew(struct task *task)
{
	uint8_t id[16];

	do
		noise(id, sizeof(id));
	while (memcmp(id, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16) == 0);
	crypto_hex(id, sizeof(id), task->trace_id);
	task->span_id[0] = '\0';
	task->trace_flags = TRACE_RANDOM;
}

static void
take_lists(struct task *task, const struct trace_headers *from, bool continued)
{
	char state[TRACE_STATE_SIZE], baggage[TRACE_BAGGAGE_SIZE];

	if (continued && from->tracestate != NULL &&
	    trace_clean_state(from->tracestate, state))
		task->tracestate = arena_strdup(&task->arena, state);
	if (from->baggage != NULL && !options.no_baggage &&
	    trace_clean_baggage(from->baggage, baggage))
		task->baggage = arena_strdup(&task->arena, baggage);
}

void
trace_enter(struct task *task, const struct trace_headers *from)
{
	bool continued = from->traceparent != NULL && !options.no_context &&
			 trace_parse_parent(from->traceparent, task->trace_id,
			     task->span_id, &task->trace_flags);

	if (!continued)
		begin_anew(task);
	task->tracestate = NULL;
	task->baggage = NULL;
	if (from->tracestate != NULL || from->baggage != NULL)
		take_lists(task, from, continued);
	if (decide(task, continued))
		task->trace_flags |= TRACE_SAMPLED;
	else
		task->trace_flags &= (uint8_t)~TRACE_SAMPLED;
}
