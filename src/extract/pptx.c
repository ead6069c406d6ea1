/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PowerPoint presentations (PresentationML): the slides in the order of their
 * numbers, each with its page. The title's shape gives a heading; texts, tables
 * and grouped shapes follow as they stand in the file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "extract/internal.h"

#define SLIDES_MAX 5000

struct slide {
	struct extract__flow *flow;
	bool title; /* inside the title's shape */
	bool in_text;
	int hidden;
};

static void
slide_open(struct extract__xml *xml, const char *name)
{
	struct slide *slide = xml->arg;
	char type[16] = "";

	if (slide->hidden > 0 || str_eq(name, "Fallback")) {
		slide->hidden++;
		return;
	}
	if (str_eq(name, "sp")) {
		slide->title = false;
	} else if (str_eq(name, "ph")) {
		extract__xml_attribute(xml, "type", type, sizeof(type));
		slide->title =
		    str_eq(type, "title") || str_eq(type, "ctrTitle");
	} else if (str_eq(name, "p")) {
		extract__flow_paragraph(slide->flow);
		if (slide->title)
			extract__flow_heading(slide->flow, 2);
	} else if (str_eq(name, "t")) {
		slide->in_text = true;
	} else if (str_eq(name, "br")) {
		extract__flow_text(slide->flow, "\n", 1);
	} else if (str_eq(name, "tbl")) {
		extract__flow_table(slide->flow);
	}
}

static void
slide_close(struct extract__xml *xml, const char *name)
{
	struct slide *slide = xml->arg;

	if (slide->hidden > 0) {
		slide->hidden--;
		return;
	}
	if (str_eq(name, "p"))
		extract__flow_paragraph_end(slide->flow);
	else if (str_eq(name, "sp"))
		slide->title = false;
	else if (str_eq(name, "t"))
		slide->in_text = false;
	else if (str_eq(name, "tc"))
		extract__flow_cell_end(slide->flow);
	else if (str_eq(name, "tr"))
		extract__flow_row_end(slide->flow);
	else if (str_eq(name, "tbl"))
		extract__flow_table_end(slide->flow);
}

static void
slide_text(struct extract__xml *xml, const char *text, size_t len)
{
	struct slide *slide = xml->arg;

	if (slide->in_text && slide->hidden == 0)
		extract__flow_text(slide->flow, text, len);
}

static bool
count_slide(void *arg, const char *name)
{
	static const char folder[] = "ppt/slides/slide";
	int *last = arg, number;

	if (!str_starts(name, folder) || !str_ends(name, ".xml"))
		return true;
	number = (int)strtol(name + sizeof(folder) - 1, NULL, 10);
	if (number > *last && number <= SLIDES_MAX)
		*last = number;
	return true;
}

enum err_code
extract__pptx(struct extract__zip *zip, struct extract__blocks *blocks)
{
	int last = 0;

	TRY(extract__zip_names(zip, count_slide, &last));
	for (int number = 1; number <= last && !blocks->full; number++) {
		struct slide slide = { .flow = extract__flow_new(blocks) };
		struct extract__xml xml = { slide_open, slide_close, slide_text,
			&slide, NULL, NULL, 0, 0, OK };
		enum err_code rc;
		char name[48];

		snprintf(name, sizeof(name), "ppt/slides/slide%d.xml", number);
		blocks->page = number;
		rc = extract__zip_xml(zip, name, &xml);
		extract__flow_free(slide.flow);
		if (rc != OK && rc != ERR_NOT_FOUND)
			return rc;
	}
	return OK;
}
