/* SPDX-License-Identifier: Apache-2.0 */
/* POST turns, and what can be asked of a turn afterwards. */
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

/* ---- one answer ---- */

static void
set_turn_headers(struct http_request *req, const json_t *answer)
{
	const char *generation = json_str(answer, "generation");

	if (generation != NULL)
		http_set_header(req, "Xin-Generation", generation);
}

/* The whole time but for what other services took: a copy asks none. */
static double
overhead_ms(const json_t *answer, bool duplicate, uint64_t took_us)
{
	const json_t *usage = json_object_get(answer, "usage");
	double upstream_ms =
	    json_number_value(json_object_get(usage, "upstream_ms"));
	double ms = (double)took_us / 1000.0;

	return duplicate || upstream_ms > ms ? ms : ms - upstream_ms;
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
	    overhead_ms(answer, duplicate, clock_mono_us() - began));
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
		return err_set(ERR_INVALID, "'user' must be an object");
	TRY(json_field_str(user, "id", false, 256, &request->user_id));
	TRY(json_field_str(user, "name", false, 256, &request->user_name));
	if (context != NULL && !json_is_object(context))
		return err_set(ERR_INVALID, "'context' must be an object");
	request->context = context;
	if (request->channel == NULL)
		request->channel = "api";
	if (!str_is_name(request->channel))
		return err_set(ERR_INVALID, "'channel' is not a name");
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
		return api__turn_stream(req, arg, &request);
	return answer_whole(req, arg, &request);
}

HANDLER(api__turn_cancel)
{
	const char *brand;

	TRY(api__brand(req, AUTH_TURNS, &brand));
	TRY(turn_cancel(arg, brand, http_param(req, "id")));
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
		return err_set(ERR_INVALID, "'rating' must be up or down");
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
