/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation that cannot fail, and arenas for what dies together. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

#define ARENA_BLOCK ((size_t)8192)

struct arena_block {
	struct arena_block *next;
	size_t size; /* bytes behind this header */
};

#define HEADER ((sizeof(struct arena_block) + 15) & ~(size_t)15)

void *
mem_alloc(size_t size)
{
	void *p = malloc(size == 0 ? 1 : size);

	if (p == NULL)
		panic("out of memory: %zu bytes", size);
	return p;
}

void *
mem_zero(size_t size)
{
	void *p = calloc(1, size == 0 ? 1 : size);

	if (p == NULL)
		panic("out of memory: %zu bytes", size);
	return p;
}

void *
mem_resize(void *old, size_t size)
{
	void *p = realloc(old, size == 0 ? 1 : size);

	if (p == NULL)
		panic("out of memory: %zu bytes", size);
	return p;
}

char *
mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

char *
mem_strndup(const char *s, size_t len)
{
	char *copy = mem_alloc(len + 1);

	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

char *
mem_printf(const char *fmt, ...)
{
	va_list ap;
	char *out;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		panic("bad format: %s", fmt);
	out = mem_alloc((size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(out, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return out;
}

void
mem_free(const void *p)
{
	free((void *)(uintptr_t)p);
}

void
arena_init(struct arena *arena, size_t ceiling)
{
	*arena = (struct arena){ .ceiling = ceiling };
}

static bool
arena_grow(struct arena *arena, size_t size)
{
	size_t want = size > ARENA_BLOCK ? size : ARENA_BLOCK;
	struct arena_block *block;

	if (arena->used + size > arena->ceiling) {
		err_set(ERR_TOO_LARGE, "memory of one task is over %zu bytes",
		    arena->ceiling);
		return false;
	}
	block = mem_alloc(HEADER + want);
	block->next = arena->blocks;
	block->size = want;
	arena->blocks = block;
	arena->at = (char *)block + HEADER;
	arena->left = want;
	return true;
}

void *
arena_alloc(struct arena *arena, size_t size)
{
	void *p;

	if (size > arena->ceiling) {
		err_set(ERR_TOO_LARGE, "memory of one task is over %zu bytes",
		    arena->ceiling);
		return NULL;
	}
	size = (size + 15) & ~(size_t)15;
	if (size > arena->left && !arena_grow(arena, size))
		return NULL;
	p = arena->at;
	arena->at += size;
	arena->left -= size;
	arena->used += size;
	return p;
}

void *
arena_zero(struct arena *arena, size_t size)
{
	void *p = arena_alloc(arena, size);

	return p == NULL ? NULL : memset(p, 0, size);
}

char *
arena_strndup(struct arena *arena, const char *s, size_t len)
{
	char *copy = arena_alloc(arena, len + 1);

	if (copy == NULL)
		return NULL;
	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

char *
arena_strdup(struct arena *arena, const char *s)
{
	return arena_strndup(arena, s, strlen(s));
}

char *
arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list ap;
	char *out;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		panic("bad format: %s", fmt);
	out = arena_alloc(arena, (size_t)n + 1);
	if (out == NULL)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(out, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return out;
}

void
arena_clear(struct arena *arena)
{
	struct arena_block *block = arena->blocks;

	while (block != NULL && block->next != NULL) {
		struct arena_block *next = block->next;

		mem_free(block);
		block = next;
	}
	arena->blocks = block;
	arena->used = 0;
	arena->at = block == NULL ? NULL : (char *)block + HEADER;
	arena->left = block == NULL ? 0 : block->size;
}

void
arena_done(struct arena *arena)
{
	arena_clear(arena);
	mem_free(arena->blocks);
	*arena = (struct arena){ 0 };
}
