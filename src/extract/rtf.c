/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RTF 1.9, the text of it: control words are skipped but for paragraphs, cells
 * and characters; groups that hold no text (fonts, pictures, anything that
 * begins with \*) are left out. Bytes are windows-1252 unless \ansicpg says
 * otherwise.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "extract/internal.h"

#define DEPTH_MAX 1000

struct rtf {
	struct extract__blocks *blocks;
	const char *at, *end;
	char charset[32];
	struct buf bytes;  /* not yet converted */
	struct buf text;   /* of the paragraph */
	int depth, hidden; /* `hidden` = the depth that hides; 0 = none */
	int skip;          /* replacement characters after \u */
	int unicode_skip;  /* how many follow each \u */
};

static void
convert(struct rtf *rtf)
{
	if (rtf->bytes.len > 0)
		extract__from_charset(
		    rtf->bytes.data, rtf->bytes.len, rtf->charset, &rtf->text);
	buf_clear(&rtf->bytes);
}

static void
end_paragraph(struct rtf *rtf)
{
	convert(rtf);
	extract__add(rtf->blocks, BLOCK_PARAGRAPH, 0, buf_str(&rtf->text),
	    rtf->text.len);
	buf_clear(&rtf->text);
}

static void
add_byte(struct rtf *rtf, char c)
{
	if (rtf->hidden > 0)
		return;
	if (rtf->skip > 0)
		rtf->skip--;
	else
		buf_addc(&rtf->bytes, c);
}

static void
add_unicode(struct rtf *rtf, long value)
{
	char utf16[2];

	if (rtf->hidden > 0)
		return;
	if (value < 0)
		value += 65536;
	convert(rtf);
	utf16[0] = (char)(value & 0xff);
	utf16[1] = (char)(value >> 8 & 0xff);
	extract__from_charset(utf16, 2, "UTF-16LE", &rtf->text);
	rtf->skip = rtf->unicode_skip;
}

static bool
is_hidden(const char *word)
{
	static const char *const words[] = { "fonttbl", "colortbl",
		"stylesheet", "info", "pict", "object", "header", "footer",
		"themedata", "listtable", "listoverridetable", "generator",
		"xmlnstbl", "rsidtbl", "fldinst" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i], word) == 0)
			return true;
	return false;
}

static void
obey(struct rtf *rtf, const char *word, long value)
{
	if (is_hidden(word) && rtf->hidden == 0)
		rtf->hidden = rtf->depth;
	else if (rtf->hidden > 0)
		return;
	else if (strcmp(word, "par") == 0 || strcmp(word, "row") == 0 ||
		 strcmp(word, "page") == 0 || strcmp(word, "sect") == 0)
		end_paragraph(rtf);
	else if (strcmp(word, "line") == 0)
		add_byte(rtf, '\n');
	else if (strcmp(word, "tab") == 0)
		add_byte(rtf, '\t');
	else if (strcmp(word, "cell") == 0)
		buf_adds(&rtf->bytes, " | ");
	else if (strcmp(word, "u") == 0)
		add_unicode(rtf, value);
	else if (strcmp(word, "uc") == 0)
		rtf->unicode_skip = value >= 0 && value < 16 ? (int)value : 1;
	else if (strcmp(word, "ansicpg") == 0)
		snprintf(rtf->charset, sizeof(rtf->charset), "CP%ld", value);
	else if (strcmp(word, "emdash") == 0 || strcmp(word, "endash") == 0)
		add_byte(rtf, '-');
	else if (strcmp(word, "bullet") == 0)
		add_byte(rtf, '*');
	else if (strcmp(word, "lquote") == 0 || strcmp(word, "rquote") == 0)
		add_byte(rtf, '\'');
	else if (strcmp(word, "ldblquote") == 0 ||
		 strcmp(word, "rdblquote") == 0)
		add_byte(rtf, '"');
}

/* After the backslash: a word with an optional number, or one character. */
static void
control(struct rtf *rtf)
{
	char word[33];
	size_t n = 0;
	long value = 0;
	bool minus = false;

	if (!isalpha((unsigned char)*rtf->at)) {
		char c = *rtf->at++, hex[3] = { 0 };

		if (c == '\'' && rtf->end - rtf->at >= 2) {
			memcpy(hex, rtf->at, 2);
			rtf->at += 2;
			add_byte(rtf, (char)strtol(hex, NULL, 16));
		} else if (c == '*' && rtf->hidden == 0) {
			rtf->hidden = rtf->depth;
		} else if (c == '\\' || c == '{' || c == '}') {
			add_byte(rtf, c);
		} else if (c == '~') {
			add_byte(rtf, ' ');
		} else if (c == '\n' || c == '\r') {
			end_paragraph(rtf);
		}
		return;
	}
	while (rtf->at < rtf->end && isalpha((unsigned char)*rtf->at)) {
		if (n < sizeof(word) - 1)
			word[n++] = *rtf->at;
		rtf->at++;
	}
	word[n] = '\0';
	if (rtf->at < rtf->end && *rtf->at == '-') {
		minus = true;
		rtf->at++;
	}
	while (rtf->at < rtf->end && isdigit((unsigned char)*rtf->at)) {
		if (value < 100000)
			value = value * 10 + (*rtf->at - '0');
		rtf->at++;
	}
	if (rtf->at < rtf->end && *rtf->at == ' ')
		rtf->at++;
	obey(rtf, word, minus ? -value : value);
}

static void
leave_group(struct rtf *rtf)
{
	if (rtf->hidden == rtf->depth)
		rtf->hidden = 0;
	if (rtf->depth > 0)
		rtf->depth--;
}

enum err_code
extract__rtf(const char *text, size_t len, struct extract__blocks *blocks)
{
	struct rtf rtf = { .blocks = blocks,
		.at = text,
		.end = text + len,
		.unicode_skip = 1 };
	enum err_code rc = OK;

	str_copy(rtf.charset, sizeof(rtf.charset), "windows-1252");
	buf_init(&rtf.bytes, 0);
	buf_init(&rtf.text, 0);
	while (rtf.at < rtf.end && rc == OK && !blocks->full) {
		char c = *rtf.at++;

		if (c == '\\' && rtf.at < rtf.end)
			control(&rtf);
		else if (c == '{' && ++rtf.depth > DEPTH_MAX)
			rc = err_set(ERR_INVALID,
			    "its groups are nested more than %d deep",
			    DEPTH_MAX);
		else if (c == '}')
			leave_group(&rtf);
		else if (c != '{' && c != '\r' && c != '\n')
			add_byte(&rtf, c);
	}
	end_paragraph(&rtf);
	buf_done(&rtf.bytes);
	buf_done(&rtf.text);
	return rc;
}
