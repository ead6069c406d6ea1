/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Embedded search: postings from FTS5, the score from us. FTS5's own ranking
 * clamps idf and counts all brands; so for each query term the postings of the
 * brand's live chunks are read (fts5vocab), and Lucene's BM25 is added up here.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "search/search_backend.h"
#include "sqlite/sqlite.h"
#include "text/text.h"

struct embedded {
	struct search base;
	struct sqlite *db;
};

/* FTS5's ascii tokenizer keeps letters, digits and bytes above 127; other
 * bytes of a token are written as "z" and two hex digits after a "zz". */
static void
add_word(struct buf *out, const char *term)
{
	for (; *term != '\0'; term++) {
		unsigned char c = (unsigned char)*term;

		if (c > 127 || (c >= '0' && c <= '9') ||
		    (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
			buf_addc(out, (char)c);
		else
			buf_addf(out, "zz%02x", c);
	}
}

/* ---- putting ---- */

struct words {
	struct buf text;
	int64_t count;
};

static bool
collect_word(void *arg, const struct text_token *token)
{
	struct words *words = arg;

	add_word(&words->text, token->text);
	buf_addc(&words->text, ' ');
	words->count++;
	return true;
}

struct row {
	const struct chunk *chunk;
	struct words words;
};

struct putting {
	const char *brand, *source_id, *title;
	int64_t version;
	struct row *rows;
	size_t count;
};

static enum err_code
remove_chunk(sqlite3 *db, const struct putting *put, int64_t number)
{
	sqlite3_stmt *find;
	bool found;
	int64_t id, length;

	TRY(sqlite_query(db, &find,
	    "SELECT id, length FROM chunks WHERE source_id = ?1 AND "
	    "version = ?2 AND number = ?3 AND brand_id = ?4",
	    "tiit", put->source_id, put->version, number, put->brand));
	TRY(sqlite_step(db, find, &found));
	if (!found)
		return OK;
	id = sqlite3_column_int64(find, 0);
	length = sqlite3_column_int64(find, 1);
	sqlite3_reset(find);
	TRY(sqlite_run(
	    db, NULL, "DELETE FROM chunk_words WHERE rowid = ?1", "i", id));
	TRY(sqlite_run(db, NULL, "DELETE FROM chunks WHERE id = ?1", "i", id));
	return sqlite_run(db, NULL,
	    "UPDATE chunk_weights SET chunks = chunks - 1, "
	    "tokens = tokens - ?1 WHERE brand_id = ?2 AND source_id = ?3 "
	    "AND version = ?4",
	    "itti", length, put->brand, put->source_id, put->version);
}

static enum err_code
insert_chunk(sqlite3 *db, const struct putting *put, const struct row *row)
{
	const struct chunk *chunk = row->chunk;
	char *text = mem_strndup(chunk->text, chunk->len);
	enum err_code rc;

	rc = sqlite_run(db, NULL,
	    "INSERT INTO chunks (brand_id, source_id, version, number, length, "
	    "start_at, end_at, title, heading, text, metadata) "
	    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
	    "ttiiiiitttt", put->brand, put->source_id, put->version,
	    chunk->number, row->words.count, chunk->start, chunk->end,
	    put->title, chunk->heading ? chunk->heading : "", text,
	    chunk->metadata);
	mem_free(text);
	if (rc == OK)
		rc = sqlite_run(db, NULL,
		    "INSERT INTO chunk_words (rowid, words) VALUES (?1, ?2)",
		    "it", (int64_t)sqlite3_last_insert_rowid(db),
		    buf_str(&row->words.text));
	if (rc != OK)
		return rc;
	return sqlite_run(db, NULL,
	    "INSERT INTO chunk_weights (brand_id, source_id, version, chunks, "
	    "tokens) VALUES (?1, ?2, ?3, 1, ?4) ON CONFLICT DO UPDATE SET "
	    "chunks = chunks + 1, tokens = tokens + excluded.tokens",
	    "ttii", put->brand, put->source_id, put->version, row->words.count);
}

static enum err_code
put_rows(sqlite3 *db, void *arg)
{
	const struct putting *put = arg;

	for (size_t i = 0; i < put->count; i++) {
		TRY(remove_chunk(db, put, put->rows[i].chunk->number));
		TRY(insert_chunk(db, put, &put->rows[i]));
	}
	return OK;
}

static enum err_code
embedded_put(struct search *search, const char *brand, const char *source_id,
    int64_t version, const char *title, const struct chunk *chunks,
    size_t count)
{
	struct embedded *embedded = (struct embedded *)search;
	struct putting put = { brand, source_id, title ? title : "", version,
		NULL, count };
	enum err_code rc;

	/* Tokens are made here, off the writer thread. */
	put.rows = mem_zero(count * sizeof(*put.rows));
	for (size_t i = 0; i < count; i++) {
		struct row *row = &put.rows[i];
		const char *heading =
		    chunks[i].heading ? chunks[i].heading : "";

		row->chunk = &chunks[i];
		/* The title counts twice: a chunk in the middle of a document
		 * says little of what the document is about. */
		text_tokens(
		    put.title, strlen(put.title), collect_word, &row->words);
		text_tokens(
		    put.title, strlen(put.title), collect_word, &row->words);
		text_tokens(
		    heading, strlen(heading), collect_word, &row->words);
		text_tokens(
		    chunks[i].text, chunks[i].len, collect_word, &row->words);
	}
	rc = sqlite_write(embedded->db, put_rows, &put);
	for (size_t i = 0; i < count; i++)
		buf_done(&put.rows[i].words.text);
	mem_free(put.rows);
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
	    "DELETE FROM chunk_words WHERE rowid IN (SELECT id FROM chunks "
	    "WHERE source_id = ?1 AND version <> ?2 AND brand_id = ?3)",
	    "tit", drop->source_id, drop->keep, drop->brand));
	TRY(sqlite_run(db, NULL,
	    "DELETE FROM chunks WHERE source_id = ?1 AND version <> ?2 AND "
	    "brand_id = ?3",
	    "tit", drop->source_id, drop->keep, drop->brand));
	return sqlite_run(db, NULL,
	    "DELETE FROM chunk_weights WHERE source_id = ?1 AND "
	    "version <> ?2 AND brand_id = ?3",
	    "tit", drop->source_id, drop->keep, drop->brand);
}

static enum err_code
embedded_drop(struct search *search, const char *brand, const char *source_id,
    int64_t keep)
{
	struct embedded *embedded = (struct embedded *)search;
	struct dropping drop = { brand, source_id, keep };

	return sqlite_write(embedded->db, drop_rows, &drop);
}

/* ---- finding ---- */

struct posting {
	int64_t chunk;
	double frequency;
};

struct scored {
	int64_t chunk;
	double length; /* tokens; negative = not live, or another brand's */
	double score, coverage;
};

struct finding {
	const struct search_query *query;
	const char *brand;
	struct search_hits *hits;
	double total, mean; /* live chunks of the brand */
	/* Open addressing by chunk id. */
	struct scored *table;
	size_t used, cap;
	/* Of the term at hand. */
	struct posting *postings;
	size_t posting_count, posting_cap;
};

static enum err_code
weigh(sqlite3 *db, const char *brand, double *total_out, double *mean_out)
{
	sqlite3_stmt *query;
	double chunks, tokens;
	bool row;

	TRY(sqlite_query(db, &query,
	    "SELECT coalesce(sum(w.chunks), 0), coalesce(sum(w.tokens), 0) "
	    "FROM chunk_weights w CROSS JOIN knowledge_sources s "
	    "ON s.id = w.source_id AND s.live_version = w.version "
	    "WHERE w.brand_id = ?1",
	    "t", brand));
	TRY(sqlite_step(db, query, &row));
	chunks = sqlite3_column_double(query, 0);
	tokens = sqlite3_column_double(query, 1);
	sqlite3_reset(query);
	*total_out = chunks;
	*mean_out = chunks > 0 ? tokens / chunks : 0;
	return OK;
}

static struct scored *
place(struct finding *find, int64_t chunk)
{
	size_t mask = find->cap - 1;
	size_t i = (size_t)((uint64_t)chunk * 0x9e3779b97f4a7c15u >> 20) & mask;

	while (find->table[i].chunk != 0 && find->table[i].chunk != chunk)
		i = (i + 1) & mask;
	return &find->table[i];
}

static void
grow(struct finding *find)
{
	struct scored *old = find->table;
	size_t cap = find->cap;

	find->cap = cap == 0 ? 1024 : cap * 2;
	find->table = mem_zero(find->cap * sizeof(*find->table));
	for (size_t i = 0; i < cap; i++)
		if (old[i].chunk != 0)
			*place(find, old[i].chunk) = old[i];
	mem_free(old);
}

/* Each chunk is looked up once for a query, whatever terms it shares. */
static enum err_code
look_up(sqlite3 *db, const char *brand, struct scored *at)
{
	sqlite3_stmt *query;
	bool row;

	at->length = -1;
	TRY(sqlite_query(db, &query,
	    "SELECT c.length FROM chunks c CROSS JOIN knowledge_sources s "
	    "ON s.id = c.source_id AND s.live_version = c.version "
	    "WHERE c.id = ?1 AND c.brand_id = ?2 AND s.brand_id = ?2",
	    "it", at->chunk, brand));
	TRY(sqlite_step(db, query, &row));
	if (row)
		at->length = sqlite3_column_double(query, 0);
	sqlite3_reset(query);
	return OK;
}

static enum err_code
add_posting(sqlite3 *db, struct finding *find, int64_t chunk, double frequency)
{
	struct scored *at;

	if (find->used * 2 >= find->cap)
		grow(find);
	at = place(find, chunk);
	if (at->chunk == 0) {
		at->chunk = chunk;
		find->used++;
		TRY(look_up(db, find->brand, at));
	}
	if (at->length < 0)
		return OK;
	if (find->posting_count == find->posting_cap) {
		find->posting_cap = find->posting_cap * 2 + 64;
		find->postings = mem_resize(find->postings,
		    find->posting_cap * sizeof(*find->postings));
	}
	find->postings[find->posting_count++] =
	    (struct posting){ chunk, frequency };
	return OK;
}

/* The postings of one term among the brand's live chunks. FTS5 gives one row
 * for each place, those of a chunk behind each other. */
static enum err_code
read_postings(sqlite3 *db, struct finding *find, const char *term)
{
	int64_t chunk = 0, next;
	double frequency = 0;
	sqlite3_stmt *query;
	struct buf word;
	enum err_code rc;
	bool row = true;

	find->posting_count = 0;
	buf_init(&word, 0);
	add_word(&word, term);
	rc = sqlite_query(db, &query,
	    "SELECT doc FROM chunk_terms WHERE term = ?1", "t", buf_str(&word));
	while (rc == OK && row) {
		rc = sqlite_step(db, query, &row);
		next = rc == OK && row ? sqlite3_column_int64(query, 0) : 0;
		if (next != chunk) {
			if (rc == OK && chunk != 0)
				rc = add_posting(db, find, chunk, frequency);
			chunk = next;
			frequency = 0;
		}
		frequency++;
	}
	sqlite3_reset(query);
	buf_done(&word);
	return rc;
}

static enum err_code
add_term(sqlite3 *db, struct finding *find, const char *term, double *idf_out)
{
	double idf;

	TRY(read_postings(db, find, term));
	idf = search_lucene_idf(find->total, (double)find->posting_count);
	for (size_t i = 0; i < find->posting_count; i++) {
		struct scored *at = place(find, find->postings[i].chunk);

		at->score += idf * search_lucene_tf(find->postings[i].frequency,
				       at->length, find->mean);
		at->coverage += idf;
	}
	*idf_out = idf;
	return OK;
}

/* Best first; ties by id, so that the order is the same each time. */
static int
by_score(const void *a, const void *b)
{
	const struct scored *x = a, *y = b;

	if (x->score != y->score)
		return x->score < y->score ? 1 : -1;
	return (x->chunk > y->chunk) - (x->chunk < y->chunk);
}

static bool
passes(const json_t *filter, const char *metadata)
{
	json_auto json_t *object = NULL;
	const char *key;
	json_t *wanted;

	if (filter == NULL || json_object_size(filter) == 0)
		return true;
	if (metadata == NULL ||
	    json_parse(metadata, strlen(metadata), &object) != OK)
		return false;
	json_object_foreach ((json_t *)(uintptr_t)filter, key, wanted)
		if (!json_equal(json_object_get(object, key), wanted))
			return false;
	return true;
}

static enum err_code
read_hit(sqlite3 *db, const struct scored *scored, const json_t *filter,
    struct search_hit *hit, bool *passed_out)
{
	sqlite3_stmt *query;
	char *metadata;
	bool row;

	*passed_out = false;
	TRY(sqlite_query(db, &query,
	    "SELECT c.source_id, c.version, c.number, c.title, c.text, "
	    "c.heading, coalesce(c.metadata, s.metadata), s.source_url, "
	    "c.start_at, c.end_at FROM chunks c JOIN knowledge_sources s "
	    "ON s.id = c.source_id WHERE c.id = ?1",
	    "i", scored->chunk));
	TRY(sqlite_step(db, query, &row));
	if (!row)
		return OK;
	metadata = sqlite_text(query, 6);
	if (!passes(filter, metadata)) {
		mem_free(metadata);
		sqlite3_reset(query);
		return OK;
	}
	*hit = (struct search_hit){
		.version = sqlite3_column_int64(query, 1),
		.number = sqlite3_column_int64(query, 2),
		.score = scored->score,
		.coverage = scored->coverage,
		.title = sqlite_text(query, 3),
		.text = sqlite_text(query, 4),
		.heading = sqlite_text(query, 5),
		.metadata = metadata,
		.source_url = sqlite_text(query, 7),
		.start = sqlite3_column_int64(query, 8),
		.end = sqlite3_column_int64(query, 9),
	};
	str_copy(hit->source_id, sizeof(hit->source_id),
	    (const char *)sqlite3_column_text(query, 0));
	sqlite3_reset(query);
	*passed_out = true;
	return OK;
}

static enum err_code
read_hits(sqlite3 *db, struct finding *find, double all_idf)
{
	struct search_hits *hits = find->hits;
	size_t n = 0;

	for (size_t i = 0; i < find->cap; i++)
		if (find->table[i].chunk != 0 && find->table[i].length >= 0)
			find->table[n++] = find->table[i];
	if (n > 0)
		qsort(find->table, n, sizeof(*find->table), by_score);
	hits->items =
	    mem_zero((size_t)find->query->top_k * sizeof(*hits->items));
	for (size_t i = 0; i < n && hits->count < (size_t)find->query->top_k;
	     i++) {
		bool passed;

		find->table[i].coverage /= all_idf > 0 ? all_idf : 1;
		TRY(read_hit(db, &find->table[i], find->query->filter,
		    &hits->items[hits->count], &passed));
		hits->count += passed;
	}
	return OK;
}

static enum err_code
find_rows(sqlite3 *db, void *arg)
{
	struct finding *find = arg;
	double all_idf = 0, idf;

	TRY(weigh(db, find->brand, &find->total, &find->mean));
	for (size_t i = 0; i < find->query->count; i++) {
		TRY(add_term(db, find, find->query->terms[i], &idf));
		all_idf += idf;
	}
	return read_hits(db, find, all_idf);
}

static enum err_code
embedded_find(struct search *search, const struct search_query *query,
    struct search_hits *hits_out)
{
	struct embedded *embedded = (struct embedded *)search;
	struct search_hits hits = { 0 };
	struct finding find = {
		.query = query, .brand = query->brand, .hits = &hits
	};
	enum err_code rc = sqlite_read(embedded->db, find_rows, &find);

	mem_free(find.table);
	mem_free(find.postings);
	if (rc != OK)
		search_hits_done(&hits);
	else
		*hits_out = hits;
	return rc;
}

struct weighing {
	const char *brand;
	const char *const *terms;
	size_t count;
	double *idf;
};

static enum err_code
weigh_terms(sqlite3 *db, void *arg)
{
	struct weighing *weighing = arg;
	struct finding find = { .brand = weighing->brand };
	enum err_code rc;

	rc = weigh(db, find.brand, &find.total, &find.mean);
	for (size_t i = 0; i < weighing->count && rc == OK; i++)
		rc = add_term(db, &find, weighing->terms[i], &weighing->idf[i]);
	mem_free(find.table);
	mem_free(find.postings);
	return rc;
}

static enum err_code
embedded_idf(struct search *search, const char *brand, const char *const *terms,
    size_t count, double *idf_out)
{
	struct embedded *embedded = (struct embedded *)search;
	struct weighing weighing = { brand, terms, count, idf_out };

	return sqlite_read(embedded->db, weigh_terms, &weighing);
}

static void
embedded_close(struct search *search)
{
	mem_free(search);
}

static const struct search_ops embedded_ops = {
	.name = "sqlite",
	.put = embedded_put,
	.drop = embedded_drop,
	.find = embedded_find,
	.idf = embedded_idf,
	.close = embedded_close,
};

enum err_code
search_sqlite_open(struct sqlite *db, struct search **search_out)
{
	struct embedded *embedded = mem_zero(sizeof(*embedded));

	embedded->base.ops = &embedded_ops;
	embedded->db = db;
	*search_out = &embedded->base;
	return OK;
}
