/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Word documents (ECMA-376, WordprocessingML): the styles say which paragraphs
 * are headings, then the document's paragraphs, lists, tables and text boxes in
 * reading order, then the notes. What is deleted, or only the old form of a
 * newer drawing (mc:Fallback), is no text.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "extract/internal.h"

#define STYLES_MAX 4096
#define NAME_SIZE  64
#define BASED_MAX  10 /* styles on styles */

struct style {
	char id[NAME_SIZE], based[NAME_SIZE];
	int level; /* of a heading; 0 = none */
	bool list;
};

struct docx {
	struct extract__flow *flow;
	struct style *styles;
	size_t count;
	struct style *style; /* under construction */
	int hidden;          /* depth of elements whose text is none */
	bool in_text;
	bool in_properties; /* of a paragraph */
};

/* ---- styles ---- */

static int
level_of_name(const char *name)
{
	if (strncasecmp(name, "heading ", 8) == 0 && name[8] >= '1' &&
	    name[8] <= '9' && name[9] == '\0')
		return name[8] - '0';
	return strcasecmp(name, "title") == 0 ? 1 : 0;
}

static void
style_open(struct extract__xml *xml, const char *name)
{
	struct docx *docx = xml->arg;
	char value[NAME_SIZE] = "";

	if (str_eq(name, "style") && docx->count < STYLES_MAX) {
		if (docx->count % 64 == 0)
			docx->styles = mem_resize(docx->styles,
			    (docx->count + 64) * sizeof(*docx->styles));
		docx->style = &docx->styles[docx->count++];
		*docx->style = (struct style){ .level = 0 };
		extract__xml_attribute(
		    xml, "styleId", docx->style->id, NAME_SIZE);
	}
	if (docx->style == NULL ||
	    !extract__xml_attribute(xml, "val", value, sizeof(value)))
		return;
	if (str_eq(name, "name") && docx->style->level == 0)
		docx->style->level = level_of_name(value);
	else if (str_eq(name, "basedOn"))
		str_copy(docx->style->based, NAME_SIZE, value);
	else if (str_eq(name, "outlineLvl") && value[0] >= '0' &&
		 value[0] <= '8')
		docx->style->level = value[0] - '0' + 1;
	else if (str_eq(name, "numId") && !str_eq(value, "0"))
		docx->style->list = true;
}

static void
style_close(struct extract__xml *xml, const char *name)
{
	struct docx *docx = xml->arg;

	if (str_eq(name, "style"))
		docx->style = NULL;
}

static const struct style *
find_style(const struct docx *docx, const char *id)
{
	for (size_t i = 0; i < docx->count; i++)
		if (strcmp(docx->styles[i].id, id) == 0)
			return &docx->styles[i];
	return NULL;
}

static void
apply_style(struct docx *docx, const char *id)
{
	const struct style *style = find_style(docx, id);

	for (int i = 0; style != NULL && i < BASED_MAX; i++) {
		if (style->level > 0) {
			extract__flow_heading(docx->flow, style->level);
			return;
		}
		if (style->list)
			extract__flow_item(docx->flow, 0);
		style = find_style(docx, style->based);
	}
}

/* ---- the document ---- */

static bool
is_hidden(const char *name)
{
	return str_eq(name, "Fallback") || str_eq(name, "del") ||
	       str_eq(name, "moveFrom") || str_eq(name, "sdtPr");
}

static void
property(struct extract__xml *xml, const char *name)
{
	struct docx *docx = xml->arg;
	char value[NAME_SIZE];

	if (!extract__xml_attribute(xml, "val", value, sizeof(value)))
		return;
	if (str_eq(name, "pStyle"))
		apply_style(docx, value);
	else if (str_eq(name, "outlineLvl") && value[0] >= '0' &&
		 value[0] <= '8')
		extract__flow_heading(docx->flow, value[0] - '0' + 1);
	else if (str_eq(name, "ilvl")) /* always with a numId after it */
		extract__flow_item(docx->flow, (int)strtol(value, NULL, 10));
	else if (str_eq(name, "numId") && str_eq(value, "0"))
		extract__flow_no_item(docx->flow);
}

static void
doc_open(struct extract__xml *xml, const char *name)
{
	struct docx *docx = xml->arg;

	if (docx->hidden > 0 || is_hidden(name)) {
		docx->hidden++;
		return;
	}
	if (docx->in_properties)
		property(xml, name);
	else if (str_eq(name, "p"))
		extract__flow_paragraph(docx->flow);
	else if (str_eq(name, "pPr"))
		docx->in_properties = true;
	else if (str_eq(name, "t"))
		docx->in_text = true;
	else if (str_eq(name, "tab") || str_eq(name, "ptab"))
		extract__flow_text(docx->flow, "\t", 1);
	else if (str_eq(name, "br") || str_eq(name, "cr"))
		extract__flow_text(docx->flow, "\n", 1);
	else if (str_eq(name, "noBreakHyphen"))
		extract__flow_text(docx->flow, "-", 1);
	else if (str_eq(name, "tbl"))
		extract__flow_table(docx->flow);
}

static void
doc_close(struct extract__xml *xml, const char *name)
{
	struct docx *docx = xml->arg;

	if (docx->hidden > 0) {
		docx->hidden--;
		return;
	}
	if (str_eq(name, "pPr"))
		docx->in_properties = false;
	else if (str_eq(name, "p"))
		extract__flow_paragraph_end(docx->flow);
	else if (str_eq(name, "t"))
		docx->in_text = false;
	else if (str_eq(name, "tc"))
		extract__flow_cell_end(docx->flow);
	else if (str_eq(name, "tr"))
		extract__flow_row_end(docx->flow);
	else if (str_eq(name, "tbl"))
		extract__flow_table_end(docx->flow);
}

static void
doc_text(struct extract__xml *xml, const char *text, size_t len)
{
	struct docx *docx = xml->arg;

	if (docx->in_text && docx->hidden == 0)
		extract__flow_text(docx->flow, text, len);
}

/* Parts that a document may do without. */
static enum err_code
optional(enum err_code rc)
{
	return rc == ERR_NOT_FOUND ? OK : rc;
}

static enum err_code
read_parts(struct docx *docx, struct extract__zip *zip)
{
	static const char *const notes[] = { "word/footnotes.xml",
		"word/endnotes.xml" };
	struct extract__xml styles = { style_open, style_close, NULL, docx,
		NULL, NULL, 0, 0, OK };
	struct extract__xml text = { doc_open, doc_close, doc_text, docx, NULL,
		NULL, 0, 0, OK };

	TRY(optional(extract__zip_xml(zip, "word/styles.xml", &styles)));
	TRY(extract__zip_xml(zip, "word/document.xml", &text));
	for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++)
		TRY(optional(extract__zip_xml(zip, notes[i], &text)));
	return OK;
}

enum err_code
extract__docx(struct extract__zip *zip, struct extract__blocks *blocks)
{
	struct docx docx = { .flow = extract__flow_new(blocks) };
	enum err_code rc = read_parts(&docx, zip);

	extract__flow_free(docx.flow);
	mem_free(docx.styles);
	return rc;
}
