/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of the process' streams, newest first, and in each stream its events.
 * One lock for all: it is held for a pointer's time, and only turns that are
 * streamed come here. Names and data never change once they are in.
 */
#include "domain/turn_stream.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/ident.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/waiters.h"

#define EVENTS_MAX 4096
#define BYTES_MAX  ((size_t)4 << 20)
#define ENDED_MAX  1000
#define ENDED_MS   60000

struct entry {
	const char *name; /* a literal */
	char *data;
};

struct turn_stream {
	struct turn_sink sink; /* first */
	struct turn_stream *next;
	unsigned references; /* one is the list's */
	char brand[BRAND_ID_SIZE];
	char turn_id[IDENT_SIZE];
	struct entry *events;
	size_t count, cap, bytes;
	uint64_t ended_ms; /* 0 = it runs */
	struct waiters *waiters;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct turn_stream *streams;

static void
stream_free(struct turn_stream *stream)
{
	for (size_t i = 0; i < stream->count; i++)
		mem_free(stream->events[i].data);
	mem_free(stream->events);
	waiters_free(stream->waiters);
	mem_free(stream);
}

/* With the lock. */
static void
let_go(struct turn_stream *stream)
{
	if (--stream->references == 0)
		stream_free(stream);
}

/* With the lock: those that ended a minute ago, and the oldest too many. */
static void
expire(void)
{
	uint64_t now = clock_mono_ms();
	struct turn_stream **at = &streams;
	unsigned ended = 0;

	while (*at != NULL) {
		struct turn_stream *stream = *at;

		if (stream->ended_ms == 0 ||
		    (now < stream->ended_ms + ENDED_MS && ended < ENDED_MAX)) {
			ended += stream->ended_ms != 0;
			at = &stream->next;
			continue;
		}
		*at = stream->next;
		let_go(stream);
	}
}

/* With the lock. The last event has a place in any case. */
static void
append(struct turn_stream *stream, const char *name, const json_t *data)
{
	char *text = json_text(data);
	size_t len = strlen(text);
	bool last = str_eq(name, "done") || str_eq(name, "blocked") ||
		    str_eq(name, "error");

	if (!last &&
	    (stream->count >= EVENTS_MAX || stream->bytes + len > BYTES_MAX)) {
		mem_free(text);
		return;
	}
	if (stream->count == stream->cap) {
		stream->cap = stream->cap ? stream->cap * 2 : 16;
		stream->events = mem_resize(
		    stream->events, stream->cap * sizeof(*stream->events));
	}
	stream->events[stream->count++] = (struct entry){ name, text };
	stream->bytes += len;
}

static void
on_event(struct turn_sink *sink, const char *name, const json_t *data)
{
	struct turn_stream *stream = (struct turn_stream *)sink;
	const char *id = json_str(data, "id");

	pthread_mutex_lock(&lock);
	if (str_eq(name, "turn.started") && id != NULL)
		str_copy(stream->turn_id, sizeof(stream->turn_id), id);
	append(stream, name, data);
	waiters_wake_all(stream->waiters);
	pthread_mutex_unlock(&lock);
}

struct turn_stream *
turn_stream_new(const char *brand)
{
	struct turn_stream *stream = mem_zero(sizeof(*stream));

	stream->sink.event = on_event;
	stream->references = 2;
	str_copy(stream->brand, sizeof(stream->brand), brand);
	stream->waiters = waiters_new();
	pthread_mutex_lock(&lock);
	expire();
	stream->next = streams;
	streams = stream;
	pthread_mutex_unlock(&lock);
	return stream;
}

struct turn_sink *
turn_stream_sink(struct turn_stream *stream)
{
	return &stream->sink;
}

struct turn_stream *
turn_stream_find(const char *brand, const char *turn_id)
{
	struct turn_stream *stream;

	pthread_mutex_lock(&lock);
	for (stream = streams; stream != NULL; stream = stream->next)
		if (strcmp(stream->turn_id, turn_id) == 0 &&
		    strcmp(stream->brand, brand) == 0)
			break;
	if (stream != NULL)
		stream->references++;
	pthread_mutex_unlock(&lock);
	return stream;
}

void
turn_stream_unref(struct turn_stream *stream)
{
	if (stream == NULL)
		return;
	pthread_mutex_lock(&lock);
	let_go(stream);
	pthread_mutex_unlock(&lock);
}

void
turn_stream_end(
    struct turn_stream *stream, const char *name, const json_t *data)
{
	pthread_mutex_lock(&lock);
	if (data != NULL)
		append(stream, name, data);
	stream->ended_ms = clock_mono_ms() + 1; /* never 0 */
	waiters_wake_all(stream->waiters);
	pthread_mutex_unlock(&lock);
}

/* ERR_DEADLINE = not yet. */
static enum err_code
look(struct turn_stream *stream, int64_t after, struct turn_event *event_out)
{
	enum err_code rc = ERR_DEADLINE;

	pthread_mutex_lock(&lock);
	if (after < (int64_t)stream->count) {
		const struct entry *entry = &stream->events[after];

		*event_out =
		    (struct turn_event){ after + 1, entry->name, entry->data };
		rc = OK;
	} else if (stream->ended_ms != 0) {
		rc = ERR_CLOSED;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

enum err_code
turn_stream_next(struct turn_stream *stream, int64_t after,
    uint64_t deadline_ms, struct turn_event *event_out)
{
	enum err_code rc, waited = OK;

	for (;;) {
		struct waiter *waiter = waiter_add(stream->waiters);

		rc = look(stream, after, event_out);
		if (rc == ERR_DEADLINE)
			waited = waiter_wait(waiter, deadline_ms);
		waiter_remove(stream->waiters, waiter);
		if (rc != ERR_DEADLINE || waited != OK)
			return rc != ERR_DEADLINE ? rc : waited;
	}
}
