/* SPDX-License-Identifier: Apache-2.0 */
/* A job that is saved and loaded is the same job. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "binding/internal.h"

static void
load_from(const struct binding_job *job, struct binding_job *loaded)
{
	json_t *saved = NULL;
	struct buf text;

	buf_init(&text, 0);
	binding_job_save(job, &text);
	assert_int_equal(json_parse(text.data, text.len, &saved), OK);
	binding_job_load(loaded, saved);
	json_decref(saved);
	buf_done(&text);
}

static void
a_saved_job_loads_as_it_was(void **state)
{
	struct binding_job job = { .made_title = mem_strdup("t\"\n\xd8\xb3"),
		.made_language = mem_strdup("fa"),
		.made_metadata = json_pack("{s:i}", "year", 2024),
		.indexed = 7,
		.dropped = 2,
		.rewritten = 1 };
	struct binding_job loaded = { .brand = "b" };
	const struct binding_chunk *chunk;

	(void)state;
	job.blocks = binding__blocks_new(json_pack("[{s:s, s:s, s:i}]", "type",
	    "paragraph", "text", "one", "page", 3));
	job.chunks = binding__chunks_new();
	binding__chunks_add(job.chunks, "one\0two", 7, 5, 12, "A > B");
	binding__chunks_page(job.chunks, 3);
	binding__chunks_add(job.chunks, "last", 4, 14, 18, "");
	load_from(&job, &loaded);
	assert_string_equal(loaded.made_title, job.made_title);
	assert_string_equal(loaded.made_language, "fa");
	assert_true(json_equal(loaded.made_metadata, job.made_metadata));
	assert_true(json_equal(loaded.blocks->items, job.blocks->items));
	assert_int_equal(loaded.blocks->bytes, 3);
	assert_int_equal(loaded.chunks->count, 2);
	chunk = &loaded.chunks->items[0];
	assert_int_equal(chunk->len, 7);
	assert_memory_equal(chunk->text, "one\0two", 7);
	assert_int_equal(chunk->start, 5);
	assert_int_equal(chunk->end, 12);
	assert_int_equal(chunk->page, 3);
	assert_string_equal(chunk->heading, "A > B");
	assert_null(chunk->vector);
	assert_int_equal(loaded.indexed, 7);
	assert_int_equal(loaded.dropped, 2);
	assert_int_equal(loaded.rewritten, 1);
	assert_string_equal(loaded.brand, "b");
	binding_job_done(&job);
	binding_job_done(&loaded);
}

/* A model that failed in the middle is asked only for the rest. */
static void
vectors_that_were_made_are_kept(void **state)
{
	static const float values[] = { 0.5f, -1.25f, 3e-20f, 1, 0, -0.125f };
	struct binding_job job = { .brand = "b" }, loaded = { .brand = "b" };

	(void)state;
	job.chunks = binding__chunks_new();
	for (int i = 0; i < 3; i++)
		binding__chunks_add(job.chunks, "x", 1, i, i + 1, "");
	job.chunks->dimensions = 3;
	job.chunks->vectors = mem_zero(3 * 3 * sizeof(float));
	memcpy(job.chunks->vectors, values, sizeof(values));
	job.chunks->items[0].vector = job.chunks->vectors;
	job.chunks->items[1].vector = job.chunks->vectors + 3;
	load_from(&job, &loaded);
	assert_int_equal(loaded.chunks->dimensions, 3);
	assert_memory_equal(
	    loaded.chunks->items[0].vector, values, 3 * sizeof(float));
	assert_memory_equal(
	    loaded.chunks->items[1].vector, values + 3, 3 * sizeof(float));
	assert_null(loaded.chunks->items[2].vector);
	binding_job_done(&job);
	binding_job_done(&loaded);
}

static void
a_ceiling_is_told(void **state)
{
	struct binding_job job = { .made_title = mem_strdup("long enough") };
	struct buf text;

	(void)state;
	buf_init(&text, 16);
	binding_job_save(&job, &text);
	assert_true(text.full);
	buf_done(&text);
	binding_job_done(&job);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_saved_job_loads_as_it_was),
		cmocka_unit_test(vectors_that_were_made_are_kept),
		cmocka_unit_test(a_ceiling_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
