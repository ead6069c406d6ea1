/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text as word processors nest it: paragraphs may hold text boxes with
 * paragraphs, cells hold paragraphs and tables. Items of a list become one
 * block; a table inside a cell becomes text of the cell. Nesting deeper than
 * the ceiling joins the level above.
 */
#include "base/mem.h"
#include "extract/internal.h"

#define NEST_MAX   16
#define LIST_BYTES ((size_t)32 << 10) /* a longer list is several blocks */
#define INDENT_MAX 8

struct paragraph {
	struct buf text;
	int heading; /* 0 = none */
	int item;    /* depth in a list; -1 = none */
};

struct extract__flow {
	struct extract__blocks *blocks;
	struct paragraph paragraphs[NEST_MAX];
	int open; /* paragraphs */
	struct extract__table table;
	int tables; /* open ones */
	struct buf cell;
	struct buf list;
};

struct extract__flow *
extract__flow_new(struct extract__blocks *blocks)
{
	struct extract__flow *flow = mem_zero(sizeof(*flow));

	flow->blocks = blocks;
	extract__table_init(&flow->table, blocks);
	for (int i = 0; i < NEST_MAX; i++)
		buf_init(&flow->paragraphs[i].text, 0);
	buf_init(&flow->cell, 0);
	buf_init(&flow->list, 0);
	return flow;
}

static void
end_list(struct extract__flow *flow)
{
	if (flow->list.len > 0)
		extract__add(flow->blocks, BLOCK_LIST, 0, flow->list.data,
		    flow->list.len);
	buf_clear(&flow->list);
}

void
extract__flow_free(struct extract__flow *flow)
{
	if (flow == NULL)
		return;
	while (flow->open > 0)
		extract__flow_paragraph_end(flow);
	while (flow->tables > 0)
		extract__flow_table_end(flow);
	end_list(flow);
	for (int i = 0; i < NEST_MAX; i++)
		buf_done(&flow->paragraphs[i].text);
	extract__table_done(&flow->table);
	buf_done(&flow->cell);
	buf_done(&flow->list);
	mem_free(flow);
}

static struct paragraph *
now(struct extract__flow *flow)
{
	int at = flow->open > NEST_MAX ? NEST_MAX : flow->open;

	return at > 0 ? &flow->paragraphs[at - 1] : NULL;
}

void
extract__flow_paragraph(struct extract__flow *flow)
{
	struct paragraph *paragraph;
	int at = flow->open++;

	if (at >= NEST_MAX)
		return;
	paragraph = &flow->paragraphs[at];
	buf_clear(&paragraph->text);
	paragraph->heading = 0;
	paragraph->item = -1;
}

void
extract__flow_text(struct extract__flow *flow, const char *text, size_t len)
{
	struct paragraph *paragraph = now(flow);

	if (paragraph != NULL && !flow->blocks->full &&
	    paragraph->text.len <= flow->blocks->max_bytes)
		buf_add(&paragraph->text, text, len);
}

void
extract__flow_heading(struct extract__flow *flow, int level)
{
	struct paragraph *paragraph = now(flow);

	if (paragraph != NULL)
		paragraph->heading = level;
}

void
extract__flow_item(struct extract__flow *flow, int depth)
{
	struct paragraph *paragraph = now(flow);

	if (paragraph != NULL)
		paragraph->item = depth < 0 ? 0 : depth;
}

void
extract__flow_no_item(struct extract__flow *flow)
{
	struct paragraph *paragraph = now(flow);

	if (paragraph != NULL)
		paragraph->item = -1;
}

static bool
is_blank(const struct buf *text)
{
	for (size_t i = 0; i < text->len; i++)
		if ((unsigned char)text->data[i] > ' ')
			return false;
	return true;
}

static void
add_item(struct extract__flow *flow, const struct paragraph *paragraph)
{
	if (flow->list.len > LIST_BYTES)
		end_list(flow);
	for (int i = 0; i < paragraph->item && i < INDENT_MAX; i++)
		buf_adds(&flow->list, "  ");
	buf_adds(&flow->list, "- ");
	buf_add(&flow->list, paragraph->text.data, paragraph->text.len);
	buf_addc(&flow->list, '\n');
}

void
extract__flow_paragraph_end(struct extract__flow *flow)
{
	struct paragraph *paragraph = now(flow);

	if (paragraph == NULL || flow->open-- > NEST_MAX)
		return;
	if (is_blank(&paragraph->text))
		return;
	if (flow->tables > 0) {
		if (flow->cell.len > 0)
			buf_addc(&flow->cell, ' ');
		if (flow->cell.len <= flow->blocks->max_bytes)
			buf_add(&flow->cell, paragraph->text.data,
			    paragraph->text.len);
		return;
	}
	if (paragraph->heading == 0 && paragraph->item >= 0) {
		add_item(flow, paragraph);
		return;
	}
	end_list(flow);
	extract__add(flow->blocks,
	    paragraph->heading > 0 ? BLOCK_HEADING : BLOCK_PARAGRAPH,
	    paragraph->heading, paragraph->text.data, paragraph->text.len);
}

void
extract__flow_table(struct extract__flow *flow)
{
	if (flow->tables++ == 0)
		end_list(flow);
}

/* The cells of a table inside a cell are text of the outer one. */
void
extract__flow_cell_end(struct extract__flow *flow)
{
	if (flow->tables != 1)
		return;
	extract__table_cell(&flow->table, buf_str(&flow->cell), flow->cell.len);
	buf_clear(&flow->cell);
}

void
extract__flow_row_end(struct extract__flow *flow)
{
	if (flow->tables == 1)
		extract__table_row(&flow->table);
}

void
extract__flow_table_end(struct extract__flow *flow)
{
	if (flow->tables == 0 || --flow->tables > 0)
		return;
	if (flow->cell.len > 0) {
		flow->tables = 1;
		extract__flow_cell_end(flow);
		flow->tables = 0;
	}
	extract__table_end(&flow->table);
}
