/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring behind one lock, filled by a tap on the log and read by number. The
 * tap copies one line; readers copy it again, so that nobody waits for a slow
 * one. It is tapped for good with the first reader: what happened shortly
 * before is then there for the next.
 */
#include "domain/feed.h"

#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/waiters.h"

struct entry {
	const char *name;
	char brand[BRAND_ID_SIZE];
	char *data;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry ring[FEED_EVENTS];
static int64_t count; /* events so far; number n is at (n - 1) % FEED_EVENTS */
static struct waiters *waiters;
static bool closed;

/* Not of the product: each request has its turn or document. */
static bool
is_left_out(const char *event)
{
	return strchr(event, '.') == NULL || str_starts(event, "http.") ||
	       str_starts(event, "process.") || str_starts(event, "config.") ||
	       str_starts(event, "console.");
}

/* On any thread, also on those that have no loop. */
static void
on_line(const struct log_line *line)
{
	struct entry *entry;
	char *old;

	if (is_left_out(line->event))
		return;
	pthread_mutex_lock(&lock);
	entry = &ring[count++ % FEED_EVENTS];
	old = entry->data;
	entry->name = line->event;
	str_copy(entry->brand, sizeof(entry->brand),
	    line->task != NULL ? line->task->brand_id : "");
	entry->data = mem_strndup(line->json, line->len - 1);
	waiters_wake_all(waiters);
	pthread_mutex_unlock(&lock);
	mem_free(old);
}

static void
begin(void)
{
	pthread_mutex_lock(&lock);
	if (waiters == NULL) {
		waiters = waiters_new();
		log_tap(on_line);
	}
	pthread_mutex_unlock(&lock);
}

int64_t
feed_now(void)
{
	int64_t now;

	begin();
	pthread_mutex_lock(&lock);
	now = count;
	pthread_mutex_unlock(&lock);
	return now;
}

static bool
is_of_kind(const char *name, const char *kind)
{
	size_t len;

	if (kind == NULL)
		return true;
	len = strlen(kind);
	return strncmp(name, kind, len) == 0 && name[len] == '.';
}

/* ERR_DEADLINE = not yet. *after moves behind what was looked at. */
static enum err_code
look(const char *brand, const char *kind, int64_t *after,
    struct feed_event *event_out)
{
	enum err_code rc = ERR_DEADLINE;

	pthread_mutex_lock(&lock);
	if (closed)
		rc = ERR_CLOSED;
	if (*after > count) /* a number of an earlier life of the process */
		*after = 0;
	if (*after < count - FEED_EVENTS) {
		event_out->dropped += count - FEED_EVENTS - *after;
		*after = count - FEED_EVENTS;
	}
	while (rc == ERR_DEADLINE && *after < count) {
		const struct entry *entry = &ring[(*after)++ % FEED_EVENTS];

		if ((brand != NULL && strcmp(entry->brand, brand) != 0) ||
		    !is_of_kind(entry->name, kind))
			continue;
		event_out->number = *after;
		event_out->name = entry->name;
		event_out->data = mem_strdup(entry->data);
		rc = OK;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

enum err_code
feed_next(const char *brand, const char *kind, int64_t after,
    uint64_t deadline_ms, struct feed_event *event_out)
{
	enum err_code rc, waited = OK;

	begin();
	*event_out = (struct feed_event){ 0 };
	for (;;) {
		struct waiter *waiter = waiter_add(waiters);

		rc = look(brand, kind, &after, event_out);
		if (rc == ERR_DEADLINE)
			waited = waiter_wait(waiter, deadline_ms);
		waiter_remove(waiters, waiter);
		if (rc != ERR_DEADLINE)
			return rc;
		if (waited != OK)
			return waited;
	}
}

void
feed_close(void)
{
	pthread_mutex_lock(&lock);
	closed = true;
	if (waiters != NULL)
		waiters_wake_all(waiters);
	pthread_mutex_unlock(&lock);
}
