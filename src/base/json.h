/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_JSON_H
#define XIN_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/error.h"

/*
 * JSON values are jansson's json_t. Parsing is strict: duplicate keys, integers
 * beyond int64, invalid UTF-8, NaN and depth over JSON_DEPTH_MAX are
 * ERR_INVALID with line and column in the sentence.
 */
#define JSON_DEPTH_MAX 64

/* *value_out is a new reference: json_decref. Any value may stand on top. */
enum err_code json_parse(const char *text, size_t len, json_t **value_out);
/* Compact text appended to `out`. */
void json_write(const json_t *value, struct buf *out);
/* A new string, mem_free. */
char *json_text(const json_t *value);

/* Readers of objects. The string getters return NULL when the key is absent or
 * null; a value of another type is ERR_INVALID through the *_field forms. */
const char *json_str(const json_t *object, const char *key);
int64_t json_int(const json_t *object, const char *key, int64_t fallback);
bool json_bool(const json_t *object, const char *key, bool fallback);

enum err_code json_field_str(const json_t *object, const char *key,
    bool required, size_t max_len, const char **value_out);
enum err_code json_field_int(const json_t *object, const char *key, int64_t min,
    int64_t max, int64_t fallback, int64_t *value_out);
enum err_code json_field_bool(
    const json_t *object, const char *key, bool fallback, bool *value_out);
/* Every key must be in the NULL-ended list: misspelt fields are an error. */
enum err_code json_only_keys(const json_t *object, const char *const *known);

/* Frees a json_t through a scope: json_auto json_t *x = ... */
static inline void
json_auto_free_(json_t **value)
{
	json_decref(*value);
}
#define json_auto __attribute__((cleanup(json_auto_free_)))

#endif
