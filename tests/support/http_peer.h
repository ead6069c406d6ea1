/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SUPPORT_HTTP_PEER_H
#define XIN_SUPPORT_HTTP_PEER_H

#include <stddef.h>
#include "base/buf.h"
#include "net/http_server.h"

/*
 * A server for tests and raw clients for it, over loopback sockets. Tests run
 * on the main thread with blocking sockets; every read gives up after
 * HTTP_PEER_MS, so that a server that does not answer fails a test.
 */
#define HTTP_PEER_MS 5000

/* Starts two loops and a server with these routes; logs go nowhere. */
void http_peer_start(const struct http_options *options);
struct http_server *http_peer_server(void);
/* Stops both. */
void http_peer_stop(void);

int http_peer_connect(void);
void http_peer_send(int fd, const void *data, size_t len);
void http_peer_sends(int fd, const char *text);
/* Reads until `mark` was seen `times` times (false: EOF or time). */
bool http_peer_until(int fd, const char *mark, size_t times, struct buf *seen);
/* Reads to EOF; false when it did not come in time. */
bool http_peer_rest(int fd, struct buf *seen);
/* Connect, send, half-close, read all, close. */
void http_peer_exchange(const void *data, size_t len, struct buf *seen);
/* The statuses in what came, as "200 404 "; bodies are stepped over. */
void http_peer_statuses(const struct buf *seen, char *out, size_t size);

#endif
