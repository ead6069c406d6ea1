/* SPDX-License-Identifier: Apache-2.0 */
/* The committed annotations are those of the binding table. To renew them:
 * XIN_WRITE_ANNOTATIONS=1 build-debug/tests/unit_binding_annotations_test */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "binding/internal.h"
#include "binding/binding.h"

#define FILE_NAME "lua/meta/xin.lua"

static char *
read_file(void)
{
	struct buf text;
	char piece[4096];
	size_t n;
	FILE *file = fopen(FILE_NAME, "rb");

	if (file == NULL)
		return NULL;
	buf_init(&text, 0);
	while ((n = fread(piece, 1, sizeof(piece), file)) > 0)
		buf_add(&text, piece, n);
	fclose(file);
	return buf_take(&text, NULL);
}

static void
the_committed_file_equals_the_table(void **state)
{
	struct buf made;
	char *committed;

	(void)state;
	buf_init(&made, 0);
	binding_annotations(&made);
	if (getenv("XIN_WRITE_ANNOTATIONS") != NULL) {
		FILE *file = fopen(FILE_NAME, "wb");

		assert_non_null(file);
		fwrite(made.data, 1, made.len, file);
		fclose(file);
	}
	committed = read_file();
	assert_non_null(committed);
	assert_string_equal(committed, buf_str(&made));
	mem_free(committed);
	buf_done(&made);
}

static void
every_function_has_a_sentence(void **state)
{
	(void)state;
	for (size_t i = 0; binding__modules[i] != NULL; i++) {
		const struct binding_function *at =
		    binding__modules[i]->functions;

		assert_non_null(binding__modules[i]->help);
		assert_non_null(at->name);
		for (; at->name != NULL; at++) {
			assert_non_null(at->fn);
			assert_true(at->where != 0);
			assert_true(strlen(at->help) > 5);
			assert_int_equal(at->help[strlen(at->help) - 1], '.');
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_committed_file_equals_the_table),
		cmocka_unit_test(every_function_has_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
