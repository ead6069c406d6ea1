/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The extractive answerer: the sentences of the retrieved passages that say
 * most of what the question asks, each with its passage. A sentence is worth
 * the idf of the question's terms in it, dampened by its length, and lifted by
 * its passage's rank. Below the confidence floor it says that it does not know.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "model/model_backend.h"
#include "text/text.h"

#define SENTENCES_MAX      512
#define TERMS_MAX          64
#define PICKED_MAX         8
#define SENTENCES_DEFAULT  3
#define FLOOR_DEFAULT      0.45
#define PASSAGES_READ      6
#define SAME_SIMILARITY    0.8
#define SENTENCE_BYTES_MAX ((size_t)700)

struct sentence {
	size_t passage;
	size_t start, end;
	uint64_t terms;  /* a bit for each of the question's terms */
	double coverage; /* of the question, by idf: 0..1 */
	double worth;
};

struct answering {
	const struct model_request *request;
	double all_idf;
	struct sentence *list;
	size_t count;
	size_t passage; /* that is being read */
	struct sentence *now;
	size_t tokens;
};

static double
idf_of(const struct answering *a, size_t term)
{
	return a->request->terms[term].idf;
}

static bool
counts(const char *token)
{
	return !text_is_stop(token, strlen(token));
}

static bool
mark_term(void *arg, const struct text_token *token)
{
	struct answering *a = arg;
	size_t count = a->request->term_count;

	a->tokens++;
	for (size_t i = 0; i < count && i < TERMS_MAX; i++)
		if (strcmp(a->request->terms[i].token, token->text) == 0 &&
		    counts(token->text))
			a->now->terms |= UINT64_C(1) << i;
	return true;
}

static double
covered(const struct answering *a, uint64_t terms)
{
	double sum = 0;

	for (size_t i = 0; i < a->request->term_count && i < TERMS_MAX; i++)
		if (terms >> i & 1)
			sum += idf_of(a, i);
	return a->all_idf > 0 ? sum / a->all_idf : 0;
}

static bool
take_sentence(void *arg, size_t start, size_t end)
{
	struct answering *a = arg;
	const struct model_passage *passage = &a->request->passages[a->passage];
	struct sentence *sentence = &a->list[a->count];

	if (end - start > SENTENCE_BYTES_MAX)
		end = start + SENTENCE_BYTES_MAX;
	while (end > start && (passage->text[end] & 0xc0) == 0x80)
		end--; /* not inside a character */
	*sentence = (struct sentence){ a->passage, start, end, 0, 0, 0 };
	a->now = sentence;
	a->tokens = 0;
	text_tokens(passage->text + start, end - start, mark_term, a);
	sentence->coverage = covered(a, sentence->terms);
	if (a->tokens >= 2 && sentence->terms != 0)
		a->count++;
	sentence->worth = sentence->coverage *
			  (1 / (1 + 0.15 * (double)a->passage)) /
			  (1 + 0.004 * (double)a->tokens);
	return a->count < SENTENCES_MAX;
}

static int
by_worth(const void *a, const void *b)
{
	const struct sentence *x = a, *y = b;

	if (x->worth != y->worth)
		return x->worth < y->worth ? 1 : -1;
	if (x->passage != y->passage)
		return x->passage > y->passage ? 1 : -1;
	return (x->start > y->start) - (x->start < y->start);
}

static int
by_place(const void *a, const void *b)
{
	const struct sentence *x = a, *y = b;

	if (x->passage != y->passage)
		return x->passage > y->passage ? 1 : -1;
	return (x->start > y->start) - (x->start < y->start);
}

static const char *
text_of(const struct answering *a, const struct sentence *s)
{
	return a->request->passages[s->passage].text + s->start;
}

static bool
says_the_same(const struct answering *a, const struct sentence *picked,
    size_t count, const struct sentence *s)
{
	for (size_t i = 0; i < count; i++)
		if (text_similarity(text_of(a, &picked[i]),
			picked[i].end - picked[i].start, text_of(a, s),
			s->end - s->start) > SAME_SIMILARITY)
			return true;
	return false;
}

/* The best, and further ones that are close to it and say something else. */
static size_t
pick(struct answering *a, struct sentence *picked)
{
	int max = a->request->max_sentences;
	size_t count = 0;

	if (max < 1 || max > PICKED_MAX)
		max = SENTENCES_DEFAULT;
	qsort(a->list, a->count, sizeof(*a->list), by_worth);
	for (size_t i = 0; i < a->count && count < (size_t)max; i++) {
		if (count > 0 && a->list[i].worth < 0.6 * picked[0].worth)
			break;
		if (!says_the_same(a, picked, count, &a->list[i]))
			picked[count++] = a->list[i];
	}
	qsort(picked, count, sizeof(*picked), by_place);
	return count;
}

static void
cite(struct model_reply *reply, size_t passage)
{
	for (size_t i = 0; i < reply->cited_count; i++)
		if (reply->cited[i] == passage)
			return;
	if (reply->cited_count < sizeof(reply->cited) / sizeof(*reply->cited))
		reply->cited[reply->cited_count++] = passage;
}

static void
write_answer(const struct answering *a, const struct sentence *picked,
    size_t count, size_t best, struct model_reply *reply)
{
	cite(reply, best);
	for (size_t i = 0; i < count; i++) {
		const char *text = text_of(a, &picked[i]);
		size_t len = picked[i].end - picked[i].start;

		while (
		    len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\n'))
			len--;
		if (i > 0)
			buf_addc(&reply->text, ' ');
		for (size_t k = 0; k < len; k++)
			buf_addc(&reply->text, text[k] == '\n' ? ' ' : text[k]);
		cite(reply, picked[i].passage);
	}
}

/* How sure: what the best sentence says of the question, and what its passage
 * says around it. */
static double
confidence_of(const struct answering *a, const struct sentence *best)
{
	double around = a->request->passages[best->passage].coverage;

	return 0.5 * best->coverage + 0.5 * (around < 1 ? around : 1);
}

static enum err_code
extractive_answer(struct model *model, const struct model_request *request,
    uint64_t deadline_ms, struct model_reply *reply)
{
	struct answering a = { .request = request };
	struct sentence picked[PICKED_MAX];
	double floor = request->confidence_floor >= 0
			   ? request->confidence_floor
			   : FLOOR_DEFAULT;
	size_t count;

	(void)model;
	(void)deadline_ms; /* bounded by the passages' sizes */
	a.list = mem_zero((SENTENCES_MAX + 1) * sizeof(*a.list));
	for (size_t i = 0; i < request->term_count && i < TERMS_MAX; i++)
		if (counts(request->terms[i].token))
			a.all_idf += idf_of(&a, i);
	for (; a.passage < request->passage_count && a.passage < PASSAGES_READ;
	     a.passage++)
		text_sentences(request->passages[a.passage].text,
		    request->passages[a.passage].len, take_sentence, &a);
	count = pick(&a, picked);
	if (count > 0)
		reply->confidence = confidence_of(&a, &a.list[0]);
	reply->answered = count > 0 && reply->confidence >= floor;
	if (reply->answered)
		write_answer(&a, picked, count, a.list[0].passage, reply);
	else
		buf_adds(&reply->text, request->no_answer);
	str_copy(reply->finish_reason, sizeof(reply->finish_reason), "stop");
	mem_free(a.list);
	return OK;
}

static void
extractive_close(struct model *model)
{
	mem_free(model);
}

static const struct model_ops extractive_ops = {
	.name = "extractive",
	.answer = extractive_answer,
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
