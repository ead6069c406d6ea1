/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_NET_MULTIPART_H
#define XIN_NET_MULTIPART_H

#include <stddef.h>
#include "base/error.h"

/*
 * multipart/form-data (RFC 7578), a push parser: feed it pieces of any size,
 * it calls back. Memory is bounded by the head of one part (8 KiB).
 * Strict: CRLF only, the closing boundary is required.
 */
struct multipart_part {
	const char *name;         /* "" when absent */
	const char *filename;     /* NULL when absent; UTF-8, no path */
	const char *content_type; /* "" when absent */
};

struct multipart_handler {
	enum err_code (*part)(void *arg, const struct multipart_part *part);
	enum err_code (*data)(void *arg, const char *data, size_t len);
	enum err_code (*part_end)(void *arg);
	void *arg;
};

struct multipart;
/* `content_type` is the whole header value. ERR_INVALID, ERR_MEDIA_TYPE. */
enum err_code multipart_new(const char *content_type,
    const struct multipart_handler *handler, size_t max_parts,
    struct multipart **multipart_out);
enum err_code multipart_feed(
    struct multipart *mp, const char *data, size_t len);
/* After the last byte: ERR_INVALID when the body was cut. */
enum err_code multipart_end(struct multipart *mp);
void multipart_free(struct multipart *mp);

#endif
