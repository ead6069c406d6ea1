/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a connection: names are resolved on a pool thread, each address gets a
 * time of its own, libpq is driven by the socket's readiness, on the loop's own
 * stack (TLS wants more than a fiber has). The address that works is where the
 * next connection begins to look, so that after a failover only the first call
 * pays for the search.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "postgres/internal.h"

#define ADDRESSES_MAX 8

struct resolve {
	const char *name;
	unsigned count;
	char addr[ADDRESSES_MAX][INET6_ADDRSTRLEN];
};

/* On a pool thread. */
static enum err_code
resolve(void *arg)
{
	struct resolve *r = arg;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all;
	int rc = getaddrinfo(r->name, NULL, &hints, &all);

	if (rc != 0)
		return err_set(ERR_UNAVAILABLE, "PostgreSQL host %s: %s",
		    r->name, gai_strerror(rc));
	for (const struct addrinfo *a = all; a != NULL; a = a->ai_next) {
		if (r->count == ADDRESSES_MAX)
			break;
		if (getnameinfo(a->ai_addr, a->ai_addrlen, r->addr[r->count],
			sizeof(r->addr[0]), NULL, 0, NI_NUMERICHOST) == 0)
			r->count++;
	}
	freeaddrinfo(all);
	return OK;
}

static bool
needs_resolving(const struct postgres__host *host)
{
	struct in6_addr any;

	return host->addr == NULL && host->name != NULL &&
	       host->name[0] != '/' && host->name[0] != '@' &&
	       inet_pton(AF_INET, host->name, &any) != 1 &&
	       inet_pton(AF_INET6, host->name, &any) != 1;
}

/* ---- waiting for the socket ---- */

static void
on_ready(void *arg)
{
	struct postgres__conn *conn = arg;

	loop_poll_set(conn->poll, 0);
	conn->ready = true;
	if (conn->waiter != NULL)
		fiber_wake(conn->waiter);
}

enum err_code
postgres__wait(struct postgres__conn *conn, int events, uint64_t deadline_ms)
{
	enum err_code rc = OK;

	conn->ready = false;
	conn->waiter = fiber_self();
	loop_poll_set(conn->poll, events);
	while (!conn->ready && rc == OK)
		rc = fiber_park(deadline_ms);
	conn->waiter = NULL;
	loop_poll_set(conn->poll, 0);
	return conn->ready ? OK : rc;
}

/* While it connects, libpq may change the socket between two steps. */
static enum err_code
wait_connecting(struct postgres__conn *conn, int events, uint64_t deadline_ms)
{
	enum err_code rc;

	TRY(loop_poll_open(PQsocket(conn->pg), on_ready, conn, &conn->poll));
	rc = postgres__wait(conn, events, deadline_ms);
	loop_poll_close(conn->poll);
	conn->poll = NULL;
	return rc;
}

/* ---- one attempt ---- */

struct step {
	PGconn *pg;
	const struct postgres__params *params;
	PostgresPollingStatusType status;
};

static void
start(void *arg)
{
	struct step *step = arg;

	step->pg =
	    PQconnectStartParams(step->params->keys, step->params->values, 0);
}

static void
advance(void *arg)
{
	struct step *step = arg;

	step->status = PQconnectPoll(step->pg);
}

static enum err_code
handshake(struct postgres__conn *conn, uint64_t deadline_ms)
{
	struct step step = { .pg = conn->pg, .status = PGRES_POLLING_WRITING };

	if (PQstatus(conn->pg) == CONNECTION_BAD)
		return ERR_UNAVAILABLE;
	while (step.status != PGRES_POLLING_OK) {
		if (step.status == PGRES_POLLING_FAILED)
			return ERR_UNAVAILABLE;
		TRY(wait_connecting(conn,
		    step.status == PGRES_POLLING_READING ? LOOP_READABLE
							 : LOOP_WRITABLE,
		    deadline_ms));
		fiber_on_loop_stack(advance, &step);
	}
	return OK;
}

static void
no_notice(void *arg, const PGresult *result)
{
	(void)arg;
	(void)result; /* they would go to stderr, with values of rows */
}

static const char *
place_of(const struct postgres__host *host)
{
	return host->name != NULL   ? host->name
	       : host->addr != NULL ? host->addr
				    : "the default host";
}

static enum err_code
not_connected(const struct postgres__conn *conn,
    const struct postgres__host *host, enum err_code rc, uint64_t deadline_ms,
    uint64_t attempt_ms)
{
	char why[ERR_MESSAGE_MAX];

	if (rc == ERR_CANCELLED ||
	    (rc == ERR_DEADLINE && deadline_left_ms(deadline_ms) == 0))
		return rc; /* the caller's time, not the server's fault */
	if (rc == ERR_DEADLINE)
		return err_set(ERR_UNAVAILABLE,
		    "the store, PostgreSQL at %s, did not answer in %llu ms",
		    place_of(host), (unsigned long long)attempt_ms);
	if (rc != ERR_UNAVAILABLE)
		return rc;
	postgres__why(conn->pg, why, sizeof(why));
	return err_set(ERR_UNAVAILABLE, "the store, PostgreSQL at %s: %s",
	    place_of(host), why);
}

/* `deadline_ms`: the caller's, of all attempts together. */
static enum err_code
attempt(struct postgres__pool *pool, const struct postgres__host *host,
    uint64_t deadline_ms, struct postgres__conn **conn_out)
{
	struct postgres__conn *conn = mem_zero(sizeof(*conn));
	uint64_t attempt_ms = pool->postgres->attempt_ms;
	struct postgres__params params;
	struct step step = { .params = &params };
	enum err_code rc;

	postgres__params(pool->postgres, host, &params);
	fiber_on_loop_stack(start, &step);
	postgres__params_free(&params);
	must(step.pg != NULL);
	conn->pg = step.pg;
	conn->pool = pool;
	rc = handshake(
	    conn, deadline_min(deadline_ms, deadline_in_ms(attempt_ms)));
	if (rc == OK && (PQsetnonblocking(conn->pg, 1) != 0 ||
			    PQenterPipelineMode(conn->pg) != 1))
		rc = ERR_UNAVAILABLE;
	if (rc == OK)
		rc = loop_poll_open(
		    PQsocket(conn->pg), on_ready, conn, &conn->poll);
	if (rc != OK) {
		rc = not_connected(conn, host, rc, deadline_ms, attempt_ms);
		postgres__disconnect(conn);
		return rc;
	}
	PQsetNoticeReceiver(conn->pg, no_notice, NULL);
	conn->used_at = clock_mono_ms();
	*conn_out = conn;
	return OK;
}

static enum err_code
attempt_host(struct postgres__pool *pool, const struct postgres__host *host,
    uint64_t deadline_ms, struct postgres__conn **conn_out)
{
	struct resolve r = { .name = host->name };
	struct postgres__host at = *host;
	enum err_code rc = ERR_UNAVAILABLE;

	if (!needs_resolving(host))
		return attempt(pool, host, deadline_ms, conn_out);
	TRY(pool_run(resolve, &r));
	for (unsigned i = 0; i < r.count; i++) {
		at.addr = r.addr[i];
		rc = attempt(pool, &at, deadline_ms, conn_out);
		if (rc != ERR_UNAVAILABLE)
			return rc;
	}
	return r.count > 0
		   ? rc
		   : err_set(ERR_UNAVAILABLE,
			 "PostgreSQL host %s has no address", host->name);
}

enum err_code
postgres__connect(struct postgres__pool *pool, uint64_t deadline_ms,
    struct postgres__conn **conn_out)
{
	const struct postgres *postgres = pool->postgres;
	unsigned first = pool->host;
	enum err_code rc = ERR_UNAVAILABLE;

	for (unsigned i = 0; i < postgres->host_count; i++) {
		unsigned n = (first + i) % postgres->host_count;

		rc = attempt_host(
		    pool, &postgres->hosts[n], deadline_ms, conn_out);
		if (rc == OK)
			pool->host = n;
		if (rc != ERR_UNAVAILABLE)
			return rc;
	}
	return rc;
}

/* NULL for the empty string that libpq gives. */
static char *
copy_or_null(const char *text)
{
	return text != NULL && text[0] != '\0' ? mem_strdup(text) : NULL;
}

enum err_code
postgres__connect_like(const struct postgres__conn *conn, uint64_t deadline_ms,
    struct postgres__conn **conn_out)
{
	struct postgres__host host = { .name = copy_or_null(PQhost(conn->pg)),
		.addr = copy_or_null(PQhostaddr(conn->pg)),
		.port = copy_or_null(PQport(conn->pg)) };
	enum err_code rc = attempt(conn->pool, &host, deadline_ms, conn_out);

	mem_free(host.name);
	mem_free(host.addr);
	mem_free(host.port);
	return rc;
}

void
postgres__disconnect(struct postgres__conn *conn)
{
	loop_poll_close(conn->poll);
	PQfinish(conn->pg);
	mem_free(conn->prepared);
	mem_free(conn);
}
