/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A turn as an event stream. The turn runs beside the fiber that writes and
 * goes on when the client is gone; who comes back with Last-Event-ID, by the
 * same POST (Idempotency-Key) or by GET .../events, gets what is missing.
 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "domain/turn.h"
#include "domain/turn_stream.h"
#include "fiber/fiber.h"
#include "orchestrator/api.h"
#include "store/store.h"

#define PING_MS 10000

struct streamed {
	struct product *product;
	const struct principal *who;
	const struct turn_request *request;
	struct turn_stream *stream;
	json_t *copy; /* the first one's answer: this turn did not run */
	bool ended;
	struct fiber_cond done;
};

static const char *
last_name(const json_t *answer)
{
	return str_eq(json_str(answer, "outcome"), "blocked") ? "blocked"
							      : "done";
}

static void
run_turn(void *arg)
{
	struct streamed *streamed = arg;
	json_auto json_t *answer = NULL;
	json_auto json_t *error = NULL;
	uint64_t retry_after_ms;
	bool duplicate = false;
	enum err_code rc;

	rc = turn_accept(streamed->product, streamed->who, streamed->request,
	    turn_stream_sink(streamed->stream), &answer, &duplicate,
	    &retry_after_ms);
	if (rc != OK)
		error = json_pack("{s:s, s:s, s:b}", "code", err_name(rc),
		    "message", err_message(), "retryable", err_retryable(rc));
	if (duplicate)
		streamed->copy = json_incref(answer);
	turn_stream_end(streamed->stream, "error", error);
	streamed->ended = true;
	fiber_cond_broadcast(&streamed->done);
}

static enum err_code
send_event(struct http_request *req, const struct turn_event *event)
{
	char id[24];

	snprintf(id, sizeof(id), "%lld", (long long)event->number);
	return http_sse_send(req, event->name, id, event->data);
}

/* Everything behind `after`, until the turn has ended. */
static enum err_code
pump(struct http_request *req, struct turn_stream *stream, int64_t after)
{
	struct turn_event event;
	enum err_code rc;

	do {
		rc = turn_stream_next(
		    stream, after, deadline_in_ms(PING_MS), &event);
		if (rc == ERR_DEADLINE) {
			rc = http_sse_ping(req);
		} else if (rc == OK) {
			after = event.number;
			rc = send_event(req, &event);
		}
	} while (rc == OK);
	return rc == ERR_CLOSED ? OK : rc;
}

/* A turn that ended: its events where they are kept, else its answer alone. */
static enum err_code
send_ended(
    struct http_request *req, const char *brand, json_t *answer, int64_t after)
{
	struct turn_stream *stream =
	    turn_stream_find(brand, json_str(answer, "id") ?: "");
	struct turn_event event = { after + 1, last_name(answer), NULL };
	char *text;
	enum err_code rc;

	if (stream != NULL) {
		rc = pump(req, stream, after);
		turn_stream_unref(stream);
		return rc;
	}
	text = json_text(answer);
	event.data = text;
	rc = send_event(req, &event);
	mem_free(text);
	return rc;
}

enum err_code
api__turn_stream(struct http_request *req, struct product *product,
    const struct turn_request *request)
{
	struct streamed streamed = {
		.product = product,
		.who = api__who(req),
		.request = request,
	};
	enum err_code rc;
	int64_t after = 0;

	TRY(api__last_event_id(req, &after));
	TRY(http_sse_begin(req));
	streamed.stream = turn_stream_new(request->brand);
	fiber_start(run_turn, &streamed);
	rc = pump(req, streamed.stream, 0);
	/* The turn goes on when the client is gone: its answer is stored. */
	fiber_shield();
	while (!streamed.ended)
		fiber_cond_wait(&streamed.done, deadline_in_ms(1000));
	fiber_unshield();
	if (rc == OK && streamed.copy != NULL)
		rc = send_ended(req, request->brand, streamed.copy, after);
	turn_stream_unref(streamed.stream);
	json_decref(streamed.copy);
	return rc == OK ? http_stream_end(req) : rc;
}

HANDLER(api__turn_events)
{
	struct product *product = arg;
	json_auto json_t *answer = NULL;
	json_auto json_t *capsule = NULL;
	const char *brand, *id = http_param(req, "id");
	struct turn_stream *stream;
	int64_t after = 0;
	enum err_code rc;

	TRY(api__brand(req, AUTH_TURNS, &brand));
	TRY(api__last_event_id(req, &after));
	stream = turn_stream_find(brand, id);
	if (stream == NULL)
		TRY(store_turn_get(
		    product->store, brand, id, &answer, &capsule));
	rc = http_sse_begin(req);
	if (rc == OK)
		rc = stream != NULL ? pump(req, stream, after)
				    : send_ended(req, brand, answer, after);
	turn_stream_unref(stream);
	return rc == OK ? http_stream_end(req) : rc;
}
