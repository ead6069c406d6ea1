/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statements: the cache of each connection, errors in our words, small helpers
 * of binding and reading. The connection that a callback works on is a
 * thread-local, because SQLite 3.40 cannot keep a pointer of ours in a
 * connection and a callback never changes its thread.
 */
#include "sqlite/sqlite.h"

#include <stdarg.h>
#include <string.h>

#include "base/mem.h"
#include "sqlite/sqlite_internal.h"

#define CACHE_FIRST 64
/* Literals are few; a text that is made at run time would fill the cache. */
#define CACHE_MAX 1024

static _Thread_local struct sqlite_connection *current;

static void
reset_all(sqlite3 *db)
{
	sqlite3_stmt *s = NULL;

	while ((s = sqlite3_next_stmt(db, s)) != NULL)
		if (sqlite3_stmt_busy(s))
			sqlite3_reset(s);
}

enum err_code
sqlite__call(struct sqlite_connection *connection, sqlite_fn fn, void *arg)
{
	struct sqlite_connection *outer = current;
	enum err_code rc;

	current = connection;
	rc = fn(connection->db, arg);
	current = outer;
	reset_all(connection->db);
	return rc;
}

static struct sqlite_cached *
slot_of(struct sqlite_cached *cache, size_t size, const char *sql)
{
	size_t i = ((uintptr_t)sql * UINT64_C(0x9e3779b97f4a7c15)) >> 32;

	for (;; i++) {
		struct sqlite_cached *slot = &cache[i & (size - 1)];

		if (slot->sql == sql || slot->sql == NULL)
			return slot;
	}
}

static void
grow(struct sqlite_connection *c)
{
	size_t size = c->cache_size == 0 ? CACHE_FIRST : c->cache_size * 2;
	struct sqlite_cached *cache = mem_zero(size * sizeof(*cache));

	for (size_t i = 0; i < c->cache_size; i++)
		if (c->cache[i].sql != NULL)
			*slot_of(cache, size, c->cache[i].sql) = c->cache[i];
	mem_free(c->cache);
	c->cache = cache;
	c->cache_size = size;
}

enum err_code
sqlite_statement(sqlite3 *db, const char *sql, sqlite3_stmt **statement_out)
{
	struct sqlite_connection *c = current;
	struct sqlite_cached *slot;

	must(c != NULL && c->db == db);
	if (c->cache_count * 2 >= c->cache_size) {
		must(c->cache_count < CACHE_MAX);
		grow(c);
	}
	slot = slot_of(c->cache, c->cache_size, sql);
	if (slot->sql == NULL) {
		sqlite3_stmt *statement;

		if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT,
			&statement, NULL) != SQLITE_OK)
			return sqlite_fail(db, sql);
		*slot = (struct sqlite_cached){ sql, statement };
		c->cache_count++;
	}
	sqlite3_reset(slot->statement);
	sqlite3_clear_bindings(slot->statement);
	*statement_out = slot->statement;
	return OK;
}

static enum err_code
code_of(int primary)
{
	switch (primary) {
	case SQLITE_FULL:
		return ERR_DISK_FULL;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return ERR_UNAVAILABLE;
	case SQLITE_CONSTRAINT:
		return ERR_CONFLICT;
	case SQLITE_TOOBIG:
		return ERR_TOO_LARGE;
	case SQLITE_INTERRUPT:
		return ERR_CANCELLED;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_PERM:
		return ERR_IO;
	default:
		return ERR_INTERNAL;
	}
}

enum err_code
sqlite_fail(sqlite3 *db, const char *what)
{
	return err_set(code_of(sqlite3_errcode(db) & 0xff),
	    "database: %.200s: %s", what, sqlite3_errmsg(db));
}

enum err_code
sqlite_done(sqlite3 *db, sqlite3_stmt *statement)
{
	int rc;

	/* Rows of a RETURNING clause that nobody wants are skipped. */
	do
		rc = sqlite3_step(statement);
	while (rc == SQLITE_ROW);
	if (rc != SQLITE_DONE)
		return sqlite_fail(db, sqlite3_sql(statement));
	return OK;
}

void
sqlite_bind(sqlite3_stmt *statement, int index, const char *text)
{
	if (text == NULL)
		sqlite3_bind_null(statement, index);
	else
		sqlite3_bind_text(statement, index, text, -1, SQLITE_TRANSIENT);
}

char *
sqlite_text(sqlite3_stmt *statement, int column)
{
	const char *text = (const char *)sqlite3_column_text(statement, column);

	if (text == NULL)
		return NULL;
	return mem_strndup(
	    text, (size_t)sqlite3_column_bytes(statement, column));
}

static enum err_code
prepare(sqlite3 *db, sqlite3_stmt **statement_out, const char *sql,
    const char *types, va_list ap)
{
	sqlite3_stmt *s;

	TRY(sqlite_statement(db, sql, &s));
	for (int i = 0; types[i] != '\0'; i++) {
		if (types[i] == 't')
			sqlite_bind(s, i + 1, va_arg(ap, const char *));
		else
			sqlite3_bind_int64(s, i + 1, va_arg(ap, int64_t));
	}
	*statement_out = s;
	return OK;
}

enum err_code
sqlite_query(sqlite3 *db, sqlite3_stmt **statement_out, const char *sql,
    const char *types, ...)
{
	enum err_code rc;
	va_list ap;

	va_start(ap, types);
	rc = prepare(db, statement_out, sql, types, ap);
	va_end(ap);
	return rc;
}

enum err_code
sqlite_run(
    sqlite3 *db, int *changes_out, const char *sql, const char *types, ...)
{
	sqlite3_stmt *s;
	enum err_code rc;
	va_list ap;

	va_start(ap, types);
	rc = prepare(db, &s, sql, types, ap);
	va_end(ap);
	if (rc != OK)
		return rc;
	TRY(sqlite_done(db, s));
	if (changes_out != NULL)
		*changes_out = sqlite3_changes(db);
	return OK;
}

enum err_code
sqlite_step(sqlite3 *db, sqlite3_stmt *statement, bool *row_out)
{
	int rc = sqlite3_step(statement);

	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return sqlite_fail(db, sqlite3_sql(statement));
	*row_out = rc == SQLITE_ROW;
	return OK;
}
