/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_QUEUE_PICKLE_H
#define XIN_QUEUE_PICKLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"

/*
 * Python's pickle, protocols 2 to 5, plain values only: what ARQ writes by
 * default. Opcodes as in CPython's Lib/pickletools.py. A pickle is a program;
 * this reader runs the part of it that builds plain values. What names a class
 * or calls something becomes an opaque node that remembers the name: nothing
 * is ever looked up or run, and whoever needs the value gets an error that
 * says which class stood there.
 */
#define PICKLE_MAX_BYTES ((size_t)1 << 20)
#define PICKLE_DEPTH_MAX 64

enum pickle_type {
	PICKLE_NONE,
	PICKLE_BOOL,
	PICKLE_INT,
	PICKLE_REAL,
	PICKLE_STR, /* UTF-8, but lone surrogates are possible */
	PICKLE_BYTES,
	PICKLE_LIST,
	PICKLE_TUPLE,
	PICKLE_DICT,  /* items: key, value, key, value, ... */
	PICKLE_OPAQUE /* text: "datetime.datetime" */
};

struct pickle_value {
	enum pickle_type type;
	int64_t num; /* BOOL, INT */
	double real; /* REAL */
	const char
	    *text;  /* STR, BYTES, OPAQUE; points into the input or arena */
	size_t len; /* bytes of text, or number of items */
	size_t cap;
	struct pickle_value **items; /* values may be shared, even circular */
};

/* The tree lives in the arena and points into `data`. ERR_INVALID for what is
 * no pickle or uses opcodes that none of these values need, ERR_TOO_LARGE. */
enum err_code pickle_read(struct arena *arena, const void *data, size_t len,
    const struct pickle_value **value_out);
/* The value of a text key, NULL when absent or when `dict` is no dictionary. */
const struct pickle_value *pickle_get(
    const struct pickle_value *dict, const char *key);
bool pickle_is_text(const struct pickle_value *value, const char *text);

/* As JSON text, appended; tuples become arrays, and keys that stand twice stay
 * twice, for json_parse to refuse. ERR_INVALID names what JSON
 * cannot hold: bytes, classes, keys that are no text, NaN. ERR_TOO_LARGE when
 * `out` is full or the nesting too deep (shared parts count each time). */
enum err_code pickle_to_json(const struct pickle_value *value, struct buf *out);

/* ---- writing, protocol 4, no memo ---- */
void pickle_begin(struct buf *out);
void pickle_end(struct buf *out);
void pickle_add_none(struct buf *out);
void pickle_add_bool(struct buf *out, bool value);
void pickle_add_int(struct buf *out, int64_t value);
void pickle_add_real(struct buf *out, double value);
void pickle_add_text(struct buf *out, const char *text, size_t len);
/* A dictionary or tuple: mark, the items, then its end. */
void pickle_open_dict(struct buf *out);
void pickle_close_dict(struct buf *out);
void pickle_open_tuple(struct buf *out);
void pickle_close_tuple(struct buf *out);
/* module.name(text): an exception for Python's client to raise; text NULL
 * calls it without arguments. */
void pickle_add_exception(
    struct buf *out, const char *module, const char *name, const char *text);
void pickle_add_json(struct buf *out, const json_t *value);
/* ERR_INVALID for an opaque node, ERR_TOO_LARGE as above. */
enum err_code pickle_add_value(
    struct buf *out, const struct pickle_value *value);

#endif
