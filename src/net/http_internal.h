/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_NET_HTTP_INTERNAL_H
#define XIN_NET_HTTP_INTERNAL_H

#include <llhttp.h>
#include <stdatomic.h>
#include <uv.h>
#include "base/buf.h"
#include "fiber/loop.h"
#include "net/http_server.h"

/*
 * What the files of the server share. A connection reads into `in`; bytes stay
 * there until the head is complete, so that its size is bounded and its lines
 * can be split in place. One request at a time is in work; what a client sends
 * ahead waits in `in` (and, above a ceiling, in the kernel).
 */
#define HTTP_READ_BYTES       ((size_t)16384)
#define HTTP_AHEAD_BYTES      ((size_t)65536)
#define HTTP_BODY_QUEUE_BYTES ((size_t)262144)
#define HTTP_OUT_BYTES        ((size_t)1048576)
#define HTTP_LINGER_BYTES     ((size_t)4 << 20)
#define HTTP_WRITE_MS         30000
#define HTTP_LINGER_MS        2000
#define HTTP_LEAVING_MS       1000 /* silence in a request, once we leave */
#define HTTP_PARAMS_MAX       8

struct http_listener {
	uv_tcp_t tcp;
	struct http_server *server;
	struct loop *loop;
	struct http_conn *conns;
	bool open;
};

struct http_server {
	struct http_options options;
	struct http_listener *listeners;
	unsigned count;
	int port;
	atomic_int open; /* listeners and connections not yet closed */
	atomic_bool draining;
};

enum http_wait {
	WAIT_NOTHING,
	WAIT_IDLE,
	WAIT_HEAD,
	WAIT_BODY,
	WAIT_WRITE,
	WAIT_LINGER
};

struct http_conn {
	uv_tcp_t tcp;
	struct http_listener *listener;
	struct http_conn *next, *prev;
	char peer[64];
	llhttp_t parser;
	struct buf in;
	size_t parsed;      /* bytes of `in` that the parser has seen */
	size_t overhead;    /* of the message: framing beside the body */
	struct buf out;     /* gathered in this loop turn */
	struct buf writing; /* handed to the kernel */
	uv_write_t write;
	uv_shutdown_t shutdown;
	struct loop_hook flush;
	struct loop_timer *timer;
	enum http_wait wait;
	struct fiber_cond drained;
	struct http_request *req;
	size_t lingered;
	size_t write_left; /* of the write, when its timer was set */
	bool held;         /* the next request waits for the client to read */
	bool reading, write_busy, eof, gone, closing, close_after, lingering;
};

struct http_header {
	const char *name;
	const char *value;
};

struct http_request {
	struct http_conn *conn;
	struct arena arena;
	struct fiber *fiber;
	const struct http_route *route; /* NULL = none matched */
	enum http_method method;
	bool foreign; /* another method than those of the enum */
	char *target; /* as sent */
	char *path;   /* decoded */
	char *query;  /* as sent, "" when none */
	struct http_header *headers;
	size_t header_count;
	struct {
		const char *name;
		const char *value;
	} params[HTTP_PARAMS_MAX];
	size_t param_count;
	void *user;
	uint64_t began_us;
	struct span *span; /* NULL = not recorded */

	/* body */
	struct buf body; /* SMALL: all of it; STREAM: what waits to be read */
	struct buf lent; /* STREAM: the piece that http_read gave out */
	uint64_t body_seen, body_max;
	bool expects_continue, continued, has_body, body_done, started;
	struct fiber_cond arrived;
	enum err_code refused; /* found before the handler: answer with it */
	struct error why;

	/* answer */
	struct buf extra; /* header lines */
	int status;
	uint64_t sent;
	bool replied, streaming, stream_ended, keep_alive, http10;
	enum err_code failed;
	struct error failure;
	struct error told; /* what http_reply_error answered with */
};

/* http_router.c */
enum err_code http__route(struct http_request *req,
    const struct http_route *routes, char *allow, size_t allow_size);
/* http_parse.c */
void http__parser_init(struct http_conn *conn);
void http__parse(struct http_conn *conn); /* what can be parsed now */
/* http_conn.c */
void http__conn_accept(struct http_listener *listener);
void http__conn_read(struct http_conn *conn, bool on);
void http__conn_wait(struct http_conn *conn, enum http_wait wait);
void http__conn_flush_later(struct http_conn *conn);
void http__conn_close(struct http_conn *conn);
void http__conn_next(struct http_conn *conn); /* the request has ended */
/* http_request.c */
struct http_request *http__request_new(struct http_conn *conn);
void http__request_free(struct http_request *req);
void http__request_start(struct http_request *req);
void http__refuse(struct http_request *req, enum err_code rc);
/* http_reply.c */
enum err_code http__space(struct http_conn *conn);

#endif
