/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of a PDF that are tables and forms (invoices, orders, reports). In
 * reading order their cells come one by one and nobody knows which belong
 * together; `pdftotext -layout` keeps them side by side, and here lines with
 * wide gaps become rows, their cells columns by where they stand. Prose in
 * columns would be torn apart by that, and text from right to left has its
 * gaps elsewhere: such pages stay in reading order.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "extract/internal.h"

#define GAP        3  /* spaces between two cells */
#define CELLS_MAX  64 /* of a line */
#define CELL_LONG  50 /* a longer one is prose */
#define PROSE_LONG 30 /* two such side by side are columns of prose */
#define ROWS_MIN   4  /* of a page that is read this way */
#define BLANKS_MAX 2  /* between two rows of one table */
#define RUN_MIN    3  /* rows of three cells make any page one */
#define ROWS_MAX   2000

struct cell {
	const char *text;
	size_t len;
	int from, to; /* columns on the page */
};

struct line {
	struct cell cells[CELLS_MAX];
	size_t count;
};

/* The mark of a list's item: it belongs to what follows. */
static bool
is_bullet(const struct cell *cell)
{
	return cell->to - cell->from == 1 &&
	       ((unsigned char)cell->text[0] >= 0xe0 ||
		   strchr("*-o", cell->text[0]) != NULL);
}

/* The cells of a line: what stands between wide gaps. */
static void
split(const char *text, size_t len, struct line *line)
{
	struct cell *cell = NULL;
	int column = 0, spaces = GAP;

	line->count = 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == ' ' || text[i] == '\t' || text[i] == '\r') {
			spaces++;
			column++;
			continue;
		}
		if (cell == NULL ||
		    (spaces >= GAP && line->count < CELLS_MAX &&
			!(line->count == 1 && is_bullet(cell)))) {
			cell = &line->cells[line->count++];
			*cell = (struct cell){ text + i, 0, column, 0 };
		}
		column += ((unsigned char)text[i] & 0xc0) != 0x80;
		cell->len = (size_t)(text + i + 1 - cell->text);
		cell->to = column;
		spaces = 0;
	}
}

static int
width(const struct cell *cell)
{
	return cell->to - cell->from;
}

/* Cells over `columns` wide. */
static size_t
longer(const struct line *line, int columns)
{
	size_t n = 0;

	for (size_t i = 0; i < line->count; i++)
		n += width(&line->cells[i]) > columns;
	return n;
}

static bool
is_row(const struct line *line)
{
	return line->count >= 2 && longer(line, CELL_LONG) == 0;
}

static size_t
line_length(const char *text, size_t len)
{
	const char *end = memchr(text, '\n', len);

	return end != NULL ? (size_t)(end - text) : len;
}

/* ---- is the page one? ---- */

/* Hebrew and Arabic letters, in UTF-8. */
static size_t
count_rtl(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += (unsigned char)text[i] >= 0xd6 &&
		     (unsigned char)text[i] <= 0xdd;
	return n;
}

bool
extract__layout_is_tabular(const char *text, size_t len)
{
	size_t lines = 0, rows = 0, prose = 0, run = 0, best = 0, n;
	struct line line;

	if (count_rtl(text, len) > len / 10)
		return false;
	for (size_t at = 0; at < len; at += n + 1) {
		n = line_length(text + at, len - at);
		split(text + at, n, &line);
		lines += line.count > 0;
		if (line.count >= 2 && longer(&line, PROSE_LONG) >= 2)
			prose++;
		else if (is_row(&line))
			rows++;
		if (line.count >= 3 && is_row(&line))
			run++;
		else if (line.count > 0)
			run = 0;
		best = run > best ? run : best;
	}
	return rows >= ROWS_MIN && prose * 4 <= rows &&
	       (rows * 4 >= lines || best >= RUN_MIN);
}

/* ---- rows become tables ---- */

struct page {
	struct extract__blocks *blocks;
	struct buf text;    /* of the open paragraph */
	struct line *lines; /* of the open table */
	size_t count;
	int blanks; /* after its last row */
};

static void
end_text(struct page *page)
{
	extract__add(page->blocks, BLOCK_PARAGRAPH, 0, buf_str(&page->text),
	    page->text.len);
	buf_clear(&page->text);
}

static void
add_text(struct page *page, const struct line *line)
{
	for (size_t i = 0; i < line->count; i++) {
		if (i > 0)
			buf_adds(&page->text, "  ");
		buf_add(&page->text, line->cells[i].text, line->cells[i].len);
	}
	buf_addc(&page->text, '\n');
}

static int
by_from(const void *a, const void *b)
{
	const struct cell *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

/* The columns: where the cells of the fullest rows stand, those that overlap
 * being one. */
static size_t
find_columns(const struct page *page, struct cell columns[CELLS_MAX])
{
	size_t most = 0, count = 0, n = 0;
	struct cell *all;

	for (size_t i = 0; i < page->count; i++)
		if (page->lines[i].count > most)
			most = page->lines[i].count;
	all = mem_alloc(page->count * most * sizeof(*all));
	for (size_t i = 0; i < page->count; i++)
		if (page->lines[i].count == most)
			for (size_t c = 0; c < most; c++)
				all[n++] = page->lines[i].cells[c];
	qsort(all, n, sizeof(*all), by_from);
	for (size_t i = 0; i < n; i++) {
		struct cell *last = count > 0 ? &columns[count - 1] : NULL;

		if (last != NULL && all[i].from < last->to) {
			if (all[i].to > last->to)
				last->to = all[i].to;
		} else if (count < CELLS_MAX) {
			columns[count++] = all[i];
		}
	}
	mem_free(all);
	return count;
}

/* How far apart; below zero when they overlap. */
static int
distance(const struct cell *a, const struct cell *b)
{
	return (a->from > b->from ? a->from : b->from) -
	       (a->to < b->to ? a->to : b->to);
}

static size_t
nearest(const struct cell *cell, const struct cell *columns, size_t count)
{
	size_t best = 0;

	for (size_t i = 1; i < count; i++)
		if (distance(cell, &columns[i]) <
		    distance(cell, &columns[best]))
			best = i;
	return best;
}

static void
add_row(struct extract__table *table, const struct line *line,
    const struct cell *columns, size_t count)
{
	size_t next = 0;

	for (size_t column = 0; column < count; column++) {
		struct buf text;

		buf_init(&text, 0);
		while (next < line->count &&
		       nearest(&line->cells[next], columns, count) <= column) {
			if (text.len > 0)
				buf_addc(&text, ' ');
			buf_add(&text, line->cells[next].text,
			    line->cells[next].len);
			next++;
		}
		extract__table_cell(table, buf_str(&text), text.len);
		buf_done(&text);
	}
	extract__table_row(table);
}

static void
end_table(struct page *page)
{
	struct cell columns[CELLS_MAX];
	struct extract__table table;
	size_t count;

	if (page->count == 1) { /* two things side by side are no table */
		add_text(page, &page->lines[0]);
		end_text(page);
	} else if (page->count > 1) {
		count = find_columns(page, columns);
		extract__table_init(&table, page->blocks);
		for (size_t i = 0; i < page->count; i++)
			add_row(&table, &page->lines[i], columns, count);
		extract__table_end(&table);
		extract__table_done(&table);
	}
	page->count = 0;
	page->blanks = 0;
}

/* A short line between two rows is a row with one cell. */
static bool
is_lone_cell(const struct page *page, const struct line *line, const char *rest,
    size_t len)
{
	struct line next;

	if (page->count == 0 || page->blanks > 0 || line->count != 1 ||
	    width(&line->cells[0]) > PROSE_LONG)
		return false;
	split(rest, line_length(rest, len), &next);
	return is_row(&next);
}

void
extract__layout_blocks(
    const char *text, size_t len, struct extract__blocks *blocks)
{
	struct page page = { .blocks = blocks,
		.lines = mem_alloc(ROWS_MAX * sizeof(struct line)) };
	size_t n;

	buf_init(&page.text, 0);
	for (size_t at = 0; at < len && !blocks->full; at += n + 1) {
		struct line *line = &page.lines[page.count];
		size_t rest;

		n = line_length(text + at, len - at);
		rest = at + n + 1 < len ? at + n + 1 : len;
		split(text + at, n, line);
		if (line->count == 0) {
			end_text(&page);
			if (page.count > 0 && ++page.blanks > BLANKS_MAX)
				end_table(&page);
		} else if (is_row(line) ||
			   is_lone_cell(&page, line, text + rest, len - rest)) {
			end_text(&page);
			page.blanks = 0;
			if (++page.count == ROWS_MAX)
				end_table(&page);
		} else {
			struct line kept = *line;

			end_table(&page);
			add_text(&page, &kept);
		}
	}
	end_table(&page);
	end_text(&page);
	buf_done(&page.text);
	mem_free(page.lines);
}
