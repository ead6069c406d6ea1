/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XML whose vocabulary we do not know: an element without elements inside is a
 * line "name: text", the lines of one parent are a paragraph. In feeds (RSS,
 * Atom) the title of an entry is a heading. Text that holds markup itself (an
 * article inside a feed) is read as HTML.
 */
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "extract/internal.h"

#define DEPTH_KEPT 1001

struct document {
	struct extract__blocks *blocks;
	struct buf text;         /* of the innermost element, so far */
	struct buf lines;        /* of the open paragraph */
	bool parent[DEPTH_KEPT]; /* the element at a depth has elements */
	char entry[16];          /* the name of the innermost parent */
	int depth;
};

static void
flush(struct document *doc)
{
	extract__add(doc->blocks, BLOCK_PARAGRAPH, 0, buf_str(&doc->lines),
	    doc->lines.len);
	buf_clear(&doc->lines);
}

static bool
is_blank(const struct buf *text)
{
	return strspn(buf_str(text), " \t\r\n") == text->len;
}

/* Text between elements stands without a name. */
static void
add_loose(struct document *doc)
{
	if (!is_blank(&doc->text)) {
		buf_add(&doc->lines, doc->text.data, doc->text.len);
		buf_addc(&doc->lines, '\n');
	}
	buf_clear(&doc->text);
}

static void
on_open(struct extract__xml *xml, const char *name)
{
	struct document *doc = xml->arg;

	add_loose(doc);
	if (doc->depth > 0)
		doc->parent[doc->depth - 1] = true;
	doc->parent[doc->depth++] = false;
	if (str_eq(name, "item") || str_eq(name, "entry") ||
	    str_eq(name, "channel") || str_eq(name, "feed"))
		str_copy(doc->entry, sizeof(doc->entry), name);
}

static bool
is_markup(const struct buf *text)
{
	return memmem(buf_str(text), text->len, "</", 2) != NULL ||
	       memmem(buf_str(text), text->len, "<br", 3) != NULL ||
	       memmem(buf_str(text), text->len, "<p>", 3) != NULL;
}

static void
add_leaf(struct document *doc, const char *name)
{
	bool feed = doc->entry[0] != '\0';

	if (is_blank(&doc->text))
		return;
	if (feed && str_eq(name, "title")) {
		bool whole =
		    str_eq(doc->entry, "channel") || str_eq(doc->entry, "feed");

		flush(doc);
		extract__add(doc->blocks, BLOCK_HEADING, whole ? 1 : 2,
		    doc->text.data, doc->text.len);
	} else if (is_markup(&doc->text)) {
		flush(doc);
		extract__html(doc->text.data, doc->text.len, doc->blocks);
	} else {
		buf_addf(&doc->lines, "%s: ", name);
		buf_add(&doc->lines, doc->text.data, doc->text.len);
		buf_addc(&doc->lines, '\n');
	}
}

static void
on_close(struct extract__xml *xml, const char *name)
{
	struct document *doc = xml->arg;

	if (doc->parent[--doc->depth]) {
		add_loose(doc);
		flush(doc);
	} else {
		add_leaf(doc, name);
	}
	buf_clear(&doc->text);
	if (doc->blocks->full)
		xml->rc = extract__check_full(doc->blocks);
}

static void
on_text(struct extract__xml *xml, const char *text, size_t len)
{
	struct document *doc = xml->arg;

	buf_add(&doc->text, text, len);
}

enum err_code
extract__xml_document(
    const char *text, size_t len, struct extract__blocks *blocks)
{
	struct document doc = { .blocks = blocks };
	struct extract__xml xml = { on_open, on_close, on_text, &doc, NULL,
		NULL, 0, 0, OK };
	enum err_code rc;

	buf_init(&doc.text, 0);
	buf_init(&doc.lines, 0);
	rc = extract__xml_begin(&xml);
	if (rc == OK)
		rc = extract__xml_end(&xml, extract__xml_feed(&xml, text, len));
	flush(&doc);
	buf_done(&doc.text);
	buf_done(&doc.lines);
	return rc;
}
