/* SPDX-License-Identifier: Apache-2.0 */
/* Sentences without what came from outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/mask.h"

static void
masked(const char *sentence, const char *wanted)
{
	char out[ERR_MESSAGE_MAX + 32];

	mask_quoted(sentence, out, sizeof(out));
	assert_string_equal(out, wanted);
}

static void
what_is_quoted_is_told_by_its_length(void **state)
{
	(void)state;
	masked("nothing from outside", "nothing from outside");
	masked(NULL, "");
	masked("no turn \"hello\" here", "no turn (7 bytes) here");
	masked("\"a\"b\" is odd", "(5 bytes) is odd"); /* quotes inside */
	masked("x \"a\" y \"b\" z", "x (9 bytes) z");
	masked("cut \"in the mid", "cut (11 bytes)");
	masked("\"", "(1 bytes)");
}

static void
a_sentence_that_was_cut_hides_its_end(void **state)
{
	char text[ERR_MESSAGE_MAX] = "bad \"a\"";

	(void)state;
	memset(text + 7, 'x', sizeof(text) - 8);
	masked(text, "bad (507 bytes)");
}

static void
identifiers_of_ours_are_told(void **state)
{
	(void)state;
	masked("document \"kn_01m89berfwnae73wb3j5dsq8e9\" has ended",
	    "document \"kn_01m89berfwnae73wb3j5dsq8e9\" has ended");
	masked("document \"kn_01M89berfwnae73wb3j5dsq8e9\" has ended",
	    "document (31 bytes) has ended");
}

static void
words_of_a_script_are_told_and_others_quoted(void **state)
{
	static const char source[] =
	    "error('no price for ' .. sku .. ', ask later')";
	char out[128];

	(void)state;
	mask_quote_foreign("no price for my red shoes, ask later", source,
	    sizeof(source) - 1, out, sizeof(out));
	assert_string_equal(out, "no price for \"my red shoes\", ask later");
	mask_quote_foreign("say \"hi\"", source, sizeof(source) - 1, out, 8);
	assert_true(strlen(out) < 8);
	mask_quote_foreign("", source, sizeof(source) - 1, out, sizeof(out));
	assert_string_equal(out, "");
	mask_quote_foreign("a \"b\" c", "", 0, out, sizeof(out));
	assert_string_equal(out, "\"a \"b\" c\"");
}

static void
a_word_is_told_and_a_sentence_is_not(void **state)
{
	char out[80];

	(void)state;
	mask_unless_word("card_number", out, sizeof(out));
	assert_string_equal(out, "card_number");
	mask_unless_word("my card is", out, sizeof(out));
	assert_string_equal(out, "(10 bytes)");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_quoted_is_told_by_its_length),
		cmocka_unit_test(a_sentence_that_was_cut_hides_its_end),
		cmocka_unit_test(identifiers_of_ours_are_told),
		cmocka_unit_test(words_of_a_script_are_told_and_others_quoted),
		cmocka_unit_test(a_word_is_told_and_a_sentence_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
