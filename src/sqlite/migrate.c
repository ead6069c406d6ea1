/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Migrations: the embedded files schemas/sql/NNNN_name.sql, each applied once,
 * in order, in a transaction of its own, and recorded in schema_migrations.
 * A database that knows a newer number was written by a newer program: refuse
 * it, because going on would break data that we do not understand.
 */
#include "base/clock.h"
#include "base/embed.h"
#include "sqlite/sqlite_internal.h"

#define FOLDER "schemas/sql/"

static enum err_code
newest_applied(sqlite3 *db, int *number_out)
{
	sqlite3_stmt *s;

	TRY(sqlite_statement(
	    db, "SELECT coalesce(max(version), 0) FROM schema_migrations", &s));
	if (sqlite3_step(s) != SQLITE_ROW)
		return sqlite_fail(db, "schema_migrations");
	*number_out = sqlite3_column_int(s, 0);
	sqlite3_reset(s);
	return OK;
}

static enum err_code
record(sqlite3 *db, int number, const char *name)
{
	sqlite3_stmt *s;

	TRY(sqlite_statement(db,
	    "INSERT INTO schema_migrations(version, name, applied_at)"
	    " VALUES(?, ?, ?)",
	    &s));
	sqlite3_bind_int(s, 1, number);
	sqlite_bind(s, 2, name);
	sqlite3_bind_int64(s, 3, (int64_t)clock_wall_ms());
	return sqlite_done(db, s);
}

static enum err_code
apply(sqlite3 *db, const struct embed *file, int number)
{
	enum err_code rc;

	TRY(sqlite__exec(db, "BEGIN IMMEDIATE"));
	rc = sqlite3_exec(db, file->data, NULL, NULL, NULL) == SQLITE_OK
		 ? OK
		 : sqlite_fail(db, file->name);
	if (rc == OK)
		rc = record(db, number, file->name);
	if (rc == OK)
		rc = sqlite__exec(db, "COMMIT");
	if (rc != OK && !sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

enum err_code
sqlite__migrate(sqlite3 *db)
{
	const struct embed *file;
	int applied = 0, known = 0;

	TRY(sqlite__exec(db, "CREATE TABLE IF NOT EXISTS schema_migrations("
			     "version INTEGER PRIMARY KEY, name TEXT NOT NULL,"
			     " applied_at INTEGER NOT NULL)"));
	TRY(newest_applied(db, &applied));
	while ((file = embed_migration(FOLDER, known, &known)) != NULL)
		if (known > applied)
			TRY(apply(db, file, known));
	if (applied > known)
		return err_set(ERR_CONFLICT,
		    "the database has schema %d, this program knows %d: it was "
		    "written by a newer version; run that one",
		    applied, known);
	return OK;
}
