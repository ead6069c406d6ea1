/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: whole, chunked, and as server-sent events. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/trace.h"
#include "net/http_internal.h"

static const char *
reason_of(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 202:
		return "Accepted";
	case 204:
		return "No Content";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 406:
		return "Not Acceptable";
	case 408:
		return "Request Timeout";
	case 409:
		return "Conflict";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 415:
		return "Unsupported Media Type";
	case 417:
		return "Expectation Failed";
	case 422:
		return "Unprocessable Content";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 499:
		return "Client Closed Request";
	case 500:
		return "Internal Server Error";
	case 502:
		return "Bad Gateway";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	case 507:
		return "Insufficient Storage";
	default:
		return "Status";
	}
}

/* The Date header, made once a second for each thread (RFC 9110 5.6.7). */
static const char *
date_now(void)
{
	static _Thread_local char text[40];
	static _Thread_local time_t made;
	time_t now = (time_t)(clock_wall_ms() / 1000);
	struct tm tm;

	if (now != made) {
		gmtime_r(&now, &tm);
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		made = now;
	}
	return text;
}

void
http_set_header(struct http_request *req, const char *name, const char *value)
{
	for (const char *p = value; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' && *p != '\t')
			return; /* would split the head */
	buf_addf(&req->extra, "%s: %s\r\n", name, value);
}

static void
add_line(struct buf *out, const char *name, const char *value)
{
	buf_adds(out, name);
	buf_adds(out, value);
	buf_adds(out, "\r\n");
}

void
http_set_retry_after(struct http_request *req, uint64_t ms)
{
	char text[24];

	if (ms == 0)
		return;
	snprintf(text, sizeof(text), "%llu",
	    (unsigned long long)((ms + 999) / 1000));
	http_set_header(req, "Retry-After", text);
}

static void
write_head(struct http_request *req, int status, const char *content_type)
{
	const struct task *task = task_self();
	struct buf *out = &req->conn->out;
	char parent[TRACE_PARENT_SIZE];

	req->status = status;
	req->replied = true;
	buf_reserve(out, 512);
	buf_addf(out, "HTTP/1.1 %d ", status);
	add_line(out, "", reason_of(status));
	add_line(out, "Date: ", date_now());
	add_line(out, "X-Request-ID: ", task->request_id);
	if (trace_parent(task, parent))
		add_line(out, "traceparent: ", parent);
	if (content_type != NULL)
		add_line(out, "Content-Type: ", content_type);
	buf_add(out, buf_str(&req->extra), req->extra.len);
	if (atomic_load(&req->conn->listener->server->draining))
		req->keep_alive = false;
	if (!req->body_done && req->has_body)
		req->keep_alive = false;
	if (!req->keep_alive)
		buf_adds(out, "Connection: close\r\n");
	else if (req->http10)
		buf_adds(out, "Connection: keep-alive\r\n");
}

enum err_code
http_reply(struct http_request *req, int status, const char *content_type,
    const void *body, size_t len)
{
	struct buf *out = &req->conn->out;

	must(!req->replied);
	write_head(req, status, content_type);
	if (status != 204)
		buf_addf(out, "Content-Length: %zu\r\n", len);
	buf_adds(out, "\r\n");
	if (req->method != HTTP_M_HEAD && len > 0)
		buf_add(out, body, len);
	req->sent = len;
	http__conn_flush_later(req->conn);
	return OK;
}

enum err_code
http_reply_json(struct http_request *req, int status, const json_t *body)
{
	struct buf text;
	enum err_code rc;

	must(body != NULL);
	buf_init(&text, 0);
	json_write(body, &text);
	rc = http_reply(
	    req, status, "application/json", buf_str(&text), text.len);
	buf_done(&text);
	return rc;
}

enum err_code
http_reply_error(struct http_request *req, enum err_code code)
{
	int status = err_status(code);
	struct buf text;
	enum err_code rc;

	err_save(&req->told);
	req->told.code = code;

	buf_init(&text, 0);
	buf_addf(
	    &text, "{\"error\":{\"code\":\"%s\",\"message\":", err_name(code));
	buf_add_json(&text, err_message(), strlen(err_message()));
	buf_addf(&text,
	    ",\"status\":%d,\"retryable\":%s,\"request_id\":", status,
	    err_retryable(code) ? "true" : "false");
	buf_add_json(
	    &text, task_self()->request_id, strlen(task_self()->request_id));
	buf_adds(&text, "}}");
	if ((status == 503 || status == 429) &&
	    strstr(buf_str(&req->extra), "Retry-After:") == NULL)
		http_set_header(req, "Retry-After", "1");
	if (status == 401)
		http_set_header(req, "WWW-Authenticate", "Bearer");
	rc = http_reply(
	    req, status, "application/json", buf_str(&text), text.len);
	buf_done(&text);
	return rc;
}

bool
http_replied(const struct http_request *req)
{
	return req->replied;
}

/* Wait until the client has taken enough of what was written. */
enum err_code
http__space(struct http_conn *conn)
{
	uv_stream_t *stream = (uv_stream_t *)&conn->tcp;

	while (
	    !conn->gone && conn->out.len + conn->writing.len > HTTP_OUT_BYTES) {
		size_t left = uv_stream_get_write_queue_size(stream);
		enum err_code rc;

		http__conn_flush_later(conn);
		rc = fiber_cond_wait(
		    &conn->drained, deadline_in_ms(HTTP_WRITE_MS));
		/* Slow is allowed, standing still is not. */
		if (rc == ERR_DEADLINE && !conn->gone &&
		    uv_stream_get_write_queue_size(stream) < left &&
		    deadline_left_ms(task_self()->deadline_ms) > 0)
			continue;
		TRY(rc);
	}
	if (conn->gone)
		return err_set(ERR_CANCELLED, "the client went away");
	return OK;
}

enum err_code
http_stream_begin(
    struct http_request *req, int status, const char *content_type)
{
	must(!req->replied);
	req->streaming = true;
	if (req->http10)
		req->keep_alive = false; /* its end is the connection's end */
	write_head(req, status, content_type);
	buf_adds(&req->conn->out,
	    req->http10 ? "\r\n" : "Transfer-Encoding: chunked\r\n\r\n");
	http__conn_flush_later(req->conn);
	return OK;
}

enum err_code
http_stream_write(struct http_request *req, const void *data, size_t len)
{
	struct buf *out = &req->conn->out;

	TRY(http__space(req->conn));
	if (len == 0 || req->method == HTTP_M_HEAD)
		return OK;
	if (!req->http10)
		buf_addf(out, "%zx\r\n", len);
	buf_add(out, data, len);
	if (!req->http10)
		buf_adds(out, "\r\n");
	req->sent += len;
	http__conn_flush_later(req->conn);
	return OK;
}

enum err_code
http_stream_end(struct http_request *req)
{
	req->stream_ended = true;
	if (!req->http10 && req->method != HTTP_M_HEAD)
		buf_adds(&req->conn->out, "0\r\n\r\n");
	http__conn_flush_later(req->conn);
	return OK;
}

enum err_code
http_sse_begin(struct http_request *req)
{
	http_set_header(req, "Cache-Control", "no-store");
	http_set_header(req, "X-Accel-Buffering", "no");
	return http_stream_begin(req, 200, "text/event-stream");
}

enum err_code
http_sse_send(struct http_request *req, const char *event, const char *id,
    const char *data)
{
	struct buf text;
	enum err_code rc;

	buf_init(&text, 0);
	buf_addf(&text, "event: %s\n", event);
	if (id != NULL)
		buf_addf(&text, "id: %s\n", id);
	do { /* one data line for each line */
		size_t len = strcspn(data, "\r\n");

		buf_adds(&text, "data: ");
		buf_add(&text, data, len);
		buf_addc(&text, '\n');
		data += len;
		data += *data == '\r';
		data += *data == '\n';
	} while (*data != '\0');
	buf_addc(&text, '\n');
	rc = http_stream_write(req, text.data, text.len);
	buf_done(&text);
	return rc;
}

enum err_code
http_sse_ping(struct http_request *req)
{
	return http_stream_write(req, ": ping\n\n", 8);
}
