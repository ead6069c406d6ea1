/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST turns, whole or as an event stream, and what can be asked of a turn
 * afterwards. The turn runs on the conversation's loop; its events come to the
 * request's fiber by mail.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "domain/turn.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "orchestrator/api.h"
#include "store/store.h"

#define PING_MS 10000

/* ---- the stream: events travel from the turn's loop to the request's ---- */

struct event {
	struct event *next;
	struct stream *stream;
	const char *name; /* a literal */
	char *data;
};

struct stream {
	struct turn_sink sink; /* first: the sink is the stream */
	struct loop *home;     /* the request's loop */
	struct event *first, **last;
	struct fiber_cond arrived;
	/* The turn, on a fiber beside the one that writes. */
	struct product *product;
	const struct principal *who;
	const struct turn_request *request;
	json_t *answer;
	bool duplicate;
	uint64_t retry_after_ms;
	enum err_code rc;
	struct error why;
	bool ended;
};

/* On the request's loop. */
static void
event_deliver(void *arg)
{
	struct event *event = arg;
	struct stream *stream = event->stream;

	*stream->last = event;
	stream->last = &event->next;
	fiber_cond_signal(&stream->arrived);
}

static void
event_free(struct event *event)
{
	mem_free(event->data);
	mem_free(event);
}

/* On the turn's loop. The stream outlives the turn: the fiber that owns it
 * waits for turn_accept to return, and mail comes in order. */
static void
event_post(struct turn_sink *sink, const char *name, const json_t *data)
{
	struct stream *stream = (struct stream *)sink;
	struct event *event = mem_zero(sizeof(*event));

	event->stream = stream;
	event->name = name;
	event->data = json_text(data);
	if (!loop_post(stream->home, event_deliver, event))
		event_free(event);
}

static void
stream_turn(void *arg)
{
	struct stream *stream = arg;

	stream->rc = turn_accept(stream->product, stream->who, stream->request,
	    &stream->sink, &stream->answer, &stream->duplicate,
	    &stream->retry_after_ms);
	if (stream->rc != OK)
		err_save(&stream->why);
	stream->ended = true;
	fiber_cond_signal(&stream->arrived);
}

static enum err_code
send_event(struct http_request *req, struct event *event, int *number)
{
	char id[16];

	snprintf(id, sizeof(id), "%d", ++*number);
	return http_sse_send(req, event->name, id, event->data);
}

static void
error_data(const struct stream *stream, struct buf *out)
{
	buf_addf(out, "{\"code\":\"%s\",\"message\":", err_name(stream->rc));
	buf_add_json(out, stream->why.message, strlen(stream->why.message));
	buf_addf(out, ",\"retryable\":%s}",
	    err_retryable(stream->rc) ? "true" : "false");
}

/* A copy of an earlier message, or a turn that failed: its one last event. */
static enum err_code
send_last(struct http_request *req, struct stream *stream, int *number)
{
	struct event event = { .name = "error" };
	struct buf data;
	enum err_code rc;

	if (stream->rc == OK && !stream->duplicate)
		return OK; /* the turn sent it */
	buf_init(&data, 0);
	if (stream->rc == OK) {
		event.name =
		    str_eq(json_str(stream->answer, "outcome"), "blocked")
			? "blocked"
			: "done";
		json_write(stream->answer, &data);
	} else {
		error_data(stream, &data);
	}
	event.data = data.data;
	rc = send_event(req, &event, number);
	buf_done(&data);
	return rc;
}

static enum err_code
pump(struct http_request *req, struct stream *stream)
{
	enum err_code rc = OK;
	int number = 0;

	while (rc == OK) {
		struct event *event = stream->first;

		if (event == NULL) {
			if (stream->ended)
				break;
			rc = fiber_cond_wait(
			    &stream->arrived, deadline_in_ms(PING_MS));
			if (rc == ERR_DEADLINE)
				rc = http_sse_ping(req);
			continue;
		}
		stream->first = event->next;
		if (stream->first == NULL)
			stream->last = &stream->first;
		rc = send_event(req, event, &number);
		event_free(event);
	}
	return rc == OK ? send_last(req, stream, &number) : rc;
}

/* The turn goes on when the client is gone: its answer is stored. */
static void
stream_settle(struct stream *stream)
{
	fiber_shield();
	while (!stream->ended)
		fiber_cond_wait(&stream->arrived, deadline_in_ms(1000));
	fiber_unshield();
	while (stream->first != NULL) {
		struct event *event = stream->first;

		stream->first = event->next;
		event_free(event);
	}
	json_decref(stream->answer);
}

static enum err_code
answer_stream(struct http_request *req, struct product *product,
    const struct turn_request *request)
{
	struct stream stream = {
		.sink = { event_post },
		.home = loop_self(),
		.product = product,
		.who = api__who(req),
		.request = request,
	};
	struct fiber *turn;
	enum err_code rc;

	stream.last = &stream.first;
	TRY(http_sse_begin(req));
	turn = fiber_start(stream_turn, &stream);
	must(turn != NULL);
	rc = pump(req, &stream);
	stream_settle(&stream);
	return rc == OK ? http_stream_end(req) : rc;
}

/* ---- one answer ---- */

static void
set_turn_headers(struct http_request *req, const json_t *answer)
{
	const char *generation = json_str(answer, "generation");

	if (generation != NULL)
		http_set_header(req, "Xin-Generation", generation);
}

static enum err_code
answer_whole(struct http_request *req, struct product *product,
    const struct turn_request *request)
{
	json_auto json_t *answer = NULL;
	uint64_t retry_after_ms = 0, began = clock_mono_us();
	bool duplicate = false;
	char overhead[32];
	enum err_code rc;

	rc = turn_accept(product, api__who(req), request, NULL, &answer,
	    &duplicate, &retry_after_ms);
	if (rc != OK) {
		http_set_retry_after(req, retry_after_ms);
		return rc;
	}
	set_turn_headers(req, answer);
	snprintf(overhead, sizeof(overhead), "%.3f",
	    (double)(clock_mono_us() - began) / 1000.0);
	http_set_header(req, "Xin-Overhead-Ms", overhead);
	if (duplicate)
		http_set_header(req, "Idempotency-Replayed", "true");
	return http_reply_json(req, 200, answer);
}

static enum err_code
read_request(
    struct http_request *req, const json_t *body, struct turn_request *request)
{
	static const char *const known[] = { "message", "conversation_id",
		"user", "stream", "context", "locale", "channel", "message_id",
		NULL };
	const json_t *user = json_object_get(body, "user");
	const json_t *context = json_object_get(body, "context");

	TRY(json_only_keys(body, known));
	TRY(json_field_str(body, "message", true,
	    (size_t)config_int(CFG_MAX_MESSAGE_BYTES), &request->message));
	TRY(json_field_str(
	    body, "conversation_id", false, 64, &request->conversation_id));
	TRY(json_field_str(body, "locale", false, 35, &request->locale));
	TRY(json_field_str(body, "channel", false, 63, &request->channel));
	TRY(json_field_str(
	    body, "message_id", false, 256, &request->message_id));
	if (user != NULL && !json_is_object(user) && !json_is_null(user))
		return err_set(ERR_INVALID, "\"user\" must be an object");
	TRY(json_field_str(user, "id", false, 256, &request->user_id));
	TRY(json_field_str(user, "name", false, 256, &request->user_name));
	if (context != NULL && !json_is_object(context))
		return err_set(ERR_INVALID, "\"context\" must be an object");
	request->context = context;
	if (request->channel == NULL)
		request->channel = "api";
	if (!str_is_name(request->channel))
		return err_set(ERR_INVALID, "\"channel\" is not a name");
	if (request->user_id == NULL)
		request->user_id = "";
	request->idempotency_key = http_header(req, "idempotency-key");
	if (request->idempotency_key != NULL &&
	    strlen(request->idempotency_key) > 255)
		return err_set(
		    ERR_INVALID, "Idempotency-Key is over 255 bytes");
	return OK;
}

HANDLER(api__turns_post)
{
	struct turn_request request = { 0 };
	json_auto json_t *body = NULL;
	bool stream;

	TRY(api__brand(req, AUTH_TURNS, &request.brand));
	TRY(http_body_json(req, &body));
	TRY(read_request(req, body, &request));
	TRY(json_field_bool(body, "stream", false, &stream));
	task_self()->deadline_ms =
	    deadline_in_ms((uint64_t)config_int(CFG_TURN_MS));
	if (stream)
		return answer_stream(req, arg, &request);
	return answer_whole(req, arg, &request);
}

HANDLER(api__turn_cancel)
{
	const char *brand;

	TRY(api__brand(req, AUTH_TURNS, &brand));
	TRY(turn_cancel(brand, http_param(req, "id")));
	return http_reply(req, 202, "application/json", "{}", 2);
}

HANDLER(api__turn_feedback)
{
	static const char *const known[] = { "rating", "comment", NULL };
	struct product *product = arg;
	json_auto json_t *body = NULL;
	const char *brand, *rating, *comment;

	TRY(api__brand(req, AUTH_TURNS, &brand));
	TRY(http_body_json(req, &body));
	TRY(json_only_keys(body, known));
	TRY(json_field_str(body, "rating", true, 8, &rating));
	TRY(json_field_str(body, "comment", false, 4096, &comment));
	if (strcmp(rating, "up") != 0 && strcmp(rating, "down") != 0)
		return err_set(ERR_INVALID, "\"rating\" must be up or down");
	TRY(store_turn_feedback(
	    product->store, brand, http_param(req, "id"), rating, comment));
	return http_reply(req, 204, NULL, NULL, 0);
}

static enum err_code
reply_turn(struct http_request *req, struct product *product, bool capsule)
{
	json_auto json_t *body = NULL;
	json_auto json_t *inside = NULL;
	const char *brand;

	TRY(api__brand(req, AUTH_TURNS, &brand));
	TRY(store_turn_get(
	    product->store, brand, http_param(req, "id"), &body, &inside));
	return http_reply_json(req, 200, capsule ? inside : body);
}

HANDLER(api__turn_get)
{
	return reply_turn(req, arg, false);
}

HANDLER(api__turn_capsule)
{
	return reply_turn(req, arg, true);
}
