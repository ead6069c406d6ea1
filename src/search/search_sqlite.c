/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Embedded search: chunks in SQLite beside the store's rows, so that one row
 * update switches a version; ranking in memory (search_index.h), brought
 * forward when the rows have changed (search_sqlite_cache.c); the texts of the
 * few hits from the same snapshot.
 */
#include "search/search_sqlite.h"

#include <string.h>

#include "base/json.h"
#include "base/checkup.h"
#include "base/mem.h"
#include "base/str.h"

/* Bytes of all brands' indexes: about a million chunks. */
#define BYTES_MAX ((size_t)512 << 20)

/* ---- putting ---- */

struct putting {
	const char *brand, *source_id, *title;
	int64_t version;
	const struct chunk *chunks;
	struct buf *words; /* packed, one for each chunk */
	size_t count;
};

static enum err_code
remove_chunk(sqlite3 *db, const struct putting *put, int64_t number)
{
	sqlite3_stmt *find;
	bool found;
	int64_t id;

	TRY(sqlite_query(db, &find,
	    "SELECT id FROM chunks WHERE source_id = ?1 AND version = ?2 AND "
	    "number = ?3 AND brand_id = ?4",
	    "tiit", put->source_id, put->version, number, put->brand));
	TRY(sqlite_step(db, find, &found));
	if (!found)
		return OK;
	id = sqlite3_column_int64(find, 0);
	sqlite3_reset(find);
	TRY(sqlite_run(
	    db, NULL, "DELETE FROM chunk_words WHERE id = ?1", "i", id));
	TRY(sqlite_run(
	    db, NULL, "DELETE FROM chunk_vectors WHERE id = ?1", "i", id));
	return sqlite_run(
	    db, NULL, "DELETE FROM chunks WHERE id = ?1", "i", id);
}

static enum err_code
insert_words(
    sqlite3 *db, int64_t id, const char *metadata, const struct buf *words)
{
	sqlite3_stmt *insert;

	TRY(sqlite_query(db, &insert,
	    "INSERT INTO chunk_words (id, metadata, words) "
	    "VALUES (?1, ?2, ?3)",
	    "it", id, metadata));
	sqlite3_bind_blob(
	    insert, 3, buf_str(words), (int)words->len, SQLITE_STATIC);
	return sqlite_done(db, insert);
}

static enum err_code
insert_vector(sqlite3 *db, int64_t id, const float *vector, size_t dimensions)
{
	size_t size = dimensions * sizeof(*vector);
	float *unit = mem_alloc(size + 1);
	sqlite3_stmt *insert;
	enum err_code rc;

	search_unit_vector(vector, dimensions, unit);
	rc = sqlite_query(db, &insert,
	    "INSERT INTO chunk_vectors (id, vector) VALUES (?1, ?2)", "i", id);
	if (rc == OK) {
		sqlite3_bind_blob(insert, 2, unit, (int)size, SQLITE_STATIC);
		rc = sqlite_done(db, insert);
		sqlite3_clear_bindings(insert);
	}
	mem_free(unit);
	return rc;
}

static enum err_code
insert_chunk(sqlite3 *db, const struct putting *put, size_t i)
{
	const struct chunk *chunk = &put->chunks[i];
	char *text = mem_strndup(chunk->text, chunk->len);
	enum err_code rc;
	int64_t id;

	rc = sqlite_run(db, NULL,
	    "INSERT INTO chunks (brand_id, source_id, version, number, "
	    "start_at, end_at, title, heading, text) "
	    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	    "ttiiiittt", put->brand, put->source_id, put->version,
	    chunk->number, chunk->start, chunk->end, put->title,
	    chunk->heading ? chunk->heading : "", text);
	mem_free(text);
	if (rc != OK)
		return rc;
	id = sqlite3_last_insert_rowid(db);
	TRY(insert_words(db, id, chunk->metadata, &put->words[i]));
	if (chunk->vector == NULL || chunk->dimensions == 0)
		return OK;
	return insert_vector(db, id, chunk->vector, chunk->dimensions);
}

static enum err_code
put_rows(sqlite3 *db, void *arg)
{
	const struct putting *put = arg;

	for (size_t i = 0; i < put->count; i++) {
		TRY(remove_chunk(db, put, put->chunks[i].number));
		TRY(insert_chunk(db, put, i));
	}
	/* Indexes in memory that hold this version must read it again. */
	return sqlite_run(db, NULL,
	    "UPDATE search_live SET stamp = (SELECT max(stamp) + 1 FROM "
	    "search_live WHERE brand_id = ?1) WHERE brand_id = ?1 AND "
	    "source_id = ?2 AND version = ?3",
	    "tti", put->brand, put->source_id, put->version);
}

static enum err_code
embedded_put(struct search *search, const char *brand, const char *source_id,
    int64_t version, const char *title, const struct chunk *chunks,
    size_t count)
{
	struct search_embedded *embedded = (struct search_embedded *)search;
	struct putting put = { brand, source_id, title ? title : "", version,
		chunks, mem_zero(count * sizeof(*put.words)), count };
	enum err_code rc;

	/* Tokens are made here, off the writer thread. */
	for (size_t i = 0; i < count; i++) {
		struct search_words words;

		search_words_of(put.title, &chunks[i], &words);
		search_index_pack(&words, &put.words[i]);
		search_words_done(&words);
	}
	rc = sqlite_write(embedded->db, put_rows, &put);
	for (size_t i = 0; i < count; i++)
		buf_done(&put.words[i]);
	mem_free(put.words);
	return rc;
}

struct dropping {
	const char *brand, *source_id;
	int64_t keep;
};

static enum err_code
drop_rows(sqlite3 *db, void *arg)
{
	const struct dropping *drop = arg;

	TRY(sqlite_run(db, NULL,
	    "DELETE FROM chunk_words WHERE id IN (SELECT id FROM chunks "
	    "WHERE source_id = ?1 AND version <> ?2 AND brand_id = ?3)",
	    "tit", drop->source_id, drop->keep, drop->brand));
	TRY(sqlite_run(db, NULL,
	    "DELETE FROM chunk_vectors WHERE id IN (SELECT id FROM chunks "
	    "WHERE source_id = ?1 AND version <> ?2 AND brand_id = ?3)",
	    "tit", drop->source_id, drop->keep, drop->brand));
	TRY(sqlite_run(db, NULL,
	    "DELETE FROM chunks WHERE source_id = ?1 AND version <> ?2 AND "
	    "brand_id = ?3",
	    "tit", drop->source_id, drop->keep, drop->brand));
	return sqlite_run(db, NULL,
	    "UPDATE search_live SET stamp = (SELECT max(stamp) + 1 FROM "
	    "search_live WHERE brand_id = ?1) WHERE brand_id = ?1 AND "
	    "source_id = ?2 AND version <> ?3 AND version > 0",
	    "tti", drop->brand, drop->source_id, drop->keep);
}

static enum err_code
embedded_drop(struct search *search, const char *brand, const char *source_id,
    int64_t keep)
{
	struct search_embedded *embedded = (struct search_embedded *)search;
	struct dropping drop = { brand, source_id, keep };

	return sqlite_write(embedded->db, drop_rows, &drop);
}

/* ---- finding ---- */

/* One question to a brand's index, in one snapshot. */
struct asking {
	struct search_embedded *embedded;
	struct search_brand *brand;
	bool refresh, stale;
	enum err_code (*fn)(sqlite3 *db, struct asking *asking);
	/* search_find */
	const struct search_query *query;
	struct search_hits hits;
	/* search_idf */
	const char *const *terms;
	size_t count;
	double *idf;
};

static enum err_code
ask_locked(sqlite3 *db, void *arg)
{
	struct asking *asking = arg;
	enum err_code rc;

	TRY(search_sqlite__lock(asking->embedded, db, asking->brand,
	    asking->refresh, &asking->stale));
	if (asking->stale)
		return OK;
	rc = asking->fn(db, asking);
	pthread_rwlock_unlock(&asking->brand->lock);
	return rc;
}

/* Twice when the index is behind: the second time in a snapshot that begins
 * under the write lock. */
static enum err_code
ask(struct search_embedded *embedded, const char *brand, struct asking *asking)
{
	enum err_code rc;

	asking->embedded = embedded;
	asking->brand = search_sqlite__take(embedded, brand);
	rc = sqlite_read(embedded->db, ask_locked, asking);
	if (rc == OK && asking->stale) {
		asking->refresh = true;
		rc = sqlite_read(embedded->db, ask_locked, asking);
	}
	search_sqlite__give(embedded, asking->brand);
	return rc;
}

static bool
passes(const void *filter, const char *metadata)
{
	json_auto json_t *object = NULL;
	const char *key;
	json_t *wanted;

	if (metadata == NULL ||
	    json_parse(metadata, strlen(metadata), &object) != OK)
		return false;
	json_object_foreach ((json_t *)(uintptr_t)filter, key, wanted)
		if (!json_equal(json_object_get(object, key), wanted))
			return false;
	return true;
}

static enum err_code
read_hit(
    sqlite3 *db, const struct search_ranked *ranked, struct search_hits *hits)
{
	struct search_hit *hit = &hits->items[hits->count];
	sqlite3_stmt *query;
	bool row;

	TRY(sqlite_query(db, &query,
	    "SELECT c.source_id, c.version, c.number, c.title, c.text, "
	    "c.heading, coalesce(w.metadata, s.metadata), s.source_url, "
	    "c.start_at, c.end_at FROM chunks c "
	    "CROSS JOIN chunk_words w ON w.id = c.id "
	    "CROSS JOIN knowledge_sources s ON s.id = c.source_id "
	    "WHERE c.id = ?1",
	    "i", ranked->chunk));
	TRY(sqlite_step(db, query, &row));
	if (!row) /* never: the index shows this very snapshot */
		return err_set(ERR_INTERNAL, "chunk %lld is gone",
		    (long long)ranked->chunk);
	*hit = (struct search_hit){
		.version = sqlite3_column_int64(query, 1),
		.number = sqlite3_column_int64(query, 2),
		.score = ranked->score,
		.lexical = ranked->lexical,
		.coverage = ranked->coverage,
		.title = sqlite_text(query, 3),
		.text = sqlite_text(query, 4),
		.heading = sqlite_text(query, 5),
		.metadata = sqlite_text(query, 6),
		.source_url = sqlite_text(query, 7),
		.start = sqlite3_column_int64(query, 8),
		.end = sqlite3_column_int64(query, 9),
	};
	str_copy(hit->source_id, sizeof(hit->source_id),
	    (const char *)sqlite3_column_text(query, 0));
	hits->count++;
	sqlite3_reset(query);
	return OK;
}

/* Words and vectors fused; words alone when no chunk has such a vector. */
static size_t
rank_both(const struct search_index *index, const struct search_query *query,
    const bool *allowed, struct search_ranked *out)
{
	struct search_ranked *lexical = out + 2 * SEARCH_CANDIDATES;
	struct search_ranked *nearest = lexical + SEARCH_CANDIDATES;
	size_t lexical_count, nearest_count;

	nearest_count = search_index_nearest(index, query->vector,
	    query->dimensions, query->terms, query->count, allowed,
	    SEARCH_CANDIDATES, nearest);
	if (nearest_count == 0)
		return search_index_rank(index, query->terms, query->count,
		    allowed, (size_t)query->top_k, out);
	lexical_count = search_index_rank(index, query->terms, query->count,
	    allowed, SEARCH_CANDIDATES, lexical);
	return search_index_fuse(
	    index, lexical, lexical_count, nearest, nearest_count, out);
}

static enum err_code
find_ranked(sqlite3 *db, struct asking *asking)
{
	const struct search_index *index = asking->brand->index;
	const struct search_query *query = asking->query;
	size_t top_k = (size_t)query->top_k, found;
	struct search_ranked *ranked =
	    mem_alloc(4 * SEARCH_CANDIDATES * sizeof(*ranked));
	bool *allowed = NULL;
	enum err_code rc = OK;

	if (query->filter != NULL && json_object_size(query->filter) > 0)
		allowed = search_index_allow(index, passes, query->filter);
	if (query->vector != NULL && query->dimensions > 0)
		found = rank_both(index, query, allowed, ranked);
	else
		found = search_index_rank(
		    index, query->terms, query->count, allowed, top_k, ranked);
	asking->hits.items = mem_zero(top_k * sizeof(*asking->hits.items));
	for (size_t i = 0; i < found && i < top_k && rc == OK; i++)
		rc = read_hit(db, &ranked[i], &asking->hits);
	mem_free(ranked);
	mem_free(allowed);
	return rc;
}

static enum err_code
embedded_find(struct search *search, const struct search_query *query,
    struct search_hits *hits_out)
{
	struct asking asking = { .fn = find_ranked, .query = query };
	enum err_code rc =
	    ask((struct search_embedded *)search, query->brand, &asking);

	if (rc != OK)
		search_hits_done(&asking.hits);
	else
		*hits_out = asking.hits;
	return rc;
}

static enum err_code
weigh_terms(sqlite3 *db, struct asking *asking)
{
	(void)db;
	search_index_idf(
	    asking->brand->index, asking->terms, asking->count, asking->idf);
	return OK;
}

static enum err_code
embedded_idf(struct search *search, const char *brand, const char *const *terms,
    size_t count, double *idf_out)
{
	struct asking asking = { .fn = weigh_terms,
		.terms = terms,
		.count = count,
		.idf = idf_out };

	return ask((struct search_embedded *)search, brand, &asking);
}

/* ---- life ---- */

static void
embedded_close(struct search *search)
{
	struct search_embedded *embedded = (struct search_embedded *)search;

	search_sqlite__forget(embedded);
	pthread_mutex_destroy(&embedded->lock);
	mem_free(embedded);
}

static enum err_code
embedded_checkup(struct search *search, struct checkup *checkup)
{
	(void)search;
	str_copy(checkup->facts, sizeof(checkup->facts), "embedded");
	return OK;
}

static const struct search_ops embedded_ops = {
	.name = "sqlite",
	.put = embedded_put,
	.drop = embedded_drop,
	.find = embedded_find,
	.idf = embedded_idf,
	.checkup = embedded_checkup,
	.close = embedded_close,
};

/* Sources that went away before this process: no index has ever seen them. */
static enum err_code
forget_gone(sqlite3 *db, void *arg)
{
	(void)arg;
	return sqlite_run(
	    db, NULL, "DELETE FROM search_live WHERE version = 0", "");
}

enum err_code
search_sqlite_open(struct sqlite *db, struct search **search_out)
{
	struct search_embedded *embedded;

	TRY(sqlite_write(db, forget_gone, NULL));
	embedded = mem_zero(sizeof(*embedded));
	embedded->base.ops = &embedded_ops;
	embedded->db = db;
	embedded->bytes_max = BYTES_MAX;
	pthread_mutex_init(&embedded->lock, NULL);
	*search_out = &embedded->base;
	return OK;
}
