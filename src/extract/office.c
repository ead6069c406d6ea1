/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which document a zip file is, by the names of its parts, and the formats
 * that are one part: OpenDocument. Word, PowerPoint, Excel and EPUB have files
 * of their own. Also what an OLE file is: an encrypted document, or an old one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "extract/internal.h"

#define REPEAT_MAX 64 /* equal cells side by side that are kept */

static const struct kind {
	const char *part;
	enum err_code (*read)(
	    struct extract__zip *zip, struct extract__blocks *blocks);
} kinds[] = {
	{ "word/document.xml", extract__docx },
	{ "ppt/presentation.xml", extract__pptx },
	{ "xl/workbook.xml", extract__xlsx },
	{ "META-INF/container.xml", extract__epub },
	{ "content.xml", extract__odf },
};

static bool
look(void *arg, const char *name)
{
	const struct kind **found = arg;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(name, kinds[i].part) == 0)
			*found = &kinds[i];
	return *found == NULL;
}

enum err_code
extract__zip_document(int fd, struct extract__blocks *blocks)
{
	const struct kind *kind = NULL;
	struct extract__zip zip;

	TRY(extract__zip_open(&zip, fd, blocks->max_bytes));
	TRY(extract__zip_names(&zip, look, &kind));
	if (kind == NULL)
		return err_set(ERR_MEDIA_TYPE,
		    "this zip file is no docx, pptx, xlsx, odt, ods, odp or "
		    "epub; upload the documents inside one by one");
	return kind->read(&zip, blocks);
}

/* ---- OpenDocument ---- */

struct odf {
	struct extract__flow *flow;
	int lists;  /* open ones */
	int hidden; /* depth of elements whose text is none */
	int repeat; /* of the open cell */
};

static bool
is_hidden(const char *name)
{
	return str_eq(name, "annotation") || str_eq(name, "tracked-changes") ||
	       str_eq(name, "notes") || str_eq(name, "styles");
}

static int
number_attribute(
    const struct extract__xml *xml, const char *name, int otherwise)
{
	char value[16];

	return extract__xml_attribute(xml, name, value, sizeof(value))
		   ? (int)strtol(value, NULL, 10)
		   : otherwise;
}

static void
odf_open(struct extract__xml *xml, const char *name)
{
	struct odf *odf = xml->arg;

	if (odf->hidden > 0 || is_hidden(name)) {
		odf->hidden++;
		return;
	}
	if (str_eq(name, "p") || str_eq(name, "h"))
		extract__flow_paragraph(odf->flow);
	if (str_eq(name, "p") && odf->lists > 0)
		extract__flow_item(odf->flow, odf->lists - 1);
	if (str_eq(name, "h"))
		extract__flow_heading(
		    odf->flow, number_attribute(xml, "outline-level", 1));
	else if (str_eq(name, "list"))
		odf->lists++;
	else if (str_eq(name, "table"))
		extract__flow_table(odf->flow);
	else if (str_eq(name, "table-cell"))
		odf->repeat =
		    number_attribute(xml, "number-columns-repeated", 1);
	else if (str_eq(name, "tab") || str_eq(name, "s"))
		extract__flow_text(odf->flow, " ", 1);
	else if (str_eq(name, "line-break"))
		extract__flow_text(odf->flow, "\n", 1);
}

static void
odf_close(struct extract__xml *xml, const char *name)
{
	struct odf *odf = xml->arg;

	if (odf->hidden > 0) {
		odf->hidden--;
		return;
	}
	if (str_eq(name, "p") || str_eq(name, "h")) {
		extract__flow_paragraph_end(odf->flow);
	} else if (str_eq(name, "list")) {
		odf->lists--;
	} else if (str_eq(name, "table-cell")) {
		/* An empty rest of a sheet is one cell repeated 16384 times. */
		int n = odf->repeat < REPEAT_MAX ? odf->repeat : 1;

		for (int i = 0; i < n; i++)
			extract__flow_cell_end(odf->flow);
	} else if (str_eq(name, "covered-table-cell")) {
		extract__flow_cell_end(odf->flow);
	} else if (str_eq(name, "table-row")) {
		extract__flow_row_end(odf->flow);
	} else if (str_eq(name, "table")) {
		extract__flow_table_end(odf->flow);
	}
}

static void
odf_text(struct extract__xml *xml, const char *text, size_t len)
{
	struct odf *odf = xml->arg;

	if (odf->hidden == 0)
		extract__flow_text(odf->flow, text, len);
}

enum err_code
extract__odf(struct extract__zip *zip, struct extract__blocks *blocks)
{
	struct odf odf = { .flow = extract__flow_new(blocks) };
	struct extract__xml xml = { odf_open, odf_close, odf_text, &odf, NULL,
		NULL, 0, 0, OK };
	enum err_code rc = extract__zip_xml(zip, "content.xml", &xml);

	extract__flow_free(odf.flow);
	return rc;
}

/* ---- OLE ---- */

enum err_code
extract__ole(int fd)
{
	static const char name[] = "E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g"
				   "\0e";
	static char piece[1 << 20];
	off_t at = 0;
	ssize_t n;

	/* Its directory may stand anywhere; pieces overlap by the name. */
	while (
	    (n = pread(fd, piece, sizeof(piece), at)) > (ssize_t)sizeof(name)) {
		if (memmem(piece, (size_t)n, name, sizeof(name) - 1) != NULL)
			return err_set(ERR_INVALID,
			    "the document is encrypted with a password: "
			    "upload one without");
		at += n - (ssize_t)sizeof(name);
	}
	return err_set(ERR_MEDIA_TYPE,
	    "an Office document from before 2007 cannot be read; save it as "
	    "docx, xlsx, pptx or PDF");
}
