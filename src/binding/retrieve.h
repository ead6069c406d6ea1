/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BINDING_RETRIEVE_H
#define XIN_BINDING_RETRIEVE_H

#include <stdbool.h>
#include "base/error.h"
#include "search/search.h"

/*
 * From a question to passages: the one way for turns, scripts and the API, on
 * this floor because search and model may not know each other.
 *
 * Hybrid asks for the question's embedding where there is an embedder; when it
 * cannot be had (embed_question) the search is lexical and `degraded`, which is
 * no error. Vector alone needs it.
 */

struct embedder;
enum retrieve_mode { RETRIEVE_HYBRID, RETRIEVE_KEYWORD, RETRIEVE_VECTOR };
/* "hybrid", "keyword", "vector"; NULL is hybrid. */
enum err_code retrieve_mode_parse(
    const char *name, enum retrieve_mode *mode_out);

struct retrieval {
	const char *mode;   /* how it was searched: "keyword", "hybrid" ... */
	bool degraded;      /* an embedding was wanted and not had */
	enum err_code why;  /* then */
	uint64_t waited_us; /* for the embedding */
};
/* `ask` without its vector, which is filled in here. WAITS. */
enum err_code retrieve_find(struct search *search, struct embedder *embedder,
    enum retrieve_mode mode, const struct search_ask *ask,
    struct search_hits *hits_out, struct retrieval *how_out);

#endif
