/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against a small blocking server in this process. */
#include "fiber_group.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "net/http_client.h"

/* ---- the server: one thread for each connection, a few paths ---- */

static int server_port;
static atomic_int connections;

static void
say(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		ssize_t n = send(fd, text, left, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		text += n;
		left -= (size_t)n;
	}
}

static void
stream_pieces(int fd)
{
	say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 3; i++) {
		usleep(20000);
		say(fd, "4\r\nab");
		say(fd, i == 0 ? "0\n\r\n" : i == 1 ? "1\n\r\n" : "2\n\r\n");
	}
	say(fd, "0\r\n\r\n");
}

static void
stream_much(int fd, const char *head, int pieces)
{
	char piece[1025];

	memset(piece, 'z', 1024);
	piece[1024] = '\0';
	say(fd, head);
	for (int i = 0; i < pieces; i++)
		say(fd, piece);
}

static void
echo(int fd, const char *request, size_t head, size_t len)
{
	char answer[16384];

	snprintf(answer, sizeof(answer),
	    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n"
	    "X-Thing:  A b \r\nContent-Length: %zu\r\n\r\n%.*s",
	    len, (int)len, request);
	(void)head;
	say(fd, answer);
}

static bool
answer(int fd, const char *request, size_t head, size_t len)
{
	const char *path = strchr(request, ' ');

	path = path == NULL ? "" : path + 1;
	if (strncmp(path, "/echo", 5) == 0)
		echo(fd, request, head, len);
	else if (strncmp(path, "/pieces", 7) == 0)
		stream_pieces(fd);
	else if (strncmp(path, "/much", 5) == 0)
		stream_much(fd,
		    "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n", 1024);
	else if (strncmp(path, "/excuses", 8) == 0)
		stream_much(fd,
		    "HTTP/1.1 500 Sorry\r\nContent-Length: 8388608\r\n\r\n",
		    8192);
	else if (strncmp(path, "/redirect", 9) == 0)
		say(fd, "HTTP/1.1 302 Found\r\nLocation: /echo\r\n"
			"Content-Length: 0\r\n\r\n");
	else if (strncmp(path, "/silent", 7) == 0)
		return usleep(1500000), false;
	else if (strncmp(path, "/close", 6) == 0)
		return false;
	else
		say(fd,
		    "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n");
	return true;
}

#define REFUSAL "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnot!"

static void *
serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char request[8192];
	size_t len = 0;

	for (;;) {
		ssize_t n =
		    recv(fd, request + len, sizeof(request) - 1 - len, 0);
		const char *end, *field;
		size_t want = 0;

		if (n <= 0)
			break;
		len += (size_t)n;
		request[len] = '\0';
		end = strstr(request, "\r\n\r\n");
		if (end == NULL)
			continue;
		if (strncmp(request, "PUT /refuse", 11) == 0) {
			say(fd, REFUSAL);
			break; /* what it did not read makes it a reset */
		}
		field = strstr(request, "Content-Length: ");
		if (field != NULL)
			want = strtoul(field + 16, NULL, 10);
		if (len < (size_t)(end + 4 - request) + want)
			continue;
		if (!answer(fd, request, (size_t)(end + 4 - request), len))
			break;
		len = 0;
	}
	close(fd);
	return NULL;
}

static void *
accept_all(void *arg)
{
	int listener = (int)(intptr_t)arg;

	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;

		if (fd < 0)
			return NULL;
		atomic_fetch_add(&connections, 1);
		pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd);
		pthread_detach(thread);
	}
}

static int
open_server(pthread_t *thread)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&address, size) != 0 ||
	    listen(listener, 64) != 0)
		abort();
	getsockname(listener, (struct sockaddr *)&address, &size);
	server_port = ntohs(address.sin_port);
	pthread_create(thread, NULL, accept_all, (void *)(intptr_t)listener);
	return listener;
}

/* ---- calls ---- */

static struct http_call
call_to(const char *method, const char *path)
{
	static char url[8][128];
	static unsigned next;
	char *u = url[next++ % 8];

	snprintf(u, 128, "http://127.0.0.1:%d%s", server_port, path);
	return (struct http_call){
		.method = method, .url = u, .max_reply_bytes = 1 << 20
	};
}

static void
a_post_sends_what_was_given_and_nothing_else(void **state)
{
	const char *headers[] = { "X-Mine: 1", NULL };
	struct http_call call = call_to("POST", "/echo?a=b");
	struct http_call_reply reply;
	char value[32];

	(void)state;
	call.headers = headers;
	call.body = "body text";
	call.body_len = 9;
	assert_int_equal(http_call(&call, deadline_in_ms(5000), &reply), OK);
	assert_int_equal(reply.status, 201);
	assert_memory_equal(reply.body.data, "POST /echo?a=b HTTP/1.1\r\n", 25);
	assert_non_null(strstr(reply.body.data, "\r\nX-Mine: 1\r\n"));
	assert_non_null(strstr(reply.body.data, "\r\n\r\nbody text"));
	assert_null(strstr(reply.body.data, "Content-Type"));
	assert_null(strstr(reply.body.data, "Expect"));
	assert_true(http_call_header(&reply, "x-thing", value, sizeof(value)));
	assert_string_equal(value, "A b");
	assert_false(http_call_header(&reply, "x-none", value, sizeof(value)));
	http_call_reply_done(&reply);
}

static int
file_of(const char *text)
{
	char name[] = "/tmp/xin-client-XXXXXX";
	int fd = mkstemp(name);

	unlink(name);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

static void
a_body_comes_from_a_range_of_a_file(void **state)
{
	struct http_call call = call_to("PUT", "/echo");
	struct http_file file = { file_of("0123456789"), 3, 5 };
	struct http_call_reply reply;

	(void)state;
	call.file = &file;
	assert_int_equal(http_call(&call, deadline_in_ms(5000), &reply), OK);
	assert_memory_equal(reply.body.data, "PUT /echo HTTP/1.1\r\n", 20);
	assert_non_null(strstr(reply.body.data, "\r\nContent-Length: 5\r\n"));
	assert_non_null(strstr(reply.body.data, "\r\n\r\n34567"));
	assert_null(strstr(reply.body.data, "Expect"));
	http_call_reply_done(&reply);
	file.len = 0;
	assert_int_equal(http_call(&call, deadline_in_ms(5000), &reply), OK);
	assert_non_null(strstr(reply.body.data, "\r\nContent-Length: 0\r\n"));
	http_call_reply_done(&reply);
	file.len = 8; /* one more than there is */
	assert_int_equal(
	    http_call(&call, deadline_in_ms(5000), &reply), ERR_IO);
	assert_non_null(strstr(err_message(), "shorter"));
	close(file.fd);
}

static void
a_server_that_is_asked_first_sees_the_question(void **state)
{
	struct http_call call = call_to("PUT", "/echo");
	struct http_file file = { file_of("body"), 0, 4 };
	struct http_call_reply reply;

	(void)state;
	call.file = &file;
	call.ask_first = true; /* it says nothing: after a second we go on */
	assert_int_equal(http_call(&call, deadline_in_ms(5000), &reply), OK);
	assert_non_null(
	    strstr(reply.body.data, "\r\nExpect: 100-continue\r\n"));
	assert_non_null(strstr(reply.body.data, "\r\n\r\nbody"));
	http_call_reply_done(&reply);
	close(file.fd);
}

/* "select/poll returned error" was what came of it. */
static void
a_refusal_before_the_body_was_read_is_an_answer(void **state)
{
	struct http_call call = call_to("PUT", "/refuse");
	struct http_file file = { file_of(""), 0, 60000 };
	struct http_call_reply reply;

	(void)state;
	assert_int_equal(ftruncate(file.fd, 8 << 20), 0);
	call.file = &file;
	for (int i = 0; i < 40; i++) {
		call.ask_first = i % 2 != 0; /* needed for longer ones */
		file.len = call.ask_first ? 8 << 20 : 60000;
		assert_int_equal(
		    http_call(&call, deadline_in_ms(5000), &reply), OK);
		assert_int_equal(reply.status, 403);
		assert_string_equal(buf_str(&reply.body), "not!");
		http_call_reply_done(&reply);
	}
	close(file.fd);
}

static void
an_error_is_kept_short_beside_the_ceiling(void **state)
{
	struct http_call call = call_to("GET", "/nothing");
	struct http_call_reply reply;

	(void)state;
	call.max_reply_bytes = 1;
	call.max_error_bytes = 2;
	assert_int_equal(http_call(&call, deadline_in_ms(5000), &reply), OK);
	assert_int_equal(reply.status, 404);
	assert_string_equal(buf_str(&reply.body), "no");
	http_call_reply_done(&reply);
}

static void
an_error_that_does_not_end_is_not_read_to_the_end(void **state)
{
	struct http_call call = call_to("GET", "/excuses");
	struct http_call_reply reply;

	(void)state;
	call.max_error_bytes = 2;
	assert_int_equal(
	    http_call(&call, deadline_in_ms(5000), &reply), ERR_TOO_LARGE);
}

static void
every_status_is_an_answer_and_redirects_are_not_followed(void **state)
{
	struct http_call call = call_to("GET", "/nothing");
	struct http_call_reply reply;

	(void)state;
	assert_int_equal(http_call(&call, deadline_in_ms(5000), &reply), OK);
	assert_int_equal(reply.status, 404);
	assert_string_equal(buf_str(&reply.body), "no\n");
	http_call_reply_done(&reply);
	call = call_to("GET", "/redirect");
	assert_int_equal(http_call(&call, deadline_in_ms(5000), &reply), OK);
	assert_int_equal(reply.status, 302);
	http_call_reply_done(&reply);
}

static void
connections_are_reused(void **state)
{
	struct http_call call = call_to("GET", "/nothing");
	struct http_call_reply reply;
	int before = atomic_load(&connections);

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(
		    http_call(&call, deadline_in_ms(5000), &reply), OK);
		http_call_reply_done(&reply);
	}
	assert_true(atomic_load(&connections) - before <= 1);
}

struct pieces {
	char text[64];
	unsigned calls;
	bool in_fiber;
};

static enum err_code
collect(void *arg, const char *data, size_t len)
{
	struct pieces *p = arg;

	p->calls++;
	p->in_fiber = fiber_self() != NULL;
	strncat(p->text, data, len);
	return fiber_sleep(1); /* it may wait */
}

static void
streams_arrive_in_pieces_on_the_callers_fiber(void **state)
{
	struct http_call call = call_to("GET", "/pieces");
	struct http_call_reply reply;
	struct pieces pieces = { .calls = 0 };

	(void)state;
	call.on_data = collect;
	call.arg = &pieces;
	assert_int_equal(http_call(&call, deadline_in_ms(5000), &reply), OK);
	assert_string_equal(pieces.text, "ab0\nab1\nab2\n");
	assert_in_range(pieces.calls, 2, 6);
	assert_true(pieces.in_fiber);
	assert_int_equal(reply.body.len, 0);
	http_call_reply_done(&reply);
}

struct slow {
	size_t bytes;
	unsigned calls;
	unsigned stop_after;
	size_t largest;
};

static enum err_code
take_slowly(void *arg, const char *data, size_t len)
{
	struct slow *slow = arg;

	(void)data;
	slow->bytes += len;
	slow->largest = len > slow->largest ? len : slow->largest;
	if (++slow->calls == slow->stop_after)
		return err_set(ERR_CONFLICT, "enough");
	return fiber_sleep(2);
}

static void
a_slow_reader_pauses_the_transfer(void **state)
{
	struct http_call call = call_to("GET", "/much");
	struct http_call_reply reply;
	struct slow slow = { .bytes = 0 };

	(void)state;
	call.on_data = take_slowly;
	call.arg = &slow;
	assert_int_equal(http_call(&call, deadline_in_ms(10000), &reply), OK);
	assert_int_equal(slow.bytes, 1 << 20);
	assert_true(slow.largest <= (64 << 10) + 16384 * 2);
	http_call_reply_done(&reply);
	slow = (struct slow){ .stop_after = 2 };
	assert_int_equal(
	    http_call(&call, deadline_in_ms(10000), &reply), ERR_CONFLICT);
	assert_string_equal(err_message(), "enough");
}

static void
an_answer_over_the_ceiling_is_refused(void **state)
{
	struct http_call call = call_to("GET", "/much");
	struct http_call_reply reply;

	(void)state;
	call.max_reply_bytes = (1 << 20) - 1;
	assert_int_equal(
	    http_call(&call, deadline_in_ms(5000), &reply), ERR_TOO_LARGE);
	call.max_reply_bytes = 1 << 20;
	assert_int_equal(http_call(&call, deadline_in_ms(5000), &reply), OK);
	assert_int_equal(reply.body.len, 1 << 20);
	http_call_reply_done(&reply);
}

static void
silence_ends_at_the_deadline(void **state)
{
	struct http_call call = call_to("GET", "/silent?key=secret");
	struct http_call_reply reply;
	uint64_t begin = clock_mono_ms();

	(void)state;
	assert_int_equal(
	    http_call(&call, deadline_in_ms(100), &reply), ERR_DEADLINE);
	assert_in_range(clock_mono_ms() - begin, 90, 1000);
	assert_null(strstr(err_message(), "secret"));
}

struct cancelled {
	enum err_code rc;
	bool ended;
};

static void
call_silence(void *arg)
{
	struct cancelled *c = arg;
	struct http_call call = call_to("GET", "/silent");
	struct http_call_reply reply;

	c->rc = http_call(&call, deadline_in_ms(30000), &reply);
	c->ended = true;
}

static void
a_cancelled_call_ends_at_once(void **state)
{
	struct cancelled c = { OK, false };
	struct fiber *fiber = fiber_start(call_silence, &c);

	(void)state;
	fiber_sleep(50);
	fiber_cancel(fiber);
	fiber_sleep(50);
	assert_true(c.ended);
	assert_int_equal(c.rc, ERR_CANCELLED);
}

static void
no_answer_is_unavailable_with_the_reason(void **state)
{
	struct http_call call = call_to("GET", "/close");
	struct http_call_reply reply;

	(void)state;
	assert_int_equal(
	    http_call(&call, deadline_in_ms(5000), &reply), ERR_UNAVAILABLE);
	call.url = "http://127.0.0.1:1/x?key=secret";
	assert_int_equal(
	    http_call(&call, deadline_in_ms(5000), &reply), ERR_UNAVAILABLE);
	assert_non_null(strstr(err_message(), "127.0.0.1:1"));
	assert_null(strstr(err_message(), "secret"));
}

static void
bad_calls_are_refused(void **state)
{
	const char *headers[] = { "X-A: 1\r\nX-B: 2", NULL };
	struct http_call call = call_to("GET", "/");
	struct http_call_reply reply;

	(void)state;
	call.url = "file:///etc/passwd";
	assert_int_equal(http_call(&call, 0, &reply), ERR_INVALID);
	call = call_to("GET /x", "/");
	assert_int_equal(http_call(&call, 0, &reply), ERR_INVALID);
	call = call_to("GET", "/");
	call.headers = headers;
	assert_int_equal(http_call(&call, 0, &reply), ERR_INVALID);
}

static atomic_int answered;

static void
call_once(void *arg)
{
	struct http_call call = call_to("GET", "/nothing");
	struct http_call_reply reply;

	(void)arg;
	if (http_call(&call, deadline_in_ms(10000), &reply) == OK) {
		atomic_fetch_add(&answered, 1);
		http_call_reply_done(&reply);
	}
}

static void
a_hundred_calls_share_the_loop(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++)
		fiber_start(call_once, NULL);
	for (int i = 0; i < 500 && atomic_load(&answered) < 100; i++)
		fiber_sleep(10);
	assert_int_equal(atomic_load(&answered), 100);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_post_sends_what_was_given_and_nothing_else),
		cmocka_unit_test(a_body_comes_from_a_range_of_a_file),
		cmocka_unit_test(
		    a_server_that_is_asked_first_sees_the_question),
		cmocka_unit_test(
		    a_refusal_before_the_body_was_read_is_an_answer),
		cmocka_unit_test(an_error_is_kept_short_beside_the_ceiling),
		cmocka_unit_test(
		    an_error_that_does_not_end_is_not_read_to_the_end),
		cmocka_unit_test(
		    every_status_is_an_answer_and_redirects_are_not_followed),
		cmocka_unit_test(connections_are_reused),
		cmocka_unit_test(streams_arrive_in_pieces_on_the_callers_fiber),
		cmocka_unit_test(a_slow_reader_pauses_the_transfer),
		cmocka_unit_test(an_answer_over_the_ceiling_is_refused),
		cmocka_unit_test(silence_ends_at_the_deadline),
		cmocka_unit_test(a_cancelled_call_ends_at_once),
		cmocka_unit_test(no_answer_is_unavailable_with_the_reason),
		cmocka_unit_test(bad_calls_are_refused),
		cmocka_unit_test(a_hundred_calls_share_the_loop),
	};
	pthread_t thread;
	int listener, failed;

	setenv("no_proxy", "127.0.0.1", 1);
	listener = open_server(&thread);
	failed = fiber_group(tests, NULL, NULL);
	shutdown(listener, SHUT_RDWR);
	close(listener);
	pthread_join(thread, NULL);
	return failed;
}
