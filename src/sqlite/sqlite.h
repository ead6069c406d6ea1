/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SQLITE_SQLITE_H
#define XIN_SQLITE_SQLITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sqlite3.h>
#include "base/error.h"

/*
 * The embedded database: one file in WAL mode, one writer thread with group
 * commit (synchronous=FULL: a write that returned is on disk), readers on pool
 * threads, each with a connection of its own.
 */
struct sqlite;

/* Opens, migrates with the numbered files of schemas/sql embedded in the
 * program, starts the writer thread. ERR_IO, ERR_CONFLICT (locked data
 * folder, newer schema). Blocks: main thread. */
enum err_code sqlite_open(const char *path, struct sqlite **db_out);
void sqlite_close(struct sqlite *db); /* writes queued before are committed */

/* A copy of the database as it is at one moment, checked and on the disk, also
 * while another process has it open. ERR_IO, ERR_DISK_FULL. Blocks. */
enum err_code sqlite_copy(const char *from_path, const char *to_path);

/* A write: fn runs on the writer thread inside a savepoint of the group's
 * transaction; an error rolls back its own savepoint only. Returns after the
 * group's COMMIT reached the disk (ERR_DISK_FULL, ERR_IO for all of the group
 * when it did not). fn must be quick and bounded; cached statements by
 * sqlite_statement. WAITS (or blocks, outside fibers). */
typedef enum err_code (*sqlite_fn)(sqlite3 *db, void *arg);
enum err_code sqlite_write(struct sqlite *db, sqlite_fn fn, void *arg);
/* A read, on a pool thread with a reader connection, in one snapshot. */
enum err_code sqlite_read(struct sqlite *db, sqlite_fn fn, void *arg);

/* A prepared statement cached in the connection, reset and with bindings
 * cleared; do not finalize. `sql` must be a string literal (cached by
 * address). */
enum err_code sqlite_statement(
    sqlite3 *db, const char *sql, sqlite3_stmt **statement_out);
/* Record SQLite's message; maps FULL, BUSY, CONSTRAINT, IOERR. */
enum err_code sqlite_fail(sqlite3 *db, const char *what);
/* sqlite3_step for statements without rows. */
enum err_code sqlite_done(sqlite3 *db, sqlite3_stmt *statement);
/* Binding and reading helpers: NULL-safe text. */
void sqlite_bind(sqlite3_stmt *statement, int index, const char *text);
/* mem_strdup'd, NULL for NULL. */
char *sqlite_text(sqlite3_stmt *statement, int column);
/* A cached statement with its values bound in order: one letter each, `t` text
 * (NULL-safe), `i` int64_t. */
enum err_code sqlite_query(sqlite3 *db, sqlite3_stmt **statement_out,
    const char *sql, const char *types, ...);
/* The same, run to its end; the changed rows are counted (may be NULL). */
enum err_code sqlite_run(
    sqlite3 *db, int *changes_out, const char *sql, const char *types, ...);
/* Step to the next row: OK with *row_out false at the end. */
enum err_code sqlite_step(sqlite3 *db, sqlite3_stmt *statement, bool *row_out);
/* Hook for auxiliary functions (search's ranking): called for each new
 * connection. Set before sqlite_open. */
void sqlite_on_connect(enum err_code (*fn)(sqlite3 *db));

#endif
