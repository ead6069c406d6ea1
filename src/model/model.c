/* SPDX-License-Identifier: Apache-2.0 */
/* The front of models: the URL chooses, usage is counted. */
#include "model/model.h"

#include <string.h>

#include "base/mem.h"
#include "model/model_backend.h"
#include "text/text.h"

#define REPLY_MAX ((size_t)256 << 10)

enum err_code
model_open(const char *url, struct model **model_out)
{
	if (url[0] == '\0')
		return model_extractive_open(model_out);
	return err_set(ERR_CONFIG,
	    "XIN_MODEL_URL is \"%s\"; this version knows the embedded answerer",
	    url);
}

void
model_close(struct model *model)
{
	if (model != NULL)
		model->ops->close(model);
}

const char *
model_name(const struct model *model)
{
	return model->ops->name;
}

static bool
count_token(void *arg, const struct text_token *token)
{
	(void)token;
	(*(int64_t *)arg)++;
	return true;
}

enum err_code
model_answer(struct model *model, const struct model_request *request,
    uint64_t deadline_ms, struct model_reply *reply_out)
{
	struct model_reply reply = { 0 };
	enum err_code rc;

	buf_init(&reply.text, REPLY_MAX);
	rc = model->ops->answer(model, request, deadline_ms, &reply);
	if (rc == OK && reply.text.full)
		rc = err_set(
		    ERR_TOO_LARGE, "the answer is over %zu bytes", REPLY_MAX);
	if (rc != OK) {
		model_reply_done(&reply);
		return rc;
	}
	text_tokens(request->question, strlen(request->question), count_token,
	    &reply.prompt_tokens);
	for (size_t i = 0; i < request->passage_count; i++)
		text_tokens(request->passages[i].text, request->passages[i].len,
		    count_token, &reply.prompt_tokens);
	text_tokens(buf_str(&reply.text), reply.text.len, count_token,
	    &reply.completion_tokens);
	*reply_out = reply;
	return OK;
}

void
model_reply_done(struct model_reply *reply)
{
	buf_done(&reply->text);
}
