/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_FEED_H
#define XIN_DOMAIN_FEED_H

#include <stdint.h>
#include "base/error.h"

/*
 * The live view of this process: turns, guards, documents, script generations
 * and the state of back ends as they happen, numbered, for whoever watches.
 * What comes are the log's lines (no user text is ever in them), but those of
 * HTTP and of the process itself. The latest FEED_EVENTS are kept, from the
 * first reader on; a reader that is slower loses the oldest, and is told how
 * many. Before the first reader nothing is kept and nothing is spent.
 */
#define FEED_EVENTS 1024

struct feed_event {
	int64_t number;   /* from 1, in the order in which they happened */
	int64_t dropped;  /* that this reader has missed just before it */
	const char *name; /* "turn.done" */
	char *data;       /* the line, JSON; mem_free */
};

/* The number of the latest event: where a new reader begins. */
int64_t feed_now(void);
/* The next event behind number `after`: of `brand` (NULL = all), of a `kind`
 * ("turn", "guard", "document", ...; NULL = all). ERR_DEADLINE, ERR_CANCELLED.
 * ERR_CLOSED after feed_close. WAITS. */
enum err_code feed_next(const char *brand, const char *kind, int64_t after,
    uint64_t deadline_ms, struct feed_event *event_out);
/* The process ends: every reader is sent away. Main thread. */
void feed_close(void);

#endif
