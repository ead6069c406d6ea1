/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_TURN_STREAM_H
#define XIN_DOMAIN_TURN_STREAM_H

#include <jansson.h>
#include <stdint.h>
#include "base/error.h"
#include "domain/turn.h"

/*
 * The events of a turn, numbered from 1, kept while it runs and for a minute
 * afterwards (the latest 1,000 turns of the process), so that whoever lost the
 * connection goes on where the last event stopped (Last-Event-ID, WHATWG HTML
 * 9.2). Written on the conversation's loop, read on any. Counted references.
 */
struct turn_stream;

/* Its sink, for turn_accept; the event turn.started gives it the turn's id. */
struct turn_stream *turn_stream_new(const char *brand);
struct turn_sink *turn_stream_sink(struct turn_stream *stream);
/* The stream of a turn, a new reference; NULL when none is kept. */
struct turn_stream *turn_stream_find(const char *brand, const char *turn_id);
void turn_stream_unref(struct turn_stream *stream);

/* Nothing more comes. `data` is the one last event, for a turn that sent none
 * (it failed); NULL otherwise. */
void turn_stream_end(
    struct turn_stream *stream, const char *name, const json_t *data);

struct turn_event {
	int64_t number;
	const char *name;
	const char *data; /* JSON text; lives as long as the stream */
};
/* The event behind number `after`. ERR_CLOSED when there is none and will be
 * none, ERR_DEADLINE, ERR_CANCELLED. WAITS. */
enum err_code turn_stream_next(struct turn_stream *stream, int64_t after,
    uint64_t deadline_ms, struct turn_event *event_out);

#endif
