/* SPDX-License-Identifier: Apache-2.0 */
/* A new back end adds its URL to store_fixture_run (and opens what it needs in
 * set_up). */
#include "store_fixture.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "postgres/postgres.h"
#include "postgres_server.h"

static const char *url;

const char *
store_fixture_url(void)
{
	return url;
}

/* Each test begins with an empty store; the embedded one with a new file. */
static void
empty_postgres(void)
{
	struct postgres_batch batch = { 0 };
	struct postgres *link;

	assert_int_equal(postgres_open(url, &link), OK);
	postgres_add(&batch,
	    "TRUNCATE knowledge_sources, conversations, turns, messages, dedup,"
	    " api_keys, audit, script_generations",
	    "");
	assert_int_equal(postgres_run(link, &batch), OK);
	postgres_clear(&batch);
	postgres_close(link);
}

int
store_fixture__set_up(void **state)
{
	struct store_fixture *f = mem_zero(sizeof(*f));
	char *path;

	if (str_starts(url, "postgres"))
		empty_postgres();
	clock_fake_start(STORE_FIXTURE_START);
	f->folder = test_folder_new();
	path = mem_printf("%s/xin.db", f->folder);
	assert_int_equal(sqlite_open(path, &f->db), OK);
	mem_free(path);
	assert_int_equal(store_open(url, f->db, &f->store), OK);
	*state = f;
	return 0;
}

int
store_fixture__tear_down(void **state)
{
	struct store_fixture *f = *state;

	store_close(f->store);
	sqlite_close(f->db);
	test_folder_remove(f->folder);
	mem_free(f);
	clock_fake_stop();
	return 0;
}

struct store *
store_of(void **state)
{
	return ((struct store_fixture *)*state)->store;
}

static int
run(const char *name, const char *on, const struct CMUnitTest *tests,
    size_t count)
{
	char *title = mem_printf("%s %s", name, on);
	int failed = fiber_group_run(title, tests, count, NULL, NULL);

	mem_free(title);
	return failed;
}

int
store_fixture_run(
    const char *name, const struct CMUnitTest *tests, size_t count)
{
	int failed, applied, version;

	url = "sqlite:";
	failed = run(name, "sqlite", tests, count);
	url = postgres_server_url();
	if (url == NULL)
		return failed;
	if (postgres_migrate(url, &applied, &version) != OK)
		panic("%s", err_message());
	failed += run(name, "postgres", tests, count);
	postgres_server_done();
	return failed;
}
