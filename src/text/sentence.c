/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sentence ranges of original text, lengths, and direction. A sentence ends
 * after its closing marks and quotes; a full stop ends one only before white
 * space and not after an abbreviation or a single letter.
 */
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#include "text/text_internal.h"

static bool
is_space(int32_t cp)
{
	return cp == ' ' || (cp >= '\t' && cp <= '\r') || cp == 0xA0 ||
	       cp == 0x3000 || cp == 0x2028 || cp == 0x2029;
}

/* Ends a sentence wherever it stands. */
static bool
is_strong_end(int32_t cp)
{
	return cp == '!' || cp == '?' || cp == 0x61F || cp == 0x6D4 ||
	       cp == 0x3002 || cp == 0xFF01 || cp == 0xFF1F || cp == 0xFF61 ||
	       cp == 0x964 || cp == 0x965 || cp == 0x203C || cp == 0x2049;
}

static bool
is_closing(int32_t cp)
{
	utf8proc_category_t category = utf8proc_category(cp);

	return cp == '"' || cp == '\'' || category == UTF8PROC_CATEGORY_PE ||
	       category == UTF8PROC_CATEGORY_PF;
}

static bool
is_abbreviation(const char *text, size_t start, size_t dot)
{
	static const char *const known[] = { "mr", "mrs", "ms", "dr", "prof",
		"st", "vs", "etc", "e.g", "i.e", "no", "fig", "inc", "ltd",
		"jr", "sr", "cf", "approx", "dept", "est", "al", "gen", "col",
		"rev", "gov", "sen", "rep", "vol", "pp" };
	size_t from = dot, n, i;

	while (from > start && (unsigned char)text[from - 1] > ' ' &&
	       text[from - 1] != '(')
		from--;
	n = dot - from;
	if (n == 1 && ((text[from] | 32) >= 'a' && (text[from] | 32) <= 'z'))
		return true;
	if (n == 3 && text[from + 1] == '.')
		return true; /* U.S. */
	for (i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strlen(known[i]) == n &&
		    strncasecmp(known[i], text + from, n) == 0)
			return true;
	return false;
}

/* The end of the sentence that starts at `start`: past its last mark. */
static size_t
sentence_end(const char *text, size_t len, size_t start)
{
	size_t at = start, n;
	int32_t cp, next;
	bool ended = false;

	while (at < len) {
		n = text__decode(text + at, len - at, &cp);
		if (ended && !is_strong_end(cp) && cp != '.' && !is_closing(cp))
			return at;
		if (cp == '\n') {
			size_t look = at + 1;

			while (look < len &&
			       (text[look] == ' ' || text[look] == '\t' ||
				   text[look] == '\r'))
				look++;
			if (look >= len || text[look] == '\n')
				return at;
		}
		if (is_strong_end(cp))
			ended = true;
		if (cp == '.' && at + n < len) {
			text__decode(text + at + n, len - at - n, &next);
			if ((is_space(next) || is_closing(next)) &&
			    !is_abbreviation(text, start, at))
				ended = true;
		}
		at += n;
	}
	return len;
}

void
text_sentences(const char *text, size_t len, text_range_fn fn, void *arg)
{
	size_t at = 0, end, n, trimmed;
	int32_t cp;

	while (at < len) {
		n = text__decode(text + at, len - at, &cp);
		if (is_space(cp)) {
			at += n;
			continue;
		}
		end = sentence_end(text, len, at);
		trimmed = end;
		while (trimmed > at && (unsigned char)text[trimmed - 1] <= ' ')
			trimmed--;
		if (!fn(arg, at, trimmed))
			return;
		at = end;
	}
}

size_t
text_length(const char *text, size_t len)
{
	size_t count = 0, i;

	for (i = 0; i < len; i++)
		count += ((unsigned char)text[i] & 0xC0) != 0x80;
	return count;
}

size_t
text_offset(const char *text, size_t len, size_t count)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (((unsigned char)text[i] & 0xC0) != 0x80 && count-- == 0)
			return i;
	return len;
}

bool
text_is_rtl(const char *text, size_t len)
{
	size_t at = 0;
	int32_t cp;

	while (at < len) {
		at += text__decode(text + at, len - at, &cp);
		switch (utf8proc_get_property(cp)->bidi_class) {
		case UTF8PROC_BIDI_CLASS_L:
			return false;
		case UTF8PROC_BIDI_CLASS_R:
		case UTF8PROC_BIDI_CLASS_AL:
			return true;
		default:
			break;
		}
	}
	return false;
}
