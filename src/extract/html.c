/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTML through libxml2's lenient parser, without network. The tree is read in
 * document order: headings, lists, tables, preformatted text and quotes become
 * blocks, other block elements end a paragraph, inline elements vanish.
 * Scripts, styles, navigation and form controls are not text.
 */
#include <libxml/HTMLparser.h>
#include <string.h>

#include "extract/internal.h"

#define DEPTH_MAX 200

enum kind {
	INLINE,
	BLOCK,
	DROP,
	HEADING,
	LIST,
	TABLE,
	PRE,
	QUOTE,
	BREAK,
	IMAGE,
	TITLE
};

static const struct {
	const char *name;
	enum kind kind;
} elements[] = {
	{ "address", BLOCK },
	{ "article", BLOCK },
	{ "aside", BLOCK },
	{ "blockquote", QUOTE },
	{ "body", BLOCK },
	{ "br", BREAK },
	{ "button", DROP },
	{ "canvas", DROP },
	{ "caption", BLOCK },
	{ "center", BLOCK },
	{ "dd", BLOCK },
	{ "details", BLOCK },
	{ "dialog", BLOCK },
	{ "div", BLOCK },
	{ "dl", LIST },
	{ "dt", BLOCK },
	{ "fieldset", BLOCK },
	{ "figcaption", BLOCK },
	{ "figure", BLOCK },
	{ "footer", BLOCK },
	{ "form", BLOCK },
	{ "h1", HEADING },
	{ "h2", HEADING },
	{ "h3", HEADING },
	{ "h4", HEADING },
	{ "h5", HEADING },
	{ "h6", HEADING },
	{ "head", BLOCK },
	{ "header", BLOCK },
	{ "hr", BLOCK },
	{ "html", BLOCK },
	{ "iframe", DROP },
	{ "img", IMAGE },
	{ "input", DROP },
	{ "li", BLOCK },
	{ "main", BLOCK },
	{ "nav", DROP },
	{ "noscript", DROP },
	{ "object", DROP },
	{ "ol", LIST },
	{ "option", DROP },
	{ "p", BLOCK },
	{ "pre", PRE },
	{ "script", DROP },
	{ "section", BLOCK },
	{ "select", DROP },
	{ "style", DROP },
	{ "summary", BLOCK },
	{ "svg", DROP },
	{ "table", TABLE },
	{ "tbody", BLOCK },
	{ "td", BLOCK },
	{ "template", DROP },
	{ "textarea", DROP },
	{ "tfoot", BLOCK },
	{ "th", BLOCK },
	{ "thead", BLOCK },
	{ "title", TITLE },
	{ "tr", BLOCK },
	{ "ul", LIST },
};

struct page {
	struct extract__blocks *blocks;
	struct buf line; /* the open paragraph */
};

static bool
is_named(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE &&
	       strcmp((const char *)node->name, name) == 0;
}

static enum kind
kind_of(const xmlNode *node)
{
	if (xmlHasProp(node, (const xmlChar *)"hidden") != NULL)
		return DROP;
	for (size_t i = 0; i < sizeof(elements) / sizeof(elements[0]); i++)
		if (strcmp((const char *)node->name, elements[i].name) == 0)
			return elements[i].kind;
	return INLINE;
}

/* ---- runs of text ---- */

/* Length of the white space at p; U+00A0 is spacing in most pages. */
static size_t
space_length(const char *p)
{
	if ((unsigned char)p[0] == 0xc2 && (unsigned char)p[1] == 0xa0)
		return 2;
	return strchr(" \t\n\r\f", *p) != NULL ? 1 : 0;
}

/* White space collapses; a run at the beginning of a line vanishes. */
static void
add_text(struct buf *out, const char *text)
{
	for (const char *p = text; *p != '\0';) {
		size_t space = space_length(p);

		if (space == 0)
			buf_addc(out, *p);
		else if (out->len > 0 && out->data[out->len - 1] != ' ' &&
			 out->data[out->len - 1] != '\n')
			buf_addc(out, ' ');
		p += space > 0 ? space : 1;
	}
}

static void
new_line(struct buf *out)
{
	while (out->len > 0 && out->data[out->len - 1] == ' ')
		out->data[--out->len] = '\0';
	if (out->len > 0 && out->data[out->len - 1] != '\n')
		buf_addc(out, '\n');
}

static void
add_alternative(struct buf *out, xmlNode *image)
{
	xmlChar *alt = xmlGetProp(image, (const xmlChar *)"alt");

	if (alt == NULL)
		return;
	add_text(out, (const char *)alt);
	xmlFree(alt);
}

/* What one node adds by itself; true when its children count too. */
static bool
enter(xmlNode *node, struct buf *out, const char *but)
{
	enum kind kind;

	if (node->type == XML_TEXT_NODE || node->type == XML_CDATA_SECTION_NODE)
		add_text(out, (const char *)node->content);
	if (node->type != XML_ELEMENT_NODE)
		return node->type == XML_ENTITY_REF_NODE;
	kind = kind_of(node);
	if (kind == DROP || kind == TITLE)
		return false;
	if (but != NULL && kind == LIST && strcmp(but, "lists") == 0)
		return false;
	if (kind == IMAGE)
		add_alternative(out, node);
	else if (kind != INLINE)
		new_line(out);
	return true;
}

/* All text below `top`, without recursion: pages nest as deep as they like.
 * `but` = "lists" leaves lists out. */
static void
gather(xmlNode *top, struct buf *out, const char *but)
{
	xmlNode *node = top->children;

	while (node != NULL) {
		if (enter(node, out, but) && node->children != NULL) {
			node = node->children;
			continue;
		}
		while (node != top && node->next == NULL) {
			node = node->parent;
			if (node != top && node->type == XML_ELEMENT_NODE &&
			    kind_of(node) != INLINE)
				new_line(out);
		}
		if (node == top)
			return;
		node = node->next;
	}
}

static void
end_paragraph(struct page *page)
{
	if (page->line.len > 0)
		extract__add(page->blocks, BLOCK_PARAGRAPH, 0, page->line.data,
		    page->line.len);
	buf_clear(&page->line);
}

static void
add_gathered(struct page *page, xmlNode *node, enum block_type type, int level)
{
	struct buf text;

	buf_init(&text, 0);
	gather(node, &text, NULL);
	if (type == BLOCK_HEADING)
		for (size_t i = 0; i < text.len; i++)
			if (text.data[i] == '\n')
				text.data[i] = ' ';
	extract__add(page->blocks, type, level, buf_str(&text), text.len);
	buf_done(&text);
}

/* ---- lists ---- */

static void list_text(xmlNode *list, struct buf *out, int depth);

/* The lists inside one item, each below it. */
static void
lists_below(xmlNode *item, struct buf *out, int depth)
{
	for (xmlNode *node = item->children; node != NULL; node = node->next) {
		if (node->type != XML_ELEMENT_NODE || depth > DEPTH_MAX)
			continue;
		if (kind_of(node) == LIST)
			list_text(node, out, depth);
		else if (kind_of(node) != DROP)
			lists_below(node, out, depth + 1);
	}
}

static void
list_text(xmlNode *list, struct buf *out, int depth)
{
	bool ordered = is_named(list, "ol");
	int number = 1;

	for (xmlNode *item = list->children; item != NULL; item = item->next) {
		struct buf text;

		if (item->type != XML_ELEMENT_NODE || kind_of(item) == DROP)
			continue;
		if (kind_of(item) == LIST) { /* wrong, and common */
			if (depth < DEPTH_MAX)
				list_text(item, out, depth + 1);
			continue;
		}
		buf_init(&text, 0);
		gather(item, &text, "lists");
		new_line(out);
		for (int i = 0; i < depth && i < 8; i++)
			buf_adds(out, "  ");
		if (ordered)
			buf_addf(out, "%d. ", number++);
		else
			buf_adds(out, is_named(item, "dd") ? "  " : "- ");
		buf_add(out, buf_str(&text), text.len);
		buf_done(&text);
		lists_below(item, out, depth + 1);
	}
}

static void
add_list(struct page *page, xmlNode *list)
{
	struct buf text;

	buf_init(&text, 0);
	list_text(list, &text, 0);
	extract__add(page->blocks, BLOCK_LIST, 0, buf_str(&text), text.len);
	buf_done(&text);
}

/* ---- tables ---- */

static void
add_row(xmlNode *row, struct buf *out)
{
	struct buf cells;
	bool first = true, any = false;

	buf_init(&cells, 0);
	for (xmlNode *cell = row->children; cell != NULL; cell = cell->next) {
		struct buf text;

		if (!is_named(cell, "td") && !is_named(cell, "th"))
			continue;
		buf_init(&text, 0);
		gather(cell, &text, NULL);
		for (size_t i = 0; i < text.len; i++)
			if (text.data[i] == '\n')
				text.data[i] = ' ';
		while (text.len > 0 && text.data[text.len - 1] == ' ')
			text.data[--text.len] = '\0';
		any |= text.len > 0;
		if (!first)
			buf_adds(&cells, " | ");
		buf_add(&cells, buf_str(&text), text.len);
		buf_done(&text);
		first = false;
	}
	if (any) {
		buf_add(out, cells.data, cells.len);
		buf_addc(out, '\n');
	}
	buf_done(&cells);
}

static void
add_rows(xmlNode *node, struct buf *out, int depth)
{
	for (xmlNode *child = node->children; child != NULL;
	     child = child->next) {
		if (is_named(child, "tr"))
			add_row(child, out);
		else if (is_named(child, "caption"))
			gather(child, out, NULL), new_line(out);
		else if (child->type == XML_ELEMENT_NODE && depth < 4)
			add_rows(child, out, depth + 1);
	}
}

static size_t
full_cells(xmlNode *row)
{
	size_t n = 0;

	for (xmlNode *cell = row->children; cell != NULL; cell = cell->next) {
		struct buf text;

		if (!is_named(cell, "td") && !is_named(cell, "th"))
			continue;
		buf_init(&text, 0);
		gather(cell, &text, NULL);
		n += text.len > 0;
		buf_done(&text);
	}
	return n;
}

/* Old pages lay themselves out with tables: one that holds headings, lists or
 * other tables, or never two cells side by side, is no table of data. Bounded
 * by the size of the tree. */
static bool
is_layout(xmlNode *table)
{
	xmlNode *node = table->children;
	size_t most = 0;

	while (node != NULL) {
		if (node->type == XML_ELEMENT_NODE) {
			enum kind kind = kind_of(node);
			size_t cells;

			if (kind == TABLE || kind == HEADING || kind == LIST)
				return true;
			cells = is_named(node, "tr") ? full_cells(node) : 0;
			most = cells > most ? cells : most;
		}
		if (node->children != NULL) {
			node = node->children;
			continue;
		}
		while (node != table && node->next == NULL)
			node = node->parent;
		if (node == table)
			break;
		node = node->next;
	}
	return most < 2;
}

static void
add_table(struct page *page, xmlNode *table)
{
	struct buf rows;

	buf_init(&rows, 0);
	add_rows(table, &rows, 0);
	extract__add(page->blocks, BLOCK_TABLE, 0, buf_str(&rows), rows.len);
	buf_done(&rows);
}

/* ---- the page ---- */

static void walk(struct page *page, xmlNode *parent, int depth);

static void
add_pre(struct page *page, xmlNode *pre)
{
	xmlChar *text = xmlNodeGetContent(pre);

	if (text == NULL)
		return;
	extract__add(page->blocks, BLOCK_CODE, 0, (const char *)text,
	    strlen((const char *)text));
	xmlFree(text);
}

static void
set_title(struct page *page, xmlNode *node)
{
	struct buf text;

	buf_init(&text, 0);
	gather(node, &text, NULL);
	extract__set_title(page->blocks, buf_str(&text), text.len);
	buf_done(&text);
}

static void
walk_block(struct page *page, xmlNode *node, int depth)
{
	end_paragraph(page);
	if (depth < DEPTH_MAX)
		walk(page, node, depth + 1);
	else
		add_gathered(page, node, BLOCK_PARAGRAPH, 0);
	end_paragraph(page);
}

static void
walk_element(struct page *page, xmlNode *node, int depth)
{
	enum kind kind = kind_of(node);

	if (kind == TABLE && is_layout(node))
		kind = BLOCK;
	if (kind == HEADING || kind == LIST || kind == TABLE || kind == PRE ||
	    kind == QUOTE)
		end_paragraph(page);
	switch (kind) {
	case DROP:
		break;
	case TITLE:
		set_title(page, node);
		break;
	case IMAGE:
		add_alternative(&page->line, node);
		break;
	case BREAK: /* two of them were meant as a paragraph */
		if (page->line.len > 0 &&
		    page->line.data[page->line.len - 1] == '\n')
			end_paragraph(page);
		else
			new_line(&page->line);
		break;
	case HEADING:
		add_gathered(page, node, BLOCK_HEADING, node->name[1] - '0');
		break;
	case QUOTE:
		add_gathered(page, node, BLOCK_QUOTE, 0);
		break;
	case LIST:
		add_list(page, node);
		break;
	case TABLE:
		add_table(page, node);
		break;
	case PRE:
		add_pre(page, node);
		break;
	case BLOCK:
		walk_block(page, node, depth);
		break;
	case INLINE: /* may hold blocks all the same */
		if (depth < DEPTH_MAX)
			walk(page, node, depth + 1);
		else
			gather(node, &page->line, NULL);
		break;
	}
}

static void
walk(struct page *page, xmlNode *parent, int depth)
{
	for (xmlNode *node = parent->children;
	     node != NULL && !page->blocks->full; node = node->next) {
		if (node->type == XML_TEXT_NODE ||
		    node->type == XML_CDATA_SECTION_NODE)
			add_text(&page->line, (const char *)node->content);
		else if (node->type == XML_ELEMENT_NODE)
			walk_element(page, node, depth);
	}
}

/* Without it libxml2 writes some of them to stderr, where our answer goes; and
 * the last one hides the one that counts. */
static void
note_error(void *arg, xmlErrorPtr error)
{
	bool *out_of_memory = arg;

	*out_of_memory |= error->code == XML_ERR_NO_MEMORY;
}

enum err_code
extract__html(const char *text, size_t len, struct extract__blocks *blocks)
{
	struct page page = { .blocks = blocks };
	bool out_of_memory = false;
	htmlDocPtr doc;

	if (len > INT32_MAX)
		return err_set(ERR_TOO_LARGE, "HTML of %zu bytes", len);
	xmlSetStructuredErrorFunc(&out_of_memory, note_error);
	doc = htmlReadMemory(text, (int)len, NULL, "UTF-8",
	    HTML_PARSE_RECOVER | HTML_PARSE_NONET | HTML_PARSE_NOERROR |
		HTML_PARSE_NOWARNING);
	xmlSetStructuredErrorFunc(NULL, NULL);
	if (out_of_memory)
		return err_set(
		    ERR_TOO_LARGE, "the page needs more memory than allowed");
	if (doc == NULL)
		return err_set(ERR_INVALID, "no HTML in it");
	buf_init(&page.line, 0);
	walk(&page, (xmlNode *)doc, 0);
	end_paragraph(&page);
	buf_done(&page.line);
	xmlFreeDoc(doc);
	return OK;
}
