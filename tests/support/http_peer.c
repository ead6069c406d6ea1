/* SPDX-License-Identifier: Apache-2.0 */
/* A server for tests, and blocking clients that send bytes as they are. */
#include "http_peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/log.h"
#include "fiber/loop.h"

static struct http_server *server;

void
http_peer_start(const struct http_options *options)
{
	struct http_options with = *options;
	const char *fd = getenv("HTTP_PEER_LOG");

	log_setup(fd != NULL ? 2 : open("/dev/null", O_WRONLY | O_CLOEXEC),
	    LOG_LEVEL_INFO, false);
	if (with.listen == NULL)
		with.listen = "127.0.0.1:0";
	if (loops_start(2) != OK || http_server_open(&with, &server) != OK)
		panic("no server for tests: %s", err_message());
}

struct http_server *
http_peer_server(void)
{
	return server;
}

void
http_peer_stop(void)
{
	http_server_close(server, 5000);
	http_server_free(server);
	server = NULL;
	loops_stop(2000);
}

int
http_peer_connect(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct timeval limit = { .tv_sec = HTTP_PEER_MS / 1000 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	to.sin_port = htons((uint16_t)http_server_port(server));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		panic("connect to the server under test");
	return fd;
}

void
http_peer_send(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* closed on us: reading tells more */
		at += n;
		len -= (size_t)n;
	}
}

void
http_peer_sends(int fd, const char *text)
{
	http_peer_send(fd, text, strlen(text));
}

static size_t
occurrences(const struct buf *seen, const char *mark)
{
	const char *at = buf_str(seen);
	const char *end = at + seen->len;
	size_t n = 0;

	while (
	    (at = memmem(at, (size_t)(end - at), mark, strlen(mark))) != NULL) {
		at += strlen(mark);
		n++;
	}
	return n;
}

bool
http_peer_until(int fd, const char *mark, size_t times, struct buf *seen)
{
	char piece[16384];
	size_t last = strlen(mark) - 1;

	while (occurrences(seen, mark) < times) {
		ssize_t n = recv(fd, piece, sizeof(piece), 0);

		if (n <= 0)
			return false;
		/* Long answers are not kept, but for what may be a beginning.
		 */
		if (times == 1 && seen->len > (1u << 20))
			buf_drop(seen, seen->len - last);
		buf_add(seen, piece, (size_t)n);
	}
	return true;
}

bool
http_peer_rest(int fd, struct buf *seen)
{
	char piece[16384];
	ssize_t n;

	while ((n = recv(fd, piece, sizeof(piece), 0)) > 0)
		buf_add(seen, piece, (size_t)n);
	return n == 0;
}

void
http_peer_exchange(const void *data, size_t len, struct buf *seen)
{
	int fd = http_peer_connect();

	buf_init(seen, 0);
	http_peer_send(fd, data, len);
	shutdown(fd, SHUT_WR);
	http_peer_rest(fd, seen);
	close(fd);
}

void
http_peer_statuses(const struct buf *seen, char *out, size_t size)
{
	const char *at = buf_str(seen);
	size_t len = 0;

	out[0] = '\0';
	while (strncmp(at, "HTTP/1.1 ", 9) == 0 && len + 5 < size) {
		const char *end = strstr(at, "\r\n\r\n"), *length;

		len += (size_t)snprintf(out + len, size - len, "%.3s ", at + 9);
		if (end == NULL)
			break;
		length = strcasestr(at, "content-length: ");
		at = end + 4;
		if (length != NULL && length < end)
			at += strtoul(length + 16, NULL, 10);
		if (at > buf_str(seen) + seen->len)
			break;
	}
}
