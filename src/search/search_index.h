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
 * An inverted index in memory over the live chunks of one brand, and exact
 * BM25 over it. Pure: no waiting, no locks; the caller lets many rank or one
 * change. About 3 bytes a posting, 32 a chunk, 60 a term.
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
 * `settle` after the last change and before the next ranking. */
void search_index_empty_source(
    struct search_index *index, const char *source_id);
/* ERR_IO when `packed` is damaged. `chunk` is the caller's name of it. */
enum err_code search_index_add(struct search_index *index,
    const char *source_id, int64_t chunk, int64_t number, const void *packed,
    size_t len);
void search_index_settle(struct search_index *index);

/* Idf of each term, Lucene's. */
void search_index_idf(const struct search_index *index,
    const char *const *terms, size_t count, double *idf_out);

/* The best `want` of the chunks that have one of the distinct terms, best
 * first; how many there are. `out` has room for `want`. */
struct search_ranked {
	int64_t chunk;
	double score, coverage;
	uint32_t place; /* the index's own */
};
size_t search_index_rank(const struct search_index *index,
    const char *const *terms, size_t count, size_t want,
    struct search_ranked *out);

#endif
