/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of cells become blocks of type table: "a | b", one row a line, the first
 * row the header. A table longer than a piece is several blocks, each with the
 * header, so that memory stays bounded and each block stands alone.
 */
#include <string.h>

#include "extract/internal.h"

#define PIECE_BYTES  ((size_t)32 << 10)
#define HEADER_BYTES ((size_t)2 << 10) /* a longer one is no header */
#define CELLS_MAX    16384             /* of a row, as spreadsheets have */

void
extract__table_init(
    struct extract__table *table, struct extract__blocks *blocks)
{
	*table = (struct extract__table){ .blocks = blocks };
	buf_init(&table->header, 0);
	buf_init(&table->rows, 0);
	buf_init(&table->row, 0);
}

void
extract__table_done(struct extract__table *table)
{
	buf_done(&table->header);
	buf_done(&table->rows);
	buf_done(&table->row);
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

void
extract__table_cell(struct extract__table *table, const char *text, size_t len)
{
	bool space = false, first = true;

	if (table->cells++ >= CELLS_MAX)
		return;
	if (table->cells > 1)
		buf_adds(&table->row, " | ");
	for (size_t i = 0; i < len; i++) {
		if (is_space(text[i])) {
			space = true;
			continue;
		}
		if (space && !first)
			buf_addc(&table->row, ' ');
		buf_addc(&table->row, text[i]);
		space = first = false;
	}
	table->any |= !first;
}

static void
flush(struct extract__table *table)
{
	struct buf text;

	if (table->title != NULL)
		extract__add(table->blocks, BLOCK_HEADING, 2, table->title,
		    strlen(table->title));
	table->title = NULL;
	buf_init(&text, 0);
	buf_add(&text, table->header.data, table->header.len);
	buf_add(&text, table->rows.data, table->rows.len);
	extract__add(table->blocks, BLOCK_TABLE, 0, buf_str(&text), text.len);
	buf_done(&text);
	buf_clear(&table->rows);
	table->count = 0;
}

void
extract__table_row(struct extract__table *table)
{
	struct buf *into = &table->rows;

	if (table->any) {
		if (table->header.len == 0 && table->rows.len == 0 &&
		    table->row.len <= HEADER_BYTES)
			into = &table->header;
		while (table->row.len > 0 &&
		       strchr(" |", table->row.data[table->row.len - 1]))
			table->row.len--; /* empty cells at its end */
		buf_add(into, table->row.data, table->row.len);
		buf_addc(into, '\n');
		table->count++;
		if (table->rows.len > PIECE_BYTES)
			flush(table);
	}
	buf_clear(&table->row);
	table->cells = 0;
	table->any = false;
}

void
extract__table_end(struct extract__table *table)
{
	extract__table_row(table);
	if (table->count > 0)
		flush(table);
	buf_clear(&table->header);
}
