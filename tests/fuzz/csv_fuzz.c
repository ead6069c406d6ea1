/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as CSV, TSV, RTF, JSON or a page of a PDF: the first byte says
 * which. The blocks must be JSON with valid text, whatever was read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "extract/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
check(const struct extract__blocks *blocks)
{
	json_t *value = NULL;
	struct buf json;

	buf_init(&json, 0);
	buf_addf(&json, "[%s]", buf_str(&blocks->json));
	if (json_parse(json.data, json.len, &value) != OK)
		abort();
	json_decref(value);
	buf_done(&json);
}

static void
layout(const char *bytes, size_t len, struct extract__blocks *blocks)
{
	char *copy = mem_alloc(len); /* exactly so long, for the sanitizer */

	memcpy(copy, bytes, len);
	extract__layout_is_tabular(copy, len);
	extract__layout_blocks(copy, len, blocks);
	mem_free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct extract__blocks blocks;
	const char *bytes;
	char charset[32];
	struct buf text;

	if (len < 2)
		return 0;
	bytes = (const char *)data + 1;
	len--;
	extract__blocks_init(&blocks, 1 << 16);
	buf_init(&text, 0);
	if (data[0] % 5 == 3)
		extract__rtf(bytes, len, &blocks);
	else if (data[0] % 5 == 4)
		layout(bytes, len, &blocks);
	else if (extract__to_utf8(bytes, len, false, &text, charset) != OK)
		;
	else if (data[0] % 5 == 2)
		extract__json(buf_str(&text), text.len, &blocks);
	else
		extract__csv(buf_str(&text), text.len,
		    data[0] % 5 == 1 ? '\t' : '\0', &blocks);
	check(&blocks);
	buf_done(&text);
	extract__blocks_done(&blocks);
	return 0;
}
