/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads: a pool thread takes an idle reader connection (at most
 * SQLITE_READERS_MAX are ever made), reads in one snapshot, gives it back.
 * Readers never wait for the writer in WAL mode.
 */
#include <errno.h>
#include <time.h>

#include "fiber/fiber.h"
#include "sqlite/sqlite_internal.h"

#define WAIT_SECONDS 10 /* for an idle connection */

struct read {
	struct sqlite *db;
	sqlite_fn fn;
	void *arg;
};

/* Under the lock. OK with *connection_out NULL: make a new one. */
static enum err_code
wait_for_reader(struct sqlite *db, struct sqlite_connection **connection_out)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_SECONDS;
	while (!db->closing && db->readers == NULL &&
	       db->readers_made >= SQLITE_READERS_MAX)
		if (pthread_cond_timedwait(&db->idle, &db->lock, &until) ==
		    ETIMEDOUT)
			return err_set(ERR_OVERLOADED,
			    "no database reader came free in %d s",
			    WAIT_SECONDS);
	if (db->closing)
		return err_set(ERR_UNAVAILABLE, "the database is closing");
	*connection_out = db->readers;
	if (db->readers != NULL)
		db->readers = db->readers->next;
	else
		db->readers_made++;
	db->readers_busy++;
	return OK;
}

static void
give_back(struct sqlite *db, struct sqlite_connection *connection)
{
	pthread_mutex_lock(&db->lock);
	db->readers_busy--;
	if (connection != NULL) {
		connection->next = db->readers;
		db->readers = connection;
	} else {
		db->readers_made--;
	}
	pthread_cond_broadcast(&db->idle);
	pthread_mutex_unlock(&db->lock);
}

static enum err_code
take(struct sqlite *db, struct sqlite_connection **connection_out)
{
	struct sqlite_connection *connection = NULL;
	enum err_code rc;

	pthread_mutex_lock(&db->lock);
	rc = wait_for_reader(db, &connection);
	pthread_mutex_unlock(&db->lock);
	if (rc != OK)
		return rc;
	if (connection == NULL) {
		rc = sqlite__connect(db->path, false, &connection);
		if (rc != OK) {
			give_back(db, NULL);
			return rc;
		}
	}
	*connection_out = connection;
	return OK;
}

static enum err_code
read_now(void *arg)
{
	struct read *read = arg;
	struct sqlite_connection *connection;
	enum err_code rc;

	TRY(take(read->db, &connection));
	rc = sqlite__exec(connection->db, "BEGIN");
	if (rc == OK) {
		rc = sqlite__call(connection, read->fn, read->arg);
		sqlite3_exec(connection->db, "ROLLBACK", NULL, NULL, NULL);
	}
	give_back(read->db, connection);
	return rc;
}

enum err_code
sqlite_read(struct sqlite *db, sqlite_fn fn, void *arg)
{
	struct read read = { db, fn, arg };

	if (fiber_self() == NULL)
		return read_now(&read);
	return pool_run(read_now, &read);
}

void
sqlite__readers_close(struct sqlite *db)
{
	struct sqlite_connection *connection;

	pthread_mutex_lock(&db->lock);
	while (db->readers_busy > 0)
		pthread_cond_wait(&db->idle, &db->lock);
	pthread_mutex_unlock(&db->lock);
	while ((connection = db->readers) != NULL) {
		db->readers = connection->next;
		sqlite__disconnect(connection);
	}
}
