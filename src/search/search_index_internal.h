/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SEARCH_SEARCH_INDEX_INTERNAL_H
#define XIN_SEARCH_SEARCH_INDEX_INTERNAL_H

#include "base/mem.h"
#include "search/search_index.h"

/* Shared by search_index.c (changes), search_rank.c and search_nearest.c
 * (ranking) only. */

#define INDEX_POSTING_MAX 16   /* bytes of one, at most */
#define INDEX_DEAD        (-1) /* the norm of a chunk that went away */

struct index_doc {
	int64_t chunk, number;
	uint32_t source, length;
	uint32_t metadata, vector; /* in the source's; a place + 1, 0 = none */
};

/* A vector in a quarter of its bytes: about `scale` times its code. */
struct index_code {
	float scale;
	float error; /* length of what is missing, at most */
};

/* Chunks of a source stand behind each other; what only they have goes away
 * with them at once. */
struct index_source {
	char id[IDENT_SIZE];
	uint32_t first, count;
	char **metadata; /* neighbours with the same text share one */
	size_t metadata_count;
	float *vectors; /* `dimensions` each, unit length */
	struct index_code *codes;
	int8_t *code_bytes; /* `dimensions` each; NULL where they do not pay */
	size_t vector_count, dimensions;
	size_t bytes; /* of all these */
};

/* `data` begins with the term's bytes, its postings follow: one place in memory
 * less to wait for. NULL: a free slot. */
struct index_term {
	uint8_t *data;
	uint32_t hash, name_len;
	uint32_t len, cap;    /* of data */
	uint32_t count, last; /* postings, with dead ones; the last chunk */
};

struct search_index {
	struct index_doc *docs;
	double *norms; /* of each doc; apart, since scoring reads only these */
	uint32_t doc_count, dead;
	size_t doc_cap;
	uint64_t tokens; /* of the living */
	struct index_source *sources;
	uint32_t *source_places; /* 2 * source_cap, a place + 1 or 0 */
	size_t source_count, source_cap;
	struct index_term *terms; /* open addressing, power of two */
	size_t term_count, term_cap;
	size_t posting_bytes, source_bytes;
};

/* Walks the postings of a term, dead ones too. */
struct index_cursor {
	const uint8_t *at, *end;
	uint32_t doc, count;
};

static inline const uint8_t *
search__varint(const uint8_t *at, uint64_t *value_out)
{
	uint64_t value = *at & 0x7f;

	for (unsigned shift = 7; (*at++ & 0x80) != 0 && shift < 64; shift += 7)
		value |= (uint64_t)(*at & 0x7f) << shift;
	*value_out = value;
	return at;
}

static inline struct index_cursor
search__index_cursor(const struct index_term *term)
{
	struct index_cursor cursor = { .at = term->data + term->name_len,
		.end = term->data + term->len };

	return cursor;
}

static inline bool
search__index_step(struct index_cursor *cursor)
{
	uint64_t value;

	if (cursor->at == cursor->end)
		return false;
	cursor->at = search__varint(cursor->at, &value);
	cursor->doc += (uint32_t)(value >> 2);
	cursor->count = value & 3;
	if (cursor->count == 0) {
		cursor->at = search__varint(cursor->at, &value);
		cursor->count = (uint32_t)value;
	}
	return true;
}

const struct index_term *search__index_term(
    const struct search_index *index, const char *name);

/* search_nearest.c: whether this machine multiplies codes fast; the code. */
bool search__codes_pay(void);
struct index_code search__encode(
    const float *vector, size_t dimensions, int8_t *out);

/* The best `want` of what is offered: a heap, the worst at 0. */
struct index_best {
	const struct search_index *index;
	struct search_ranked *items;
	size_t count, want;
};
/* False when `score` cannot be among them. */
static inline bool
search__best_takes(const struct index_best *best, double score)
{
	return best->count < best->want || score >= best->items[0].score;
}
void search__best_offer(struct index_best *best, uint32_t place, double score,
    double lexical, double coverage);
/* Best first. */
void search__best_sort(struct index_best *best);
double search__index_term_idf(
    const struct search_index *index, const struct index_term *term);

#endif
