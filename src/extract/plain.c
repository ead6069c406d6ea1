/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain text: paragraphs end at blank lines and keep their line breaks. Only an
 * underlined line is a heading; guessing by capitals or length is wrong too
 * often, in most scripts always.
 */
#include <string.h>

#include "extract/internal.h"

static bool
is_blank_line(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r' &&
		    line[i] != '\f')
			return false;
	return true;
}

/* The level of an underline of at least three "=" or "-", or 0. */
static int
underline_level(const char *line, size_t len)
{
	size_t n = 0;

	while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == ' '))
		len--;
	while (n < len && line[n] == line[0])
		n++;
	if (n != len || n < 3)
		return 0;
	return line[0] == '=' ? 1 : line[0] == '-' ? 2 : 0;
}

static void
add_paragraph(struct extract__blocks *blocks, const char *text, size_t len)
{
	const char *second = memchr(text, '\n', len);
	size_t first_len = second == NULL ? len : (size_t)(second - text);
	const char *rest;
	size_t second_len;
	int level;

	if (second == NULL) {
		extract__add(blocks, BLOCK_PARAGRAPH, 0, text, len);
		return;
	}
	second++;
	rest = memchr(second, '\n', (size_t)(text + len - second));
	if (rest == NULL)
		rest = text + len;
	second_len = (size_t)(rest - second);
	/* On a page of a PDF a rule closes a sum as often as it underlines. */
	level = blocks->page > 0 ? 0 : underline_level(second, second_len);
	if (level == 0) {
		extract__add(blocks, BLOCK_PARAGRAPH, 0, text, len);
		return;
	}
	extract__add(blocks, BLOCK_HEADING, level, text, first_len);
	extract__add(
	    blocks, BLOCK_PARAGRAPH, 0, rest, (size_t)(text + len - rest));
}

void
extract__plain(const char *text, size_t len, struct extract__blocks *blocks)
{
	const char *end = text + len, *from = text, *line = text;

	while (line < end) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));

		if (stop == NULL)
			stop = end;
		if (is_blank_line(line, (size_t)(stop - line))) {
			if (line > from)
				add_paragraph(
				    blocks, from, (size_t)(line - 1 - from));
			from = stop + 1;
		}
		line = stop + 1;
	}
	if (from < end)
		add_paragraph(blocks, from, (size_t)(end - from));
}
