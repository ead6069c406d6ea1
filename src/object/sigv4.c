/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signature V4: the request is written in its canonical form, hashed into the
 * string to sign, and signed with a key derived from the secret, the day, the
 * region and the service. What is sent must be exactly what was signed, so path
 * and query are made here for both.
 */
#include "object/sigv4.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "net/url.h"

#define PAIRS_MAX 16
#define ALGORITHM "AWS4-HMAC-SHA256"
#define DAY_CHARS 8

void
sigv4_timestamp(uint64_t wall_ms, char out[SIGV4_TIMESTAMP_SIZE])
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(out, SIGV4_TIMESTAMP_SIZE, "%Y%m%dT%H%M%SZ", &tm);
}

void
sigv4_path(struct buf *out, const char *path)
{
	for (; *path != '\0'; path++) {
		const char one[2] = { *path, '\0' };

		if (*path == '/')
			buf_addc(out, '/');
		else
			url_encode(out, one);
	}
}

/* ---- sorted lists ---- */

struct entry {
	struct buf name, value;
	size_t at; /* where it stood: sorting must not mix equal names */
};

static int
by_name_and_value(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;
	int order = strcmp(buf_str(&a->name), buf_str(&b->name));

	return order != 0 ? order
			  : strcmp(buf_str(&a->value), buf_str(&b->value));
}

static int
by_name_and_place(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;
	int order = strcmp(buf_str(&a->name), buf_str(&b->name));

	return order != 0 ? order : a->at < b->at ? -1 : 1;
}

static void
entries_init(struct entry *entries, size_t count)
{
	must(count <= PAIRS_MAX);
	for (size_t i = 0; i < count; i++) {
		buf_init(&entries[i].name, 0);
		buf_init(&entries[i].value, 0);
		entries[i].at = i;
	}
}

static void
entries_done(struct entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		buf_done(&entries[i].name);
		buf_done(&entries[i].value);
	}
}

void
sigv4_query(struct buf *out, const struct sigv4_pair *pairs, size_t count)
{
	struct entry entries[PAIRS_MAX];

	entries_init(entries, count);
	for (size_t i = 0; i < count; i++) {
		url_encode(&entries[i].name, pairs[i].name);
		url_encode(&entries[i].value, pairs[i].value);
	}
	qsort(entries, count, sizeof(entries[0]), by_name_and_value);
	for (size_t i = 0; i < count; i++)
		buf_addf(out, "%s%s=%s", i > 0 ? "&" : "",
		    buf_str(&entries[i].name), buf_str(&entries[i].value));
	entries_done(entries, count);
}

/* Trimmed, with each run of spaces inside as one. */
static void
add_value(struct buf *out, const char *value)
{
	bool space = false;

	for (; *value != '\0'; value++) {
		if (*value == ' ' || *value == '\t') {
			space = true;
			continue;
		}
		if (space && out->len > 0)
			buf_addc(out, ' ');
		buf_addc(out, *value);
		space = false;
	}
}

static void
sort_headers(const struct sigv4_request *request, struct entry *entries)
{
	size_t count = request->header_count;

	entries_init(entries, count);
	for (size_t i = 0; i < count; i++) {
		const struct sigv4_pair *header = &request->headers[i];

		for (const char *c = header->name; *c != '\0'; c++)
			buf_addc(
			    &entries[i].name, (char)tolower((unsigned char)*c));
		add_value(&entries[i].value, header->value);
	}
	qsort(entries, count, sizeof(entries[0]), by_name_and_place);
}

static bool
repeats(const struct entry *entries, size_t i)
{
	return i > 0 && strcmp(buf_str(&entries[i].name),
			    buf_str(&entries[i - 1].name)) == 0;
}

static void
add_headers(struct buf *out, const struct entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (repeats(entries, i))
			buf_addc(out, ',');
		else
			buf_addf(out, "%s%s:", i > 0 ? "\n" : "",
			    buf_str(&entries[i].name));
		buf_adds(out, buf_str(&entries[i].value));
	}
	buf_addc(out, '\n');
}

static void
add_names(struct buf *out, const struct entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!repeats(entries, i))
			buf_addf(out, "%s%s", i > 0 ? ";" : "",
			    buf_str(&entries[i].name));
}

/* ---- the steps of the signature ---- */

static void
canonical(const struct sigv4_request *request, const struct entry *entries,
    struct buf *out)
{
	buf_addf(out, "%s\n%s\n%s\n", request->method,
	    request->path[0] != '\0' ? request->path : "/", request->query);
	add_headers(out, entries, request->header_count);
	buf_addc(out, '\n');
	add_names(out, entries, request->header_count);
	buf_addf(out, "\n%s", request->payload_sha256);
}

void
sigv4_canonical(const struct sigv4_request *request, struct buf *out)
{
	struct entry entries[PAIRS_MAX];

	sort_headers(request, entries);
	canonical(request, entries, out);
	entries_done(entries, request->header_count);
}

static void
add_scope(struct buf *out, const struct sigv4_request *request,
    const struct sigv4_keys *keys)
{
	buf_addf(out, "%.*s/%s/%s/aws4_request", DAY_CHARS, request->timestamp,
	    keys->region, keys->service);
}

static void
chain(uint8_t key[SHA256_SIZE], const char *text)
{
	crypto_hmac_sha256(key, SHA256_SIZE, text, strlen(text), key);
}

static void
sign(const struct sigv4_request *request, const struct sigv4_keys *keys,
    const char *text, char signature[SHA256_HEX_SIZE])
{
	uint8_t key[SHA256_SIZE];
	struct buf first;

	buf_init(&first, 0);
	buf_addf(&first, "AWS4%s", keys->secret_key);
	crypto_hmac_sha256(
	    first.data, first.len, request->timestamp, DAY_CHARS, key);
	buf_done(&first);
	chain(key, keys->region);
	chain(key, keys->service);
	chain(key, "aws4_request");
	chain(key, text);
	crypto_hex(key, sizeof(key), signature);
}

void
sigv4_authorization(const struct sigv4_request *request,
    const struct sigv4_keys *keys, struct buf *out)
{
	char hash[SHA256_HEX_SIZE], signature[SHA256_HEX_SIZE];
	struct entry entries[PAIRS_MAX];
	struct buf text;

	sort_headers(request, entries);
	buf_init(&text, 0);
	canonical(request, entries, &text);
	crypto_sha256_hex(text.data, text.len, hash);
	buf_clear(&text);
	buf_addf(&text, ALGORITHM "\n%s\n", request->timestamp);
	add_scope(&text, request, keys);
	buf_addf(&text, "\n%s", hash);
	sign(request, keys, buf_str(&text), signature);
	buf_addf(out, ALGORITHM " Credential=%s/", keys->access_key);
	add_scope(out, request, keys);
	buf_adds(out, ", SignedHeaders=");
	add_names(out, entries, request->header_count);
	buf_addf(out, ", Signature=%s", signature);
	buf_done(&text);
	entries_done(entries, request->header_count);
}
