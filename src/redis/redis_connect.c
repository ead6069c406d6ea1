/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a name to a greeted connection: resolve, try the addresses one after
 * the other, AUTH, SELECT, and SUBSCRIBE on the channel's own. Runs on the
 * connector fiber of redis_conn.c.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "redis/redis_internal.h"

#define ADDRESSES_MAX 8

struct lookup {
	const struct redis *redis;
	size_t count;
	struct {
		struct sockaddr_storage addr;
		socklen_t len;
	} found[ADDRESSES_MAX];
};

/* On a pool thread; the resolver's own time-outs bound it. */
static enum err_code
resolve(void *arg)
{
	struct lookup *lookup = arg;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
	char port[16];
	int rc;

	snprintf(port, sizeof(port), "%d", lookup->redis->port);
	rc = getaddrinfo(lookup->redis->host, port, &hints, &list);
	if (rc != 0)
		return err_set(ERR_UNAVAILABLE, "%s cannot be found: %s",
		    lookup->redis->name, gai_strerror(rc));
	for (const struct addrinfo *a = list;
	     a != NULL && lookup->count < ADDRESSES_MAX; a = a->ai_next) {
		memcpy(&lookup->found[lookup->count].addr, a->ai_addr,
		    a->ai_addrlen);
		lookup->found[lookup->count++].len = a->ai_addrlen;
	}
	freeaddrinfo(list);
	return OK;
}

static enum err_code
unreachable(const struct redis_conn *conn, int error)
{
	return err_set(ERR_UNAVAILABLE, "%s cannot be reached: %s",
	    conn->redis->name, strerror(error));
}

static void
on_connected(void *arg)
{
	struct redis_conn *conn = arg;

	loop_poll_set(conn->poll, 0);
	conn->writable = true;
	fiber_wake(conn->connector);
}

/* WAITS until the socket can be written to: it is connected, or it failed. */
static enum err_code
wait_connected(struct redis_conn *conn, uint64_t deadline_ms)
{
	int error = 0;
	socklen_t size = sizeof(error);
	enum err_code rc = OK;

	TRY(loop_poll_open(conn->fd, on_connected, conn, &conn->poll));
	conn->writable = false;
	loop_poll_set(conn->poll, LOOP_WRITABLE);
	while (!conn->writable && rc == OK)
		rc = fiber_park(deadline_ms);
	loop_poll_close(conn->poll);
	conn->poll = NULL;
	if (rc == ERR_DEADLINE)
		return unreachable(conn, ETIMEDOUT);
	if (rc != OK)
		return rc;
	getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return error == 0 ? OK : unreachable(conn, error);
}

static enum err_code
try_address(struct redis_conn *conn, const struct sockaddr *addr, socklen_t len,
    uint64_t deadline_ms)
{
	const int on = 1;
	enum err_code rc = OK;

	conn->fd = socket(
	    addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		return unreachable(conn, errno);
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (connect(conn->fd, addr, len) != 0)
		rc = errno == EINPROGRESS ? wait_connected(conn, deadline_ms)
					  : unreachable(conn, errno);
	if (rc == OK)
		return OK;
	close(conn->fd);
	conn->fd = -1;
	return rc;
}

static enum err_code
open_socket(struct redis_conn *conn, uint64_t deadline_ms)
{
	struct lookup lookup = { .redis = conn->redis };
	enum err_code rc = ERR_UNAVAILABLE;

	TRY(pool_run(resolve, &lookup));
	for (size_t i = 0; i < lookup.count; i++) {
		uint64_t share = deadline_left_ms(deadline_ms);

		/* A silent address must leave time for the next. */
		share = share / (lookup.count - i);
		rc = try_address(conn,
		    (const struct sockaddr *)&lookup.found[i].addr,
		    lookup.found[i].len, deadline_in_ms(share + 1));
		if (rc == OK || rc == ERR_CANCELLED)
			return rc;
	}
	return rc;
}

/* One command of the greeting; an error reply goes to `refused`. */
static enum err_code
greet(struct redis_conn *conn, uint64_t deadline_ms,
    enum err_code (*refused)(const struct redis *, const char *), int argc,
    const char **argv)
{
	redisReply *reply;
	enum err_code rc;
	char *command;
	long long len = redisFormatCommandArgv(&command, argc, argv, NULL);

	must(len > 0);
	rc = redis__conn_ask(conn, command, (size_t)len, deadline_ms, &reply);
	redisFreeCommand(command);
	if (rc != OK)
		return rc;
	if (reply->type == REDIS_REPLY_ERROR)
		rc = refused(conn->redis, reply->str);
	freeReplyObject(reply);
	return rc;
}

static enum err_code
greet_all(struct redis_conn *conn, uint64_t deadline_ms)
{
	const struct redis *redis = conn->redis;
	char db[16];

	if (redis->password != NULL)
		TRY(greet(conn, deadline_ms, redis__auth_refused, 2,
		    (const char *[]){ "AUTH", redis->password }));
	/* Selected always: it also shows who forgot the password. */
	snprintf(db, sizeof(db), "%d", redis->db);
	TRY(greet(conn, deadline_ms, redis__refused, 2,
	    (const char *[]){ "SELECT", db }));
	if (conn->listens)
		TRY(greet(conn, deadline_ms, redis__refused, 2,
		    (const char *[]){ "SUBSCRIBE", redis->channel }));
	return OK;
}

enum err_code
redis__connect(struct redis_conn *conn, uint64_t deadline_ms)
{
	TRY(open_socket(conn, deadline_ms));
	TRY(redis__conn_begin(conn));
	return greet_all(conn, deadline_ms);
}
