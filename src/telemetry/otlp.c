/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The envelope around spans that are bytes already: sizes are added up first,
 * since proto3 puts the length of a message before it.
 */
#include "telemetry/otlp.h"

#include <string.h>
#include <zlib.h>

#include "base/protobuf.h"
#include "base/span.h"

/* The cheapest level: spans repeat the same keys, so little is lost. */
#define GZIP_LEVEL 1
#define GZIP_BITS  (15 + 16)

/* ---- writing ---- */

static size_t
field_size(size_t len)
{
	return 1 + pb_varint_size(len) + len;
}

static void
add_head(struct buf *out, unsigned field, size_t len)
{
	uint8_t head[2 * PB_VARINT_MAX], *p = head;

	p = pb_varint(pb_tag(p, field, PB_BYTES), len);
	buf_add(out, head, (size_t)(p - head));
}

static void
add_field(struct buf *out, unsigned field, const void *data, size_t len)
{
	add_head(out, field, len);
	buf_add(out, data, len);
}

/* InstrumentationScope{ name = 1, version = 2 } */
static size_t
make_scope(uint8_t scope[64])
{
	uint8_t *p = pb_bytes(scope, 1, SPAN_SCOPE, strlen(SPAN_SCOPE));

	p = pb_bytes(p, 2, XIN_VERSION, strlen(XIN_VERSION));
	return (size_t)(p - scope);
}

/* ResourceSpans{ resource = 1, scope_spans = 2, schema_url = 3 };
 * ScopeSpans{ scope = 1, spans = 2, schema_url = 3 } */
static void
add_service(
    const struct buf *spans, const struct buf *resource, struct buf *out)
{
	size_t schema = strlen(SPAN_SCHEMA_URL);
	uint8_t scope[64];
	size_t scope_len = make_scope(scope);
	size_t inner = field_size(scope_len) + spans->len + field_size(schema);
	size_t whole =
	    field_size(resource->len) + field_size(inner) + field_size(schema);

	add_head(out, 1, whole);
	add_field(out, 1, buf_str(resource), resource->len);
	add_head(out, 2, inner);
	add_field(out, 1, scope, scope_len);
	buf_add(out, spans->data, spans->len);
	add_field(out, 3, SPAN_SCHEMA_URL, schema);
	add_field(out, 3, SPAN_SCHEMA_URL, schema);
}

void
otlp_request(const struct span_batch *batch,
    const struct buf resources[SERVICE_COUNT], struct buf *out)
{
	for (int s = 0; s < SERVICE_COUNT; s++)
		if (batch->counts[s] > 0)
			add_service(&batch->spans[s], &resources[s], out);
}

/* ---- reading ---- */

struct reader {
	const uint8_t *at, *end;
};

static bool
read_varint(struct reader *in, uint64_t *value_out)
{
	uint64_t value = 0;

	for (int shift = 0; shift < 64 && in->at < in->end; shift += 7) {
		uint8_t byte = *in->at++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*value_out = value;
			return true;
		}
	}
	return false;
}

/* The next field: its number, and its value (varints) or its bytes. */
static bool
read_field(struct reader *in, uint64_t *field_out, uint64_t *value_out,
    struct reader *bytes_out)
{
	uint64_t tag, len = 0;

	if (in->at >= in->end || !read_varint(in, &tag))
		return false;
	*field_out = tag >> 3;
	*value_out = 0;
	*bytes_out = (struct reader){ in->at, in->at };
	switch (tag & 7) {
	case PB_VARINT:
		return read_varint(in, value_out);
	case PB_BYTES:
		if (!read_varint(in, &len))
			return false;
		break;
	case PB_64:
		len = 8;
		break;
	case PB_32:
		len = 4;
		break;
	default:
		return false;
	}
	if (len > (uint64_t)(in->end - in->at))
		return false;
	*bytes_out = (struct reader){ in->at, in->at + len };
	in->at += len;
	return true;
}

static void
copy_message(struct reader text, char out[], size_t size)
{
	size_t len = 0;

	for (; text.at < text.end && len + 1 < size; text.at++)
		out[len++] =
		    *text.at >= ' ' && *text.at <= '~' ? (char)*text.at : '?';
	out[len] = '\0';
}

/* ExportTracePartialSuccess{ rejected_spans = 1, error_message = 2 } */
static void
read_partial(struct reader in, struct otlp_answer *out)
{
	struct reader text;
	uint64_t field, value;

	while (read_field(&in, &field, &value, &text)) {
		if (field == 1)
			out->rejected = (int64_t)value;
		else if (field == 2)
			copy_message(text, out->message, sizeof(out->message));
	}
}

void
otlp_answer(const void *data, size_t len, struct otlp_answer *out)
{
	struct reader in = { data, (const uint8_t *)data + len }, message;
	uint64_t field, value;

	*out = (struct otlp_answer){ 0 };
	while (read_field(&in, &field, &value, &message))
		if (field == 1)
			read_partial(message, out);
}

/* ---- gzip ---- */

void
otlp_gzip(const void *data, size_t len, struct buf *out)
{
	z_stream z = { 0 };

	if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, GZIP_BITS, 8,
		Z_DEFAULT_STRATEGY) != Z_OK)
		panic("out of memory for gzip");
	buf_clear(out);
	buf_reserve(out, deflateBound(&z, len));
	z.next_in = (Bytef *)(uintptr_t)data;
	z.avail_in = (uInt)len;
	z.next_out = (Bytef *)out->data;
	z.avail_out = (uInt)out->cap;
	must(deflate(&z, Z_FINISH) == Z_STREAM_END);
	out->len = z.total_out;
	deflateEnd(&z);
}
