/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Markdown through cmark. CommonMark has no tables: a paragraph with a
 * delimiter row becomes one here. What site generators add for their own use
 * goes: YAML front matter (its title stays), attribute lists in braces, include
 * lines, admonition fences.
 */
#include <cmark.h>
#include <stdio.h>
#include <string.h>

#include "extract/internal.h"

#define DEPTH_MAX  64
#define FRONT_MAX  65536
#define NOISE_MAX  300 /* bytes of one {...} */
#define SOFT_BREAK '\n'
#define HARD_BREAK '\r' /* never in cmark's text */

/* ---- front matter ---- */

static size_t
line_length(const char *text, size_t len)
{
	const char *end = memchr(text, '\n', len);

	return end == NULL ? len : (size_t)(end - text) + 1;
}

static bool
is_fence(const char *line, size_t len, const char *fence)
{
	while (len > 0 && strchr("\r\n \t", line[len - 1]) != NULL)
		len--;
	return len == 3 && memcmp(line, fence, 3) == 0;
}

static void
front_title(const char *line, size_t len, struct extract__blocks *blocks)
{
	if (len < 7 || memcmp(line, "title:", 6) != 0)
		return;
	line += 6;
	len -= 6;
	while (len > 0 && strchr(" \t\"'", *line) != NULL) {
		line++;
		len--;
	}
	while (len > 0 && strchr(" \t\"'\r\n", line[len - 1]) != NULL)
		len--;
	extract__set_title(blocks, line, len);
}

/* Bytes of a front matter at the beginning, 0 without one. */
static size_t
front_matter(const char *text, size_t len, struct extract__blocks *blocks)
{
	size_t look = len < FRONT_MAX ? len : FRONT_MAX;
	size_t at = line_length(text, look), end = 0;

	if (!is_fence(text, at, "---"))
		return 0;
	for (size_t i = at, n; i < look && end == 0; i += n) {
		n = line_length(text + i, look - i);
		if (is_fence(text + i, n, "---") ||
		    is_fence(text + i, n, "..."))
			end = i + n;
	}
	for (size_t i = at, n; i < end; i += n) {
		n = line_length(text + i, end - i);
		front_title(text + i, n, blocks);
	}
	return end;
}

/* ---- noise ---- */

/* Length of an attribute list or include at `s` ("{#id}", "{ .class }",
 * "{target=_blank}", "{* file *}", "{!file!}", "{% tag %}"), or 0. */
static size_t
noise_length(const char *s, size_t len)
{
	const char *close = memchr(s, '}', len < NOISE_MAX ? len : NOISE_MAX);
	size_t i = 1, n;

	if (s[0] != '{' || close == NULL)
		return 0;
	n = (size_t)(close - s) + 1;
	if (memchr(s + 1, '{', n - 1) != NULL || memchr(s, '\n', n) != NULL)
		return 0;
	while (i < n && s[i] == ' ')
		i++;
	if (strchr("#.:*!%", s[i]) != NULL)
		return n;
	while (i < n &&
	       (s[i] == '-' || s[i] == '_' || (s[i] >= 'a' && s[i] <= 'z')))
		i++;
	return s[i] == '=' && i > 1 ? n : 0;
}

static void
add_without_noise(struct buf *out, const char *text)
{
	size_t len = strlen(text), from = 0;

	for (size_t i = 0; i < len; i++) {
		size_t n = text[i] == '{' ? noise_length(text + i, len - i) : 0;

		if (n == 0)
			continue;
		buf_add(out, text + from, i - from);
		from = i + n;
		i = from - 1;
	}
	buf_add(out, text + from, len - from);
}

/* "/// note | Title", "!!! tip "Title"", "???+ info": what follows the word. */
static size_t
admonition_length(const char *line, size_t len)
{
	size_t i = 3;

	if (len < 3 ||
	    (memcmp(line, "///", 3) != 0 && memcmp(line, "!!!", 3) != 0 &&
		memcmp(line, "???", 3) != 0))
		return 0;
	while (i < len && strchr("/+ ", line[i]) != NULL)
		i++;
	while (i < len && line[i] != ' ' && line[i] != '\n')
		i++;
	while (i < len && strchr(" |", line[i]) != NULL)
		i++;
	return i;
}

static void
drop_admonitions(struct buf *text)
{
	struct buf out;

	buf_init(&out, 0);
	for (size_t i = 0, n; i < text->len; i += n) {
		size_t mark = admonition_length(text->data + i, text->len - i);

		n = line_length(text->data + i, text->len - i);
		if (mark > n)
			mark = n;
		buf_add(&out, text->data + i + mark, n - mark);
	}
	buf_done(text);
	*text = out;
}

/* ---- inline text ---- */

/* With SOFT_BREAK and HARD_BREAK still told apart. */
static void
inline_text(cmark_node *block, struct buf *out)
{
	cmark_iter *iter = cmark_iter_new(block);
	cmark_event_type event;

	while ((event = cmark_iter_next(iter)) != CMARK_EVENT_DONE) {
		cmark_node *node = cmark_iter_get_node(iter);
		const char *literal = cmark_node_get_literal(node);

		if (event != CMARK_EVENT_ENTER)
			continue;
		switch (cmark_node_get_type(node)) {
		case CMARK_NODE_TEXT:
			add_without_noise(out, literal);
			break;
		case CMARK_NODE_CODE:
			buf_adds(out, literal);
			break;
		case CMARK_NODE_SOFTBREAK:
			buf_addc(out, SOFT_BREAK);
			break;
		case CMARK_NODE_LINEBREAK:
			buf_addc(out, HARD_BREAK);
			break;
		case CMARK_NODE_HTML_INLINE:
			if (strncmp(literal, "<br", 3) == 0)
				buf_addc(out, HARD_BREAK);
			break;
		default:
			break;
		}
	}
	cmark_iter_free(iter);
}

static void
settle_breaks(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] == SOFT_BREAK)
			text[i] = ' ';
		else if (text[i] == HARD_BREAK)
			text[i] = '\n';
}

static void
flowing_text(cmark_node *block, struct buf *out)
{
	struct buf text;

	buf_init(&text, 0);
	inline_text(block, &text);
	drop_admonitions(&text);
	settle_breaks(text.data, text.len);
	buf_add(out, buf_str(&text), text.len);
	buf_done(&text);
}

/* ---- tables ---- */

/* GitHub's delimiter row: only | - : and spaces, with a | and a -. */
static bool
is_delimiter_row(const char *line, size_t len)
{
	bool bar = false, dash = false;

	for (size_t i = 0; i < len; i++) {
		if (strchr("|-: \t\r\n", line[i]) == NULL)
			return false;
		bar |= line[i] == '|';
		dash |= line[i] == '-';
	}
	return bar && dash;
}

/* "| a | b |" to "a | b"; a hard break inside a cell is a space. */
static void
add_row(struct buf *out, const char *line, size_t len)
{
	bool open = false;

	while (len > 0 && strchr("| \t\r\n", line[len - 1]) != NULL)
		len--;
	while (len > 0 && strchr("| \t", *line) != NULL) {
		line++;
		len--;
	}
	for (size_t i = 0; i < len; i++) {
		if (line[i] == '|') {
			while (out->len > 0 && out->data[out->len - 1] == ' ')
				out->data[--out->len] = '\0';
			buf_adds(out, " | ");
			open = true;
		} else if (line[i] == ' ' || line[i] == HARD_BREAK) {
			if (!open && out->len > 0 &&
			    out->data[out->len - 1] != ' ')
				buf_addc(out, ' ');
		} else {
			buf_addc(out, line[i]);
			open = false;
		}
	}
	buf_addc(out, '\n');
}

/* A paragraph with a delimiter row as its second or a later line: text before
 * the header row, then the table. False when it has none. */
static bool
add_table(struct extract__blocks *blocks, struct buf *text)
{
	size_t header = 0, at = 0, n;
	struct buf rows;

	for (;; at += n) {
		if (at >= text->len)
			return false;
		n = line_length(text->data + at, text->len - at);
		if (at > 0 && is_delimiter_row(text->data + at, n))
			break;
		header = at;
	}
	buf_init(&rows, 0);
	add_row(&rows, text->data + header, at - header);
	for (at += n; at < text->len; at += n) {
		n = line_length(text->data + at, text->len - at);
		add_row(&rows, text->data + at, n);
	}
	settle_breaks(text->data, header);
	extract__add(blocks, BLOCK_PARAGRAPH, 0, text->data, header);
	extract__add(blocks, BLOCK_TABLE, 0, rows.data, rows.len);
	buf_done(&rows);
	return true;
}

/* ---- containers as text ---- */

static void flow(cmark_node *node, struct buf *out, int depth);

static void
new_line(struct buf *out, int depth)
{
	if (out->len > 0 && out->data[out->len - 1] != '\n')
		buf_addc(out, '\n');
	for (int i = 0; i < depth; i++)
		buf_adds(out, "  ");
}

static void
flow_list(cmark_node *list, struct buf *out, int depth)
{
	bool ordered = cmark_node_get_list_type(list) == CMARK_ORDERED_LIST;
	int number = cmark_node_get_list_start(list);

	for (cmark_node *item = cmark_node_first_child(list); item != NULL;
	     item = cmark_node_next(item)) {
		bool first = true;

		new_line(out, depth);
		if (ordered)
			buf_addf(out, "%d. ", number++);
		else
			buf_adds(out, "- ");
		for (cmark_node *child = cmark_node_first_child(item);
		     child != NULL; child = cmark_node_next(child)) {
			if (!first &&
			    cmark_node_get_type(child) != CMARK_NODE_LIST)
				new_line(out, depth + 1);
			flow(child, out, depth + 1);
			first = false;
		}
	}
}

static void
flow_html(const char *literal, struct buf *out)
{
	bool tag = false;

	for (const char *p = literal; *p != '\0'; p++) {
		if (*p == '<')
			tag = true;
		if (!tag)
			buf_addc(out, *p);
		if (*p == '>')
			tag = false;
	}
}

/* Any block inside a list or a quote. Deeper ones than DEPTH_MAX are read as
 * one run of text: the recursion must end, and so does any reader's patience.
 */
static void
flow(cmark_node *node, struct buf *out, int depth)
{
	if (depth > DEPTH_MAX) {
		flowing_text(node, out);
		return;
	}
	switch (cmark_node_get_type(node)) {
	case CMARK_NODE_PARAGRAPH:
	case CMARK_NODE_HEADING:
		flowing_text(node, out);
		break;
	case CMARK_NODE_LIST:
		flow_list(node, out, depth);
		break;
	case CMARK_NODE_CODE_BLOCK:
		buf_adds(out, cmark_node_get_literal(node));
		break;
	case CMARK_NODE_HTML_BLOCK:
		flow_html(cmark_node_get_literal(node), out);
		break;
	default:
		for (cmark_node *child = cmark_node_first_child(node);
		     child != NULL; child = cmark_node_next(child)) {
			new_line(out, 0);
			flow(child, out, depth + 1);
		}
		break;
	}
}

/* ---- blocks ---- */

/* Code that is only an include line has no text of its own. */
static bool
is_include(const char *literal)
{
	while (*literal == ' ' || *literal == '\n')
		literal++;
	return literal[0] == '{' && (literal[1] == '!' || literal[1] == '*') &&
	       noise_length(literal, strlen(literal)) + 1 >= strlen(literal);
}

static void
add_flow(struct extract__blocks *blocks, cmark_node *node, enum block_type type)
{
	struct buf text;

	buf_init(&text, 0);
	flow(node, &text, 0);
	extract__add(blocks, type, 0, buf_str(&text), text.len);
	buf_done(&text);
}

static void
add_paragraph(struct extract__blocks *blocks, cmark_node *node)
{
	struct buf text;

	buf_init(&text, 0);
	inline_text(node, &text);
	drop_admonitions(&text);
	if (!add_table(blocks, &text)) {
		settle_breaks(text.data, text.len);
		extract__add(
		    blocks, BLOCK_PARAGRAPH, 0, buf_str(&text), text.len);
	}
	buf_done(&text);
}

static void
add_block(struct extract__blocks *blocks, cmark_node *node)
{
	const char *literal = cmark_node_get_literal(node);
	struct buf text;

	switch (cmark_node_get_type(node)) {
	case CMARK_NODE_HEADING:
		buf_init(&text, 0);
		flowing_text(node, &text);
		extract__add(blocks, BLOCK_HEADING,
		    cmark_node_get_heading_level(node), buf_str(&text),
		    text.len);
		buf_done(&text);
		break;
	case CMARK_NODE_LIST:
		add_flow(blocks, node, BLOCK_LIST);
		break;
	case CMARK_NODE_BLOCK_QUOTE:
		add_flow(blocks, node, BLOCK_QUOTE);
		break;
	case CMARK_NODE_CODE_BLOCK:
		if (!is_include(literal))
			extract__add(
			    blocks, BLOCK_CODE, 0, literal, strlen(literal));
		break;
	case CMARK_NODE_HTML_BLOCK:
		/* What is no HTML after all has no text either. */
		extract__html(literal, strlen(literal), blocks);
		break;
	case CMARK_NODE_PARAGRAPH:
		add_paragraph(blocks, node);
		break;
	default:
		break;
	}
}

void
extract__markdown(const char *text, size_t len, struct extract__blocks *blocks)
{
	size_t front = front_matter(text, len, blocks);
	cmark_node *root =
	    cmark_parse_document(text + front, len - front, CMARK_OPT_DEFAULT);

	cmark_consolidate_text_nodes(root);
	for (cmark_node *node = cmark_node_first_child(root);
	     node != NULL && !blocks->full; node = cmark_node_next(node))
		add_block(blocks, node);
	cmark_node_free(root);
}
