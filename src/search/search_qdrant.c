/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Qdrant back end: opening, and what changes points. Writes wait until they
 * are visible (wait=true), each batch of them: the parts of a collection keep
 * logs of their own, so that the last batch says nothing of the ones before.
 */
#include "search/search_qdrant.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "net/url.h"

/* Qdrant takes 32 MB; a chunk is at most some 100 kB. */
#define BATCH_BYTES  ((size_t)8 << 20)
#define BATCH_POINTS 256

/* ---- put ---- */

static enum err_code
check_chunk(const struct chunk *chunk, size_t *dimensions)
{
	if (chunk->vector == NULL || chunk->dimensions == 0)
		return OK;
	if (*dimensions != 0 && *dimensions != chunk->dimensions)
		return err_set(ERR_INVALID,
		    "chunk %lld has a vector of %zu dimensions, those before "
		    "it have %zu",
		    (long long)chunk->number, chunk->dimensions, *dimensions);
	*dimensions = chunk->dimensions;
	for (size_t i = 0; i < chunk->dimensions; i++)
		if (!isfinite(chunk->vector[i]))
			return err_set(ERR_INVALID,
			    "chunk %lld: the vector holds what is no number",
			    (long long)chunk->number);
	return OK;
}

struct putting {
	struct qdrant *qdrant;
	struct qdrant_place place;
	size_t dimensions;
};

static enum err_code
send_points(const struct putting *put, struct buf *body)
{
	struct qdrant *qdrant = put->qdrant;
	const char *path = "/points?wait=true";
	enum err_code rc;

	buf_adds(body, "]}");
	rc = search__qdrant_write(qdrant, "PUT", path, body);
	if (rc == ERR_NOT_FOUND) { /* somebody deleted the collection */
		search__qdrant_forget(qdrant);
		rc = search__qdrant_ensure(qdrant, put->dimensions);
		if (rc == OK)
			rc = search__qdrant_write(qdrant, "PUT", path, body);
	}
	buf_clear(body);
	return rc;
}

static enum err_code
put_points(const struct putting *put, const struct chunk *chunks, size_t count)
{
	enum err_code rc = OK;
	size_t points = 0;
	struct buf body;

	buf_init(&body, 0);
	for (size_t i = 0; rc == OK && i < count; i++) {
		buf_adds(&body, points == 0 ? "{\"points\":[" : ",");
		rc = search__qdrant_point(&put->place, &chunks[i], &body);
		points++;
		if (rc == OK)
			rc = fiber_breathe();
		if (rc == OK && (i + 1 == count || points == BATCH_POINTS ||
				    body.len >= BATCH_BYTES)) {
			rc = send_points(put, &body);
			points = 0;
		}
	}
	buf_done(&body);
	return rc;
}

static enum err_code
qdrant_put(struct search *search, const char *brand, const char *source_id,
    int64_t version, const char *title, const struct chunk *chunks,
    size_t count)
{
	struct qdrant *qdrant = (struct qdrant *)search;
	char *metadata = NULL, *source_url = NULL;
	struct putting put = { .qdrant = qdrant };
	enum err_code rc;

	for (size_t i = 0; i < count; i++)
		TRY(check_chunk(&chunks[i], &put.dimensions));
	TRY(search__qdrant_ensure(qdrant, put.dimensions));
	rc = search->live.describe(
	    search->live.arg, brand, source_id, &metadata, &source_url);
	if (rc != OK && rc != ERR_NOT_FOUND)
		return rc;
	put.place = (struct qdrant_place){ brand, source_id,
		title != NULL ? title : "", metadata, source_url, version };
	rc = put_points(&put, chunks, count);
	search__qdrant_changed(qdrant, brand);
	mem_free(metadata);
	mem_free(source_url);
	return rc;
}

/* ---- drop ---- */

static enum err_code
qdrant_drop(struct search *search, const char *brand, const char *source_id,
    int64_t keep)
{
	struct qdrant *qdrant = (struct qdrant *)search;
	struct buf body;
	enum err_code rc;

	buf_init(&body, 0);
	buf_adds(&body, "{\"filter\":{\"must\":[{\"key\":\"brand\",\"match\":{"
			"\"value\":");
	buf_add_json(&body, brand, strlen(brand));
	buf_adds(&body, "}},{\"key\":\"source_id\",\"match\":{\"value\":");
	buf_add_json(&body, source_id, strlen(source_id));
	buf_addf(&body,
	    "}}],\"must_not\":[{\"key\":\"version\",\"match\":{"
	    "\"value\":%lld}}]}}",
	    (long long)keep);
	rc = search__qdrant_write(
	    qdrant, "POST", "/points/delete?wait=true", &body);
	buf_done(&body);
	search__qdrant_changed(qdrant, brand);
	return rc == ERR_NOT_FOUND ? OK : rc; /* no collection, no chunks */
}

/* ---- idf ---- */

static enum err_code
qdrant_idf(struct search *search, const char *brand, const char *const *terms,
    size_t count, double *idf_out)
{
	struct qdrant *qdrant = (struct qdrant *)search;
	struct qdrant_counts counts = { .with_term =
					    mem_zero(count * sizeof(double)) };
	enum err_code rc = search__qdrant_count(qdrant, brand, terms, count,
	    search__qdrant_deadline(QDRANT_READ_MS), &counts);

	if (rc == ERR_NOT_FOUND) /* no collection yet: nothing is found */
		rc = OK;
	for (size_t i = 0; rc == OK && i < count; i++)
		idf_out[i] =
		    search_lucene_idf(counts.total, counts.with_term[i]);
	search__qdrant_counts_done(&counts);
	mem_free(counts.with_term);
	return rc;
}

/* ---- opening ---- */

static void
qdrant_close(struct search *search)
{
	struct qdrant *qdrant = (struct qdrant *)search;

	search__qdrant_counts_close(qdrant);
	pthread_mutex_destroy(&qdrant->lock);
	mem_free(qdrant->url);
	mem_free(qdrant->collection);
	mem_free(qdrant->key_header);
	mem_free(qdrant);
}

static const struct search_ops qdrant_ops = {
	.name = "qdrant",
	.put = qdrant_put,
	.drop = qdrant_drop,
	.find = search__qdrant_find,
	.idf = qdrant_idf,
	.checkup = search__qdrant_checkup,
	.close = qdrant_close,
};

/* Nothing is asked here: the server may come up after us, and who needs it gets
 * its error. */
enum err_code
search_qdrant_open(const char *url, struct search **search_out)
{
	const char *collection = config_str(CFG_SEARCH_COLLECTION);
	const char *key = config_str(CFG_SEARCH_KEY);
	const char *host = strstr(url, "://");
	struct qdrant *qdrant;
	size_t len = strlen(url);
	struct buf name;

	while (len > 0 && url[len - 1] == '/')
		len--;
	if (strpbrk(url, "?#@ ") != NULL || host == NULL || host[3] == '\0')
		return err_set(ERR_CONFIG,
		    "XIN_SEARCH_URL: want http(s)://host:port of Qdrant; its "
		    "key goes to QDRANT_API_KEY");
	if (collection[0] == '\0' || strlen(collection) > 255 ||
	    strpbrk(collection, "/?#*<>|\\:\" ") != NULL)
		return err_set(ERR_CONFIG,
		    "XIN_SEARCH_COLLECTION is \"%s\": want a name of letters, "
		    "digits, - and _",
		    collection);
	if (strpbrk(key, "\r\n") != NULL)
		return err_set(
		    ERR_CONFIG, "QDRANT_API_KEY has a line break in it");
	qdrant = mem_zero(sizeof(*qdrant));
	qdrant->base.ops = &qdrant_ops;
	qdrant->url = mem_strndup(url, len);
	buf_init(&name, 0);
	url_encode(&name, collection);
	qdrant->collection = buf_take(&name, NULL);
	if (key[0] != '\0')
		qdrant->key_header = mem_printf("api-key: %s", key);
	pthread_mutex_init(&qdrant->lock, NULL);
	*search_out = &qdrant->base;
	return OK;
}
