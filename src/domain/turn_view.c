/* SPDX-License-Identifier: Apache-2.0 */
/* The turn as JSON: for its scripts, for who asked, and for later. */
#include "base/json.h"
#include "base/span.h"
#include "base/str.h"
#include "domain/trace_content.h"
#include "domain/turn_internal.h"
#include "store/store.h"

const char *
turn__route_name(const struct turn *turn)
{
	const char *name = json_str(turn->route, "route");

	return name != NULL ? name : "answer";
}

/* The turn as scripts see it. */
json_t *
turn__view(const struct turn *turn, const char *text)
{
	const struct turn_request *request = turn->request;

	return json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:s?}, s:{s:s, s:O}, "
			 "s:O}",
	    "text", text, "language", turn->language, "channel",
	    request->channel, "brand", request->brand, "user", "id",
	    request->user_id, "name", request->user_name, "conversation", "id",
	    turn->conversation->id, "messages", turn->history, "context",
	    request->context != NULL ? (json_t *)(uintptr_t)request->context
				     : json_null());
}

/* Tokens of the answer and of what the hooks asked, and the time for which this
 * process only waited. */
static json_t *
usage_view(const struct turn *turn)
{
	const struct model_reply *answer = &turn->answer;
	uint64_t waited_us = answer->waited_us + turn->retrieval.waited_us +
			     turn->binding.spent.waited_us;

	return json_pack("{s:I, s:I, s:f}", "prompt_tokens",
	    (json_int_t)answer->prompt_tokens +
		turn->binding.spent.prompt_tokens,
	    "completion_tokens",
	    (json_int_t)answer->completion_tokens +
		turn->binding.spent.completion_tokens,
	    "upstream_ms", (double)waited_us / 1000);
}

json_t *
turn__body(const struct turn *turn, const char *outcome)
{
	json_t *body = json_pack(
	    "{s:s, s:s, s:s%, s:O, s:s, s:O, s:o, s:s, s:s, s:b, s:f}", "id",
	    turn->id, "conversation_id", turn->conversation->id, "reply",
	    guard_text_str(turn->reply), guard_text_len(turn->reply),
	    "citations", turn->citations, "route", turn__route_name(turn),
	    "guards", turn->ledger, "usage", usage_view(turn), "generation",
	    script_generation_id(script_session_generation(turn->scripts)),
	    "outcome", outcome, "answered", turn->answer.answered, "confidence",
	    turn->answer.confidence);

	must(body != NULL);
	return body;
}

/* How it was searched, and why not better; null when it was not. */
static json_t *
retrieval_view(const struct retrieval *how)
{
	if (how->mode == NULL)
		return json_null();
	return json_pack("{s:s, s:b, s:s*}", "mode", how->mode, "degraded",
	    how->degraded, "error_code",
	    how->degraded ? err_name(how->why) : NULL);
}

/* What happened, for replay and for people: never the unguarded message. */
json_t *
turn__capsule(const struct turn *turn, const char *outcome)
{
	return json_pack(
	    "{s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:O, s:O, s:I, s:s, s:s, s:o}",
	    "id", turn->id, "brand", turn->request->brand, "channel",
	    turn->request->channel, "language", turn->language, "message",
	    turn->message ? guard_text_str(turn->message) : "", "outcome",
	    outcome, "route", turn->route ? turn->route : json_null(), "guards",
	    turn->ledger, "citations", turn->citations, "script_cpu_us",
	    (json_int_t)script_session_cpu_us(turn->scripts), "model",
	    turn->asked_model ? turn->answer.model : "", "generation",
	    script_generation_hash(script_session_generation(turn->scripts)),
	    "retrieval", retrieval_view(&turn->retrieval));
}

void
turn__trace(const struct turn *turn, const char *outcome)
{
	struct span *span = span_current();

	if (span == NULL || turn->scripts == NULL)
		return;
	span_add(span, attr_str(ATTR_OUTCOME, outcome),
	    attr_str(ATTR_ROUTE, str_is_name(turn__route_name(turn))
				     ? turn__route_name(turn)
				     : "other"),
	    attr_bool(ATTR_ANSWERED, turn->answer.answered),
	    attr_int(ATTR_CITATIONS, (int64_t)json_array_size(turn->citations)),
	    attr_str(ATTR_GENERATION,
		script_generation_id(script_session_generation(turn->scripts))),
	    attr_int(ATTR_SCRIPT_CPU,
		(int64_t)script_session_cpu_us(turn->scripts)));
	trace_content(span, ATTR_MESSAGE,
	    turn->message ? guard_text_str(turn->message) : NULL);
	trace_content(
	    span, ATTR_REPLY, turn->reply ? guard_text_str(turn->reply) : NULL);
}
