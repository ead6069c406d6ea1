/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end of the store for a cluster: opening, health, sweep, and the
 * helpers of the other store_postgres_*.c files. The laws are those of the
 * embedded one. What that gets from its single writer, these get from one
 * statement (an UPDATE that names what must hold), from unique indexes, or from
 * an advisory lock on the thing that two replicas might both make.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/checkup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store/store_postgres.h"

int64_t
store_postgres__now(void)
{
	return (int64_t)clock_wall_ms();
}

enum err_code
store_postgres__do(struct store *store, struct postgres_batch *batch)
{
	enum err_code rc = postgres_run(store_postgres__link(store), batch);

	postgres_clear(batch);
	return rc;
}

enum err_code
store_postgres__must(struct store *store, struct postgres_batch *batch,
    const char *what, const char *id)
{
	enum err_code rc = postgres_run(store_postgres__link(store), batch);

	if (rc == OK && postgres_changes(batch, batch->statements - 1) == 0)
		rc = err_set(ERR_NOT_FOUND, "%s \"%s\"", what, id);
	postgres_clear(batch);
	return rc;
}

static enum err_code
open_store(const char *url, struct sqlite *db, struct store **store_out)
{
	struct store_postgres *store;
	struct postgres *link;

	(void)db;
	TRY(postgres_open(url, &link));
	store = mem_zero(sizeof(*store));
	store->link = link;
	*store_out = &store->store;
	return OK;
}

static void
close_store(struct store *store)
{
	postgres_close(store_postgres__link(store));
	mem_free(store);
}

static enum err_code
ping_store(struct store *store)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch, "UPDATE health SET at = $1 WHERE id = 1", "i",
	    store_postgres__now());
	return store_postgres__must(store, &batch, "the row of", "health");
}

static enum err_code
checkup_store(struct store *store, struct checkup *checkup)
{
	struct postgres_batch batch = { 0 };
	struct postgres_row row;
	int64_t before = store_postgres__now(), skew_ms;
	enum err_code rc;

	postgres_add(&batch,
	    "SELECT current_setting('server_version'), current_database(),"
	    " (extract(epoch FROM clock_timestamp()) * 1000)::bigint,"
	    " (SELECT max(version) FROM schema_migrations),"
	    " current_setting('max_connections')",
	    "");
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK) {
		row = postgres_row(&batch, 0, 0);
		skew_ms =
		    postgres_int(row, 2) - (before + store_postgres__now()) / 2;
		snprintf(checkup->facts, sizeof(checkup->facts),
		    "PostgreSQL %s, database %s, schema %lld, clock %+lld ms, "
		    "%s connections at most",
		    postgres_str(row, 0), postgres_str(row, 1),
		    (long long)postgres_int(row, 3), (long long)skew_ms,
		    postgres_str(row, 4));
		if (llabs(skew_ms) > CHECKUP_SKEW_MS)
			snprintf(checkup->advice, sizeof(checkup->advice),
			    "the clocks of this machine and of PostgreSQL "
			    "differ by %lld ms: leases need one time, set the "
			    "clocks",
			    llabs(skew_ms));
	}
	postgres_clear(&batch);
	return rc;
}

/* Several replicas sweep: each takes what no other has. */
static enum err_code
sweep_store(struct store *store)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "DELETE FROM dedup WHERE key IN (SELECT key FROM dedup"
	    " WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2"
	    " FOR UPDATE SKIP LOCKED)",
	    "ii", store_postgres__now(), (int64_t)STORE_SWEEP_MAX);
	return store_postgres__do(store, &batch);
}

static enum err_code
read_figures(struct store *store, struct store_figures *figures)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch,
	    "SELECT status, count(*),"
	    " (extract(epoch FROM min(updated_at)) * 1000)::bigint"
	    " FROM knowledge_sources GROUP BY status",
	    "");
	rc = postgres_run(store_postgres__link(store), &batch);
	for (int i = 0; rc == OK && i < postgres_rows(&batch, 0); i++) {
		struct postgres_row row = postgres_row(&batch, 0, i);

		store__add_figure(figures, postgres_str(row, 0),
		    postgres_int(row, 1), postgres_int(row, 2));
	}
	postgres_clear(&batch);
	return rc;
}

const struct store_backend store_postgres_backend = {
	.scheme = "postgres", /* postgres: and postgresql:, as libpq */
	.open = open_store,
	.close = close_store,
	.ping = ping_store,
	.checkup = checkup_store,
	.sweep = sweep_store,
	.figures = read_figures,
	.sources = &store_postgres__sources,
	.leases = &store_postgres__leases,
	.talk = &store_postgres__talk,
	.turns = &store_postgres__turns,
	.admin = &store_postgres__admin,
	.erase = &store_postgres__erase,
};
