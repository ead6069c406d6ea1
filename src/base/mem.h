/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_MEM_H
#define XIN_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Memory. mem_* never return NULL: running out of memory ends the process
 * (ceilings are checked before, and fail with ERR_TOO_LARGE).
 */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *mem_zero(size_t size) __attribute__((malloc, returns_nonnull));
void *mem_resize(void *old, size_t size) __attribute__((returns_nonnull));
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull));
char *mem_strndup(const char *s, size_t len)
    __attribute__((malloc, returns_nonnull));
char *mem_printf(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), malloc, returns_nonnull));
void mem_free(const void *p);

/*
 * An arena owns many small things that die together (one task, one request).
 * Not shared between threads. Allocations are 16-byte aligned. `ceiling` is
 * in bytes; reaching it makes arena_alloc return NULL with ERR_TOO_LARGE
 * recorded.
 */
struct arena_block;
struct arena {
	struct arena_block *blocks;
	char *at;
	size_t left;
	size_t used;
	size_t ceiling;
};

void arena_init(struct arena *arena, size_t ceiling);
void *arena_alloc(struct arena *arena, size_t size);
void *arena_zero(struct arena *arena, size_t size);
char *arena_strndup(struct arena *arena, const char *s, size_t len);
char *arena_strdup(struct arena *arena, const char *s);
char *arena_printf(struct arena *arena, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Forget everything but keep the first block for the next task. */
void arena_clear(struct arena *arena);
void arena_done(struct arena *arena);

#endif
