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
 * "I don't know" below a confidence floor. An http(s) URL is the base of an
 * OpenAI-compatible service (XIN_MODEL_URL, _KEY, _NAME). All functions but
 * open and close WAIT; a model serves every loop.
 *
 * Errors of a service: ERR_UPSTREAM (refused, unknown model, wrong key, broken
 * answer), ERR_UNAVAILABLE, ERR_OVERLOADED, ERR_TOO_LARGE (the model's
 * context), ERR_BLOCKED (its content filter), ERR_DEADLINE.
 */
struct model;
enum err_code model_open(const char *url, struct model **model_out);
void model_close(struct model *model);
const char *model_name(const struct model *model);
/* Whether a request needs its terms; counting them costs a search. */
bool model_needs_terms(const struct model *model);
/* Whether the last call came through, as far as the model is to blame; true
 * before the first. Asking a model costs money, so nobody asks for this alone.
 */
bool model_is_up(const struct model *model);
struct checkup;
/* A service is asked for one word. WAITS. */
enum err_code model_checkup(struct model *model, struct checkup *checkup);

/* One retrieved chunk, best first. `coverage` as in struct search_hit. */
struct model_passage {
	const char *title;
	const char *text;
	size_t len;
	double score; /* BM25: by words, even when vectors ordered them */
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
	/* 0..1; negative = the default. Of the extractive answerer. */
	double confidence_floor;
	const char *no_answer; /* what to say below it */
	int max_sentences;
	int64_t max_tokens; /* 0 = XIN_MODEL_MAX_TOKENS */
	double temperature; /* below 0 = the provider's */
};
/*
 * A reply is backed by its passages or not given: without passages, below the
 * floor, when the model says that they do not hold the answer, or when nothing
 * of what it says stands in them, `answered` is false and the text is
 * `no_answer`. A model's marks "[n]" are kept, numbered anew in the order of
 * `cited`: "[1]" is cited[0].
 */
struct model_reply {
	struct buf text;
	bool answered;
	double confidence; /* of a service's model: share backed by `cited` */
	char model[64];    /* who answered */
	/* Indices into passages, in order of use. */
	size_t cited[16];
	size_t cited_count;
	int64_t prompt_tokens, completion_tokens;
	char finish_reason[16];
	uint64_t waited_us; /* for a service; 0 = computed here */
};
enum err_code model_answer(struct model *model,
    const struct model_request *request, uint64_t deadline_ms,
    struct model_reply *reply_out);
void model_reply_done(struct model_reply *reply);

/* A conversation with the model as it is: no passages, no marks.
 * ERR_UNAVAILABLE from the extractive answerer, which holds none. */
struct model_chat {
	const char *model;      /* NULL = default */
	const json_t *messages; /* array of {role, content} */
	int64_t max_tokens;     /* 0 = XIN_MODEL_MAX_TOKENS */
	double temperature;     /* below 0 = the provider's */
	bool stream;            /* see it stall, not only be late */
};
struct model_completion {
	struct buf text;
	char model[64];
	char finish_reason[16]; /* "stop", "length", ... */
	int64_t prompt_tokens, completion_tokens;
	uint64_t waited_us;
};
enum err_code model_chat(struct model *model, const struct model_chat *chat,
    uint64_t deadline_ms, struct model_completion *completion_out);
void model_completion_done(struct model_completion *completion);

#endif
