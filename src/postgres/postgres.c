/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link: opening, closing, and the two ways to use it. Both borrow a
 * connection of the running loop; a caller outside fibers has its work done on
 * the first loop.
 */
#include "postgres/postgres.h"

#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/crypto.h"
#include "base/mem.h"
#include "base/task.h"
#include "postgres/internal.h"

#define TRIES_MAX 5
/* The server ends a statement at its limit; past this we do it. */
#define GRACE_MS 500
/* For ROLLBACK and COMMIT, which are not given up lightly. */
#define END_MS 5000

static enum err_code
check(void *arg)
{
	return postgres__check(arg);
}

enum err_code
postgres_open(const char *url, struct postgres **postgres_out)
{
	struct postgres *postgres = mem_zero(sizeof(*postgres));
	enum err_code rc;

	postgres->connections_max = (unsigned)config_int(CFG_STORE_CONNECTIONS);
	postgres->statement_ms = (uint64_t)config_int(CFG_STORE_STATEMENT_MS);
	rc = postgres__url(postgres, url);
	if (rc == OK)
		rc = fiber_self() != NULL ? pool_run(check, postgres)
					  : postgres__check(postgres);
	if (rc != OK) {
		postgres__url_free(postgres);
		mem_free(postgres);
		return rc;
	}
	*postgres_out = postgres;
	return OK;
}

void
postgres_close(struct postgres *postgres)
{
	struct error why;

	if (postgres == NULL)
		return;
	err_save(&why);
	postgres__pools_close(postgres);
	err_restore(&why);
	postgres__url_free(postgres);
	mem_free(postgres);
}

static uint64_t
limit(const struct postgres *postgres)
{
	return deadline_min(task_self()->deadline_ms,
	    deadline_in_ms(postgres->statement_ms + GRACE_MS));
}

/* Two that met in a deadlock must not meet again at once. */
static enum err_code
before_retry(unsigned tries)
{
	uint32_t dice;

	crypto_random(&dice, sizeof(dice));
	return fiber_sleep(1 + dice % (10u << tries));
}

/* ---- one batch ---- */

struct outside {
	struct postgres *postgres;
	struct postgres_batch *batch;
	postgres_fn fn;
	void *arg;
};

static enum err_code
run_inside(void *arg)
{
	struct outside *o = arg;

	return postgres_run(o->postgres, o->batch);
}

static enum err_code
no_loop(void)
{
	return err_set(ERR_UNAVAILABLE, "PostgreSQL: no loop is running");
}

enum err_code
postgres_run(struct postgres *postgres, struct postgres_batch *batch)
{
	struct outside o = { .postgres = postgres, .batch = batch };
	struct postgres__conn *conn;
	enum err_code rc;
	bool again;

	if (fiber_self() == NULL)
		return loops_count() > 0 ? loop_call(loop_at(0), run_inside, &o)
					 : no_loop();
	for (unsigned tries = 1;; tries++) {
		TRY(postgres__borrow(postgres, &conn));
		rc = postgres__exec(conn, batch, false, limit(postgres));
		again = rc != OK && conn->retry && tries < TRIES_MAX;
		postgres__give_back(conn);
		if (!again)
			return rc;
		TRY(before_retry(tries));
	}
}

/* ---- transactions ---- */

struct postgres_tx {
	struct postgres *postgres;
	struct postgres__conn *conn;
	bool begun;
};

enum err_code
postgres_tx_run(struct postgres_tx *tx, struct postgres_batch *batch)
{
	bool begin = !tx->begun;

	tx->begun = true;
	return postgres__exec(tx->conn, batch, begin, limit(tx->postgres));
}

/* What ends a transaction holds although the task's time is over. */
static enum err_code
end(struct postgres_tx *tx, const char *verb)
{
	struct postgres_batch batch;
	enum err_code rc;

	batch.statements = batch.values = 0;
	postgres_add(&batch, verb, "");
	fiber_shield();
	rc = postgres__exec(tx->conn, &batch, false, deadline_in_ms(END_MS));
	fiber_unshield();
	/* COMMIT of a transaction that failed is a ROLLBACK: fn has passed
	 * over an error. */
	if (rc == OK && strcmp(PQcmdStatus(batch.statement[0].result), verb))
		rc = err_set(ERR_INTERNAL, "PostgreSQL: %s became %s", verb,
		    PQcmdStatus(batch.statement[0].result));
	postgres_clear(&batch);
	return rc;
}

static bool
open_still(const struct postgres_tx *tx)
{
	return tx->begun && !tx->conn->in_flight &&
	       PQtransactionStatus(tx->conn->pg) != PQTRANS_IDLE;
}

static void
roll_back(struct postgres_tx *tx)
{
	bool retry = tx->conn->retry;
	struct error why;

	if (!open_still(tx) || tx->conn->doomed)
		return; /* give_back sees to it */
	err_save(&why);
	if (end(tx, "ROLLBACK") != OK)
		tx->conn->doomed = true;
	err_restore(&why);
	tx->conn->retry = retry;
}

static enum err_code
try_once(struct postgres_tx *tx, postgres_fn fn, void *arg)
{
	enum err_code rc = fn(tx, arg);

	if (rc != OK)
		roll_back(tx);
	else if (open_still(tx))
		rc = end(tx, "COMMIT");
	return rc;
}

static enum err_code
transact_inside(void *arg)
{
	struct outside *o = arg;

	return postgres_transaction(o->postgres, o->fn, o->arg);
}

enum err_code
postgres_transaction(struct postgres *postgres, postgres_fn fn, void *arg)
{
	struct outside o = { .postgres = postgres, .fn = fn, .arg = arg };
	enum err_code rc;
	bool again;

	if (fiber_self() == NULL)
		return loops_count() > 0
			   ? loop_call(loop_at(0), transact_inside, &o)
			   : no_loop();
	for (unsigned tries = 1;; tries++) {
		struct postgres_tx tx = { .postgres = postgres };

		TRY(postgres__borrow(postgres, &tx.conn));
		tx.conn->retry = false;
		rc = try_once(&tx, fn, arg);
		again = rc != OK && tx.conn->retry && tries < TRIES_MAX;
		postgres__give_back(tx.conn);
		if (!again)
			return rc;
		TRY(before_retry(tries));
	}
}
