/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SEARCH_SEARCH_BACKEND_H
#define XIN_SEARCH_SEARCH_BACKEND_H

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
	enum err_code (*find)(struct search *search,
	    const struct search_query *query, struct search_hits *hits_out);
	enum err_code (*idf)(struct search *search, const char *brand,
	    const char *const *terms, size_t count, double *idf_out);
	void (*close)(struct search *search);
};

struct search {
	const struct search_ops *ops;
	struct search_live live; /* zeros with the embedded one */
};

enum err_code search_sqlite_open(struct sqlite *db, struct search **search_out);

/* Lucene's idf: ln(1 + (N - n + 0.5) / (n + 0.5)). */
double search_lucene_idf(double total, double with_term);
/* Lucene's tf part: f / (f + k1 (1 - b + b length / mean)). */
double search_lucene_tf(double frequency, double length, double mean);
/* One list's part in reciprocal rank fusion: 1 / (60 + rank), rank from 1; 0
 * for rank 0, "not in this list". Lists end at SEARCH_CANDIDATES; ties go by
 * source id, then chunk number. */
double search_rrf(size_t rank);

#endif
