/* SPDX-License-Identifier: Apache-2.0 */
/* A chunk as a point of Qdrant. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "search/search_qdrant.h"

static const struct qdrant_place place = { .brand = "acme",
	.source_id = "kn_a",
	.title = "Refunds",
	.metadata = "{\"lang\":\"fa\",\"n\":1}",
	.source_url = "https://example.org/a",
	.version = 3 };

static json_t *
point_of(const struct chunk *chunk)
{
	json_t *point;
	struct buf text;

	buf_init(&text, 0);
	assert_int_equal(search__qdrant_point(&place, chunk, &text), OK);
	assert_int_equal(json_parse(text.data, text.len, &point), OK);
	buf_done(&text);
	return point;
}

static void
term_ids_are_those_of_qdrants_own_bm25(void **state)
{
	(void)state;
	assert_int_equal(search__qdrant_term_id("hello"), 613153351);
	assert_int_equal(search__qdrant_term_id("world"), 74040069);
	assert_int_equal(search__qdrant_term_id("refund"), 517146909);
	assert_int_equal(search__qdrant_term_id("سلام"), 112645448);
	assert_int_equal(search__qdrant_term_id("بازگشت"), 1149907629);
}

/* uuid.uuid5(uuid.UUID("6b3d5a0e-8f41-4c2b-9d77-15e2a8603c94"),
 *     "acme/kn_a/3/7") */
static void
ids_are_uuids_of_version_5_and_stay_the_same(void **state)
{
	char id[37], other[37];

	(void)state;
	search__qdrant_id(&place, 7, id);
	assert_string_equal(id, "ed5bafbd-ea9b-5280-95d6-280793b8c9bd");
	search__qdrant_id(&place, 8, other);
	assert_string_not_equal(id, other);
}

static void
a_point_has_what_a_search_needs(void **state)
{
	const struct chunk chunk = { .number = 7,
		.text = "refund refund policy",
		.len = 20,
		.start = 5,
		.end = 25,
		.heading = "Money" };
	json_t *point = point_of(&chunk);
	json_t *payload = json_object_get(point, "payload");
	json_t *vector = json_object_get(point, "vector");
	json_t *words = json_object_get(payload, "words");

	(void)state;
	assert_string_equal(json_str(payload, "brand"), "acme");
	assert_string_equal(json_str(payload, "part"), "kn_a@3");
	assert_int_equal(json_int(payload, "version", 0), 3);
	assert_int_equal(json_int(payload, "number", 0), 7);
	assert_int_equal(json_object_size(words), 3);
	assert_int_equal(json_int(words, "monei", 0), 1);
	assert_int_equal(json_int(words, "polici", 0), 1);
	assert_int_equal(json_int(words, "refund", 0), 4);
	assert_string_equal(json_str(payload, "tokens"), "6");
	assert_int_equal(json_array_size(json_object_get(payload, "terms")), 3);
	assert_string_equal(
	    json_str(payload, "metadata"), "{\"lang\":\"fa\",\"n\":1}");
	assert_string_equal(
	    json_str(payload, "source_url"), "https://example.org/a");
	assert_int_equal(json_int(payload, "start", 0), 5);
	assert_int_equal(json_int(payload, "end", 0), 25);
	assert_int_equal(json_array_size(json_object_get(
			     json_object_get(vector, "bm25"), "indices")),
	    3);
	assert_null(json_object_get(vector, "dense"));
	json_decref(point);
}

static void
a_chunks_own_metadata_wins_and_a_vector_is_kept(void **state)
{
	const float numbers[] = { 0.25f, -1.5f };
	const struct chunk chunk = { .text = "alpha",
		.len = 5,
		.metadata = "{\"b\":{\"y\":1,\"x\":[true,null]},\"a\":1.5}",
		.vector = numbers,
		.dimensions = 2 };
	json_t *point = point_of(&chunk);
	json_t *facts =
	    json_object_get(json_object_get(point, "payload"), "facts");
	json_t *dense =
	    json_object_get(json_object_get(point, "vector"), "dense");

	(void)state;
	assert_int_equal(json_array_size(facts), 2);
	assert_string_equal(json_string_value(json_array_get(facts, 0)),
	    "b={\"x\":[true,null],\"y\":1}");
	assert_string_equal(
	    json_string_value(json_array_get(facts, 1)), "a=1.5");
	assert_int_equal(json_array_size(dense), 2);
	assert_true(json_number_value(json_array_get(dense, 1)) == -1.5);
	json_decref(point);
}

static void
a_long_fact_becomes_a_hash(void **state)
{
	json_t *value = json_stringn(
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	    60);
	char *much = mem_zero(5001);
	json_t *long_value;
	struct buf out;

	(void)state;
	memset(much, 'x', 5000);
	long_value = json_string(much);
	buf_init(&out, 0);
	search__qdrant_fact(&out, "k", value);
	assert_int_equal(out.len, 60 + 8); /* "k=\"...\"" */
	buf_clear(&out);
	search__qdrant_fact(&out, "k", long_value);
	assert_int_equal(out.len, 64 + 2);
	buf_done(&out);
	json_decref(value);
	json_decref(long_value);
	mem_free(much);
}

static void
terms_that_share_an_index_stand_once(void **state)
{
	struct qdrant_weight weights[] = { { 9, 0.5 }, { 4, 1 }, { 9, 0.25 } };
	struct qdrant_weight again[] = { { 9, 0.5 }, { 4, 1 }, { 9, 0.25 } };
	struct buf out;

	(void)state;
	buf_init(&out, 0);
	search__qdrant_sparse(&out, weights, 3, true);
	assert_string_equal(
	    buf_str(&out), "{\"indices\":[4,9],\"values\":[1,0.75]}");
	buf_clear(&out);
	search__qdrant_sparse(&out, again, 3, false);
	assert_string_equal(
	    buf_str(&out), "{\"indices\":[4,9],\"values\":[1,0.5]}");
	buf_done(&out);
}

static void
a_chunk_without_words_has_no_sparse_vector(void **state)
{
	const struct qdrant_place bare = {
		.brand = "acme", .source_id = "kn_a", .title = "", .version = 1
	};
	const struct chunk chunk = { .text = "...", .len = 3 };
	json_t *point;
	struct buf text;

	(void)state;
	buf_init(&text, 0);
	assert_int_equal(search__qdrant_point(&bare, &chunk, &text), OK);
	assert_int_equal(json_parse(text.data, text.len, &point), OK);
	assert_int_equal(json_object_size(json_object_get(point, "vector")), 0);
	assert_string_equal(
	    json_str(json_object_get(point, "payload"), "tokens"), "0");
	json_decref(point);
	buf_done(&text);
}

static void
metadata_that_is_no_object_is_refused(void **state)
{
	const struct chunk chunk = { .text = "a", .len = 1, .metadata = "[1]" };
	struct buf text;

	(void)state;
	buf_init(&text, 0);
	assert_int_equal(
	    search__qdrant_point(&place, &chunk, &text), ERR_INVALID);
	buf_done(&text);
}

int
main(void)
{
	const struct CMUnitTest qdrant_point[] = {
		cmocka_unit_test(term_ids_are_those_of_qdrants_own_bm25),
		cmocka_unit_test(ids_are_uuids_of_version_5_and_stay_the_same),
		cmocka_unit_test(a_point_has_what_a_search_needs),
		cmocka_unit_test(
		    a_chunks_own_metadata_wins_and_a_vector_is_kept),
		cmocka_unit_test(a_long_fact_becomes_a_hash),
		cmocka_unit_test(terms_that_share_an_index_stand_once),
		cmocka_unit_test(a_chunk_without_words_has_no_sparse_vector),
		cmocka_unit_test(metadata_that_is_no_object_is_refused),
	};

	return cmocka_run_group_tests(qdrant_point, NULL, NULL);
}
