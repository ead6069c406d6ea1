/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_BUF_H
#define XIN_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A growing byte buffer, always NUL-terminated past `len` once it has data.
 * `max` (bytes, 0 = none) is a ceiling: an append that would pass it is left
 * out and `full` stays set, so that a builder checks once, at its end.
 */
struct buf {
	char *data;
	size_t len;
	size_t cap;
	size_t max;
	bool full;
};

void buf_init(struct buf *buf, size_t max);
void buf_done(struct buf *buf);
void buf_clear(struct buf *buf);
void buf_reserve(struct buf *buf, size_t more);
void buf_add(struct buf *buf, const void *data, size_t len);
void buf_adds(struct buf *buf, const char *s);
void buf_addc(struct buf *buf, char c);
void buf_addi(struct buf *buf, int64_t number); /* "%lld", without its cost */
void buf_addf(struct buf *buf, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void buf_vaddf(struct buf *buf, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
/* Append `s` as a quoted JSON string; invalid UTF-8 becomes U+FFFD. */
void buf_add_json(struct buf *buf, const char *s, size_t len);
/* Drop `len` bytes from the front. */
void buf_drop(struct buf *buf, size_t len);
/* The NUL-terminated content, "" when empty; owned by the buffer. */
const char *buf_str(const struct buf *buf);
/* Hand the content to the caller (mem_free) and start empty. */
char *buf_take(struct buf *buf, size_t *len_out);

#endif
