/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delimited text (RFC 4180 and its many cousins) as tables. The delimiter is
 * the candidate that most records of the beginning have equally often; quotes
 * may hold delimiters and line breaks. A quote that never ends costs one
 * record, not the file: it ends where the record is over its ceiling.
 */
#include <string.h>
#include <strings.h>

#include "extract/internal.h"

#define SNIFF_BYTES   ((size_t)64 << 10)
#define SNIFF_RECORDS 50
#define QUOTED_LINES  1000 /* of one quoted field */

static const char candidates[] = ",;\t|";

struct reader {
	const char *at, *end;
	char delimiter;
};

/* ---- which delimiter ---- */

/* The next record's number of delimiters outside quotes. */
static size_t
count_in_record(const char **at, const char *end, char delimiter)
{
	bool quoted = false;
	size_t n = 0;

	while (*at < end) {
		char c = *(*at)++;

		if (c == '"')
			quoted = !quoted;
		else if (c == '\n' && !quoted)
			break;
		else if (c == delimiter && !quoted)
			n++;
	}
	return n;
}

/* Records that have as many as the first one, weighed by how many that is. */
static size_t
score(const char *text, size_t len, char delimiter)
{
	const char *at = text, *end = text + len;
	size_t wanted = count_in_record(&at, end, delimiter);
	size_t same = 1, records = 1;

	if (wanted == 0)
		return 0;
	while (at < end && records < SNIFF_RECORDS) {
		same += count_in_record(&at, end, delimiter) == wanted;
		records++;
	}
	return same * 1000 / records * 100 + (wanted < 99 ? wanted : 99);
}

static char
find_delimiter(const char *text, size_t len)
{
	size_t best = 0, look = len < SNIFF_BYTES ? len : SNIFF_BYTES;
	char found = ',';

	for (const char *c = candidates; *c != '\0'; c++) {
		size_t n = score(text, look, *c);

		if (n > best) {
			best = n;
			found = *c;
		}
	}
	return found;
}

/* Excel's own first line, "sep=;". */
static size_t
separator_line(const char *text, size_t len, char *delimiter)
{
	const char *end;

	if (len < 6 || strncasecmp(text, "sep=", 4) != 0)
		return 0;
	end = memchr(text, '\n', 8 < len ? 8 : len);
	if (end == NULL)
		return 0;
	*delimiter = text[4];
	return (size_t)(end + 1 - text);
}

/* ---- records ---- */

/* Where the closing quote stands, or NULL: none within reason. */
static const char *
closing_quote(const char *at, const char *end)
{
	size_t lines = 0;

	for (; at < end && lines < QUOTED_LINES; at++) {
		lines += *at == '\n';
		if (*at != '"')
			continue;
		if (at + 1 < end && at[1] == '"')
			at++;
		else
			return at;
	}
	return NULL;
}

static void
add_quoted(struct buf *field, const char *at, const char *close)
{
	for (; at < close; at++) {
		if (*at == '"')
			at++; /* doubled */
		buf_addc(field, *at);
	}
}

static bool
ends_field(const struct reader *r)
{
	return r->at == r->end || *r->at == r->delimiter || *r->at == '\n';
}

static void
read_field(struct reader *r, struct buf *field)
{
	const char *from, *close;

	buf_clear(field);
	while (r->at < r->end && *r->at == ' ')
		r->at++;
	if (r->at < r->end && *r->at == '"') {
		close = closing_quote(r->at + 1, r->end);
		if (close != NULL) {
			add_quoted(field, r->at + 1, close);
			r->at = close + 1;
		}
	}
	from = r->at;
	while (!ends_field(r))
		r->at++;
	buf_add(field, from, (size_t)(r->at - from));
}

void
extract__csv(const char *text, size_t len, char delimiter,
    struct extract__blocks *blocks)
{
	struct reader r = { text, text + len, delimiter };
	struct extract__table table;
	struct buf field;
	char said = '\0';

	r.at += separator_line(text, len, &said);
	if (said != '\0')
		r.delimiter = said;
	if (r.delimiter == '\0')
		r.delimiter = find_delimiter(r.at, (size_t)(r.end - r.at));
	buf_init(&field, 0);
	extract__table_init(&table, blocks);
	while (r.at < r.end && !blocks->full) {
		read_field(&r, &field);
		extract__table_cell(&table, buf_str(&field), field.len);
		if (r.at < r.end && *r.at++ == '\n')
			extract__table_row(&table);
	}
	extract__table_end(&table);
	extract__table_done(&table);
	buf_done(&field);
}
