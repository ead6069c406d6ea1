/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the answer of chat/completions; openai_reading.h has the rules. */
#include "model/openai_reading.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"

#define EVENT_MAX ((size_t)1 << 20)
#define WHOLE_MAX ((size_t)4 << 20)

static enum err_code
broken(const char *what)
{
	return err_set(ERR_UPSTREAM, "chat: the provider's answer %s", what);
}

static void
take_usage(struct openai_reading *r, const json_t *usage)
{
	int64_t prompt = json_int(usage, "prompt_tokens", 0);
	int64_t completion = json_int(usage, "completion_tokens", 0);

	if (prompt > 0)
		r->completion->prompt_tokens = prompt;
	if (completion > 0)
		r->completion->completion_tokens = completion;
}

/* One chunk, or the whole object: the same but for delta and message. */
static enum err_code
take_object(struct openai_reading *r, const json_t *object)
{
	const json_t *choice, *said;
	const char *text, *refusal, *reason;

	if (!json_is_object(object))
		return broken("is no JSON object");
	take_usage(r, json_object_get(object, "usage"));
	choice = json_array_get(json_object_get(object, "choices"), 0);
	if (json_int(choice, "index", 0) != 0)
		return OK;
	said = json_object_get(
	    choice, r->form == OPENAI_STREAM ? "delta" : "message");
	text = json_str(said, "content");
	refusal = json_str(said, "refusal");
	reason = json_str(choice, "finish_reason");
	if (text != NULL && text[0] != '\0') {
		if (r->first_us == 0)
			r->first_us = clock_mono_us();
		buf_adds(&r->completion->text, text);
	}
	r->refused |= refusal != NULL && refusal[0] != '\0';
	if (reason != NULL)
		str_copy(r->completion->finish_reason,
		    sizeof(r->completion->finish_reason), reason);
	return OK;
}

static enum err_code
take_json(struct openai_reading *r, const char *data, size_t len)
{
	json_auto json_t *object = NULL;
	const json_t *error;

	if (json_parse(data, len, &object) != OK)
		return broken("is no JSON");
	error = json_object_get(object, "error");
	if (error != NULL && !json_is_null(error))
		return model__provider_error(
		    r->provider, r->model, 200, data, len);
	return take_object(r, object);
}

static enum err_code
on_event(void *arg, const char *name, const char *data, size_t len)
{
	struct openai_reading *r = arg;

	if (strcmp(name, "message") != 0 && strcmp(name, "error") != 0)
		return OK;
	if (strcmp(data, "[DONE]") == 0)
		return OK;
	TRY(take_json(r, data, len));
	if (r->completion->text.full)
		return err_set(ERR_TOO_LARGE,
		    "chat: the answer is over %zu bytes",
		    r->completion->text.max);
	return OK;
}

void
model__openai_init(struct openai_reading *r, const struct provider *provider,
    const char *model, struct model_completion *completion)
{
	*r = (struct openai_reading){
		.provider = provider, .model = model, .completion = completion
	};
	sse_init(&r->sse, EVENT_MAX, on_event, r);
	buf_init(&r->whole, WHOLE_MAX);
}

void
model__openai_done(struct openai_reading *r)
{
	sse_done(&r->sse);
	buf_done(&r->whole);
}

enum err_code
model__openai_data(void *arg, const char *data, size_t len)
{
	struct openai_reading *r = arg;

	/* No field of an event stream begins with a brace. */
	while (r->form == OPENAI_UNSEEN && len > 0 &&
	       (data[0] == ' ' || data[0] == '\n' || data[0] == '\r')) {
		data++;
		len--;
	}
	if (len == 0)
		return OK;
	if (r->form == OPENAI_UNSEEN)
		r->form = data[0] == '{' ? OPENAI_WHOLE : OPENAI_STREAM;
	if (r->form == OPENAI_STREAM)
		return sse_feed(&r->sse, data, len);
	buf_add(&r->whole, data, len);
	return r->whole.full
		   ? err_set(ERR_TOO_LARGE,
			 "chat: the answer is over %zu bytes", WHOLE_MAX)
		   : OK;
}

void
model__openai_restart(void *arg)
{
	struct openai_reading *r = arg;

	sse_clear(&r->sse);
	buf_clear(&r->whole);
	buf_clear(&r->completion->text);
	r->completion->finish_reason[0] = '\0';
	r->completion->prompt_tokens = r->completion->completion_tokens = 0;
	r->form = OPENAI_UNSEEN;
	r->refused = false;
}

bool
model__openai_taken(void *arg)
{
	return ((struct openai_reading *)arg)->first_us > 0;
}

enum err_code
model__openai_end(struct openai_reading *r)
{
	if (r->form == OPENAI_WHOLE)
		TRY(take_json(r, buf_str(&r->whole), r->whole.len));
	if (r->refused)
		return err_set(ERR_BLOCKED, "chat: the model refused");
	if (r->completion->finish_reason[0] == '\0')
		return broken("ended in the middle");
	if (strcmp(r->completion->finish_reason, "length") == 0 &&
	    r->completion->text.len == 0)
		return err_set(ERR_UPSTREAM,
		    "chat: model \"%s\" used up its tokens before its first "
		    "word: raise XIN_MODEL_MAX_TOKENS",
		    r->model);
	if (strcmp(r->completion->finish_reason, "content_filter") == 0)
		return err_set(ERR_BLOCKED,
		    "chat: the provider's content filter ended the answer");
	return OK;
}
