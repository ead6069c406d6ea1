/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SEARCH_SEARCH_H
#define XIN_SEARCH_SEARCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/ident.h"

/*
 * Search over chunks. `url`: "" or "sqlite:" is the embedded one in `db`,
 * http(s)://host:port is Qdrant (1.12 or newer; `db` may be NULL). Chunks of a
 * version are put aside first; a search sees only chunks whose version is its
 * source's live version (the store row is the switch), so nobody sees half a
 * document. Ranking: Lucene's BM25 (k1 1.2, b 0.75, idf counted for the brand's
 * live chunks) over text_tokens of title and text; the title counts twice, the
 * heading once. Equal scores stand by source id, then number. All functions
 * WAIT.
 */
struct search;
struct sqlite;
enum err_code search_open(
    const char *url, struct sqlite *db, struct search **search_out);
void search_close(struct search *search);

/*
 * What a back end that does not share the store's database (Qdrant) asks about
 * sources: the store row is the switch. Search stands on the store's floor, so
 * the two are wired from above (domain/live.h). The callbacks WAIT; `arg` must
 * outlive `search`. Copied; set before the first call. The embedded back end
 * reads the rows itself and needs none of it.
 */
struct search_live {
	void *arg;
	/* The live version of each source, 0 = none or no such source. */
	enum err_code (*versions)(void *arg, const char *brand,
	    const char *const *ids, size_t count, int64_t *versions_out);
	/* Metadata (JSON object text) and URL of a source, for chunks that have
	 * none; NULL = none. mem_free. ERR_NOT_FOUND. */
	enum err_code (*describe)(void *arg, const char *brand, const char *id,
	    char **metadata_out, char **source_url_out);
};
void search_set_live(struct search *search, const struct search_live *live);

struct checkup;
/* WAITS. */
enum err_code search_checkup(struct search *search, struct checkup *checkup);

struct chunk {
	int64_t number; /* from 0 */
	const char *text;
	size_t len;
	int64_t start, end;   /* character positions in the extracted text */
	const char *heading;  /* "" when none: "Install > Linux" */
	const char *metadata; /* JSON object text or NULL */
	const float *vector;  /* the embedding, or NULL; borrowed */
	size_t dimensions;    /* of `vector` */
};
/* Put (replace) chunks of one version, aside. Idempotent by (source, version,
 * number). */
enum err_code search_put(struct search *search, const char *brand,
    const char *source_id, int64_t version, const char *title,
    const struct chunk *chunks, size_t count);
/* Drop every version of the source but `keep` (0 = all). */
enum err_code search_drop(struct search *search, const char *brand,
    const char *source_id, int64_t keep);

struct search_hit {
	char source_id[IDENT_SIZE];
	int64_t version, number;
	double score;   /* what the hits are ordered by */
	double lexical; /* BM25; the same as score without a vector */
	/* Of the query's distinct informative terms, the share found in this
	 * chunk, weighted by idf: 0..1. For the no-answer policy. */
	double coverage;
	char *title, *text, *heading, *metadata, *source_url;
	int64_t start, end;
};
struct search_hits {
	struct search_hit *items;
	size_t count;
};
/* What is asked. With a vector, the lexical and the nearest chunks are fused by
 * reciprocal rank (k = 60); without one the ranking is lexical alone, and with
 * a vector and no words the nearest chunks are the answer. */
struct search_ask {
	const char *brand;
	const char *query;
	size_t query_len;
	int top_k;            /* 1..200 */
	const json_t *filter; /* object of metadata equality, NULL = none */
	const float *vector;  /* the question's embedding, or NULL */
	size_t dimensions;
};
enum err_code search_find(struct search *search, const struct search_ask *ask,
    struct search_hits *hits_out);
void search_hits_done(struct search_hits *hits);
/* Idf of each token of a text for the brand (Lucene's formula), for the
 * extractive answerer. `idf_out` gets one value for each token in `tokens`. */
enum err_code search_idf(struct search *search, const char *brand,
    const char *const *tokens, size_t count, double *idf_out);

#endif
