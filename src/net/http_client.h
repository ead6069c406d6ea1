/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_NET_HTTP_CLIENT_H
#define XIN_NET_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/*
 * HTTP client over libcurl, one multi handle (and connection cache) for each
 * loop. Only http and https, no redirects, decoded bytes are counted.
 */

/* A body that is sent from a file: read while it goes, never whole in memory.
 * The caller keeps the descriptor open; its offset is not used. */
struct http_file {
	int fd;
	uint64_t offset;
	uint64_t len;
};

/* Which part of the running trace goes along. Baggage and tracestate come from
 * clients: they reach our own services only. */
enum http_trace {
	HTTP_TRACE_PARENT, /* a CLIENT span and traceparent */
	HTTP_TRACE_OURS,   /* tracestate and baggage too */
	HTTP_TRACE_NONE,   /* no span, no header */
};

/* Beside the system's own trust. All are file names, NULL = none. */
struct http_tls {
	const char *ca;   /* PEM, instead of the system's */
	const char *cert; /* ours, PEM */
	const char *key;
};

struct http_call {
	const char *method;
	const char *url;
	const char *const *headers; /* "Name: value", NULL-ended; may be NULL */
	const void *body;
	size_t body_len;
	const struct http_file *file; /* instead of `body` */
	/* Ask "Expect: 100-continue": a server that refuses says so before it
	 * was sent the body. Goes on after a second without an answer. */
	bool ask_first;
	uint32_t connect_ms; /* 0 = 10 s */
	/* The longest time without a byte of a body in either direction, the
	 * first included; 0 = the deadline alone. Longer is ERR_DEADLINE. */
	uint64_t idle_ms;
	size_t max_reply_bytes; /* more is ERR_TOO_LARGE */
	/* When set, an answer without a 2xx status is kept in `reply.body`,
	 * cut at so many bytes, whatever max_reply_bytes and on_data say; one
	 * that goes on for a MiB after them is ERR_TOO_LARGE. */
	size_t max_error_bytes;
	/* Optional: pieces of the answer as they come, on the caller's fiber;
	 * an error ends the call. Without it `reply.body` collects. */
	enum err_code (*on_data)(void *arg, const char *data, size_t len);
	void *arg;
	enum http_trace trace;
	const char *user_agent; /* NULL = ours */
	const struct http_tls *tls;
};

struct http_call_reply {
	int status;
	struct buf body;
	struct buf headers; /* "name: value\n" lines, lower-case names */
};

/* OK for every HTTP status; ERR_UNAVAILABLE when no answer came (the sentence
 * has the reason), ERR_DEADLINE, ERR_CANCELLED, ERR_TOO_LARGE. WAITS. */
enum err_code http_call(const struct http_call *call, uint64_t deadline_ms,
    struct http_call_reply *reply_out);
/* NULL when absent; valid until the next call of this function. */
bool http_call_header(const struct http_call_reply *reply, const char *name,
    char *value, size_t size);
void http_call_reply_done(struct http_call_reply *reply);

#endif
