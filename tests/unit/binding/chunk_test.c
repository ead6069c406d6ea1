/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks are ranges of the text, within the size, under the right heading. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "binding/internal.h"
#include "text/text.h"

static struct binding_blocks *
blocks_of(const char *json)
{
	json_t *items;

	assert_int_equal(json_parse(json, strlen(json), &items), OK);
	return binding__blocks_new(items);
}

/* The law: texts joined by blank lines, cut at start and end, is the chunk, but
 * for a header row that a cut table repeats in front. */
static void
assert_ranges(const struct binding_blocks *blocks,
    const struct binding_chunks *chunks, size_t max_chars)
{
	struct buf all;
	size_t i;
	json_t *block;

	buf_init(&all, 0);
	json_array_foreach (blocks->items, i, block) {
		if (i > 0)
			buf_adds(&all, "\n\n");
		buf_adds(&all, json_str(block, "text"));
	}
	for (i = 0; i < chunks->count; i++) {
		const struct binding_chunk *chunk = &chunks->items[i];
		size_t from, to;

		assert_true(chunk->start < chunk->end);
		assert_true(text_length(chunk->text, chunk->len) <= max_chars);
		from = text_offset(all.data, all.len, (size_t)chunk->start);
		to = text_offset(all.data, all.len, (size_t)chunk->end);
		assert_true(to - from <= chunk->len);
		assert_memory_equal(all.data + from,
		    chunk->text + chunk->len - (to - from), to - from);
		assert_true(to - from == chunk->len ||
			    chunk->text[chunk->len - (to - from) - 1] == '\n');
		if (i > 0)
			assert_true(chunk->start >= chunks->items[i - 1].end);
	}
	buf_done(&all);
}

static void
sections_begin_chunks_and_name_them(void **state)
{
	struct binding_blocks *blocks = blocks_of(
	    "[{\"type\":\"heading\",\"level\":1,\"text\":\"Install\"},"
	    "{\"type\":\"paragraph\",\"text\":\"Get the package first, it is "
	    "signed and small.\"},"
	    "{\"type\":\"heading\",\"level\":2,\"text\":\"Linux\"},"
	    "{\"type\":\"paragraph\",\"text\":\"Use apt.\"},"
	    "{\"type\":\"heading\",\"level\":1,\"text\":\"Use\"},"
	    "{\"type\":\"paragraph\",\"text\":\"Run it.\"}]");
	struct binding_chunks *chunks = binding__chunk(blocks, 80);

	(void)state;
	assert_int_equal(chunks->count, 2);
	assert_string_equal(chunks->items[0].heading, "Install");
	assert_string_equal(chunks->items[1].heading, "Install > Linux");
	assert_non_null(strstr(chunks->items[1].text, "Run it."));
	assert_ranges(blocks, chunks, 80);
	binding__chunks_unref(chunks);
	binding__blocks_unref(blocks);
}

static void
long_paragraphs_are_cut_between_sentences(void **state)
{
	struct binding_blocks *blocks = blocks_of(
	    "[{\"type\":\"paragraph\",\"text\":\"The first sentence stands "
	    "here. The second one follows it. The third ends the "
	    "paragraph.\"}]");
	struct binding_chunks *chunks = binding__chunk(blocks, 70);

	(void)state;
	assert_int_equal(chunks->count, 2);
	assert_string_equal(
	    chunks->items[1].text, "The third ends the paragraph.");
	assert_ranges(blocks, chunks, 70);
	binding__chunks_unref(chunks);
	binding__blocks_unref(blocks);
}

static void
persian_counts_characters_not_bytes(void **state)
{
	struct binding_blocks *blocks = blocks_of(
	    "[{\"type\":\"paragraph\",\"text\":\"گارانتی دو سال است. ارسال "
	    "رایگان است؟ بله، همیشه.\"},{\"type\":\"paragraph\",\"text\":\"پایان "
	    "متن\"}]");
	struct binding_chunks *chunks = binding__chunk(blocks, 50);

	(void)state;
	assert_true(chunks->count >= 2);
	assert_ranges(blocks, chunks, 50);
	binding__chunks_unref(chunks);
	binding__blocks_unref(blocks);
}

static void
a_text_without_spaces_is_cut_all_the_same(void **state)
{
	json_t *items = json_array();
	struct binding_blocks *blocks;
	struct binding_chunks *chunks;
	char text[1001];

	(void)state;
	memset(text, 'x', 1000);
	text[1000] = '\0';
	json_array_append_new(
	    items, json_pack("{s:s, s:s}", "type", "paragraph", "text", text));
	json_array_append_new(
	    items, json_pack("{s:s, s:s}", "type", "code", "text", text));
	blocks = binding__blocks_new(items);
	chunks = binding__chunk(blocks, 300);
	assert_int_equal(chunks->count, 8);
	assert_ranges(blocks, chunks, 300);
	binding__chunks_unref(chunks);
	binding__blocks_unref(blocks);
}

static void
tables_are_cut_between_rows(void **state)
{
	struct binding_blocks *blocks =
	    blocks_of("[{\"type\":\"table\",\"text\":\"size | price\\nsmall | "
		      "10\\nmedium | 20. Or 25.\\nlarge | 30\"}]");
	struct binding_chunks *chunks = binding__chunk(blocks, 36);

	(void)state;
	assert_int_equal(chunks->count, 3);
	assert_string_equal(chunks->items[0].text, "size | price\nsmall | 10");
	/* Each chunk says what its columns are. */
	assert_string_equal(
	    chunks->items[1].text, "size | price\nmedium | 20. Or 25.");
	assert_string_equal(chunks->items[2].text, "size | price\nlarge | 30");
	assert_ranges(blocks, chunks, 36);
	binding__chunks_unref(chunks);
	binding__blocks_unref(blocks);
}

static void
tables_and_code_that_fit_stay_whole(void **state)
{
	struct binding_blocks *blocks = blocks_of(
	    "[{\"type\":\"paragraph\",\"text\":\"Some words that stand before it, enough of them.\"},"
	    "{\"type\":\"code\",\"text\":\"if x:\\n  y()\\nelse:\\n  z()\"},"
	    "{\"type\":\"table\",\"text\":\"a | b\\n1 | 2\\n3 | 4\"}]");
	struct binding_chunks *chunks = binding__chunk(blocks, 50);

	(void)state;
	assert_int_equal(chunks->count, 2);
	assert_string_equal(chunks->items[1].text,
	    "if x:\n  y()\nelse:\n  z()\n\na | b\n1 | 2\n3 | 4");
	assert_ranges(blocks, chunks, 50);
	binding__chunks_unref(chunks);
	binding__blocks_unref(blocks);
}

static void
chunks_know_the_page_they_begin_on(void **state)
{
	struct binding_blocks *blocks = blocks_of(
	    "[{\"type\":\"paragraph\",\"text\":\"On the first page.\","
	    "\"page\":1},{\"type\":\"paragraph\",\"text\":\"On the second "
	    "page.\",\"page\":2},{\"type\":\"paragraph\",\"text\":\"There "
	    "too.\",\"page\":2}]");
	struct binding_chunks *chunks = binding__chunk(blocks, 32);

	(void)state;
	assert_int_equal(chunks->count, 2);
	assert_int_equal(chunks->items[0].page, 1);
	assert_int_equal(chunks->items[1].page, 2);
	binding__chunks_unref(chunks);
	binding__blocks_unref(blocks);
}

/* Many shapes, one law. */
static void
any_text_keeps_the_law(void **state)
{
	static const char *const words[] = { "alpha", "را.", "\n", "  ", "b.",
		"漢字。", "e\xcc\x81", "!", "ہے", "Dr.", "3.14" };
	static const char *const types[] = { "paragraph", "list", "table",
		"heading", "code", "quote" };
	uint32_t seed = 7;

	(void)state;
	for (int round = 0; round < 200; round++) {
		json_t *items = json_array();
		struct binding_blocks *blocks;
		struct binding_chunks *chunks;
		int count = 1 + round % 7;

		for (int b = 0; b < count; b++) {
			struct buf text;

			buf_init(&text, 0);
			buf_adds(&text, "w");
			for (int w = 0; w < 40; w++) {
				seed = seed * 1664525u + 1013904223u;
				buf_adds(&text, words[(seed >> 16) % 11]);
				if ((seed >> 8) % 3 != 0)
					buf_addc(&text, ' ');
			}
			buf_adds(&text, "w");
			json_array_append_new(
			    items, json_pack("{s:s, s:s, s:i}", "type",
				       types[(seed >> 12) % 6], "text",
				       buf_str(&text), "level", 1 + b % 3));
			buf_done(&text);
		}
		blocks = binding__blocks_new(items);
		chunks = binding__chunk(blocks, 50 + (size_t)round);
		assert_true(chunks->count > 0);
		assert_ranges(blocks, chunks, 50 + (size_t)round);
		binding__chunks_unref(chunks);
		binding__blocks_unref(blocks);
	}
}

static char *
clean(const char *text, bool verbatim)
{
	struct buf out;

	buf_init(&out, 0);
	binding__clean_text(text, strlen(text), verbatim, &out);
	buf_adds(&out, "");
	return buf_take(&out, NULL);
}

static void
cleaning_keeps_joiners_and_joins_cut_words(void **state)
{
	char *text;

	(void)state;
	text =
	    clean("  می\xe2\x80\x8cخواهم\xc2\xa0 الان \r\n\r\n\r\n\r\nexam-\n"
		  "ple\xc2\xad x\x01y \xef\xbb\xbf",
		false);
	assert_string_equal(text, "می\xe2\x80\x8cخواهم الان\n\nexample xy");
	mem_free(text);
	text = clean("if x:\n    y\n", true);
	assert_string_equal(text, "if x:\n    y");
	mem_free(text);
}

static void
page_furniture_goes_and_content_stays(void **state)
{
	struct binding_blocks *in, *out;
	json_t *items = json_array();

	(void)state;
	for (int page = 1; page <= 6; page++) {
		json_array_append_new(
		    items, json_pack("{s:s, s:s}", "type", "paragraph", "text",
			       "Acme user manual"));
		json_array_append_new(items,
		    json_pack("{s:s, s:o}", "type", "paragraph", "text",
			json_sprintf("Text of page %d, which matters", page)));
		json_array_append_new(
		    items, json_pack("{s:s, s:o}", "type", "paragraph", "text",
			       json_sprintf("Page %d of 6", page)));
	}
	in = binding__blocks_new(items);
	out = binding__clean_blocks(in);
	assert_int_equal(json_array_size(out->items), 7);
	binding__blocks_unref(in);
	binding__blocks_unref(out);
}

static void
numbers_that_mean_something_stay(void **state)
{
	struct binding_blocks *in =
	    blocks_of("[{\"type\":\"paragraph\",\"text\":\"7\",\"page\":2},"
		      "{\"type\":\"paragraph\",\"text\":\"128\",\"page\":2},"
		      "{\"type\":\"paragraph\",\"text\":\"2\",\"page\":2},"
		      "{\"type\":\"paragraph\",\"text\":\"+98 21 1234 5678\"},"
		      "{\"type\":\"paragraph\",\"text\":\"- 12 -\"}]");
	struct binding_blocks *out = binding__clean_blocks(in);

	(void)state;
	assert_int_equal(json_array_size(out->items), 3);
	assert_string_equal(json_str(json_array_get(out->items, 2), "text"),
	    "+98 21 1234 5678");
	binding__blocks_unref(in);
	binding__blocks_unref(out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sections_begin_chunks_and_name_them),
		cmocka_unit_test(long_paragraphs_are_cut_between_sentences),
		cmocka_unit_test(persian_counts_characters_not_bytes),
		cmocka_unit_test(a_text_without_spaces_is_cut_all_the_same),
		cmocka_unit_test(tables_are_cut_between_rows),
		cmocka_unit_test(tables_and_code_that_fit_stay_whole),
		cmocka_unit_test(chunks_know_the_page_they_begin_on),
		cmocka_unit_test(any_text_keeps_the_law),
		cmocka_unit_test(cleaning_keeps_joiners_and_joins_cut_words),
		cmocka_unit_test(page_furniture_goes_and_content_stays),
		cmocka_unit_test(numbers_that_mean_something_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
