/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer thread and its group commit. Writes that arrive while the disk is
 * busy with one COMMIT are carried together by the next: an fsync is shared by
 * all who wait for it, and nobody is told OK before it. Each write stands in a
 * savepoint, so that one that fails takes back its own changes only. A write
 * lives on its caller's stack until the caller is told.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/crash.h"
#include "base/metric.h"
#include "fiber/fiber.h"
#include "sqlite/sqlite_internal.h"

struct sqlite_write {
	struct sqlite_write *next;
	sqlite_fn fn;
	void *arg;
	enum err_code rc;
	struct error error;
	bool in_fiber;
	bool finished;          /* outside fibers; under the lock */
	struct fiber_done done; /* in fibers */
};

static void
set_failed(struct sqlite_write *write, enum err_code rc)
{
	write->rc = rc;
	err_save(&write->error);
}

/* One write inside its savepoint. False when SQLite gave up the whole
 * transaction (disk full, I/O error): then nothing of the group remains. */
static bool
run_one(struct sqlite_connection *connection, struct sqlite_write *write)
{
	sqlite3 *db = connection->db;
	enum err_code rc;

	rc = sqlite__exec(db, "SAVEPOINT one");
	if (rc == OK) {
		rc = sqlite__call(connection, write->fn, write->arg);
		if (rc == OK && !sqlite3_get_autocommit(db))
			rc = sqlite__exec(db, "RELEASE one");
	}
	if (rc == OK) {
		write->rc = OK;
		return !sqlite3_get_autocommit(db);
	}
	set_failed(write, rc);
	if (sqlite3_get_autocommit(db))
		return false;
	return sqlite3_exec(db, "ROLLBACK TO one; RELEASE one", NULL, NULL,
		   NULL) == SQLITE_OK;
}

/* The group did not reach the disk: nobody in it may believe so. Those that
 * failed before keep their own error. */
static void
fail_group(sqlite3 *db, struct sqlite_write *group, enum err_code rc)
{
	struct error error;

	err_save(&error);
	if (!sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	for (struct sqlite_write *w = group; w != NULL; w = w->next) {
		if (w->rc != OK)
			continue;
		w->rc = rc;
		w->error = error;
	}
}

static void
commit_group(struct sqlite_connection *connection, struct sqlite_write *group)
{
	sqlite3 *db = connection->db;
	enum err_code rc = sqlite__exec(db, "BEGIN IMMEDIATE");
	uint64_t count = 0;

	for (struct sqlite_write *w = group; w != NULL && rc == OK;
	     w = w->next) {
		count++;
		if (run_one(connection, w))
			continue;
		/* Report the cause to the others too. */
		rc = w->rc != OK ? w->rc : ERR_IO;
		if (w->rc != OK)
			err_restore(&w->error);
		else
			err_set(ERR_IO, "database: the transaction was lost");
	}
	if (rc == OK)
		rc = sqlite__exec(db, "COMMIT");
	if (rc != OK) {
		fail_group(db, group, rc);
		return;
	}
	metric_count(METRIC_STORE_COMMITS, METRIC_NO_LABELS, 1);
	metric_count(METRIC_STORE_WRITES, METRIC_NO_LABELS, count);
}

static void
tell_group(struct sqlite *db, struct sqlite_write *group)
{
	bool blocked = false;

	pthread_mutex_lock(&db->lock);
	while (group != NULL) {
		struct sqlite_write *write = group;

		group = write->next; /* the write is gone once told */
		if (write->in_fiber) {
			fiber_done_fulfil(&write->done);
		} else {
			write->finished = true;
			blocked = true;
		}
	}
	if (blocked)
		pthread_cond_broadcast(&db->done);
	pthread_mutex_unlock(&db->lock);
}

/* At most SQLITE_GROUP_MAX writes, NULL when closing and nothing is left. */
static struct sqlite_write *
take_group(struct sqlite *db)
{
	struct sqlite_write *group, *end;
	size_t count = 1;

	pthread_mutex_lock(&db->lock);
	while (db->first == NULL && !db->closing)
		pthread_cond_wait(&db->work, &db->lock);
	group = end = db->first;
	if (group != NULL) {
		while (end->next != NULL && count < SQLITE_GROUP_MAX) {
			end = end->next;
			count++;
		}
		db->first = end->next;
		if (db->first == NULL)
			db->last = &db->first;
		end->next = NULL;
		db->waiting -= count;
	}
	pthread_mutex_unlock(&db->lock);
	return group;
}

static void *
writer_main(void *arg)
{
	struct sqlite *db = arg;
	struct sqlite_write *group;

	crash_guard_thread();
	while ((group = take_group(db)) != NULL) {
		commit_group(db->writer, group);
		tell_group(db, group);
	}
	return NULL;
}

enum err_code
sqlite__writer_start(struct sqlite *db)
{
	sigset_t before;
	int rc;

	/* Signals are for the main thread and the loops. */
	crash_block_signals(&before);
	rc = pthread_create(&db->thread, NULL, writer_main, db);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return err_set(
		    ERR_INTERNAL, "cannot start the writer: %s", strerror(rc));
	pthread_setname_np(db->thread, "xin-writer");
	db->started = true;
	return OK;
}

void
sqlite__writer_stop(struct sqlite *db)
{
	pthread_mutex_lock(&db->lock);
	db->closing = true;
	pthread_cond_signal(&db->work);
	pthread_mutex_unlock(&db->lock);
	if (db->started)
		pthread_join(db->thread, NULL);
	db->started = false;
}

static enum err_code
enqueue(struct sqlite *db, struct sqlite_write *write)
{
	enum err_code rc = OK;

	pthread_mutex_lock(&db->lock);
	if (db->closing) {
		rc = err_set(ERR_UNAVAILABLE, "the database is closing");
	} else if (db->waiting >= db->waiting_max) {
		rc = err_set(ERR_OVERLOADED,
		    "%zu writes wait for the disk already", db->waiting_max);
	} else {
		*db->last = write;
		db->last = &write->next;
		db->waiting++;
		pthread_cond_signal(&db->work);
	}
	pthread_mutex_unlock(&db->lock);
	return rc;
}

enum err_code
sqlite_write(struct sqlite *db, sqlite_fn fn, void *arg)
{
	struct sqlite_write write = { .fn = fn, .arg = arg };

	write.in_fiber = fiber_self() != NULL;
	if (write.in_fiber)
		fiber_done_init(&write.done);
	TRY(enqueue(db, &write));
	if (write.in_fiber) {
		fiber_done_wait(&write.done);
	} else {
		pthread_mutex_lock(&db->lock);
		while (!write.finished)
			pthread_cond_wait(&db->done, &db->lock);
		pthread_mutex_unlock(&db->lock);
	}
	if (write.rc != OK)
		err_restore(&write.error);
	return write.rc;
}
