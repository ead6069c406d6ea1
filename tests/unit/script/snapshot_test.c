/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a folder as one set: identity, ConfigMap links, ceilings. */
#include "fiber_group.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "script/script.h"

static void
put(const char *folder, const char *name, const char *text, size_t len)
{
	char *path = mem_printf("%s/%s", folder, name);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	fclose(file);
	mem_free(path);
}

static void
folder_in(const char *folder, const char *name)
{
	char *path = mem_printf("%s/%s", folder, name);

	assert_int_equal(mkdir(path, 0700), 0);
	mem_free(path);
}

static void
the_same_contents_have_the_same_identity(void **state)
{
	char *folder = test_folder_new();
	struct script_generation *one;
	struct script_generation *two;
	struct script_generation *copy;
	struct buf packed = { 0 };

	(void)state;
	folder_in(folder, "brands");
	folder_in(folder, "lib");
	put(folder, "brands/alpha.lua", "return 1", 8);
	put(folder, "lib/x.lua", "a\0b", 3);
	put(folder, "lib/.hidden.lua", "no", 2);
	put(folder, "README.md", "no", 2);
	assert_int_equal(script_snapshot(folder, &one), OK);
	assert_int_equal(script_snapshot(folder, &two), OK);
	assert_string_equal(
	    script_generation_hash(one), script_generation_hash(two));
	assert_int_equal(strlen(script_generation_id(one)), 12);
	assert_null(script_generation_file(one, "lib/.hidden.lua"));
	assert_int_equal(script_generation_file(one, "lib/x.lua")->len, 3);
	script_generation_unref(two);

	script_generation_pack(one, &packed);
	assert_int_equal(
	    script_generation_unpack(packed.data, packed.len, &copy), OK);
	assert_string_equal(
	    script_generation_hash(one), script_generation_hash(copy));
	script_generation_unref(copy);
	for (size_t cut = 0; cut < packed.len; cut++)
		assert_int_equal(
		    script_generation_unpack(packed.data, cut, &copy),
		    ERR_INVALID);
	buf_done(&packed);

	put(folder, "brands/alpha.lua", "return 2", 8);
	assert_int_equal(script_snapshot(folder, &two), OK);
	assert_string_not_equal(
	    script_generation_hash(one), script_generation_hash(two));
	script_generation_unref(one);
	script_generation_unref(two);
	test_folder_remove(folder);
}

static void
a_config_map_is_read_through_its_data_link(void **state)
{
	char *folder = test_folder_new();
	struct script_generation *gen;
	char *link = mem_printf("%s/..data", folder);
	char *brands = mem_printf("%s/brands", folder);

	(void)state;
	folder_in(folder, "..2026_1");
	folder_in(folder, "..2026_1/brands");
	put(folder, "..2026_1/brands/alpha.lua", "return 1", 8);
	assert_int_equal(symlink("..2026_1", link), 0);
	assert_int_equal(symlink("..data/brands", brands), 0);
	assert_int_equal(script_snapshot(folder, &gen), OK);
	assert_non_null(script_generation_file(gen, "brands/alpha.lua"));
	script_generation_unref(gen);
	unlink(link);
	unlink(brands);
	mem_free(link);
	mem_free(brands);
	test_folder_remove(folder);
}

static void
an_empty_or_missing_folder_is_not_found(void **state)
{
	char *folder = test_folder_new();
	struct script_generation *gen;

	(void)state;
	assert_int_equal(script_snapshot(folder, &gen), ERR_NOT_FOUND);
	assert_int_equal(script_snapshot("/nonexistent", &gen), ERR_NOT_FOUND);
	test_folder_remove(folder);
}

static void
a_file_over_the_ceiling_is_refused_by_name(void **state)
{
	char *folder = test_folder_new();
	size_t len = ((size_t)1 << 20) + 1;
	char *big = mem_zero(len);
	struct script_generation *gen;

	(void)state;
	memset(big, '-', len);
	folder_in(folder, "brands");
	put(folder, "brands/alpha.lua", big, len);
	assert_int_equal(script_snapshot(folder, &gen), ERR_TOO_LARGE);
	assert_non_null(strstr(err_message(), "brands/alpha.lua"));
	mem_free(big);
	test_folder_remove(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_contents_have_the_same_identity),
		cmocka_unit_test(a_config_map_is_read_through_its_data_link),
		cmocka_unit_test(an_empty_or_missing_folder_is_not_found),
		cmocka_unit_test(a_file_over_the_ceiling_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
