/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retrieval: the question becomes a vector where an embedding model is there,
 * then the search is asked with words and vector. A search without the vector
 * is worth more than none: a failing embedder is said, and does no other harm.
 */
#include "binding/retrieve.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/embed.h"

enum err_code
retrieve_mode_parse(const char *name, enum retrieve_mode *mode_out)
{
	static const char *const names[] = { "hybrid", "keyword", "vector" };

	*mode_out = RETRIEVE_HYBRID;
	if (name == NULL)
		return OK;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], name) == 0) {
			*mode_out = (enum retrieve_mode)i;
			return OK;
		}
	}
	return err_set(ERR_INVALID,
	    "mode \"%s\" is not known; there are hybrid, keyword and vector",
	    name);
}

static bool
is_blank(const struct search_ask *ask)
{
	return strspn(ask->query, " \t\r\n") >= ask->query_len;
}

enum err_code
retrieve_find(struct search *search, struct embedder *embedder,
    enum retrieve_mode mode, const struct search_ask *asked,
    struct search_hits *hits_out, struct retrieval *how_out)
{
	struct search_ask ask = *asked;
	struct retrieval how = { .mode = "keyword" };
	uint64_t began = clock_mono_us();
	float *vector = NULL;
	enum err_code rc = OK;

	if (mode == RETRIEVE_VECTOR && embedder == NULL)
		return err_set(ERR_INVALID,
		    "mode 'vector' needs an embedding model "
		    "(XIN_EMBEDDINGS_URL); hybrid and keyword work without");
	if (mode != RETRIEVE_KEYWORD && embedder != NULL && !is_blank(&ask)) {
		vector =
		    mem_alloc(embed_dimensions(embedder) * sizeof(*vector));
		rc = embed_question(embedder, ask.query, ask.query_len, vector);
		ask.vector = rc == OK ? vector : NULL;
		ask.dimensions = embed_dimensions(embedder);
		how.mode = "hybrid";
		how.waited_us = clock_mono_us() - began;
	}
	if (rc != OK && rc != ERR_CANCELLED && mode == RETRIEVE_HYBRID) {
		log_warn("retrieval.degraded",
		    kv_str("error_code", err_name(rc)),
		    kv_error("error", err_message()));
		how.mode = "keyword";
		how.degraded = true;
		how.why = rc;
		rc = OK;
	}
	if (mode == RETRIEVE_VECTOR) {
		how.mode = "vector";
		ask.query_len = 0; /* no words: the vector alone ranks */
	}
	if (rc == OK)
		rc = search_find(search, &ask, hits_out);
	if (rc == OK)
		*how_out = how;
	mem_free(vector);
	return rc;
}
