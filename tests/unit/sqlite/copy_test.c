/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of a database that somebody else writes to. */
#include "fiber_group.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "sqlite/sqlite.h"

static struct {
	char *folder, *path, *copy;
} at;

static int
set_up(void **state)
{
	char *into;

	(void)state;
	at.folder = test_folder_new();
	at.path = mem_printf("%s/xin.db", at.folder);
	into = mem_printf("%s/copy", at.folder); /* a folder has one lock */
	assert_int_equal(mkdir(into, 0700), 0);
	at.copy = mem_printf("%s/xin.db", into);
	mem_free(into);

	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	test_folder_remove(at.folder);
	mem_free(at.path);
	mem_free(at.copy);
	return 0;
}

static enum err_code
make_pairs(sqlite3 *db, void *arg)
{
	(void)arg;
	return sqlite3_exec(db, "CREATE TABLE pairs(n INTEGER)", NULL, NULL,
		   NULL) == SQLITE_OK
		   ? OK
		   : sqlite_fail(db, "pairs");
}

/* Two rows or none, whoever looks. */
static enum err_code
insert_pair(sqlite3 *db, void *arg)
{
	TRY(sqlite_run(
	    db, NULL, "INSERT INTO pairs VALUES(?)", "i", *(int64_t *)arg));
	return sqlite_run(
	    db, NULL, "INSERT INTO pairs VALUES(-?)", "i", *(int64_t *)arg);
}

static enum err_code
measure(sqlite3 *db, void *arg)
{
	int64_t *out = arg; /* rows, and their sum */
	sqlite3_stmt *s;
	bool row;

	TRY(sqlite_query(
	    db, &s, "SELECT count(*), coalesce(sum(n), 0) FROM pairs", ""));
	TRY(sqlite_step(db, s, &row));
	out[0] = sqlite3_column_int64(s, 0);
	out[1] = sqlite3_column_int64(s, 1);
	return OK;
}

static void
write_until_told(int said)
{
	struct sqlite *db;
	char end;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (sqlite_open(at.path, &db) != OK ||
	    sqlite_write(db, make_pairs, NULL) != OK)
		_exit(1);
	fcntl(said, F_SETFL, O_NONBLOCK);
	for (int64_t n = 1; read(said, &end, 1) != 1; n++)
		if (sqlite_write(db, insert_pair, &n) != OK)
			_exit(1);
	sqlite_close(db);
	_exit(0);
}

static void
copies_are_of_one_moment_while_another_process_writes(void **state)
{
	int told[2], status;
	int64_t before = 0;
	pid_t writer;

	(void)state;
	assert_int_equal(pipe(told), 0);
	writer = fork();
	if (writer == 0)
		write_until_told(told[0]);
	usleep(300000);
	for (int i = 0; i < 5; i++) {
		int64_t found[2] = { -1, -1 };
		struct sqlite *db;

		assert_int_equal(sqlite_copy(at.path, at.copy), OK);
		assert_int_equal(sqlite_open(at.copy, &db), OK);
		assert_int_equal(sqlite_read(db, measure, found), OK);
		sqlite_close(db);
		unlink(at.copy);
		assert_true(found[0] > before);
		assert_int_equal(found[0] % 2, 0);
		assert_int_equal(found[1], 0);
		before = found[0];
		usleep(50000);
	}
	assert_int_equal(write(told[1], "e", 1), 1);
	waitpid(writer, &status, 0);
	assert_int_equal(status, 0); /* and nobody stood in its way */
	close(told[0]);
	close(told[1]);
}

static void
nothing_to_copy_and_damage_are_said(void **state)
{
	char *line;

	(void)state;
	assert_int_equal(sqlite_copy(at.path, at.copy), ERR_IO);
	assert_non_null(strstr(err_message(), at.path));
	line = mem_printf("head -c 8192 /dev/urandom > %s", at.path);
	assert_int_equal(system(line), 0);
	assert_int_not_equal(sqlite_copy(at.path, at.copy), OK);
	mem_free(line);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    copies_are_of_one_moment_while_another_process_writes,
		    set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    nothing_to_copy_and_damage_are_said, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
