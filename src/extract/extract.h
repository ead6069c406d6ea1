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
	/* [{"type":"heading","level":2,"text":...,"page":3}, ...]; page only
	 * where the document has pages (PDF) or slides, from 1 */
	json_t *blocks;
};

/* Can this be read? The first bytes (1 KiB tell all; NULL = not known yet)
 * count more than the declared type, the type more than the file name. OK,
 * ERR_MEDIA_TYPE with what can be, or ERR_INVALID: not what it says it is. */
enum err_code extract_check(const char *content_type, const char *filename,
    const void *head, size_t len);
/* `path` is a local file. ERR_MEDIA_TYPE, ERR_INVALID (broken document, the
 * reason in words), ERR_TOO_LARGE, ERR_SCRIPT_LIMIT never. WAITS. */
enum err_code extract_file(const char *path, const char *content_type,
    const char *filename, uint64_t deadline_ms, struct extracted *out);
void extracted_done(struct extracted *extracted);
/* The program to run as the child instead of this one; for tests, before
 * loops start. The string is kept. */
void extract_set_program(const char *path);

/* The child's side: `xin extract-child <format> <max_bytes>`, document on fd 3,
 * JSON on stdout, an error as JSON on stderr; returns the exit code. */
int extract_child_main(int argc, char **argv);

#endif
