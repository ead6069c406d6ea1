/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end of the store for a cluster: opening, health, sweep, and the
 * helpers of the other store_postgres_*.c files. The laws are those of the
 * embedded one. What that gets from its single writer, these get from one
 * statement (an UPDATE that names what must hold), from unique indexes, or from
 * an advisory lock on the thing that two replicas might both make.
 */
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
		rc = err_set(ERR_NOT_FOUND, "%s %s", what, id);
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

const struct store_backend store_postgres_backend = {
	.scheme = "postgres", /* postgres: and postgresql:, as libpq */
	.open = open_store,
	.close = close_store,
	.ping = ping_store,
	.sweep = sweep_store,
	.sources = &store_postgres__sources,
	.leases = &store_postgres__leases,
	.talk = &store_postgres__talk,
	.turns = &store_postgres__turns,
	.admin = &store_postgres__admin,
};
