/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server over real sockets: raw bytes in, answers out. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/mem.h"
#include "base/metric.h"
#include "fiber/fiber.h"
#include "http_peer.h"
#include "shared_data.h"

#define H     "Host: a\r\n"
#define FLOOD 512 /* pieces of 16 KiB: more than sockets and queues hold */

static atomic_int cancelled, waiting;

/* ---- handlers under test ---- */

static enum err_code
live(struct http_request *req, void *arg)
{
	(void)arg;
	return http_reply(req, 200, "text/plain", "live", 4);
}

static enum err_code
echo(struct http_request *req, void *arg)
{
	size_t len;
	const char *body = http_body(req, &len);

	(void)arg;
	return http_reply(req, 200, "text/plain", body, len);
}

/* Counts the bytes, slowly, so that the client has to wait. */
static enum err_code
upload(struct http_request *req, void *arg)
{
	const char *data;
	char text[64];
	size_t len, total = 0;

	(void)arg;
	if (http_query(req, "refuse") != NULL)
		return err_set(ERR_FORBIDDEN, "not you");
	do {
		enum err_code rc = http_read(req, &data, &len);

		if (rc != OK)
			return rc;
		for (size_t i = 0; i < len; i++)
			if (data[i] != 'x')
				return err_set(ERR_INVALID, "another byte");
		total += len;
		if (http_query(req, "slow") != NULL)
			fiber_sleep(2);
	} while (len > 0);
	snprintf(text, sizeof(text), "%zu bytes", total);
	return http_reply(req, 200, "text/plain", text, strlen(text));
}

static enum err_code
chunks(struct http_request *req, void *arg)
{
	(void)arg;
	http_stream_begin(req, 200, "text/plain");
	http_stream_write(req, "one", 3);
	fiber_sleep(5);
	http_stream_write(req, "two", 3);
	return http_stream_end(req);
}

static enum err_code
events(struct http_request *req, void *arg)
{
	(void)arg;
	http_sse_begin(req);
	http_sse_send(req, "delta", "7", "a\nb");
	http_sse_ping(req);
	http_sse_send(req, "done", NULL, "{}");
	return http_stream_end(req);
}

static enum err_code
flood(struct http_request *req, void *arg)
{
	char piece[16384];
	enum err_code rc = OK;

	(void)arg;
	memset(piece, 'y', sizeof(piece));
	http_stream_begin(req, 200, "text/plain");
	for (int i = 0; i < FLOOD && rc == OK; i++)
		rc = http_stream_write(req, piece, sizeof(piece));
	if (rc == ERR_CANCELLED)
		atomic_fetch_add(&cancelled, 1);
	return rc != OK ? rc : http_stream_end(req);
}

static enum err_code
patient(struct http_request *req, void *arg)
{
	enum err_code rc;

	(void)arg;
	atomic_fetch_add(&waiting, 1);
	rc = fiber_sleep(300);
	if (rc == ERR_CANCELLED)
		atomic_fetch_add(&cancelled, 1);
	return rc != OK ? rc : http_reply(req, 200, "text/plain", "ok", 2);
}

static enum err_code
show(struct http_request *req, void *arg)
{
	const char *id = http_param(req, "id"), *rest = http_param(req, "path");
	const char *q = http_query(req, "q");
	struct buf text;
	enum err_code rc;

	(void)arg;
	buf_init(&text, 0);
	buf_addf(&text, "%s|%s|%s|%s", http_route_template(req), id ? id : "-",
	    rest ? rest : "-", q ? q : "-");
	rc = http_reply(req, 200, "text/plain", buf_str(&text), text.len);
	buf_done(&text);
	return rc;
}

static enum err_code
who(struct http_request *req, void *arg)
{
	const char *peer = http_peer(req);

	(void)arg;
	return http_reply(req, 200, "text/plain", peer, strlen(peer));
}

static enum err_code
silent(struct http_request *req, void *arg)
{
	(void)req;
	(void)arg;
	return OK;
}

static enum err_code
refused_inside(struct http_request *req, void *arg)
{
	(void)arg;
	http_set_header(req, "X-Bad", "a\r\nSet-Cookie: b");
	return http_reply_error(req, err_set(ERR_CONFLICT, "say \"why\""));
}

static const struct http_route routes[] = {
	{ HTTP_M_GET, "/live", HTTP_BODY_NONE, live },
	{ HTTP_M_POST, "/live", HTTP_BODY_NONE, live },
	{ HTTP_M_POST, "/echo", HTTP_BODY_SMALL, echo },
	{ HTTP_M_POST, "/upload", HTTP_BODY_STREAM, upload },
	{ HTTP_M_GET, "/chunks", HTTP_BODY_NONE, chunks },
	{ HTTP_M_GET, "/events", HTTP_BODY_NONE, events },
	{ HTTP_M_GET, "/flood", HTTP_BODY_NONE, flood },
	{ HTTP_M_GET, "/patient", HTTP_BODY_NONE, patient },
	{ HTTP_M_GET, "/silent", HTTP_BODY_NONE, silent },
	{ HTTP_M_GET, "/who", HTTP_BODY_NONE, who },
	{ HTTP_M_GET, "/refused", HTTP_BODY_NONE, refused_inside },
	{ HTTP_M_GET, "/x/{id}/knowledge:retry", HTTP_BODY_NONE, show },
	{ HTTP_M_GET, "/x/{id}", HTTP_BODY_NONE, show },
	{ HTTP_M_GET, "/files/{path...}", HTTP_BODY_NONE, show },
	{ 0, NULL, 0, NULL },
};

static int
start(void **state)
{
	(void)state;
	http_peer_start(&(struct http_options){ .routes = routes });
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	http_peer_stop();
	return 0;
}

/* ---- the table ---- */

struct row {
	const char *name, *send, *statuses;
	const char *holds; /* in the answer; NULL = anything */
};

static const struct row rows[] = {
	{ "a plain answer", "GET /live HTTP/1.1\r\n" H "\r\n", "200 ",
	    "Content-Length: 4\r\n\r\nlive" },
	{ "HEAD has the length and no body", "HEAD /live HTTP/1.1\r\n" H "\r\n",
	    "200 ", "Content-Length: 4\r\n" },
	{ "a date", "GET /live HTTP/1.1\r\n" H "\r\n", "200 ", " GMT\r\n" },
	{ "blank lines before a request",
	    "\r\n\r\nGET /live HTTP/1.1\r\n" H "\r\n", "200 ", "live" },
	{ "HTTP/1.0 closes", "GET /live HTTP/1.0\r\n\r\n", "200 ",
	    "Connection: close" },
	{ "HTTP/1.0 keep-alive",
	    "GET /live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
	    "GET /live HTTP/1.0\r\n\r\n",
	    "200 200 ", "Connection: keep-alive" },
	{ "the absolute form", "GET http://a/live HTTP/1.1\r\n" H "\r\n",
	    "200 ", NULL },
	{ "pipelined in order",
	    "GET /patient HTTP/1.1\r\n" H "\r\nGET /nope HTTP/1.1\r\n" H
	    "\r\nPOST /echo HTTP/1.1\r\n" H
	    "Content-Length: 2\r\n\r\nhiGET /live HTTP/1.1\r\n" H "\r\n",
	    "200 404 200 200 ", "\r\n\r\nhiHTTP/1.1 200" },
	{ "404", "GET /nope HTTP/1.1\r\n" H "\r\n", "404 ",
	    "\"code\":\"not_found\"" },
	{ "405 with Allow", "DELETE /live HTTP/1.1\r\n" H "\r\n", "405 ",
	    "Allow: GET, HEAD, POST\r\n" },
	{ "405 for a method nobody knows here",
	    "PROPFIND /live HTTP/1.1\r\n" H "\r\n", "405 ",
	    "Allow: GET, HEAD, POST\r\n" },
	{ "204 when a handler says nothing",
	    "GET /silent HTTP/1.1\r\n" H "\r\n", "204 ", NULL },
	{ "errors are JSON", "GET /refused HTTP/1.1\r\n" H "\r\n", "409 ",
	    "\"message\":\"say \\\"why\\\"\"" },
	{ "a body of known length",
	    "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello",
	    "200 ", "\r\n\r\nhello" },
	{ "a chunked body with extensions and trailers",
	    "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
	    "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nHost: evil\r\nX: y\r\n\r\n"
	    "GET /live HTTP/1.1\r\n" H "\r\n",
	    "200 200 ", "\r\n\r\nhello!HTTP" },
	{ "a streamed body",
	    "POST /upload HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nxxx"
	    "GET /live HTTP/1.1\r\n" H "\r\n",
	    "200 200 ", "3 bytes" },
	{ "a streamed body of nothing", "POST /upload HTTP/1.1\r\n" H "\r\n",
	    "200 ", "0 bytes" },
	{ "a streamed body that is refused unread",
	    "POST /upload?refuse=1 HTTP/1.1\r\n" H
	    "Content-Length: 9\r\n\r\nxxx",
	    "403 ", "Connection: close" },
	{ "a streamed body with a bad chunk",
	    "POST /upload HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
	    "2\r\nxx\r\nzz\r\n",
	    "400 ", "Connection: close" },
	{ "a streamed body cut short",
	    "POST /upload HTTP/1.1\r\n" H "Content-Length: 9\r\n\r\nxxx", "",
	    NULL },
	{ "a body where none belongs",
	    "GET /live HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\nx", "413 ",
	    NULL },
	{ "a length over the ceiling",
	    "POST /echo HTTP/1.1\r\n" H "Content-Length: 1048577\r\n\r\n",
	    "413 ", "too_large" },
	{ "an absurd length",
	    "POST /echo HTTP/1.1\r\n" H
	    "Content-Length: 99999999999999999999\r\n\r\n",
	    "400 ", NULL },
	{ "100-continue for a small body",
	    "POST /echo HTTP/1.1\r\n" H
	    "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
	    "100 200 ", NULL },
	{ "100-continue for a stream",
	    "POST /upload HTTP/1.1\r\n" H
	    "Expect: 100-continue\r\nContent-Length: 900000\r\n\r\nx",
	    "100 ", NULL },
	{ "no 100-continue for what is refused",
	    "POST /nope HTTP/1.1\r\n" H
	    "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
	    "404 ", "Connection: close" },
	{ "another expectation",
	    "POST /echo HTTP/1.1\r\n" H
	    "Expect: tea\r\nContent-Length: 2\r\n\r\nhi",
	    "417 ", NULL },
	{ "parameters", "GET /x/a%2Fb?q=1%202+3 HTTP/1.1\r\n" H "\r\n", "200 ",
	    "/x/{id}|a/b|-|1 2 3" },
	{ "literal suffixes", "GET /x/7/knowledge:retry HTTP/1.1\r\n" H "\r\n",
	    "200 ", "/x/{id}/knowledge:retry|7|-|-" },
	{ "an empty segment is none", "GET /x/ HTTP/1.1\r\n" H "\r\n", "404 ",
	    NULL },
	{ "the rest of a path", "GET /files/a/b.txt HTTP/1.1\r\n" H "\r\n",
	    "200 ", "|-|a/b.txt|-" },
	{ "bad percent codes", "GET /x/%zz HTTP/1.1\r\n" H "\r\n", "400 ",
	    NULL },
	{ "NUL in a path", "GET /x/%00 HTTP/1.1\r\n" H "\r\n", "400 ", NULL },
	{ "no Host", "GET /live HTTP/1.1\r\n\r\n", "400 ", "Host" },
	{ "two Hosts", "GET /live HTTP/1.1\r\n" H H "\r\n", "400 ", "Host" },
	{ "a folded header", "GET /live HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n",
	    "400 ", NULL },
	{ "HTTP/0.9", "GET /live\r\n\r\n", "400 ", NULL },
	{ "HTTP/1.2", "GET /live HTTP/1.2\r\n" H "\r\n", "400 ", NULL },
	{ "HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 ", NULL },
	{ "TLS", "\x16\x03\x01\x02\x01\xfc\x03\x03", "400 ", NULL },
	{ "CONNECT",
	    "CONNECT a:1 HTTP/1.1\r\n" H "\r\nGET /live HTTP/1.1\r\n" H "\r\n",
	    "400 ", "Connection: close" },
	{ "an upgrade is not taken",
	    "GET /live HTTP/1.1\r\n" H
	    "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	    "400 ", "Connection: close" },
	/* smuggling: the second request must not be answered */
	{ "both lengths",
	    "POST /echo HTTP/1.1\r\n" H
	    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "0\r\n\r\nGET /live HTTP/1.1\r\n" H "\r\n",
	    "400 ", NULL },
	{ "two lengths",
	    "POST /echo HTTP/1.1\r\n" H
	    "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
	    "400 ", NULL },
	{ "a length with a sign",
	    "POST /echo HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\nx", "400 ",
	    NULL },
	{ "chunked is not last",
	    "POST /echo HTTP/1.1\r\n" H
	    "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
	    "400 ", NULL },
	{ "chunked in HTTP/1.0",
	    "POST /echo HTTP/1.0\r\n" H
	    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	    "400 ", NULL },
	{ "space before the colon",
	    "POST /echo HTTP/1.1\r\n" H "Content-Length : 1\r\n\r\nx", "400 ",
	    NULL },
	{ "a bare CR hides a header",
	    "POST /echo HTTP/1.1\r\n" H
	    "X:\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	    "400 ", NULL },
	{ "lines end with LF alone", "GET /live HTTP/1.1\nHost: a\n\n", "400 ",
	    NULL },
	{ "a chunk longer than it says",
	    "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
	    "1\r\nhello\r\n0\r\n\r\n",
	    "400 ", NULL },
};

static void
check_row(const struct row *row, const struct buf *seen)
{
	char statuses[256];

	http_peer_statuses(seen, statuses, sizeof(statuses));
	if (row->statuses[0] != '\0' && strcmp(row->send, "HEAD") != 0 &&
	    strncmp(statuses, row->statuses, strlen(row->statuses)) != 0)
		fail_msg("%s: statuses %s, not %s:\n%s", row->name, statuses,
		    row->statuses, buf_str(seen));
	if (row->statuses[0] != '\0' && strcmp(row->statuses, "100 ") != 0 &&
	    strlen(statuses) != strlen(row->statuses))
		fail_msg("%s: statuses %s, not %s", row->name, statuses,
		    row->statuses);
	if (row->holds != NULL && strstr(buf_str(seen), row->holds) == NULL)
		fail_msg("%s: no \"%s\" in\n%s", row->name, row->holds,
		    buf_str(seen));
}

static void
each_request_gets_its_answer(void **state)
{
	struct buf seen;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		http_peer_exchange(rows[i].send, strlen(rows[i].send), &seen);
		check_row(&rows[i], &seen);
		buf_done(&seen);
	}
}

static void
answers_do_not_depend_on_how_bytes_arrive(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = strlen(rows[i].send);
		size_t step = len > 120 ? len / 40 : len > 60 ? 2 : 1;

		if (strstr(rows[i].send, "/patient") != NULL)
			continue;
		for (size_t cut = 1; cut < len; cut += step) {
			struct buf seen;
			int fd = http_peer_connect();

			buf_init(&seen, 0);
			http_peer_send(fd, rows[i].send, cut);
			usleep(200);
			http_peer_send(fd, rows[i].send + cut, len - cut);
			shutdown(fd, SHUT_WR);
			http_peer_rest(fd, &seen);
			close(fd);
			check_row(&rows[i], &seen);
			buf_done(&seen);
		}
	}
}

/* ---- identity ---- */

static void
request_ids_and_traces_are_carried_on(void **state)
{
	static const char send[] =
	    "GET /live HTTP/1.1\r\n" H "X-Request-ID: my-id/1\r\ntraceparent: "
	    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"
	    "GET /live HTTP/1.1\r\n" H "X-Request-ID: not valid\r\n"
	    "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331"
	    "-01\r\n\r\n";
	struct buf seen;
	const char *second;

	(void)state;
	http_peer_exchange(send, sizeof(send) - 1, &seen);
	assert_non_null(strstr(buf_str(&seen), "X-Request-ID: my-id/1\r\n"));
	assert_non_null(strstr(buf_str(&seen),
	    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-"));
	assert_null(strstr(buf_str(&seen), "b7ad6b7169203331"));
	second = strstr(buf_str(&seen) + 9, "HTTP/1.1 ");
	assert_non_null(second);
	assert_non_null(strstr(second, "X-Request-ID: rq_"));
	assert_null(strstr(second, "00-000000000000"));
	buf_done(&seen);
}

static void
headers_cannot_be_split_by_values(void **state)
{
	static const char send[] = "GET /refused HTTP/1.1\r\n" H "\r\n";
	struct buf seen;

	(void)state;
	http_peer_exchange(send, sizeof(send) - 1, &seen);
	assert_null(strstr(buf_str(&seen), "Set-Cookie"));
	buf_done(&seen);
}

/* ---- ceilings ---- */

static void
expect_status(struct buf *send, const char *status)
{
	char statuses[64];
	struct buf seen;

	http_peer_exchange(send->data, send->len, &seen);
	http_peer_statuses(&seen, statuses, sizeof(statuses));
	assert_string_equal(statuses, status);
	buf_done(&seen);
	buf_done(send);
}

static void
fill(struct buf *send, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf_addc(send, 'a');
}

static void
heads_have_ceilings(void **state)
{
	static const size_t sizes[] = { 8180, 9000, 17000, 40000 };
	struct buf send;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		buf_init(&send, 0);
		buf_adds(&send, "GET /");
		fill(&send, sizes[i]);
		buf_adds(&send, " HTTP/1.1\r\n" H "\r\n");
		expect_status(&send, i == 0 ? "404 " : "414 ");
		buf_init(&send, 0);
		buf_adds(&send, "GET /live HTTP/1.1\r\n" H "X: ");
		fill(&send, sizes[i]);
		buf_adds(&send, "\r\n\r\n");
		expect_status(&send, i < 2 ? "200 " : "431 ");
	}
	for (int lines = 99; lines <= 100; lines++) {
		buf_init(&send, 0);
		buf_adds(&send, "GET /live HTTP/1.1\r\n" H);
		for (int i = 0; i < lines; i++)
			buf_adds(&send, "X: y\r\n");
		buf_adds(&send, "\r\n");
		expect_status(&send, lines == 99 ? "200 " : "431 ");
	}
	buf_init(&send, 0);
	buf_adds(&send, "POST /echo HTTP/1.1\r\n" H
			"Transfer-Encoding: chunked\r\n\r\n100001\r\n");
	fill(&send, 0x100001);
	buf_adds(&send, "\r\n0\r\n\r\n");
	expect_status(&send, "413 ");
	buf_init(&send, 0);
	buf_adds(&send, "POST /echo HTTP/1.1\r\n" H
			"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ");
	fill(&send, 70000);
	buf_adds(&send, "\r\n\r\n");
	expect_status(&send, "431 ");
}

/* ---- streams ---- */

static void
an_upload_larger_than_its_queue_arrives_whole(void **state)
{
	size_t len = (size_t)2 << 20;
	char *body = mem_alloc(len);
	struct buf seen;
	int fd = http_peer_connect();

	(void)state;
	buf_init(&seen, 0);
	memset(body, 'x', len);
	http_peer_sends(fd, "POST /upload?slow=1 HTTP/1.1\r\n" H
			    "Content-Length: 2097152\r\n\r\n");
	http_peer_send(fd, body, len);
	assert_true(http_peer_until(fd, "2097152 bytes", 1, &seen));
	close(fd);
	buf_done(&seen);
	mem_free(body);
}

static void
streams_come_in_chunks(void **state)
{
	static const char send[] = "GET /chunks HTTP/1.1\r\n" H "\r\n"
				   "HEAD /chunks HTTP/1.1\r\n" H "\r\n";
	static const char old[] = "GET /chunks HTTP/1.0\r\n\r\n";
	struct buf seen;

	(void)state;
	http_peer_exchange(send, sizeof(send) - 1, &seen);
	assert_non_null(strstr(buf_str(&seen),
	    "\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\nHTTP/1.1 200 OK"));
	assert_string_equal(buf_str(&seen) + seen.len - 4, "\r\n\r\n");
	buf_done(&seen);
	http_peer_exchange(old, sizeof(old) - 1, &seen);
	assert_null(strstr(buf_str(&seen), "chunked"));
	assert_non_null(strstr(buf_str(&seen), "\r\n\r\nonetwo"));
	buf_done(&seen);
}

static void
events_have_one_data_line_for_each_line(void **state)
{
	static const char send[] = "GET /events HTTP/1.1\r\n" H "\r\n";
	struct buf seen;

	(void)state;
	http_peer_exchange(send, sizeof(send) - 1, &seen);
	assert_non_null(strstr(
	    buf_str(&seen), "event: delta\nid: 7\ndata: a\ndata: b\n\n"));
	assert_non_null(strstr(buf_str(&seen), "\r\n: ping\n\n\r\n"));
	assert_non_null(strstr(buf_str(&seen), "event: done\ndata: {}\n\n"));
	assert_non_null(
	    strstr(buf_str(&seen), "Content-Type: text/event-stream\r\n"));
	buf_done(&seen);
}

static void
until(atomic_int *what, int value)
{
	for (int i = 0; i < 2000 && atomic_load(what) < value; i++)
		usleep(1000);
	assert_true(atomic_load(what) >= value);
}

static void
a_slow_reader_holds_the_writer_back(void **state)
{
	struct buf seen;
	int fd = http_peer_connect();

	(void)state;
	buf_init(&seen, 0);
	http_peer_sends(
	    fd, "GET /flood HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	usleep(50000);
	assert_true(http_peer_rest(fd, &seen));
	assert_true(seen.len > (size_t)FLOOD * 16384);
	close(fd);
	buf_done(&seen);
}

static void
a_client_that_goes_away_cancels_its_request(void **state)
{
	struct linger hard = { 1, 0 };
	int before = atomic_load(&cancelled), fd;

	(void)state;
	fd = http_peer_connect();
	http_peer_sends(fd, "GET /flood HTTP/1.1\r\n" H "\r\n");
	usleep(20000);
	close(fd);
	until(&cancelled, before + 1);
	fd = http_peer_connect();
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	http_peer_sends(fd, "GET /patient HTTP/1.1\r\n" H "\r\n");
	usleep(20000);
	close(fd);
	until(&cancelled, before + 2);
}

static void
pipelined_answers_wait_for_a_reader(void **state)
{
	struct buf seen, send;
	int fd = http_peer_connect();

	(void)state;
	buf_init(&seen, 0);
	buf_init(&send, 0);
	for (int i = 0; i < 3; i++)
		buf_adds(&send, "GET /flood HTTP/1.1\r\n" H "\r\n");
	buf_adds(&send, "GET /live HTTP/1.1\r\n" H "\r\n");
	http_peer_send(fd, send.data, send.len);
	usleep(20000);
	assert_true(http_peer_until(fd, "\r\n\r\nlive", 1, &seen));
	close(fd);
	buf_done(&seen);
	buf_done(&send);
}

/* ---- time and numbers ---- */

static void
a_head_or_body_that_does_not_come_is_408(void **state)
{
	static const char *const parts[] = { "GET /li",
		"POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nx",
		"POST /upload HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nx" };

	(void)state;
	config_override(CFG_HEAD_MS, "60");
	config_override(CFG_BODY_IDLE_MS, "60");
	for (size_t i = 0; i < 3; i++) {
		struct buf seen;
		int fd = http_peer_connect();

		buf_init(&seen, 0);
		http_peer_sends(fd, parts[i]);
		assert_true(http_peer_rest(fd, &seen));
		assert_non_null(strstr(buf_str(&seen), "HTTP/1.1 408 "));
		close(fd);
		buf_done(&seen);
	}
	config_override(CFG_HEAD_MS, "10000");
	config_override(CFG_BODY_IDLE_MS, "30000");
}

static void
over_the_ceiling_connections_are_told_so(void **state)
{
	int fds[9];
	struct buf seen;

	(void)state;
	usleep(50000); /* those of earlier tests are gone by now */
	config_override(CFG_MAX_CONNECTIONS, "8");
	for (int i = 0; i < 8; i++) {
		fds[i] = http_peer_connect();
		buf_init(&seen, 0);
		http_peer_sends(fds[i], "GET /live HTTP/1.1\r\n" H "\r\n");
		assert_true(http_peer_until(fds[i], "live", 1, &seen));
		buf_done(&seen);
	}
	http_peer_exchange("", 0, &seen);
	assert_non_null(strstr(buf_str(&seen), "HTTP/1.1 503 "));
	assert_non_null(strstr(buf_str(&seen), "Retry-After: 1\r\n"));
	assert_non_null(strstr(buf_str(&seen), "\"}}"));
	buf_done(&seen);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	config_override(CFG_MAX_CONNECTIONS, "10000");
}

static void
a_taken_port_is_a_conflict(void **state)
{
	char place[32];
	struct http_server *other;

	(void)state;
	snprintf(place, sizeof(place), "127.0.0.1:%d",
	    http_server_port(http_peer_server()));
	assert_int_equal(
	    http_server_open(
		&(struct http_options){ .listen = place, .routes = routes },
		&other),
	    ERR_CONFLICT);
}

static void
only_trusted_proxies_name_the_client(void **state)
{
	static const char send[] =
	    "GET /who HTTP/1.1\r\n" H
	    "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n";
	struct buf seen;

	(void)state;
	http_peer_exchange(send, sizeof(send) - 1, &seen);
	assert_non_null(strstr(buf_str(&seen), "\r\n\r\n127.0.0.1"));
	buf_done(&seen);
	config_override(CFG_TRUSTED_PROXIES, "10.0.0.1, 127.0.0.1");
	http_peer_exchange(send, sizeof(send) - 1, &seen);
	config_override(CFG_TRUSTED_PROXIES, "");
	assert_non_null(strstr(buf_str(&seen), "\r\n\r\n9.9.9.9"));
	buf_done(&seen);
}

static void
requests_are_counted_by_template(void **state)
{
	static const char send[] = "GET /x/1 HTTP/1.1\r\n" H "\r\n";
	double before =
	    metric_value(METRIC_HTTP_REQUESTS, LABELS("GET", "/x/{id}", "2xx"));
	struct buf seen;

	(void)state;
	http_peer_exchange(send, sizeof(send) - 1, &seen);
	buf_done(&seen);
	assert_true(metric_value(METRIC_HTTP_REQUESTS,
			LABELS("GET", "/x/{id}", "2xx")) == before + 1);
	assert_true(metric_value(METRIC_HTTP_IN_FLIGHT, METRIC_NO_LABELS) == 0);
}

static void
closing_lets_requests_end(void **state)
{
	int busy, idle, count = atomic_load(&waiting);
	struct buf seen;

	(void)state;
	http_peer_start(&(struct http_options){ .routes = routes });
	idle = http_peer_connect();
	buf_init(&seen, 0);
	http_peer_sends(idle, "GET /live HTTP/1.1\r\n" H "\r\n");
	assert_true(http_peer_until(idle, "live", 1, &seen));
	busy = http_peer_connect();
	http_peer_sends(busy, "GET /patient HTTP/1.1\r\n" H "\r\n");
	until(&waiting, count + 1);
	http_peer_stop();
	buf_clear(&seen);
	assert_true(http_peer_rest(idle, &seen));
	assert_int_equal(seen.len, 0);
	assert_true(http_peer_rest(busy, &seen));
	assert_non_null(strstr(buf_str(&seen), "HTTP/1.1 200 OK"));
	assert_non_null(strstr(buf_str(&seen), "Connection: close\r\n"));
	close(idle);
	close(busy);
	buf_done(&seen);
}

/* On a kept connection, just before its server closes idle ones: what has come
 * is read first. */
static void
a_request_that_came_before_the_end_is_answered(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		struct buf seen;
		int kept;

		http_peer_start(&(struct http_options){ .routes = routes });
		kept = http_peer_connect();
		buf_init(&seen, 0);
		http_peer_sends(kept, "GET /live HTTP/1.1\r\n" H "\r\n");
		assert_true(http_peer_until(kept, "live", 1, &seen));
		buf_clear(&seen);
		http_peer_sends(kept, "GET /live HTTP/1.1\r\n" H "\r\n");
		http_peer_stop();
		assert_true(http_peer_rest(kept, &seen));
		assert_non_null(strstr(buf_str(&seen), "HTTP/1.1 200 OK"));
		close(kept);
		buf_done(&seen);
	}
}

/* A client that stops in the middle of a head or a body. */
static void
half_a_request_does_not_hold_the_end_up(void **state)
{
	static const char *const halves[] = { "GET /live HTTP/1.1\r\n" H,
		"POST /echo HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nhalf" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		uint64_t began;
		int stuck;

		http_peer_start(&(struct http_options){ .routes = routes });
		stuck = http_peer_connect();
		http_peer_sends(stuck, halves[i]);
		usleep(50000);
		began = clock_mono_ms();
		http_peer_stop();
		assert_true(clock_mono_ms() - began < 4000);
		close(stuck);
	}
}

/* Between the signal and the end of listening: nobody is turned away, and who
 * keeps connections is told to make another. */
static void
who_leaves_serves_on_and_closes_behind_each_answer(void **state)
{
	int kept, fresh;
	struct buf seen;

	(void)state;
	http_peer_start(&(struct http_options){ .routes = routes });
	kept = http_peer_connect();
	buf_init(&seen, 0);
	http_peer_sends(kept, "GET /live HTTP/1.1\r\n" H "\r\n");
	assert_true(http_peer_until(kept, "live", 1, &seen));
	assert_null(strstr(buf_str(&seen), "Connection: close"));
	http_server_leave(http_peer_server());
	fresh = http_peer_connect();
	for (int i = 0; i < 2; i++) {
		int fd = i == 0 ? kept : fresh;

		buf_clear(&seen);
		http_peer_sends(fd, "GET /live HTTP/1.1\r\n" H "\r\n");
		assert_true(http_peer_rest(fd, &seen));
		assert_non_null(strstr(buf_str(&seen), "HTTP/1.1 200 OK"));
		assert_non_null(strstr(buf_str(&seen), "Connection: close"));
		close(fd);
	}
	http_peer_stop();
	buf_done(&seen);
}

static void
open_mode_serves_loopback_names_only(void **state)
{
	static const struct row near[] = {
		{ "loopback",
		    "GET /live HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", "200 ",
		    NULL },
		{ "a name", "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n",
		    "200 ", NULL },
		{ "its own page",
		    "GET /live HTTP/1.1\r\nHost: localhost:1\r\nOrigin: "
		    "http://localhost:1\r\n\r\n",
		    "200 ", NULL },
		{ "rebinding", "GET /live HTTP/1.1\r\nHost: evil.test\r\n\r\n",
		    "403 ", NULL },
		{ "a longer name",
		    "GET /live HTTP/1.1\r\nHost: localhost.evil.test\r\n\r\n",
		    "403 ", NULL },
		{ "another site",
		    "POST /live HTTP/1.1\r\nHost: localhost\r\nOrigin: "
		    "https://evil.test\r\n\r\n",
		    "403 ", NULL },
		{ "a sandboxed page",
		    "POST /live HTTP/1.1\r\nHost: localhost\r\nOrigin: "
		    "null\r\n\r\n",
		    "403 ", NULL },
	};

	(void)state;
	http_peer_start(
	    &(struct http_options){ .routes = routes, .check_host = true });
	for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
		struct buf seen;

		http_peer_exchange(near[i].send, strlen(near[i].send), &seen);
		check_row(&near[i], &seen);
		buf_done(&seen);
	}
	http_peer_stop();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_request_gets_its_answer),
		cmocka_unit_test(answers_do_not_depend_on_how_bytes_arrive),
		cmocka_unit_test(request_ids_and_traces_are_carried_on),
		cmocka_unit_test(headers_cannot_be_split_by_values),
		cmocka_unit_test(heads_have_ceilings),
		cmocka_unit_test(an_upload_larger_than_its_queue_arrives_whole),
		cmocka_unit_test(streams_come_in_chunks),
		cmocka_unit_test(events_have_one_data_line_for_each_line),
		cmocka_unit_test(a_slow_reader_holds_the_writer_back),
		cmocka_unit_test(a_client_that_goes_away_cancels_its_request),
		cmocka_unit_test(pipelined_answers_wait_for_a_reader),
		cmocka_unit_test(a_head_or_body_that_does_not_come_is_408),
		cmocka_unit_test(over_the_ceiling_connections_are_told_so),
		cmocka_unit_test(a_taken_port_is_a_conflict),
		cmocka_unit_test(only_trusted_proxies_name_the_client),
		cmocka_unit_test(requests_are_counted_by_template),
	};
	const struct CMUnitTest alone[] = {
		cmocka_unit_test(closing_lets_requests_end),
		cmocka_unit_test(
		    a_request_that_came_before_the_end_is_answered),
		cmocka_unit_test(half_a_request_does_not_hold_the_end_up),
		cmocka_unit_test(
		    who_leaves_serves_on_and_closes_behind_each_answer),
		cmocka_unit_test(open_mode_serves_loopback_names_only),
	};

	return cmocka_run_group_tests(tests, start, stop) +
	       cmocka_run_group_tests(alone, NULL, NULL);
}
