/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners: one on each loop, sharing the port. The port is first probed
 * exclusively, because a shared one would be taken twice without a word.
 */
#include "net/http_server.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/http_internal.h"
#include "net/url.h"

#define BACKLOG        1024
#define ANY_PORT_TRIES 10

struct place {
	struct sockaddr_storage address;
	socklen_t len;
};

static enum err_code
resolve(const char *listen, struct place *place)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *found;
	char host[256], port[8];
	int number, rc;

	TRY(url_host_port(listen, host, sizeof(host), &number));
	snprintf(port, sizeof(port), "%d", number);
	rc = getaddrinfo(host, port, &hints, &found);
	if (rc != 0)
		return err_set(ERR_CONFIG, "%s: %s", listen, gai_strerror(rc));
	memcpy(&place->address, found->ai_addr, found->ai_addrlen);
	place->len = found->ai_addrlen;
	freeaddrinfo(found);
	return OK;
}

static int
port_of(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)address)
				 ->sin_port);
	return ntohs(
	    ((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
}

/* A socket bound to the place; with port 0 the place learns its number. */
static enum err_code
bind_socket(struct place *place, bool shared, int *fd_out)
{
	int one = 1;
	int fd = socket(place->address.ss_family,
	    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_set(ERR_IO, "socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (shared)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&place->address, place->len) != 0) {
		int why = errno;

		close(fd);
		return err_set(why == EADDRINUSE ? ERR_CONFLICT : ERR_CONFIG,
		    "cannot bind port %d: %s", port_of(&place->address),
		    strerror(why));
	}
	getsockname(fd, (struct sockaddr *)&place->address, &place->len);
	*fd_out = fd;
	return OK;
}

static void
on_connection(uv_stream_t *stream, int status)
{
	if (status == 0)
		http__conn_accept(stream->data);
}

struct opening {
	struct http_listener *listener;
	int fd;
};

static enum err_code
listen_on_loop(void *arg)
{
	struct opening *opening = arg;
	struct http_listener *listener = opening->listener;
	int rc;

	rc = uv_tcp_init(loop_uv(loop_self()), &listener->tcp);
	if (rc != 0)
		return err_set(ERR_IO, "%s", uv_strerror(rc));
	listener->tcp.data = listener;
	listener->open = true;
	atomic_fetch_add(&listener->server->open, 1);
	rc = uv_tcp_open(&listener->tcp, opening->fd);
	if (rc == 0)
		rc = uv_listen(
		    (uv_stream_t *)&listener->tcp, BACKLOG, on_connection);
	if (rc != 0)
		return err_set(ERR_IO, "listen: %s", uv_strerror(rc));
	return OK;
}

static enum err_code
open_listeners(struct http_server *server, struct place *place)
{
	bool shared = server->count > 1;

	for (unsigned i = 0; i < server->count; i++) {
		struct http_listener *listener = &server->listeners[i];
		struct opening opening = { listener, -1 };

		listener->server = server;
		listener->loop = loop_at(i);
		TRY(bind_socket(place, shared, &opening.fd));
		TRY(loop_call(listener->loop, listen_on_loop, &opening));
	}
	return OK;
}

static enum err_code
open_once(const struct http_options *options, struct http_server **server_out)
{
	struct http_server *server = mem_zero(sizeof(*server));
	struct place place = { 0 };
	enum err_code rc;
	int probe;

	server->options = *options;
	server->count = options->single ? 1 : loops_count();
	server->listeners =
	    mem_zero(server->count * sizeof(*server->listeners));
	rc = resolve(options->listen, &place);
	if (rc == OK)
		rc = bind_socket(&place, false, &probe);
	if (rc == OK) {
		close(probe);
		rc = open_listeners(server, &place);
	}
	if (rc != OK) {
		struct error why;

		err_save(&why);
		http_server_close(server, 0);
		http_server_free(server);
		err_restore(&why);
		return err_add(rc, "%s", options->listen);
	}
	server->port = port_of(&place.address);
	*server_out = server;
	return OK;
}

enum err_code
http_server_open(
    const struct http_options *options, struct http_server **server_out)
{
	bool any = str_ends(options->listen, ":0");
	enum err_code rc = open_once(options, server_out);

	/* A free port is found by the probe; between it and the listeners
	 * another process may take it. */
	for (int i = 0; rc == ERR_CONFLICT && any && i < ANY_PORT_TRIES; i++)
		rc = open_once(options, server_out);
	if (rc != OK)
		return rc;
	log_info("http.listening", kv_str("address", options->listen),
	    kv_int("port", (*server_out)->port),
	    kv_str("for", service_name(options->service)));
	return OK;
}

int
http_server_port(const struct http_server *server)
{
	return server->port;
}

static void
on_listener_closed(uv_handle_t *handle)
{
	struct http_listener *listener = handle->data;

	atomic_fetch_sub(&listener->server->open, 1);
}

/* Idle, and nothing has come that we have not read: closing it now loses no
 * request. */
static bool
is_unused(const struct http_conn *conn)
{
	char byte;
	uv_os_fd_t fd;

	if (conn->req != NULL || conn->in.len > 0 || conn->out.len > 0 ||
	    conn->write_busy || conn->lingering)
		return false;
	return uv_fileno((const uv_handle_t *)&conn->tcp, &fd) != 0 ||
	       recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

/* On the loop: no new connections, no idle ones, less patience. */
static enum err_code
drain_on_loop(void *arg)
{
	struct http_listener *listener = arg;
	struct http_conn *conn, *next;

	if (listener->open) {
		listener->open = false;
		uv_close((uv_handle_t *)&listener->tcp, on_listener_closed);
	}
	for (conn = listener->conns; conn != NULL; conn = next) {
		next = conn->next;
		if (is_unused(conn))
			http__conn_close(conn);
		else if (conn->wait == WAIT_HEAD || conn->wait == WAIT_BODY)
			http__conn_wait(conn, conn->wait);
	}
	return OK;
}

static enum err_code
cut_on_loop(void *arg)
{
	struct http_listener *listener = arg;
	struct http_conn *conn, *next;

	for (conn = listener->conns; conn != NULL; conn = next) {
		next = conn->next;
		http__conn_close(conn);
	}
	return OK;
}

static bool
wait_until_closed(struct http_server *server, uint64_t ms)
{
	uint64_t until = deadline_in_ms(ms);

	while (atomic_load(&server->open) > 0) {
		if (deadline_left_ms(until) == 0)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
	return true;
}

void
http_server_leave(struct http_server *server)
{
	atomic_store(&server->draining, true);
}

void
http_server_close(struct http_server *server, uint64_t drain_ms)
{
	http_server_leave(server);
	for (unsigned i = 0; i < server->count; i++)
		if (server->listeners[i].loop != NULL)
			loop_call(server->listeners[i].loop, drain_on_loop,
			    &server->listeners[i]);
	if (wait_until_closed(server, drain_ms))
		return;
	for (unsigned i = 0; i < server->count; i++)
		if (server->listeners[i].loop != NULL)
			loop_call(server->listeners[i].loop, cut_on_loop,
			    &server->listeners[i]);
	if (!wait_until_closed(server, 5000))
		log_error("http.not_closed",
		    kv_int("open", atomic_load(&server->open)));
}

void
http_server_free(struct http_server *server)
{
	if (server == NULL || atomic_load(&server->open) > 0)
		return; /* a connection that does not end keeps its memory */
	mem_free(server->listeners);
	mem_free(server);
}
