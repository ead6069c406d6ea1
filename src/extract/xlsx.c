/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Excel workbooks (SpreadsheetML): each sheet is a heading and a table whose
 * first row with text is the header. Cells hold numbers as they are stored
 * (dates are day numbers), or point into the table of shared strings, which is
 * kept as one buffer with offsets.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "extract/internal.h"

#define SHEETS_MAX  1000
#define NAME_SIZE   256
#define STRINGS_MAX 4000000
#define COLUMNS_MAX 16384
#define GAP_MAX     64 /* empty cells that are kept as such */

struct sheet {
	char name[NAME_SIZE], id[64], path[NAME_SIZE];
};

struct book {
	struct extract__blocks *blocks;
	struct sheet *sheets;
	size_t count;
	struct buf strings;
	size_t *offsets; /* of each string; one more at the end */
	size_t string_count;
	struct extract__table table;
	struct buf value;
	char type[16]; /* of the open cell */
	size_t column; /* of the next cell, from 0 */
	bool in_value, phonetic;
};

static struct extract__xml
reader(struct book *book, void (*open)(struct extract__xml *, const char *),
    void (*close)(struct extract__xml *, const char *),
    void (*text)(struct extract__xml *, const char *, size_t))
{
	return (struct extract__xml){ open, close, text, book, NULL, NULL, 0, 0,
		OK };
}

/* ---- the workbook: names of sheets, and where they are ---- */

static void
book_open(struct extract__xml *xml, const char *name)
{
	struct book *book = xml->arg;
	struct sheet *sheet;

	if (!str_eq(name, "sheet") || book->count == SHEETS_MAX)
		return;
	sheet = &book->sheets[book->count++];
	extract__xml_attribute(xml, "name", sheet->name, NAME_SIZE);
	extract__xml_attribute(xml, "id", sheet->id, sizeof(sheet->id));
}

static void
relation_open(struct extract__xml *xml, const char *name)
{
	struct book *book = xml->arg;
	char id[64] = "", target[NAME_SIZE - 4] = "";

	if (!str_eq(name, "Relationship") ||
	    !extract__xml_attribute(xml, "Id", id, sizeof(id)) ||
	    !extract__xml_attribute(xml, "Target", target, sizeof(target)))
		return;
	for (size_t i = 0; i < book->count; i++) {
		struct sheet *sheet = &book->sheets[i];

		if (strcmp(sheet->id, id) != 0)
			continue;
		/* Relative to xl/, or from the root of the file. */
		str_copy(sheet->path, NAME_SIZE,
		    target[0] == '/' ? target + 1 : "xl/");
		if (target[0] != '/')
			strcat(sheet->path, target);
	}
}

/* ---- shared strings ---- */

static void
string_open(struct extract__xml *xml, const char *name)
{
	struct book *book = xml->arg;

	if (str_eq(name, "rPh"))
		book->phonetic = true;
	else if (str_eq(name, "t") && !book->phonetic)
		book->in_value = true;
}

static void
end_string(struct extract__xml *xml)
{
	struct book *book = xml->arg;

	if (book->string_count >= STRINGS_MAX ||
	    book->strings.len > book->blocks->max_bytes) {
		xml->rc = err_set(ERR_TOO_LARGE,
		    "the workbook has more than %d texts or %zu bytes of them",
		    STRINGS_MAX, book->blocks->max_bytes);
		return;
	}
	if ((book->string_count + 2) % 1024 == 2)
		book->offsets = mem_resize(book->offsets,
		    (book->string_count + 1026) * sizeof(*book->offsets));
	if (book->string_count == 0)
		book->offsets[0] = 0;
	book->offsets[++book->string_count] = book->strings.len;
}

static void
string_close(struct extract__xml *xml, const char *name)
{
	struct book *book = xml->arg;

	if (str_eq(name, "t"))
		book->in_value = false;
	else if (str_eq(name, "rPh"))
		book->phonetic = false;
	else if (str_eq(name, "si"))
		end_string(xml);
}

static void
string_text(struct extract__xml *xml, const char *text, size_t len)
{
	struct book *book = xml->arg;

	if (book->in_value)
		buf_add(&book->strings, text, len);
}

/* ---- a sheet ---- */

/* "BC12" is column 54, from 0. */
static size_t
column_of(const char *reference)
{
	size_t column = 0;

	while (isupper((unsigned char)*reference) && column < COLUMNS_MAX)
		column = column * 26 + (size_t)(*reference++ - 'A') + 1;
	return column > 0 ? column - 1 : 0;
}

static void
open_cell(struct extract__xml *xml, struct book *book)
{
	char reference[16] = "";
	size_t column = book->column;

	book->type[0] = '\0';
	extract__xml_attribute(xml, "t", book->type, sizeof(book->type));
	if (extract__xml_attribute(xml, "r", reference, sizeof(reference)))
		column = column_of(reference);
	for (size_t gap = 0; book->column < column; book->column++)
		if (gap++ < GAP_MAX)
			extract__table_cell(&book->table, "", 0);
	buf_clear(&book->value);
}

static void
sheet_open(struct extract__xml *xml, const char *name)
{
	struct book *book = xml->arg;

	if (str_eq(name, "row"))
		book->column = 0;
	else if (str_eq(name, "c"))
		open_cell(xml, book);
	else if (str_eq(name, "rPh"))
		book->phonetic = true;
	else if (str_eq(name, "v") || (str_eq(name, "t") && !book->phonetic))
		book->in_value = true;
}

static void
close_cell(struct book *book)
{
	const char *text = buf_str(&book->value);
	size_t len = book->value.len;

	if (str_eq(book->type, "s")) {
		size_t at = (size_t)strtoul(text, NULL, 10);

		text = "";
		len = 0;
		if (at < book->string_count) {
			text = buf_str(&book->strings) + book->offsets[at];
			len = book->offsets[at + 1] - book->offsets[at];
		}
	} else if (str_eq(book->type, "b")) {
		text = str_eq(text, "1") ? "TRUE" : "FALSE";
		len = strlen(text);
	}
	extract__table_cell(&book->table, text, len);
	book->column++;
}

static void
sheet_close(struct extract__xml *xml, const char *name)
{
	struct book *book = xml->arg;

	if (str_eq(name, "v") || str_eq(name, "t")) {
		book->in_value = false;
	} else if (str_eq(name, "rPh")) {
		book->phonetic = false;
	} else if (str_eq(name, "c")) {
		close_cell(book);
	} else if (str_eq(name, "row")) {
		extract__table_row(&book->table);
		if (book->blocks->full)
			xml->rc = extract__check_full(book->blocks);
	}
}

static void
sheet_text(struct extract__xml *xml, const char *text, size_t len)
{
	struct book *book = xml->arg;

	if (book->in_value && book->value.len <= book->blocks->max_bytes)
		buf_add(&book->value, text, len);
}

static enum err_code
read_sheet(
    struct book *book, struct extract__zip *zip, const struct sheet *sheet)
{
	struct extract__xml xml =
	    reader(book, sheet_open, sheet_close, sheet_text);
	enum err_code rc;

	if (sheet->path[0] == '\0')
		return OK;
	book->table.title = sheet->name;
	rc = extract__zip_xml(zip, sheet->path, &xml);
	extract__table_end(&book->table);
	return rc == ERR_NOT_FOUND ? OK : rc;
}

static enum err_code
read_book(struct book *book, struct extract__zip *zip)
{
	struct extract__xml names = reader(book, book_open, NULL, NULL);
	struct extract__xml paths = reader(book, relation_open, NULL, NULL);
	struct extract__xml strings =
	    reader(book, string_open, string_close, string_text);
	enum err_code rc;

	TRY(extract__zip_xml(zip, "xl/workbook.xml", &names));
	TRY(extract__zip_xml(zip, "xl/_rels/workbook.xml.rels", &paths));
	rc = extract__zip_xml(zip, "xl/sharedStrings.xml", &strings);
	if (rc != OK && rc != ERR_NOT_FOUND)
		return rc;
	for (size_t i = 0; i < book->count && !book->blocks->full; i++)
		TRY(read_sheet(book, zip, &book->sheets[i]));
	return OK;
}

enum err_code
extract__xlsx(struct extract__zip *zip, struct extract__blocks *blocks)
{
	struct book book = { .blocks = blocks,
		.sheets = mem_zero(SHEETS_MAX * sizeof(struct sheet)) };
	enum err_code rc;

	buf_init(&book.strings, 0);
	buf_init(&book.value, 0);
	extract__table_init(&book.table, blocks);
	rc = read_book(&book, zip);
	extract__table_done(&book.table);
	buf_done(&book.value);
	buf_done(&book.strings);
	mem_free(book.offsets);
	mem_free(book.sheets);
	return rc;
}
