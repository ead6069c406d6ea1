/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MODEL_OPENAI_READING_H
#define XIN_MODEL_OPENAI_READING_H

#include <stdint.h>
#include "model/model.h"
#include "model/provider.h"
#include "net/sse.h"

/*
 * The answer of chat/completions as it comes, in pieces cut anywhere: a stream
 * of chunks up to "[DONE]", or one object. An `error` member, a chunk that is
 * no JSON, or an end without a finish_reason is ERR_UPSTREAM. Texts of other
 * choices than the first and tool calls are ignored.
 */
struct openai_reading {
	const struct provider *provider;
	const char *model;
	struct model_completion *completion; /* borrowed, filled */
	struct sse sse;
	struct buf whole; /* an answer that is one object */
	enum { OPENAI_UNSEEN, OPENAI_STREAM, OPENAI_WHOLE } form;
	bool refused;      /* the model's own refusal */
	uint64_t first_us; /* monotonic time of the first text; 0 = none yet */
};
void model__openai_init(struct openai_reading *reading,
    const struct provider *provider, const char *model,
    struct model_completion *completion);
void model__openai_done(struct openai_reading *reading);
/* The callbacks of struct provider_call; `arg` is the reading. */
enum err_code model__openai_data(void *arg, const char *data, size_t len);
void model__openai_restart(void *arg);
bool model__openai_taken(void *arg);
/* After the last piece. ERR_UPSTREAM, ERR_BLOCKED. */
enum err_code model__openai_end(struct openai_reading *reading);

#endif
