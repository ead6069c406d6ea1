/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka groups in a fiber, and folders for tests. */
#include "fiber_group.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"
#include "fiber/loop.h"

#define DRAIN_MS 2000

struct group {
	const char *name;
	const struct CMUnitTest *tests;
	size_t count;
	CMFixtureFunction setup, teardown;
	int failed;
};

static enum err_code
run_group(void *arg)
{
	struct group *group = arg;

	group->failed = _cmocka_run_group_tests(group->name, group->tests,
	    group->count, group->setup, group->teardown);
	return OK;
}

int
fiber_group_run(const char *name, const struct CMUnitTest *tests, size_t count,
    CMFixtureFunction setup, CMFixtureFunction teardown)
{
	struct group group = { name, tests, count, setup, teardown, 1 };

	if (loops_start(2) != OK ||
	    loop_call(loop_at(0), run_group, &group) != OK) {
		fprintf(stderr, "%s: %s\n", name, err_message());
		return 1;
	}
	loops_stop(DRAIN_MS);
	return group.failed;
}

char *
test_folder_new(void)
{
	const char *tmp = getenv("TMPDIR");
	char *name = mem_printf(
	    "%s/xin-test-XXXXXX", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");

	if (mkdtemp(name) == NULL)
		panic("mkdtemp %s", name);
	return name;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void
test_folder_remove(char *folder)
{
	if (folder == NULL)
		return;
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	mem_free(folder);
}
