/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client connection: reads when somebody wants bytes, writes what a loop turn
 * gathered in one go, and knows how long it may wait for what.
 */
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/ident.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/http_internal.h"

static atomic_int connections; /* of the process */

static void
on_closed(uv_handle_t *handle)
{
	struct http_conn *conn = handle->data;
	struct http_server *server = conn->listener->server;

	if (conn->prev != NULL)
		conn->prev->next = conn->next;
	else
		conn->listener->conns = conn->next;
	if (conn->next != NULL)
		conn->next->prev = conn->prev;
	buf_done(&conn->in);
	buf_done(&conn->out);
	buf_done(&conn->writing);
	mem_free(conn);
	atomic_fetch_sub(&connections, 1);
	metric_move(METRIC_HTTP_CONNECTIONS, METRIC_NO_LABELS, -1);
	atomic_fetch_sub(&server->open, 1);
}

/* The handle goes when the request that uses it has ended. */
void
http__conn_close(struct http_conn *conn)
{
	struct http_request *req = conn->req;

	conn->gone = true;
	conn->out.len = 0;
	http__conn_wait(conn, WAIT_NOTHING);
	if (conn->reading)
		http__conn_read(conn, false);
	if (req != NULL && req->started) {
		if (req->fiber != NULL)
			fiber_cancel(req->fiber);
		fiber_cond_broadcast(&req->arrived);
		fiber_cond_broadcast(&conn->drained);
		return; /* http__conn_next comes back here */
	}
	if (conn->closing || conn->flush.linked)
		return;
	conn->closing = true;
	if (req != NULL)
		http__request_free(req);
	conn->req = NULL;
	loop_timer_free(conn->timer);
	conn->timer = NULL;
	uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

/* ---- time ---- */

/* Half a request may not hold up a server that leaves. */
static uint64_t
patience_ms(const struct http_conn *conn, enum config setting)
{
	uint64_t ms = (uint64_t)config_int(setting);
	bool leaving = atomic_load(&conn->listener->server->draining);

	return leaving && ms > HTTP_LEAVING_MS ? HTTP_LEAVING_MS : ms;
}

static uint64_t
wait_ms(const struct http_conn *conn, enum http_wait wait)
{
	switch (wait) {
	case WAIT_IDLE:
		return (uint64_t)config_int(CFG_KEEP_ALIVE_MS);
	case WAIT_HEAD:
		return patience_ms(conn, CFG_HEAD_MS);
	case WAIT_BODY:
		return patience_ms(conn, CFG_BODY_IDLE_MS);
	case WAIT_WRITE:
		return HTTP_WRITE_MS;
	case WAIT_LINGER:
		return HTTP_LINGER_MS;
	case WAIT_NOTHING:
		break;
	}
	return 0;
}

void
http__conn_wait(struct http_conn *conn, enum http_wait wait)
{
	conn->wait = wait;
	if (conn->timer == NULL)
		return;
	if (wait == WAIT_NOTHING)
		loop_timer_stop(conn->timer);
	else
		loop_timer_set(conn->timer, wait_ms(conn, wait));
}

/* Slow is allowed, standing still is not. */
static bool
write_moves(struct http_conn *conn)
{
	size_t left = uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp);
	bool moves = left < conn->write_left;

	conn->write_left = left;
	return moves;
}

static void
on_timer(void *arg)
{
	struct http_conn *conn = arg;

	switch (conn->wait) {
	case WAIT_HEAD:
	case WAIT_BODY:
		if (conn->req == NULL) {
			http__conn_close(conn);
			return;
		}

		conn->wait = WAIT_NOTHING;
		http__refuse(
		    conn->req, err_set(ERR_REQUEST_TIMEOUT,
				   "the request did not arrive in time"));
		return;
	case WAIT_WRITE:
		if (write_moves(conn))
			http__conn_wait(conn, WAIT_WRITE);
		else
			http__conn_close(conn);
		return;
	case WAIT_IDLE:
	case WAIT_LINGER:
		http__conn_close(conn);
		return;
	case WAIT_NOTHING:
		return;
	}
}

/* ---- writing ---- */

static void
on_shutdown(uv_shutdown_t *shutdown, int status)
{
	(void)status;
	(void)shutdown;
}

/* An answer that ends the connection: say so with FIN, and read on for a
 * moment, so that the client gets the answer and no reset. */
static void
linger(struct http_conn *conn)
{
	if (conn->eof || conn->gone ||
	    uv_shutdown(
		&conn->shutdown, (uv_stream_t *)&conn->tcp, on_shutdown) != 0) {
		http__conn_close(conn);
		return;
	}
	conn->lingering = true;
	http__conn_read(conn, true);
	http__conn_wait(conn, WAIT_LINGER);
}

static void next_request(struct http_conn *conn);

static void
written(struct http_conn *conn)
{
	if (conn->wait == WAIT_WRITE)
		http__conn_wait(
		    conn, conn->req == NULL ? WAIT_IDLE : WAIT_NOTHING);
	fiber_cond_broadcast(&conn->drained);
	if (conn->req == NULL && conn->out.len == 0) {
		buf_done(&conn->out); /* an idle connection holds no memory */
		buf_done(&conn->writing);
	}
	if (conn->out.len > 0)
		http__conn_flush_later(conn);
	else if (conn->close_after && conn->req == NULL && !conn->lingering)
		linger(conn);
	if (conn->held && conn->out.len <= HTTP_OUT_BYTES)
		next_request(conn);
}

static void
on_written(uv_write_t *write, int status)
{
	struct http_conn *conn = write->handle->data;

	conn->write_busy = false;
	conn->writing.len = 0;
	if (status < 0)
		http__conn_close(conn);
	else
		written(conn);
}

static void
on_flush(struct loop_hook *hook)
{
	struct http_conn *conn =
	    (struct http_conn *)(void *)((char *)hook -
					 offsetof(struct http_conn, flush));
	uv_buf_t piece;
	int n;

	if (conn->gone) {
		http__conn_close(conn);
		return;
	}
	if (conn->write_busy || conn->out.len == 0)
		return;
	piece = uv_buf_init(conn->out.data, (unsigned)conn->out.len);
	n = uv_try_write((uv_stream_t *)&conn->tcp, &piece, 1);
	if (n < 0 && n != UV_EAGAIN) {
		http__conn_close(conn);
		return;
	}
	if (n > 0 && (size_t)n == conn->out.len) {
		conn->out.len = 0;
		written(conn);
		return;
	}
	if (n > 0)
		buf_drop(&conn->out, (size_t)n);
	struct buf swap = conn->writing;
	conn->writing = conn->out;
	conn->out = swap;
	conn->out.len = 0;
	conn->write_busy = true;
	piece = uv_buf_init(conn->writing.data, (unsigned)conn->writing.len);
	conn->write_left = conn->writing.len;
	if (conn->wait == WAIT_NOTHING || conn->wait == WAIT_IDLE)
		http__conn_wait(conn, WAIT_WRITE);
	if (uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &piece, 1,
		on_written) != 0) {
		conn->write_busy = false;
		http__conn_close(conn);
	}
}

void
http__conn_flush_later(struct http_conn *conn)
{
	if (conn->gone)
		return;
	conn->flush.fn = on_flush;
	loop_defer(&conn->flush);
}

/* ---- reading ---- */

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *piece)
{
	struct http_conn *conn = handle->data;

	(void)suggested;
	buf_reserve(&conn->in, HTTP_READ_BYTES);
	piece->base = conn->in.data + conn->in.len;
	piece->len = HTTP_READ_BYTES;
}

/* Stop when nobody wants more now: the kernel then holds the client back. */
static void
throttle(struct http_conn *conn)
{
	const struct http_request *req = conn->req;

	if (conn->in.len - conn->parsed >= HTTP_AHEAD_BYTES ||
	    (req != NULL && !req->body_done && req->route != NULL &&
		req->route->body == HTTP_BODY_STREAM &&
		req->body.len >= HTTP_BODY_QUEUE_BYTES)) {
		http__conn_read(conn, false);
		if (conn->wait == WAIT_BODY) /* now it is we who wait */
			http__conn_wait(conn, WAIT_NOTHING);
	}
}

static void
on_eof(struct http_conn *conn)
{
	struct http_request *req = conn->req;

	conn->eof = true;
	http__conn_read(conn, false);
	if (conn->lingering) {
		http__conn_close(conn);
	} else if (req == NULL) {
		conn->close_after =
		    true; /* its last answer may be on its way */
		if (conn->out.len == 0 && !conn->write_busy)
			http__conn_close(conn);
	} else if (!req->started) {
		http__conn_close(conn); /* cut before it was whole */
	} else if (!req->body_done && req->refused == OK) {
		req->failed = err_set(ERR_CLOSED,
		    "the client closed the connection inside the body");
		err_save(&req->failure);
		fiber_cond_broadcast(&req->arrived);
	}
	/* else: a client that closed its half still gets its answer. */
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *piece)
{
	struct http_conn *conn = stream->data;

	(void)piece;
	if (n == UV_EOF) {
		on_eof(conn);
		return;
	}
	if (n < 0) {
		http__conn_close(conn);
		return;
	}
	if (n == 0) {
		if (conn->in.len == 0)
			buf_done(&conn->in);
		return;
	}
	if (conn->lingering) {
		conn->lingered += (size_t)n;
		if (conn->lingered > HTTP_LINGER_BYTES)
			http__conn_close(conn);
		return;
	}
	conn->in.len += (size_t)n;
	if (conn->wait == WAIT_BODY)
		http__conn_wait(conn, WAIT_BODY);
	http__parse(conn);
	throttle(conn);
}

void
http__conn_read(struct http_conn *conn, bool on)
{
	if (conn->reading == on || conn->closing || (on && conn->eof))
		return;
	conn->reading = on;
	if (on)
		uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
	else
		uv_read_stop((uv_stream_t *)&conn->tcp);
}

/* The request has ended: free it, answer the next, or wait, or close. */
void
http__conn_next(struct http_conn *conn)
{
	struct http_request *req = conn->req;
	bool keep = req->keep_alive && req->body_done && req->refused == OK;

	if (req->refused == ERR_NOT_FOUND || req->refused == ERR_METHOD)
		keep = req->keep_alive && req->body_done;
	req->started = false;
	http__request_free(req);
	conn->req = NULL;
	if (conn->gone) {
		http__conn_close(conn);
		return;
	}
	if (!keep || atomic_load(&conn->listener->server->draining)) {
		conn->close_after = true;
		http__conn_read(conn, false);
		if (conn->out.len == 0 && !conn->write_busy)
			linger(conn);
		return;
	}
	buf_drop(&conn->in, conn->parsed);
	conn->parsed = 0;
	conn->held = conn->out.len + conn->writing.len > HTTP_OUT_BYTES;
	if (conn->held)
		http__conn_read(conn, false);
	else
		next_request(conn);
}

static void
next_request(struct http_conn *conn)
{
	conn->held = false;
	http__conn_wait(conn, conn->write_busy ? WAIT_WRITE : WAIT_IDLE);
	http__parse(conn);
	if (conn->in.len == 0)
		buf_done(&conn->in);
	if (conn->req == NULL && conn->eof) {
		conn->close_after = true;
		if (conn->out.len == 0 && !conn->write_busy)
			http__conn_close(conn);
		return;
	}
	http__conn_read(conn, true);
}

static void
set_peer(struct http_conn *conn)
{
	struct sockaddr_storage address;
	int len = sizeof(address);

	if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&address, &len) !=
	    0)
		return;
	if (address.ss_family == AF_INET)
		uv_ip4_name((const struct sockaddr_in *)(const void *)&address,
		    conn->peer, sizeof(conn->peer));
	else
		uv_ip6_name((const struct sockaddr_in6 *)(const void *)&address,
		    conn->peer, sizeof(conn->peer));
}

/* Over the ceiling: an answer that says so, then close. */
static void
refuse_connection(struct http_conn *conn)
{
	char id[IDENT_SIZE], body[256];
	int len;

	ident_new("rq", id);
	len = snprintf(body, sizeof(body),
	    "{\"error\":{\"code\":\"%s\",\"message\":\"too many connections\","
	    "\"status\":503,\"retryable\":true,\"request_id\":\"%s\"}}",
	    err_name(ERR_OVERLOADED), id);
	buf_addf(&conn->out,
	    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
	    "X-Request-ID: %s\r\nContent-Type: application/json\r\n"
	    "Connection: close\r\nContent-Length: %d\r\n\r\n%s",
	    id, len, body);
	metric_count(METRIC_HTTP_REFUSED, LABELS("connections"), 1);
	conn->close_after = true;
	http__conn_flush_later(conn);
}

void
http__conn_accept(struct http_listener *listener)
{
	struct http_conn *conn = mem_zero(sizeof(*conn));
	int count = atomic_fetch_add(&connections, 1) + 1;

	conn->listener = listener;
	atomic_fetch_add(&listener->server->open, 1);
	metric_move(METRIC_HTTP_CONNECTIONS, METRIC_NO_LABELS, 1);
	conn->next = listener->conns;
	if (conn->next != NULL)
		conn->next->prev = conn;
	listener->conns = conn;
	uv_tcp_init(loop_uv(listener->loop), &conn->tcp);
	conn->tcp.data = conn;
	conn->timer = loop_timer_new(on_timer, conn);
	if (uv_accept((uv_stream_t *)&listener->tcp,
		(uv_stream_t *)&conn->tcp) != 0) {
		http__conn_close(conn);
		return;
	}
	uv_tcp_nodelay(&conn->tcp, 1);
	set_peer(conn);
	http__parser_init(conn);
	if (count > config_int(CFG_MAX_CONNECTIONS)) {
		refuse_connection(conn);
		return;
	}
	http__conn_wait(conn, WAIT_HEAD);
	http__conn_read(conn, true);
}
