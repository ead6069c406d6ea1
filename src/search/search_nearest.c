/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nearest chunks by cosine, exact: every vector is looked at, eight floats
 * at a time; and the two lists, by words and by vectors, made into one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "search/search_index_internal.h"

/* ---- the dot product ---- */

typedef float lanes __attribute__((vector_size(32), aligned(4)));
typedef float (*dot_fn)(const float *a, const float *b, size_t count);

/* Four sums at once, since each waits for its last addition. */
static inline __attribute__((always_inline)) float
dot_lanes(const float *a, const float *b, size_t count)
{
	lanes sums[4] = { { 0 }, { 0 }, { 0 }, { 0 } };
	float sum = 0;
	size_t i = 0;

	for (; i + 32 <= count; i += 32)
		for (size_t k = 0; k < 4; k++)
			sums[k] += *(const lanes *)(a + i + k * 8) *
				   *(const lanes *)(b + i + k * 8);
	sums[0] += sums[1] + sums[2] + sums[3];
	for (size_t k = 0; k < 8; k++)
		sum += sums[0][k];
	for (; i < count; i++)
		sum += a[i] * b[i];
	return sum;
}

static float
dot_plain(const float *a, const float *b, size_t count)
{
	return dot_lanes(a, b, count);
}

#ifdef __x86_64__
__attribute__((target("avx2,fma"))) static float
dot_avx2(const float *a, const float *b, size_t count)
{
	return dot_lanes(a, b, count);
}
#endif

static dot_fn
choose_dot(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return dot_avx2;
#endif
	return dot_plain;
}

void
search_unit_vector(const float *vector, size_t dimensions, float *out)
{
	double length = 0;

	for (size_t i = 0; i < dimensions; i++)
		length += (double)vector[i] * vector[i];
	length = length > 0 ? sqrt(length) : 1;
	for (size_t i = 0; i < dimensions; i++)
		out[i] = (float)(vector[i] / length);
}

/* ---- the nearest ---- */

static int
by_place(const void *a, const void *b)
{
	const struct search_ranked *const *x = a, *const *y = b;

	return ((*x)->place > (*y)->place) - ((*x)->place < (*y)->place);
}

/* What the few have of the terms: their places and a term's postings are both
 * in order, so one walk for each term finds them. */
static void
cover(const struct search_index *index, const char *const *terms, size_t count,
    struct search_ranked *items, size_t item_count)
{
	struct search_ranked **order =
	    mem_alloc((item_count + 1) * sizeof(*order));
	double all_idf = 0;

	for (size_t i = 0; i < item_count; i++)
		order[i] = &items[i];
	if (item_count > 0)
		qsort(order, item_count, sizeof(*order), by_place);
	for (size_t t = 0; t < count; t++) {
		const struct index_term *term =
		    search__index_term(index, terms[t]);
		double idf = search__index_term_idf(index, term);
		struct index_cursor cursor;
		size_t i = 0;

		all_idf += idf;
		if (term == NULL)
			continue;
		cursor = search__index_cursor(term);
		while (i < item_count && search__index_step(&cursor)) {
			while (i < item_count && order[i]->place < cursor.doc)
				i++;
			if (i < item_count && order[i]->place == cursor.doc)
				order[i]->coverage += idf;
		}
	}
	for (size_t i = 0; i < item_count; i++)
		items[i].coverage /= all_idf > 0 ? all_idf : 1;
	mem_free(order);
}

static void
look_at_source(struct index_best *best, const struct index_source *source,
    const float *unit, dot_fn dot, const bool *allowed)
{
	for (uint32_t n = 0; n < source->count; n++) {
		uint32_t place = source->first + n;
		uint32_t vector = best->index->docs[place].vector;
		double score;

		if (vector == 0 || (allowed != NULL && !allowed[place]))
			continue;
		score = dot(unit,
		    source->vectors + (vector - 1) * source->dimensions,
		    source->dimensions);
		if (search__best_takes(best, score))
			search__best_offer(best, place, score, 0);
	}
}

size_t
search_index_nearest(const struct search_index *index, const float *vector,
    size_t dimensions, const char *const *terms, size_t count,
    const bool *allowed, size_t want, struct search_ranked *out)
{
	struct index_best best = { index, out, 0, want };
	float *unit = mem_alloc((dimensions + 1) * sizeof(*unit));
	dot_fn dot = choose_dot();

	must(want > 0);
	search_unit_vector(vector, dimensions, unit);
	for (size_t i = 0; i < index->source_count; i++)
		if (index->sources[i].vector_count > 0 &&
		    index->sources[i].dimensions == dimensions)
			look_at_source(
			    &best, &index->sources[i], unit, dot, allowed);
	mem_free(unit);
	search__best_sort(&best);
	cover(index, terms, count, out, best.count);
	return best.count;
}

/* ---- fusing ---- */

size_t
search_index_fuse(const struct search_index *index,
    const struct search_ranked *lexical, size_t lexical_count,
    const struct search_ranked *nearest, size_t nearest_count,
    struct search_ranked *out)
{
	struct index_best best = { index, out, 0,
		lexical_count + nearest_count };

	for (size_t i = 0; i < lexical_count; i++) {
		double score = search_rrf(i + 1);

		for (size_t k = 0; k < nearest_count; k++)
			if (nearest[k].place == lexical[i].place)
				score += search_rrf(k + 1);
		search__best_offer(
		    &best, lexical[i].place, score, lexical[i].coverage);
	}
	for (size_t k = 0; k < nearest_count; k++) {
		bool both = false;

		for (size_t i = 0; i < lexical_count && !both; i++)
			both = nearest[k].place == lexical[i].place;
		if (!both)
			search__best_offer(&best, nearest[k].place,
			    search_rrf(k + 1), nearest[k].coverage);
	}
	search__best_sort(&best);
	return best.count;
}
