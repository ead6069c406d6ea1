/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SEARCH_SEARCH_INDEX_H
#define XIN_SEARCH_SEARCH_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/ident.h"
#include "search/search_backend.h"

/*
 * The live chunks of one brand in memory: an inverted index with exact BM25,
 * and vectors with exact cosine. Pure: no waiting, no locks; the caller lets
 * many rank or one change. About 3 bytes a posting, 40 a chunk, 60 a term, 4 a
 * dimension.
 */
struct search_index;
struct search_index *search_index_new(void);
void search_index_free(struct search_index *index);
size_t search_index_bytes(const struct search_index *index);
size_t search_index_chunks(const struct search_index *index);

/* What is stored of a chunk: for each distinct token a byte with its length,
 * the token, its count as a varint (7 bits a byte, the lowest first). */
void search_index_pack(const struct search_words *words, struct buf *out);

/* Changes. A source is emptied, then its chunks are added behind each other;
 * `settle` after the last change and before the next ranking. Nothing is kept
 * by reference. */
struct search_entry {
	int64_t chunk; /* the caller's name of it */
	int64_t number;
	const void *packed;
	size_t packed_len;
	const char *metadata; /* JSON object text, or NULL */
	const float *vector;  /* of length 1, or NULL */
	size_t dimensions;
};
void search_index_empty_source(
    struct search_index *index, const char *source_id);
/* ERR_IO when `packed` is damaged. */
enum err_code search_index_add(struct search_index *index,
    const char *source_id, const struct search_entry *entry);
void search_index_settle(struct search_index *index);

/* Idf of each term, Lucene's. */
void search_index_idf(const struct search_index *index,
    const char *const *terms, size_t count, double *idf_out);

/* Which chunks a ranking may name, by the index's own places: those whose
 * metadata (may be NULL) passes. mem_free; good until the next change. */
typedef bool (*search_test_fn)(const void *arg, const char *metadata);
bool *search_index_allow(
    const struct search_index *index, search_test_fn test, const void *arg);

/* The best `want` of the allowed chunks (NULL: of all) that have one of the
 * distinct terms, best first; how many there are. `out` has room for `want`. */
struct search_ranked {
	int64_t chunk;
	double score, lexical, coverage; /* as in struct search_hit */
	uint32_t place;                  /* the index's own */
};
size_t search_index_rank(const struct search_index *index,
    const char *const *terms, size_t count, const bool *allowed, size_t want,
    struct search_ranked *out);
/* The same of those that have a vector with so many dimensions; the score is
 * the cosine. Coverage is that of `terms`. */
size_t search_index_nearest(const struct search_index *index,
    const float *vector, size_t dimensions, const char *const *terms,
    size_t count, const bool *allowed, size_t want, struct search_ranked *out);
/* Both lists in one by reciprocal rank (search_rrf), best first. `out` has room
 * for all of both. */
size_t search_index_fuse(const struct search_index *index,
    const struct search_ranked *lexical, size_t lexical_count,
    const struct search_ranked *nearest, size_t nearest_count,
    struct search_ranked *out);

/* The vector with length 1; zeros stay. */
void search_unit_vector(const float *vector, size_t dimensions, float *out);

#endif
