/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the contract cannot see of the embedded search: the ceiling on memory,
 * a new start, and that indexes follow what was written while they sat there.
 */
#include "fiber_group.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "search/search_sqlite.h"

struct house {
	char *folder;
	struct sqlite *db;
	struct search *search;
};

static void
open_house(struct house *house)
{
	char *path = mem_printf("%s/xin.db", house->folder);

	assert_int_equal(sqlite_open(path, &house->db), OK);
	assert_int_equal(search_open("sqlite:", house->db, &house->search), OK);
	mem_free(path);
}

static void
close_house(struct house *house)
{
	search_close(house->search);
	sqlite_close(house->db);
}

static int
set_up(void **state)
{
	struct house *house = mem_zero(sizeof(*house));

	house->folder = test_folder_new();
	open_house(house);
	*state = house;
	return 0;
}

static int
tear_down(void **state)
{
	struct house *house = *state;

	close_house(house);
	test_folder_remove(house->folder);
	mem_free(house);
	return 0;
}

static struct search_embedded *
embedded_of(struct house *house)
{
	return (struct search_embedded *)house->search;
}

struct row {
	const char *brand, *id, *metadata;
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
	    " metadata, sha256, object_key, live_version, created_at,"
	    " updated_at) VALUES (?1, ?2, '', 'text/plain', ?4, ?1, '', ?3,"
	    " 0, 0) ON CONFLICT (id) DO UPDATE SET live_version = ?3,"
	    " metadata = ?4",
	    "ttit", row->id, row->brand, row->version, row->metadata);
}

static void
make_live(struct house *h, const char *brand, const char *id, int64_t version,
    const char *metadata)
{
	struct row row = { brand, id, metadata, version };

	assert_int_equal(sqlite_write(h->db, write_row, &row), OK);
}

static void
put(struct house *h, const char *brand, const char *id, const char *text)
{
	struct chunk chunk = { .text = text, .len = strlen(text) };

	assert_int_equal(
	    search_put(h->search, brand, id, 1, "", &chunk, 1), OK);
	make_live(h, brand, id, 1, "{}");
}

static enum err_code
find(struct house *h, const char *brand, const char *query, const char *filter,
    size_t *count_out)
{
	json_t *object = filter != NULL ? json_loads(filter, 0, NULL) : NULL;
	struct search_ask ask = { .brand = brand,
		.query = query,
		.query_len = strlen(query),
		.top_k = 8,
		.filter = object };
	struct search_hits hits;
	enum err_code rc = search_find(h->search, &ask, &hits);

	json_decref(object);
	if (rc != OK)
		return rc;
	*count_out = hits.count;
	search_hits_done(&hits);
	return OK;
}

static void
expect(struct house *h, const char *brand, const char *query, size_t count)
{
	size_t found = 0;

	assert_int_equal(find(h, brand, query, NULL, &found), OK);
	assert_int_equal(found, count);
}

static size_t
brands_in_memory(struct house *h)
{
	size_t count = 0;

	for (struct search_brand *b = embedded_of(h)->first; b != NULL;
	     b = b->next)
		count++;
	return count;
}

static void
the_index_is_the_same_after_a_new_start(void **state)
{
	struct house *h = *state;

	put(h, "acme", "kn_a", "alpha beta");
	put(h, "acme", "kn_b", "alpha");
	expect(h, "acme", "alpha", 2);
	make_live(h, "acme", "kn_b", -1, "");
	expect(h, "acme", "alpha", 1);
	close_house(h);
	open_house(h);
	expect(h, "acme", "alpha", 1);
	put(h, "acme", "kn_c", "alpha");
	make_live(h, "acme", "kn_a", -1, "");
	expect(h, "acme", "alpha", 1);
	expect(h, "acme", "beta", 0);
}

static void
the_source_s_metadata_can_change_while_it_is_live(void **state)
{
	struct house *h = *state;
	size_t found;

	put(h, "acme", "kn_a", "alpha");
	assert_int_equal(find(h, "acme", "alpha", "{\"p\":1}", &found), OK);
	assert_int_equal(found, 0);
	make_live(h, "acme", "kn_a", 1, "{\"p\":1}");
	assert_int_equal(find(h, "acme", "alpha", "{\"p\":1}", &found), OK);
	assert_int_equal(found, 1);
}

static void
the_brands_not_searched_for_longest_leave_the_memory(void **state)
{
	struct house *h = *state;
	char brand[16], id[16];
	size_t each;

	put(h, "b0", "kn_0", "alpha beta");
	expect(h, "b0", "alpha", 1);
	each = embedded_of(h)->bytes;
	assert_true(each > 0);
	embedded_of(h)->bytes_max = each * 4;
	for (int i = 1; i < 12; i++) {
		snprintf(brand, sizeof(brand), "b%d", i);
		snprintf(id, sizeof(id), "kn_%d", i);
		put(h, brand, id, "alpha beta");
		expect(h, brand, "alpha", 1);
		expect(h, "b0", "alpha", 1); /* used all the time: stays */
	}
	assert_true(embedded_of(h)->bytes <= each * 4);
	assert_int_equal(brands_in_memory(h), 4);
	assert_string_equal(embedded_of(h)->first->name, "b0");
	expect(h, "b3", "alpha", 1); /* made again */
}

static void
a_brand_over_the_ceiling_is_told_what_to_do(void **state)
{
	struct house *h = *state;
	size_t found;

	put(h, "acme", "kn_a", "alpha beta");
	embedded_of(h)->bytes_max = 1000;
	assert_int_equal(find(h, "acme", "alpha", NULL, &found), ERR_TOO_LARGE);
	assert_non_null(strstr(err_message(), "XIN_SEARCH_URL"));
	embedded_of(h)->bytes_max = (size_t)1 << 20;
	expect(h, "acme", "alpha", 1);
}

static enum err_code
damage(sqlite3 *db, void *arg)
{
	return sqlite_run(db, NULL,
	    "UPDATE chunk_words SET words = CAST(?1 AS BLOB)", "t", arg);
}

static void
damaged_words_fail_the_search_and_nothing_else(void **state)
{
	struct house *h = *state;
	size_t found;

	put(h, "acme", "kn_a", "alpha");
	put(h, "other", "kn_b", "alpha");
	expect(h, "other", "alpha", 1);
	assert_int_equal(sqlite_write(h->db, damage, (char[]){ "zz" }), OK);
	assert_int_equal(find(h, "acme", "alpha", NULL, &found), ERR_IO);
	expect(h, "other", "alpha", 1);
	put(h, "acme", "kn_a", "alpha");
	expect(h, "acme", "alpha", 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest embedded_search[] = {
		T(the_index_is_the_same_after_a_new_start),
		T(the_source_s_metadata_can_change_while_it_is_live),
		T(the_brands_not_searched_for_longest_leave_the_memory),
		T(a_brand_over_the_ceiling_is_told_what_to_do),
		T(damaged_words_fail_the_search_and_nothing_else),
	};

	return fiber_group(embedded_search, NULL, NULL);
}
