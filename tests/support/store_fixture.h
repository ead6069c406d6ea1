/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TESTS_STORE_FIXTURE_H
#define XIN_TESTS_STORE_FIXTURE_H

#include "fiber_group.h"
#include "sqlite/sqlite.h"
#include "store/store.h"

/* What the contract suites of the store begin with: an empty store on the back
 * end whose turn it is, under a fake clock. */
struct store_fixture {
	char *folder;
	struct sqlite *db;
	struct store *store;
};
/* Wall time at which each test begins. */
#define STORE_FIXTURE_START UINT64_C(1760000000000)
int store_fixture__set_up(void **state);
int store_fixture__tear_down(void **state);
#define STORE_TEST(name)                                                       \
	cmocka_unit_test_setup_teardown(                                       \
	    name, store_fixture__set_up, store_fixture__tear_down)

struct store *store_of(void **state);
/* The back end whose turn it is: "sqlite:", or the test server's URL. */
const char *store_fixture_url(void);

/* The same tests over every back end; how many groups of them failed. Without
 * PostgreSQL that half is skipped by name. */
int store_fixture_run(
    const char *name, const struct CMUnitTest *tests, size_t count);

#endif
