/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON documents, one value or one a line. Each object of a list becomes a
 * paragraph of "path: value" lines, so that a record stands alone; notebooks
 * (nbformat) become their Markdown and code cells.
 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "extract/internal.h"

#define DEPTH_MAX 200
#define PATH_MAX_ 512

struct walk {
	struct extract__blocks *blocks;
	struct buf lines; /* of the open paragraph */
	char path[PATH_MAX_];
	int depth;
};

static void
flush(struct walk *walk)
{
	extract__add(walk->blocks, BLOCK_PARAGRAPH, 0, buf_str(&walk->lines),
	    walk->lines.len);
	buf_clear(&walk->lines);
}

static void
add_scalar(struct walk *walk, const json_t *value)
{
	struct buf *out = &walk->lines;

	if (json_is_string(value))
		buf_add(
		    out, json_string_value(value), json_string_length(value));
	else if (json_is_integer(value))
		buf_addf(out, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		buf_addf(out, "%.15g", json_real_value(value));
	else if (json_is_boolean(value))
		buf_adds(out, json_is_true(value) ? "true" : "false");
}

static bool
is_scalar(const json_t *value)
{
	return !json_is_object(value) && !json_is_array(value);
}

static bool
all_scalars(const json_t *array)
{
	size_t i;
	json_t *item;

	json_array_foreach (array, i, item)
		if (!is_scalar(item))
			return false;
	return true;
}

static void
add_label(struct walk *walk)
{
	if (walk->path[0] != '\0')
		buf_addf(&walk->lines, "%s: ", walk->path);
}

static void walk_value(struct walk *walk, json_t *value);

static void
walk_object(struct walk *walk, json_t *object)
{
	size_t len = strlen(walk->path);
	const char *key;
	json_t *value;

	json_object_foreach (object, key, value) {
		snprintf(walk->path + len, sizeof(walk->path) - len, "%s%s",
		    len > 0 ? "." : "", key);
		walk_value(walk, value);
		walk->path[len] = '\0';
	}
}

static void
walk_array(struct walk *walk, json_t *array)
{
	size_t i;
	json_t *item;

	if (all_scalars(array) && json_array_size(array) > 0) {
		add_label(walk);
		json_array_foreach (array, i, item) {
			if (i > 0)
				buf_adds(&walk->lines, ", ");
			add_scalar(walk, item);
		}
		buf_addc(&walk->lines, '\n');
		return;
	}
	json_array_foreach (array, i, item) {
		flush(walk);
		walk_value(walk, item);
		if (walk->blocks->full)
			return;
	}
	flush(walk);
}

static void
walk_value(struct walk *walk, json_t *value)
{
	if (walk->depth >= DEPTH_MAX || json_is_null(value))
		return;
	walk->depth++;
	if (json_is_object(value)) {
		walk_object(walk, value);
	} else if (json_is_array(value)) {
		walk_array(walk, value);
	} else {
		add_label(walk);
		add_scalar(walk, value);
		buf_addc(&walk->lines, '\n');
	}
	walk->depth--;
}

/* ---- notebooks ---- */

/* A cell's source is a text or a list of lines. */
static void
join(const json_t *source, struct buf *out)
{
	size_t i;
	json_t *line;

	if (json_is_string(source))
		buf_adds(out, json_string_value(source));
	json_array_foreach (source, i, line)
		if (json_is_string(line))
			buf_adds(out, json_string_value(line));
}

static void
read_notebook(const json_t *cells, struct extract__blocks *blocks)
{
	struct buf text;
	size_t i;
	json_t *cell;

	buf_init(&text, 0);
	json_array_foreach (cells, i, cell) {
		const char *type = json_str(cell, "cell_type");

		buf_clear(&text);
		join(json_object_get(cell, "source"), &text);
		if (str_eq(type, "markdown"))
			extract__markdown(buf_str(&text), text.len, blocks);
		else
			extract__add(
			    blocks, BLOCK_CODE, 0, buf_str(&text), text.len);
	}
	buf_done(&text);
}

/* ---- the document ---- */

static void
read_value(json_t *value, struct extract__blocks *blocks)
{
	struct walk walk = { .blocks = blocks };
	const json_t *cells = json_object_get(value, "cells");

	if (json_is_array(cells) && json_object_get(value, "nbformat")) {
		read_notebook(cells, blocks);
		return;
	}
	buf_init(&walk.lines, 0);
	walk_value(&walk, value);
	flush(&walk);
	buf_done(&walk.lines);
}

static bool
is_blank(const char *text, size_t len)
{
	return strspn(text, " \t\r\n") >= len;
}

enum err_code
extract__json(const char *text, size_t len, struct extract__blocks *blocks)
{
	size_t at = 0;

	do {
		json_error_t error;
		json_t *value = json_loadb(text + at, len - at,
		    JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);

		if (value == NULL)
			return err_set(ERR_INVALID,
			    "this is no JSON: line %d, column %d: \"%s\"",
			    error.line, error.column, error.text);
		read_value(value, blocks);
		json_decref(value);
		at += (size_t)error.position;
	} while (at < len && !is_blank(text + at, len - at) && !blocks->full);
	return OK;
}
