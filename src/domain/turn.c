/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main path of a turn: conversation, route (Lua), input guards, retrieve,
 * prompt, model, output guards, record, reply. turn_think and turn_finish (the
 * body of turn_run) are the page to read; the steps are one small function
 * each. What went wrong is decided in one place, turn_fail.
 */
#include "domain/turn.h"

#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"
#include "domain/brand.h"
#include "domain/turn_internal.h"
#include "store/store.h"
#include "text/text.h"

#define HISTORY_MESSAGES 12
#define TOP_K            8
#define TERMS_MAX        64

static void
turn_emit(struct turn *turn, const char *name, json_t *data)
{
	if (turn->sink != NULL)
		turn->sink->event(turn->sink, name, data);
	json_decref(data);
}

/* Pin the scripts, read the brand's fields, load the history. */
static enum err_code
turn_open(struct turn *turn)
{
	const struct turn_request *request = turn->request;
	struct script_budget budget = script_budget_default();

	budget.cpu_us = (uint64_t)config_int(CFG_SCRIPT_TURN_CPU_MS) * 1000;
	TRY(script_session_open(
	    request->brand, turn->gen, &budget, &turn->scripts));
	turn->binding = (struct binding_turn){
		.brand = request->brand,
		.conversation_id = turn->conversation->id,
		.store = turn->trial ? NULL : turn->product->store,
		.search = turn->product->search,
		.embedder = turn->product->embedder,
		.model = turn->product->model,
		.kv = turn->product->kv,
	};
	script_session_set_user(turn->scripts, &turn->binding);
	TRY(script_module_fields(
	    turn->scripts, SCRIPT_BRAND, request->brand, &turn->brand));
	turn->language =
	    text_language(request->message, strlen(request->message));
	turn_emit(turn, "turn.started",
	    json_pack("{s:s, s:s, s:s}", "id", turn->id, "conversation_id",
		turn->conversation->id, "generation",
		script_generation_id(
		    script_session_generation(turn->scripts))));
	if (turn->trial) {
		turn->history = json_array();
		return OK;
	}
	return store_history(turn->product->store, request->brand,
	    turn->conversation->id, HISTORY_MESSAGES, &turn->history);
}

static enum err_code
turn_route(struct turn *turn)
{
	json_auto json_t *args =
	    json_pack("[o]", turn__view(turn, turn->request->message));

	TRY(script_call(turn->scripts, SCRIPT_BRAND, turn->request->brand,
	    "route", args, &turn->route));
	if (!json_is_object(turn->route))
		return err_set(ERR_SCRIPT,
		    "brands/%s.lua: route must return a table",
		    turn->request->brand);
	if (turn->trial)
		turn_emit(turn, "route", json_incref(turn->route));
	return OK;
}

static void
emit_guards(struct turn *turn, size_t from)
{
	for (size_t i = from; i < json_array_size(turn->ledger); i++)
		turn_emit(turn, "guard",
		    json_incref(json_array_get(turn->ledger, i)));
}

static enum err_code
turn_guard(struct turn *turn, enum guard_stage stage, const char *text,
    size_t len, struct guard_text **text_out)
{
	const char *blocked =
	    brand_sentence(turn->brand, "blocked", turn->language);
	struct guard_context context = { turn->language,
		turn->request->user_id };
	size_t from = json_array_size(turn->ledger);

	TRY(guard_run(turn->scripts, json_object_get(turn->brand, "guardrails"),
	    stage, &context, text, len,
	    blocked != NULL ? blocked : "I can't help with that.", turn->ledger,
	    text_out));
	emit_guards(turn, from);
	return OK;
}

static enum err_code
find_passages(struct turn *turn, const struct search_ask *ask)
{
	struct span *span = span_begin(SPAN_INTERNAL, "retrieval chunks");
	enum err_code rc;

	span_add(span, attr_str(ATTR_AI_OPERATION, "retrieval"),
	    attr_str(ATTR_AI_PROVIDER, "xin"),
	    attr_str(ATTR_AI_DATA_SOURCE, "chunks"),
	    attr_real(ATTR_AI_TOP_K, ask->top_k));
	rc = retrieve_find(turn->product->search, turn->product->embedder,
	    RETRIEVE_HYBRID, ask, &turn->hits, &turn->retrieval);
	if (rc == OK)
		span_add(span,
		    attr_str(ATTR_RETRIEVAL_MODE, turn->retrieval.mode),
		    attr_bool(
			ATTR_RETRIEVAL_DEGRADED, turn->retrieval.degraded),
		    attr_int(ATTR_HITS, (int64_t)turn->hits.count));
	span_end_call(span, rc);
	return rc;
}

static enum err_code
turn_retrieve(struct turn *turn)
{
	const char *query = json_str(turn->route, "query");
	const json_t *retrieval = json_object_get(turn->brand, "retrieval");
	int64_t top_k =
	    json_int(turn->route, "top_k", json_int(retrieval, "top_k", TOP_K));
	struct search_ask ask;
	json_t *list;

	if (strcmp(turn__route_name(turn), "answer") != 0)
		return OK;
	if (query == NULL)
		query = guard_text_str(turn->message);
	if (top_k < 1 || top_k > 50)
		return err_set(ERR_SCRIPT, "top_k must be from 1 to 50");
	ask = (struct search_ask){ .brand = turn->request->brand,
		.query = query,
		.query_len = strlen(query),
		.top_k = (int)top_k };
	TRY(find_passages(turn, &ask));
	list = json_array();
	for (size_t i = 0; i < turn->hits.count; i++)
		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:I, s:f}", "source_id",
			      turn->hits.items[i].source_id, "title",
			      turn->hits.items[i].title, "chunk",
			      (json_int_t)turn->hits.items[i].number, "score",
			      turn->hits.items[i].score));
	turn_emit(turn, "retrieval",
	    json_pack("{s:o, s:s, s:b}", "hits", list, "mode",
		turn->retrieval.mode, "degraded", turn->retrieval.degraded));
	return OK;
}

/* The question's tokens, for the model's sense of what matters. */
struct terms {
	struct turn *turn;
	struct model_term items[TERMS_MAX];
	const char *tokens[TERMS_MAX];
	double idf[TERMS_MAX];
	size_t count;
};

static bool
add_term(void *arg, const struct text_token *token)
{
	struct terms *terms = arg;

	if (text_is_stop(token->text, token->len))
		return true; /* says nothing of what is asked */
	for (size_t i = 0; i < terms->count; i++)
		if (strcmp(terms->tokens[i], token->text) == 0)
			return true;
	terms->tokens[terms->count++] = mem_strndup(token->text, token->len);
	return terms->count < TERMS_MAX;
}

static enum err_code
weigh_terms(struct turn *turn, const char *question, struct terms *terms)
{
	text_tokens(question, strlen(question), add_term, terms);
	TRY(search_idf(turn->product->search, turn->request->brand,
	    terms->tokens, terms->count, terms->idf));
	for (size_t i = 0; i < terms->count; i++)
		terms->items[i] =
		    (struct model_term){ terms->tokens[i], terms->idf[i] };
	return OK;
}

/* A number of the route, else of the brand's retrieval, else -1. */
static double
number_of(const struct turn *turn, const char *key)
{
	const json_t *number = json_object_get(turn->route, key);

	if (number == NULL)
		number = json_object_get(
		    json_object_get(turn->brand, "retrieval"), key);
	return json_is_number(number) ? json_number_value(number) : -1;
}

static const char *
no_answer_of(const struct turn *turn)
{
	const char *said = json_str(turn->route, "no_answer");

	if (said == NULL)
		said = brand_sentence(turn->brand, "no_answer", turn->language);
	return said != NULL ? said : "I don't know.";
}

/* The models that the route names are asked in order until one answers; each
 * may use its share of the time that is left. */
static enum err_code
ask_in_order(struct turn *turn, struct model_request *ask)
{
	const json_t *named = json_object_get(turn->route, "model");
	size_t count = json_is_array(named) ? json_array_size(named) : 0;
	uint64_t until = deadline_in_ms((uint64_t)config_int(CFG_MODEL_MS));
	enum err_code rc = OK;

	ask->model = json_string_value(named);
	if (count == 0)
		return model_answer(
		    turn->product->model, ask, 0, &turn->answer);
	for (size_t i = 0; i < count; i++) {
		ask->model = json_string_value(json_array_get(named, i));
		rc = model_answer(turn->product->model, ask,
		    deadline_in_ms(deadline_left_ms(until) / (count - i)),
		    &turn->answer);
		if (rc == OK || rc == ERR_CANCELLED)
			break;
	}
	return rc;
}

static enum err_code
ask_model(
    struct turn *turn, struct terms *terms, struct model_passage *passages)
{
	const char *question = guard_text_str(turn->message);
	struct model_request ask = {
		.system = json_str(turn->route, "prompt"),
		.history = turn->history,
		.question = question,
		.passages = passages,
		.passage_count = turn->hits.count,
		.terms = terms->items,
		.no_answer = no_answer_of(turn),
		.confidence_floor = number_of(turn, "confidence_floor"),
		.max_tokens = json_int(turn->route, "max_tokens", 0),
		.temperature = number_of(turn, "temperature"),
	};

	if (model_needs_terms(turn->product->model))
		TRY(weigh_terms(turn, question, terms));
	ask.term_count = terms->count;
	for (size_t i = 0; i < turn->hits.count; i++) {
		const struct search_hit *hit = &turn->hits.items[i];

		passages[i] = (struct model_passage){ hit->title, hit->text,
			strlen(hit->text), hit->lexical, hit->coverage };
	}
	return ask_in_order(turn, &ask);
}

static enum err_code
turn_answer(struct turn *turn)
{
	const char *said = json_str(turn->route, "reply");
	uint64_t began = clock_mono_us();
	struct model_passage *passages;
	struct terms *terms;
	enum err_code rc;

	if (strcmp(turn__route_name(turn), "answer") != 0) {
		buf_adds(&turn->answer.text, said != NULL ? said : "");
		turn->answer.answered = said != NULL;
		return OK;
	}
	turn->asked_model = true;
	terms = mem_zero(sizeof(*terms));
	passages = mem_zero((turn->hits.count + 1) * sizeof(*passages));
	rc = ask_model(turn, terms, passages);
	turn->model_failed = rc != OK;
	if (rc != OK)
		turn->binding.spent.waited_us += clock_mono_us() - began;
	for (size_t i = 0; i < terms->count; i++)
		mem_free(terms->tokens[i]);
	mem_free(terms);
	mem_free(passages);
	return rc;
}

/* The page of a PDF or slide, which stands in the chunk's metadata; 0 = none.
 */
static int64_t
page_of(const struct search_hit *hit)
{
	json_auto json_t *metadata = NULL;

	if (hit->metadata == NULL ||
	    strstr(hit->metadata, "\"page\"") == NULL ||
	    json_parse(hit->metadata, strlen(hit->metadata), &metadata) != OK)
		return 0;
	return json_int(metadata, "page", 0);
}

static void
turn_cite(struct turn *turn)
{
	for (size_t i = 0; i < turn->answer.cited_count; i++) {
		const struct search_hit *hit =
		    &turn->hits.items[turn->answer.cited[i]];
		json_t *one = json_pack("{s:s, s:s, s:I, s:I, s:I, s:f, s:s}",
		    "source_id", hit->source_id, "title", hit->title, "chunk",
		    (json_int_t)hit->number, "start", (json_int_t)hit->start,
		    "end", (json_int_t)hit->end, "score", hit->score, "text",
		    hit->text);
		int64_t page = page_of(hit);

		if (hit->source_url != NULL)
			json_object_set_new(
			    one, "url", json_string(hit->source_url));
		if (page > 0)
			json_object_set_new(one, "page", json_integer(page));
		json_array_append_new(turn->citations, one);
	}
}

/* The brand's own tone: reply(turn, answer), where it has one. */
static enum err_code
turn_tone(struct turn *turn)
{
	json_auto json_t *args = NULL;
	json_auto json_t *result = NULL;
	json_t *cited = json_array();
	const char *text;

	if (!turn->asked_model ||
	    !script_module_has(
		turn->scripts, SCRIPT_BRAND, turn->request->brand, "reply")) {
		json_decref(cited);
		return OK;
	}
	for (size_t i = 0; i < turn->answer.cited_count; i++)
		json_array_append_new(
		    cited, json_pack("{s:s, s:I}", "title",
			       turn->hits.items[turn->answer.cited[i]].title,
			       "number", (json_int_t)i + 1));
	args = json_pack("[o, {s:s%, s:b, s:o, s:f}]",
	    turn__view(turn, guard_text_str(turn->message)), "text",
	    buf_str(&turn->answer.text), turn->answer.text.len, "answered",
	    turn->answer.answered, "citations", cited, "confidence",
	    turn->answer.confidence);
	TRY(script_call(turn->scripts, SCRIPT_BRAND, turn->request->brand,
	    "reply", args, &result));
	text = json_is_string(result) ? json_string_value(result)
				      : json_str(result, "text");
	if (text == NULL)
		return OK; /* nil: as it is */
	buf_clear(&turn->answer.text);
	buf_adds(&turn->answer.text, text);
	return OK;
}

/* Store the turn, both messages and the answer to copies, in one commit. */
static enum err_code
turn_keep(struct turn *turn, const char *outcome, const json_t *body)
{
	json_auto json_t *capsule = turn__capsule(turn, outcome);
	char *body_text = json_text(body);
	char *capsule_text = json_text(capsule);
	struct turn_row row = {
		.channel = turn->request->channel,
		.user_id = turn->request->user_id,
		.message = turn->message ? guard_text_str(turn->message) : "",
		.reply = guard_text_str(turn->reply),
		.outcome = outcome,
		.body = body_text,
		.capsule = capsule_text,
		.generation = script_generation_id(
		    script_session_generation(turn->scripts)),
		.started_at = (int64_t)turn->began_ms,
		.ended_at = (int64_t)clock_wall_ms(),
		.dedup_key = turn->dedup_key,
	};
	enum err_code rc;

	str_copy(row.id, sizeof(row.id), turn->id);
	str_copy(row.brand_id, sizeof(row.brand_id), turn->request->brand);
	str_copy(row.conversation_id, sizeof(row.conversation_id),
	    turn->conversation->id);
	rc = store_turn_add(turn->product->store, &row);
	mem_free(body_text);
	mem_free(capsule_text);
	if (rc == OK && strcmp(turn__route_name(turn), "handoff") == 0)
		rc = store_conversation_status(turn->product->store,
		    turn->request->brand, turn->conversation->id, "handoff");
	return rc;
}

/* Only what the output guards let through is ever sent. */
static void
turn_send(struct turn *turn, const char *outcome, json_t *answer)
{
	if (guard_text_len(turn->reply) > 0 && strcmp(outcome, "done") == 0)
		turn_emit(turn, "delta",
		    json_pack("{s:s%}", "text", guard_text_str(turn->reply),
			guard_text_len(turn->reply)));
	if (strcmp(json_str(turn->route, "route") ?: "", "handoff") == 0)
		turn_emit(turn, "handoff",
		    json_pack(
			"{s:s}", "conversation_id", turn->conversation->id));
	turn_emit(turn, "usage", json_incref(json_object_get(answer, "usage")));
	if (strcmp(outcome, "blocked") == 0)
		turn_emit(turn, "blocked", json_incref(answer));
	else
		turn_emit(turn, "done", json_incref(answer));
}

/* A fresh session on the same generation: the failed one may have spent the
 * turn's budget, and the guards must still run over the fallback. */
static enum err_code
turn_renew(struct turn *turn)
{
	struct script_budget budget = script_budget_default();
	struct script_session *fresh;

	TRY(script_session_open(turn->request->brand,
	    script_session_generation(turn->scripts), &budget, &fresh));
	script_session_close(turn->scripts);
	script_session_set_user(fresh, &turn->binding);
	turn->scripts = fresh;
	return OK;
}

/* Scripts and models fail; a cancelled turn does not want an answer. */
static bool
may_fall_back(const struct turn *turn, enum err_code rc)
{
	return rc == ERR_SCRIPT || rc == ERR_SCRIPT_LIMIT ||
	       (turn->model_failed && rc != ERR_CANCELLED);
}

/* A script or the model failed: the brand's fallback answer where it declares
 * one. It goes through the output guards like every other text. */
static enum err_code
turn_fail(struct turn *turn, enum err_code rc)
{
	const char *fallback =
	    brand_sentence(turn->brand, "fallback", turn->language);
	struct error why;

	err_save(&why);
	span_event(span_current(), "exception",
	    attr_str(ATTR_EXCEPTION, err_name(rc)));
	log_warn("turn.failed", kv_str("turn_id", turn->id),
	    kv_str("error_code", err_name(rc)), kv_error("error", why.message));
	if (!may_fall_back(turn, rc) || fallback == NULL)
		return rc;
	TRY(turn_renew(turn));
	guard_text_free(turn->reply);
	turn->reply = NULL;
	json_array_clear(turn->citations);
	turn->answer.cited_count = 0;
	turn->answer.answered = false;
	if (turn_guard(turn, GUARD_OUTPUT, fallback, strlen(fallback),
		&turn->reply) == OK &&
	    !guard_text_blocked(turn->reply))
		return OK;
	err_restore(&why);
	return rc;
}

static void
turn_close(struct turn *turn)
{
	script_session_close(turn->scripts);
	json_decref(turn->brand);
	json_decref(turn->history);
	json_decref(turn->route);
	json_decref(turn->ledger);
	json_decref(turn->citations);
	guard_text_free(turn->message);
	guard_text_free(turn->reply);
	search_hits_done(&turn->hits);
	model_reply_done(&turn->answer);
}

/* From the message to text that may leave: stops early when a guard blocks. */
static enum err_code
turn_think(struct turn *turn)
{
	const char *message = turn->request->message;

	TRY(turn_route(turn));
	TRY(turn_guard(
	    turn, GUARD_INPUT, message, strlen(message), &turn->message));
	if (guard_text_blocked(turn->message)) {
		turn->reply = turn->message;
		turn->message = NULL;
		return OK;
	}
	TRY(turn_retrieve(turn));
	TRY(turn_answer(turn));
	turn_cite(turn);
	TRY(turn_tone(turn));
	TRY(turn_guard(turn, GUARD_OUTPUT, buf_str(&turn->answer.text),
	    turn->answer.text.len, &turn->reply));
	if (guard_text_blocked(turn->reply))
		json_array_clear(turn->citations);
	return OK;
}

/* Run the steps, and end every path in one place. */
static enum err_code
turn_finish(struct turn *turn, json_t **answer_out)
{
	json_auto json_t *body = NULL;
	const char *outcome = "done";
	enum err_code rc;

	rc = turn_open(turn);
	if (rc == OK)
		rc = turn_think(turn);
	if (rc != OK) {
		outcome = "error";
		rc = turn_fail(turn, rc);
	} else if (guard_text_blocked(turn->reply)) {
		outcome = "blocked";
	}
	turn__trace(turn, outcome);
	if (rc == OK)
		body = turn__body(turn, outcome);
	if (rc == OK && !turn->trial)
		rc = turn_keep(turn, outcome, body);
	if (rc == OK) {
		turn_send(turn, outcome, body);
		*answer_out = json_incref(body);
	}
	if (!turn->trial)
		metric_count(METRIC_TURNS,
		    LABELS(turn->request->brand, rc == OK ? outcome : "error"),
		    1);
	return rc;
}

enum err_code
turn_run(struct product *product, const struct turn_request *request,
    const struct conversation *conversation, const char *turn_id,
    struct turn_sink *sink, const char *dedup_key, json_t **answer_out)
{
	struct turn turn = {
		.product = product,
		.request = request,
		.conversation = conversation,
		.id = turn_id,
		.sink = sink,
		.dedup_key = dedup_key,
		.began_ms = clock_wall_ms(),
		.ledger = json_array(),
		.citations = json_array(),
	};
	enum err_code rc = turn_finish(&turn, answer_out);

	turn_close(&turn);
	return rc;
}

enum err_code
turn_try(struct product *product, const struct turn_request *request,
    struct script_generation *gen, struct turn_sink *sink, json_t **answer_out)
{
	struct conversation nowhere = { 0 };
	struct turn turn = {
		.product = product,
		.request = request,
		.conversation = &nowhere,
		.id = "",
		.sink = sink,
		.gen = gen,
		.trial = true,
		.ledger = json_array(),
		.citations = json_array(),
	};
	enum err_code rc = turn_finish(&turn, answer_out);

	turn_close(&turn);
	return rc;
}
