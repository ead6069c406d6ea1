/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The extractive answerer: read the passages (model_read.c), be confident or
 * decline (model_confidence.c), choose the best sentences and say them in the
 * passages' order, each passage cited. Pure computation: equal requests give
 * equal answers.
 */
#include <stdlib.h>
#include <string.h>

#include "base/checkup.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/model_backend.h"
#include "model/model_extract.h"
#include "text/text.h"

#define SENTENCES_DEFAULT 3
#define SENTENCES_MAX     8
#define SENTENCE_LENGTH   600 /* code points; longer ones are cut */
#define FLOOR_DEFAULT     0.48
#define REDUNDANT         0.6
#define WORTH             0.6 /* of the best sentence's score */

static int
by_score(const void *a, const void *b)
{
	const struct model_sentence *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	if (x->passage != y->passage)
		return x->passage < y->passage ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

static int
by_place(const void *a, const void *b)
{
	const struct model_sentence *x = a, *y = b;

	if (x->passage != y->passage)
		return x->passage < y->passage ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

static bool
is_redundant(const struct model_request *request,
    const struct model_sentence *chosen, size_t count,
    const struct model_sentence *s)
{
	const char *text = request->passages[s->passage].text + s->start;

	for (size_t i = 0; i < count; i++) {
		const char *other =
		    request->passages[chosen[i].passage].text + chosen[i].start;

		if (text_similarity(text, s->end - s->start, other,
			chosen[i].end - chosen[i].start) > REDUNDANT)
			return true;
	}
	return false;
}

static size_t
choose(const struct model_request *request, struct model_reading *reading,
    struct model_sentence chosen[SENTENCES_MAX])
{
	size_t max = request->max_sentences > 0 ? (size_t)request->max_sentences
						: SENTENCES_DEFAULT;
	size_t count = 0;

	if (max > SENTENCES_MAX)
		max = SENTENCES_MAX;
	qsort(reading->sentences, reading->sentence_count,
	    sizeof(*reading->sentences), by_score);
	for (size_t i = 0; i < reading->sentence_count && count < max; i++) {
		const struct model_sentence *s = &reading->sentences[i];

		if (s->terms == 0 ||
		    s->score < WORTH * reading->sentences[0].score)
			continue;
		if (!is_redundant(request, chosen, count, s))
			chosen[count++] = *s;
	}
	if (count > 1)
		qsort(chosen, count, sizeof(*chosen), by_place);
	return count;
}

static void
cite(struct model_reply *reply, size_t passage)
{
	for (size_t i = 0; i < reply->cited_count; i++)
		if (reply->cited[i] == passage)
			return;
	reply->cited[reply->cited_count++] = passage;
}

static void
say(const struct model_request *request, const struct model_sentence *chosen,
    size_t count, struct model_reply *reply)
{
	for (size_t i = 0; i < count; i++) {
		const struct model_sentence *s = &chosen[i];
		const char *text =
		    request->passages[s->passage].text + s->start;
		size_t len = s->end - s->start;
		size_t cut = text_offset(text, len, SENTENCE_LENGTH);

		if (i > 0)
			buf_addc(&reply->text, ' ');
		buf_add(&reply->text, text, cut);
		if (cut < len)
			buf_adds(&reply->text, "\xE2\x80\xA6");
		cite(reply, s->passage);
	}
}

static enum err_code
extractive_answer(struct model *model, const struct model_request *request,
    uint64_t deadline_ms, struct model_reply *reply)
{
	struct model_sentence chosen[SENTENCES_MAX];
	double features[MODEL_FEATURES];
	double floor = request->confidence_floor < 0
			   ? FLOOR_DEFAULT
			   : request->confidence_floor;
	struct model_reading reading;
	size_t count = 0;

	(void)model;
	(void)deadline_ms; /* bounded by the passages' sizes */
	model__read(request, &reading);
	if (reading.sentence_count > 0 && reading.term_count > 0) {
		model__features(request, &reading, features);
		reply->confidence = model__confidence(features);
	}
	if (reply->confidence > 0 && reply->confidence >= floor)
		count = choose(request, &reading, chosen);
	reply->answered = count > 0;
	if (reply->answered)
		say(request, chosen, count, reply);
	else if (request->no_answer != NULL)
		buf_adds(&reply->text, request->no_answer);
	model__reading_done(&reading);
	str_copy(reply->finish_reason, sizeof(reply->finish_reason), "stop");
	return OK;
}

static enum err_code
extractive_chat(struct model *model, const struct model_chat *chat,
    uint64_t deadline_ms, struct model_completion *completion)
{
	(void)model;
	(void)chat;
	(void)deadline_ms;
	(void)completion;
	return err_set(ERR_UNAVAILABLE,
	    "the extractive answerer holds no conversations: set "
	    "XIN_MODEL_URL");
}

static void
extractive_close(struct model *model)
{
	mem_free(model);
}

static enum err_code
extractive_checkup(struct model *model, struct checkup *checkup)
{
	(void)model;
	str_copy(checkup->facts, sizeof(checkup->facts),
	    "embedded extractive answerer");
	return OK;
}

static const struct model_ops extractive_ops = {
	.name = "extractive",
	.terms = true,
	.answer = extractive_answer,
	.checkup = extractive_checkup,
	.chat = extractive_chat,
	.close = extractive_close,
};

enum err_code
model_extractive_open(struct model **model_out)
{
	struct model *model = mem_zero(sizeof(*model));

	model->ops = &extractive_ops;
	*model_out = model;
	return OK;
}
