/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of a loop: made when first needed, at most
 * XIN_STORE_CONNECTIONS, the one used last lent first; who finds none waits in
 * line. A connection that comes back with something still running (its caller's
 * deadline passed) is handed to a fiber that cancels it on the server and puts
 * it back; the caller does not wait for that. While the server cannot be
 * reached callers are refused at once, and one at a time looks again, more and
 * more seldom.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "base/task.h"
#include "postgres/internal.h"

#define BACK_OFF_MIN_MS 50
#define BACK_OFF_MAX_MS 2000
#define ASK_AFTER_MS    30000 /* idle for longer: a round trip before use */
#define ASK_MS          2000
#define IDLE_MAX_MS     300000 /* then closed, when another comes back */
#define RECOVER_MS      5000

/* Of the process; the gauges are read from here. */
static _Atomic int64_t busy, idle, waiting;

static double
gauge(void *arg)
{
	return (double)atomic_load((_Atomic int64_t *)arg);
}

static void
register_gauges(void)
{
	metric_gauge_read(METRIC_STORE_CONNECTIONS, SERVICE_NONE,
	    LABELS("busy"), gauge, &busy);
	metric_gauge_read(METRIC_STORE_CONNECTIONS, SERVICE_NONE,
	    LABELS("idle"), gauge, &idle);
	metric_gauge_read(METRIC_STORE_CONNECTIONS, SERVICE_NONE,
	    LABELS("waiting"), gauge, &waiting);
}

/* ---- places and who waits for one ---- */

/* On its fiber's stack. A connection or a place is handed to the first waiter
 * and never laid where somebody who comes later could take it: a fiber that
 * gives back and borrows again without a pause would starve the others. */
struct postgres__waiter {
	struct postgres__waiter *next;
	struct fiber *fiber;
	struct postgres__conn *conn; /* NULL: a place, to make one */
	bool granted;
};

static void
grant(struct postgres__pool *pool, struct postgres__conn *conn)
{
	struct postgres__waiter *w = pool->first;

	pool->first = w->next;
	w->conn = conn;
	w->granted = true;
	fiber_wake(w->fiber);
}

static void
free_place(struct postgres__pool *pool)
{
	if (pool->first != NULL) {
		grant(pool, NULL);
		return;
	}
	pool->count--;
	fiber_cond_broadcast(&pool->left);
}

static void
unlink_waiter(struct postgres__pool *pool, const struct postgres__waiter *w)
{
	struct postgres__waiter **at = &pool->first;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
}

/* What is granted is taken, also when the time is over meanwhile. */
static enum err_code
park_in_line(struct postgres__pool *pool, uint64_t deadline_ms,
    struct postgres__conn **conn_out)
{
	struct postgres__waiter self = { .fiber = fiber_self() };
	struct postgres__waiter **at = &pool->first;
	enum err_code rc = OK;

	while (*at != NULL)
		at = &(*at)->next;
	*at = &self;
	while (!self.granted && rc == OK)
		rc = fiber_park(deadline_ms);
	if (!self.granted) {
		unlink_waiter(pool, &self);
		return rc;
	}
	*conn_out = self.conn;
	return OK;
}

/* *conn_out NULL: a place to make one in. */
static enum err_code
wait_turn(struct postgres__pool *pool, uint64_t deadline_ms,
    struct postgres__conn **conn_out)
{
	enum err_code rc;

	if (pool->waiting >= POSTGRES_WAITING_MAX)
		return err_set(ERR_OVERLOADED,
		    "%u callers wait for a connection to PostgreSQL",
		    pool->waiting);
	pool->waiting++;
	atomic_fetch_add(&waiting, 1);
	rc = park_in_line(pool, deadline_ms, conn_out);
	pool->waiting--;
	atomic_fetch_sub(&waiting, 1);
	if (rc == ERR_DEADLINE && deadline_left_ms(task_self()->deadline_ms))
		return err_set(ERR_OVERLOADED,
		    "all %u connections to PostgreSQL are busy",
		    pool->postgres->connections_max);
	return rc;
}

/* ---- the pool of this loop ---- */

static void
close_idle(struct postgres__pool *pool)
{
	struct postgres__conn *conn;

	while ((conn = pool->idle) != NULL) {
		pool->idle = conn->next;
		atomic_fetch_sub(&idle, 1);
		postgres__disconnect(conn);
		free_place(pool);
	}
}

static void
loop_ends(void *arg)
{
	struct postgres__pool *pool = arg;

	close_idle(pool);
	if (pool->postgres != NULL)
		pool->postgres->pools[loop_index(loop_self())] = NULL;
	mem_free(pool);
}

static struct postgres__pool *
pool_here(struct postgres *postgres)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	unsigned index = loop_index(loop_self());
	struct postgres__pool *pool;

	must(index < POSTGRES_LOOPS_MAX);
	pool = postgres->pools[index];
	if (pool == NULL) {
		pthread_once(&once, register_gauges);
		pool = mem_zero(sizeof(*pool));
		pool->postgres = postgres;
		postgres->pools[index] = pool;
		loop_at_exit(loop_ends, pool);
	}
	return pool;
}

/* ---- making and dropping ---- */

void
postgres__drop(struct postgres__conn *conn)
{
	struct postgres__pool *pool = conn->pool;

	atomic_fetch_sub(&busy, 1);
	postgres__disconnect(conn);
	free_place(pool);
}

static void
is_down(struct postgres__pool *pool)
{
	err_save(&pool->down);
	if (pool->failures == 0)
		log_warn("store.unreachable", kv_error("error", err_message()));
	pool->failures++;
	pool->retry_at =
	    clock_mono_ms() +
	    backoff_ms(pool->failures, BACK_OFF_MIN_MS, BACK_OFF_MAX_MS);
}

/* The caller has a place, which is free again when this fails. */
static enum err_code
make(struct postgres__pool *pool, uint64_t deadline_ms,
    struct postgres__conn **conn_out)
{
	bool down = pool->failures > 0;
	enum err_code rc;

	if (down && (pool->probing || clock_mono_ms() < pool->retry_at)) {
		free_place(pool); /* the next is told the same */
		err_restore(&pool->down);
		return pool->down.code;
	}
	pool->probing = down;
	atomic_fetch_add(&busy, 1);
	rc = postgres__connect(pool, deadline_ms, conn_out);
	if (down)
		pool->probing = false;
	if (rc == OK) {
		if (pool->failures > 0)
			log_info("store.reachable");
		pool->failures = 0;
		return OK;
	}
	atomic_fetch_sub(&busy, 1);
	if (rc == ERR_UNAVAILABLE && (down || pool->failures == 0))
		is_down(pool);
	free_place(pool);
	return rc;
}

/* ---- borrowing ---- */

/* Whether the other side has closed, as far as this side knows already. */
static bool
hung_up(struct postgres__conn *conn)
{
	char byte;

	for (int i = 0; i < 8; i++) {
		ssize_t n =
		    recv(PQsocket(conn->pg), &byte, 1, MSG_PEEK | MSG_DONTWAIT);

		if (n < 0)
			return errno != EAGAIN;
		if (n == 0 || PQconsumeInput(conn->pg) == 0)
			return true;
	}
	return PQstatus(conn->pg) != CONNECTION_OK;
}

static bool
usable(struct postgres__conn *conn)
{
	if (hung_up(conn))
		return false;
	if (clock_mono_ms() - conn->used_at < ASK_AFTER_MS)
		return true;
	if (postgres__sync(conn, deadline_in_ms(ASK_MS)) == OK)
		return true;
	close_idle(conn->pool); /* no better, and older */
	return false;
}

static struct postgres__conn *
take_idle(struct postgres__pool *pool)
{
	struct postgres__conn *conn = pool->idle;

	if (conn == NULL)
		return NULL;
	pool->idle = conn->next;
	conn->next = NULL;
	atomic_fetch_sub(&idle, 1);
	atomic_fetch_add(&busy, 1);
	return conn;
}

enum err_code
postgres__borrow(struct postgres *postgres, struct postgres__conn **conn_out)
{
	struct postgres__pool *pool = pool_here(postgres);
	uint64_t deadline = deadline_min(
	    task_self()->deadline_ms, deadline_in_ms(postgres->statement_ms));
	struct postgres__conn *conn;

	while ((conn = take_idle(pool)) != NULL) {
		if (usable(conn)) {
			*conn_out = conn;
			return OK;
		}
		postgres__drop(conn);
	}
	if (pool->first == NULL && pool->count < postgres->connections_max) {
		pool->count++;
		return make(pool, deadline, conn_out);
	}
	TRY(wait_turn(pool, deadline, &conn));
	if (conn == NULL)
		return make(pool, deadline, conn_out);
	*conn_out = conn; /* it worked a moment ago */
	return OK;
}

/* ---- giving back ---- */

static void
close_oldest(struct postgres__pool *pool)
{
	struct postgres__conn **at = &pool->idle, *conn;

	while ((*at)->next != NULL)
		at = &(*at)->next;
	conn = *at;
	if (clock_mono_ms() - conn->used_at < IDLE_MAX_MS)
		return;
	*at = NULL;
	atomic_fetch_sub(&idle, 1);
	postgres__disconnect(conn);
	free_place(pool);
}

static void
put_idle(struct postgres__conn *conn)
{
	struct postgres__pool *pool = conn->pool;

	conn->used_at = clock_mono_ms();
	if (pool->first != NULL) {
		grant(pool, conn);
		return;
	}
	conn->next = pool->idle;
	pool->idle = conn;
	atomic_fetch_sub(&busy, 1);
	atomic_fetch_add(&idle, 1);
	close_oldest(pool);
}

/* ---- what still runs ---- */

static bool
same_server(const struct postgres__conn *a, const struct postgres__conn *b)
{
	return str_eq(PQhost(a->pg), PQhost(b->pg)) &&
	       str_eq(PQhostaddr(a->pg), PQhostaddr(b->pg)) &&
	       str_eq(PQport(a->pg), PQport(b->pg));
}

static enum err_code
cancel_over(struct postgres__conn *other, const struct postgres__conn *conn,
    uint64_t deadline_ms)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch, "SELECT pg_cancel_backend($1::int)", "i",
	    (int64_t)PQbackendPID(conn->pg));
	rc = postgres__exec(other, &batch, false, deadline_ms);
	postgres_clear(&batch);
	return rc;
}

/* PQcancel of libpq 15 blocks, without a limit when the server hangs, and is
 * never encrypted. Asking over another connection is none of that: an idle one
 * of the pool, else one made for it, one at a time. A cancel that comes late
 * finds the session idle, and is ignored there. */
static enum err_code
cancel_running(struct postgres__conn *conn, uint64_t deadline_ms)
{
	struct postgres__pool *pool = conn->pool;
	struct postgres__conn *other = NULL;
	enum err_code rc;

	while (pool->cancelling)
		TRY(fiber_cond_wait(&pool->cancelled, deadline_ms));
	if (pool->idle != NULL && same_server(pool->idle, conn))
		other = take_idle(pool);
	if (other != NULL) {
		rc = cancel_over(other, conn, deadline_ms);
		postgres__give_back(other);
		return rc;
	}
	pool->cancelling = true;
	rc = pool->postgres == NULL
		 ? err_set(ERR_CLOSED, "the link is being closed")
		 : postgres__connect_like(conn, deadline_ms, &other);
	if (rc == OK) {
		rc = cancel_over(other, conn, deadline_ms);
		postgres__disconnect(other);
	}
	pool->cancelling = false;
	fiber_cond_broadcast(&pool->cancelled);
	return rc;
}

static void
recover(void *arg)
{
	struct postgres__conn *conn = arg;
	uint64_t deadline = deadline_in_ms(RECOVER_MS);

	if (cancel_running(conn, deadline) != OK ||
	    postgres__drain(conn, deadline) != OK)
		conn->doomed = true;
	postgres__give_back(conn);
}

void
postgres__give_back(struct postgres__conn *conn)
{
	if (conn->doomed)
		close_idle(conn->pool); /* they lead to the same server */
	if (conn->doomed || conn->pool->postgres == NULL ||
	    PQstatus(conn->pg) != CONNECTION_OK ||
	    (conn->in_flight && !conn->flushed))
		postgres__drop(conn);
	else if (conn->in_flight)
		fiber_start(recover, conn);
	else if (PQtransactionStatus(conn->pg) != PQTRANS_IDLE)
		postgres__drop(conn);
	else
		put_idle(conn);
}

/* ---- closing ---- */

/* On the pool's loop. What is being cancelled is waited for; it does not take
 * longer than this. */
static enum err_code
close_here(void *arg)
{
	struct postgres *postgres = arg;
	unsigned index = loop_index(loop_self());
	struct postgres__pool *pool = postgres->pools[index];
	uint64_t until = deadline_in_ms(RECOVER_MS);

	if (pool == NULL)
		return OK;
	pool->postgres = NULL;
	postgres->pools[index] = NULL;
	close_idle(pool);
	while (pool->count > 0)
		TRY(fiber_cond_wait(&pool->left, until));
	return OK;
}

void
postgres__pools_close(struct postgres *postgres)
{
	for (unsigned i = 0; i < loops_count(); i++)
		loop_call(loop_at(i), close_here, postgres);
}
