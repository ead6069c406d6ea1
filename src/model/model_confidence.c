/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Confidence: a small logistic model over features that can be explained, whose
 * weights were fitted on half of the questions of public sets and reported on
 * the other half (docs/design/0002-ranking-and-no-answer.md has the recipe).
 */
#include <math.h>
#include <string.h>

#include "model/model_extract.h"

#define MARGIN_ENOUGH 0.5
#define FEW_TERMS     ((size_t)4) /* short questions are not punished more */

/* In the order of model__features; the bias last. */
static const double weights[MODEL_FEATURES + 1] = {
	0.989,  /* first passage's share of the question */
	-0.215, /* best sentence's share */
	0.529,  /* share of the best sentence with its neighbours */
	0.311,  /* the rarest missing term */
	-0.122, /* a number of the question is missing */
	4.178,  /* the first passage's lead over the second */
	0.184,  /* score for each unit of question */
	-2.558, /* terms that only other passages have */
	-4.187, /* few terms */
	-0.95,
};
/* One sentence that has every informative term answers, however close the
 * second passage is. */
#define COMPLETE            0.99
#define COMPLETE_CONFIDENCE 0.6

/* The best window of a sentence and its neighbours, over the leading passage.
 */
static void
windows(const struct model_reading *r, double *sentence_out, double *window_out,
    bool *digits_out)
{
	double best = 0, wide = 0;
	bool digits = false;

	for (size_t i = 0; i < r->sentence_count; i++) {
		const struct model_sentence *s = &r->sentences[i];
		uint64_t around = s->terms;
		double w = model__weight(r, s->terms);

		if (s->passage != r->lead)
			continue;
		if (i > 0 && s[-1].passage == s->passage)
			around |= s[-1].terms;
		if (i + 1 < r->sentence_count && s[1].passage == s->passage)
			around |= s[1].terms;
		if (w > best) {
			best = w;
			digits = s->digits;
		}
		if (model__weight(r, around) > wide)
			wide = model__weight(r, around);
	}
	*sentence_out = best;
	*window_out = wide;
	*digits_out = digits;
}

/* The rarest missing term and the missing numbers. */
static void
missing(const struct model_reading *r, double *rarest_out, double *numbers_out)
{
	double rarest = 0, top = 0;
	bool numbers = false;

	for (size_t i = 0; i < r->term_count; i++) {
		bool found = r->passage_terms[r->lead] >> i & 1;

		if (r->idf[i] > top)
			top = r->idf[i];
		if (!found && r->idf[i] > rarest)
			rarest = r->idf[i];
		if (!found && r->numeric[i])
			numbers = true;
	}
	*rarest_out = top > 0 ? rarest / top : 0;
	*numbers_out = numbers;
}

void
model__features(const struct model_request *request,
    const struct model_reading *r, double f[MODEL_FEATURES])
{
	double first = request->passages[r->lead].score, second = 0;
	uint64_t anywhere = 0;
	bool digits;

	for (size_t i = 0; i < r->passage_count; i++) {
		anywhere |= r->passage_terms[i];
		if (i != r->lead && request->passages[i].score > second)
			second = request->passages[i].score;
	}
	f[0] = model__weight(r, r->passage_terms[r->lead]);
	windows(r, &f[1], &f[2], &digits);
	missing(r, &f[3], &f[4]);
	f[5] = first > 0 ? 1 - second / first : 0;
	if (f[5] > MARGIN_ENOUGH)
		f[5] = MARGIN_ENOUGH;
	f[6] = r->total > 0 ? first / r->total : 0;
	f[7] = model__weight(r, anywhere) - f[0];
	f[8] = 1.0 /
	       (double)(r->term_count > FEW_TERMS ? r->term_count : FEW_TERMS);
}

double
model__confidence(const double f[MODEL_FEATURES])
{
	double sum = weights[MODEL_FEATURES], confidence;

	for (size_t i = 0; i < MODEL_FEATURES; i++)
		sum += weights[i] * f[i];
	confidence = 1 / (1 + exp(-sum));
	if (f[1] >= COMPLETE && confidence < COMPLETE_CONFIDENCE)
		return COMPLETE_CONFIDENCE;
	return confidence;
}
