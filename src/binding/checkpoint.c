/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The document between two steps as bytes, so that another attempt, perhaps of
 * another worker, goes on from there: blocks, chunks, what steps made of title,
 * language and metadata, and the counters.
 */
#include "base/crypto.h"
#include "base/json.h"
#include "base/mem.h"
#include "binding/internal.h"

#define VECTOR_BYTES   256 /* of a vector, made hex at a time */
#define DIMENSIONS_MAX 65536

static void
add_text(struct buf *out, const char *key, const char *text)
{
	if (text == NULL)
		return;
	buf_addf(out, "\"%s\":", key);
	buf_add_json(out, text, strlen(text));
	buf_addc(out, ',');
}

static void
add_json(struct buf *out, const char *key, const json_t *value)
{
	if (value == NULL)
		return;
	buf_addf(out, "\"%s\":", key);
	json_write(value, out);
	buf_addc(out, ',');
}

/* Of the first chunks, one hex text: as floats stand in memory, since workers
 * of one cluster are of one kind (and other readers see the length is wrong).
 */
static void
add_vectors(struct buf *out, const struct binding_chunks *chunks)
{
	size_t each = chunks->dimensions * sizeof(float), made = 0;
	size_t at;

	while (made < chunks->count && chunks->items[made].vector != NULL)
		made++;
	if (made == 0)
		return;
	buf_addf(out, "\"dimensions\":%zu,\"vectors\":\"", chunks->dimensions);
	buf_reserve(out, 2 * made * each + 1);
	for (at = 0; at < made && !out->full; at++) {
		char hex[2 * VECTOR_BYTES + 1];

		for (size_t i = 0; i < each; i += VECTOR_BYTES) {
			size_t n =
			    each - i < VECTOR_BYTES ? each - i : VECTOR_BYTES;

			crypto_hex(
			    (const uint8_t *)chunks->items[at].vector + i, n,
			    hex);
			buf_add(out, hex, 2 * n);
		}
	}
	buf_adds(out, "\",");
}

static void
add_chunks(struct buf *out, const struct binding_chunks *chunks)
{
	buf_adds(out, "\"chunks\":[");
	for (size_t i = 0; i < chunks->count && !out->full; i++) {
		const struct binding_chunk *chunk = &chunks->items[i];

		buf_addf(out, "%s[%lld,%lld,%lld,", i > 0 ? "," : "",
		    (long long)chunk->start, (long long)chunk->end,
		    (long long)chunk->page);
		buf_add_json(out, chunk->heading, strlen(chunk->heading));
		buf_addc(out, ',');
		buf_add_json(out, chunk->text, chunk->len);
		buf_addc(out, ']');
	}
	buf_adds(out, "],");
	add_vectors(out, chunks);
}

void
binding_job_save(const struct binding_job *job, struct buf *out)
{
	buf_addc(out, '{');
	add_text(out, "title", job->made_title);
	add_text(out, "language", job->made_language);
	add_json(out, "metadata", job->made_metadata);
	add_json(out, "ledger", job->ledger);
	if (job->blocks != NULL)
		add_json(out, "blocks", job->blocks->items);
	if (job->chunks != NULL)
		add_chunks(out, job->chunks);
	buf_addf(out, "\"indexed\":%lld,\"dropped\":%lld,\"rewritten\":%lld}",
	    (long long)job->indexed, (long long)job->dropped,
	    (long long)job->rewritten);
}

static char *
copy_text(const json_t *saved, const char *key)
{
	const char *text = json_str(saved, key);

	return text != NULL ? mem_strdup(text) : NULL;
}

static struct binding_chunks *
load_chunks(const json_t *array)
{
	struct binding_chunks *chunks = binding__chunks_new();
	size_t i;
	json_t *item;

	json_array_foreach (array, i, item) {
		const json_t *text = json_array_get(item, 4);
		const char *heading =
		    json_string_value(json_array_get(item, 3));

		if (!json_is_string(text) || heading == NULL)
			continue;
		binding__chunks_add(chunks, json_string_value(text),
		    json_string_length(text),
		    json_integer_value(json_array_get(item, 0)),
		    json_integer_value(json_array_get(item, 1)), heading);
		binding__chunks_page(
		    chunks, json_integer_value(json_array_get(item, 2)));
	}
	return chunks;
}

static int
nibble(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

static void
load_vectors(struct binding_chunks *chunks, const json_t *saved)
{
	const json_t *text = json_object_get(saved, "vectors");
	const char *hex = json_string_value(text);
	int64_t dimensions = json_int(saved, "dimensions", 0);
	size_t len = json_string_length(text), each;
	unsigned char *bytes;

	if (hex == NULL || dimensions < 1 || dimensions > DIMENSIONS_MAX)
		return;
	each = (size_t)dimensions * sizeof(float);
	if (len % (2 * each) != 0 || len / (2 * each) > chunks->count)
		return;
	chunks->dimensions = (size_t)dimensions;
	chunks->vectors = mem_zero(chunks->count * each + 1);
	bytes = (unsigned char *)chunks->vectors;
	for (size_t i = 0; i < len / 2; i++)
		bytes[i] = (unsigned char)(nibble(hex[2 * i]) << 4 |
					   nibble(hex[2 * i + 1]));
	for (size_t i = 0; i < len / (2 * each); i++)
		chunks->items[i].vector =
		    chunks->vectors + i * chunks->dimensions;
}

void
binding_job_load(struct binding_job *job, const json_t *saved)
{
	json_t *blocks = json_object_get(saved, "blocks");
	const json_t *chunks = json_object_get(saved, "chunks");

	binding_job_done(job);
	job->made_title = copy_text(saved, "title");
	job->made_language = copy_text(saved, "language");
	job->made_metadata = json_incref(json_object_get(saved, "metadata"));
	job->ledger = json_incref(json_object_get(saved, "ledger"));
	if (json_is_array(blocks))
		job->blocks = binding__blocks_new(json_incref(blocks));
	if (json_is_array(chunks))
		job->chunks = load_chunks(chunks);
	if (job->chunks != NULL)
		load_vectors(job->chunks, saved);
	job->indexed = json_int(saved, "indexed", 0);
	job->dropped = json_int(saved, "dropped", 0);
	job->rewritten = json_int(saved, "rewritten", 0);
}
