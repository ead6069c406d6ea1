/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chunk as a point of Qdrant: its id, its sparse vector, its payload. Pure
 * functions; the shape of the payload is in search_qdrant.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "search/search_qdrant.h"

/* Longer facts are kept as a hash: equality needs no more. */
#define FACT_MAX 512

static uint32_t
scramble(uint32_t block)
{
	block *= 0xcc9e2d51u;
	block = block << 15 | block >> 17;
	return block * 0x1b873593u;
}

/* MurmurHash3_x86_32 (Austin Appleby, public domain), seed 0. */
static uint32_t
murmur3(const unsigned char *data, size_t len)
{
	uint32_t hash = 0, block;
	size_t at = 0;

	for (; at + 4 <= len; at += 4) {
		block = (uint32_t)data[at] | (uint32_t)data[at + 1] << 8 |
			(uint32_t)data[at + 2] << 16 |
			(uint32_t)data[at + 3] << 24;
		hash ^= scramble(block);
		hash = (hash << 13 | hash >> 19) * 5 + 0xe6546b64u;
	}
	block = 0;
	for (size_t i = len; i > at; i--)
		block = block << 8 | data[i - 1];
	hash ^= scramble(block) ^ (uint32_t)len;
	hash = (hash ^ hash >> 16) * 0x85ebca6bu;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
	return hash ^ hash >> 16;
}

uint32_t
search__qdrant_term_id(const char *term)
{
	uint32_t hash = murmur3((const unsigned char *)term, strlen(term));

	return hash > INT32_MAX ? -hash : hash;
}

void
search__qdrant_id(
    const struct qdrant_place *place, int64_t number, char out[37])
{
	/* Ours; any fixed one would do. */
	static const uint8_t space[16] = { 0x6b, 0x3d, 0x5a, 0x0e, 0x8f, 0x41,
		0x4c, 0x2b, 0x9d, 0x77, 0x15, 0xe2, 0xa8, 0x60, 0x3c, 0x94 };
	uint8_t hash[SHA1_SIZE];
	char hex[2 * SHA1_SIZE + 1];
	struct buf name;

	buf_init(&name, 0);
	buf_add(&name, space, sizeof(space));
	buf_addf(&name, "%s/%s/%lld/%lld", place->brand, place->source_id,
	    (long long)place->version, (long long)number);
	crypto_sha1(name.data, name.len, hash);
	buf_done(&name);
	hash[6] = (uint8_t)((hash[6] & 0x0f) | 0x50);
	hash[8] = (uint8_t)((hash[8] & 0x3f) | 0x80);
	crypto_hex(hash, sizeof(hash), hex);
	snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
	    hex + 16, hex + 20);
}

/* ---- the sparse vector ---- */

static int
by_id(const void *a, const void *b)
{
	const struct qdrant_weight *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

void
search__qdrant_sparse(
    struct buf *out, struct qdrant_weight *weights, size_t count, bool add)
{
	size_t n = 0;

	if (count > 0)
		qsort(weights, count, sizeof(*weights), by_id);
	for (size_t i = 0; i < count; i++) {
		struct qdrant_weight *last = n > 0 ? &weights[n - 1] : NULL;

		if (last == NULL || last->id != weights[i].id)
			weights[n++] = weights[i];
		else if (add)
			last->value += weights[i].value;
		else if (last->value < weights[i].value)
			last->value = weights[i].value;
	}
	buf_adds(out, "{\"indices\":[");
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "%s%u", i > 0 ? "," : "", weights[i].id);
	buf_adds(out, "],\"values\":[");
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "%s%.9g", i > 0 ? "," : "", weights[i].value);
	buf_adds(out, "]}");
}

/* ---- the words of a chunk ---- */

static void
add_words(const struct search_words *words, struct buf *out)
{
	buf_addf(out, ",\"tokens\":\"%llu\",\"terms\":[",
	    (unsigned long long)words->length);
	for (size_t i = 0; i < words->count; i++) {
		buf_adds(out, i > 0 ? "," : "");
		buf_add_json(out, words->items[i].token, words->items[i].len);
	}
	buf_adds(out, "],\"words\":{");
	for (size_t i = 0; i < words->count; i++) {
		buf_adds(out, i > 0 ? "," : "");
		buf_add_json(out, words->items[i].token, words->items[i].len);
		buf_addf(out, ":%u", words->items[i].count);
	}
	buf_addc(out, '}');
}

static void
add_vectors(const struct search_words *words, const struct chunk *chunk,
    struct buf *out)
{
	struct qdrant_weight *weights =
	    mem_zero((words->count + 1) * sizeof(*weights));

	for (size_t i = 0; i < words->count; i++)
		weights[i] = (struct qdrant_weight){ search__qdrant_term_id(
							 words->items[i].token),
			search_lucene_tf((double)words->items[i].count,
			    (double)words->length, QDRANT_MEAN) };
	buf_adds(out, "\"vector\":{");
	if (words->count > 0) {
		buf_adds(out, "\"bm25\":");
		search__qdrant_sparse(out, weights, words->count, true);
	}
	mem_free(weights);
	if (chunk->vector != NULL && chunk->dimensions > 0) {
		buf_addf(out, "%s\"dense\":[", words->count > 0 ? "," : "");
		for (size_t i = 0; i < chunk->dimensions; i++)
			buf_addf(out, "%s%.9g", i > 0 ? "," : "",
			    (double)chunk->vector[i]);
		buf_addc(out, ']');
	}
	buf_addc(out, '}');
}

/* ---- metadata ---- */

void
search__qdrant_fact(struct buf *out, const char *key, const json_t *value)
{
	char *text =
	    json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	char hash[SHA256_HEX_SIZE];
	struct buf fact;

	must(text != NULL);
	buf_init(&fact, 0);
	buf_addf(&fact, "%s=%s", key, text);
	free(text);
	if (fact.len > FACT_MAX) {
		crypto_sha256_hex(fact.data, fact.len, hash);
		buf_clear(&fact);
		buf_adds(&fact, hash);
	}
	buf_add_json(out, buf_str(&fact), fact.len);
	buf_done(&fact);
}

static enum err_code
add_metadata(const char *metadata, struct buf *out)
{
	json_auto json_t *object = NULL;
	const char *key;
	json_t *value;
	bool more = false;

	buf_adds(out, ",\"facts\":[");
	if (metadata != NULL) {
		TRY(json_parse(metadata, strlen(metadata), &object));
		if (!json_is_object(object))
			return err_set(
			    ERR_INVALID, "metadata must be a JSON object");
	}
	json_object_foreach (object, key, value) {
		if (more)
			buf_addc(out, ',');
		search__qdrant_fact(out, key, value);
		more = true;
	}
	buf_addc(out, ']');
	if (metadata != NULL) {
		buf_adds(out, ",\"metadata\":");
		buf_add_json(out, metadata, strlen(metadata));
	}
	return OK;
}

static void
add_member(struct buf *out, const char *key, const char *text, size_t len)
{
	buf_addf(out, ",\"%s\":", key);
	buf_add_json(out, text, len);
}

enum err_code
search__qdrant_point(const struct qdrant_place *place,
    const struct chunk *chunk, struct buf *out)
{
	const char *heading = chunk->heading ? chunk->heading : "";
	struct search_words words;
	struct buf part;
	char id[37];
	enum err_code rc;

	buf_init(&part, 0);
	search__qdrant_id(place, chunk->number, id);
	search_words_of(place->title, chunk, &words);
	buf_addf(out, "{\"id\":\"%s\",", id);
	add_vectors(&words, chunk, out);
	buf_adds(out, ",\"payload\":{\"brand\":");
	buf_add_json(out, place->brand, strlen(place->brand));
	add_member(
	    out, "source_id", place->source_id, strlen(place->source_id));
	buf_adds(&part, place->source_id);
	buf_addf(&part, "@%lld", (long long)place->version);
	add_member(out, "part", part.data, part.len);
	buf_addf(out,
	    ",\"version\":%lld,\"number\":%lld,\"start\":%lld,\"end\":%lld",
	    (long long)place->version, (long long)chunk->number,
	    (long long)chunk->start, (long long)chunk->end);
	add_member(out, "title", place->title, strlen(place->title));
	add_member(out, "heading", heading, strlen(heading));
	add_member(out, "text", chunk->text, chunk->len);
	if (place->source_url != NULL)
		add_member(out, "source_url", place->source_url,
		    strlen(place->source_url));
	add_words(&words, out);
	rc = add_metadata(
	    chunk->metadata ? chunk->metadata : place->metadata, out);
	buf_adds(out, "}}");
	search_words_done(&words);
	buf_done(&part);
	return rc;
}
