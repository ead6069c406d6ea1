/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Qdrant alone can do wrong, over its double: going away, being slow or
 * full, being somebody else's; and what it alone can do, vectors.
 */
#include "fiber_group.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "qdrant_server.h"
#include "search/search.h"

static struct qdrant_server *qdrant;

/* Version 1 of everything is live, but for "kn_draft". */
static enum err_code
tell_versions(void *arg, const char *brand, const char *const *ids,
    size_t count, int64_t *versions_out)
{
	(void)arg;
	(void)brand;
	for (size_t i = 0; i < count; i++)
		versions_out[i] = strcmp(ids[i], "kn_draft") != 0;
	return OK;
}

static enum err_code
tell_source(void *arg, const char *brand, const char *id, char **metadata_out,
    char **source_url_out)
{
	(void)arg;
	(void)metadata_out;
	(void)source_url_out;
	return err_set(ERR_NOT_FOUND, "%s/%s", brand, id);
}

static struct search *
opened(void)
{
	struct search *search;

	assert_int_equal(
	    search_open(qdrant_server_url(qdrant), NULL, &search), OK);
	search_set_live(
	    search, &(struct search_live){ NULL, tell_versions, tell_source });
	return search;
}

static int
set_up(void **state)
{
	qdrant_server_reset(qdrant);
	*state = opened();
	return 0;
}

static int
tear_down(void **state)
{
	search_close(*state);
	return 0;
}

static enum err_code
put_vector(struct search *search, const char *id, int64_t number,
    const char *text, const float *vector, size_t dimensions)
{
	const struct chunk chunk = { .number = number,
		.text = text,
		.len = strlen(text),
		.vector = vector,
		.dimensions = dimensions };

	return search_put(search, "acme", id, 1, "", &chunk, 1);
}

static enum err_code
put(struct search *search, const char *id, const char *text)
{
	return put_vector(search, id, 0, text, NULL, 0);
}

static enum err_code
find_near(struct search *search, const char *query, const float *vector,
    size_t dimensions, struct search_hits *hits)
{
	*hits = (struct search_hits){ 0 };
	return search_find(search,
	    &(struct search_ask){ .brand = "acme",
		.query = query,
		.query_len = strlen(query),
		.top_k = 8,
		.vector = vector,
		.dimensions = dimensions },
	    hits);
}

static size_t
found(struct search *search, const char *query)
{
	struct search_hits hits;
	size_t count;

	assert_int_equal(find_near(search, query, NULL, 0, &hits), OK);
	count = hits.count;
	search_hits_done(&hits);
	return count;
}

static void
expect_failure(struct search *search, enum err_code code, const char *says)
{
	struct search_hits hits;

	assert_int_equal(find_near(search, "alpha", NULL, 0, &hits), code);
	if (strstr(err_message(), says) == NULL)
		fail_msg("\"%s\" is not in: %s", says, err_message());
}

/* ---- going away ---- */

static void
a_server_that_is_down_is_named_and_used_when_it_is_back(void **state)
{
	struct search *search = *state;
	int port = qdrant_server_port(qdrant);
	char site[64];

	assert_int_equal(put(search, "kn_a", "alpha"), OK);
	snprintf(site, sizeof(site), "127.0.0.1:%d", port);
	qdrant_server_stop(qdrant);
	expect_failure(search, ERR_UNAVAILABLE, "vector server");
	expect_failure(search, ERR_UNAVAILABLE, site);
	assert_int_equal(put(search, "kn_a", "alpha"), ERR_UNAVAILABLE);
	assert_int_equal(
	    search_drop(search, "acme", "kn_a", 0), ERR_UNAVAILABLE);
	qdrant = qdrant_server_start(port, NULL);
	/* It lost everything; the next document makes the collection again. */
	assert_int_equal(found(search, "alpha"), 0);
	assert_int_equal(put(search, "kn_a", "alpha"), OK);
	assert_int_equal(found(search, "alpha"), 1);
}

static void
what_passes_by_itself_is_tried_again(void **state)
{
	struct search *search = *state;

	qdrant_server_fail(qdrant, "/points", 2, "\"status\":500");
	assert_int_equal(put(search, "kn_a", "alpha"), OK);
	qdrant_server_fail(qdrant, "/query", 1, "\"status\":503");
	qdrant_server_fail(qdrant, "/facet", 1, "\"drop\":true");
	assert_int_equal(found(search, "alpha"), 1);
	qdrant_server_fail(qdrant, "/delete", 1, "\"drop\":true");
	assert_int_equal(search_drop(search, "acme", "kn_a", 0), OK);
	assert_int_equal(found(search, "alpha"), 0);
}

/* The first upload makes the collection, then its indexes; who searches between
 * finds nothing, without an error. */
static void
a_collection_that_is_being_made_is_empty(void **state)
{
	struct search *search = *state;

	qdrant_server_fail(qdrant, "/index", 99, "\"status\":400");
	assert_int_equal(put(search, "kn_a", "alpha"), ERR_UPSTREAM);
	assert_int_equal(found(search, "alpha"), 0);
	qdrant_server_fail(qdrant, "/index", 0, "\"status\":400");
	qdrant_server_reset(qdrant);
	assert_int_equal(put(search, "kn_a", "alpha"), OK);
	assert_int_equal(found(search, "alpha"), 1);
}

static void
a_full_server_says_when_to_come_back(void **state)
{
	struct search *search = *state;
	uint64_t began = clock_mono_ms();

	assert_int_equal(put(search, "kn_a", "alpha"), OK);
	qdrant_server_fail(
	    qdrant, "/query", 1, "\"status\":429,\"retry_after\":1");
	assert_int_equal(found(search, "alpha"), 1);
	assert_true(clock_mono_ms() - began >= 1000);
	/* Later than we can wait: no use in waiting. */
	began = clock_mono_ms();
	qdrant_server_fail(
	    qdrant, "/query", 9, "\"status\":429,\"retry_after\":600");
	expect_failure(search, ERR_UNAVAILABLE, "429");
	assert_true(clock_mono_ms() - began < 5000);
}

static void
a_server_that_stays_broken_is_an_error_with_its_sentence(void **state)
{
	struct search *search = *state;

	assert_int_equal(put(search, "kn_a", "alpha"), OK);
	qdrant_server_fail(qdrant, "/query", 99, "\"status\":500");
	expect_failure(search, ERR_UNAVAILABLE, "HTTP 500: made to fail");
}

static void
a_slow_server_does_not_hold_a_turn_over_its_deadline(void **state)
{
	struct search *search = *state;
	uint64_t began = clock_mono_ms();
	struct search_hits hits;
	enum err_code rc;

	assert_int_equal(put(search, "kn_a", "alpha"), OK);
	qdrant_server_fail(qdrant, "/facet", 1, "\"delay_ms\":4000");
	task_self()->deadline_ms = deadline_in_ms(300);
	rc = find_near(search, "alpha", NULL, 0, &hits);
	task_self()->deadline_ms = 0;
	assert_int_equal(rc, ERR_DEADLINE);
	assert_true(clock_mono_ms() - began < 3000);
	assert_int_equal(found(search, "alpha"), 1);
}

static void
a_slow_count_ends_with_the_turn_too(void **state)
{
	struct search *search = *state;
	uint64_t began = clock_mono_ms();
	struct search_hits hits;
	enum err_code rc;

	assert_int_equal(put(search, "kn_a", "alpha beta gamma"), OK);
	qdrant_server_fail(qdrant, "/count", 3, "\"delay_ms\":4000");
	task_self()->deadline_ms = deadline_in_ms(300);
	rc = find_near(search, "alpha beta gamma", NULL, 0, &hits);
	task_self()->deadline_ms = 0;
	assert_int_equal(rc, ERR_DEADLINE);
	assert_true(clock_mono_ms() - began < 3000);
}

/* ---- somebody else's ---- */

static void
a_refused_key_names_the_setting(void **state)
{
	struct qdrant_server *open = qdrant, *closed;
	struct search *search;

	(void)state;
	closed = qdrant_server_start(0, "right");
	qdrant = closed;
	config_override(CFG_SEARCH_KEY, "wrong");
	search = opened();
	expect_failure(search, ERR_CONFIG, "QDRANT_API_KEY");
	search_close(search);
	config_override(CFG_SEARCH_KEY, "right");
	search = opened();
	assert_int_equal(put(search, "kn_a", "alpha"), OK);
	assert_int_equal(found(search, "alpha"), 1);
	search_close(search);
	config_override(CFG_SEARCH_KEY, "");
	qdrant = open;
	qdrant_server_stop(closed);
}

/* Without facets: Qdrant before 1.12. Such a server has no word for what it
 * does not know. */
static void
an_old_server_is_not_taken_for_an_empty_one(void **state)
{
	struct search *search = *state;

	assert_int_equal(put(search, "kn_a", "alpha"), OK);
	qdrant_server_fail(
	    qdrant, "/facet", 1, "\"status\":404,\"sentence\":\"\"");
	expect_failure(search, ERR_CONFIG, "1.12");
}

static void
a_collection_that_another_replica_made_first_is_used(void **state)
{
	struct search *first = *state, *second = opened();

	/* Before the second one asks, "not there"; when it creates, there. */
	assert_int_equal(put(first, "kn_a", "alpha"), OK);
	qdrant_server_fail(qdrant, "/collections/xin_chunks", 1,
	    "\"status\":404,\"sentence\":\"Not found: Collection\"");
	assert_int_equal(put(second, "kn_b", "alpha"), OK);
	assert_int_equal(qdrant_server_count(qdrant, "PUT "), 2);
	assert_int_equal(found(first, "alpha"), 2);
	search_close(second);
}

static void
urls_and_names_that_cannot_work_are_refused(void **state)
{
	struct search *search;

	(void)state;
	assert_int_equal(search_open("http://", NULL, &search), ERR_CONFIG);
	assert_int_equal(
	    search_open("http://key@host:6333", NULL, &search), ERR_CONFIG);
	assert_int_equal(
	    search_open("redis://host", NULL, &search), ERR_CONFIG);
	config_override(CFG_SEARCH_COLLECTION, "a/b");
	assert_int_equal(
	    search_open("http://host:6333", NULL, &search), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "XIN_SEARCH_COLLECTION"));
	config_override(CFG_SEARCH_COLLECTION, "xin_chunks");
	assert_int_equal(search_open("https://host:6333/", NULL, &search), OK);
	search_close(search);
}

static void
an_unknown_quantisation_is_named(void **state)
{
	const float near[] = { 1, 0 };

	config_override(CFG_SEARCH_QUANTIZATION, "tiny");
	assert_int_equal(
	    put_vector(*state, "kn_a", 0, "alpha", near, 2), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "XIN_SEARCH_QUANTIZATION"));
	config_override(CFG_SEARCH_QUANTIZATION, "scalar");
	assert_int_equal(put_vector(*state, "kn_a", 0, "alpha", near, 2), OK);
	config_override(CFG_SEARCH_QUANTIZATION, "none");
}

static void
without_a_collection_nothing_is_found(void **state)
{
	struct search *search = *state;
	const char *term = "alpha";
	double idf;

	assert_int_equal(found(search, "alpha"), 0);
	assert_int_equal(search_drop(search, "acme", "kn_a", 0), OK);
	assert_int_equal(search_idf(search, "acme", &term, 1, &idf), OK);
	assert_true(fabs(idf - log(2)) < 1e-12);
}

static void
a_deleted_collection_is_made_again(void **state)
{
	struct search *search = *state;

	assert_int_equal(put(search, "kn_a", "alpha"), OK);
	qdrant_server_reset(qdrant);
	assert_int_equal(put(search, "kn_b", "alpha"), OK);
	assert_int_equal(found(search, "alpha"), 1);
}

/* ---- writing ---- */

static void
many_chunks_go_in_batches(void **state)
{
	struct search *search = *state;
	struct chunk *chunks = mem_zero(600 * sizeof(*chunks));

	for (size_t i = 0; i < 600; i++)
		chunks[i] = (struct chunk){
			.number = (int64_t)i, .text = "alpha", .len = 5
		};
	assert_int_equal(
	    search_put(search, "acme", "kn_a", 1, "", chunks, 600), OK);
	assert_int_equal(qdrant_server_count(qdrant, "PUT /points"), 3);
	assert_int_equal(found(search, "alpha"), 8);
	mem_free(chunks);
}

static void
large_chunks_go_in_small_batches(void **state)
{
	struct search *search = *state;
	struct chunk chunks[5];
	size_t len = 3 << 20;
	char *text = mem_zero(len + 1);

	memset(text, '.', len);
	memcpy(text, "alpha ", 6);
	for (size_t i = 0; i < 5; i++)
		chunks[i] = (struct chunk){
			.number = (int64_t)i, .text = text, .len = len
		};
	assert_int_equal(
	    search_put(search, "acme", "kn_a", 1, "", chunks, 5), OK);
	assert_int_equal(qdrant_server_count(qdrant, "PUT /points"), 2);
	assert_int_equal(found(search, "alpha"), 5);
	mem_free(text);
}

/* ---- counting ---- */

static void
the_same_question_is_counted_once(void **state)
{
	struct search *search = *state;
	int counts, facets;

	assert_int_equal(put(search, "kn_a", "alpha beta"), OK);
	assert_int_equal(found(search, "alpha beta"), 1);
	counts = qdrant_server_count(qdrant, "POST /points/count");
	facets = qdrant_server_count(qdrant, "POST /facet");
	assert_int_equal(counts, 2);
	assert_int_equal(facets, 2);
	for (int i = 0; i < 10; i++)
		assert_int_equal(found(search, "beta alpha"), 1);
	assert_int_equal(
	    qdrant_server_count(qdrant, "POST /points/count"), counts);
	assert_int_equal(qdrant_server_count(qdrant, "POST /facet"), facets);
}

static void
what_another_process_puts_is_found_and_weighed_at_once(void **state)
{
	struct search *here = *state, *there = opened();
	struct search_hits mine, theirs;

	assert_int_equal(put(there, "kn_a", "alpha beta"), OK);
	assert_int_equal(found(here, "alpha"), 1);
	assert_int_equal(put(there, "kn_b", "alpha gamma delta"), OK);
	assert_int_equal(put(there, "kn_draft", "alpha"), OK);
	assert_int_equal(find_near(here, "alpha", NULL, 0, &mine), OK);
	assert_int_equal(find_near(there, "alpha", NULL, 0, &theirs), OK);
	assert_int_equal(mine.count, 2);
	assert_int_equal(theirs.count, 2);
	for (size_t i = 0; i < 2; i++)
		assert_true(mine.items[i].score == theirs.items[i].score);
	search_hits_done(&mine);
	search_hits_done(&theirs);
	search_close(there);
}

/* While documents come in by the dozen, the whole view is not made again for
 * each of them: one facet for the lengths, none for the parts. */
static void
a_stream_of_new_documents_is_followed_cheaply(void **state)
{
	struct search *here = *state, *there = opened();
	int before;

	assert_int_equal(put(there, "kn_a", "alpha"), OK);
	assert_int_equal(found(here, "alpha"), 1);
	before = qdrant_server_count(qdrant, "POST /facet");
	for (int i = 0; i < 20; i++) {
		char id[16], text[32];

		snprintf(id, sizeof(id), "kn_%02d", i);
		snprintf(text, sizeof(text), "alpha beta%d", 100 + i);
		assert_int_equal(put(there, id, text), OK);
		assert_int_equal(found(here, text + 6), 1);
	}
	assert_in_range(
	    qdrant_server_count(qdrant, "POST /facet") - before, 20, 24);
	search_close(there);
}

/* ---- vectors ---- */

static void
expect_hit(const struct search_hits *hits, size_t i, const char *id,
    double score, double coverage)
{
	assert_true(i < hits->count);
	assert_string_equal(hits->items[i].source_id, id);
	if (fabs(hits->items[i].score - score) > 1e-12 ||
	    fabs(hits->items[i].coverage - coverage) > 1e-12)
		fail_msg("%s: %.12f, %.12f", id, hits->items[i].score,
		    hits->items[i].coverage);
}

static void
words_and_vectors_are_fused_by_their_ranks(void **state)
{
	const float up[] = { 1, 0 }, upish[] = { 3, 1 }, side[] = { 0, 1 };
	struct search *search = *state;
	struct search_hits hits;

	assert_int_equal(put_vector(search, "kn_a", 0, "alpha", side, 2), OK);
	assert_int_equal(put_vector(search, "kn_b", 0, "beta", up, 2), OK);
	assert_int_equal(
	    put_vector(search, "kn_c", 0, "alpha gamma", upish, 2), OK);
	assert_int_equal(put(search, "kn_d", "delta"), OK); /* no vector */
	assert_int_equal(find_near(search, "alpha", up, 2, &hits), OK);
	assert_int_equal(hits.count, 3);
	/* c: second in both; a: first and third; b: first of one. */
	expect_hit(&hits, 0, "kn_a", 1.0 / 61 + 1.0 / 63, 1);
	expect_hit(&hits, 1, "kn_c", 1.0 / 62 + 1.0 / 62, 1);
	expect_hit(&hits, 2, "kn_b", 1.0 / 61, 0);
	search_hits_done(&hits);
	/* Without words the vector ranks alone; without a vector the words. */
	assert_int_equal(find_near(search, "", up, 2, &hits), OK);
	assert_int_equal(hits.count, 3);
	expect_hit(&hits, 0, "kn_b", 1.0 / 61, 0);
	expect_hit(&hits, 1, "kn_c", 1.0 / 62, 0);
	expect_hit(&hits, 2, "kn_a", 1.0 / 63, 0);
	search_hits_done(&hits);
	assert_int_equal(found(search, "alpha"), 2);
}

static void
vectors_of_another_length_are_refused_with_both_numbers(void **state)
{
	const float three[] = { 1, 0, 0 }, four[] = { 1, 0, 0, 0 };
	struct search *search = *state, *later = opened();
	struct search_hits hits;

	assert_int_equal(put_vector(search, "kn_a", 0, "alpha", three, 3), OK);
	assert_int_equal(
	    put_vector(search, "kn_b", 0, "alpha", four, 4), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "vectors of 3 dimensions"));
	assert_non_null(strstr(err_message(), "have 4"));
	assert_int_equal(
	    put_vector(later, "kn_b", 0, "alpha", four, 4), ERR_CONFIG);
	assert_int_equal(find_near(later, "alpha", four, 4, &hits), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "have 4"));
	search_close(later);
}

static void
a_collection_without_vectors_says_so(void **state)
{
	const float near[] = { 1, 0 };
	struct search *search = *state;
	struct search_hits hits;

	assert_int_equal(put(search, "kn_a", "alpha"), OK);
	assert_int_equal(
	    put_vector(search, "kn_b", 0, "alpha", near, 2), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "XIN_SEARCH_COLLECTION"));
	/* A question's vector finds nothing to be held against. */
	assert_int_equal(find_near(search, "alpha", near, 2, &hits), OK);
	assert_int_equal(hits.count, 1);
	search_hits_done(&hits);
}

static void
a_vector_that_holds_no_numbers_is_refused(void **state)
{
	const float bad[] = { 1, NAN };

	assert_int_equal(
	    put_vector(*state, "kn_a", 0, "alpha", bad, 2), ERR_INVALID);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest search_qdrant[] = {
		T(a_server_that_is_down_is_named_and_used_when_it_is_back),
		T(what_passes_by_itself_is_tried_again),
		T(a_collection_that_is_being_made_is_empty),
		T(a_full_server_says_when_to_come_back),
		T(a_server_that_stays_broken_is_an_error_with_its_sentence),
		T(a_slow_server_does_not_hold_a_turn_over_its_deadline),
		T(a_slow_count_ends_with_the_turn_too),
		T(a_refused_key_names_the_setting),
		T(an_old_server_is_not_taken_for_an_empty_one),
		T(a_collection_that_another_replica_made_first_is_used),
		T(urls_and_names_that_cannot_work_are_refused),
		T(an_unknown_quantisation_is_named),
		T(without_a_collection_nothing_is_found),
		T(a_deleted_collection_is_made_again),
		T(many_chunks_go_in_batches),
		T(large_chunks_go_in_small_batches),
		T(the_same_question_is_counted_once),
		T(what_another_process_puts_is_found_and_weighed_at_once),
		T(a_stream_of_new_documents_is_followed_cheaply),
		T(words_and_vectors_are_fused_by_their_ranks),
		T(vectors_of_another_length_are_refused_with_both_numbers),
		T(a_collection_without_vectors_says_so),
		T(a_vector_that_holds_no_numbers_is_refused),
	};
	int failed;

	qdrant = qdrant_server_start(0, NULL);
	if (qdrant == NULL) {
		print_message("SKIPPED: Qdrant's double needs python3\n");
		return 0;
	}
	failed = fiber_group(search_qdrant, NULL, NULL);
	qdrant_server_stop(qdrant);
	return failed;
}
