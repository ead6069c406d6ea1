/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SQLITE_SQLITE_INTERNAL_H
#define XIN_SQLITE_SQLITE_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include "sqlite/sqlite.h"

/* Shared between the files of this folder only. */

#define SQLITE_READERS_MAX 8
#define SQLITE_QUEUE_MAX   10000 /* writes waiting for the writer thread */
#define SQLITE_GROUP_MAX   512   /* writes carried by one COMMIT */

/* A prepared statement under the address of its text. */
struct sqlite_cached {
	const char *sql;
	sqlite3_stmt *statement;
};

/* A connection is used by one thread at a time. */
struct sqlite_connection {
	sqlite3 *db;
	struct sqlite_cached *cache; /* open addressing, power of two */
	size_t cache_size;
	size_t cache_count;
	struct sqlite_connection *next; /* in the list of idle readers */
};

struct sqlite_write;

struct sqlite {
	char *path;
	int lock_fd;

	struct sqlite_connection *writer; /* the writer thread's alone */
	pthread_t thread;
	bool started;

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t work;  /* a write came, or closing */
	pthread_cond_t done;  /* writes of callers outside fibers ended */
	pthread_cond_t idle;  /* a reader came back */
	struct sqlite_write *first, **last;
	size_t waiting;
	size_t waiting_max; /* SQLITE_QUEUE_MAX; tests lower it */
	bool closing;
	struct sqlite_connection *readers; /* idle ones */
	unsigned readers_made, readers_busy;
};

enum err_code sqlite__connect(
    const char *path, bool writer, struct sqlite_connection **connection_out);
void sqlite__disconnect(struct sqlite_connection *connection);
/* Run fn with `connection` as the one whose cache sqlite_statement uses, and
 * leave no statement open afterwards (it would hold its snapshot). */
enum err_code sqlite__call(
    struct sqlite_connection *connection, sqlite_fn fn, void *arg);
enum err_code sqlite__exec(sqlite3 *db, const char *sql);
/* The numbered files of schemas/sql that the program carries. */
enum err_code sqlite__migrate(sqlite3 *db);
enum err_code sqlite__writer_start(struct sqlite *db);
/* Ends after the writes that were queued before. */
void sqlite__writer_stop(struct sqlite *db);
void sqlite__readers_close(struct sqlite *db);

#endif
