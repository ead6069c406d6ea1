/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child's side: `extract-child FORMAT MAX_BYTES`, the document on
 * descriptor 3. What was found goes to stdout as one JSON object while it is
 * found (exit 0); an error and its sentence go to stderr as another (exit 1).
 * Anything else means that a parser fell over a limit.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "extract/internal.h"

#define DOCUMENT_FD 3
#define PIECE_BYTES ((size_t)64 << 10)
/* UTF-32 needs so many bytes for a byte of UTF-8, others but UTF-16 one. */
#define WIDEST 4
/* Markup is left out; memory has a ceiling of its own. */
#define MARKUP      4
#define LARGE_BYTES ((size_t)1 << 20)

static enum err_code
file_size(size_t *size_out)
{
	struct stat st;

	if (fstat(DOCUMENT_FD, &st) != 0)
		return err_set(
		    ERR_IO, "no document on descriptor 3: %s", strerror(errno));
	if (st.st_size <= 0)
		return err_set(ERR_INVALID, "the document is empty");
	*size_out = (size_t)st.st_size;
	return OK;
}

static enum err_code
too_much(size_t size, size_t max_bytes)
{
	return err_set(ERR_TOO_LARGE,
	    "a text file of %zu bytes has more than %zu bytes of text "
	    "(XIN_MAX_TEXT_BYTES)",
	    size, max_bytes);
}

static enum err_code
map_document(
    size_t max_bytes, size_t factor, const char **data_out, size_t *len_out)
{
	size_t size = 0;
	void *map;

	TRY(file_size(&size));
	if (size / factor > max_bytes)
		return too_much(size, max_bytes);
	map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, DOCUMENT_FD, 0);
	if (map == MAP_FAILED)
		return err_set(errno == ENOMEM ? ERR_TOO_LARGE : ERR_IO,
		    "cannot map the document: %s", strerror(errno));
	*data_out = map;
	*len_out = size;
	return OK;
}

/* ---- formats that are text ---- */

static enum err_code
next_piece(void *arg, const char **data_out, size_t *len_out)
{
	static char piece[PIECE_BYTES];
	ssize_t n;

	(void)arg;
	do
		n = read(DOCUMENT_FD, piece, sizeof(piece));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_set(
		    ERR_IO, "reading the document failed: %s", strerror(errno));
	*data_out = piece;
	*len_out = (size_t)n;
	return OK;
}

static enum err_code
parse_text(enum extract__format format, const struct buf *text,
    struct extract__blocks *blocks)
{
	const char *s = buf_str(text);

	switch (format) {
	case EXTRACT_MARKDOWN:
		extract__markdown(s, text->len, blocks);
		return OK;
	case EXTRACT_HTML:
		return extract__html(s, text->len, blocks);
	case EXTRACT_CSV:
		extract__csv(s, text->len, '\0', blocks);
		return OK;
	case EXTRACT_TSV:
		extract__csv(s, text->len, '\t', blocks);
		return OK;
	case EXTRACT_JSON:
		return extract__json(s, text->len, blocks);
	default:
		extract__plain(s, text->len, blocks);
		return OK;
	}
}

/* Large HTML and Markdown, whose bulk may be no text at all; not in charsets
 * where ASCII does not stand for itself. */
static bool
can_be_slim(enum extract__format format)
{
	char head[512];
	ssize_t n = pread(DOCUMENT_FD, head, sizeof(head), 0);
	struct stat st;

	return (format == EXTRACT_HTML || format == EXTRACT_MARKDOWN) &&
	       fstat(DOCUMENT_FD, &st) == 0 &&
	       (size_t)st.st_size > LARGE_BYTES && n > 0 &&
	       !extract__is_wide(head, (size_t)n);
}

static enum err_code
read_slim(enum extract__format format, size_t max_bytes, struct buf *slim_out)
{
	struct extract__slim slim;
	const char *data;
	size_t len, total = 0;

	extract__slim_init(&slim, format == EXTRACT_HTML);
	for (;;) {
		TRY(next_piece(NULL, &data, &len));
		if (len == 0)
			return OK;
		total += len;
		extract__slim_feed(&slim, data, len, slim_out);
		if (slim_out->full)
			return too_much(total, max_bytes);
	}
}

static enum err_code
read_slim_text(enum extract__format format, struct extract__blocks *blocks,
    char charset[32])
{
	struct buf slim, text;
	enum err_code rc;

	buf_init(&slim, blocks->max_bytes * WIDEST);
	buf_init(&text, 0);
	rc = read_slim(format, blocks->max_bytes, &slim);
	if (rc == OK)
		rc = extract__to_utf8(slim.data, slim.len,
		    format == EXTRACT_HTML, &text, charset);
	buf_done(&slim);
	if (rc == OK)
		rc = parse_text(format, &text, blocks);
	buf_done(&text);
	return rc;
}

/* How many times the ceiling of text the file may be long. */
static size_t
size_factor(enum extract__format format)
{
	char head[512];
	ssize_t n = pread(DOCUMENT_FD, head, sizeof(head), 0);

	if (n > 0 && extract__is_wide(head, (size_t)n))
		return WIDEST;
	return format == EXTRACT_PLAIN || format == EXTRACT_CSV ||
		       format == EXTRACT_TSV
		   ? 1
		   : MARKUP;
}

static enum err_code
read_text(enum extract__format format, struct extract__blocks *blocks,
    char charset[32])
{
	const char *data = NULL;
	enum err_code rc;
	struct buf text;
	size_t len = 0;

	if (can_be_slim(format))
		return read_slim_text(format, blocks, charset);
	TRY(map_document(blocks->max_bytes, size_factor(format), &data, &len));
	buf_init(&text, 0);
	if (format == EXTRACT_RTF)
		rc = extract__rtf(data, len, blocks);
	else if (format == EXTRACT_XML) /* it says its own charset */
		rc = extract__xml_document(data, len, blocks);
	else
		rc = extract__to_utf8(
		    data, len, format == EXTRACT_HTML, &text, charset);
	munmap((void *)(uintptr_t)data, len);
	if (rc == OK && format != EXTRACT_RTF && format != EXTRACT_XML)
		rc = parse_text(format, &text, blocks);
	buf_done(&text);
	return rc;
}

/* ---- mail, piece by piece ---- */

static enum err_code
next_text(void *arg, const char **data_out, size_t *len_out)
{
	struct buf *text = arg;

	*data_out = buf_str(text);
	*len_out = text->len;
	text->len = 0; /* one piece */
	return OK;
}

/* Some programs save whole mails as UTF-16. */
static enum err_code
read_mail(struct extract__blocks *blocks, char charset[32])
{
	char head[512];
	ssize_t n = pread(DOCUMENT_FD, head, sizeof(head), 0);
	const char *data = NULL;
	enum err_code rc;
	struct buf text;
	size_t len = 0;

	TRY(file_size(&len));
	if (n <= 0 || !extract__is_wide(head, (size_t)n))
		return extract__mail(next_piece, NULL, blocks);
	TRY(map_document(blocks->max_bytes, WIDEST, &data, &len));
	buf_init(&text, 0);
	rc = extract__to_utf8(data, len, false, &text, charset);
	munmap((void *)(uintptr_t)data, len);
	if (rc == OK)
		rc = extract__mail(next_text, &text, blocks);
	buf_done(&text);
	return rc;
}

/* ---- all formats ---- */

static enum err_code
read_document(enum extract__format format, struct extract__blocks *blocks,
    char charset[32])
{
	enum err_code rc;
	size_t size = 0;

	TRY(file_size(&size));
	switch (format) {
	case EXTRACT_PDF:
		rc = extract__pdf(DOCUMENT_FD, blocks);
		break;
	case EXTRACT_ZIP:
		rc = extract__zip_document(DOCUMENT_FD, blocks);
		break;
	case EXTRACT_OLE:
		rc = extract__ole(DOCUMENT_FD);
		break;
	case EXTRACT_MAIL:
		rc = read_mail(blocks, charset);
		break;
	default:
		rc = read_text(format, blocks, charset);
	}
	TRY(rc);
	TRY(extract__check_full(blocks));
	if (blocks->count == 0)
		return err_set(ERR_INVALID, "there is no text in it");
	return OK;
}

static bool
write_all(int fd, const struct buf *text)
{
	const char *data = buf_str(text);
	size_t len = text->len;

	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* The blocks have left, but for the last ones. */
static bool
write_document(const struct extract__blocks *blocks, const char *charset)
{
	struct buf out;
	bool written;

	buf_init(&out, 0);
	buf_add(&out, blocks->json.data, blocks->json.len);
	buf_adds(&out, "],\"title\":");
	if (blocks->title != NULL)
		buf_add_json(&out, blocks->title, strlen(blocks->title));
	else
		buf_adds(&out, "null");
	buf_adds(&out, ",\"charset\":");
	buf_add_json(&out, charset, strlen(charset));
	buf_addc(&out, '}');
	written = write_all(STDOUT_FILENO, &out);
	buf_done(&out);
	return written;
}

static int
say_error(enum err_code rc)
{
	const char *why = err_message();
	struct buf out;

	buf_init(&out, 0);
	buf_addf(&out, "{\"error\":\"%s\",\"message\":", err_name(rc));
	buf_add_json(&out, why, strlen(why));
	buf_addc(&out, '}');
	write_all(STDERR_FILENO, &out);
	buf_done(&out);
	return 1;
}

int
extract_child_main(int argc, char **argv)
{
	static const struct buf begin = {
		.data = (char *)(uintptr_t) "{\"blocks\":[", .len = 11
	};
	enum extract__format format =
	    argc > 1 ? extract__format_named(argv[1]) : EXTRACT_NONE;
	struct extract__blocks blocks;
	char charset[32] = "UTF-8";
	uint64_t max_bytes = 0;
	enum err_code rc;
	bool written;

	if (format == EXTRACT_NONE || argc != 3 ||
	    !str_to_u64(argv[2], &max_bytes))
		return say_error(
		    err_set(ERR_INVALID, "usage: extract-child FORMAT BYTES"));
	setlocale(LC_CTYPE, "C.UTF-8"); /* names inside zip files */
	extract__blocks_init(&blocks, max_bytes);
	blocks.fd = STDOUT_FILENO;
	written = write_all(STDOUT_FILENO, &begin);
	rc = read_document(format, &blocks, charset);
	if (rc == OK)
		written &= write_document(&blocks, charset);
	extract__blocks_done(&blocks);
	if (rc != OK)
		return say_error(rc);
	return written ? 0 : 1;
}
