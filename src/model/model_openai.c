/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chat completions of an OpenAI-compatible service: the request's body, the
 * call, and its answer, which comes as one JSON object or as a stream of them
 * (openai_reading.c reads both: some services do not stream when asked to).
 */
#include <string.h>

#include "base/checkup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "model/model_backend.h"
#include "model/openai_reading.h"
#include "model/provider.h"

#define ANSWER_MAX ((size_t)16 << 20) /* bytes on the wire */

struct openai {
	struct model base;
	struct provider *provider;
};

static const struct provider_names names = { "chat", "XIN_MODEL_URL",
	"XIN_MODEL_KEY", "XIN_MODEL_NAME" };

static const char *
model_of(const char *asked)
{
	return asked != NULL && asked[0] != '\0' ? asked
						 : config_str(CFG_MODEL_NAME);
}

static char *
body_of(const struct model_chat *chat)
{
	int64_t max_tokens = chat->max_tokens > 0
				 ? chat->max_tokens
				 : config_int(CFG_MODEL_TOKENS);
	json_auto json_t *body =
	    json_pack("{s:s, s:O, s:b}", "model", model_of(chat->model),
		"messages", chat->messages, "stream", chat->stream);

	must(body != NULL);
	if (chat->stream)
		json_object_set_new(body, "stream_options",
		    json_pack("{s:b}", "include_usage", 1));
	if (max_tokens > 0)
		json_object_set_new(body, config_str(CFG_MODEL_TOKENS_FIELD),
		    json_integer(max_tokens));
	if (chat->temperature >= 0)
		json_object_set_new(
		    body, "temperature", json_real(chat->temperature));
	return json_text(body);
}

static enum err_code
openai_chat(struct model *model, const struct model_chat *chat,
    uint64_t deadline_ms, struct model_completion *completion)
{
	struct openai *openai = (struct openai *)model;
	struct openai_reading reading;
	char *body = body_of(chat);
	const struct provider_call call = {
		.path = "/chat/completions",
		.model = model_of(chat->model),
		.body = body,
		.body_len = strlen(body),
		.max_reply_bytes = ANSWER_MAX,
		.idle_ms =
		    chat->stream ? (uint64_t)config_int(CFG_MODEL_IDLE_MS) : 0,
		.on_data = model__openai_data,
		.restart = model__openai_restart,
		.taken = model__openai_taken,
		.arg = &reading,
	};
	uint64_t began = clock_mono_us();
	enum err_code rc;

	str_copy(completion->model, sizeof(completion->model), call.model);
	model__openai_init(&reading, openai->provider, call.model, completion);
	rc = model__provider_post(openai->provider, &call, deadline_ms);
	completion->waited_us = clock_mono_us() - began;
	if (rc == OK)
		rc = model__openai_end(&reading);
	if (chat->stream && reading.first_us > 0)
		metric_observe_us(METRIC_MODEL_FIRST, LABELS(call.model),
		    reading.first_us - began);
	model__openai_done(&reading);
	mem_free(body);
	return rc;
}

static enum err_code
openai_answer(struct model *model, const struct model_request *request,
    uint64_t deadline_ms, struct model_reply *reply)
{
	json_auto json_t *messages =
	    model__prompt(request, (size_t)config_int(CFG_MAX_PROMPT_BYTES));
	const struct model_chat chat = {
		.model = request->model,
		.messages = messages,
		.max_tokens = request->max_tokens,
		.temperature = request->temperature,
		.stream = true,
	};
	struct model_completion said = { 0 };
	enum err_code rc;

	buf_init(&said.text, reply->text.max);
	rc = openai_chat(model, &chat, deadline_ms, &said);
	str_copy(reply->model, sizeof(reply->model), said.model);
	reply->prompt_tokens = said.prompt_tokens;
	reply->completion_tokens = said.completion_tokens;
	reply->waited_us = said.waited_us;
	str_copy(reply->finish_reason, sizeof(reply->finish_reason),
	    said.finish_reason);
	if (rc == OK)
		model__cite(request, buf_str(&said.text), said.text.len, reply);
	buf_done(&said.text);
	return rc;
}

/* One word shows that the service, the key and the model are right. */
static enum err_code
openai_checkup(struct model *model, struct checkup *checkup)
{
	json_auto json_t *messages =
	    json_pack("[{s:s, s:s}]", "role", "user", "content", "Say yes.");
	const struct model_chat chat = {
		.messages = messages, .max_tokens = 1, .temperature = -1
	};
	struct model_completion said;
	uint64_t began = clock_mono_ms();

	TRY(model_chat(model, &chat, 0, &said));
	snprintf(checkup->facts, sizeof(checkup->facts),
	    "model %s answers in %llu ms", said.model,
	    (unsigned long long)(clock_mono_ms() - began));
	model_completion_done(&said);
	return OK;
}

static void
openai_close(struct model *model)
{
	struct openai *openai = (struct openai *)model;

	model__provider_close(openai->provider);
	mem_free(openai);
}

static const struct model_ops openai_ops = {
	.name = "openai",
	.answer = openai_answer,
	.chat = openai_chat,
	.checkup = openai_checkup,
	.close = openai_close,
};

enum err_code
model_openai_open(const char *url, struct model **model_out)
{
	const char *field = config_str(CFG_MODEL_TOKENS_FIELD);
	const char *name = config_str(CFG_MODEL_NAME);
	struct provider *provider;
	struct openai *openai;

	if (!str_is_utf8(name, strlen(name)) || name[0] == '\0')
		return err_set(ERR_CONFIG,
		    "XIN_MODEL_URL is set: name the model in XIN_MODEL_NAME");
	if (!str_eq(field, "max_tokens") &&
	    !str_eq(field, "max_completion_tokens"))
		return err_set(ERR_CONFIG,
		    "XIN_MODEL_TOKENS_FIELD is \"%s\"; it must be max_tokens "
		    "or max_completion_tokens",
		    field);
	TRY(model__provider_open(
	    &names, url, config_str(CFG_MODEL_KEY), &provider));
	openai = mem_zero(sizeof(*openai));
	openai->base.ops = &openai_ops;
	openai->provider = provider;
	*model_out = &openai->base;
	return OK;
}
