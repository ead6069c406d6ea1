/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SCRIPT_GENERATION_H
#define XIN_SCRIPT_GENERATION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "script/script.h"

/* Inside of a generation, shared by the files of this folder. */

#define GENERATION_FILES_MAX 2000
#define GENERATION_FILE_MAX  ((size_t)1 << 20)
#define GENERATION_BYTES_MAX ((size_t)64 << 20)

/* A compiled file: bytecode that this process made itself, or why not. */
struct script_chunk {
	char *code;
	size_t len;
	char *error; /* "brands/alpha.lua:3: ..." or NULL */
};

struct script_generation {
	atomic_size_t refs;
	/* Loops that still have to drop their states, after the last unref. */
	atomic_size_t releasing;
	_Atomic uint64_t since_ms;
	atomic_bool has_states;
	char hash[65];
	char id[13];
	struct script_file *files; /* sorted by name */
	size_t count;
	size_t bytes;
	pthread_mutex_t compiling;
	atomic_bool compiled;
	struct script_chunk *chunks; /* one for each file, once compiled */
};

/* Takes over `files` (sorts them) and computes the identity. */
struct script_generation *script__generation_new(
    struct script_file *files, size_t count);
/* Index of a file, -1 when there is none. */
long script__generation_find(
    const struct script_generation *gen, const char *name);
/* Compile every file once (WAITS when on a fiber: on a pool thread). */
void script__generation_compile(struct script_generation *gen);
/* Compile one text to bytecode, strictly from text. */
void script__compile(const char *name, const char *text, size_t len,
    struct script_chunk *chunk_out);
/* Mail to the loops: drop the idle states of this generation, then free. */
void script__states_release(struct script_generation *gen);
void script__generation_free(struct script_generation *gen);

#endif
