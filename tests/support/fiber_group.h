/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SUPPORT_FIBER_GROUP_H
#define XIN_SUPPORT_FIBER_GROUP_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

/*
 * Runs a cmocka group inside one fiber on loop 0 (asserts longjmp, which must
 * stay on one stack: never assert in a second fiber). Starts two loops before
 * and stops them after. Returns the number of failed tests, for main.
 */
int fiber_group_run(const char *name, const struct CMUnitTest *tests,
    size_t count, CMFixtureFunction setup, CMFixtureFunction teardown);

#define fiber_group(tests, setup, teardown)                                    \
	fiber_group_run(#tests, tests, sizeof(tests) / sizeof((tests)[0]),     \
	    setup, teardown)

/* A new empty folder under $TMPDIR or /tmp, mem_free; and its removal. */
char *test_folder_new(void);
void test_folder_remove(char *folder);

#endif
