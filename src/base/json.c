/* SPDX-License-Identifier: Apache-2.0 */
/* Strict JSON over jansson, and readers that say what is wrong with a field. */
#include "base/json.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

/* jansson's own depth limit is 2048 and it recurses: measure first. */
static enum err_code
check_depth(const char *text, size_t len)
{
	bool in_string = false;
	int depth = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > JSON_DEPTH_MAX)
				return err_set(ERR_INVALID,
				    "JSON is nested deeper than %d",
				    JSON_DEPTH_MAX);
		} else if (c == '}' || c == ']') {
			depth--;
		}
	}
	return OK;
}

/* "invalid token near 'abc'": what came from outside stands in double quotes
 * in our sentences (base/mask.h). */
static enum err_code
refuse(const json_error_t *error)
{
	const char *near = strstr(error->text, " near '");

	if (near == NULL)
		return err_set(ERR_INVALID, "JSON line %d column %d: %s",
		    error->line, error->column, error->text);
	return err_set(ERR_INVALID,
	    "JSON line %d column %d: %.*s near \"%.*s\"", error->line,
	    error->column, (int)(near - error->text), error->text,
	    (int)strlen(near + 7) - 1, near + 7);
}

enum err_code
json_parse(const char *text, size_t len, json_t **value_out)
{
	json_error_t error;
	json_t *value;

	TRY(check_depth(text, len));
	value = json_loadb(text, len,
	    JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	if (value == NULL)
		return refuse(&error);
	*value_out = value;
	return OK;
}

static int
add_piece(const char *data, size_t len, void *arg)
{
	buf_add(arg, data, len);
	return 0;
}

void
json_write(const json_t *value, struct buf *out)
{
	json_dump_callback(value, add_piece, out,
	    JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
}

char *
json_text(const json_t *value)
{
	struct buf out;

	buf_init(&out, 0);
	json_write(value, &out);
	return buf_take(&out, NULL);
}

const char *
json_str(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

int64_t
json_int(const json_t *object, const char *key, int64_t fallback)
{
	const json_t *value = json_object_get(object, key);

	return json_is_integer(value) ? json_integer_value(value) : fallback;
}

bool
json_bool(const json_t *object, const char *key, bool fallback)
{
	const json_t *value = json_object_get(object, key);

	return json_is_boolean(value) ? json_is_true(value) : fallback;
}

enum err_code
json_field_str(const json_t *object, const char *key, bool required,
    size_t max_len, const char **value_out)
{
	const json_t *value = json_object_get(object, key);

	if (value == NULL || json_is_null(value)) {
		if (required)
			return err_set(ERR_INVALID, "'%s' is missing", key);
		*value_out = NULL;
		return OK;
	}
	if (!json_is_string(value))
		return err_set(ERR_INVALID, "'%s' must be a string", key);
	if (json_string_length(value) > max_len)
		return err_set(
		    ERR_TOO_LARGE, "'%s' is over %zu bytes", key, max_len);
	if (strlen(json_string_value(value)) != json_string_length(value))
		return err_set(ERR_INVALID, "'%s' contains a NUL", key);
	if (required && json_string_length(value) == 0)
		return err_set(ERR_INVALID, "'%s' is empty", key);
	*value_out = json_string_value(value);
	return OK;
}

enum err_code
json_field_int(const json_t *object, const char *key, int64_t min, int64_t max,
    int64_t fallback, int64_t *value_out)
{
	const json_t *value = json_object_get(object, key);

	if (value == NULL || json_is_null(value)) {
		*value_out = fallback;
		return OK;
	}
	if (!json_is_integer(value) || json_integer_value(value) < min ||
	    json_integer_value(value) > max)
		return err_set(ERR_INVALID,
		    "'%s' must be an integer from %lld to %lld", key,
		    (long long)min, (long long)max);
	*value_out = json_integer_value(value);
	return OK;
}

enum err_code
json_field_bool(
    const json_t *object, const char *key, bool fallback, bool *value_out)
{
	const json_t *value = json_object_get(object, key);

	if (value == NULL || json_is_null(value)) {
		*value_out = fallback;
		return OK;
	}
	if (!json_is_boolean(value))
		return err_set(ERR_INVALID, "'%s' must be true or false", key);
	*value_out = json_is_true(value);
	return OK;
}

enum err_code
json_only_keys(const json_t *object, const char *const *known)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		size_t i = 0;

		while (known[i] != NULL && strcmp(known[i], key) != 0)
			i++;
		if (known[i] == NULL)
			return err_set(
			    ERR_INVALID, "unknown field \"%.64s\"", key);
	}
	return OK;
}
