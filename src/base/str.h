/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_STR_H
#define XIN_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Small string helpers without allocation. All return false on bad input. */
bool str_eq(const char *a, const char *b); /* NULL equals only NULL */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
bool str_to_u64(const char *s, uint64_t *value_out);
bool str_to_i64(const char *s, int64_t *value_out);
/* Copy with truncation; always terminates. Returns false when cut. */
bool str_copy(char *dst, size_t size, const char *src);
bool str_copy_n(char *dst, size_t size, const char *src, size_t len);
/* A name: [a-z0-9][a-z0-9_-]{0,62}; brands, channels, guards, steps. */
bool str_is_name(const char *s);
/* Strict UTF-8 (RFC 3629): no overlong forms, surrogates, above U+10FFFF. */
bool str_is_utf8(const char *s, size_t len);
/* What a digit stands for, -1 when it is none: hexadecimal in either case, and
 * base64 (RFC 4648 section 4). */
int str_hex_value(char c);
int str_base64_value(char c);
/* Edit distance, capped at 8, for "did you mean". */
unsigned str_distance(const char *a, const char *b);

#endif
