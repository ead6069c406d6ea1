/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_EXTRACT_INTERNAL_H
#define XIN_EXTRACT_INTERNAL_H

#include "base/buf.h"
#include "base/error.h"
#include "extract/extract.h"

/* What the files of the child's side share. All of it runs in one thread of a
 * process that ends afterwards. */

enum extract__format {
	EXTRACT_NONE,
	EXTRACT_MARKDOWN,
	EXTRACT_PLAIN,
	EXTRACT_HTML,
};

/* The list of blocks under construction, as JSON text. */
struct extract__blocks {
	struct buf json;
	size_t text_bytes;
	size_t max_bytes; /* of text; more sets `full` */
	size_t count;
	bool full;
	char *title;
};

void extract__blocks_init(struct extract__blocks *blocks, size_t max_bytes);
void extract__blocks_done(struct extract__blocks *blocks);
/* Trims, drops control characters and runs of empty lines; text that is empty
 * then is left out. `level` is for headings. The first heading of level 1
 * becomes the title when there is none. */
void extract__add(struct extract__blocks *blocks, enum block_type type,
    int level, const char *text, size_t len);
void extract__set_title(
    struct extract__blocks *blocks, const char *text, size_t len);

/* Any bytes to UTF-8. `charset_out` (size 32) is what they were. For HTML a
 * <meta charset> counts. ERR_INVALID for what is no text. */
enum err_code extract__to_utf8(const char *data, size_t len, bool html,
    struct buf *text_out, char charset_out[32]);

void extract__markdown(
    const char *text, size_t len, struct extract__blocks *blocks);
void extract__plain(
    const char *text, size_t len, struct extract__blocks *blocks);
enum err_code extract__html(
    const char *text, size_t len, struct extract__blocks *blocks);

#endif
