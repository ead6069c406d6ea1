/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an event stream: the first byte is the size of the pieces. Fed
 * whole and in pieces, the reader must say the same, and so must the reading of
 * a chat answer above it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "model/openai_reading.h"
#include "model/provider_internal.h"
#include "net/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define EVENT_MAX 512

static enum err_code
note(void *arg, const char *name, const char *data, size_t len)
{
	must(len <= EVENT_MAX && data[len] == '\0');
	buf_addf(arg, "<%s|", name);
	buf_add(arg, data, len);
	buf_addc(arg, '>');
	return OK;
}

typedef enum err_code (*feed_fn)(void *arg, const char *data, size_t len);

static enum err_code
feed_sse(void *arg, const char *data, size_t len)
{
	return sse_feed(arg, data, len);
}

/* Each piece in memory of its own size, so that a byte too far is seen. */
static enum err_code
feed(feed_fn fn, void *arg, const char *data, size_t len, size_t piece)
{
	enum err_code rc = OK;

	for (size_t at = 0; rc == OK && at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;
		char *copy = mem_alloc(n);

		memcpy(copy, data + at, n);
		rc = fn(arg, copy, n);
		mem_free(copy);
	}
	return rc;
}

static enum err_code
read_sse(const char *data, size_t len, size_t piece, struct buf *seen)
{
	struct sse sse;
	enum err_code rc;

	buf_init(seen, 0);
	sse_init(&sse, EVENT_MAX, note, seen);
	rc = feed(feed_sse, &sse, data, len, piece);
	sse_done(&sse);
	return rc;
}

static enum err_code
read_chat(const char *data, size_t len, size_t piece, struct buf *seen)
{
	struct provider provider = { .names = {
					 "chat", "URL", "KEY", "NAME" } };
	struct model_completion said = { 0 };
	struct openai_reading reading;
	enum err_code rc;

	buf_init(&said.text, 4096);
	model__openai_init(&reading, &provider, "m", &said);
	rc = feed(model__openai_data, &reading, data, len, piece);
	if (rc == OK)
		rc = model__openai_end(&reading);
	model__openai_done(&reading);
	*seen = said.text;
	return rc;
}

static void
compare(enum err_code (*read)(const char *, size_t, size_t, struct buf *),
    const char *data, size_t len, size_t piece)
{
	struct buf whole, pieces;

	if (read(data, len, len, &whole) != read(data, len, piece, &pieces))
		abort();
	if (whole.len != pieces.len ||
	    (whole.len > 0 && memcmp(whole.data, pieces.data, whole.len) != 0))
		abort();
	buf_done(&whole);
	buf_done(&pieces);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *body = (const char *)data + 1;

	if (len < 2)
		return 0;
	compare(read_sse, body, len - 1, data[0] + 1u);
	compare(read_chat, body, len - 1, data[0] + 1u);
	return 0;
}
