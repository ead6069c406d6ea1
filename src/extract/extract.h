/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_EXTRACT_EXTRACT_H
#define XIN_EXTRACT_EXTRACT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/*
 * From bytes to structured text, in a child process under rlimits (the parsers
 * are other people's C and the bytes are anybody's). The result is a list of
 * blocks in reading order.
 */
enum block_type {
	BLOCK_HEADING,
	BLOCK_PARAGRAPH,
	BLOCK_LIST,
	BLOCK_TABLE,
	BLOCK_CODE,
	BLOCK_QUOTE
};

struct extracted {
	char *title;   /* from the document, NULL when it names none */
	char *charset; /* as detected */
	/* [{"type":"heading","level":2,"text":...}, ...] */
	json_t *blocks;
};

/* True when the type (or, without one, the file name) can be read. */
bool extract_supported(const char *content_type, const char *filename);
/* `path` is a local file. ERR_MEDIA_TYPE, ERR_INVALID (broken document, the
 * reason in words), ERR_TOO_LARGE, ERR_SCRIPT_LIMIT never. WAITS. */
enum err_code extract_file(const char *path, const char *content_type,
    const char *filename, uint64_t deadline_ms, struct extracted *out);
void extracted_done(struct extracted *extracted);
/* The program to run as the child instead of this one; for tests, before
 * loops start. The string is kept. */
void extract_set_program(const char *path);

/* The child's side: `xin extract-child <type> <max_bytes>`, document on fd 3,
 * JSON on stdout; returns the exit code. */
int extract_child_main(int argc, char **argv);

#endif
