/* SPDX-License-Identifier: Apache-2.0 */
/* The embedded database: group commit, snapshots, the lock, durability. */
#include "fiber_group.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "sqlite/sqlite.h"
#include "sqlite/sqlite_internal.h"

struct fixture {
	char *folder, *path;
	struct sqlite *db;
};

static enum err_code
make_table(sqlite3 *db, void *arg)
{
	(void)arg;
	if (sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS numbers(n INTEGER)",
		NULL, NULL, NULL) != SQLITE_OK)
		return sqlite_fail(db, "numbers");
	return OK;
}

static enum err_code
insert(sqlite3 *db, void *arg)
{
	sqlite3_stmt *s;

	TRY(sqlite_statement(db, "INSERT INTO numbers(n) VALUES(?)", &s));
	sqlite3_bind_int64(s, 1, *(int64_t *)arg);
	return sqlite_done(db, s);
}

static enum err_code
insert_and_fail(sqlite3 *db, void *arg)
{
	TRY(insert(db, arg));
	return err_set(ERR_INVALID, "refused %lld", (long long)*(int64_t *)arg);
}

struct count_call {
	int64_t n;
	int64_t count;
};

static enum err_code
count(sqlite3 *db, void *arg)
{
	struct count_call *c = arg;
	sqlite3_stmt *s;

	TRY(sqlite_statement(
	    db, "SELECT count(*) FROM numbers WHERE n = ?", &s));
	sqlite3_bind_int64(s, 1, c->n);
	if (sqlite3_step(s) != SQLITE_ROW)
		return sqlite_fail(db, "count");
	c->count = sqlite3_column_int64(s, 0);
	return OK;
}

static int64_t
count_of(struct sqlite *db, int64_t n)
{
	struct count_call c = { .n = n, .count = -1 };

	assert_int_equal(sqlite_read(db, count, &c), OK);
	return c.count;
}

static int
set_up(void **state)
{
	struct fixture *f = mem_zero(sizeof(*f));

	f->folder = test_folder_new();
	f->path = mem_printf("%s/xin.db", f->folder);
	assert_int_equal(sqlite_open(f->path, &f->db), OK);
	assert_int_equal(sqlite_write(f->db, make_table, NULL), OK);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	sqlite_close(f->db);
	test_folder_remove(f->folder);
	mem_free(f->path);
	mem_free(f);
	return 0;
}

static void
a_write_is_seen_by_the_next_read(void **state)
{
	struct fixture *f = *state;
	int64_t n = 7;

	assert_int_equal(count_of(f->db, 7), 0);
	assert_int_equal(sqlite_write(f->db, insert, &n), OK);
	assert_int_equal(count_of(f->db, 7), 1);
}

static void
a_failed_write_takes_back_only_its_own_changes(void **state)
{
	struct fixture *f = *state;
	int64_t good = 1, bad = 2;

	assert_int_equal(sqlite_write(f->db, insert, &good), OK);
	assert_int_equal(
	    sqlite_write(f->db, insert_and_fail, &bad), ERR_INVALID);
	assert_string_equal(err_message(), "refused 2");
	assert_int_equal(count_of(f->db, 1), 1);
	assert_int_equal(count_of(f->db, 2), 0);
}

/* Many fibers at once; no assert in them. */
struct crowd {
	struct sqlite *db;
	struct fiber_cond over;
	int running, failed, refused;
	int64_t next;
};

static void
crowd_member(void *arg)
{
	struct crowd *crowd = arg;
	int64_t n = crowd->next++;
	enum err_code rc =
	    sqlite_write(crowd->db, n % 5 == 0 ? insert_and_fail : insert, &n);

	if (rc == ERR_OVERLOADED)
		crowd->refused++;
	else if (rc != (n % 5 == 0 ? ERR_INVALID : OK))
		crowd->failed++;
	if (--crowd->running == 0)
		fiber_cond_signal(&crowd->over);
}

static void
crowd_run(struct crowd *crowd, int members)
{
	crowd->running = members;
	for (int i = 0; i < members; i++)
		fiber_start(crowd_member, crowd);
	while (crowd->running > 0)
		assert_int_equal(fiber_cond_wait(&crowd->over, 0), OK);
}

static void
writes_of_many_fibers_share_commits(void **state)
{
	struct fixture *f = *state;
	struct crowd crowd = { .db = f->db };
	double commits = metric_value(METRIC_STORE_COMMITS, METRIC_NO_LABELS);
	double writes = metric_value(METRIC_STORE_WRITES, METRIC_NO_LABELS);

	crowd_run(&crowd, 200);
	assert_int_equal(crowd.failed, 0);
	assert_int_equal(crowd.refused, 0);
	for (int64_t n = 0; n < 200; n++)
		assert_int_equal(count_of(f->db, n), n % 5 == 0 ? 0 : 1);
	commits =
	    metric_value(METRIC_STORE_COMMITS, METRIC_NO_LABELS) - commits;
	writes = metric_value(METRIC_STORE_WRITES, METRIC_NO_LABELS) - writes;
	assert_true(writes == 200);
	assert_true(commits >= 1 && commits < 100);
}

static void
too_many_waiting_writes_are_refused(void **state)
{
	struct fixture *f = *state;
	struct crowd crowd = { .db = f->db, .next = 1000 };

	f->db->waiting_max = 10;
	crowd_run(&crowd, 200);
	f->db->waiting_max = SQLITE_QUEUE_MAX;
	assert_int_equal(crowd.failed, 0);
	assert_true(crowd.refused > 0);
}

static void
a_second_opening_is_refused_and_names_the_folder(void **state)
{
	struct fixture *f = *state;
	struct sqlite *second = NULL;

	assert_int_equal(sqlite_open(f->path, &second), ERR_CONFLICT);
	assert_null(second);
	assert_non_null(strstr(err_message(), f->folder));
	assert_non_null(strstr(err_message(), "in use by another process"));
}

static void
closing_gives_the_folder_back_with_its_rows(void **state)
{
	struct fixture *f = *state;
	int64_t n = 31;

	assert_int_equal(sqlite_write(f->db, insert, &n), OK);
	sqlite_close(f->db);
	f->db = NULL;
	assert_int_equal(sqlite_open(f->path, &f->db), OK);
	assert_int_equal(count_of(f->db, 31), 1);
}

static enum err_code
claim_newer_schema(sqlite3 *db, void *arg)
{
	(void)arg;
	if (sqlite3_exec(db,
		"INSERT INTO schema_migrations VALUES(9999, 'x', 0)", NULL,
		NULL, NULL) != SQLITE_OK)
		return sqlite_fail(db, "migrations");
	return OK;
}

static void
a_newer_schema_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(sqlite_write(f->db, claim_newer_schema, NULL), OK);
	sqlite_close(f->db);
	f->db = NULL;
	assert_int_equal(sqlite_open(f->path, &f->db), ERR_CONFLICT);
	assert_non_null(strstr(err_message(), "9999"));
}

static enum err_code
write_in_reader(sqlite3 *db, void *arg)
{
	return insert(db, arg);
}

static void
a_reader_cannot_write(void **state)
{
	struct fixture *f = *state;
	int64_t n = 5;

	assert_int_equal(sqlite_read(f->db, write_in_reader, &n), ERR_IO);
	assert_int_equal(count_of(f->db, 5), 0);
}

static enum err_code
freeze_size(sqlite3 *db, void *arg)
{
	(void)arg;
	if (sqlite3_exec(db, "PRAGMA max_page_count = 1", NULL, NULL, NULL) !=
	    SQLITE_OK)
		return sqlite_fail(db, "max_page_count");
	return OK;
}

static enum err_code
insert_big(sqlite3 *db, void *arg)
{
	sqlite3_stmt *s;

	(void)arg;
	TRY(sqlite_statement(
	    db, "INSERT INTO numbers(n) VALUES(zeroblob(100000))", &s));
	return sqlite_done(db, s);
}

static void
a_full_disk_is_said_in_words(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(sqlite_write(f->db, freeze_size, NULL), OK);
	assert_int_equal(sqlite_write(f->db, insert_big, NULL), ERR_DISK_FULL);
	assert_non_null(strstr(err_message(), "full"));
}

static enum err_code
lose_transaction(sqlite3 *db, void *arg)
{
	(void)arg;
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return err_set(ERR_IO, "the disk is gone");
}

struct pair {
	struct sqlite *db;
	enum err_code rc[3];
	int running;
	struct fiber_cond over;
	int64_t n[3];
};

static void
pair_first(void *arg)
{
	struct pair *p = arg;

	p->rc[0] = sqlite_write(p->db, insert, &p->n[0]);
	p->running--;
	fiber_cond_signal(&p->over);
}

static void
pair_second(void *arg)
{
	struct pair *p = arg;

	p->rc[1] = sqlite_write(p->db, lose_transaction, NULL);
	p->running--;
	fiber_cond_signal(&p->over);
}

static void
pair_third(void *arg)
{
	struct pair *p = arg;

	p->rc[2] = sqlite_write(p->db, insert, &p->n[2]);
	p->running--;
	fiber_cond_signal(&p->over);
}

static enum err_code
hold(sqlite3 *db, void *arg)
{
	(void)db;
	(void)arg;
	usleep(50000);
	return OK;
}

static void
holder(void *arg)
{
	struct pair *p = arg;

	(void)sqlite_write(p->db, hold, NULL);
	p->running--;
	fiber_cond_signal(&p->over);
}

static void
a_lost_transaction_fails_everybody_in_the_group(void **state)
{
	struct fixture *f = *state;
	struct pair p = { .db = f->db, .running = 4, .n = { 81, 82, 83 } };

	/* The three gather while the writer is held. */
	fiber_start(holder, &p);
	assert_int_equal(fiber_sleep(10), OK);
	fiber_start(pair_first, &p);
	fiber_start(pair_second, &p);
	fiber_start(pair_third, &p);
	while (p.running > 0)
		assert_int_equal(fiber_cond_wait(&p.over, 0), OK);
	for (int i = 0; i < 3; i++)
		assert_int_equal(p.rc[i], ERR_IO);
	assert_int_equal(count_of(f->db, 81), 0);
	assert_int_equal(count_of(f->db, 83), 0);
	/* And the database goes on. */
	assert_int_equal(sqlite_write(f->db, insert, &p.n[0]), OK);
	assert_int_equal(count_of(f->db, 81), 1);
}

/* ---- kill -9: outside fibers, because fork and loops do not mix ---- */

#define KILL_THREADS 4

struct victim {
	struct sqlite *db;
	int fd;
	int64_t first;
};

static void *
victim_thread(void *arg)
{
	struct victim *v = arg;

	for (int64_t n = v->first;; n += KILL_THREADS) {
		if (sqlite_write(v->db, insert, &n) != OK)
			_exit(3);
		if (write(v->fd, &n, sizeof(n)) != (ssize_t)sizeof(n))
			_exit(4);
	}
	return NULL;
}

static _Noreturn void
victim_main(const char *path, int fd)
{
	struct victim v[KILL_THREADS];
	struct sqlite *db;
	pthread_t thread;

	if (sqlite_open(path, &db) != OK ||
	    sqlite_write(db, make_table, NULL) != OK)
		_exit(2);
	for (int i = 0; i < KILL_THREADS; i++) {
		v[i] = (struct victim){ db, fd, i };
		if (pthread_create(&thread, NULL, victim_thread, &v[i]) != 0)
			_exit(5);
	}
	for (;;)
		pause();
}

static void
every_acknowledged_write_survives_kill_9(void **state)
{
	char *folder = test_folder_new();
	char *path = mem_printf("%s/xin.db", folder);
	struct sqlite *db;
	int64_t n, seen = 0, missing = 0;
	int64_t acknowledged[4096];
	int fds[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(fds[0]);
		victim_main(path, fds[1]);
	}
	close(fds[1]);
	while (seen < 200 && read(fds[0], &n, sizeof(n)) == (ssize_t)sizeof(n))
		acknowledged[seen++] = n;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	while (seen < 4096 && read(fds[0], &n, sizeof(n)) == (ssize_t)sizeof(n))
		acknowledged[seen++] = n;
	close(fds[0]);
	assert_true(seen >= 200);

	assert_int_equal(sqlite_open(path, &db), OK);
	for (int64_t i = 0; i < seen; i++)
		if (count_of(db, acknowledged[i]) != 1)
			missing++;
	assert_int_equal(missing, 0);
	sqlite_close(db);
	test_folder_remove(folder);
	mem_free(path);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest plain[] = {
		cmocka_unit_test(every_acknowledged_write_survives_kill_9),
		T(a_write_is_seen_by_the_next_read),
		T(a_failed_write_takes_back_only_its_own_changes),
	};
	const struct CMUnitTest in_fiber[] = {
		T(a_write_is_seen_by_the_next_read),
		T(a_failed_write_takes_back_only_its_own_changes),
		T(writes_of_many_fibers_share_commits),
		T(too_many_waiting_writes_are_refused),
		T(a_second_opening_is_refused_and_names_the_folder),
		T(closing_gives_the_folder_back_with_its_rows),
		T(a_newer_schema_is_refused),
		T(a_reader_cannot_write),
		T(a_full_disk_is_said_in_words),
		T(a_lost_transaction_fails_everybody_in_the_group),
	};
	int failed = cmocka_run_group_tests(plain, NULL, NULL);

	return failed + fiber_group(in_fiber, NULL, NULL);
}
