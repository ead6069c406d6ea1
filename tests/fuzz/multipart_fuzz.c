/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a multipart body: the first byte is the size of the pieces. Fed
 * whole and in pieces, the parser must say the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static enum err_code
on_part(void *arg, const struct multipart_part *part)
{
	buf_addf(arg, "<%s|%s|%s>", part->name,
	    part->filename != NULL ? part->filename : "-", part->content_type);
	return OK;
}

static enum err_code
on_data(void *arg, const char *data, size_t len)
{
	must(len > 0);
	buf_add(arg, data, len);
	return OK;
}

static enum err_code
on_end(void *arg)
{
	buf_adds(arg, "</>");
	return OK;
}

static enum err_code
parse(const char *data, size_t len, size_t piece, struct buf *seen)
{
	struct multipart_handler handler = { on_part, on_data, on_end, seen };
	struct multipart *mp;
	enum err_code rc;

	buf_init(seen, 0);
	rc = multipart_new(
	    "multipart/form-data; boundary=\"b\"", &handler, 8, &mp);
	must(rc == OK);
	for (size_t at = 0; rc == OK && at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;
		char *copy = mem_alloc(n);

		memcpy(copy, data + at, n);
		rc = multipart_feed(mp, copy, n);
		mem_free(copy);
	}
	if (rc == OK)
		rc = multipart_end(mp);
	multipart_free(mp);
	return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct buf whole, pieces;
	const char *body;
	size_t piece;

	if (len < 2)
		return 0;
	piece = data[0] + 1u;
	body = (const char *)data + 1;
	len--;
	if ((parse(body, len, len, &whole) == OK) !=
	    (parse(body, len, piece, &pieces) == OK))
		abort();
	if (whole.len != pieces.len ||
	    (whole.len > 0 && memcmp(whole.data, pieces.data, whole.len) != 0))
		abort();
	buf_done(&whole);
	buf_done(&pieces);
	return 0;
}
