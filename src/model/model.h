/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MODEL_MODEL_H
#define XIN_MODEL_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/*
 * The model front. The embedded back end is an extractive answerer: the best
 * sentences of the retrieved chunks, each with its citation, and an honest
 * "I don't know" below a confidence floor. All functions WAIT.
 */
struct model;
enum err_code model_open(const char *url, struct model **model_out);
void model_close(struct model *model);
const char *model_name(const struct model *model);

/* One retrieved chunk, best first. `coverage` as in struct search_hit. */
struct model_passage {
	const char *title;
	const char *text;
	size_t len;
	double score;
	double coverage;
};
/* The question's tokens (text_tokens) with their idf for the brand. */
struct model_term {
	const char *token;
	double idf;
};

struct model_request {
	const char *model;     /* asked by the brand, NULL = default */
	const char *system;    /* prompt made by the brand's script */
	const json_t *history; /* array of {role, text} */
	const char *question;
	const struct model_passage *passages;
	size_t passage_count;
	const struct model_term *terms;
	size_t term_count;
	double confidence_floor; /* 0..1; negative = the default */
	const char *no_answer;   /* what to say below it */
	int max_sentences;
};
struct model_reply {
	struct buf text;
	bool answered; /* false = below the floor */
	double confidence;
	/* Indices into passages, in order of use. */
	size_t cited[16];
	size_t cited_count;
	int64_t prompt_tokens, completion_tokens;
	char finish_reason[16];
};
enum err_code model_answer(struct model *model,
    const struct model_request *request, uint64_t deadline_ms,
    struct model_reply *reply_out);
void model_reply_done(struct model_reply *reply);

#endif
