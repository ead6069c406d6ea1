/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_POSTGRES_INTERNAL_H
#define XIN_POSTGRES_INTERNAL_H

#include <libpq-fe.h>
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "postgres/postgres.h"

/* Shared between the files of this folder only. */

#define POSTGRES_HOSTS_MAX   16
#define POSTGRES_LOOPS_MAX   256 /* more loops than the runtime starts */
#define POSTGRES_WAITING_MAX 1000

/* One of the URL's hosts; NULL = libpq's default. */
struct postgres__host {
	char *name, *addr, *port;
};

struct postgres__pool;
struct postgres__waiter;

struct postgres {
	PQconninfoOption *options; /* as the URL gave them; read only */
	struct postgres__host hosts[POSTGRES_HOSTS_MAX];
	unsigned host_count;
	unsigned connections_max; /* of each loop */
	uint64_t statement_ms;
	uint64_t attempt_ms; /* to connect to one address */
	/* Each slot belongs to its loop's thread. */
	struct postgres__pool *pools[POSTGRES_LOOPS_MAX];
};

struct postgres__conn {
	PGconn *pg;
	struct postgres__pool *pool;
	struct postgres__conn *next; /* in the list of idle ones */
	struct loop_poll *poll;
	struct fiber *waiter;
	bool ready;     /* the socket, since the wait began */
	bool in_flight; /* sent, and its Sync has not come back */
	bool flushed;   /* all of it has left */
	bool doomed;    /* to be closed when given back */
	bool retry;     /* the last error was a deadlock or the like */
	uint64_t used_at;
	struct postgres__prepared {
		const char *sql; /* the literal, known by its address */
		unsigned number; /* its name is "s<number>" */
	} * prepared;
	unsigned prepared_count, prepared_room;
	unsigned named; /* a name is never used twice */
};

/* The connections of one loop; it lives until the loop ends. */
struct postgres__pool {
	struct postgres *postgres; /* NULL once closed */
	struct postgres__conn *idle;
	unsigned count; /* places: idle, lent, being made, promised */
	/* In the order of their coming; while there is one, nothing is idle. */
	struct postgres__waiter *first;
	unsigned waiting;
	struct fiber_cond left; /* a place is free; for closing */
	bool cancelling;        /* over a connection made for it */
	struct fiber_cond cancelled;
	/* The server cannot be reached: until retry_at everybody gets `down`,
	 * then one caller at a time tries. */
	unsigned failures;
	bool probing;
	uint64_t retry_at;
	struct error down;
	unsigned host; /* of the last good connection, tried first */
};

/* ---- url.c ---- */
enum err_code postgres__url(struct postgres *postgres, const char *url);
void postgres__url_free(struct postgres *postgres);
/* Keywords and values for libpq; `host` NULL = all of the URL's, in libpq's
 * own order. Done with postgres__params_free. */
#define POSTGRES_PARAMS_MAX 64
struct postgres__params {
	const char *keys[POSTGRES_PARAMS_MAX];
	const char *values[POSTGRES_PARAMS_MAX];
	unsigned count;
	char *options;
};
void postgres__params(const struct postgres *postgres,
    const struct postgres__host *host, struct postgres__params *params);
void postgres__params_free(struct postgres__params *params);

/* ---- connect.c ---- */
/* Tries the hosts in turn, the pool's last good one first. WAITS. */
enum err_code postgres__connect(struct postgres__pool *pool,
    uint64_t deadline_ms, struct postgres__conn **conn_out);
/* Another one to the same server, outside the pool's count. WAITS. */
enum err_code postgres__connect_like(const struct postgres__conn *conn,
    uint64_t deadline_ms, struct postgres__conn **conn_out);
void postgres__disconnect(struct postgres__conn *conn);
/* Until the socket is ready for one of the events. WAITS. */
enum err_code postgres__wait(
    struct postgres__conn *conn, int events, uint64_t deadline_ms);

/* ---- pool.c ---- */
enum err_code postgres__borrow(
    struct postgres *postgres, struct postgres__conn **conn_out);
/* Into the pool, or closed, or to the fiber that cancels what still runs. */
void postgres__give_back(struct postgres__conn *conn);
/* Closes; another may be made in its place. */
void postgres__drop(struct postgres__conn *conn);
/* Of all loops; for postgres_close. */
void postgres__pools_close(struct postgres *postgres);

/* ---- exec.c ---- */
enum err_code postgres__exec(struct postgres__conn *conn,
    struct postgres_batch *batch, bool begin, uint64_t deadline_ms);
/* A round trip that does nothing. */
enum err_code postgres__sync(struct postgres__conn *conn, uint64_t deadline_ms);
/* Reads what is in flight away. */
enum err_code postgres__drain(
    struct postgres__conn *conn, uint64_t deadline_ms);

/* ---- error.c ---- */
/* Records the server's sentence and maps its SQLSTATE. */
enum err_code postgres__fail(
    struct postgres__conn *conn, const PGresult *result);
/* The same without a connection of a pool. */
enum err_code postgres__sqlstate(const char *state);
/* libpq's sentence about the connection, in one line. */
void postgres__why(const PGconn *pg, char *out, size_t size);

/* ---- migrate.c ---- */
/* Blocks. */
enum err_code postgres__check(struct postgres *postgres);
/* The oldest program, by the last migration that it knows, that may serve on
 * the schema after this one: what the file's first line `-- min_reader: N`
 * says, else (or when that makes no sense) `version`, its own number. */
struct embed;
int postgres__min_reader(const struct embed *file, int version);

#endif
