/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collection: made on demand, since nobody but us knows its shape, and
 * checked once for each process. Indexes come before the points, because
 * Qdrant builds the graph of each tenant with those it knows.
 */
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/str.h"
#include "base/task.h"
#include "search/search_qdrant.h"

static const struct {
	const char *field, *schema;
} indexes[] = {
	{ "brand", "{\"type\":\"keyword\",\"is_tenant\":true}" },
	{ "source_id", "\"keyword\"" }, { "version", "\"integer\"" },
	{ "terms", "\"keyword\"" }, { "tokens", "\"keyword\"" },
	{ "facts", "\"keyword\"" },
	{ "part", "\"keyword\"" }, /* last: what every search asks first */
};
#define INDEX_COUNT (sizeof(indexes) / sizeof(*indexes))

enum err_code
search__qdrant_mismatch(
    const struct qdrant *qdrant, int64_t there, size_t given)
{
	if (there == 0)
		return err_set(ERR_CONFIG,
		    "collection %s of vector server %s was made without dense "
		    "vectors, and embeddings have %zu dimensions: set another "
		    "XIN_SEARCH_COLLECTION and ingest again",
		    qdrant->collection, qdrant->url, given);
	return err_set(ERR_CONFIG,
	    "collection %s of vector server %s holds vectors of %lld "
	    "dimensions, the embeddings have %zu: set the model that it was "
	    "made with, or another XIN_SEARCH_COLLECTION and ingest again",
	    qdrant->collection, qdrant->url, (long long)there, given);
}

static void
remember(struct qdrant *qdrant, bool known, int64_t dimensions)
{
	pthread_mutex_lock(&qdrant->lock);
	qdrant->known = known;
	qdrant->dimensions = dimensions;
	pthread_mutex_unlock(&qdrant->lock);
}

void
search__qdrant_forget(struct qdrant *qdrant)
{
	remember(qdrant, false, 0);
}

static bool
recall(struct qdrant *qdrant, int64_t *dimensions_out)
{
	bool known;

	pthread_mutex_lock(&qdrant->lock);
	known = qdrant->known;
	*dimensions_out = qdrant->dimensions;
	pthread_mutex_unlock(&qdrant->lock);
	return known;
}

static enum err_code
check_shape(
    const struct qdrant *qdrant, const json_t *info, int64_t *dimensions_out)
{
	const json_t *params =
	    json_object_get(json_object_get(info, "config"), "params");
	const json_t *dense =
	    json_object_get(json_object_get(params, "vectors"), "dense");
	const json_t *sparse =
	    json_object_get(json_object_get(params, "sparse_vectors"), "bm25");

	if (sparse == NULL)
		return err_set(ERR_CONFIG,
		    "collection %s of vector server %s has no sparse vector "
		    "\"bm25\", so it is not ours: set another "
		    "XIN_SEARCH_COLLECTION",
		    qdrant->collection, qdrant->url);
	*dimensions_out = json_int(dense, "size", 0);
	return OK;
}

/* *info_out NULL when there is none. */
static enum err_code
read_info(struct qdrant *qdrant, uint64_t deadline_ms, json_t **info_out)
{
	enum err_code rc =
	    search__qdrant_read(qdrant, "", NULL, deadline_ms, info_out);

	if (rc != ERR_NOT_FOUND)
		return rc;
	*info_out = NULL;
	return OK;
}

enum err_code
search__qdrant_look(struct qdrant *qdrant, uint64_t deadline_ms,
    bool *there_out, int64_t *dimensions_out)
{
	json_auto json_t *info = NULL;

	*there_out = true;
	if (recall(qdrant, dimensions_out))
		return OK;
	TRY(read_info(qdrant, deadline_ms, &info));
	*there_out = info != NULL;
	return info != NULL ? check_shape(qdrant, info, dimensions_out) : OK;
}

enum err_code
search__qdrant_complete(struct qdrant *qdrant, uint64_t deadline_ms)
{
	json_auto json_t *info = NULL;

	TRY(read_info(qdrant, deadline_ms, &info));
	if (json_object_get(json_object_get(info, "payload_schema"),
		indexes[INDEX_COUNT - 1].field) == NULL)
		return err_set(ERR_NOT_FOUND,
		    "collection %s of vector server %s is being made",
		    qdrant->collection, qdrant->url);
	return OK;
}

static enum err_code
add_quantization(struct buf *body)
{
	const char *kind = config_str(CFG_SEARCH_QUANTIZATION);

	if (strcmp(kind, "scalar") == 0)
		buf_adds(body, ",\"quantization_config\":{\"scalar\":{"
			       "\"type\":\"int8\",\"quantile\":0.99,"
			       "\"always_ram\":true}}");
	else if (strcmp(kind, "binary") == 0)
		buf_adds(body, ",\"quantization_config\":{\"binary\":{"
			       "\"always_ram\":true}}");
	else if (strcmp(kind, "none") != 0)
		return err_set(ERR_CONFIG,
		    "XIN_SEARCH_QUANTIZATION is \"%s\": want none, scalar or "
		    "binary",
		    kind);
	return OK;
}

/* No graph over all brands (m 0), one for each (payload_m): every search names
 * its brand. No idf modifier: its counts would go over all brands. */
static enum err_code
create(struct qdrant *qdrant, size_t dimensions)
{
	struct buf body;
	enum err_code rc = OK;

	buf_init(&body, 0);
	buf_adds(&body, "{\"sparse_vectors\":{\"bm25\":{}},"
			"\"hnsw_config\":{\"m\":0,\"payload_m\":16},"
			"\"on_disk_payload\":true");
	if (dimensions > 0) {
		buf_addf(&body,
		    ",\"vectors\":{\"dense\":{\"size\":%zu,"
		    "\"distance\":\"Cosine\"}}",
		    dimensions);
		rc = add_quantization(&body);
	}
	buf_addc(&body, '}');
	if (rc == OK)
		rc = search__qdrant_write(qdrant, "PUT", "", &body);
	buf_done(&body);
	return rc;
}

static enum err_code
create_indexes(struct qdrant *qdrant, const json_t *info)
{
	const json_t *there = json_object_get(info, "payload_schema");
	enum err_code rc = OK;

	for (size_t i = 0; i < INDEX_COUNT && rc == OK; i++) {
		struct buf body;

		if (json_object_get(there, indexes[i].field) != NULL)
			continue;
		buf_init(&body, 0);
		buf_addf(&body, "{\"field_name\":\"%s\",\"field_schema\":%s}",
		    indexes[i].field, indexes[i].schema);
		rc = search__qdrant_write(
		    qdrant, "PUT", "/index?wait=true", &body);
		buf_done(&body);
	}
	return rc;
}

/* Make it and look at it. When it is there in spite of an error, then another
 * replica was faster; what servers call that differs between versions. */
static enum err_code
make(struct qdrant *qdrant, size_t dimensions, json_t **info_out)
{
	enum err_code rc = create(qdrant, dimensions);
	struct error why;

	if (rc == ERR_CONFIG || rc == ERR_UNAVAILABLE)
		return rc;
	err_save(&why);
	TRY(read_info(
	    qdrant, search__qdrant_deadline(QDRANT_READ_MS), info_out));
	if (*info_out != NULL)
		return OK;
	if (rc == OK)
		return err_set(ERR_UPSTREAM,
		    "vector server %s: collection %s was made and is not there",
		    qdrant->url, qdrant->collection);
	err_restore(&why);
	return rc;
}

enum err_code
search__qdrant_ensure(struct qdrant *qdrant, size_t dimensions)
{
	json_auto json_t *info = NULL;
	size_t wanted = dimensions > 0
			    ? dimensions
			    : (size_t)config_int(CFG_EMBEDDINGS_DIMENSIONS);
	int64_t there;

	if (!recall(qdrant, &there)) {
		TRY(read_info(
		    qdrant, search__qdrant_deadline(QDRANT_READ_MS), &info));
		if (info == NULL)
			TRY(make(qdrant, wanted, &info));
		TRY(check_shape(qdrant, info, &there));
		TRY(create_indexes(qdrant, info));
		remember(qdrant, true, there);
	}
	if (dimensions > 0 && (int64_t)dimensions != there)
		return search__qdrant_mismatch(qdrant, there, dimensions);
	return OK;
}
