/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of the database while its process writes on. All pages are read in one
 * read transaction, so the copy is one moment's, and page for page: VACUUM INTO
 * would number anew the rows that the index names by their number. In WAL mode
 * neither side waits for the other; the folder's lock is not taken.
 * https://www.sqlite.org/backup.html
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "sqlite/sqlite_internal.h"

static enum err_code
copy_pages(sqlite3 *from, sqlite3 *to)
{
	sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");

	if (backup == NULL)
		return sqlite_fail(to, "backup");
	sqlite3_backup_step(backup, -1);
	if (sqlite3_backup_finish(backup) != SQLITE_OK)
		return sqlite_fail(to, "backup");
	return OK;
}

/* Damage that is found now can still be answered with another copy. */
static enum err_code
check(sqlite3 *db)
{
	sqlite3_stmt *statement;
	enum err_code rc = OK;

	if (sqlite3_prepare_v2(
		db, "PRAGMA quick_check(1)", -1, &statement, NULL) != SQLITE_OK)
		return sqlite_fail(db, "quick_check");
	if (sqlite3_step(statement) != SQLITE_ROW)
		rc = sqlite_fail(db, "quick_check");
	else if (!str_eq((const char *)sqlite3_column_text(statement, 0), "ok"))
		rc = err_set(ERR_IO, "the copy is damaged: %s",
		    (const char *)sqlite3_column_text(statement, 0));
	sqlite3_finalize(statement);
	return rc;
}

static enum err_code
open_one(const char *path, int flags, sqlite3 **db_out)
{
	enum err_code rc = OK;

	if (sqlite3_open_v2(path, db_out,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | flags,
		NULL) != SQLITE_OK)
		rc = err_add(sqlite_fail(*db_out, "open"), "%s", path);
	sqlite3_busy_timeout(*db_out, 5000);
	return rc;
}

enum err_code
sqlite_copy(const char *from_path, const char *to_path)
{
	sqlite3 *from = NULL, *to = NULL;
	enum err_code rc = open_one(from_path, 0, &from);

	if (rc == OK)
		rc = open_one(to_path, SQLITE_OPEN_CREATE, &to);
	if (rc == OK)
		rc = copy_pages(from, to);
	if (rc == OK)
		rc = check(to);
	sqlite3_close_v2(to);
	sqlite3_close_v2(from);
	return rc;
}
