/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_NET_SSE_H
#define XIN_NET_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/error.h"

/*
 * Reader of server-sent events (WHATWG HTML, 9.2.6 "Interpreting an event
 * stream"). Bytes come in pieces cut anywhere; an event is handed over when its
 * empty line was read. An event of over `max` bytes is ERR_TOO_LARGE. What
 * stands after the last empty line is dropped, as the standard says.
 */
typedef enum err_code (*sse_event_fn)(
    void *arg, const char *name, const char *data, size_t len);

struct sse {
	sse_event_fn event;
	void *arg;
	size_t max;
	struct buf line, data;
	char name[64];   /* "" = "message" */
	bool has_data;   /* a data field came, maybe an empty one */
	bool after_cr;   /* a LF that follows belongs to it */
	bool first_line; /* may begin with a byte order mark */
};

/* `data` is NUL-terminated and borrowed; an error of `event` ends the feed. */
void sse_init(struct sse *sse, size_t max, sse_event_fn event, void *arg);
enum err_code sse_feed(struct sse *sse, const char *data, size_t len);
/* Forget what came, for another stream. */
void sse_clear(struct sse *sse);
void sse_done(struct sse *sse);

#endif
