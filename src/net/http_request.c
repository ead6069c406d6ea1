/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request and its fiber: identity, the handler, the error answer, the log
 * line and the metrics. request_run is the life of a request.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/ident.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mask.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"
#include "net/http_internal.h"
#include "net/url.h"

#define REQUEST_MEMORY ((size_t)4 << 20)

static const char *const method_names[] = { "GET", "HEAD", "POST", "PUT",
	"DELETE", "OPTIONS", "PATCH" };

struct http_request *
http__request_new(struct http_conn *conn)
{
	struct http_request *req = mem_zero(sizeof(*req));

	req->conn = conn;
	arena_init(&req->arena, REQUEST_MEMORY);
	req->began_us = clock_mono_us();
	return req;
}

void
http__request_free(struct http_request *req)
{
	buf_done(&req->body);
	buf_done(&req->lent);
	buf_done(&req->extra);
	arena_done(&req->arena);
	mem_free(req);
}

/* ---- identity ---- */

static const char *
route_label(const struct http_request *req)
{
	return req->route != NULL ? req->route->template : "unmatched";
}

static bool
is_request_id(const char *text)
{
	size_t len = 0;

	for (; text[len] != '\0'; len++)
		if (text[len] <= ' ' || text[len] > '~' || text[len] == '"' ||
		    text[len] == '\\' || len >= 128)
			return false;
	return len > 0;
}

static void
take_identity(const struct http_request *req, struct task *task)
{
	const char *id = http_header(req, "x-request-id");

	if (id != NULL && is_request_id(id))
		str_copy(task->request_id, sizeof(task->request_id), id);
	else
		ident_new("rq", task->request_id);
}

/* Probes and scrapes come every few seconds and would bury the rest. */
static bool
is_quiet(const struct http_request *req)
{
	return str_starts(route_label(req), "/health") ||
	       str_starts(route_label(req), "/metrics");
}

static const char *
method_name(const struct http_request *req)
{
	return req->foreign ? "HTTP" : method_names[req->method];
}

/* The path as the route knows it: a caller may put anything where an id or a
 * name is expected, and only what looks like one is told. */
static const char *
shown_path(const struct http_request *req, char *out, size_t size)
{
	const char *known = req->route->template, *at = http_path(req);
	size_t n = 0;

	while (*known != '\0' && *at != '\0' && n + 1 < size) {
		size_t want = strcspn(known + 1, "/") + 1;
		size_t len = strcspn(at + 1, "/") + 1;
		char value[64];

		str_copy_n(value, sizeof(value), at + 1, len - 1);
		if (want > 1 && known[1] == '{' &&
		    (len > sizeof(value) ||
			(!str_is_name(value) && !mask_is_id(value, len - 1))))
			n += (size_t)snprintf(
			    out + n, size - n, "%.*s", (int)want, known);
		else
			n += (size_t)snprintf(
			    out + n, size - n, "%.*s", (int)len, at);
		known += want;
		at += len;
	}
	if (n == 0)
		str_copy(out, size, "/");
	return out;
}

static void
begin_span(struct http_request *req)
{
	const struct trace_headers from = { http_header(req, "traceparent"),
		http_header(req, "tracestate"), http_header(req, "baggage") };
	char name[128], path[256];

	if (is_quiet(req)) {
		span_enter_unrecorded(&from);
		return;
	}
	req->span = span_enter(SPAN_SERVER, method_name(req), &from);
	if (req->span == NULL)
		return;
	if (req->route != NULL) {
		snprintf(name, sizeof(name), "%s %s", method_name(req),
		    req->route->template);
		span_name(req->span, name);
	}
	span_add(req->span,
	    attr_str(ATTR_HTTP_METHOD,
		req->foreign ? "_OTHER" : method_names[req->method]),
	    attr_str(ATTR_HTTP_ROUTE, req->route ? req->route->template : NULL),
	    attr_str(ATTR_URL_PATH,
		req->route ? shown_path(req, path, sizeof(path)) : NULL),
	    attr_str(ATTR_URL_SCHEME, "http"),
	    attr_str(ATTR_CLIENT_ADDRESS, http_peer(req)),
	    attr_str(ATTR_PROTOCOL_VERSION, req->http10 ? "1.0" : "1.1"));
}

/* A client's fault (4xx) is no error of ours (semantic conventions, HTTP). */
static void
end_span(struct http_request *req, enum err_code rc)
{
	char status[16];

	if (req->span == NULL)
		return;
	span_add(req->span, attr_int(ATTR_HTTP_STATUS, req->status));
	if (req->status >= 500) {
		snprintf(status, sizeof(status), "%d", req->status);
		span_fail(req->span, status);
	}
	if (rc == ERR_CANCELLED || req->status >= 400)
		rc = OK;
	span_end(req->span, rc);
	req->span = NULL;
}

/* ---- open loopback mode: DNS rebinding and cross-site forms ---- */

static bool
is_near(const char *host)
{
	static const char *const names[] = { "127.0.0.1", "localhost",
		"[::1]" };

	for (size_t i = 0; i < 3; i++) {
		size_t len = strlen(names[i]);

		if (strncasecmp(host, names[i], len) == 0 &&
		    (host[len] == '\0' || host[len] == ':'))
			return true;
	}
	return false;
}

static enum err_code
check_near(const struct http_request *req)
{
	const char *host = http_header(req, "host");
	const char *origin = http_header(req, "origin");

	if (host != NULL && !is_near(host))
		return err_set(ERR_FORBIDDEN,
		    "without keys only loopback names are served; the Host "
		    "header is \"%.100s\"",
		    host);
	if (origin == NULL)
		return OK;
	if ((str_starts(origin, "http://") && is_near(origin + 7)) ||
	    (str_starts(origin, "https://") && is_near(origin + 8)))
		return OK;
	return err_set(
	    ERR_FORBIDDEN, "without keys requests of other sites are refused");
}

/* ---- the life of a request ---- */

static void
record(struct http_request *req, enum err_code rc)
{
	uint64_t us = clock_mono_us() - req->began_us;
	const char *method = req->foreign ? "other" : method_names[req->method];
	const char *route = route_label(req);
	const struct error *told = &req->told;
	bool quiet = req->status < 400 && is_quiet(req);

	if (rc != OK && told->code == OK) { /* failed after it began */
		err_save(&req->told);
		req->told.code = rc;
	}
	metric_count(METRIC_HTTP_REQUESTS,
	    LABELS(method, route, metric_status_class(req->status)), 1);
	metric_observe_us(METRIC_HTTP_LATENCY, LABELS(method, route), us);
	if (quiet)
		log_debug("http.request", kv_str("route", route),
		    kv_int("status", req->status));
	else if (req->status < 400)
		log_info("http.request", kv_str("method", method),
		    kv_str("route", route), kv_int("status", req->status),
		    kv_real("duration_ms", (double)us / 1000),
		    kv_int("bytes", (int64_t)req->sent),
		    kv_str("peer", http_peer(req)));
	else /* anybody can cause these; those above are work that was done */
		log_info_limited("http.request", kv_str("method", method),
		    kv_str("route", route), kv_int("status", req->status),
		    kv_real("duration_ms", (double)us / 1000),
		    kv_int("bytes", (int64_t)req->sent),
		    kv_str("peer", http_peer(req)),
		    kv_str("error_code",
			told->code != OK ? err_name(told->code) : NULL),
		    kv_error("error", told->code != OK ? told->message : NULL));
}

static enum err_code
handle(struct http_request *req)
{
	const struct http_options *options =
	    &req->conn->listener->server->options;

	if (req->refused != OK) {
		err_restore(&req->why);
		return req->refused;
	}
	if (options->check_host)
		TRY(check_near(req));
	if (options->before != NULL)
		TRY(options->before(req, options->arg));
	return req->route->handler(req, options->arg);
}

static void
request_run(void *arg)
{
	struct http_request *req = arg;
	enum err_code rc;

	task_self()->service = req->conn->listener->server->options.service;
	task_self()->brand_id[0] = '\0';
	take_identity(req, task_self());
	begin_span(req);
	metric_move(METRIC_HTTP_IN_FLIGHT, METRIC_NO_LABELS, 1);
	rc = handle(req);
	fiber_shield(); /* what follows must happen, client or not */
	if (rc == OK && !req->replied)
		http_reply(req, 204, NULL, NULL, 0);
	else if (rc != OK && !req->replied)
		http_reply_error(req, rc);
	else if (rc != OK && req->streaming && !req->stream_ended)
		req->keep_alive = false; /* a cut stream ends the connection */
	fiber_unshield();
	record(req, rc);
	end_span(req, rc);
	metric_move(METRIC_HTTP_IN_FLIGHT, METRIC_NO_LABELS, -1);
	req->fiber = NULL;
	http__conn_next(req->conn);
}

void
http__request_start(struct http_request *req)
{
	req->started = true;
	/* Not fiber_start_service: its fresh id would be drawn for nothing when
	 * the client sends its own. Started on the loop's own stack, the task
	 * inherits nothing; by a fiber, take_identity replaces all of it. */
	req->fiber = fiber_start(request_run, req);
}

void
http__refuse(struct http_request *req, enum err_code rc)
{
	if (rc != ERR_NOT_FOUND && rc != ERR_METHOD)
		req->keep_alive = false;
	if (req->has_body && !req->body_done)
		req->keep_alive = false;
	if (req->started) {
		req->failed = rc;
		err_save(&req->failure);
		fiber_cond_broadcast(&req->arrived);
		return;
	}
	req->refused = rc;
	err_save(&req->why);
	metric_count(METRIC_HTTP_REFUSED, LABELS(err_name(rc)), 1);
	http__conn_wait(req->conn, WAIT_NOTHING);
	http__request_start(req);
}

/* ---- what handlers ask ---- */

enum http_method
http_method(const struct http_request *req)
{
	return req->method;
}

const char *
http_path(const struct http_request *req)
{
	return req->path != NULL ? req->path : "";
}

const char *
http_route_template(const struct http_request *req)
{
	return route_label(req);
}

const char *
http_param(const struct http_request *req, const char *name)
{
	for (size_t i = 0; i < req->param_count; i++)
		if (strcmp(req->params[i].name, name) == 0)
			return req->params[i].value;
	return NULL;
}

/* One name=value pair of the query; '+' is a space there. */
static const char *
query_value(const struct http_request *req, const char *from, size_t len)
{
	char *copy = arena_strndup(&req->conn->req->arena, from, len);
	char *value = arena_alloc(&req->conn->req->arena, len + 1);

	if (copy == NULL || value == NULL)
		return NULL;
	for (char *p = copy; *p != '\0'; p++)
		if (*p == '+')
			*p = ' ';
	return url_decode(copy, len, value, &len) ? value : NULL;
}

const char *
http_query(const struct http_request *req, const char *name)
{
	const char *at = req->query;
	size_t name_len = strlen(name);

	while (at != NULL && *at != '\0') {
		size_t len = strcspn(at, "&");

		if (len > name_len && at[name_len] == '=' &&
		    strncmp(at, name, name_len) == 0)
			return query_value(
			    req, at + name_len + 1, len - name_len - 1);
		at += len + (at[len] == '&');
	}
	return NULL;
}

const char *
http_header(const struct http_request *req, const char *name)
{
	const char *found = NULL;

	for (size_t i = 0; i < req->header_count; i++) {
		if (strcasecmp(req->headers[i].name, name) != 0)
			continue;
		found = found == NULL
			    ? req->headers[i].value
			    : arena_printf(&req->conn->req->arena, "%s, %s",
				  found, req->headers[i].value);
		if (found == NULL)
			return NULL;
	}
	return found;
}

static bool
is_trusted(const char *peer)
{
	const char *list = config_str(CFG_TRUSTED_PROXIES);
	size_t len = strlen(peer);

	while (*list != '\0') {
		size_t n = strcspn(list, ", ");

		if (n == len && memcmp(list, peer, n) == 0)
			return true;
		list += n;
		list += strspn(list, ", ");
	}
	return false;
}

const char *
http_peer(const struct http_request *req)
{
	const char *forwarded, *last;

	if (!is_trusted(req->conn->peer))
		return req->conn->peer;
	forwarded = http_header(req, "x-forwarded-for");
	if (forwarded == NULL)
		return req->conn->peer;
	last = strrchr(forwarded, ',');
	last = last != NULL ? last + 1 : forwarded;
	while (*last == ' ')
		last++;
	return last;
}

struct arena *
http_arena(struct http_request *req)
{
	return &req->arena;
}

void *
http_user(const struct http_request *req)
{
	return req->user;
}

void
http_set_user(struct http_request *req, void *user)
{
	req->user = user;
}

bool
http_client_gone(const struct http_request *req)
{
	return req->conn->gone;
}

const char *
http_body(const struct http_request *req, size_t *len_out)
{
	*len_out = req->body.len;
	return buf_str(&req->body);
}

enum err_code
http_body_json(struct http_request *req, json_t **object_out)
{
	const char *type = http_header(req, "content-type");
	json_t *value;

	if (type != NULL && strncasecmp(type, "application/json", 16) != 0)
		return err_set(ERR_MEDIA_TYPE, "send application/json");
	TRY(json_parse(buf_str(&req->body), req->body.len, &value));
	if (!json_is_object(value)) {
		json_decref(value);
		return err_set(ERR_INVALID, "the body must be a JSON object");
	}
	*object_out = value;
	return OK;
}

enum err_code
http_read(struct http_request *req, const char **data_out, size_t *len_out)
{
	struct http_conn *conn = req->conn;
	struct buf swap;

	if (req->expects_continue && !req->continued && !req->body_done) {
		req->continued = true;
		buf_adds(&conn->out, "HTTP/1.1 100 Continue\r\n\r\n");
		http__conn_flush_later(conn);
	}
	while (req->body.len == 0 && !req->body_done) {
		if (req->failed != OK) {
			err_restore(&req->failure);
			return req->failed;
		}
		if (conn->gone)
			return err_set(ERR_CANCELLED, "the client went away");
		http__conn_read(conn, true);
		http__conn_wait(conn, WAIT_BODY);
		TRY(fiber_cond_wait(&req->arrived, 0));
	}
	req->lent.len = 0;
	swap = req->lent;
	req->lent = req->body;
	req->body = swap;
	if (!req->body_done && req->failed == OK && !conn->gone &&
	    !conn->reading) {
		http__conn_read(conn, true);
		http__conn_wait(conn, WAIT_BODY);
	}
	*data_out = buf_str(&req->lent);
	*len_out = req->lent.len;
	return OK;
}
