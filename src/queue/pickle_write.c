/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pickles written: protocol 4 without memo and frames, which every Python from
 * 3.4 on reads. Also trees of pickle.c as JSON. A tree may share parts and be
 * circular, so both walk it with a depth, and the buffer's ceiling ends what
 * unfolds without end.
 */
#include "queue/pickle.h"

#include <math.h>
#include <string.h>

#include "base/str.h"

static void
add_number(struct buf *out, size_t size, uint64_t value)
{
	for (size_t i = 0; i < size; i++)
		buf_addc(out, (char)(value >> (8 * i) & 0xff));
}

void
pickle_begin(struct buf *out)
{
	buf_add(out, "\x80\x04", 2);
}

void
pickle_end(struct buf *out)
{
	buf_addc(out, '.');
}

void
pickle_add_none(struct buf *out)
{
	buf_addc(out, 'N');
}

void
pickle_add_bool(struct buf *out, bool value)
{
	buf_addc(out, value ? '\x88' : '\x89');
}

void
pickle_add_int(struct buf *out, int64_t value)
{
	if (value >= INT32_MIN && value <= INT32_MAX) {
		buf_addc(out, 'J');
		add_number(out, 4, (uint64_t)value);
		return;
	}
	buf_add(out, "\x8a\x08", 2);
	add_number(out, 8, (uint64_t)value);
}

void
pickle_add_real(struct buf *out, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	buf_addc(out, 'G');
	for (int i = 7; i >= 0; i--)
		buf_addc(out, (char)(bits >> (8 * i) & 0xff));
}

void
pickle_add_text(struct buf *out, const char *text, size_t len)
{
	buf_addc(out, 'X');
	add_number(out, 4, len);
	buf_add(out, text, len);
}

static void
add_bytes(struct buf *out, const char *bytes, size_t len)
{
	buf_addc(out, 'B');
	add_number(out, 4, len);
	buf_add(out, bytes, len);
}

void
pickle_open_dict(struct buf *out)
{
	buf_add(out, "}(", 2);
}

void
pickle_close_dict(struct buf *out)
{
	buf_addc(out, 'u');
}

void
pickle_open_tuple(struct buf *out)
{
	buf_addc(out, '(');
}

void
pickle_close_tuple(struct buf *out)
{
	buf_addc(out, 't');
}

void
pickle_add_exception(
    struct buf *out, const char *module, const char *name, const char *text)
{
	pickle_add_text(out, module, strlen(module));
	pickle_add_text(out, name, strlen(name));
	buf_addc(out, '\x93'); /* STACK_GLOBAL */
	pickle_open_tuple(out);
	if (text != NULL)
		pickle_add_text(out, text, strlen(text));
	pickle_close_tuple(out);
	buf_addc(out, 'R');
}

/* json_parse has bounded the depth. */
void
pickle_add_json(struct buf *out, const json_t *value)
{
	const char *key;
	json_t *item;
	size_t i;

	switch (json_typeof(value)) {
	case JSON_OBJECT:
		pickle_open_dict(out);
		json_object_foreach ((json_t *)(uintptr_t)value, key, item) {
			pickle_add_text(out, key, strlen(key));
			pickle_add_json(out, item);
		}
		pickle_close_dict(out);
		break;
	case JSON_ARRAY:
		buf_add(out, "](", 2);
		json_array_foreach (value, i, item)
			pickle_add_json(out, item);
		buf_addc(out, 'e');
		break;
	case JSON_STRING:
		pickle_add_text(
		    out, json_string_value(value), json_string_length(value));
		break;
	case JSON_INTEGER:
		pickle_add_int(out, json_integer_value(value));
		break;
	case JSON_REAL:
		pickle_add_real(out, json_real_value(value));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		pickle_add_bool(out, json_is_true(value));
		break;
	case JSON_NULL:
		pickle_add_none(out);
		break;
	}
}

/* ---- trees ---- */

static enum err_code
check_room(const struct buf *out, unsigned depth)
{
	if (depth > PICKLE_DEPTH_MAX)
		return err_set(ERR_TOO_LARGE,
		    "values are nested deeper than %d", PICKLE_DEPTH_MAX);
	if (out->full)
		return err_set(
		    ERR_TOO_LARGE, "values are over %zu bytes", out->max);
	return OK;
}

static enum err_code
opaque(const struct pickle_value *value)
{
	return err_set(ERR_INVALID,
	    "it holds a Python object (%.*s); only plain values are read: "
	    "text, numbers, booleans, None, lists, tuples, dictionaries",
	    (int)(value->len < 100 ? value->len : 100), value->text);
}

static enum err_code
add_value(struct buf *out, const struct pickle_value *value, unsigned depth)
{
	TRY(check_room(out, depth));
	switch (value->type) {
	case PICKLE_NONE:
		pickle_add_none(out);
		return OK;
	case PICKLE_BOOL:
		pickle_add_bool(out, value->num != 0);
		return OK;
	case PICKLE_INT:
		pickle_add_int(out, value->num);
		return OK;
	case PICKLE_REAL:
		pickle_add_real(out, value->real);
		return OK;
	case PICKLE_STR:
		pickle_add_text(out, value->text, value->len);
		return OK;
	case PICKLE_BYTES:
		add_bytes(out, value->text, value->len);
		return OK;
	case PICKLE_OPAQUE:
		return opaque(value);
	case PICKLE_LIST:
	case PICKLE_TUPLE:
	case PICKLE_DICT:
		break;
	}
	buf_adds(out, value->type == PICKLE_LIST   ? "]("
		      : value->type == PICKLE_DICT ? "}("
						   : "(");
	for (size_t i = 0; i < value->len; i++)
		TRY(add_value(out, value->items[i], depth + 1));
	buf_addc(out, value->type == PICKLE_LIST   ? 'e'
		      : value->type == PICKLE_DICT ? 'u'
						   : 't');
	return OK;
}

enum err_code
pickle_add_value(struct buf *out, const struct pickle_value *value)
{
	TRY(add_value(out, value, 0));
	return check_room(out, 0);
}

static enum err_code
add_json_text(struct buf *out, const struct pickle_value *value)
{
	if (!str_is_utf8(value->text, value->len) ||
	    memchr(value->text, '\0', value->len) != NULL)
		return err_set(
		    ERR_INVALID, "it holds text with NUL or lone surrogates");
	buf_add_json(out, value->text, value->len);
	return OK;
}

static enum err_code
add_json_scalar(struct buf *out, const struct pickle_value *value)
{
	switch (value->type) {
	case PICKLE_NONE:
		buf_adds(out, "null");
		return OK;
	case PICKLE_BOOL:
		buf_adds(out, value->num != 0 ? "true" : "false");
		return OK;
	case PICKLE_INT:
		buf_addf(out, "%lld", (long long)value->num);
		return OK;
	case PICKLE_REAL:
		if (!isfinite(value->real))
			return err_set(ERR_INVALID, "it holds NaN or infinity");
		buf_addf(out, "%.17g", value->real);
		if (value->real == trunc(value->real) &&
		    fabs(value->real) < 1e17)
			buf_adds(
			    out, ".0"); /* a number with a point stays one */
		return OK;
	case PICKLE_STR:
		return add_json_text(out, value);
	case PICKLE_BYTES:
		return err_set(ERR_INVALID,
		    "it holds bytes; send text, base64 for binary data");
	default:
		return opaque(value);
	}
}

static enum err_code
add_json(struct buf *out, const struct pickle_value *value, unsigned depth)
{
	bool dict = value->type == PICKLE_DICT;

	TRY(check_room(out, depth));
	if (!dict && value->type != PICKLE_LIST && value->type != PICKLE_TUPLE)
		return add_json_scalar(out, value);
	buf_addc(out, dict ? '{' : '[');
	for (size_t i = 0; i < value->len; i += dict ? 2 : 1) {
		if (dict && value->items[i]->type != PICKLE_STR)
			return err_set(ERR_INVALID,
			    "it holds a dictionary whose keys are no text");
		if (i > 0)
			buf_addc(out, ',');
		if (dict) {
			TRY(add_json_text(out, value->items[i]));
			buf_addc(out, ':');
		}
		TRY(add_json(out, value->items[i + (dict ? 1 : 0)], depth + 1));
	}
	buf_addc(out, dict ? '}' : ']');
	return OK;
}

enum err_code
pickle_to_json(const struct pickle_value *value, struct buf *out)
{
	TRY(add_json(out, value, 0));
	return check_room(out, 0);
}
