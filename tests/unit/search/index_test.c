/* SPDX-License-Identifier: Apache-2.0 */
/* The inverted index in memory: against BM25 added up the simple way. */
#include "fiber_group.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "search/search_index.h"

#define SOURCES    40
#define EACH       100 /* chunks of a source, at most */
#define WORDS      30
#define DIMENSIONS 133 /* not a multiple of what is added at once */

/* The same chunks twice: in the index, and as plain counts. */
struct plain {
	unsigned counts[WORDS];
	double length;
	bool live;
	float vector[DIMENSIONS];
};

struct model {
	struct search_index *index;
	struct plain chunks[SOURCES][EACH];
	unsigned seed;
};

static unsigned
roll(struct model *m, unsigned below)
{
	m->seed = m->seed * 1103515245 + 12345;
	return (m->seed >> 16) % below;
}

static int
set_up(void **state)
{
	struct model *m = mem_zero(sizeof(*m));

	m->index = search_index_new();
	m->seed = 7;
	*state = m;
	return 0;
}

static int
tear_down(void **state)
{
	struct model *m = *state;

	search_index_free(m->index);
	mem_free(m);
	return 0;
}

static void
word_name(unsigned word, char out[8])
{
	snprintf(out, 8, "w%u", word);
}

/* Names so that their order is not the order of numbers. */
static void
source_name(unsigned source, char out[IDENT_SIZE])
{
	snprintf(out, IDENT_SIZE, "kn_%02u", source * 17 % SOURCES);
}

static int64_t
chunk_name(unsigned source, unsigned number)
{
	return 1 + source * EACH + number;
}

static void
add_chunk(struct model *m, unsigned source, unsigned number)
{
	struct plain *plain = &m->chunks[source][number];
	struct search_word items[WORDS];
	struct search_words words = { .items = items };
	char names[WORDS][8], id[IDENT_SIZE];
	struct buf packed = { 0 };

	*plain = (struct plain){ .live = true };
	for (unsigned w = 0; w < WORDS; w++) {
		if (roll(m, WORDS) < w)
			continue;
		plain->counts[w] = 1 + roll(m, w == 3 ? 1000 : 5);
		plain->length += plain->counts[w];
		word_name(w, names[w]);
		items[words.count++] = (struct search_word){
			.token = names[w],
			.len = strlen(names[w]),
			.count = plain->counts[w],
		};
	}
	for (size_t i = 0; i < DIMENSIONS; i++)
		plain->vector[i] = (float)roll(m, 2001) - 1000;
	search_unit_vector(plain->vector, DIMENSIONS, plain->vector);
	source_name(source, id);
	search_index_pack(&words, &packed);
	assert_int_equal(
	    search_index_add(m->index, id,
		&(struct search_entry){ .chunk = chunk_name(source, number),
		    .number = number,
		    .packed = packed.data,
		    .packed_len = packed.len,
		    .metadata = number % 3 == 0 ? "{}" : NULL,
		    .vector = plain->vector,
		    .dimensions = source % 5 == 0 ? 0 : DIMENSIONS }),
	    OK);
	buf_done(&packed);
}

static void
empty_source(struct model *m, unsigned source)
{
	char id[IDENT_SIZE];

	source_name(source, id);
	search_index_empty_source(m->index, id);
	for (unsigned n = 0; n < EACH; n++)
		m->chunks[source][n].live = false;
}

static void
fill_source(struct model *m, unsigned source, unsigned count)
{
	empty_source(m, source);
	for (unsigned n = 0; n < count; n++)
		add_chunk(m, source, n);
}

struct totals {
	double chunks, tokens, with[WORDS];
};

static struct totals
totals_of(const struct model *m)
{
	struct totals totals = { 0 };
	const struct plain *all = &m->chunks[0][0];

	for (size_t i = 0; i < (size_t)SOURCES * EACH; i++) {
		if (!all[i].live)
			continue;
		totals.chunks++;
		totals.tokens += all[i].length;
		for (unsigned w = 0; w < WORDS; w++)
			totals.with[w] += all[i].counts[w] > 0;
	}
	return totals;
}

struct expected {
	double score;
	int64_t chunk;
	char order[IDENT_SIZE + 8]; /* source id, number */
};

static int
by_rank(const void *a, const void *b)
{
	const struct expected *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return strcmp(x->order, y->order);
}

static size_t
expect_all(const struct model *m, const unsigned *asked, size_t count,
    struct expected *out)
{
	struct totals totals = totals_of(m);
	double mean = totals.tokens / totals.chunks;
	size_t found = 0;

	for (unsigned s = 0; s < SOURCES; s++) {
		for (unsigned n = 0; n < EACH; n++) {
			const struct plain *plain = &m->chunks[s][n];
			struct expected *e = &out[found];
			char id[IDENT_SIZE];

			*e = (struct expected){ .chunk = chunk_name(s, n) };
			for (size_t i = 0; i < count && plain->live; i++)
				e->score +=
				    search_lucene_idf(
					totals.chunks, totals.with[asked[i]]) *
				    search_lucene_tf(plain->counts[asked[i]],
					plain->length, mean);
			source_name(s, id);
			snprintf(e->order, sizeof(e->order), "%s %03u", id, n);
			found += e->score > 0;
		}
	}
	qsort(out, found, sizeof(*out), by_rank);
	return found;
}

static void
expect_ranked(struct model *m, const char *const *terms, size_t terms_count,
    const struct expected *expected, size_t count, size_t want)
{
	static struct search_ranked ranked[SOURCES * EACH];
	size_t found =
	    search_index_rank(m->index, terms, terms_count, NULL, want, ranked);

	assert_int_equal(found, count < want ? count : want);
	for (size_t i = 0; i < found; i++) {
		assert_true(ranked[i].score == expected[i].score);
		assert_int_equal(ranked[i].chunk, expected[i].chunk);
		assert_true(
		    ranked[i].coverage > 0 && ranked[i].coverage < 1.0001);
	}
}

/* Every chunk, its place and the bits of its score. */
static void
compare(struct model *m)
{
	static struct expected expected[SOURCES * EACH + 1];
	unsigned asked[] = { 29, 3, 11, 25 };
	const char *terms[] = { "w29", "w3", "w11", "w25" };
	double idf[4];
	struct totals totals = totals_of(m);
	size_t count;

	search_index_settle(m->index);
	assert_int_equal(search_index_chunks(m->index), (size_t)totals.chunks);
	search_index_idf(m->index, terms, 4, idf);
	for (size_t i = 0; i < 4; i++)
		assert_true(idf[i] == search_lucene_idf(totals.chunks,
					  totals.with[asked[i]]));
	for (size_t n = 1; n <= 4; n++) {
		count = expect_all(m, asked, n, expected);
		expect_ranked(m, terms, n, expected, count, 1);
		expect_ranked(m, terms, n, expected, count, 9);
		expect_ranked(m, terms, n, expected, count, SOURCES * EACH);
	}
}

static void
an_index_gives_the_scores_of_the_formula(void **state)
{
	struct model *m = *state;

	for (unsigned s = 0; s < SOURCES; s++)
		fill_source(m, s, roll(m, EACH));
	compare(m);
}

static void
sources_come_and_go_and_the_scores_stay_right(void **state)
{
	struct model *m = *state;
	size_t least = SIZE_MAX, most = 0;

	for (int round = 0; round < 60; round++) {
		size_t bytes;

		for (int i = 0; i < 5; i++) {
			unsigned source = roll(m, SOURCES);

			if (roll(m, 3) == 0)
				empty_source(m, source);
			else
				fill_source(m, source, roll(m, EACH));
		}
		compare(m);
		if (round < 30)
			continue;
		bytes = search_index_bytes(m->index);
		least = bytes < least ? bytes : least;
		most = bytes > most ? bytes : most;
	}
	/* The dead are swept out, not kept. */
	assert_true(most < least * 2);
	for (unsigned s = 0; s < SOURCES; s++)
		empty_source(m, s);
	search_index_settle(m->index);
	assert_int_equal(search_index_chunks(m->index), 0);
}

static double
cosine(const struct plain *plain, const float *unit)
{
	double sum = 0;

	for (size_t i = 0; i < DIMENSIONS; i++)
		sum += (double)plain->vector[i] * unit[i];
	return sum;
}

static bool
has_metadata(const void *arg, const char *metadata)
{
	(void)arg;
	return metadata != NULL;
}

/* How many are nearer than the last of `ranked`, looked at one by one. */
static void
expect_nearest(struct model *m, const float *query, const bool *allowed,
    const struct search_ranked *ranked, size_t count)
{
	size_t nearer = 0;
	double last = ranked[count - 1].score;

	for (unsigned s = 0; s < SOURCES; s++)
		for (unsigned n = 0; n < EACH; n++)
			nearer += s % 5 != 0 && m->chunks[s][n].live &&
				  (allowed == NULL || n % 3 == 0) &&
				  cosine(&m->chunks[s][n], query) > last + 1e-5;
	assert_true(nearer < count);
	for (size_t i = 0; i < count; i++) {
		unsigned chunk = (unsigned)ranked[i].chunk - 1;
		const struct plain *plain =
		    &m->chunks[chunk / EACH][chunk % EACH];

		assert_true(plain->live && chunk / EACH % 5 != 0);
		assert_true(allowed == NULL || chunk % EACH % 3 == 0);
		assert_true(
		    fabs(ranked[i].score - cosine(plain, query)) < 1e-5);
		assert_true(i == 0 || ranked[i - 1].score >= ranked[i].score);
	}
}

static void
the_nearest_are_found_among_those_allowed(void **state)
{
	struct model *m = *state;
	const char *terms[] = { "w29", "w11" };
	struct search_ranked ranked[50];
	float query[DIMENSIONS], longer[DIMENSIONS];
	bool *allowed;

	for (unsigned s = 0; s < SOURCES; s++)
		fill_source(m, s, roll(m, EACH));
	for (unsigned s = 0; s < SOURCES; s += 3)
		fill_source(m, s, roll(m, EACH));
	search_index_settle(m->index);
	for (size_t i = 0; i < DIMENSIONS; i++)
		longer[i] = (float)roll(m, 2001) - 1000;
	search_unit_vector(longer, DIMENSIONS, query);
	assert_int_equal(search_index_nearest(m->index, longer, DIMENSIONS,
			     terms, 2, NULL, 50, ranked),
	    50);
	expect_nearest(m, query, NULL, ranked, 50);
	allowed = search_index_allow(m->index, has_metadata, NULL);
	assert_int_equal(search_index_nearest(m->index, longer, DIMENSIONS,
			     terms, 2, allowed, 50, ranked),
	    50);
	expect_nearest(m, query, allowed, ranked, 50);
	mem_free(allowed);
	assert_int_equal(search_index_nearest(m->index, longer, DIMENSIONS - 1,
			     terms, 2, NULL, 50, ranked),
	    0);
}

static int
down(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x < y) - (x > y);
}

/* So near each other that their codes cannot tell them apart. */
static void
vectors_like_each_other_are_told_apart(void **state)
{
	enum { MANY = 3000, LONG = 768, BEST = 20 };
	struct model *m = *state;
	float base[LONG], vector[LONG];
	double *all = mem_zero(MANY * sizeof(*all));
	struct search_ranked ranked[BEST];

	for (size_t i = 0; i < LONG; i++)
		base[i] = (float)roll(m, 2001) - 1000;
	search_unit_vector(base, LONG, base);
	for (int64_t n = 0; n < MANY; n++) {
		struct search_entry entry = { .chunk = n + 1,
			.number = n,
			.vector = vector,
			.dimensions = LONG };

		for (size_t i = 0; i < LONG; i++)
			vector[i] =
			    base[i] + ((float)roll(m, 2001) - 1000) / 4e5f;
		search_unit_vector(vector, LONG, vector);
		for (size_t i = 0; i < LONG; i++)
			all[n] += (double)vector[i] * base[i];
		assert_int_equal(
		    search_index_add(m->index, "kn_a", &entry), OK);
	}
	search_index_settle(m->index);
	assert_int_equal(search_index_nearest(
			     m->index, base, LONG, NULL, 0, NULL, BEST, ranked),
	    BEST);
	for (size_t i = 0; i < BEST; i++)
		assert_true(
		    fabs(ranked[i].score - all[ranked[i].chunk - 1]) < 1e-6);
	qsort(all, MANY, sizeof(*all), down);
	for (size_t i = 0; i < BEST; i++)
		assert_true(fabs(ranked[i].score - all[i]) < 1e-6);
	mem_free(all);
}

/* The coverage of the nearest is that of the ranking by words. */
static void
both_lists_are_fused_by_rank(void **state)
{
	static struct search_ranked all[SOURCES * EACH];
	struct model *m = *state;
	const char *terms[] = { "w29", "w11" };
	struct search_ranked lexical[20], nearest[20], fused[40];
	double ranks[40] = { 0 };
	size_t count, both = 0;

	for (unsigned s = 0; s < SOURCES; s++)
		fill_source(m, s, 3);
	search_index_settle(m->index);
	count =
	    search_index_rank(m->index, terms, 2, NULL, SOURCES * EACH, all);
	memcpy(lexical, all, sizeof(lexical));
	assert_int_equal(search_index_nearest(m->index, m->chunks[1][0].vector,
			     DIMENSIONS, terms, 2, NULL, 20, nearest),
	    20);
	assert_int_equal(nearest[0].chunk, chunk_name(1, 0));
	for (size_t i = 0; i < 20; i++) {
		double coverage = 0;

		for (size_t k = 0; k < count; k++)
			if (all[k].chunk == nearest[i].chunk)
				coverage = all[k].coverage;
		assert_true(fabs(nearest[i].coverage - coverage) < 1e-12);
		for (size_t k = 0; k < 20; k++)
			both += lexical[k].chunk == nearest[i].chunk;
	}
	assert_true(both > 0);
	assert_int_equal(
	    search_index_fuse(m->index, lexical, 20, nearest, 20, fused),
	    40 - both);
	for (size_t i = 0; i < 40 - both; i++) {
		for (size_t k = 0; k < 20; k++) {
			if (lexical[k].chunk == fused[i].chunk)
				ranks[i] += 1.0 / (61 + (double)k);
			if (nearest[k].chunk == fused[i].chunk)
				ranks[i] += 1.0 / (61 + (double)k);
		}
		assert_true(fabs(ranks[i] - fused[i].score) < 1e-12);
		assert_true(i == 0 || fused[i - 1].score >= fused[i].score);
	}
}

static void
an_empty_index_finds_nothing(void **state)
{
	struct model *m = *state;
	const char *terms[] = { "w1" };
	struct search_ranked ranked;
	double idf;

	search_index_settle(m->index);
	search_index_empty_source(m->index, "kn_none");
	assert_int_equal(
	    search_index_rank(m->index, terms, 1, NULL, 1, &ranked), 0);
	search_index_idf(m->index, terms, 1, &idf);
	assert_true(idf == log(2));
}

static void
damaged_words_are_an_error(void **state)
{
	static const struct {
		const char *packed;
		size_t len;
	} damaged[] = {
		{ "\x05word", 5 },     /* cut inside the token */
		{ "\x04word", 5 },     /* no count */
		{ "\x04word\x81", 6 }, /* the count goes on */
		{ "\x01"
		  "a\x01\x09",
		    4 },
	};
	struct model *m = *state;

	for (size_t i = 0; i < sizeof(damaged) / sizeof(*damaged); i++)
		assert_int_equal(
		    search_index_add(m->index, "kn_x",
			&(struct search_entry){ .packed = damaged[i].packed,
			    .packed_len = damaged[i].len }),
		    ERR_IO);
}

static void
words_of_a_chunk_are_counted_by_where_they_stand(void **state)
{
	struct chunk chunk = { .text = "Alpha beta alpha",
		.len = 16,
		.heading = "Gamma > Alpha" };
	struct search_words words;

	(void)state;
	search_words_of("Beta, delta", &chunk, &words);
	assert_int_equal(words.count, 4);
	assert_int_equal(words.length, 9);
	assert_string_equal(words.items[0].token, "alpha");
	assert_int_equal(words.items[0].count, 3);
	assert_string_equal(words.items[1].token, "beta");
	assert_int_equal(words.items[1].count, 3);
	assert_string_equal(words.items[2].token, "delta");
	assert_int_equal(words.items[2].count, 2);
	assert_string_equal(words.items[3].token, "gamma");
	assert_int_equal(words.items[3].len, 5);
	search_words_done(&words);
	chunk = (struct chunk){ .text = "", .len = 0 };
	search_words_of(NULL, &chunk, &words);
	assert_int_equal(words.count, 0);
	search_words_done(&words);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest index_tests[] = {
		T(an_index_gives_the_scores_of_the_formula),
		T(sources_come_and_go_and_the_scores_stay_right),
		T(the_nearest_are_found_among_those_allowed),
		T(vectors_like_each_other_are_told_apart),
		T(both_lists_are_fused_by_rank),
		T(an_empty_index_finds_nothing),
		T(damaged_words_are_an_error),
		T(words_of_a_chunk_are_counted_by_where_they_stand),
	};

	return cmocka_run_group_tests(index_tests, NULL, NULL);
}
