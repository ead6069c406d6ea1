/* SPDX-License-Identifier: Apache-2.0 */
/* Thousands of damaged documents through the parsers, in this process, so that
 * the sanitizers see them. The seed is fixed: a failure repeats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "extract/internal.h"

static uint64_t seed;

static uint32_t
next(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

static const char *const pieces[] = {
	"# ",
	"\n",
	"\n\n",
	"| a | b |\n",
	"|---|---|\n",
	"> ",
	"- ",
	"1. ",
	"```\n",
	"{ #id }",
	"{",
	"}",
	"{!a!}",
	"/// note | x\n",
	"---\n",
	"===\n",
	"title: x\n",
	"<table><tr><td>",
	"</table>",
	"<ul><li>",
	"</ul>",
	"<pre>",
	"<h1>",
	"</h1>",
	"<p hidden>",
	"<!--",
	"-->",
	"<script>",
	"&#0;",
	"&amp",
	"<img alt=\"x",
	"\xd8\xb3",
	"\xff\xfe",
	"\xe9",
	"\0",
	"\r",
	"\t",
	"    ",
	"[a](b)",
	"![",
	"](",
	"**",
	"`",
	"<br>",
	"\xc2\xa0",
	"word ",
	"\xef\xbb\xbf",
};

#define PIECES (sizeof(pieces) / sizeof(pieces[0]))

static void
compose(struct buf *out)
{
	uint32_t n = 1 + next(60);

	buf_clear(out);
	for (uint32_t i = 0; i < n; i++) {
		const char *piece = pieces[next(PIECES)];

		buf_add(out, piece, piece[0] == '\0' ? 1 : strlen(piece));
		if (next(4) == 0)
			buf_adds(out, "text");
	}
	for (uint32_t i = next(4); i > 0 && out->len > 0; i--)
		out->data[next((uint32_t)out->len)] = (char)next(256);
}

static void
check_blocks(const struct extract__blocks *blocks)
{
	struct buf json;
	json_t *value = NULL;
	json_t *block;
	size_t i;

	buf_init(&json, 0);
	buf_addf(&json, "[%s]", buf_str(&blocks->json));
	assert_int_equal(json_parse(json.data, json.len, &value), OK);
	json_array_foreach (value, i, block) {
		const char *text = json_str(block, "text");

		assert_non_null(text);
		assert_true(text[0] != '\0');
		assert_true(str_is_utf8(text, strlen(text)));
	}
	if (blocks->title != NULL)
		assert_true(str_is_utf8(blocks->title, strlen(blocks->title)));
	json_decref(value);
	buf_done(&json);
}

static void
damaged_documents_give_valid_blocks_or_an_error(void **state)
{
	struct buf document, text;

	(void)state;
	buf_init(&document, 0);
	buf_init(&text, 0);
	for (seed = 1; seed < 6000; seed++) {
		uint64_t number = seed;
		struct extract__blocks blocks;
		char charset[32];

		compose(&document);
		buf_clear(&text);
		extract__blocks_init(&blocks, 4096);
		if (extract__to_utf8(document.data, document.len,
			number % 3 == 0, &text, charset) == OK) {
			assert_true(str_is_utf8(buf_str(&text), text.len));
			if (number % 3 == 0)
				extract__html(
				    buf_str(&text), text.len, &blocks);
			else if (number % 3 == 1)
				extract__markdown(
				    buf_str(&text), text.len, &blocks);
			else
				extract__plain(
				    buf_str(&text), text.len, &blocks);
			check_blocks(&blocks);
		}
		extract__blocks_done(&blocks);
		seed = number;
	}
	buf_done(&document);
	buf_done(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    damaged_documents_give_valid_blocks_or_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
