/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of search: the same tests over every back end. A new back end
 * adds a line to `backends`: how to open it, and how a version of a source
 * becomes the one that searches see (`make_live`), which is the store's word
 * and not the index's.
 */
#include "fiber_group.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "qdrant_server.h"
#include "search/search.h"
#include "sqlite/sqlite.h"

struct source {
	char brand[16], id[IDENT_SIZE];
	int64_t live;
};

struct house {
	char *folder;
	struct sqlite *db;
	struct search *search;
	/* What a store would know, for back ends that ask (search_live). */
	pthread_mutex_t lock;
	struct source sources[64];
	size_t source_count;
};

struct backend {
	const char *name;
	void (*open)(struct house *house);
	void (*close)(struct house *house);
	/* `version` of the source is live from now on (0: none, the row stays;
	 * -1: the source is deleted). The source's URL is
	 * "https://example.org/<id>", its metadata {"kind":"manual"}. */
	void (*make_live)(struct house *house, const char *brand,
	    const char *source_id, int64_t version);
};

static const struct backend *backend;

/* ---- embedded ---- */

struct row {
	const char *brand, *id;
	int64_t version;
};

static enum err_code
write_row(sqlite3 *db, void *arg)
{
	const struct row *row = arg;

	if (row->version < 0)
		return sqlite_run(db, NULL,
		    "DELETE FROM knowledge_sources WHERE id = ?1", "t",
		    row->id);
	return sqlite_run(db, NULL,
	    "INSERT INTO knowledge_sources(id, brand_id, title, content_type,"
	    " metadata, source_url, sha256, object_key, live_version,"
	    " created_at, updated_at) VALUES (?1, ?2, '', 'text/plain',"
	    " '{\"kind\":\"manual\"}', 'https://example.org/' || ?1, ?1, '',"
	    " ?3, 0, 0)"
	    " ON CONFLICT (id) DO UPDATE SET live_version = ?3",
	    "tti", row->id, row->brand, row->version);
}

static void
embedded_live(struct house *house, const char *brand, const char *source_id,
    int64_t version)
{
	struct row row = { brand, source_id, version };

	assert_int_equal(sqlite_write(house->db, write_row, &row), OK);
}

static void
embedded_open(struct house *house)
{
	char *path = mem_printf("%s/xin.db", house->folder);

	assert_int_equal(sqlite_open(path, &house->db), OK);
	assert_int_equal(search_open("sqlite:", house->db, &house->search), OK);
	mem_free(path);
}

static void
embedded_close(struct house *house)
{
	search_close(house->search);
	sqlite_close(house->db);
}

/* ---- Qdrant ---- */

static struct qdrant_server *qdrant;

static struct source *
source_of(struct house *house, const char *brand, const char *id)
{
	for (size_t i = 0; i < house->source_count; i++)
		if (strcmp(house->sources[i].brand, brand) == 0 &&
		    strcmp(house->sources[i].id, id) == 0)
			return &house->sources[i];
	return NULL;
}

static void
qdrant_live(struct house *house, const char *brand, const char *source_id,
    int64_t version)
{
	struct source *source;

	pthread_mutex_lock(&house->lock);
	source = source_of(house, brand, source_id);
	if (source == NULL) {
		source = &house->sources[house->source_count++];
		str_copy(source->brand, sizeof(source->brand), brand);
		str_copy(source->id, sizeof(source->id), source_id);
	}
	source->live = version > 0 ? version : 0;
	pthread_mutex_unlock(&house->lock);
}

static enum err_code
tell_versions(void *arg, const char *brand, const char *const *ids,
    size_t count, int64_t *versions_out)
{
	struct house *house = arg;

	pthread_mutex_lock(&house->lock);
	for (size_t i = 0; i < count; i++) {
		const struct source *source = source_of(house, brand, ids[i]);

		versions_out[i] = source != NULL ? source->live : 0;
	}
	pthread_mutex_unlock(&house->lock);
	return OK;
}

static enum err_code
tell_source(void *arg, const char *brand, const char *id, char **metadata_out,
    char **source_url_out)
{
	(void)arg;
	(void)brand;
	*metadata_out = mem_strdup("{\"kind\":\"manual\"}");
	*source_url_out = mem_printf("https://example.org/%s", id);
	return OK;
}

static void
qdrant_open(struct house *house)
{
	qdrant_server_reset(qdrant);
	pthread_mutex_init(&house->lock, NULL);
	assert_int_equal(
	    search_open(qdrant_server_url(qdrant), NULL, &house->search), OK);
	search_set_live(house->search,
	    &(struct search_live){ house, tell_versions, tell_source });
}

static void
qdrant_close(struct house *house)
{
	search_close(house->search);
	pthread_mutex_destroy(&house->lock);
}

static const struct backend backends[] = {
	{ "embedded", embedded_open, embedded_close, embedded_live },
	{ "qdrant", qdrant_open, qdrant_close, qdrant_live },
};

/* ---- helpers ---- */

static int
set_up(void **state)
{
	struct house *house = mem_zero(sizeof(*house));

	house->folder = test_folder_new();
	backend->open(house);
	*state = house;
	return 0;
}

static int
tear_down(void **state)
{
	struct house *house = *state;

	backend->close(house);
	test_folder_remove(house->folder);
	mem_free(house);
	return 0;
}

static void
put_titled(struct house *house, const char *brand, const char *source_id,
    int64_t version, const char *title, const char *const *texts)
{
	struct chunk chunks[64];
	size_t count = 0;

	for (; texts[count] != NULL; count++)
		chunks[count] = (struct chunk){
			.number = (int64_t)count,
			.text = texts[count],
			.len = strlen(texts[count]),
			.heading = "",
		};
	assert_int_equal(search_put(house->search, brand, source_id, version,
			     title, chunks, count),
	    OK);
}

#define TEXTS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define put(house, brand, source_id, version, ...)                             \
	put_titled(house, brand, source_id, version, "", TEXTS(__VA_ARGS__))
#define put_live(house, brand, source_id, ...)                                 \
	(put(house, brand, source_id, 1, __VA_ARGS__),                         \
	    backend->make_live(house, brand, source_id, 1))

static void
find_filtered(struct house *house, const char *brand, const char *query,
    int top_k, const json_t *filter, struct search_hits *hits_out)
{
	struct search_ask ask = {
		.brand = brand,
		.query = query,
		.query_len = strlen(query),
		.top_k = top_k,
		.filter = filter,
	};

	assert_int_equal(search_find(house->search, &ask, hits_out), OK);
	for (size_t i = 1; i < hits_out->count; i++)
		assert_true(
		    hits_out->items[i - 1].score >= hits_out->items[i].score);
}

/* "kn_a/0 kn_b/3": the hits in their order. */
static void
expect(struct house *house, const char *brand, const char *query,
    const char *expected)
{
	struct search_hits hits;
	char got[1024] = "";
	size_t len = 0;

	find_filtered(house, brand, query, 8, NULL, &hits);
	for (size_t i = 0; i < hits.count; i++)
		len += (size_t)snprintf(got + len, sizeof(got) - len,
		    "%s%s/%lld", i == 0 ? "" : " ", hits.items[i].source_id,
		    (long long)hits.items[i].number);
	assert_string_equal(got, expected);
	search_hits_done(&hits);
}

static double
score_of(struct house *house, const char *brand, const char *query)
{
	struct search_hits hits;
	double score;

	find_filtered(house, brand, query, 1, NULL, &hits);
	assert_int_equal(hits.count, 1);
	score = hits.items[0].score;
	search_hits_done(&hits);
	return score;
}

static double
idf_of(struct house *house, const char *brand, const char *token)
{
	double idf = -1;

	assert_int_equal(search_idf(house->search, brand, &token, 1, &idf), OK);
	return idf;
}

static void
expect_close(double got, double expected)
{
	if (fabs(got - expected) > 1e-9)
		fail_msg("%.12f is not %.12f", got, expected);
}

/* ---- live versions ---- */

static void
a_version_is_seen_when_it_is_live_and_not_before(void **state)
{
	struct house *h = *state;

	put(h, "acme", "kn_a", 1, "alpha one", "alpha two");
	expect(h, "acme", "alpha", "");
	backend->make_live(h, "acme", "kn_a", 0);
	expect(h, "acme", "alpha", "");
	backend->make_live(h, "acme", "kn_a", 1);
	expect(h, "acme", "alpha", "kn_a/0 kn_a/1");
}

static void
a_new_version_replaces_the_old_one_at_the_switch(void **state)
{
	struct house *h = *state;

	put_live(h, "acme", "kn_a", "alpha one", "alpha two");
	put(h, "acme", "kn_a", 2, "alpha beta", "beta three", "beta four");
	expect(h, "acme", "beta", "");
	expect(h, "acme", "alpha", "kn_a/0 kn_a/1");
	backend->make_live(h, "acme", "kn_a", 2);
	expect(h, "acme", "beta", "kn_a/0 kn_a/1 kn_a/2");
	expect(h, "acme", "one", "");
	expect(h, "acme", "alpha", "kn_a/0");
	/* And back, as long as the old one was not dropped. */
	backend->make_live(h, "acme", "kn_a", 1);
	expect(h, "acme", "alpha", "kn_a/0 kn_a/1");
	expect(h, "acme", "beta", "");
}

static void
what_is_not_live_weighs_nothing(void **state)
{
	struct house *h = *state;
	double score, idf;

	put_live(h, "acme", "kn_a", "alpha beta", "gamma");
	score = score_of(h, "acme", "alpha");
	idf = idf_of(h, "acme", "alpha");
	put(h, "acme", "kn_a", 2, "alpha", "alpha delta epsilon zeta");
	put(h, "acme", "kn_b", 1, "alpha alpha", "alpha");
	expect_close(score_of(h, "acme", "alpha"), score);
	expect_close(idf_of(h, "acme", "alpha"), idf);
}

static void
a_deleted_source_is_not_seen(void **state)
{
	struct house *h = *state;

	put_live(h, "acme", "kn_a", "alpha one");
	put_live(h, "acme", "kn_b", "alpha two");
	backend->make_live(h, "acme", "kn_a", -1);
	expect(h, "acme", "alpha", "kn_b/0");
	expect_close(idf_of(h, "acme", "alpha"), log(1 + 0.5 / 1.5));
}

/* ---- brands ---- */

static void
a_brand_sees_its_own_chunks_only(void **state)
{
	struct house *h = *state;
	double score, idf;

	put_live(h, "acme", "kn_a", "alpha one", "beta");
	score = score_of(h, "acme", "alpha");
	idf = idf_of(h, "acme", "alpha");
	put_live(h, "other", "kn_b", "alpha one", "alpha two");
	expect(h, "acme", "alpha", "kn_a/0");
	expect(h, "other", "alpha", "kn_b/0 kn_b/1");
	expect(h, "nobody", "alpha", "");
	expect_close(score_of(h, "acme", "alpha"), score);
	expect_close(idf_of(h, "acme", "alpha"), idf);
}

static void
a_brand_drops_its_own_chunks_only(void **state)
{
	struct house *h = *state;

	put_live(h, "acme", "kn_a", "alpha one");
	assert_int_equal(search_drop(h->search, "other", "kn_a", 0), OK);
	expect(h, "acme", "alpha", "kn_a/0");
}

/* ---- scores ---- */

/* Lucene's BM25 by hand: four chunks, ten informative words and two more, so
 * that the mean length is 3. */
static void
put_tiny(struct house *h)
{
	put_live(h, "acme", "kn_a", "alpha beta", "alpha alpha gamma delta",
	    "gamma", "delta epsilon zeta eta theta");
}

static void
scores_are_those_of_lucene(void **state)
{
	struct house *h = *state;
	struct search_hits hits;
	double two_of_four = log(1 + 2.5 / 2.5);

	put_tiny(h);
	find_filtered(h, "acme", "alpha", 8, NULL, &hits);
	assert_int_equal(hits.count, 2);
	assert_int_equal(hits.items[0].number, 1);
	/* f 2, length 4/3 of the mean; f 1, length 2/3 of the mean. */
	expect_close(hits.items[0].score, two_of_four * 2 / 3.5);
	expect_close(hits.items[0].score, 0.396084103177);
	expect_close(hits.items[1].score, two_of_four * 1 / 1.9);
	search_hits_done(&hits);

	find_filtered(h, "acme", "delta alpha delta", 8, NULL, &hits);
	assert_int_equal(hits.count, 3);
	assert_int_equal(hits.items[0].number, 1);
	expect_close(
	    hits.items[0].score, two_of_four * 2 / 3.5 + two_of_four * 1 / 2.5);
	assert_int_equal(hits.items[1].number, 0);
	assert_int_equal(hits.items[2].number, 3);
	expect_close(hits.items[2].score, two_of_four * 1 / 2.8);
	search_hits_done(&hits);
}

static void
a_title_counts_twice_and_a_heading_once(void **state)
{
	struct house *h = *state;
	struct chunk chunk = {
		.text = "plum", .len = 4, .heading = "Lemon > Mango"
	};
	double idf = log(1 + 0.5 / 1.5);

	assert_int_equal(
	    search_put(h->search, "acme", "kn_a", 1, "Kiwi", &chunk, 1), OK);
	backend->make_live(h, "acme", "kn_a", 1);
	/* One chunk: its length is the mean. */
	expect_close(score_of(h, "acme", "kiwi"), idf * 2 / (2 + 1.2));
	expect_close(score_of(h, "acme", "mango"), idf * 1 / (1 + 1.2));
	/* Three more words in the second chunk: lengths 5 and 3. */
	chunk = (struct chunk){ .number = 1, .text = "plum", .len = 4 };
	assert_int_equal(
	    search_put(h->search, "acme", "kn_a", 1, "Kiwi", &chunk, 1), OK);
	expect_close(score_of(h, "acme", "mango"),
	    log(1 + 1.5 / 1.5) * 1 / (1 + 1.2 * (0.25 + 0.75 * 5.0 / 4.0)));
}

static void
coverage_is_the_share_of_the_weight_that_was_found(void **state)
{
	struct house *h = *state;
	struct search_hits hits;
	double two_of_four = log(2), one = log(1 + 3.5 / 1.5), none = log(10);

	put_tiny(h);
	find_filtered(h, "acme", "alpha gamma nowhere", 8, NULL, &hits);
	assert_int_equal(hits.count, 3);
	assert_int_equal(hits.items[0].number, 1);
	expect_close(
	    hits.items[0].coverage, 2 * two_of_four / (2 * two_of_four + none));
	expect_close(
	    hits.items[1].coverage, two_of_four / (2 * two_of_four + none));
	search_hits_done(&hits);
	find_filtered(h, "acme", "the epsilon", 8, NULL, &hits);
	assert_int_equal(hits.count, 1);
	expect_close(hits.items[0].coverage, 1);
	expect_close(hits.items[0].score, one / 2.8);
	search_hits_done(&hits);
}

static void
idf_is_that_of_the_live_chunks(void **state)
{
	struct house *h = *state;
	const char *tokens[] = { "alpha", "epsilon", "nowhere", "alpha" };
	double idf[4];

	put_tiny(h);
	assert_int_equal(search_idf(h->search, "acme", tokens, 4, idf), OK);
	expect_close(idf[0], log(1 + 2.5 / 2.5));
	expect_close(idf[1], log(1 + 3.5 / 1.5));
	expect_close(idf[2], log(1 + 4.5 / 0.5));
	expect_close(idf[3], idf[0]);
	assert_int_equal(search_idf(h->search, "nobody", tokens, 1, idf), OK);
	expect_close(idf[0], log(1 + 0.5 / 0.5));
	assert_int_equal(search_idf(h->search, "acme", tokens, 0, idf), OK);
}

static void
equal_scores_stand_by_source_and_number(void **state)
{
	struct house *h = *state;

	for (int i = 0; i < 3; i++) {
		put_live(h, "acme", "kn_a", "alpha", "alpha", "alpha");
		put_live(h, "acme", "kn_b", "alpha", "alpha", "alpha");
		put_live(h, "acme", "kn_c", "alpha", "alpha", "alpha");
		expect(h, "acme", "alpha",
		    "kn_a/0 kn_a/1 kn_a/2 kn_b/0 kn_b/1 kn_b/2 kn_c/0 kn_c/1");
	}
}

/* ---- putting and dropping ---- */

static void
putting_twice_is_putting_once(void **state)
{
	struct house *h = *state;
	double score;

	put_tiny(h);
	score = score_of(h, "acme", "alpha");
	put_tiny(h);
	expect_close(score_of(h, "acme", "alpha"), score);
	expect(h, "acme", "alpha", "kn_a/1 kn_a/0");
	expect_close(idf_of(h, "acme", "alpha"), log(2));
}

static void
a_chunk_put_again_has_its_new_words_only(void **state)
{
	struct house *h = *state;
	struct search_hits hits;

	put_live(h, "acme", "kn_a", "alpha one", "alpha two");
	put(h, "acme", "kn_a", 1, "beta one two");
	expect(h, "acme", "alpha", "kn_a/1");
	find_filtered(h, "acme", "beta", 8, NULL, &hits);
	assert_int_equal(hits.count, 1);
	assert_string_equal(hits.items[0].text, "beta one two");
	search_hits_done(&hits);
}

static void
batches_of_a_version_add_up(void **state)
{
	struct house *h = *state;
	struct chunk chunk = { .text = "alpha", .len = 5 };

	for (int64_t i = 0; i < 5; i++) {
		chunk.number = 4 - i;
		assert_int_equal(
		    search_put(h->search, "acme", "kn_a", 1, "", &chunk, 1),
		    OK);
	}
	backend->make_live(h, "acme", "kn_a", 1);
	expect(h, "acme", "alpha", "kn_a/0 kn_a/1 kn_a/2 kn_a/3 kn_a/4");
}

static void
dropping_keeps_one_version_or_none(void **state)
{
	struct house *h = *state;

	put(h, "acme", "kn_a", 1, "alpha one");
	put(h, "acme", "kn_a", 2, "alpha two");
	put(h, "acme", "kn_a", 3, "alpha three");
	backend->make_live(h, "acme", "kn_a", 2);
	assert_int_equal(search_drop(h->search, "acme", "kn_a", 2), OK);
	assert_int_equal(search_drop(h->search, "acme", "kn_a", 2), OK);
	expect(h, "acme", "alpha", "kn_a/0");
	backend->make_live(h, "acme", "kn_a", 3);
	expect(h, "acme", "alpha", "");
	backend->make_live(h, "acme", "kn_a", 2);
	assert_int_equal(search_drop(h->search, "acme", "kn_a", 0), OK);
	assert_int_equal(search_drop(h->search, "acme", "kn_a", 0), OK);
	expect(h, "acme", "alpha", "");
	expect_close(idf_of(h, "acme", "alpha"), log(1 + 0.5 / 0.5));
	put(h, "acme", "kn_a", 2, "alpha again");
	expect(h, "acme", "alpha", "kn_a/0");
}

/* ---- hits ---- */

static void
a_hit_carries_what_was_put(void **state)
{
	struct house *h = *state;
	struct chunk chunks[] = {
		{ .number = 0, .text = "alpha", .len = 5 },
		{ .number = 1,
		    .text = "beta gamma cut off",
		    .len = 10,
		    .start = 1000,
		    .end = 1010,
		    .heading = "Install > Linux",
		    .metadata = "{\"page\":7}" },
	};
	json_auto json_t *metadata = NULL;
	struct search_hits hits;
	struct search_hit *hit;

	assert_int_equal(
	    search_put(h->search, "acme", "kn_a", 3, "Manual", chunks, 2), OK);
	backend->make_live(h, "acme", "kn_a", 3);
	find_filtered(h, "acme", "beta", 8, NULL, &hits);
	assert_int_equal(hits.count, 1);
	hit = &hits.items[0];
	assert_string_equal(hit->source_id, "kn_a");
	assert_int_equal(hit->version, 3);
	assert_int_equal(hit->number, 1);
	assert_string_equal(hit->title, "Manual");
	assert_string_equal(hit->text, "beta gamma");
	assert_string_equal(hit->heading, "Install > Linux");
	assert_int_equal(hit->start, 1000);
	assert_int_equal(hit->end, 1010);
	assert_string_equal(hit->source_url, "https://example.org/kn_a");
	assert_int_equal(
	    json_parse(hit->metadata, strlen(hit->metadata), &metadata), OK);
	assert_int_equal(
	    json_integer_value(json_object_get(metadata, "page")), 7);
	search_hits_done(&hits);
	find_filtered(h, "acme", "cut", 8, NULL, &hits);
	assert_int_equal(hits.count, 0);
	search_hits_done(&hits);
}

static void
put_kind(struct house *h, int64_t number, const char *metadata)
{
	struct chunk chunk = { .number = number,
		.text = "alpha",
		.len = 5,
		.metadata = metadata };

	assert_int_equal(
	    search_put(h->search, "acme", "kn_a", 1, "", &chunk, 1), OK);
}

static void
expect_filtered(
    struct house *h, const char *filter, int top_k, const char *expected)
{
	json_auto json_t *object = NULL;
	struct search_hits hits;
	char got[128] = "";
	size_t len = 0;

	assert_int_equal(json_parse(filter, strlen(filter), &object), OK);
	find_filtered(h, "acme", "alpha", top_k, object, &hits);
	for (size_t i = 0; i < hits.count && len < sizeof(got) - 24; i++)
		len += (size_t)snprintf(got + len, sizeof(got) - len, "%lld ",
		    (long long)hits.items[i].number);
	assert_string_equal(got, expected);
	search_hits_done(&hits);
}

static void
a_filter_keeps_hits_with_equal_metadata(void **state)
{
	struct house *h = *state;

	put_kind(h, 0, "{\"lang\":\"fa\",\"page\":1,\"draft\":false}");
	put_kind(h, 1, "{\"lang\":\"en\",\"page\":1,\"draft\":true}");
	put_kind(h, 2, "{\"lang\":\"fa\",\"page\":2,\"draft\":true}");
	put_kind(h, 3, NULL); /* the source's: {"kind":"manual"} */
	backend->make_live(h, "acme", "kn_a", 1);
	expect_filtered(h, "{}", 8, "0 1 2 3 ");
	expect_filtered(h, "{\"lang\":\"fa\"}", 8, "0 2 ");
	expect_filtered(h, "{\"page\":1}", 8, "0 1 ");
	expect_filtered(h, "{\"draft\":true}", 8, "1 2 ");
	expect_filtered(h, "{\"lang\":\"fa\",\"draft\":true}", 8, "2 ");
	expect_filtered(h, "{\"lang\":\"de\"}", 8, "");
	expect_filtered(h, "{\"page\":\"1\"}", 8, "");
	expect_filtered(h, "{\"kind\":\"manual\"}", 8, "3 ");
}

static void
a_filter_does_not_shorten_the_list(void **state)
{
	struct house *h = *state;

	for (int i = 0; i < 60; i++)
		put_kind(h, i, i < 50 ? "{\"p\":1}" : "{\"p\":2}");
	backend->make_live(h, "acme", "kn_a", 1);
	expect_filtered(h, "{\"p\":2}", 4, "50 51 52 53 ");
}

static void
no_more_than_top_k_are_returned(void **state)
{
	struct house *h = *state;
	struct search_hits few, many;

	for (int i = 0; i < 60; i++)
		put_kind(h, i, NULL);
	backend->make_live(h, "acme", "kn_a", 1);
	find_filtered(h, "acme", "alpha", 3, NULL, &few);
	find_filtered(h, "acme", "alpha", 200, NULL, &many);
	assert_int_equal(few.count, 3);
	assert_int_equal(many.count, 60);
	for (size_t i = 0; i < 60; i++)
		assert_int_equal(many.items[i].number, (int64_t)i);
	search_hits_done(&few);
	search_hits_done(&many);
}

/* The best few are the first of the full list, whatever a back end skips. */
static void
a_short_list_is_the_head_of_the_long_one(void **state)
{
	static const char *const words[] = { "alpha", "beta", "gamma", "delta",
		"epsilon", "zeta", "eta", "theta", "iota", "kappa" };
	static const char query[] = "alpha beta delta zeta kappa";
	struct house *h = *state;
	struct search_hits few, many;
	char text[512];
	unsigned seed = 1;

	for (int64_t n = 0; n < 400; n++) {
		struct chunk chunk = { .number = n, .text = text };
		size_t len = 0;
		unsigned count = 3 + (seed >> 8) % 20;

		for (unsigned w = 0; w < count; w++) {
			unsigned a = (seed = seed * 1103515245 + 12345) >> 16;
			unsigned b = (seed = seed * 1103515245 + 12345) >> 16;

			len += (size_t)snprintf(text + len, sizeof(text) - len,
			    "%s ", words[(a % 10) * (b % 10) / 10]);
		}
		chunk.len = len;
		assert_int_equal(
		    search_put(h->search, "acme", "kn_a", 1, "", &chunk, 1),
		    OK);
	}
	backend->make_live(h, "acme", "kn_a", 1);
	find_filtered(h, "acme", query, 200, NULL, &many);
	assert_int_equal(many.count, 200);
	for (int k = 1; k <= 50; k += 7) {
		find_filtered(h, "acme", query, k, NULL, &few);
		assert_int_equal(few.count, k);
		for (int i = 0; i < k; i++) {
			assert_int_equal(
			    few.items[i].number, many.items[i].number);
			expect_close(few.items[i].score, many.items[i].score);
			expect_close(
			    few.items[i].coverage, many.items[i].coverage);
		}
		search_hits_done(&few);
	}
	search_hits_done(&many);
}

/* ---- vectors ---- */

static void
put_vector(struct house *h, const char *source_id, const char *text, float x,
    float y, const char *metadata)
{
	const float vector[] = { x, y };
	struct chunk chunk = { .text = text,
		.len = strlen(text),
		.metadata = metadata,
		.vector = x == 0 && y == 0 ? NULL : vector,
		.dimensions = 2 };

	assert_int_equal(
	    search_put(h->search, "acme", source_id, 1, "", &chunk, 1), OK);
	backend->make_live(h, "acme", source_id, 1);
}

/* "kn_a 16393 100": the hits, a million times the score (1/61 is 16393), the
 * coverage in per cent. What the words weigh must be what they weigh alone. */
static void
expect_near(struct house *h, const char *query, float x, float y,
    const char *filter, const char *expected)
{
	const float vector[] = { x, y };
	json_auto json_t *object = NULL;
	struct search_ask ask = { .brand = "acme",
		.query = query,
		.query_len = strlen(query),
		.top_k = 8,
		.vector = vector,
		.dimensions = 2 };
	struct search_hits hits;
	struct search_hits words = { 0 };
	char got[512] = "";
	size_t len = 0;

	if (filter != NULL)
		assert_int_equal(
		    json_parse(filter, strlen(filter), &object), OK);
	ask.filter = object;
	assert_int_equal(search_find(h->search, &ask, &hits), OK);
	for (size_t i = 0; i < hits.count; i++)
		len += (size_t)snprintf(got + len, sizeof(got) - len,
		    "%s%s %.0f %.0f", i == 0 ? "" : ", ",
		    hits.items[i].source_id, hits.items[i].score * 1e6,
		    hits.items[i].coverage * 100);
	assert_string_equal(got, expected);
	ask.vector = NULL;
	assert_int_equal(search_find(h->search, &ask, &words), OK);
	for (size_t i = 0; i < hits.count; i++) {
		double alone = 0;

		for (size_t k = 0; k < words.count; k++)
			if (strcmp(words.items[k].source_id,
				hits.items[i].source_id) == 0)
				alone = words.items[k].score;
		expect_close(hits.items[i].lexical, alone);
	}
	search_hits_done(&words);
	search_hits_done(&hits);
}

static void
words_and_vectors_are_fused_by_rank(void **state)
{
	struct house *h = *state;

	put_vector(h, "kn_a", "alpha", 0, 1, NULL);
	put_vector(h, "kn_b", "beta", 1, 0, NULL);
	put_vector(h, "kn_c", "alpha gamma", 3, 1, NULL);
	put_vector(h, "kn_d", "delta", 0, 0, NULL); /* none */
	/* a: first and third; c: second in both; b: first of one. */
	expect_near(h, "alpha", 5, 0, NULL,
	    "kn_a 32266 100, kn_c 32258 100, kn_b 16393 0");
	/* Without words the vector ranks alone. */
	expect_near(
	    h, "", 1, 0, NULL, "kn_b 16393 0, kn_c 16129 0, kn_a 15873 0");
	expect(h, "acme", "alpha", "kn_a/0 kn_c/0");
}

static void
only_live_vectors_of_the_filter_are_near(void **state)
{
	struct house *h = *state;

	put_vector(h, "kn_a", "alpha", 1, 0, "{\"p\":1}");
	put_vector(h, "kn_b", "beta", 2, 1, "{\"p\":2}");
	put_vector(h, "kn_c", "gamma", 1, 1, "{\"p\":2}");
	expect_near(
	    h, "gamma", 1, 0, "{\"p\":2}", "kn_c 32522 100, kn_b 16393 0");
	backend->make_live(h, "acme", "kn_c", 0);
	expect_near(h, "", 1, 0, NULL, "kn_a 16393 0, kn_b 16129 0");
	expect_near(h, "", 1, 0, "{\"p\":3}", "");
}

/* ---- queries ---- */

static void
a_query_without_words_finds_nothing(void **state)
{
	struct house *h = *state;

	put_live(h, "acme", "kn_a", "alpha one");
	expect(h, "acme", "", "");
	expect(h, "acme", " ?! \xe2\x80\x8c ", "");
	expect(h, "acme", "nowhere", "");
}

static void
function_words_count_only_when_nothing_else_is_asked(void **state)
{
	struct house *h = *state;

	put_live(h, "acme", "kn_a", "the first", "alpha");
	expect(h, "acme", "the alpha", "kn_a/1");
	expect(h, "acme", "the", "kn_a/0");
}

static void
signs_of_query_languages_mean_nothing(void **state)
{
	struct house *h = *state;

	put_live(h, "acme", "kn_a", "alpha beta", "gamma");
	expect(h, "acme", "alpha\" OR gamma*", "kn_a/1 kn_a/0");
	expect(h, "acme", "NOT (alpha)", "kn_a/0");
	expect(h, "acme", "words:alpha'--", "kn_a/0");
}

static void
words_of_many_scripts_are_found(void **state)
{
	struct house *h = *state;

	put_live(h, "acme", "kn_a", "how to return a parcel",
	    "\xd9\x85\xd8\xb1\xd8\xac\xd9\x88\xd8\xb9 \xda\xa9\xd8\xa7\xd9\x84"
	    "\xd8\xa7", /* Persian: returning goods */
	    "\xd8\xa5\xd8\xb1\xd8\xac\xd8\xa7\xd8\xb9 "
	    "\xd8\xa7\xd9\x84\xd8\xb7\xd8\xb1\xd8\xaf",         /* Arabic */
	    "\xe9\x80\x80\xe8\xb4\xa7\xe6\x94\xbf\xe7\xad\x96", /* Chinese */
	    "\xe0\xa4\xb5\xe0\xa4\xbe\xe0\xa4\xaa\xe0\xa4\xb8\xe0\xa5\x80 "
	    "\xe0\xa4\xa8\xe0\xa5\x80\xe0\xa4\xa4\xe0\xa4\xbf"); /* Hindi */
	expect(h, "acme", "PARCEL", "kn_a/0");
	/* Typed with the Arabic kaf, as many keyboards do. */
	expect(h, "acme", "\xd9\x83\xd8\xa7\xd9\x84\xd8\xa7", "kn_a/1");
	expect(h, "acme", "\xd8\xa7\xd8\xb1\xd8\xac\xd8\xa7\xd8\xb9", "kn_a/2");
	expect(h, "acme", "\xe6\x94\xbf\xe7\xad\x96", "kn_a/3");
	expect(h, "acme", "\xe0\xa4\xa8\xe0\xa5\x80\xe0\xa4\xa4\xe0\xa4\xbf",
	    "kn_a/4");
}

static void
bad_arguments_are_refused(void **state)
{
	struct house *h = *state;
	struct chunk chunk = { .text = "\xff\xfe", .len = 2 };
	struct search_ask ask = {
		.brand = "acme", .query = "alpha", .query_len = 5
	};
	struct search_hits hits;

	assert_int_equal(
	    search_put(h->search, "acme", "kn_a", 1, "", &chunk, 1),
	    ERR_INVALID);
	chunk = (struct chunk){ .text = "alpha", .len = 5 };
	assert_int_equal(
	    search_put(h->search, "acme", "kn_a", 0, "", &chunk, 1),
	    ERR_INVALID);
	assert_int_equal(
	    search_put(h->search, "acme", "kn_a", 1, "", &chunk, 0), OK);
	assert_int_equal(search_find(h->search, &ask, &hits), ERR_INVALID);
	ask.top_k = 201;
	assert_int_equal(search_find(h->search, &ask, &hits), ERR_INVALID);
	ask.top_k = 8;
	ask.query = "\xff";
	ask.query_len = 1;
	assert_int_equal(search_find(h->search, &ask, &hits), ERR_INVALID);
}

/* ---- concurrency ---- */

#define VERSION_CHUNKS 7

struct searcher {
	struct house *house;
	_Atomic bool stop;
	_Atomic int alive, searches, failed, partial;
};

/* No asserts here: another fiber, another stack. */
static void
search_on(void *arg)
{
	struct searcher *s = arg;
	struct search_ask ask = {
		.brand = "acme", .query = "alpha", .query_len = 5, .top_k = 50
	};

	while (!s->stop) {
		struct search_hits hits = { 0 };
		bool whole;

		if (search_find(s->house->search, &ask, &hits) != OK) {
			s->failed++;
			continue;
		}
		whole = hits.count == VERSION_CHUNKS;
		for (size_t i = 0; whole && i < hits.count; i++)
			whole = hits.items[i].version == hits.items[0].version;
		s->partial += !whole;
		s->searches++;
		search_hits_done(&hits);
	}
	s->alive--;
}

static void
no_search_sees_half_a_document(void **state)
{
	struct house *h = *state;
	struct searcher s = { .house = h };

	put_live(h, "acme", "kn_a", "alpha", "alpha", "alpha", "alpha", "alpha",
	    "alpha", "alpha");
	s.alive = 4;
	for (unsigned i = 0; i < 4; i++)
		assert_true(loop_spawn(
		    loop_at(i % 2), SERVICE_ORCHESTRATOR, search_on, &s));
	for (int64_t version = 2; version < 12; version++) {
		int seen = s.searches;

		put(h, "acme", "kn_a", version, "alpha", "alpha", "alpha",
		    "alpha");
		for (int64_t n = 4; n < VERSION_CHUNKS; n++) {
			struct chunk chunk = {
				.number = n, .text = "alpha", .len = 5
			};

			assert_int_equal(search_put(h->search, "acme", "kn_a",
					     version, "", &chunk, 1),
			    OK);
		}
		backend->make_live(h, "acme", "kn_a", version);
		assert_int_equal(
		    search_drop(h->search, "acme", "kn_a", version), OK);
		for (int i = 0; i < 500 && s.searches < seen + 4; i++)
			fiber_sleep(2);
	}
	s.stop = true;
	for (int i = 0; i < 5000 && s.alive > 0; i++)
		fiber_sleep(2);
	assert_int_equal(s.alive, 0);
	assert_int_equal(s.failed, 0);
	assert_int_equal(s.partial, 0);
	assert_true(s.searches >= 40);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest search_contract[] = {
		T(a_version_is_seen_when_it_is_live_and_not_before),
		T(a_new_version_replaces_the_old_one_at_the_switch),
		T(what_is_not_live_weighs_nothing),
		T(a_deleted_source_is_not_seen),
		T(a_brand_sees_its_own_chunks_only),
		T(a_brand_drops_its_own_chunks_only),
		T(scores_are_those_of_lucene),
		T(a_title_counts_twice_and_a_heading_once),
		T(coverage_is_the_share_of_the_weight_that_was_found),
		T(idf_is_that_of_the_live_chunks),
		T(equal_scores_stand_by_source_and_number),
		T(putting_twice_is_putting_once),
		T(a_chunk_put_again_has_its_new_words_only),
		T(batches_of_a_version_add_up),
		T(dropping_keeps_one_version_or_none),
		T(a_hit_carries_what_was_put),
		T(a_filter_keeps_hits_with_equal_metadata),
		T(a_filter_does_not_shorten_the_list),
		T(no_more_than_top_k_are_returned),
		T(a_short_list_is_the_head_of_the_long_one),
		T(words_and_vectors_are_fused_by_rank),
		T(only_live_vectors_of_the_filter_are_near),
		T(a_query_without_words_finds_nothing),
		T(function_words_count_only_when_nothing_else_is_asked),
		T(signs_of_query_languages_mean_nothing),
		T(words_of_many_scripts_are_found),
		T(bad_arguments_are_refused),
		T(no_search_sees_half_a_document),
	};
	int failed = 0;

	qdrant = qdrant_server_start(0, NULL);
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		backend = &backends[i];
		if (backend->open == qdrant_open && qdrant == NULL) {
			print_message("back end qdrant: SKIPPED, its double "
				      "needs python3\n");
			continue;
		}
		print_message("back end: %s\n", backend->name);
		failed += fiber_group(search_contract, NULL, NULL);
	}
	qdrant_server_stop(qdrant);
	return failed;
}
