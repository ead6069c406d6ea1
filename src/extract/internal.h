/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_EXTRACT_INTERNAL_H
#define XIN_EXTRACT_INTERNAL_H

#include "base/buf.h"
#include "base/error.h"
#include "extract/extract.h"

/* What the files of the child's side share. All of it runs in one thread of a
 * process that ends afterwards. */

/* ---- formats ---- */

enum extract__format {
	EXTRACT_NONE,
	EXTRACT_MARKDOWN,
	EXTRACT_PLAIN,
	EXTRACT_HTML,
	EXTRACT_CSV,
	EXTRACT_TSV,
	EXTRACT_JSON, /* one value, or one a line; notebooks */
	EXTRACT_XML,
	EXTRACT_MAIL,
	EXTRACT_RTF,
	EXTRACT_PDF,
	EXTRACT_ZIP, /* Office, OpenDocument, EPUB: its entries tell which */
	EXTRACT_OLE, /* Office before 2007, or an encrypted new one */
	EXTRACT_FORMATS
};

/* "markdown", as the child's argument; NONE for an unknown one. */
const char *extract__format_name(enum extract__format format);
enum extract__format extract__format_named(const char *name);
/* By the first bytes where they tell, else by the type, else by the file name;
 * `head` may be NULL (nothing known). ERR_MEDIA_TYPE says what can be read. */
enum err_code extract__format_of(const char *type, const char *filename,
    const void *head, size_t len, enum extract__format *format_out);

/* ---- the list of blocks under construction, as JSON text ---- */

struct extract__blocks {
	struct buf json;
	size_t text_bytes;
	size_t max_bytes; /* of text; more sets `full` */
	size_t count;
	int64_t page; /* of the blocks that follow; 0 = none */
	int fd;       /* long lists go there piece by piece; -1 = kept whole */
	bool full;
	char *title;
};

void extract__blocks_init(struct extract__blocks *blocks, size_t max_bytes);
void extract__blocks_done(struct extract__blocks *blocks);
/* Trims, drops control characters and runs of empty lines; text that is empty
 * then is left out. `level` is for headings. The first heading of level 1
 * becomes the title when there is none. */
void extract__add(struct extract__blocks *blocks, enum block_type type,
    int level, const char *text, size_t len);
void extract__set_title(
    struct extract__blocks *blocks, const char *text, size_t len);
/* ERR_TOO_LARGE, with the sentence, when the ceiling was reached. */
enum err_code extract__check_full(const struct extract__blocks *blocks);

/* A table under construction: rows "a | b", the first one the header. A long
 * one becomes several blocks that all begin with the header. */
struct extract__table {
	struct extract__blocks *blocks;
	const char *title; /* a heading before its first block, or NULL */
	struct buf header, rows, row;
	size_t cells; /* in the open row */
	size_t count; /* rows in `rows` */
	bool any;     /* a cell of the open row has text */
};

void extract__table_init(
    struct extract__table *table, struct extract__blocks *blocks);
/* White space in the cell becomes one space. */
void extract__table_cell(
    struct extract__table *table, const char *text, size_t len);
/* A row without text is left out. */
void extract__table_row(struct extract__table *table);
/* Adds what is there; the table can be used again. */
void extract__table_end(struct extract__table *table);
void extract__table_done(struct extract__table *table);

/* Paragraphs, lists and tables as word processors nest them; see flow.c. */
struct extract__flow;
struct extract__flow *extract__flow_new(struct extract__blocks *blocks);
void extract__flow_free(struct extract__flow *flow);
void extract__flow_paragraph(struct extract__flow *flow);
void extract__flow_text(
    struct extract__flow *flow, const char *text, size_t len);
/* The open paragraph is a heading (1..), or a list item at a depth (0..). */
void extract__flow_heading(struct extract__flow *flow, int level);
void extract__flow_item(struct extract__flow *flow, int depth);
void extract__flow_no_item(struct extract__flow *flow);
void extract__flow_paragraph_end(struct extract__flow *flow);
void extract__flow_table(struct extract__flow *flow);
void extract__flow_cell_end(struct extract__flow *flow);
void extract__flow_row_end(struct extract__flow *flow);
void extract__flow_table_end(struct extract__flow *flow);

/* ---- bytes ---- */

/* Any bytes to UTF-8. `charset_out` (size 32) is what they were. For HTML a
 * <meta charset> counts. ERR_INVALID for what is no text. */
enum err_code extract__to_utf8(const char *data, size_t len, bool html,
    struct buf *text_out, char charset_out[32]);
/* From a charset that somebody named; an unknown or wrong name is guessed. */
enum err_code extract__from_charset(
    const char *data, size_t len, const char *charset, struct buf *text_out);
/* True for byte order marks and zero bytes of UTF-16 and UTF-32. */
bool extract__is_wide(const char *data, size_t len);

/* HTML or Markdown without the bulk that is no text, piece by piece. */
struct extract__slim {
	bool html;
	int inside;    /* which stretch, -1 = none */
	size_t run;    /* bytes of it, or of what looks like base64 */
	uint64_t last; /* the last eight bytes, in lower case */
};
void extract__slim_init(struct extract__slim *slim, bool html);
void extract__slim_feed(
    struct extract__slim *slim, const char *data, size_t len, struct buf *out);

/* XML by events, piece by piece: no DTD, no entities but the five, no network,
 * bounded depth. Names come without their prefix; handlers that are NULL are
 * not called. */
struct extract__xml {
	void (*open)(struct extract__xml *xml, const char *name);
	void (*close)(struct extract__xml *xml, const char *name);
	void (*text)(struct extract__xml *xml, const char *text, size_t len);
	void *arg;
	/* ---- the reader's own ---- */
	void *parser;
	const unsigned char **attributes;
	int attribute_count, depth;
	enum err_code rc; /* of the document; the sentence is recorded */
};
/* In an open handler: the attribute's value, cut to `size`; false = none. */
bool extract__xml_attribute(
    const struct extract__xml *xml, const char *name, char *value, size_t size);
enum err_code extract__xml_begin(struct extract__xml *xml);
enum err_code extract__xml_feed(void *xml, const char *data, size_t len);
/* With rc of the feeding; frees the parser. */
enum err_code extract__xml_end(struct extract__xml *xml, enum err_code rc);

/* Entries of a zip file, read as a stream, never written anywhere. */
struct extract__zip {
	int fd;
	uint64_t file_bytes;
	uint64_t inflated; /* of all entries that were read */
	uint64_t max_inflated;
	uint64_t headers; /* seen, over all reads */
};
typedef enum err_code (*extract__zip_fn)(
    void *arg, const char *data, size_t len);
/* ERR_INVALID (truncated, encrypted, broken), ERR_TOO_LARGE (a bomb). */
enum err_code extract__zip_open(
    struct extract__zip *zip, int fd, size_t max_text);
/* Give the entry's bytes to `fn`; ERR_NOT_FOUND when there is none. */
enum err_code extract__zip_read(
    struct extract__zip *zip, const char *name, extract__zip_fn fn, void *arg);
/* Each name; `fn` returns false to stop. */
enum err_code extract__zip_names(struct extract__zip *zip,
    bool (*fn)(void *arg, const char *name), void *arg);
/* The whole entry, at most `max` bytes. */
enum err_code extract__zip_buf(
    struct extract__zip *zip, const char *name, size_t max, struct buf *out);
/* Read one entry as XML. */
enum err_code extract__zip_xml(
    struct extract__zip *zip, const char *name, struct extract__xml *xml);

/* ---- readers of text ---- */

void extract__markdown(
    const char *text, size_t len, struct extract__blocks *blocks);
void extract__plain(
    const char *text, size_t len, struct extract__blocks *blocks);
enum err_code extract__html(
    const char *text, size_t len, struct extract__blocks *blocks);
/* `delimiter` 0 = find out. */
void extract__csv(const char *text, size_t len, char delimiter,
    struct extract__blocks *blocks);
enum err_code extract__json(
    const char *text, size_t len, struct extract__blocks *blocks);
enum err_code extract__xml_document(
    const char *text, size_t len, struct extract__blocks *blocks);
enum err_code extract__rtf(
    const char *text, size_t len, struct extract__blocks *blocks);

/* ---- readers of files ---- */

/* Gives the next piece of a file; *len_out 0 = end. */
typedef enum err_code (*extract__source_fn)(
    void *arg, const char **data_out, size_t *len_out);
enum err_code extract__mail(
    extract__source_fn source, void *arg, struct extract__blocks *blocks);
enum err_code extract__pdf(int fd, struct extract__blocks *blocks);
/* Of one page as `pdftotext -layout` gives it: is it rather tables and forms
 * than prose, and its blocks then. */
bool extract__layout_is_tabular(const char *text, size_t len);
void extract__layout_blocks(
    const char *text, size_t len, struct extract__blocks *blocks);
enum err_code extract__ole(int fd);
enum err_code extract__zip_document(int fd, struct extract__blocks *blocks);
enum err_code extract__docx(
    struct extract__zip *zip, struct extract__blocks *blocks);
enum err_code extract__pptx(
    struct extract__zip *zip, struct extract__blocks *blocks);
enum err_code extract__xlsx(
    struct extract__zip *zip, struct extract__blocks *blocks);
enum err_code extract__odf(
    struct extract__zip *zip, struct extract__blocks *blocks);
enum err_code extract__epub(
    struct extract__zip *zip, struct extract__blocks *blocks);

#endif
