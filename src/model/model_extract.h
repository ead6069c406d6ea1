/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MODEL_MODEL_EXTRACT_H
#define XIN_MODEL_MODEL_EXTRACT_H

#include "model/model.h"

/*
 * Inside of the extractive answerer, for its files and for the bench that fits
 * the weights (docs/design/0002-ranking-and-no-answer.md).
 */
#define MODEL_TERMS_MAX     64
#define MODEL_PASSAGES_MAX  8
#define MODEL_SENTENCES_MAX 400

struct model_sentence {
	size_t passage;
	size_t start, end; /* bytes in the passage's text */
	uint64_t terms;    /* bit i = term i stands in it */
	bool digits;
	double score;
};

/* The question against the passages. */
struct model_reading {
	/* Informative terms: distinct, without stop words. */
	char *tokens[MODEL_TERMS_MAX];
	double idf[MODEL_TERMS_MAX];
	bool numeric[MODEL_TERMS_MAX];
	size_t term_count;
	double total; /* sum of idf */

	uint64_t passage_terms[MODEL_PASSAGES_MAX]; /* with the title's */
	size_t passage_count;
	size_t lead; /* the passage with the best score */
	struct model_sentence *sentences;
	size_t sentence_count;
};
void model__read(
    const struct model_request *request, struct model_reading *reading_out);
void model__reading_done(struct model_reading *reading);
double model__weight(const struct model_reading *reading, uint64_t terms);

/* What the confidence is computed from; all 0..1 or nearly. */
#define MODEL_FEATURES 9
void model__features(const struct model_request *request,
    const struct model_reading *reading, double features_out[MODEL_FEATURES]);
double model__confidence(const double features[MODEL_FEATURES]);

#endif
