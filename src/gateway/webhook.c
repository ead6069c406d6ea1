/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main path of a webhook: verify, parse (Lua), ask the orchestrator (which
 * de-duplicates, limits and guards), render (Lua), answer. webhook_receive is
 * the page to read. The channel's scripts run in the brand's own state.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "domain/brand.h"
#include "gateway/gateway.h"
#include "gateway/signature.h"
#include "gateway/upstream.h"
#include "gateway/webhook.h"
#include "guard/guard.h"
#include "script/script.h"

struct webhook {
	struct product *product;
	const char *channel;
	char brand[BRAND_ID_SIZE];
	json_t *body;
	struct script_session *scripts;
	json_t *parsed; /* what the channel's parse() said */
	json_t *answer; /* the turn */
	bool duplicate;
	json_t *rendered;
};

static const char *
webhook_secret(const char *brand)
{
	const char *own = config_brand_secret(brand);

	return own != NULL ? own : config_str(CFG_WEBHOOK_SECRET);
}

/* The brand stands in the path or in the body; none named: default. It is
 * read before the signature is checked, because it chooses the secret. */
static enum err_code
webhook_brand(struct http_request *req, struct webhook *hook)
{
	const char *brand = http_param(req, "brand");

	if (brand == NULL)
		brand = json_str(hook->body, "brand");
	if (brand == NULL)
		brand = "default";
	if (!str_is_name(brand))
		return err_set(ERR_INVALID, "'brand' is not a name");
	str_copy(hook->brand, sizeof(hook->brand), brand);
	str_copy(task_self()->brand_id, BRAND_ID_SIZE, brand);
	return OK;
}

static enum err_code
webhook_verify(struct http_request *req, struct webhook *hook)
{
	const char *header = http_header(req, "x-signature");
	const char *body;
	enum err_code brand_rc, json_rc;
	size_t len;

	if (header == NULL)
		header = http_header(req, "x-xin-signature");
	if (header == NULL)
		header = http_header(req, "x-hub-signature-256");
	body = http_body(req, &len);
	json_rc = json_parse(body, len, &hook->body);
	brand_rc = webhook_brand(req, hook);
	TRY(signature_verify(webhook_secret(hook->brand), header,
	    http_header(req, "x-xin-timestamp"), body, len, clock_wall_ms()));
	/* Only who knows the secret learns what is wrong with the body. */
	if (json_rc != OK)
		return json_parse(body, len, &hook->body);
	if (!json_is_object(hook->body))
		return err_set(ERR_INVALID, "the body must be a JSON object");
	if (brand_rc != OK)
		return webhook_brand(req, hook);
	return brand_exists(hook->brand);
}

static enum err_code
webhook_parse(struct webhook *hook)
{
	json_auto json_t *args =
	    json_pack("[{s:O, s:{}, s:s, s:s}]", "body", hook->body, "headers",
		"path_brand", hook->brand, "channel", hook->channel);

	TRY(script_session_open(hook->brand, NULL, NULL, &hook->scripts));
	return script_call(hook->scripts, SCRIPT_CHANNEL, hook->channel,
	    "parse", args, &hook->parsed);
}

/* The one message of a web chat request. */
static enum err_code
webhook_message(const struct webhook *hook, struct turn_request *request)
{
	const json_t *messages = json_object_get(hook->parsed, "messages");
	const json_t *message = json_array_get(messages, 0);
	const json_t *user = json_object_get(message, "user");

	if (json_array_size(messages) != 1)
		return err_set(ERR_INVALID, "send exactly one message");
	*request = (struct turn_request){
		.brand = hook->brand,
		.channel = hook->channel,
		.message = json_str(message, "text"),
		.user_id = json_str(user, "id"),
		.user_name = json_str(user, "name"),
		.conversation_id = json_str(message, "conversation_id"),
		.message_id = json_str(message, "id"),
		.locale = json_str(message, "locale"),
	};
	if (request->message == NULL || request->message_id == NULL)
		return err_set(ERR_INVALID, "a message needs an id and a text");
	if (request->user_id == NULL)
		request->user_id = "";
	return OK;
}

static enum err_code
webhook_render(struct webhook *hook, const char *message_id)
{
	json_auto json_t *args = json_pack(
	    "[{s:s, s:O?, s:O?, s:O?, s:O?, s:b}]", "message_id", message_id,
	    "turn_id", json_object_get(hook->answer, "id"), "conversation_id",
	    json_object_get(hook->answer, "conversation_id"), "text",
	    json_object_get(hook->answer, "reply"), "citations",
	    json_object_get(hook->answer, "citations"), "duplicate",
	    hook->duplicate);

	TRY(script_call(hook->scripts, SCRIPT_CHANNEL, hook->channel, "render",
	    args, &hook->rendered));
	if (!json_is_object(json_object_get(hook->rendered, "body")))
		return err_set(ERR_SCRIPT,
		    "channels/%s.lua: render must return {status, body}",
		    hook->channel);
	return OK;
}

/* Every string that the channel made itself passes the output guards once
 * more; what is part of the guarded answer has passed them. */
static enum err_code
scan(struct webhook *hook, const json_t *guardrails, const json_t *known,
    json_t *value, json_t **replacement_out)
{
	const struct guard_context context = { NULL, NULL };
	json_auto json_t *ledger = NULL;
	struct guard_text *text;
	const char *key;
	json_t *item, *instead = NULL;
	size_t i;
	void *next;

	if (json_is_object(value)) {
		json_object_foreach_safe(value, next, key, item)
		{
			TRY(scan(hook, guardrails, known, item, &instead));
			if (instead != NULL)
				json_object_set_new(value, key, instead);
			instead = NULL;
		}
		return OK;
	}
	if (json_is_array(value)) {
		json_array_foreach (value, i, item) {
			TRY(scan(hook, guardrails, known, item, &instead));
			if (instead != NULL)
				json_array_set_new(value, i, instead);
			instead = NULL;
		}
		return OK;
	}
	if (!json_is_string(value) || json_string_length(value) == 0 ||
	    json_object_get(known, json_string_value(value)) != NULL)
		return OK;
	ledger = json_array();
	TRY(guard_run(hook->scripts, guardrails, GUARD_OUTPUT, &context,
	    json_string_value(value), json_string_length(value), "", ledger,
	    &text));
	if (guard_text_blocked(text) || guard_text_rewritten(text))
		*replacement_out =
		    json_stringn(guard_text_str(text), guard_text_len(text));
	guard_text_free(text);
	return OK;
}

/* Remember every string of the guarded answer. */
static void
collect(const json_t *value, json_t *known)
{
	const char *key;
	json_t *item;
	size_t i;

	if (json_is_string(value))
		json_object_set_new(
		    known, json_string_value(value), json_true());
	json_object_foreach ((json_t *)(uintptr_t)value, key, item)
		collect(item, known);
	json_array_foreach (value, i, item)
		collect(item, known);
}

static enum err_code
webhook_scan(struct webhook *hook, const char *message_id)
{
	json_auto json_t *fields = NULL;
	json_auto json_t *known = json_object();
	json_t *none = NULL;

	TRY(script_module_fields(
	    hook->scripts, SCRIPT_BRAND, hook->brand, &fields));
	collect(hook->answer, known);
	json_object_set_new(known, message_id, json_true());
	return scan(hook, json_object_get(fields, "guardrails"), known,
	    json_object_get(hook->rendered, "body"), &none);
}

static enum err_code
webhook_answer(struct http_request *req, struct webhook *hook)
{
	const char *generation = json_str(hook->answer, "generation");

	if (generation != NULL)
		http_set_header(req, "Xin-Generation", generation);
	return http_reply_json(req,
	    (int)json_int(hook->rendered, "status", 200),
	    json_object_get(hook->rendered, "body"));
}

static void
webhook_done(struct webhook *hook)
{
	script_session_close(hook->scripts);
	json_decref(hook->body);
	json_decref(hook->parsed);
	json_decref(hook->answer);
	json_decref(hook->rendered);
}

enum err_code
webhook_receive(struct http_request *req, void *arg)
{
	struct webhook hook = { .product = arg, .channel = "webchat" };
	struct turn_request request;
	uint64_t retry_after_ms = 0;
	enum err_code rc;

	task_self()->deadline_ms =
	    deadline_in_ms((uint64_t)config_int(CFG_TURN_MS));
	rc = webhook_verify(req, &hook);
	if (rc == OK)
		rc = webhook_parse(&hook);
	if (rc == OK)
		rc = webhook_message(&hook, &request);
	if (rc == OK)
		rc = upstream_turn(hook.product, &request, &hook.answer,
		    &hook.duplicate, &retry_after_ms);
	if (rc == OK)
		rc = webhook_render(&hook, request.message_id);
	if (rc == OK)
		rc = webhook_scan(&hook, request.message_id);
	if (rc == OK)
		rc = webhook_answer(req, &hook);
	else
		http_set_retry_after(req, retry_after_ms);
	webhook_done(&hook);
	return rc;
}
