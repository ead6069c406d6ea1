/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The brands' indexes in memory. Nothing is ever written to them by those who
 * put: a search compares the brand's stamp in the database with the index's
 * and reads what changed since. So the index shows exactly one snapshot, the
 * same one that the hits' texts are read from.
 */
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "search/search_sqlite.h"

/* ---- which brands ---- */

static struct search_brand *
new_brand(const char *name)
{
	struct search_brand *brand = mem_zero(sizeof(*brand));
	pthread_rwlockattr_t attributes;

	brand->name = mem_strdup(name);
	brand->index = search_index_new();
	pthread_rwlockattr_init(&attributes);
	/* A stream of searches must not keep the index behind for ever. */
	pthread_rwlockattr_setkind_np(
	    &attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&brand->lock, &attributes);
	pthread_rwlockattr_destroy(&attributes);
	return brand;
}

static void
free_brand(struct search_brand *brand)
{
	pthread_rwlock_destroy(&brand->lock);
	search_index_free(brand->index);
	mem_free(brand->name);
	mem_free(brand);
}

struct search_brand *
search_sqlite__take(struct search_embedded *embedded, const char *name)
{
	struct search_brand **at = &embedded->first, *brand;

	pthread_mutex_lock(&embedded->lock);
	while (*at != NULL && !str_eq((*at)->name, name))
		at = &(*at)->next;
	brand = *at;
	if (brand == NULL)
		brand = new_brand(name);
	else
		*at = brand->next;
	brand->next = embedded->first;
	embedded->first = brand;
	brand->users++;
	pthread_mutex_unlock(&embedded->lock);
	return brand;
}

/* Under the lock. */
static void
evict(struct search_embedded *embedded)
{
	while (embedded->bytes > embedded->bytes_max) {
		struct search_brand **idle = NULL, *gone;

		for (struct search_brand **at = &embedded->first; *at != NULL;
		     at = &(*at)->next)
			if ((*at)->users == 0)
				idle = at;
		if (idle == NULL)
			return;
		gone = *idle;
		*idle = gone->next;
		embedded->bytes -= gone->bytes;
		free_brand(gone);
	}
}

void
search_sqlite__give(
    struct search_embedded *embedded, struct search_brand *brand)
{
	size_t bytes;

	pthread_rwlock_rdlock(&brand->lock);
	bytes = sizeof(*brand) + search_index_bytes(brand->index);
	pthread_rwlock_unlock(&brand->lock);
	pthread_mutex_lock(&embedded->lock);
	embedded->bytes += bytes - brand->bytes;
	brand->bytes = bytes;
	brand->users--;
	evict(embedded);
	pthread_mutex_unlock(&embedded->lock);
}

void
search_sqlite__forget(struct search_embedded *embedded)
{
	struct search_brand *brand;

	while ((brand = embedded->first) != NULL) {
		embedded->first = brand->next;
		free_brand(brand);
	}
}

/* ---- bringing an index forward ---- */

static enum err_code
newest_stamp(sqlite3 *db, const char *brand, int64_t *stamp_out)
{
	sqlite3_stmt *query;
	bool row;

	TRY(sqlite_query(db, &query,
	    "SELECT coalesce(max(stamp), 0) FROM search_live "
	    "WHERE brand_id = ?1",
	    "t", brand));
	TRY(sqlite_step(db, query, &row));
	*stamp_out = sqlite3_column_int64(query, 0);
	sqlite3_reset(query);
	return OK;
}

static enum err_code
load_source(struct search_embedded *embedded, sqlite3 *db,
    struct search_brand *brand, const char *source_id, int64_t version)
{
	sqlite3_stmt *query;
	bool row;

	TRY(sqlite_query(db, &query,
	    "SELECT c.id, c.number, w.words, coalesce(w.metadata, s.metadata), "
	    "v.vector FROM knowledge_sources s CROSS JOIN chunks c "
	    "CROSS JOIN chunk_words w ON w.id = c.id "
	    "LEFT JOIN chunk_vectors v ON v.id = c.id "
	    "WHERE s.id = ?1 AND c.source_id = ?1 AND c.version = ?2 AND "
	    "c.brand_id = ?3",
	    "tit", source_id, version, brand->name));
	for (;;) {
		struct search_entry entry;

		TRY(sqlite_step(db, query, &row));
		if (!row)
			break;
		entry = (struct search_entry){
			.chunk = sqlite3_column_int64(query, 0),
			.number = sqlite3_column_int64(query, 1),
			.packed = sqlite3_column_blob(query, 2),
			.packed_len = (size_t)sqlite3_column_bytes(query, 2),
			.metadata = (const char *)sqlite3_column_text(query, 3),
			.vector = sqlite3_column_blob(query, 4),
			.dimensions = (size_t)sqlite3_column_bytes(query, 4) /
				      sizeof(float),
		};
		TRY(search_index_add(brand->index, source_id, &entry));
	}
	sqlite3_reset(query);
	if (search_index_bytes(brand->index) > embedded->bytes_max)
		return err_set(ERR_TOO_LARGE,
		    "the index of brand %s is over %zu MB: split the brand, or "
		    "set XIN_SEARCH_URL to a Qdrant server",
		    brand->name, embedded->bytes_max >> 20);
	return OK;
}

static enum err_code
load_changes(
    struct search_embedded *embedded, sqlite3 *db, struct search_brand *brand)
{
	sqlite3_stmt *query;
	bool row;

	TRY(sqlite_query(db, &query,
	    "SELECT source_id, version FROM search_live "
	    "WHERE brand_id = ?1 AND stamp > ?2",
	    "ti", brand->name, brand->stamp));
	for (;;) {
		const char *source_id;
		int64_t version;

		TRY(sqlite_step(db, query, &row));
		if (!row)
			return OK;
		source_id = (const char *)sqlite3_column_text(query, 0);
		version = sqlite3_column_int64(query, 1);
		search_index_empty_source(brand->index, source_id);
		if (version > 0)
			TRY(load_source(
			    embedded, db, brand, source_id, version));
	}
}

static enum err_code
bring_forward(struct search_embedded *embedded, sqlite3 *db,
    struct search_brand *brand, int64_t stamp)
{
	enum err_code rc = load_changes(embedded, db, brand);

	if (rc == OK) {
		search_index_settle(brand->index);
		brand->stamp = stamp;
	} else { /* half of a change: begin anew next time */
		search_index_free(brand->index);
		brand->index = search_index_new();
		brand->stamp = 0;
	}
	return rc;
}

enum err_code
search_sqlite__lock(struct search_embedded *embedded, sqlite3 *db,
    struct search_brand *brand, bool refresh, bool *stale_out)
{
	int64_t stamp;
	enum err_code rc;

	/* The lock first: the snapshot is then never behind the index. */
	if (refresh)
		pthread_rwlock_wrlock(&brand->lock);
	else
		pthread_rwlock_rdlock(&brand->lock);
	rc = newest_stamp(db, brand->name, &stamp);
	*stale_out = rc == OK && stamp != brand->stamp && !refresh;
	if (rc == OK && stamp != brand->stamp && refresh)
		rc = bring_forward(embedded, db, brand, stamp);
	if (rc != OK || *stale_out)
		pthread_rwlock_unlock(&brand->lock);
	return rc;
}
