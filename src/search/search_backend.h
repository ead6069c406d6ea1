/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SEARCH_SEARCH_BACKEND_H
#define XIN_SEARCH_SEARCH_BACKEND_H

#include "base/buf.h"
#include "search/search.h"

/*
 * For those who implement a back end. The front (search.c) has checked the
 * arguments and split the query into distinct tokens; the back end gives the
 * exact score of search.h from its postings.
 */
#define SEARCH_TERMS_MAX 64
/* Depth of the lexical and of the nearest list that are fused. */
#define SEARCH_CANDIDATES 200

struct search_query {
	const char *brand;
	const char *terms[SEARCH_TERMS_MAX];
	size_t count;
	int top_k;
	const json_t *filter; /* object or NULL */
	const float *vector;  /* or NULL */
	size_t dimensions;
};

struct search_ops {
	const char *name;
	enum err_code (*put)(struct search *search, const char *brand,
	    const char *source_id, int64_t version, const char *title,
	    const struct chunk *chunks, size_t count);
	enum err_code (*drop)(struct search *search, const char *brand,
	    const char *source_id, int64_t keep);
	/* With a vector the query may have no terms. */
	enum err_code (*find)(struct search *search,
	    const struct search_query *query, struct search_hits *hits_out);
	enum err_code (*idf)(struct search *search, const char *brand,
	    const char *const *terms, size_t count, double *idf_out);
	enum err_code (*checkup)(
	    struct search *search, struct checkup *checkup);
	void (*close)(struct search *search);
};

struct search {
	const struct search_ops *ops;
	struct search_live live; /* zeros with the embedded one */
};

enum err_code search_sqlite_open(struct sqlite *db, struct search **search_out);
enum err_code search_qdrant_open(const char *url, struct search **search_out);

/* The distinct tokens of a chunk in the order of their bytes, and how often
 * each counts: in title (NULL = none; each of its tokens counts twice), heading
 * and text. Pure, no waiting: may run on any thread. */
struct search_word {
	const char *token; /* NUL-terminated, in `text` */
	size_t at, len;
	uint32_t count;
};
struct search_words {
	struct search_word *items;
	size_t count;
	uint32_t length; /* the sum of counts: BM25's length */
	struct buf text;
};
void search_words_of(
    const char *title, const struct chunk *chunk, struct search_words *out);
void search_words_done(struct search_words *words);

/* Lucene's idf: ln(1 + (N - n + 0.5) / (n + 0.5)). */
double search_lucene_idf(double total, double with_term);
/* k1 (1 - b + b length / mean): what a chunk's length weighs. Lucene's tf part
 * is f / (f + that). */
double search_lucene_norm(double length, double mean);
double search_lucene_tf(double frequency, double length, double mean);
/* One list's part in reciprocal rank fusion: 1 / (60 + rank), rank from 1; 0
 * for rank 0, "not in this list". Lists end at SEARCH_CANDIDATES; ties go by
 * source id, then chunk number. */
double search_rrf(size_t rank);

#endif
