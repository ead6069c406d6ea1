/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranking over the index in memory: BM25 is added up term by term, then a heap
 * gives the chunks best first, as many as the caller wants.
 */
#include <string.h>

#include "base/mem.h"
#include "search/search_index_internal.h"

struct gain {
	double score, coverage;
};

struct entry {
	double score;
	uint32_t doc;
};

struct search_ranking {
	const struct search_index *index;
	struct gain *gains; /* by doc */
	struct entry *heap; /* the best at 0 */
	size_t left;
	double all_idf;
};

/* Chunks that live and have the term. */
static uint32_t
count_living(const struct search_index *index, const struct index_term *term)
{
	struct index_cursor cursor;
	uint32_t living = 0;

	if (term == NULL || index->dead == 0)
		return term == NULL ? 0 : term->count;
	cursor = search__index_cursor(term);
	while (search__index_step(&cursor))
		living += index->norms[cursor.doc] != INDEX_DEAD;
	return living;
}

static double
idf_of(const struct search_index *index, const struct index_term *term)
{
	return search_lucene_idf((double)search_index_chunks(index),
	    (double)count_living(index, term));
}

void
search_index_idf(const struct search_index *index, const char *const *terms,
    size_t count, double *idf_out)
{
	for (size_t i = 0; i < count; i++)
		idf_out[i] = idf_of(index, search__index_term(index, terms[i]));
}

static void
add_term(struct search_ranking *ranking, const char *name)
{
	const struct search_index *index = ranking->index;
	const struct index_term *term = search__index_term(index, name);
	double idf = idf_of(index, term);
	struct index_cursor cursor;

	ranking->all_idf += idf;
	if (term == NULL)
		return;
	cursor = search__index_cursor(term);
	while (search__index_step(&cursor)) {
		double norm = index->norms[cursor.doc], f = cursor.count;
		struct gain *gain = &ranking->gains[cursor.doc];

		if (norm == INDEX_DEAD)
			continue;
		gain->score += idf * (f / (f + norm));
		gain->coverage += idf;
	}
}

/* Equal scores stand by source and number, so that every back end and every
 * run gives one order. */
static bool
is_before(const struct search_index *index, const struct entry *a,
    const struct entry *b)
{
	const struct index_doc *x, *y;

	if (a->score != b->score)
		return a->score > b->score;
	x = &index->docs[a->doc];
	y = &index->docs[b->doc];
	if (x->source != y->source)
		return strcmp(index->sources[x->source].id,
			   index->sources[y->source].id) < 0;
	return x->number < y->number;
}

static void
sink(struct search_ranking *ranking, size_t at)
{
	struct entry *heap = ranking->heap, moved = heap[at];
	size_t child;

	while ((child = at * 2 + 1) < ranking->left) {
		if (child + 1 < ranking->left &&
		    is_before(ranking->index, &heap[child + 1], &heap[child]))
			child++;
		if (!is_before(ranking->index, &heap[child], &moved))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = moved;
}

static void
make_heap(struct search_ranking *ranking)
{
	const struct search_index *index = ranking->index;
	size_t found = 0;

	for (uint32_t i = 0; i < index->doc_count; i++)
		found += ranking->gains[i].score > 0;
	ranking->heap = mem_alloc((found + 1) * sizeof(*ranking->heap));
	for (uint32_t i = 0; i < index->doc_count; i++)
		if (ranking->gains[i].score > 0)
			ranking->heap[ranking->left++] =
			    (struct entry){ ranking->gains[i].score, i };
	for (size_t i = ranking->left / 2; i-- > 0;)
		sink(ranking, i);
}

struct search_ranking *
search_index_rank(
    const struct search_index *index, const char *const *terms, size_t count)
{
	struct search_ranking *ranking = mem_zero(sizeof(*ranking));

	ranking->index = index;
	ranking->gains =
	    mem_zero((index->doc_count + 1) * sizeof(*ranking->gains));
	for (size_t i = 0; i < count; i++)
		add_term(ranking, terms[i]);
	make_heap(ranking);
	return ranking;
}

bool
search_ranking_next(
    struct search_ranking *ranking, struct search_ranked *ranked_out)
{
	struct entry best;

	if (ranking->left == 0)
		return false;
	best = ranking->heap[0];
	ranking->heap[0] = ranking->heap[--ranking->left];
	sink(ranking, 0);
	*ranked_out = (struct search_ranked){
		.chunk = ranking->index->docs[best.doc].chunk,
		.score = best.score,
		.coverage = ranking->gains[best.doc].coverage /
			    (ranking->all_idf > 0 ? ranking->all_idf : 1),
	};
	return true;
}

void
search_ranking_free(struct search_ranking *ranking)
{
	mem_free(ranking->gains);
	mem_free(ranking->heap);
	mem_free(ranking);
}
