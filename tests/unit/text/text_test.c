/* SPDX-License-Identifier: Apache-2.0 */
/* Folding, tokens, stop words, sentences, languages, similarity. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "text/text.h"

static void
assert_folds(const char *text, const char *folded)
{
	struct buf out;

	buf_init(&out, 0);
	text_fold(text, strlen(text), &out);
	assert_string_equal(buf_str(&out), folded);
	buf_done(&out);
}

static void
assert_tokens(const char *text, const char *tokens)
{
	struct buf out;

	buf_init(&out, 0);
	text_token_string(text, strlen(text), &out);
	assert_string_equal(buf_str(&out), tokens);
	buf_done(&out);
}

static void
arabic_and_persian_letters_become_one(void **state)
{
	(void)state;
	assert_folds("كتابي", "کتابی");
	assert_folds("علىٰ", "علی");
	assert_folds("أحمد إلى آب ٱ", "احمد الی اب ا");
	assert_folds("مدرسة خانۀ خانهٔ", "مدرسه خانه خانه");
	assert_folds("مسؤول رئیس", "مسوول رییس");
}

static void
marks_tatweel_and_bidi_controls_vanish(void **state)
{
	(void)state;
	assert_folds("كِتَابٌ", "کتاب");
	assert_folds("کتـــاب", "کتاب");
	assert_folds("\u202Bالف\u202C\u200F\uFEFF", "الف");
}

static void
digits_of_all_scripts_become_ascii(void **state)
{
	(void)state;
	assert_folds("۱۲۳ ٤٥٦ १२३ ๑๒", "123 456 123 12");
	assert_folds("۳٫۵ ۱٬۰۰۰", "3.5 1000");
	assert_folds("１２", "12");
}

static void
presentation_forms_and_case_are_folded(void **state)
{
	(void)state;
	assert_folds("ﻻ", "لا");
	assert_folds("ＦＵＬＬ Straße ﬁn", "full strasse fin");
	assert_folds("e\u0301", "é");
}

static void
zwnj_splits_and_the_joined_form_follows(void **state)
{
	(void)state;
	assert_tokens("کتاب‌ها", "کتاب ها کتاب");
	assert_tokens("نمی‌خواهم", "نمی خواهم نمیخواهم");
}

static void
words_follow_uax_29(void **state)
{
	(void)state;
	assert_tokens("don't stop", "don't stop");
	assert_tokens("U.S. army", "u armi"); /* Porter takes the s */
	assert_tokens("Model S", "model s");  /* no word becomes empty */
	assert_tokens("pi is 3.14, 1,234 items", "pi is 3.14 1234 item");
	assert_tokens("۱،۲", "12");
	assert_tokens("end.Next", "end next");
	assert_tokens("Super_Bowl_50", "super bowl 50");
	assert_tokens("John's", "john");
}

static void
scripts_without_spaces_become_pairs(void **state)
{
	(void)state;
	assert_tokens("中文字", "中文 文字");
	assert_tokens("中", "中");
	assert_tokens("我用linux系统", "我用 linux 系统");
}

static void
hindi_marks_stay_with_their_base(void **state)
{
	(void)state;
	assert_tokens("हिन्दी भाषा", "हिन्दी भाषा");
}

static void
english_is_stemmed_and_arabic_lightly(void **state)
{
	struct buf a, b;

	(void)state;
	assert_tokens("relational running ponies", "relat run poni");
	buf_init(&a, 0);
	buf_init(&b, 0);
	text_token_string("المدرسة", strlen("المدرسة"), &a);
	text_token_string("مدرسة", strlen("مدرسة"), &b);
	assert_string_equal(buf_str(&a), buf_str(&b));
	buf_done(&a);
	buf_done(&b);
}

struct places {
	size_t start[8], end[8];
	size_t count;
};

static bool
keep_place(void *arg, const struct text_token *token)
{
	struct places *p = arg;

	p->start[p->count] = token->start;
	p->end[p->count++] = token->end;
	return p->count < 2;
}

static void
tokens_know_their_places_and_can_be_stopped(void **state)
{
	struct places p = { .count = 0 };
	const char *text = "(كِتاب) two three";

	(void)state;
	text_tokens(text, strlen(text), keep_place, &p);
	assert_int_equal(p.count, 2);
	assert_int_equal(p.start[0], 1);
	assert_int_equal(p.end[0], 1 + strlen("كِتاب"));
	assert_int_equal(p.start[1], strlen("(كِتاب) "));
}

static bool
assert_short(void *arg, const struct text_token *token)
{
	assert_true(token->len <= 64);
	++*(int *)arg;
	return true;
}

static void
a_very_long_word_is_cut(void **state)
{
	char text[5000];
	int count = 0;

	(void)state;
	memset(text, 'x', sizeof(text));
	text_tokens(text, sizeof(text), assert_short, &count);
	assert_int_equal(count, 1);
}

static void
invalid_bytes_do_no_harm(void **state)
{
	int count = 0;

	(void)state;
	text_tokens("\xff\xfe ab \xe2\x80", 9, assert_short, &count);
	assert_true(count >= 1);
	text_tokens("", 0, assert_short, &count);
}

static void
function_words_are_known(void **state)
{
	(void)state;
	assert_true(text_is_stop("the", 3));
	assert_true(text_is_stop("از", strlen("از")));
	assert_false(text_is_stop("router", 6));
	assert_false(text_is_stop("", 0));
}

static bool
add_range(void *arg, size_t start, size_t end)
{
	buf_addf(arg, "[%zu,%zu]", start, end);
	return true;
}

static void
assert_sentences(const char *text, const char *ranges)
{
	struct buf out;

	buf_init(&out, 0);
	text_sentences(text, strlen(text), add_range, &out);
	assert_string_equal(buf_str(&out), ranges);
	buf_done(&out);
}

static void
sentences_end_where_readers_think(void **state)
{
	(void)state;
	assert_sentences("One. Two!", "[0,4][5,9]");
	assert_sentences("Dr. Who paid 3.50 now. Yes", "[0,22][23,26]");
	assert_sentences("He said \"go.\" Then", "[0,13][14,18]");
	assert_sentences("head\n\nbody", "[0,4][6,10]");
	assert_sentences("好。吗？", "[0,6][6,12]");
	assert_sentences("چرا؟ چون", "[0,8][9,15]");
	assert_sentences("", "");
}

static void
lengths_are_in_code_points(void **state)
{
	(void)state;
	assert_int_equal(text_length("aبc", 4), 3);
	assert_int_equal(text_offset("aبc", 4, 2), 3);
	assert_int_equal(text_offset("aبc", 4, 9), 4);
}

static void
direction_is_that_of_the_first_strong_letter(void **state)
{
	(void)state;
	assert_true(text_is_rtl("12 سلام hello", 18));
	assert_false(text_is_rtl("hello سلام", 14));
	assert_false(text_is_rtl("123", 3));
}

static void
assert_language(const char *text, const char *language)
{
	assert_string_equal(text_language(text, strlen(text)), language);
}

static void
languages_are_guessed(void **state)
{
	(void)state;
	assert_language("How do I reset my password?", "en");
	assert_language("چگونه گذرواژه را عوض کنم؟", "fa");
	assert_language("كيف أعيد كلمة المرور؟", "ar");
	assert_language("如何重置密码", "zh");
	assert_language("パスワードを忘れた", "ja");
	assert_language("पासवर्ड कैसे बदलें", "hi");
	assert_language("Wie kann ich das Passwort ändern?", "de");
	assert_language("12345 !!", "und");
}

static void
similarity_is_dice_over_token_sets(void **state)
{
	double half;

	(void)state;
	assert_true(text_similarity("red fox", 7, "fox red", 7) > 0.999);
	assert_true(text_similarity("red", 3, "blue", 4) < 0.001);
	half = text_similarity("red fox", 7, "red dog", 7);
	assert_true(half > 0.49 && half < 0.51);
	assert_true(text_similarity("", 0, "", 0) < 0.001);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arabic_and_persian_letters_become_one),
		cmocka_unit_test(marks_tatweel_and_bidi_controls_vanish),
		cmocka_unit_test(digits_of_all_scripts_become_ascii),
		cmocka_unit_test(presentation_forms_and_case_are_folded),
		cmocka_unit_test(zwnj_splits_and_the_joined_form_follows),
		cmocka_unit_test(words_follow_uax_29),
		cmocka_unit_test(scripts_without_spaces_become_pairs),
		cmocka_unit_test(hindi_marks_stay_with_their_base),
		cmocka_unit_test(english_is_stemmed_and_arabic_lightly),
		cmocka_unit_test(tokens_know_their_places_and_can_be_stopped),
		cmocka_unit_test(a_very_long_word_is_cut),
		cmocka_unit_test(invalid_bytes_do_no_harm),
		cmocka_unit_test(function_words_are_known),
		cmocka_unit_test(sentences_end_where_readers_think),
		cmocka_unit_test(lengths_are_in_code_points),
		cmocka_unit_test(direction_is_that_of_the_first_strong_letter),
		cmocka_unit_test(languages_are_guessed),
		cmocka_unit_test(similarity_is_dice_over_token_sets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
