/* SPDX-License-Identifier: Apache-2.0 */
/*
 * curl's multi handle of each loop, driven by uv_poll and one timer. Whatever
 * ends is noted in the transfer's http__end, and its fiber woken.
 */
#include "net/http_multi.h"

#include <pthread.h>
#include <uv.h>

#include "base/mem.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"

#define CONNECTIONS_MAX  256L
#define HOST_CONNECTIONS 64L
#define KEPT_CONNECTIONS 64L

struct client {
	CURLM *multi;
	uv_timer_t timer;
};

static _Thread_local struct client *self_client;

struct watched {
	uv_poll_t poll;
	struct client *client;
	curl_socket_t fd;
	int events;
};

static void
note_finished(struct client *client)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
		struct http__end *end = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &end);
		end->code = message->data.result;
		end->finished = true;
		fiber_wake(end->fiber);
	}
}

/* A socket with an error is read and written all the same: a server that
 * refuses a body answers and resets, and the answer may lie there unread. libuv
 * has stopped such a poll; unless curl closed it, it goes on. */
static void
on_socket(uv_poll_t *poll, int status, int events)
{
	struct watched *watched = poll->data;
	struct client *client = watched->client;
	int flags = 0, running;

	if (status < 0)
		events = UV_READABLE | UV_WRITABLE;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	curl_multi_socket_action(client->multi, watched->fd, flags, &running);
	if (status < 0 && !uv_is_closing((uv_handle_t *)poll) &&
	    watched->events != 0)
		uv_poll_start(poll, watched->events, on_socket);
	note_finished(client);
}

static void
on_timer(uv_timer_t *timer)
{
	struct client *client = timer->data;
	int running;

	curl_multi_socket_action(
	    client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	note_finished(client);
}

static void
free_watched(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static int
watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket)
{
	struct client *client = arg;
	struct watched *watched = socket;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (watched == NULL)
			return 0;
		uv_poll_stop(&watched->poll);
		uv_close((uv_handle_t *)&watched->poll, free_watched);
		curl_multi_assign(client->multi, fd, NULL);
		return 0;
	}
	if (watched == NULL) {
		watched = mem_zero(sizeof(*watched));
		watched->client = client;
		watched->fd = fd;
		watched->poll.data = watched;
		if (uv_poll_init_socket(
			loop_uv(loop_self()), &watched->poll, fd) != 0) {
			mem_free(watched);
			return -1;
		}
		curl_multi_assign(client->multi, fd, watched);
	}
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	watched->events = events;
	uv_poll_start(&watched->poll, events, on_socket);
	return 0;
}

static int
set_timer(CURLM *multi, long ms, void *arg)
{
	struct client *client = arg;

	(void)multi;
	if (ms < 0)
		uv_timer_stop(&client->timer);
	else
		uv_timer_start(&client->timer, on_timer, (uint64_t)ms, 0);
	return 0;
}

static void
free_client(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void
client_close(void *arg)
{
	struct client *client = arg;

	curl_multi_cleanup(client->multi);
	uv_close((uv_handle_t *)&client->timer, free_client);
	self_client = NULL;
}

static void
curl_setup(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		panic("libcurl cannot be initialised");
}

static struct client *
client_self(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct client *client = self_client;

	if (client != NULL)
		return client;
	pthread_once(&once, curl_setup);
	client = mem_zero(sizeof(*client));
	client->multi = curl_multi_init();
	if (client->multi == NULL)
		panic("out of memory for an HTTP client");
	uv_timer_init(loop_uv(loop_self()), &client->timer);
	uv_unref((uv_handle_t *)&client->timer);
	client->timer.data = client;
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	curl_multi_setopt(
	    client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, CONNECTIONS_MAX);
	curl_multi_setopt(
	    client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, HOST_CONNECTIONS);
	curl_multi_setopt(
	    client->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS);
	self_client = client;
	loop_at_exit(client_close, client);
	return client;
}

void
http__multi_add(CURL *easy, struct http__end *end)
{
	curl_easy_setopt(easy, CURLOPT_PRIVATE, end);
	if (curl_multi_add_handle(client_self()->multi, easy) != CURLM_OK)
		panic("curl refuses a new transfer");
}

void
http__multi_resume(CURL *easy)
{
	curl_easy_pause(easy, CURLPAUSE_CONT);
	note_finished(client_self());
}

void
http__multi_remove(CURL *easy)
{
	curl_multi_remove_handle(client_self()->multi, easy);
}
