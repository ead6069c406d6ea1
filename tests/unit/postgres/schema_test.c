/* SPDX-License-Identifier: Apache-2.0 */
/* Which programs may serve on a schema, as its migrations say. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/embed.h"
#include "base/str.h"
#include "postgres/internal.h"

static int
reader(const char *text)
{
	const struct embed file = { "x.sql", text, strlen(text) };

	return postgres__min_reader(&file, 7);
}

static void
a_migration_names_its_oldest_reader_in_its_first_line(void **state)
{
	(void)state;
	assert_int_equal(reader("-- min_reader: 5\nALTER ...\n"), 5);
	assert_int_equal(reader("-- min_reader: 1\n"), 1);
}

static void
without_a_word_or_with_nonsense_only_its_own_program_may(void **state)
{
	(void)state;
	assert_int_equal(reader("ALTER ...\n"), 7);
	assert_int_equal(reader("ALTER ...\n-- min_reader: 5\n"), 7);
	assert_int_equal(reader("-- min_reader: 8\n"), 7);
	assert_int_equal(reader("-- min_reader: 0\n"), 7);
	assert_int_equal(reader("-- min_reader: -3\n"), 7);
	assert_int_equal(reader("-- min_reader: 5 or 6\n"), 7);
	assert_int_equal(reader("-- min_reader: five\n"), 7);
	assert_int_equal(reader("-- min_reader: 99999999999999999999\n"), 7);
}

/* Who writes a migration must have thought about the replicas that run. */
static void
every_migration_after_the_first_names_its_oldest_reader(void **state)
{
	const struct embed *file;
	int version = 1;

	(void)state;
	while ((file = embed_migration(
		    "schemas/postgres/", version, &version)) != NULL) {
		if (!str_starts(file->data, "-- min_reader: "))
			fail_msg("%s: the first line must be `-- min_reader: "
				 "N` (docs/upgrade.md)",
			    file->name);
		assert_true(postgres__min_reader(file, version) <= version);
	}
	assert_true(version > 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_migration_names_its_oldest_reader_in_its_first_line),
		cmocka_unit_test(
		    without_a_word_or_with_nonsense_only_its_own_program_may),
		cmocka_unit_test(
		    every_migration_after_the_first_names_its_oldest_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
