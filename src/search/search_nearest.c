/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nearest chunks by cosine, exact; and the two lists, by words and by
 * vectors, made into one. Every vector is looked at, but most only as a code of
 * one byte a dimension, whose error is known: what cannot be among the best
 * even with that error in its favour is not looked at again. Reading memory is
 * what takes the time, and codes are a quarter of it.
 */
#ifdef __x86_64__
#include <immintrin.h>
#endif
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "search/search_index_internal.h"

/* ---- the dot product ---- */

typedef float lanes __attribute__((vector_size(32), aligned(4)));

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

/* Sixteen products at once. `b` is within 8191: 2,048 products, in eight sums,
 * do not leave 32 bits. */
__attribute__((target("avx2"))) static int64_t
dot_codes(const int8_t *a, const int16_t *b, size_t count)
{
	int64_t all = 0;
	size_t i = 0;

	while (i + 16 <= count) {
		size_t end = count - i > 2048 ? i + 2048 : count;
		__m256i sum = _mm256_setzero_si256();
		int32_t lane[8];

		for (; i + 16 <= end; i += 16)
			sum = _mm256_add_epi32(sum,
			    _mm256_madd_epi16(
				_mm256_cvtepi8_epi16(_mm_loadu_si128(
				    (const __m128i *)(const void *)(a + i))),
				_mm256_loadu_si256(
				    (const __m256i *)(const void *)(b + i))));
		_mm256_storeu_si256((__m256i *)(void *)lane, sum);
		for (size_t k = 0; k < 8; k++)
			all += lane[k];
	}
	for (; i < count; i++)
		all += a[i] * b[i];
	return all;
}
#endif

static bool
has_avx2(void)
{
#ifdef __x86_64__
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
	return false;
#endif
}

static float
dot_exact(const float *a, const float *b, size_t count)
{
#ifdef __x86_64__
	if (has_avx2())
		return dot_avx2(a, b, count);
#endif
	return dot_plain(a, b, count);
}

/* ---- codes ---- */

bool
search__codes_pay(void)
{
	return has_avx2();
}

static float
largest(const float *vector, size_t dimensions)
{
	float most = 0;

	for (size_t i = 0; i < dimensions; i++)
		most = fabsf(vector[i]) > most ? fabsf(vector[i]) : most;
	return most;
}

struct index_code
search__encode(const float *vector, size_t dimensions, int8_t *out)
{
	float scale = largest(vector, dimensions) / 127;
	double error = 0;

	for (size_t i = 0; i < dimensions; i++) {
		double missing;

		out[i] =
		    scale > 0 ? (int8_t)lrintf(vector[i] / scale) : (int8_t)0;
		missing = (double)vector[i] - (double)scale * out[i];
		error += missing * missing;
	}
	return (struct index_code){ scale, (float)(sqrt(error) * 1.0001) };
}

/* The question: whole, and in steps fine enough to add next to no error. */
struct asked {
	float *unit;
	int16_t *steps;
	double step, error; /* length of what the steps miss */
	double slack;       /* of adding floats */
	size_t dimensions;
};

static void
ask(struct asked *asked, const float *vector, size_t dimensions)
{
	double missing, error = 0;

	*asked = (struct asked){ .dimensions = dimensions };
	asked->unit = mem_alloc((dimensions + 1) * sizeof(*asked->unit));
	asked->steps = mem_alloc((dimensions + 1) * sizeof(*asked->steps));
	search_unit_vector(vector, dimensions, asked->unit);
	asked->step = (double)largest(asked->unit, dimensions) / 8191;
	for (size_t i = 0; i < dimensions; i++) {
		asked->steps[i] =
		    asked->step > 0
			? (int16_t)lrint((double)asked->unit[i] / asked->step)
			: (int16_t)0;
		missing =
		    (double)asked->unit[i] - asked->step * asked->steps[i];
		error += missing * missing;
	}
	asked->error = sqrt(error) * 1.0001;
	asked->slack = 1e-5 + (double)dimensions * 4e-9;
}

/* The score can be no better than this: x y = (code + e)(steps + f), and what
 * is missing adds at most its length (Cauchy and Schwarz). */
static double
best_possible(
    const struct asked *asked, const struct index_source *source, size_t vector)
{
#ifdef __x86_64__
	const struct index_code *code = &source->codes[vector];
	int64_t sum =
	    dot_codes(source->code_bytes + vector * source->dimensions,
		asked->steps, source->dimensions);

	return (double)sum * (double)code->scale * asked->step +
	       (double)code->error + (1 + (double)code->error) * asked->error +
	       asked->slack;
#else
	(void)asked;
	(void)source;
	(void)vector;
	return 2;
#endif
}

void
search_unit_vector(const float *vector, size_t dimensions, float *out)
{
	double length = 0;

	for (size_t i = 0; i < dimensions; i++)
		length += (double)vector[i] * (double)vector[i];
	length = length > 0 ? sqrt(length) : 1;
	for (size_t i = 0; i < dimensions; i++)
		out[i] = (float)((double)vector[i] / length);
}

/* ---- the nearest ---- */

static int
by_place(const void *a, const void *b)
{
	const struct search_ranked *const *x = a, *const *y = b;

	return ((*x)->place > (*y)->place) - ((*x)->place < (*y)->place);
}

/* What the few have of the terms, and its BM25: their places and a term's
 * postings are both in order, so one walk for each term finds them. */
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
			if (i == item_count || order[i]->place != cursor.doc)
				continue;
			order[i]->coverage += idf;
			order[i]->lexical +=
			    idf *
			    (cursor.count /
				(cursor.count + index->norms[cursor.doc]));
		}
	}
	for (size_t i = 0; i < item_count; i++)
		items[i].coverage /= all_idf > 0 ? all_idf : 1;
	mem_free(order);
}

static void
look_at_source(struct index_best *best, const struct index_source *source,
    const struct asked *asked, const bool *allowed)
{
	for (uint32_t n = 0; n < source->count; n++) {
		uint32_t place = source->first + n;
		size_t vector = best->index->docs[place].vector;
		double score;

		if (vector-- == 0 || (allowed != NULL && !allowed[place]))
			continue;
		if (best->count == best->want && source->codes != NULL &&
		    best_possible(asked, source, vector) < best->items[0].score)
			continue;
		score = (double)dot_exact(asked->unit,
		    source->vectors + vector * source->dimensions,
		    source->dimensions);
		if (search__best_takes(best, score))
			search__best_offer(best, place, score, 0, 0);
	}
}

size_t
search_index_nearest(const struct search_index *index, const float *vector,
    size_t dimensions, const char *const *terms, size_t count,
    const bool *allowed, size_t want, struct search_ranked *out)
{
	struct index_best best = { index, out, 0, want };
	struct asked asked;

	must(want > 0);
	ask(&asked, vector, dimensions);
	for (size_t i = 0; i < index->source_count; i++)
		if (index->sources[i].vector_count > 0 &&
		    index->sources[i].dimensions == dimensions)
			look_at_source(
			    &best, &index->sources[i], &asked, allowed);
	mem_free(asked.unit);
	mem_free(asked.steps);
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
		search__best_offer(&best, lexical[i].place, score,
		    lexical[i].lexical, lexical[i].coverage);
	}
	for (size_t k = 0; k < nearest_count; k++) {
		bool both = false;

		for (size_t i = 0; i < lexical_count && !both; i++)
			both = nearest[k].place == lexical[i].place;
		if (!both)
			search__best_offer(&best, nearest[k].place,
			    search_rrf(k + 1), nearest[k].lexical,
			    nearest[k].coverage);
	}
	search__best_sort(&best);
	return best.count;
}
