/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an e-mail: the first byte is the size of the pieces. Fed whole
 * and in pieces, the reader must find the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "extract/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct source {
	const char *data;
	size_t left, piece;
	char *copy; /* exactly the piece, for the sanitizer */
};

static enum err_code
next(void *arg, const char **data_out, size_t *len_out)
{
	struct source *source = arg;
	size_t n = source->left < source->piece ? source->left : source->piece;

	mem_free(source->copy);
	source->copy = mem_alloc(n + 1);
	memcpy(source->copy, source->data, n);
	*data_out = source->copy;
	*len_out = n;
	source->data += n;
	source->left -= n;
	return OK;
}

static enum err_code
read_mail(
    const char *data, size_t len, size_t piece, struct extract__blocks *blocks)
{
	struct source source = { data, len, piece, NULL };
	enum err_code rc;

	extract__blocks_init(blocks, 1 << 16);
	rc = extract__mail(next, &source, blocks);
	mem_free(source.copy);
	return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct extract__blocks whole, pieces;
	const char *bytes = (const char *)data + 1;

	if (len < 2)
		return 0;
	if (read_mail(bytes, len - 1, len, &whole) !=
	    read_mail(bytes, len - 1, data[0] + 1u, &pieces))
		abort();
	if (whole.json.len != pieces.json.len ||
	    memcmp(buf_str(&whole.json), buf_str(&pieces.json),
		whole.json.len) != 0)
		abort();
	extract__blocks_done(&whole);
	extract__blocks_done(&pieces);
	return 0;
}
