/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One multiplexed connection of one loop. Fibers append commands and park; all
 * that one loop turn asked is written at its end; replies come in the order of
 * the commands. Whatever goes wrong with the connection ends it: every command
 * without an answer fails with the same sentence, and the next call makes a
 * new one. An idle connection does not keep the loop alive.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "redis/redis_internal.h"

#define READ_BYTES    65536
#define OUT_MAX_BYTES ((size_t)64 << 20)
#define PAUSE_MIN_MS  50
#define PAUSE_MAX_MS  5000

/* ---- the end of a connection ---- */

static void
finish_ask(struct redis_conn *conn, redisReply *reply)
{
	struct redis_ask *ask = conn->first;

	conn->first = ask->next;
	if (conn->first == NULL)
		conn->last = &conn->first;
	conn->outstanding--;
	if (ask->fiber == NULL) { /* nobody waits for it any more */
		if (reply != NULL)
			freeReplyObject(reply);
		mem_free(ask);
		return;
	}
	ask->reply = reply;
	ask->done = true;
	fiber_wake(ask->fiber);
}

static void
drop(struct redis_conn *conn, const char *reason)
{
	str_copy(conn->reason, sizeof(conn->reason), reason);
	conn->state = CONN_CLOSED;
	loop_poll_close(conn->poll);
	conn->poll = NULL;
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
	if (conn->reader != NULL)
		redisReaderFree(conn->reader);
	conn->reader = NULL;
	conn->unparsed = 0;
	buf_done(&conn->out);
	buf_init(&conn->out, 0);
	while (conn->first != NULL)
		finish_ask(conn, NULL);
	fiber_cond_broadcast(&conn->changed);
}

static void
fail(struct redis_conn *conn, const char *what)
{
	char reason[sizeof(conn->reason)];

	snprintf(reason, sizeof(reason), "%s %s", conn->redis->name, what);
	drop(conn, reason);
}

/* ---- reading and writing, on the loop's stack ---- */

static void
watch(struct redis_conn *conn)
{
	loop_poll_set(conn->poll,
	    conn->out.len > 0 ? LOOP_READABLE | LOOP_WRITABLE : LOOP_READABLE);
	loop_poll_background(conn->poll, conn->outstanding == 0);
}

static void
write_out(struct redis_conn *conn)
{
	size_t sent = 0;

	while (sent < conn->out.len) {
		ssize_t n = send(conn->fd, conn->out.data + sent,
		    conn->out.len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			fail(conn, "closed the connection");
			return;
		}
		if (n < 0)
			break;
		sent += (size_t)n;
	}
	buf_drop(&conn->out, sent);
	watch(conn);
}

static void
on_flush(struct loop_hook *hook)
{
	struct redis_conn *conn =
	    (struct redis_conn *)(void *)((char *)hook -
					  offsetof(struct redis_conn, flush));

	if (conn->fd >= 0 && conn->out.len > 0)
		write_out(conn);
}

/* False when the connection ended. */
static bool
take_replies(struct redis_conn *conn)
{
	for (;;) {
		void *reply = NULL;

		if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK) {
			fail(conn, "does not speak Redis' protocol");
			return false;
		}
		if (reply == NULL)
			return true;
		conn->unparsed = 0;
		if (conn->first != NULL) {
			finish_ask(conn, reply);
			continue;
		}
		freeReplyObject(reply);
		if (!conn->listens) {
			fail(conn, "answered without being asked");
			return false;
		}
		conn->redis->heard(conn->redis->heard_arg);
	}
}

static void
on_ready(void *arg)
{
	struct redis_conn *conn = arg;
	char chunk[READ_BYTES]; /* of the loop's large stack */
	ssize_t n;

	do {
		n = recv(conn->fd, chunk, sizeof(chunk), 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			fail(conn, "closed the connection");
			return;
		}
		conn->unparsed += (size_t)n;
		redisReaderFeed(conn->reader, chunk, (size_t)n);
		if (!take_replies(conn))
			return;
		if (conn->unparsed > conn->redis->max_reply_bytes) {
			fail(conn, "sent a reply over the ceiling");
			return;
		}
	} while (n == (ssize_t)sizeof(chunk));
	write_out(conn);
}

enum err_code
redis__conn_begin(struct redis_conn *conn)
{
	TRY(loop_poll_open(conn->fd, on_ready, conn, &conn->poll));
	conn->reader = redisReaderCreate();
	must(conn->reader != NULL);
	watch(conn);
	return OK;
}

/* ---- connecting ---- */

static void
connect_run(void *arg)
{
	struct redis_conn *conn = arg;
	enum err_code rc =
	    redis__connect(conn, deadline_in_ms(conn->redis->connect_ms));

	conn->connector = NULL;
	if (rc != OK) {
		drop(conn, err_message());
		conn->failures++;
		conn->retry_at_ms =
		    clock_mono_ms() +
		    backoff_ms(conn->failures, PAUSE_MIN_MS, PAUSE_MAX_MS);
		return;
	}
	conn->state = CONN_READY;
	conn->failures = 0;
	conn->retry_at_ms = 0;
	fiber_cond_broadcast(&conn->changed);
	if (conn->listens)
		conn->redis->heard(conn->redis->heard_arg);
}

void
redis__conn_start(struct redis_conn *conn)
{
	if (conn->state != CONN_CLOSED || conn->connector != NULL ||
	    clock_mono_ms() < conn->retry_at_ms)
		return;
	conn->state = CONN_CONNECTING;
	conn->connector = fiber_start_service(SERVICE_NONE, connect_run, conn);
}

enum err_code
redis__conn_ready(struct redis_conn *conn, uint64_t deadline_ms)
{
	while (conn->state != CONN_READY) {
		redis__conn_start(conn);
		if (conn->state == CONN_CLOSED && conn->connector == NULL)
			return err_set(ERR_UNAVAILABLE, "%s", conn->reason);
		TRY(fiber_cond_wait(&conn->changed, deadline_ms));
		if (conn->state == CONN_CLOSED)
			return err_set(ERR_UNAVAILABLE, "%s", conn->reason);
	}
	return OK;
}

/* ---- asking ---- */

static bool
silent(const struct redis_conn *conn)
{
	return conn->first != NULL && clock_mono_ms() - conn->first->sent_ms >=
					  conn->redis->command_ms;
}

static void
send_ask(struct redis_conn *conn, struct redis_ask *ask, const char *command,
    size_t len)
{
	ask->fiber = fiber_self();
	ask->sent_ms = clock_mono_ms();
	*conn->last = ask;
	conn->last = &ask->next;
	conn->outstanding++;
	buf_add(&conn->out, command, len);
	loop_defer(&conn->flush);
}

/* The fiber leaves without an answer; the answer's place stays. */
static enum err_code
leave(struct redis_conn *conn, struct redis_ask *ask, enum err_code rc)
{
	bool late = silent(conn);

	ask->fiber = NULL;
	if (rc == ERR_DEADLINE && late) {
		fail(conn, "did not answer in time");
		return err_set(ERR_UNAVAILABLE, "%s", conn->reason);
	}
	if (rc == ERR_DEADLINE)
		return err_set(rc, "%s did not answer before the deadline",
		    conn->redis->name);
	return rc;
}

enum err_code
redis__conn_ask(struct redis_conn *conn, const char *command, size_t len,
    uint64_t deadline_ms, redisReply **reply_out)
{
	struct redis_ask *ask;
	enum err_code rc = OK;

	if (conn->outstanding >= conn->redis->max_outstanding ||
	    conn->out.len + len > OUT_MAX_BYTES)
		return err_set(ERR_OVERLOADED,
		    "%s: %zu commands wait for an answer", conn->redis->name,
		    conn->outstanding);
	ask = mem_zero(sizeof(*ask));
	send_ask(conn, ask, command, len);
	deadline_ms =
	    deadline_min(deadline_ms, deadline_in_ms(conn->redis->command_ms));
	while (!ask->done && rc == OK)
		rc = fiber_park(deadline_ms);
	if (!ask->done)
		return leave(conn, ask, rc);
	*reply_out = ask->reply;
	mem_free(ask);
	if (*reply_out == NULL)
		return err_set(ERR_UNAVAILABLE, "%s", conn->reason);
	return OK;
}

/* ---- life ---- */

static void
on_loop_exit(void *arg)
{
	struct redis_conn *conn = arg;

	if (conn->redis != NULL) {
		drop(conn, "the process ends");
		if (conn->listens)
			conn->redis->ear = NULL;
		else
			conn->redis->conns[loop_index(loop_self())] = NULL;
	}
	buf_done(&conn->out);
	mem_free(conn);
}

struct redis_conn *
redis__conn_new(struct redis *redis, bool listens)
{
	struct redis_conn *conn = mem_zero(sizeof(*conn));

	conn->redis = redis;
	conn->fd = -1;
	conn->last = &conn->first;
	conn->flush.fn = on_flush;
	conn->listens = listens;
	buf_init(&conn->out, 0);
	loop_at_exit(on_loop_exit, conn);
	return conn;
}

void
redis__conn_close(struct redis_conn *conn)
{
	fiber_shield();
	while (conn->connector != NULL) {
		fiber_cancel(conn->connector);
		fiber_cond_wait(&conn->changed, 0);
	}
	fiber_unshield();
	drop(conn, "the client is closed");
	conn->redis = NULL;
}
