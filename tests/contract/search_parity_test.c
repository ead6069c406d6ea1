/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A laptop and a cluster rank alike: documents of two public collections, in
 * English and in Persian, are put into the embedded search and into Qdrant's
 * double, and the best ten of many questions, by words and by words and
 * vectors, must be the same chunks with the same scores. Skipped by name
 * without the data.
 */
#include "fiber_group.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "domain/live.h"
#include "qdrant_server.h"
#include "search/search.h"
#include "shared_data.h"
#include "sqlite/sqlite.h"
#include "store/store.h"
#include "text/text.h"

/* XIN_PARITY=N asks for N documents and N / 4 questions instead. */
#define DOCUMENTS        400
#define QUESTIONS        100
#define CHUNK_CHARACTERS 600
#define TOP_K            10
#define DIMENSIONS       32

static struct qdrant_server *qdrant;
static char *folder;
static struct sqlite *db;
static struct store *store;
static struct search *embedded, *remote;

struct row {
	const char *brand, *id, *title;
};

static enum err_code
insert_source(sqlite3 *at, void *arg)
{
	const struct row *row = arg;

	return sqlite_run(at, NULL,
	    "INSERT INTO knowledge_sources(id, brand_id, title, content_type,"
	    " metadata, sha256, object_key, version, live_version, created_at,"
	    " updated_at) VALUES (?1, ?2, ?3, 'text/plain', '{}', ?1, '', 1, 1,"
	    " 0, 0)",
	    "ttt", row->id, row->brand, row->title);
}

struct embedding {
	float at[DIMENSIONS];
};

static bool
embed_word(void *arg, const struct text_token *token)
{
	struct embedding *embedding = arg;
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < token->len; i++)
		hash = (hash ^ (unsigned char)token->text[i]) * 16777619u;
	for (size_t i = 0; i < 4; i++) {
		hash = hash * 1664525u + 1013904223u;
		embedding->at[hash >> 27] += (float)(hash & 0xffff) - 32768;
	}
	return true;
}

/* Of a poor model: like texts are near, by chance. */
static const float *
embed_text(const char *text, size_t len, struct embedding *embedding)
{
	*embedding = (struct embedding){ { 1 } };
	text_tokens(text, len, embed_word, embedding);
	return embedding->at;
}

static void
put_document(const char *brand, int number, const json_t *document)
{
	const char *text = json_str(document, "text");
	struct chunk chunks[64];
	struct embedding embeddings[64];
	size_t count = 0, at = 0, len = strlen(text);
	char id[IDENT_SIZE];
	struct row row = { brand, id, json_str(document, "title") };

	snprintf(id, sizeof(id), "kn_%.8s_%06d", brand, number);
	while (at < len && count < 64) {
		size_t n = text_offset(text + at, len - at, CHUNK_CHARACTERS);

		chunks[count] = (struct chunk){ .number = (int64_t)count,
			.text = text + at,
			.len = n,
			.start = (int64_t)at,
			.end = (int64_t)(at + n),
			.heading = count == 1 ? "A heading" : "",
			.vector = embed_text(text + at, n, &embeddings[count]),
			.dimensions = DIMENSIONS };
		count++;
		at += n;
	}
	assert_int_equal(sqlite_write(db, insert_source, &row), OK);
	assert_int_equal(
	    search_put(embedded, brand, id, 1, row.title, chunks, count), OK);
	assert_int_equal(
	    search_put(remote, brand, id, 1, row.title, chunks, count), OK);
}

/* Calls `each` with the lines of a JSON-lines file, at most `most`. */
static void
each_line(const char *name, int most, const char *brand,
    void (*each)(const char *brand, int number, const json_t *line))
{
	char path[512];
	struct buf file;
	int number = 0;

	shared_data_path(name, path, sizeof(path));
	if (!shared_data_read(path, &file)) {
		print_message("SKIPPED: %s is not there\n", path);
		skip();
	}
	for (char *at = file.data, *end; at != NULL && number < most;
	     at = end) {
		size_t n = strcspn(at, "\n");
		json_t *line;

		end = at[n] == '\n' && at[n + 1] != '\0' ? at + n + 1 : NULL;
		assert_int_equal(json_parse(at, n, &line), OK);
		each(brand, number++, line);
		json_decref(line);
	}
	buf_done(&file);
}

static void
compare(const char *question, const struct search_hits *a,
    const struct search_hits *b)
{
	if (a->count != b->count)
		fail_msg("%s: %zu and %zu hits", question, a->count, b->count);
	for (size_t i = 0; i < a->count; i++) {
		const struct search_hit *x = &a->items[i], *y = &b->items[i];

		if (strcmp(x->source_id, y->source_id) != 0 ||
		    x->number != y->number ||
		    fabs(x->score - y->score) > 1e-9 ||
		    fabs(x->lexical - y->lexical) > 1e-9 ||
		    fabs(x->coverage - y->coverage) > 1e-9)
			fail_msg("%s: hit %zu is %s/%lld %.12f (%.12f), and "
				 "%s/%lld %.12f (%.12f)",
			    question, i, x->source_id, (long long)x->number,
			    x->score, x->coverage, y->source_id,
			    (long long)y->number, y->score, y->coverage);
		assert_string_equal(x->text, y->text);
		assert_string_equal(x->title, y->title);
		assert_string_equal(x->heading, y->heading);
		assert_int_equal(x->start, y->start);
		assert_int_equal(x->end, y->end);
	}
}

static void
ask_both(const char *brand, int number, const json_t *question)
{
	const char *text = json_str(question, "text");
	struct search_ask ask = { .brand = brand,
		.query = text,
		.query_len = strlen(text),
		.top_k = TOP_K };
	struct search_hits a, b;
	struct embedding embedding;

	(void)number;
	for (int with_vector = 0; with_vector < 2; with_vector++) {
		if (with_vector)
			ask.vector = embed_text(text, strlen(text), &embedding);
		ask.dimensions = with_vector ? DIMENSIONS : 0;
		assert_int_equal(search_find(embedded, &ask, &a), OK);
		assert_int_equal(search_find(remote, &ask, &b), OK);
		compare(text, &a, &b);
		search_hits_done(&a);
		search_hits_done(&b);
	}
}

static int
wanted(int usual, int share)
{
	const char *given = getenv("XIN_PARITY");

	return given != NULL ? atoi(given) / share : usual;
}

static void
compare_on(const char *brand, const char *set)
{
	const char *kind = "POST /points/query/batch";
	int before = qdrant_server_count(qdrant, kind);
	char name[128];

	snprintf(name, sizeof(name), "retrieval/%s/corpus.jsonl", set);
	each_line(name, wanted(DOCUMENTS, 1), brand, put_document);
	snprintf(name, sizeof(name), "retrieval/%s/queries.jsonl", set);
	each_line(name, wanted(QUESTIONS, 4), brand, ask_both);
	print_message("%s: %d searches for %d questions\n", set,
	    qdrant_server_count(qdrant, kind) - before, wanted(QUESTIONS, 4));
}

static void
english_ranks_alike(void **state)
{
	(void)state;
	compare_on("english", "scifact");
}

static void
persian_ranks_alike(void **state)
{
	(void)state;
	compare_on("persian", "pquad_validation");
}

static int
set_up(void **state)
{
	char *path;

	(void)state;
	folder = test_folder_new();
	path = mem_printf("%s/xin.db", folder);
	assert_int_equal(sqlite_open(path, &db), OK);
	mem_free(path);
	assert_int_equal(store_open("sqlite:", db, &store), OK);
	assert_int_equal(search_open("sqlite:", db, &embedded), OK);
	assert_int_equal(
	    search_open(qdrant_server_url(qdrant), NULL, &remote), OK);
	live_wire(remote, store);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	search_close(remote);
	search_close(embedded);
	store_close(store);
	sqlite_close(db);
	test_folder_remove(folder);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest search_parity[] = {
		cmocka_unit_test(english_ranks_alike),
		cmocka_unit_test(persian_ranks_alike),
	};
	int failed;

	qdrant = qdrant_server_start(0, NULL);
	if (qdrant == NULL) {
		print_message("SKIPPED: Qdrant's double needs python3\n");
		return 0;
	}
	failed = fiber_group(search_parity, set_up, tear_down);
	qdrant_server_stop(qdrant);
	return failed;
}
