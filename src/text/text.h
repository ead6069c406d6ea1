/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TEXT_TEXT_H
#define XIN_TEXT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/*
 * Pure text work: folding, tokens, sentences. Nothing here waits or locks;
 * all input is valid UTF-8 (checked at the edges).
 *
 * Folding (one table for index and query): NFKC, case folding, Arabic and
 * Persian letters unified on the Persian ones, tatweel, vowel marks and bidi
 * controls removed, all decimal digits to ASCII. Tokens: UAX #29 words over
 * the folded text; ZWNJ splits and the joined form is indexed as well; Han,
 * Kana, Thai as bigrams; combining marks stay with their base; English
 * stemmed by Porter, other scripts light suffix stripping.
 */
void text_fold(const char *text, size_t len, struct buf *out);

struct text_token {
	const char *text; /* folded, stemmed; NUL-terminated */
	size_t len;
	size_t start, end; /* byte offsets in the original */
};
/* Return false to stop. Tokens are at most 64 bytes; longer ones are cut. */
typedef bool (*text_token_fn)(void *arg, const struct text_token *token);
void text_tokens(const char *text, size_t len, text_token_fn fn, void *arg);
/* All tokens separated by single spaces. */
void text_token_string(const char *text, size_t len, struct buf *out);
/* English and Persian function words, after folding. */
bool text_is_stop(const char *token, size_t len);

/* Byte ranges of sentences, abbreviations and decimal points considered;
 * . ! ? and their Arabic, Persian, CJK, Devanagari forms; blank lines end
 * a sentence too. */
typedef bool (*text_range_fn)(void *arg, size_t start, size_t end);
void text_sentences(const char *text, size_t len, text_range_fn fn, void *arg);

/* Code points; and the byte offset after `count` of them. */
size_t text_length(const char *text, size_t len);
size_t text_offset(const char *text, size_t len, size_t count);

/* First strong direction (UAX #9 P2): true when right-to-left. */
bool text_is_rtl(const char *text, size_t len);
/* "fa", "ar", "en", "zh", "hi" ... by script and letters; "und" otherwise. */
const char *text_language(const char *text, size_t len);

/* Dice similarity of token sets, 0..1. */
double text_similarity(
    const char *a, size_t a_len, const char *b, size_t b_len);

#endif
