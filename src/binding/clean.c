/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tidying extracted text: control characters, odd spaces, words cut at line
 * ends, page numbers, lines repeated on every page. Pure. What carries meaning
 * stays: ZWNJ and ZWJ (Persian and Indic scripts), letters as they are written.
 */
#include <ctype.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "binding/internal.h"

#define REPEATS_MIN      5 /* a line on so many pages is no content */
#define REPEATED_LEN_MIN 12
#define REPEATED_LEN_MAX 160

/* One code point of valid UTF-8; returns its length in bytes. */
static size_t
decode(const unsigned char *s, size_t left, uint32_t *cp_out)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (len > left)
		len = 1;
	if (len == 1)
		*cp_out = s[0];
	else if (len == 2)
		*cp_out = (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
	else if (len == 3)
		*cp_out =
		    (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
	else
		*cp_out = (s[0] & 0x07u) << 18 | (s[1] & 0x3fu) << 12 |
			  (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
	return len;
}

enum what { KEEP, DROP, SPACE, LINE };

static enum what
classify(uint32_t cp)
{
	if (cp == '\n' || cp == 0x2028 || cp == 0x2029 || cp == 0x85)
		return LINE;
	if (cp == ' ' || cp == '\t' || cp == 0xa0 || cp == 0x202f ||
	    cp == 0x205f || cp == 0x3000 || cp == '\f' || cp == '\v' ||
	    (cp >= 0x2000 && cp <= 0x200a))
		return SPACE;
	if (cp < 0x20 || (cp >= 0x7f && cp <= 0x9f) || cp == 0xad ||
	    cp == 0x200b || cp == 0x200e || cp == 0x200f || cp == 0xfeff ||
	    (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x2069))
		return DROP;
	return KEEP;
}

/* "exam-" at the end, "ple" after the line break: one word. */
static bool
is_cut_word(const struct buf *out, const char *next, size_t left)
{
	return out->len >= 2 && out->data[out->len - 1] == '-' &&
	       islower((unsigned char)out->data[out->len - 2]) && left > 0 &&
	       islower((unsigned char)next[0]);
}

static void
trim_end(struct buf *out)
{
	while (out->len > 0 && out->data[out->len - 1] == ' ')
		out->data[--out->len] = '\0';
}

static void
end_line(struct buf *out, const char *next, size_t left, bool verbatim)
{
	trim_end(out);
	if (!verbatim && is_cut_word(out, next, left)) {
		out->data[--out->len] = '\0';
		return;
	}
	if (out->len == 0 ||
	    (out->len >= 2 && out->data[out->len - 1] == '\n' &&
		out->data[out->len - 2] == '\n'))
		return;
	buf_addc(out, '\n');
}

void
binding__clean_text(
    const char *text, size_t len, bool verbatim, struct buf *out)
{
	size_t step;
	uint32_t cp;

	for (size_t i = 0; i < len; i += step) {
		step = decode((const unsigned char *)text + i, len - i, &cp);
		if (cp == '\r') {
			if (i + 1 < len && text[i + 1] == '\n')
				continue;
			cp = '\n';
		}
		switch (classify(cp)) {
		case KEEP:
			buf_add(out, text + i, step);
			break;
		case SPACE:
			if (verbatim)
				buf_addc(out, cp == '\t' ? '\t' : ' ');
			else if (out->len > 0 &&
				 out->data[out->len - 1] != ' ' &&
				 out->data[out->len - 1] != '\n')
				buf_addc(out, ' ');
			break;
		case LINE:
			end_line(
			    out, text + i + step, len - i - step, verbatim);
			break;
		case DROP:
			break;
		}
	}
	while (out->len > 0 && (out->data[out->len - 1] == ' ' ||
				   out->data[out->len - 1] == '\n'))
		out->data[--out->len] = '\0';
}

static bool
is_verbatim(const char *type)
{
	return str_eq(type, "code") || str_eq(type, "table");
}

/* "3", "Page 3 of 12", "- 3 -": ASCII digits with few other letters. A number
 * alone may as well be a cell of a table or somebody's telephone: where pages
 * are known it must be the page's, elsewhere short. */
static bool
is_page_number(const char *text, size_t len, int64_t page)
{
	char rest[32];
	size_t n = 0, digits = 0;
	int64_t number = 0;

	if (len == 0 || len > 24)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (isdigit((unsigned char)text[i])) {
			digits++;
			number = number * 10 + (text[i] - '0');
			if (digits > 8)
				return false;
		} else if (isalpha((unsigned char)text[i]))
			rest[n++] = (char)tolower((unsigned char)text[i]);
		else if ((unsigned char)text[i] >= 0x80)
			return false;
	}
	rest[n] = '\0';
	if (digits == 0)
		return false;
	if (n == 0)
		return page > 0 ? number == page : digits <= 3;
	return strcmp(rest, "page") == 0 || strcmp(rest, "pageof") == 0 ||
	       strcmp(rest, "of") == 0;
}

static bool
may_repeat(const json_t *block, size_t len)
{
	return str_eq(json_str(block, "type"), "paragraph") &&
	       len >= REPEATED_LEN_MIN && len <= REPEATED_LEN_MAX;
}

/* How often each short paragraph stands in the document; on how many pages,
 * where there are pages (a table repeats itself on one). */
static json_t *
count_lines(const json_t *items)
{
	json_t *counts = json_object();
	json_auto json_t *pages = json_object();
	size_t i;
	json_t *block;

	json_array_foreach (items, i, block) {
		const json_t *text = json_object_get(block, "text");
		const char *line = json_string_value(text);
		int64_t page = json_int(block, "page", 0);

		if (!may_repeat(block, json_string_length(text)) ||
		    strlen(line) != json_string_length(text) ||
		    (page > 0 && json_int(pages, line, 0) == page))
			continue;
		json_object_set_new(pages, line, json_integer(page));
		json_object_set_new(
		    counts, line, json_integer(json_int(counts, line, 0) + 1));
	}
	return counts;
}

static json_t *
tidy(const json_t *items)
{
	json_t *tidied = json_array();
	struct buf out;
	size_t i;
	json_t *block;

	buf_init(&out, 0);
	json_array_foreach (items, i, block) {
		const json_t *text = json_object_get(block, "text");
		json_t *copy;

		buf_clear(&out);
		binding__clean_text(json_string_value(text),
		    json_string_length(text),
		    is_verbatim(json_str(block, "type")), &out);
		if (out.len == 0)
			continue;
		copy = json_copy(block);
		json_object_set_new(
		    copy, "text", json_stringn(buf_str(&out), out.len));
		json_array_append_new(tidied, copy);
	}
	buf_done(&out);
	return tidied;
}

/* Of a line that stands on every page the first stays, for the search. */
static bool
is_furniture(const json_t *block, json_t *counts)
{
	const json_t *text = json_object_get(block, "text");
	const char *line = json_string_value(text);
	int64_t times;

	if (!str_eq(json_str(block, "type"), "paragraph"))
		return false;
	if (is_page_number(
		line, json_string_length(text), json_int(block, "page", 0)))
		return true;
	times = json_int(counts, line, 0);
	if (times < 0)
		return true;
	if (times >= REPEATS_MIN)
		json_object_set_new(counts, line, json_integer(-1));
	return false;
}

struct binding_blocks *
binding__clean_blocks(const struct binding_blocks *in)
{
	json_t *tidied = tidy(in->items);
	json_t *counts = count_lines(tidied);
	json_t *kept = json_array();
	size_t i;
	json_t *block;

	json_array_foreach (tidied, i, block)
		if (!is_furniture(block, counts))
			json_array_append(kept, block);
	json_decref(tidied);
	json_decref(counts);
	return binding__blocks_new(kept);
}
