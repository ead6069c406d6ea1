/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_REDIS_REDIS_INTERNAL_H
#define XIN_REDIS_REDIS_INTERNAL_H

#include <hiredis/hiredis.h>
#include <pthread.h>

#include "base/buf.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "redis/redis.h"

#define REDIS_LOOPS_MAX 256

/* Belongs to one loop. It is freed when the loop ends, for its exit hook
 * points to it; redis_close ends it before. */
struct redis_conn {
	struct redis *redis; /* NULL once closed */
	enum { CONN_CLOSED, CONN_CONNECTING, CONN_READY } state;
	int fd;
	struct loop_poll *poll;
	redisReader *reader;
	size_t unparsed; /* bytes read since the last whole reply */
	struct buf out;  /* not yet written */
	struct loop_hook flush;
	struct redis_ask *first, **last; /* in the order of sending */
	size_t outstanding;
	struct fiber *connector;
	bool writable; /* the socket that connects */
	struct fiber_cond changed;
	uint64_t retry_at_ms; /* monotonic */
	unsigned failures;    /* of connecting, one after the other */
	char reason[256];     /* why it is closed */
	bool listens;         /* the channel's connection */
};

/* One command on its way; on the heap, because its fiber may leave before the
 * answer comes. */
struct redis_ask {
	struct redis_ask *next;
	struct fiber *fiber; /* NULL: it left */
	uint64_t sent_ms;
	redisReply *reply;
	bool done; /* with a reply, or without: the connection ended */
};

struct redis {
	char *host, *password, *name;
	int port, db;
	uint64_t connect_ms, command_ms;
	size_t max_outstanding, max_reply_bytes;
	struct redis_conn *conns[REDIS_LOOPS_MAX]; /* each its loop's alone */
	/* The channel. `ear` is set once, then belongs to `ear_loop`. */
	pthread_mutex_t lock;
	struct loop *ear_loop;
	struct redis_conn *ear;
	char *channel;
	void (*heard)(void *arg);
	void *heard_arg;
};

/* ---- redis_conn.c ---- */
struct redis_conn *redis__conn_new(struct redis *redis, bool listens);
/* Begin to connect unless it is connected, connecting or pausing. */
void redis__conn_start(struct redis_conn *conn);
/* WAITS until it is ready. */
enum err_code redis__conn_ready(struct redis_conn *conn, uint64_t deadline_ms);
/* Send one formatted command and WAIT for its reply, an error reply too. */
enum err_code redis__conn_ask(struct redis_conn *conn, const char *command,
    size_t len, uint64_t deadline_ms, redisReply **reply_out);
/* The socket is there: read replies from it. */
enum err_code redis__conn_begin(struct redis_conn *conn);
/* End it for good. WAITS for a fiber that connects. Its loop. */
void redis__conn_close(struct redis_conn *conn);
/* ---- redis_connect.c ---- */
/* Socket and greeting; the connector fiber's work. WAITS. */
enum err_code redis__connect(struct redis_conn *conn, uint64_t deadline_ms);
/* ---- redis_reply.c ---- */
/* What an error reply means. */
enum err_code redis__refused(const struct redis *redis, const char *error);
/* ... as the answer to AUTH, whose text may quote the password. */
enum err_code redis__auth_refused(const struct redis *redis, const char *error);

#endif
