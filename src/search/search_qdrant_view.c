/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A view of one brand: which parts (versions of sources) the index holds, and
 * which of them are live. Qdrant knows the first, the store the second.
 *
 * Parts that are not live are few: being ingested, or left behind. They are the
 * `contested` ones, together with the live parts of the same sources; the store
 * is asked about them anew by each search, so that a switch counts at once. A
 * view is made again after KEEP_MS, after put and drop in this process, and
 * when a search meets a part that it does not fit.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "search/search_qdrant.h"

/* A brand with many parts costs more, so its view is kept longer: one
 * millisecond for each part. */
#define KEEP_MS      5000
#define KEEP_MAX_MS  60000
#define PARTS_MAX    100000 /* of a brand; more are not told apart */
#define EXCLUDED_MAX 1000   /* parts that a filter leaves out */
#define LIVE_BATCH   1000

struct part {
	char source_id[IDENT_SIZE];
	int64_t version;
	uint64_t hash;
	bool live;
};

struct qdrant_view {
	atomic_int refs;
	uint64_t until_ms;
	uint64_t *parts; /* hashes, sorted */
	size_t part_count;
	struct part *contested;
	size_t contested_count;
};

static uint64_t
part_hash(const char *source_id, int64_t version)
{
	char name[IDENT_SIZE + 24];

	snprintf(name, sizeof(name), "%s@%lld", source_id, (long long)version);
	return crypto_fnv1a(name, strlen(name));
}

void
search__qdrant_view_unref(struct qdrant_view *view)
{
	if (view == NULL || atomic_fetch_sub(&view->refs, 1) > 1)
		return;
	mem_free(view->parts);
	mem_free(view->contested);
	mem_free(view);
}

struct qdrant_view *
search__qdrant_view_ref(struct qdrant_view *view)
{
	atomic_fetch_add(&view->refs, 1);
	return view;
}

bool
search__qdrant_view_fresh(const struct qdrant_view *view)
{
	return clock_mono_ms() < view->until_ms;
}

/* ---- making one ---- */

static enum err_code
read_parts(struct qdrant *qdrant, const char *brand, uint64_t deadline_ms,
    json_t **result_out)
{
	struct buf body;
	enum err_code rc;

	buf_init(&body, 0);
	buf_addf(&body,
	    "{\"key\":\"part\",\"exact\":true,\"limit\":%d,\"filter\":{"
	    "\"must\":[{\"key\":\"brand\",\"match\":{\"value\":",
	    PARTS_MAX);
	buf_add_json(&body, brand, strlen(brand));
	buf_adds(&body, "}}]}}");
	rc = search__qdrant_read(
	    qdrant, "/facet", &body, deadline_ms, result_out);
	if (rc == ERR_UPSTREAM) { /* no index to count by, perhaps until now */
		rc = search__qdrant_complete(qdrant, deadline_ms);
		if (rc == OK)
			rc = search__qdrant_read(
			    qdrant, "/facet", &body, deadline_ms, result_out);
	}
	buf_done(&body);
	return rc;
}

/* "source@version" */
static bool
parse_part(const char *text, struct part *part)
{
	const char *at = text != NULL ? strrchr(text, '@') : NULL;

	if (at == NULL || !str_to_i64(at + 1, &part->version) ||
	    !str_copy_n(part->source_id, sizeof(part->source_id), text,
		(size_t)(at - text)))
		return false;
	part->hash = part_hash(part->source_id, part->version);
	return true;
}

/* Which are live, asked of the store in batches. */
static enum err_code
ask_live(
    struct qdrant *qdrant, const char *brand, struct part *parts, size_t count)
{
	const struct search_live *live = &qdrant->base.live;
	const char **ids = mem_zero(LIVE_BATCH * sizeof(*ids));
	int64_t *versions = mem_zero(LIVE_BATCH * sizeof(*versions));
	enum err_code rc = OK;

	for (size_t from = 0, n; rc == OK && from < count; from += n) {
		n = count - from < LIVE_BATCH ? count - from : LIVE_BATCH;
		for (size_t i = 0; i < n; i++)
			ids[i] = parts[from + i].source_id;
		rc = live->versions(live->arg, brand, ids, n, versions);
		for (size_t i = 0; rc == OK && i < n; i++)
			parts[from + i].live =
			    parts[from + i].version == versions[i];
	}
	mem_free(ids);
	mem_free(versions);
	return rc;
}

static int
by_source(const void *a, const void *b)
{
	const struct part *x = a, *y = b;
	int order = strcmp(x->source_id, y->source_id);

	return order != 0
		   ? order
		   : (x->version > y->version) - (x->version < y->version);
}

static int
by_hash(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Parts of a source of which not all are live. */
static void
find_contested(struct qdrant_view *view, const struct part *parts, size_t count)
{
	view->contested = mem_zero((count + 1) * sizeof(*view->contested));
	for (size_t i = 0, end; i < count; i = end) {
		bool settled = true;

		for (end = i; end < count && strcmp(parts[end].source_id,
						 parts[i].source_id) == 0;
		     end++)
			settled = settled && parts[end].live;
		for (size_t j = i; j < end && !settled; j++)
			view->contested[view->contested_count++] = parts[j];
	}
	view->contested = mem_resize(view->contested,
	    (view->contested_count + 1) * sizeof(*view->contested));
}

enum err_code
search__qdrant_view_new(struct qdrant *qdrant, const char *brand,
    uint64_t deadline_ms, struct qdrant_view **view_out)
{
	json_auto json_t *result = NULL;
	struct qdrant_view *view;
	struct part *parts;
	enum err_code rc;
	size_t count = 0, i;
	json_t *hits, *hit;
	uint64_t keep;

	TRY(read_parts(qdrant, brand, deadline_ms, &result));
	hits = json_object_get(result, "hits");
	parts = mem_zero((json_array_size(hits) + 1) * sizeof(*parts));
	json_array_foreach (hits, i, hit)
		count += parse_part(json_str(hit, "value"), &parts[count]);
	rc = ask_live(qdrant, brand, parts, count);
	if (rc != OK) {
		mem_free(parts);
		return rc;
	}
	if (count > 0)
		qsort(parts, count, sizeof(*parts), by_source);
	view = mem_zero(sizeof(*view));
	view->refs = 1;
	keep = count < KEEP_MS       ? KEEP_MS
	       : count > KEEP_MAX_MS ? KEEP_MAX_MS
				     : count;
	view->until_ms = clock_mono_ms() + keep;
	find_contested(view, parts, count);
	view->parts = mem_zero((count + 1) * sizeof(*view->parts));
	for (i = 0; i < count; i++)
		view->parts[view->part_count++] = parts[i].hash;
	if (count > 0)
		qsort(view->parts, count, sizeof(*view->parts), by_hash);
	mem_free(parts);
	*view_out = view;
	return OK;
}

/* ---- using one ---- */

static void
add_part(struct buf *filter, const struct part *part)
{
	char name[IDENT_SIZE + 24];
	int len = snprintf(name, sizeof(name), "%s@%lld", part->source_id,
	    (long long)part->version);

	buf_add_json(filter, name, (size_t)len);
}

enum err_code
search__qdrant_view_filter(struct qdrant *qdrant, const char *brand,
    const struct qdrant_view *view, struct buf *filter)
{
	size_t count = view->contested_count, excluded = 0;
	struct part *parts = mem_zero((count + 1) * sizeof(*parts));
	enum err_code rc;

	memcpy(parts, view->contested, count * sizeof(*parts));
	rc = ask_live(qdrant, brand, parts, count); /* none: nothing asked */
	buf_adds(filter, "\"must_not\":[");
	for (size_t i = 0; i < count && excluded < EXCLUDED_MAX; i++) {
		if (parts[i].live)
			continue;
		buf_adds(filter, excluded++ == 0
				     ? "{\"key\":\"part\",\"match\":{\"any\":["
				     : ",");
		add_part(filter, &parts[i]);
	}
	buf_adds(filter, excluded > 0 ? "]}}]" : "]");
	buf_adds(filter, ",\"must\":[{\"key\":\"brand\",\"match\":{\"value\":");
	buf_add_json(filter, brand, strlen(brand));
	buf_adds(filter, "}}"); /* left open: more conditions may follow */
	mem_free(parts);
	return rc;
}

enum qdrant_fit
search__qdrant_view_fit(const struct qdrant_view *view, const char *source_id,
    int64_t version, int64_t live_version)
{
	uint64_t hash = part_hash(source_id, version);
	bool known = view->part_count > 0 &&
		     bsearch(&hash, view->parts, view->part_count, sizeof(hash),
			 by_hash) != NULL;

	if (version == live_version)
		return known ? QDRANT_LIVE : QDRANT_NEW;
	/* With more than a filter takes, dead ones are nothing new. */
	if (view->contested_count >= EXCLUDED_MAX)
		return QDRANT_DEAD;
	return known ? QDRANT_GONE : QDRANT_ASIDE;
}

static void *
copy_of(const void *items, size_t bytes, size_t room)
{
	void *copy = mem_alloc(bytes + room);

	memcpy(copy, items, bytes);
	return copy;
}

struct qdrant_view *
search__qdrant_view_with(const struct qdrant_view *view, const char *source_id,
    int64_t version, bool live)
{
	struct qdrant_view *more = mem_zero(sizeof(*more));
	struct part *part;

	more->refs = 1;
	more->until_ms = view->until_ms;
	more->contested_count = view->contested_count;
	more->contested = copy_of(view->contested,
	    view->contested_count * sizeof(*view->contested), sizeof(*part));
	if (!live) {
		part = &more->contested[more->contested_count++];
		*part = (struct part){ .version = version };
		str_copy(part->source_id, sizeof(part->source_id), source_id);
	}
	more->part_count = view->part_count + 1;
	more->parts = copy_of(view->parts,
	    view->part_count * sizeof(*view->parts), sizeof(*view->parts));
	more->parts[view->part_count] = part_hash(source_id, version);
	qsort(more->parts, more->part_count, sizeof(*more->parts), by_hash);
	return more;
}
