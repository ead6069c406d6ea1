/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranking over the index in memory: every posting is scored. The chunks are
 * taken in windows, so that what is added up stays in the nearest cache; of a
 * window only what beats the worst of the best so far is looked at twice.
 */
#include <string.h>

#include "base/mem.h"
#include "search/search_index_internal.h"

#define WINDOW 2048 /* chunks */

struct gain {
	double score, coverage;
};

struct asked {
	struct index_cursor cursor;
	double idf;
	bool more; /* the cursor stands on a posting */
};

struct ranking {
	const struct search_index *index;
	struct asked asked[SEARCH_TERMS_MAX];
	size_t count; /* of asked that have postings */
	double all_idf;
	const bool *allowed; /* or NULL */
	struct index_best best;
	struct gain gains[WINDOW];
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

double
search__index_term_idf(
    const struct search_index *index, const struct index_term *term)
{
	return search_lucene_idf((double)search_index_chunks(index),
	    (double)count_living(index, term));
}

void
search_index_idf(const struct search_index *index, const char *const *terms,
    size_t count, double *idf_out)
{
	for (size_t i = 0; i < count; i++)
		idf_out[i] = search__index_term_idf(
		    index, search__index_term(index, terms[i]));
}

/* Equal scores stand by source and number, so that every back end and every
 * run gives one order. */
static bool
is_before(const struct search_index *index, const struct search_ranked *a,
    const struct search_ranked *b)
{
	const struct index_doc *x, *y;

	if (a->score != b->score)
		return a->score > b->score;
	x = &index->docs[a->place];
	y = &index->docs[b->place];
	if (x->source != y->source)
		return strcmp(index->sources[x->source].id,
			   index->sources[y->source].id) < 0;
	return x->number < y->number;
}

/* Let what stands at 0 sink to its place among `count`. */
static void
sink(struct index_best *best, size_t count)
{
	struct search_ranked *items = best->items, moved = items[0];
	size_t at = 0, child;

	while ((child = at * 2 + 1) < count) {
		if (child + 1 < count &&
		    is_before(best->index, &items[child], &items[child + 1]))
			child++;
		if (!is_before(best->index, &moved, &items[child]))
			break;
		items[at] = items[child];
		at = child;
	}
	items[at] = moved;
}

void
search__best_offer(struct index_best *best, uint32_t place, double score,
    double lexical, double coverage)
{
	struct search_ranked *items = best->items, ranked = {
		.chunk = best->index->docs[place].chunk,
		.score = score,
		.lexical = lexical,
		.coverage = coverage,
		.place = place,
	};
	size_t at = best->count;

	if (best->count == best->want) {
		if (!is_before(best->index, &ranked, &items[0]))
			return;
		items[0] = ranked;
		sink(best, best->count);
		return;
	}
	for (best->count++; at > 0; at = (at - 1) / 2) {
		if (!is_before(best->index, &items[(at - 1) / 2], &ranked))
			break;
		items[at] = items[(at - 1) / 2];
	}
	items[at] = ranked;
}

/* The worst goes to the end, again and again. */
void
search__best_sort(struct index_best *best)
{
	for (size_t n = best->count; n > 1; n--) {
		struct search_ranked worst = best->items[0];

		best->items[0] = best->items[n - 1];
		sink(best, n - 1);
		best->items[n - 1] = worst;
	}
}

static void
add_window(struct ranking *ranking, struct asked *asked, uint32_t first)
{
	struct index_cursor cursor = asked->cursor;
	const double *norms = ranking->index->norms;

	while (asked->more && cursor.doc - first < WINDOW) {
		struct gain *gain = &ranking->gains[cursor.doc - first];
		double norm = norms[cursor.doc], f = cursor.count;

		if (norm != INDEX_DEAD) {
			gain->score += asked->idf * (f / (f + norm));
			gain->coverage += asked->idf;
		}
		asked->more = search__index_step(&cursor);
	}
	asked->cursor = cursor;
}

static void
rank_window(struct ranking *ranking, uint32_t first, uint32_t count)
{
	memset(ranking->gains, 0, sizeof(ranking->gains));
	for (size_t i = 0; i < ranking->count; i++)
		add_window(ranking, &ranking->asked[i], first);
	for (uint32_t i = 0; i < count; i++) {
		double score = ranking->gains[i].score;

		if (score <= 0 || !search__best_takes(&ranking->best, score) ||
		    (ranking->allowed != NULL && !ranking->allowed[first + i]))
			continue;
		search__best_offer(&ranking->best, first + i, score, score,
		    ranking->gains[i].coverage / ranking->all_idf);
	}
}

static void
ask_terms(struct ranking *ranking, const char *const *terms, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct index_term *term =
		    search__index_term(ranking->index, terms[i]);
		struct asked *asked = &ranking->asked[ranking->count];

		asked->idf = search__index_term_idf(ranking->index, term);
		ranking->all_idf += asked->idf;
		if (term == NULL)
			continue;
		asked->cursor = search__index_cursor(term);
		asked->more = search__index_step(&asked->cursor);
		ranking->count++;
	}
}

size_t
search_index_rank(const struct search_index *index, const char *const *terms,
    size_t count, const bool *allowed, size_t want, struct search_ranked *out)
{
	struct ranking *ranking = mem_zero(sizeof(*ranking));
	size_t found;

	must(count <= SEARCH_TERMS_MAX && want > 0);
	ranking->index = index;
	ranking->allowed = allowed;
	ranking->best = (struct index_best){ index, out, 0, want };
	ask_terms(ranking, terms, count);
	for (uint32_t first = 0; first < index->doc_count; first += WINDOW) {
		uint32_t left = index->doc_count - first;

		rank_window(ranking, first, left < WINDOW ? left : WINDOW);
	}
	search__best_sort(&ranking->best);
	found = ranking->best.count;
	mem_free(ranking);
	return found;
}
