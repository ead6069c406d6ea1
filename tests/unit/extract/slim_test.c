/* SPDX-License-Identifier: Apache-2.0 */
/* Large pages without their bulk: what goes, and what must stay. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/buf.h"
#include "extract/internal.h"

#define KEPT 4096

/* In pieces of `step` bytes. */
static void
slim(const char *text, size_t len, bool html, size_t step, struct buf *out)
{
	struct extract__slim state;

	buf_init(out, 0);
	extract__slim_init(&state, html);
	for (size_t at = 0; at < len; at += step)
		extract__slim_feed(
		    &state, text + at, len - at < step ? len - at : step, out);
}

static void
expect_same(const char *text, bool html)
{
	for (size_t step = 1; step < 9; step++) {
		struct buf out;

		slim(text, strlen(text), html, step, &out);
		assert_string_equal(buf_str(&out), text);
		buf_done(&out);
	}
}

static void
what_is_short_stays_as_it_is(void **state)
{
	(void)state;
	expect_same("<p>a<!-- b --><!----><script>if (a<b) c</script>"
		    "<STYLE>p{}</STYLE><img src=\"data:image/png;base64,iVBO\">"
		    "\xd8\xb3\xd9\x84\xd8\xa7\xd9\x85</p>",
	    true);
	expect_same("# a\n\n`<script>` and <!-- not closed", false);
}

/* before + filler * many + after: what is left of it. */
static void
expect_cut(const char *before, char filler, const char *after, bool html,
    const char *want_after)
{
	struct buf text, out;

	buf_init(&text, 0);
	buf_adds(&text, before);
	for (int i = 0; i < 100000; i++)
		buf_addc(&text, filler);
	buf_adds(&text, after);
	for (size_t step = 1; step < 70000; step = step * 7 + 1) {
		slim(text.data, text.len, html, step, &out);
		assert_memory_equal(out.data, before, strlen(before));
		assert_true(out.len < KEPT + 100);
		assert_string_equal(
		    out.data + out.len - strlen(want_after), want_after);
		buf_done(&out);
	}
	buf_done(&text);
}

static void
what_is_long_and_no_text_is_cut(void **state)
{
	(void)state;
	expect_cut("<p>a</p><!--", ' ', "--><p>b</p>", true, "--><p>b</p>");
	expect_cut("a\n\n<!--", '-', "-->\n\nb", false, "-->\n\nb");
	expect_cut(
	    "<Script type=x>", ';', "</SCRIPT><p>b", true, "</script><p>b");
	expect_cut("<style>", '}', "</style>b", true, "</style>b");
	expect_cut("<img src=\"data:image/png;base64,", 'A', "\" alt=\"b\">",
	    true, "\" alt=\"b\">");
	expect_cut("![b](data:image/png;base64,", 'z', ") c", false, ") c");
}

static void
expect_whole(const char *before, char filler, bool html)
{
	struct buf text, out;

	buf_init(&text, 0);
	buf_adds(&text, before);
	for (int i = 0; i < 100000; i++)
		buf_addc(&text, filler);
	slim(text.data, text.len, html, 1000, &out);
	assert_int_equal(out.len, text.len);
	assert_memory_equal(out.data, text.data, text.len);
	buf_done(&out);
	buf_done(&text);
}

static void
text_is_never_cut(void **state)
{
	(void)state;
	expect_whole("<p>", '\xd8', true);
	expect_whole("<p>", ' ', true);
	expect_whole("`<script>` in Markdown is text ", '.', false);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_short_stays_as_it_is),
		cmocka_unit_test(what_is_long_and_no_text_is_cut),
		cmocka_unit_test(text_is_never_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
