/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing the embedded database: the lock of its folder, the
 * pragmas of a connection. One process owns a data folder, because the writer
 * thread assumes that nobody else writes; the lock is flock(2) on a file beside
 * the database, so it goes away with the process, however that ends.
 */
#include "sqlite/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "sqlite/sqlite_internal.h"

#define LOCK_TRIES 50 /* one second in all */

#define LOCK_NAME  "xin.lock"

static enum err_code (*on_connect)(sqlite3 *db);

void sqlite_on_connect(enum err_code (*fn)(sqlite3 *db))
{
	on_connect = fn;
}

enum err_code
sqlite__exec(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return sqlite_fail(db, sql);
	return OK;
}

static enum err_code
call_on_connect(sqlite3 *db, void *arg)
{
	(void)arg;
	return on_connect(db);
}

/* FULL: COMMIT returns after the log's fsync. The journal size limit keeps a
 * log that grew once from staying big. */
static enum err_code
set_up(struct sqlite_connection *connection, bool writer)
{
	sqlite3 *db = connection->db;

	sqlite3_extended_result_codes(db, 1);
	sqlite3_busy_timeout(db, 5000);
	TRY(sqlite__exec(db, "PRAGMA journal_mode = WAL"));
	TRY(sqlite__exec(db, "PRAGMA synchronous = FULL"));
	TRY(sqlite__exec(db, "PRAGMA foreign_keys = ON"));
	TRY(sqlite__exec(db, "PRAGMA temp_store = MEMORY"));
	TRY(sqlite__exec(db, "PRAGMA journal_size_limit = 67108864"));
	if (on_connect != NULL)
		TRY(sqlite__call(connection, call_on_connect, NULL));
	if (!writer)
		TRY(sqlite__exec(db, "PRAGMA query_only = ON"));
	return OK;
}

enum err_code
sqlite__connect(
    const char *path, bool writer, struct sqlite_connection **connection_out)
{
	struct sqlite_connection *connection = mem_zero(sizeof(*connection));
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
	enum err_code rc;

	if (writer)
		flags |= SQLITE_OPEN_CREATE;
	if (sqlite3_open_v2(path, &connection->db, flags, NULL) != SQLITE_OK)
		rc = sqlite_fail(connection->db, "open");
	else
		rc = set_up(connection, writer);
	if (rc != OK) {
		sqlite__disconnect(connection);
		return err_add(rc, "%s", path);
	}
	*connection_out = connection;
	return OK;
}

void
sqlite__disconnect(struct sqlite_connection *connection)
{
	if (connection == NULL)
		return;
	for (size_t i = 0; i < connection->cache_size; i++)
		sqlite3_finalize(connection->cache[i].statement);
	mem_free(connection->cache);
	sqlite3_close_v2(connection->db);
	mem_free(connection);
}

/* The folder of `path`, "." when it names none; mem_free. */
static char *
folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return mem_strdup(".");
	return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static enum err_code
make_folders(const char *folder)
{
	char *part = mem_strdup(folder);
	enum err_code rc = OK;

	for (char *p = part; rc == OK; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (part[0] != '\0' && mkdir(part, 0700) != 0 &&
		    errno != EEXIST)
			rc = err_set(ERR_IO, "cannot make the folder %s: %s",
			    part, strerror(errno));
		*p = c;
		if (c == '\0')
			break;
	}
	mem_free(part);
	return rc;
}

/* The threads of a killed process end one by one: its lock may outlive it by
 * a moment, and whoever restarts it at once must not be refused. */
static bool
lock_soon(int fd)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return true;
		if (errno != EWOULDBLOCK)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	errno = EWOULDBLOCK;
	return false;
}

static enum err_code
lock_folder(const char *folder, int *fd_out)
{
	char *name = mem_printf("%s/" LOCK_NAME, folder);
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	enum err_code rc = OK;

	if (fd < 0)
		rc = err_set(
		    ERR_IO, "cannot open %s: %s", name, strerror(errno));
	else if (!lock_soon(fd) && errno == EWOULDBLOCK)
		rc = err_set(ERR_CONFLICT,
		    "the data folder %s is in use by another process; stop it, "
		    "or set XIN_DATA_DIR to another folder",
		    folder);
	else if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		rc = err_set(
		    ERR_IO, "cannot lock %s: %s", name, strerror(errno));
	mem_free(name);
	if (rc != OK) {
		if (fd >= 0)
			close(fd);
		return rc;
	}
	*fd_out = fd;
	return OK;
}

/* The names of a new database and of its lock must survive a power cut too. */
static enum err_code
sync_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err_code rc = OK;

	if (fd < 0 || fsync(fd) != 0)
		rc = err_set(ERR_IO, "cannot sync the folder %s: %s", folder,
		    strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

static enum err_code
call_migrate(sqlite3 *db, void *arg)
{
	(void)arg;
	return sqlite__migrate(db);
}

static enum err_code
open_locked(struct sqlite *db, const char *folder)
{
	enum err_code rc;

	TRY(make_folders(folder));
	TRY(lock_folder(folder, &db->lock_fd));
	TRY(sqlite__connect(db->path, true, &db->writer));
	rc = sqlite__call(db->writer, call_migrate, NULL);
	if (rc != OK)
		return err_add(rc, "%s", db->path);
	TRY(sync_folder(folder));
	return sqlite__writer_start(db);
}

enum err_code
sqlite_open(const char *path, struct sqlite **db_out)
{
	struct sqlite *db = mem_zero(sizeof(*db));
	char *folder = folder_of(path);
	enum err_code rc;

	db->path = mem_strdup(path);
	db->lock_fd = -1;
	db->waiting_max = SQLITE_QUEUE_MAX;
	db->last = &db->first;
	pthread_mutex_init(&db->lock, NULL);
	pthread_cond_init(&db->work, NULL);
	pthread_cond_init(&db->done, NULL);
	pthread_cond_init(&db->idle, NULL);
	rc = open_locked(db, folder);
	mem_free(folder);
	if (rc != OK) {
		sqlite_close(db);
		return rc;
	}
	*db_out = db;
	return OK;
}

void
sqlite_close(struct sqlite *db)
{
	if (db == NULL)
		return;
	sqlite__writer_stop(db);
	sqlite__readers_close(db);
	sqlite__disconnect(db->writer);
	if (db->lock_fd >= 0)
		close(db->lock_fd);
	pthread_cond_destroy(&db->idle);
	pthread_cond_destroy(&db->done);
	pthread_cond_destroy(&db->work);
	pthread_mutex_destroy(&db->lock);
	mem_free(db->path);
	mem_free(db);
}
