/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded back end of the store: opening, health, sweep, and the helpers
 * of the other store_sqlite_*.c files. The database belongs to whoever opened
 * it (the queue and the search share it). Each op copies its arguments'
 * addresses into a call structure, because its function runs on another thread
 * while the caller waits.
 */
#include <stdio.h>
#include <string.h>

#include "base/checkup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store/store_sqlite.h"

int64_t
store_sqlite__now(void)
{
	return (int64_t)clock_wall_ms();
}

static enum err_code
open_store(const char *url, struct sqlite *db, struct store **store_out)
{
	struct store_sqlite *store;

	(void)url; /* the caller opened the file that it names */
	if (db == NULL)
		return err_set(ERR_CONFIG, "store: no database is open");
	store = mem_zero(sizeof(*store));
	store->db = db;
	*store_out = &store->store;
	return OK;
}

static void
close_store(struct store *store)
{
	mem_free(store);
}

static enum err_code
ping(sqlite3 *db, void *arg)
{
	(void)arg;
	return sqlite_run(db, NULL, "UPDATE health SET at = ? WHERE id = 1",
	    "i", store_sqlite__now());
}

static enum err_code
ping_store(struct store *store)
{
	return sqlite_write(store_sqlite__db(store), ping, NULL);
}

static enum err_code
checkup_store(struct store *store, struct checkup *checkup)
{
	(void)store;
	snprintf(checkup->facts, sizeof(checkup->facts), "SQLite %s",
	    sqlite3_libversion());
	return OK;
}

static enum err_code
sweep(sqlite3 *db, void *arg)
{
	(void)arg;
	return sqlite_run(db, NULL,
	    "DELETE FROM dedup WHERE key IN (SELECT key FROM dedup"
	    " WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
	    "ii", store_sqlite__now(), (int64_t)STORE_SWEEP_MAX);
}

static enum err_code
sweep_store(struct store *store)
{
	return sqlite_write(store_sqlite__db(store), sweep, NULL);
}

static enum err_code
figures(sqlite3 *db, void *arg)
{
	sqlite3_stmt *s;
	bool row;

	TRY(sqlite_query(db, &s,
	    "SELECT status, count(*), min(updated_at)"
	    " FROM knowledge_sources GROUP BY status",
	    ""));
	for (;;) {
		TRY(sqlite_step(db, s, &row));
		if (!row)
			return OK;
		store__add_figure(arg, (const char *)sqlite3_column_text(s, 0),
		    sqlite3_column_int64(s, 1), sqlite3_column_int64(s, 2));
	}
}

static enum err_code
read_figures(struct store *store, struct store_figures *figures_out)
{
	return sqlite_read(store_sqlite__db(store), figures, figures_out);
}

const struct store_backend store_sqlite_backend = {
	.scheme = "sqlite:",
	.open = open_store,
	.close = close_store,
	.ping = ping_store,
	.checkup = checkup_store,
	.sweep = sweep_store,
	.figures = read_figures,
	.sources = &store_sqlite__sources,
	.leases = &store_sqlite__leases,
	.talk = &store_sqlite__talk,
	.turns = &store_sqlite__turns,
	.admin = &store_sqlite__admin,
	.erase = &store_sqlite__erase,
};
