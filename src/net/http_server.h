/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_NET_HTTP_SERVER_H
#define XIN_NET_HTTP_SERVER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/task.h"

/*
 * HTTP/1.1 server (RFC 9110, 9112). One listener for each loop on a shared
 * port; one fiber for each request; requests of one connection are answered in
 * order. Every answer carries X-Request-ID (the client's, when it is 1..128
 * visible ASCII characters without quotes, else a fresh one), and errors are
 * {"error":{"code","message","status","retryable","request_id"}}.
 *
 * Law: a handler sends exactly one answer. A handler that returns an error
 * without having begun an answer gets the error written for it; one that
 * returns OK without answering gets 204.
 */
struct http_server;
struct http_request;

enum http_method {
	HTTP_M_GET,
	HTTP_M_HEAD,
	HTTP_M_POST,
	HTTP_M_PUT,
	HTTP_M_DELETE,
	HTTP_M_OPTIONS,
	HTTP_M_PATCH
};

/* How the body reaches the handler. */
enum http_body {
	HTTP_BODY_NONE,   /* any body over 0 bytes is 413 */
	HTTP_BODY_SMALL,  /* whole in memory, up to XIN_MAX_JSON_BYTES */
	HTTP_BODY_STREAM, /* read by http_read, up to XIN_MAX_UPLOAD_BYTES */
};

typedef enum err_code (*http_handler)(struct http_request *req, void *arg);

/*
 * A route: method and template. "/v1/brands/{brand_id}/knowledge/{id}" binds
 * parameters to one segment each; a segment may also end in a literal suffix
 * after a colon ("knowledge:retry"). "{path...}" at the end takes the rest.
 * The template is the metrics' `route` label and the span's name. GET routes
 * answer HEAD too. A path that exists with other methods is 405 with Allow.
 */
struct http_route {
	enum http_method method;
	const char *template;
	enum http_body body;
	http_handler handler;
};

struct http_options {
	const char *listen; /* host:port, port 0 = any */
	enum service service;
	const struct http_route *routes; /* ends with template NULL */
	void *arg;                       /* for handlers */
	bool single;     /* one loop, exclusive bind: exporters */
	bool check_host; /* open loopback mode: Host must be loopback,
			  * and Origin too where one is sent */
	/* Called before the handler, after routing; may refuse. NULL = none. */
	enum err_code (*before)(struct http_request *req, void *arg);
};

/* Probe the port exclusively (a taken one is ERR_CONFLICT), then listen on all
 * loops. Logs `http.listening`. From the main thread. */
enum err_code http_server_open(
    const struct http_options *options, struct http_server **server_out);
int http_server_port(const struct http_server *server);
/* From now on each answer says Connection: close; listening goes on. Clients
 * that keep connections come back on another one, of another replica where a
 * balancer knows that this one leaves. Any thread. */
void http_server_leave(struct http_server *server);
/* Stop listening, let requests end (Connection: close on each), close idle
 * connections; WAITS nothing: blocks the calling main thread up to drain_ms. */
void http_server_close(struct http_server *server, uint64_t drain_ms);
void http_server_free(struct http_server *server);

/* ---- the request; strings live as long as the request ---- */
enum http_method http_method(const struct http_request *req);
const char *http_path(const struct http_request *req); /* decoded, no query */
const char *http_route_template(const struct http_request *req);
const char *http_param(const struct http_request *req, const char *name);
/* Decoded query value, NULL when absent. */
const char *http_query(const struct http_request *req, const char *name);
/* Case-insensitive; several lines are joined by ", ". NULL when absent. */
const char *http_header(const struct http_request *req, const char *name);
const char *http_peer(const struct http_request *req); /* client address */
/* Memory that lives as long as the request. */
struct arena *http_arena(struct http_request *req);
void *http_user(const struct http_request *req);
void http_set_user(struct http_request *req, void *user);
/* True once the client closed its connection. */
bool http_client_gone(const struct http_request *req);

/* SMALL bodies. */
const char *http_body(const struct http_request *req, size_t *len_out);
/* The body as a JSON object; ERR_INVALID, ERR_MEDIA_TYPE. New reference. */
enum err_code http_body_json(struct http_request *req, json_t **object_out);
/* STREAM bodies: the next piece, valid until the next call; *len_out 0 at the
 * end. Sends 100 Continue on first use where expected. WAITS. */
enum err_code http_read(
    struct http_request *req, const char **data_out, size_t *len_out);

/* ---- the answer ---- */
/* Before the body begins. Values with control characters are refused. */
void http_set_header(
    struct http_request *req, const char *name, const char *value);
/* Retry-After in whole seconds, rounded up; 0 ms sets nothing. */
void http_set_retry_after(struct http_request *req, uint64_t ms);
enum err_code http_reply(struct http_request *req, int status,
    const char *content_type, const void *body, size_t len);
enum err_code http_reply_json(
    struct http_request *req, int status, const json_t *body);
/* Takes nothing over; writes the error answer for `code` and the record. */
enum err_code http_reply_error(struct http_request *req, enum err_code code);
/* Has an answer begun? */
bool http_replied(const struct http_request *req);
/* Chunked answers: begin, write (WAITS when the client is slow;
 * ERR_CANCELLED when it is gone), end. */
enum err_code http_stream_begin(
    struct http_request *req, int status, const char *content_type);
enum err_code http_stream_write(
    struct http_request *req, const void *data, size_t len);
enum err_code http_stream_end(struct http_request *req);
/* Server-sent events (WHATWG HTML 9.2). `id` may be NULL. WAITS. */
enum err_code http_sse_begin(struct http_request *req);
enum err_code http_sse_send(struct http_request *req, const char *event,
    const char *id, const char *data);
enum err_code http_sse_ping(struct http_request *req);

#endif
