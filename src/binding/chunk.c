/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting blocks into chunks. The extracted text is the blocks' texts joined
 * by blank lines; a chunk is a range of it, so its text can be found again by
 * its start and end (in characters). Cuts fall between blocks where possible,
 * before a heading rather than after it, then between sentences (lines in
 * tables, code and lists), then between words, at last anywhere. Where a table
 * is cut, the chunks after the first begin with its header row once more, in
 * front of the range, so that each stands alone.
 */
#include <ctype.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "binding/internal.h"
#include "text/text.h"

#define HEADING_LEVELS 6
/* A section's end closes a chunk that has at least this share of the size;
 * shorter ones go on, so that a list of one-line sections is not shredded. */
#define SECTION_SHARE 4
/* A header row over this share of a chunk is not repeated. */
#define HEADER_SHARE 3

struct chunker {
	struct binding_chunks *chunks;
	size_t max_chars;
	struct buf text;  /* of the open chunk */
	size_t chars;     /* in it, without a repeated header */
	int64_t start;    /* its first character */
	int64_t page;     /* of its first block; 0 = none */
	int64_t now_page; /* of the block that is added */
	struct header {   /* of the table that is being cut */
		const char *text;
		size_t len, chars;
	} header;
	size_t prefix;      /* characters of a header in the open chunk */
	int64_t at;         /* characters of all text so far */
	bool only_headings; /* the open chunk has no body yet */
	char *levels[HEADING_LEVELS];
	struct buf heading; /* path at the open chunk's start */
};

static void
set_heading(struct chunker *chunker)
{
	buf_clear(&chunker->heading);
	for (int i = 0; i < HEADING_LEVELS; i++) {
		if (chunker->levels[i] == NULL)
			continue;
		if (chunker->heading.len > 0)
			buf_adds(&chunker->heading, " > ");
		buf_adds(&chunker->heading, chunker->levels[i]);
	}
}

static void
enter_section(struct chunker *chunker, int64_t level, const char *text)
{
	size_t cut = text_offset(text, strlen(text), 80);

	if (level < 1)
		level = 1;
	if (level > HEADING_LEVELS)
		level = HEADING_LEVELS;
	for (int64_t i = level - 1; i < HEADING_LEVELS; i++) {
		mem_free(chunker->levels[i]);
		chunker->levels[i] = NULL;
	}
	chunker->levels[level - 1] = mem_strndup(text, cut);
}

static void
flush(struct chunker *chunker)
{
	if (chunker->chars > 0) {
		binding__chunks_add(chunker->chunks, buf_str(&chunker->text),
		    chunker->text.len, chunker->start,
		    chunker->start + (int64_t)chunker->chars,
		    buf_str(&chunker->heading));
		binding__chunks_page(chunker->chunks, chunker->page);
	}
	buf_clear(&chunker->text);
	chunker->chars = 0;
	chunker->prefix = 0;
	chunker->only_headings = true;
}

static void
begin(struct chunker *chunker, int64_t start)
{
	chunker->start = start;
	chunker->page = chunker->now_page;
	set_heading(chunker);
	if (chunker->header.len == 0)
		return;
	buf_add(&chunker->text, chunker->header.text, chunker->header.len);
	buf_addc(&chunker->text, '\n');
	chunker->prefix = chunker->header.chars + 1;
}

/* Append a piece; `gap` is the text between it and what came before. */
static void
add(struct chunker *chunker, const char *gap, size_t gap_len, const char *text,
    size_t len, size_t chars)
{
	size_t gap_chars = text_length(gap, gap_len);

	if (chunker->chars == 0) {
		begin(chunker, chunker->at + (int64_t)gap_chars);
	} else {
		buf_add(&chunker->text, gap, gap_len);
		chunker->chars += gap_chars;
	}
	buf_add(&chunker->text, text, len);
	chunker->chars += chars;
	chunker->at += (int64_t)(gap_chars + chars);
}

/* A piece that is longer than a chunk and has no sentence or line to cut at:
 * between words, or in the middle of one. */
static void
add_long(struct chunker *chunker, const char *gap, size_t gap_len,
    const char *text, size_t len)
{
	size_t max = chunker->max_chars;

	flush(chunker);
	if (chunker->header.len > 0)
		max -= chunker->header.chars + 1;
	while (len > 0) {
		size_t cut = text_offset(text, len, max);
		size_t word = cut;
		size_t skip = 0;

		while (cut < len && word > cut / 2 && text[word] != ' ' &&
		       text[word] != '\n')
			word--;
		if (cut < len && word > cut / 2)
			cut = word;
		add(chunker, gap, gap_len, text, cut, text_length(text, cut));
		while (cut + skip < len &&
		       (text[cut + skip] == ' ' || text[cut + skip] == '\n'))
			skip++;
		gap = text + cut;
		gap_len = skip;
		text += cut + skip;
		len -= cut + skip;
		if (len > 0)
			flush(chunker);
	}
}

static void
add_piece(struct chunker *chunker, const char *gap, size_t gap_len,
    const char *text, size_t len)
{
	size_t chars = text_length(text, len);
	size_t with_gap = chars + text_length(gap, gap_len);
	size_t header = chunker->header.len > 0 ? chunker->header.chars + 1 : 0;

	if (chars + header > chunker->max_chars) {
		add_long(chunker, gap, gap_len, text, len);
		return;
	}
	if (chunker->prefix + chunker->chars + with_gap > chunker->max_chars)
		flush(chunker);
	add(chunker, gap, gap_len, text, len, chars);
}

/* The pieces of one block that does not fit: ranges that cover it but for the
 * white space between them. */
struct cutter {
	struct chunker *chunker;
	const char *block;
	const char *gap; /* before the next piece */
	size_t gap_len;
	size_t done; /* bytes of the block consumed */
};

static bool
cut_piece(void *arg, size_t start, size_t end)
{
	struct cutter *cutter = arg;
	const char *block = cutter->block;

	if (cutter->done > 0) {
		cutter->gap = block + cutter->done;
		cutter->gap_len = start - cutter->done;
	} else if (start > 0) {
		start = 0; /* leading white space belongs to the piece */
	}
	while (end > start && isspace((unsigned char)block[end - 1]))
		end--;
	if (end <= start)
		return true;
	add_piece(cutter->chunker, cutter->gap, cutter->gap_len, block + start,
	    end - start);
	cutter->done = end;
	return true;
}

/* The first row, where it is short enough to be worth repeating. */
static void
keep_header(struct chunker *chunker, const char *table, size_t len)
{
	size_t chars = text_length(table, len);

	if (chars <= chunker->max_chars / HEADER_SHARE)
		chunker->header = (struct header){ table, len, chars };
}

static void
cut_lines(struct cutter *cutter, size_t len, bool table)
{
	const char *block = cutter->block;
	size_t start = 0;

	while (start < len) {
		const char *end = memchr(block + start, '\n', len - start);
		size_t stop = end != NULL ? (size_t)(end - block) : len;

		if (stop > start)
			cut_piece(cutter, start, stop);
		if (table)
			keep_header(
			    cutter->chunker, block + start, stop - start);
		table = false;
		start = stop + 1;
	}
	cutter->chunker->header = (struct header){ NULL, 0, 0 };
}

static void
add_block(struct chunker *chunker, const char *gap, const char *type,
    const char *text, size_t len)
{
	size_t chars = text_length(text, len);
	struct cutter cutter = { chunker, text, gap, strlen(gap), 0 };

	if (chars <= chunker->max_chars) {
		add_piece(chunker, gap, strlen(gap), text, len);
		return;
	}
	/* Its heading stays with the first piece, other text does not. */
	if (!chunker->only_headings)
		flush(chunker);
	if (str_eq(type, "table") || str_eq(type, "code") ||
	    str_eq(type, "list"))
		cut_lines(&cutter, len, str_eq(type, "table"));
	else
		text_sentences(text, len, cut_piece, &cutter);
	/* What no piece took is white space; it counts for the positions. */
	chunker->at +=
	    (int64_t)text_length(text + cutter.done, len - cutter.done);
}

struct binding_chunks *
binding__chunk(const struct binding_blocks *blocks, size_t max_chars)
{
	struct chunker chunker = {
		.chunks = binding__chunks_new(),
		.max_chars = max_chars,
		.only_headings = true,
	};
	size_t i;
	json_t *block;

	json_array_foreach (blocks->items, i, block) {
		const char *type = json_str(block, "type");
		const json_t *value = json_object_get(block, "text");
		const char *text = json_string_value(value);
		bool heading = str_eq(type, "heading");

		chunker.now_page = json_int(block, "page", 0);
		if (heading && !chunker.only_headings &&
		    chunker.chars >= max_chars / SECTION_SHARE)
			flush(&chunker);
		if (heading)
			enter_section(
			    &chunker, json_int(block, "level", 1), text);
		add_block(&chunker, i > 0 ? "\n\n" : "", type, text,
		    json_string_length(value));
		if (!heading && chunker.chars > 0)
			chunker.only_headings = false;
	}
	flush(&chunker);
	for (int level = 0; level < HEADING_LEVELS; level++)
		mem_free(chunker.levels[level]);
	buf_done(&chunker.text);
	buf_done(&chunker.heading);
	return chunker.chunks;
}
