/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes to the whole server over a loopback socket: it must answer or
 * close, and stay up. What follows the first byte is sent; the first byte says
 * where the bytes are cut in two. */
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static enum err_code
small(struct http_request *req, void *arg)
{
	size_t len;
	const char *body = http_body(req, &len);

	(void)arg;
	http_query(req, "a");
	http_header(req, "x");
	return http_reply(req, 200, "text/plain", body, len);
}

static enum err_code
stream(struct http_request *req, void *arg)
{
	const char *data;
	size_t len;
	enum err_code rc;

	(void)arg;
	do
		rc = http_read(req, &data, &len);
	while (rc == OK && len > 0);
	return rc != OK ? rc : http_reply(req, 200, "text/plain", "ok", 2);
}

static const struct http_route routes[] = {
	{ HTTP_M_GET, "/{id}", HTTP_BODY_NONE, small },
	{ HTTP_M_POST, "/{id}", HTTP_BODY_SMALL, small },
	{ HTTP_M_PUT, "/{path...}", HTTP_BODY_STREAM, stream },
	{ 0, NULL, 0, NULL },
};

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static bool started;
	struct buf seen;
	size_t cut;
	int fd;

	if (!started)
		http_peer_start(&(struct http_options){ .routes = routes });
	started = true;
	if (len < 2)
		return 0;
	cut = 1 + data[0] % (len - 1);
	fd = http_peer_connect();
	http_peer_send(fd, data + 1, cut);
	http_peer_send(fd, data + 1 + cut, len - 1 - cut);
	shutdown(fd, SHUT_WR);
	buf_init(&seen, 0);
	http_peer_rest(fd, &seen);
	must(seen.len == 0 || strncmp(seen.data, "HTTP/1.1 ", 9) == 0);
	close(fd);
	buf_done(&seen);
	return 0;
}
