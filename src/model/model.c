/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front of models: the URL chooses, calls and usage are counted. Where a
 * back end names no usage the words are counted here.
 */
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"
#include "model/model_backend.h"
#include "model/price.h"
#include "text/text.h"

#define REPLY_MAX ((size_t)256 << 10)

static enum err_code
open_back_end(const char *url, struct model **model_out)
{
	if (url[0] == '\0')
		return model_extractive_open(model_out);
	if (str_starts(url, "http://") || str_starts(url, "https://"))
		return model_openai_open(url, model_out);
	return err_set(ERR_CONFIG,
	    "XIN_MODEL_URL is \"%s\"; it must be the base URL of an "
	    "OpenAI-compatible service as https://host/v1, or unset",
	    url);
}

enum err_code
model_open(const char *url, struct model **model_out)
{
	struct price_list *prices;
	enum err_code rc;

	TRY(price_list_read(config_str(CFG_MODEL_PRICES),
	    config_str(CFG_MODEL_CURRENCY), &prices));
	rc = open_back_end(url, model_out);
	if (rc == OK)
		(*model_out)->prices = prices;
	else
		price_list_free(prices);
	return rc;
}

void
model_close(struct model *model)
{
	if (model == NULL)
		return;
	price_list_free(model->prices);
	model->ops->close(model);
}

const char *
model_name(const struct model *model)
{
	return model->ops->name;
}

bool
model_needs_terms(const struct model *model)
{
	return model->ops->terms;
}

static bool
count_token(void *arg, const struct text_token *token)
{
	(void)token;
	(*(int64_t *)arg)++;
	return true;
}

static int64_t
words(const char *text, size_t len)
{
	int64_t count = 0;

	text_tokens(text, len, count_token, &count);
	return count;
}

/* What the last call says of the model; a bad question says nothing. */
static void
learn(struct model *model, enum err_code rc)
{
	if (rc == OK)
		atomic_store(&model->down, false);
	else if (rc == ERR_UPSTREAM || rc == ERR_UNAVAILABLE ||
		 rc == ERR_OVERLOADED || rc == ERR_DEADLINE || rc == ERR_CONFIG)
		atomic_store(&model->down, true);
}

bool
model_is_up(const struct model *model)
{
	return !atomic_load(&model->down);
}

static void
count_cost(const struct price_list *prices, const char *model,
    const char *asked, int64_t prompt_tokens, int64_t completion_tokens)
{
	const struct task *task = task_self();
	const char *brand = task != NULL ? task->brand_id : "";
	const char *currency = price_currency(prices);
	struct price_cost cost;

	if (asked == NULL || asked[0] == '\0')
		asked = config_str(CFG_MODEL_NAME);
	if (!price_of(
		prices, model, asked, prompt_tokens, completion_tokens, &cost))
		return;
	metric_count(METRIC_MODEL_COST,
	    LABELS(brand, model, "prompt", currency), cost.prompt);
	metric_count(METRIC_MODEL_COST,
	    LABELS(brand, model, "completion", currency), cost.completion);
}

static void
count_call(const char *model, enum err_code rc, uint64_t began_us,
    int64_t prompt_tokens, int64_t completion_tokens)
{
	metric_count(METRIC_MODEL_CALLS, LABELS(model, err_name(rc)), 1);
	metric_observe_us(
	    METRIC_MODEL_LATENCY, LABELS(model), clock_mono_us() - began_us);
	metric_count(METRIC_MODEL_TOKENS, LABELS(model, "prompt"),
	    (uint64_t)prompt_tokens);
	metric_count(METRIC_MODEL_TOKENS, LABELS(model, "completion"),
	    (uint64_t)completion_tokens);
}

static void
fill_usage(const struct model_request *request, struct model_reply *reply)
{
	if (reply->prompt_tokens == 0) {
		reply->prompt_tokens =
		    words(request->question, strlen(request->question));
		for (size_t i = 0; i < request->passage_count; i++)
			reply->prompt_tokens += words(request->passages[i].text,
			    request->passages[i].len);
	}
	if (reply->completion_tokens == 0)
		reply->completion_tokens =
		    words(buf_str(&reply->text), reply->text.len);
}

static const char *
named(const struct model *model, const char *name)
{
	return name[0] != '\0' ? name : model->ops->name;
}

/* In-process models are INTERNAL (GenAI conventions 1.41.1). */
static struct span *
begin_span(const struct model *model, const char *asked, int64_t max_tokens,
    double temperature, bool stream)
{
	bool remote = strcmp(model->ops->name, "extractive") != 0;
	const char *name = asked != NULL && asked[0] != '\0' ? asked
			   : remote ? config_str(CFG_MODEL_NAME)
				    : model->ops->name;
	struct span *span =
	    span_begin(remote ? SPAN_CLIENT : SPAN_INTERNAL, "chat");
	char title[96];

	if (span == NULL)
		return NULL;
	snprintf(title, sizeof(title), "chat %s", name);
	span_name(span, title);
	span_add(span, attr_str(ATTR_AI_OPERATION, "chat"),
	    attr_str(ATTR_AI_PROVIDER, remote ? "openai" : "xin"),
	    attr_str(ATTR_AI_MODEL, name));
	if (max_tokens > 0)
		span_add(span, attr_int(ATTR_AI_MAX_TOKENS, max_tokens));
	if (temperature >= 0)
		span_add(span, attr_real(ATTR_AI_TEMPERATURE, temperature));
	if (stream)
		span_add(span, attr_bool(ATTR_AI_STREAM, true));
	return span;
}

static void
end_span(struct span *span, enum err_code rc, const char *finish_reason,
    int64_t prompt_tokens, int64_t completion_tokens)
{
	if (rc == OK)
		span_add(span, attr_str(ATTR_AI_FINISH, finish_reason),
		    attr_int(ATTR_AI_INPUT_TOKENS, prompt_tokens),
		    attr_int(ATTR_AI_OUTPUT_TOKENS, completion_tokens));
	span_end_call(span, rc);
}

enum err_code
model_answer(struct model *model, const struct model_request *request,
    uint64_t deadline_ms, struct model_reply *reply_out)
{
	struct model_reply reply = { 0 };
	uint64_t began = clock_mono_us();
	struct span *span = NULL;
	enum err_code rc = OK;

	buf_init(&reply.text, REPLY_MAX);
	if (request->passage_count > 0)
		span = begin_span(model, request->model, request->max_tokens,
		    request->temperature, false);
	if (request->passage_count > 0)
		rc = model->ops->answer(model, request, deadline_ms, &reply);
	else if (request->no_answer != NULL) /* nothing to answer from */
		buf_adds(&reply.text, request->no_answer);
	if (rc == OK && reply.text.full)
		rc = err_set(
		    ERR_TOO_LARGE, "the answer is over %zu bytes", REPLY_MAX);
	str_copy(reply.model, sizeof(reply.model), named(model, reply.model));
	if (rc == OK)
		fill_usage(request, &reply);
	end_span(span, rc, reply.finish_reason, reply.prompt_tokens,
	    reply.completion_tokens);
	learn(model, rc);
	if (request->passage_count > 0)
		count_call(reply.model, rc, began, reply.prompt_tokens,
		    reply.completion_tokens);
	if (request->passage_count > 0)
		count_cost(model->prices, reply.model, request->model,
		    reply.prompt_tokens, reply.completion_tokens);
	if (rc != OK) {
		model_reply_done(&reply);
		return rc;
	}
	*reply_out = reply;
	return OK;
}

void
model_reply_done(struct model_reply *reply)
{
	buf_done(&reply->text);
}

static enum err_code
check_messages(const json_t *messages)
{
	const json_t *message;
	size_t i;

	if (json_array_size(messages) == 0)
		return err_set(ERR_INVALID,
		    "messages must be an array of at least one message");
	json_array_foreach (messages, i, message) {
		const char *role = json_str(message, "role");

		if (!str_eq(role, "system") && !str_eq(role, "user") &&
		    !str_eq(role, "assistant"))
			return err_set(ERR_INVALID,
			    "message %zu needs a role: system, user or "
			    "assistant",
			    i + 1);
		if (json_str(message, "content") == NULL)
			return err_set(ERR_INVALID,
			    "message %zu needs a content, a string", i + 1);
	}
	return OK;
}

enum err_code
model_chat(struct model *model, const struct model_chat *chat,
    uint64_t deadline_ms, struct model_completion *completion_out)
{
	struct model_completion completion = { 0 };
	uint64_t began = clock_mono_us();
	struct span *span;
	enum err_code rc;

	TRY(check_messages(chat->messages));
	buf_init(&completion.text, REPLY_MAX);
	span = begin_span(model, chat->model, chat->max_tokens,
	    chat->temperature, chat->stream);
	rc = model->ops->chat(model, chat, deadline_ms, &completion);
	if (rc == OK && completion.text.full)
		rc = err_set(
		    ERR_TOO_LARGE, "the answer is over %zu bytes", REPLY_MAX);
	end_span(span, rc, completion.finish_reason, completion.prompt_tokens,
	    completion.completion_tokens);
	learn(model, rc);
	count_call(named(model, completion.model), rc, began,
	    completion.prompt_tokens, completion.completion_tokens);
	count_cost(model->prices, named(model, completion.model), chat->model,
	    completion.prompt_tokens, completion.completion_tokens);
	if (rc != OK) {
		model_completion_done(&completion);
		return rc;
	}
	*completion_out = completion;
	return OK;
}

enum err_code
model_checkup(struct model *model, struct checkup *checkup)
{
	return model->ops->checkup(model, checkup);
}

void
model_completion_done(struct model_completion *completion)
{
	buf_done(&completion->text);
}
