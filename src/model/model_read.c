/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: which of the question's informative terms stand in each sentence of
 * each passage, and what that sentence is worth: the matched terms' share of
 * the question (by idf), a little of its neighbours' and of its passage's.
 */
#include <string.h>

#include "base/mem.h"
#include "model/model_extract.h"
#include "text/text.h"

/* With a handful of chunks the idf of a term that is found is near zero and
 * that of one that is not is large; the damping keeps found terms worth
 * something and hardly changes anything among thousands of chunks. */
#define DAMPING        1.0
#define NEIGHBOURS     0.3
#define BY_PASSAGE     0.5
#define FIRST_SENTENCE 0.05

static void
add_informative(
    struct model_reading *r, const char *token, size_t len, double idf)
{
	if (r->term_count == MODEL_TERMS_MAX || text_is_stop(token, len))
		return;
	for (size_t i = 0; i < r->term_count; i++)
		if (strcmp(r->tokens[i], token) == 0)
			return;
	r->numeric[r->term_count] = token[0] >= '0' && token[0] <= '9';
	idf += DAMPING;
	r->idf[r->term_count] = idf;
	r->tokens[r->term_count++] = mem_strndup(token, len);
	r->total += idf;
}

static bool
add_unweighted(void *arg, const struct text_token *token)
{
	add_informative(arg, token->text, token->len, 1.0);
	return true;
}

static void
read_question(const struct model_request *request, struct model_reading *r)
{
	for (size_t i = 0; i < request->term_count; i++)
		add_informative(r, request->terms[i].token,
		    strlen(request->terms[i].token), request->terms[i].idf);
	if (request->term_count == 0)
		text_tokens(request->question, strlen(request->question),
		    add_unweighted, r);
}

struct marking {
	const struct model_reading *reading;
	uint64_t terms;
	bool digits; /* a number that the question does not have */
};

static bool
mark(void *arg, const struct text_token *token)
{
	struct marking *m = arg;

	for (size_t i = 0; i < m->reading->term_count; i++) {
		if (strcmp(m->reading->tokens[i], token->text) == 0) {
			m->terms |= UINT64_C(1) << i;
			return true;
		}
	}
	if (token->text[0] >= '0' && token->text[0] <= '9')
		m->digits = true;
	return true;
}

struct splitting {
	struct model_reading *reading;
	const char *text;
	size_t passage;
};

static bool
take_sentence(void *arg, size_t start, size_t end)
{
	struct splitting *split = arg;
	struct model_reading *r = split->reading;
	struct marking m = { r, 0, false };

	text_tokens(split->text + start, end - start, mark, &m);
	r->passage_terms[split->passage] |= m.terms;
	r->sentences[r->sentence_count++] =
	    (struct model_sentence){ split->passage, start, end, m.terms,
		    m.digits, 0 };
	return r->sentence_count < MODEL_SENTENCES_MAX;
}

double
model__weight(const struct model_reading *r, uint64_t terms)
{
	double sum = 0;

	for (size_t i = 0; i < r->term_count; i++)
		if (terms >> i & 1)
			sum += r->idf[i];
	return r->total > 0 ? sum / r->total : 0;
}

static void
score_sentences(const struct model_request *request, struct model_reading *r)
{
	double best =
	    request->passage_count > 0 ? request->passages[r->lead].score : 0;

	for (size_t i = 0; i < r->sentence_count; i++) {
		struct model_sentence *s = &r->sentences[i];
		double around = 0, of_passage = 1;

		if (i > 0 && s[-1].passage == s->passage)
			around += model__weight(r, s[-1].terms & ~s->terms);
		if (i + 1 < r->sentence_count && s[1].passage == s->passage)
			around += model__weight(r, s[1].terms & ~s->terms);
		if (best > 0)
			of_passage = request->passages[s->passage].score / best;
		s->score = model__weight(r, s->terms) + NEIGHBOURS * around;
		s->score *= 1 - BY_PASSAGE + BY_PASSAGE * of_passage;
		if (s->start == 0)
			s->score *= 1 + FIRST_SENTENCE;
	}
}

void
model__read(const struct model_request *request, struct model_reading *r)
{
	memset(r, 0, sizeof(*r));
	read_question(request, r);
	r->sentences = mem_alloc(MODEL_SENTENCES_MAX * sizeof(*r->sentences));
	r->passage_count = request->passage_count < MODEL_PASSAGES_MAX
			       ? request->passage_count
			       : MODEL_PASSAGES_MAX;
	for (size_t i = 0; i < r->passage_count; i++) {
		const struct model_passage *p = &request->passages[i];

		if (p->score > request->passages[r->lead].score)
			r->lead = i;
	}
	for (size_t i = 0; i < r->passage_count; i++) {
		const struct model_passage *p = &request->passages[i];
		struct splitting split = { r, p->text, i };
		struct marking title = { r, 0, false };

		if (r->sentence_count < MODEL_SENTENCES_MAX)
			text_sentences(p->text, p->len, take_sentence, &split);
		if (p->title != NULL)
			text_tokens(p->title, strlen(p->title), mark, &title);
		r->passage_terms[i] |= title.terms;
	}
	score_sentences(request, r);
}

void
model__reading_done(struct model_reading *r)
{
	for (size_t i = 0; i < r->term_count; i++)
		mem_free(r->tokens[i]);
	mem_free(r->sentences);
}
