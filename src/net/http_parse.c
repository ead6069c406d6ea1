/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From bytes to a request: llhttp in strict mode finds the ends, our own
 * checks refuse what it still accepts (RFC 9112): obs-fold, HTTP/0.9, a missing
 * or doubled Host, upgrades. The head is copied once and split in place.
 */
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/http_internal.h"
#include "net/url.h"

static struct http_conn *
conn_of(llhttp_t *parser)
{
	return parser->data;
}

/* ---- the head ---- */

static bool
take_method(struct http_request *req, unsigned method)
{
	switch (method) {
	case HTTP_GET:
		req->method = HTTP_M_GET;
		return true;
	case HTTP_HEAD:
		req->method = HTTP_M_HEAD;
		return true;
	case HTTP_POST:
		req->method = HTTP_M_POST;
		return true;
	case HTTP_PUT:
		req->method = HTTP_M_PUT;
		return true;
	case HTTP_DELETE:
		req->method = HTTP_M_DELETE;
		return true;
	case HTTP_OPTIONS:
		req->method = HTTP_M_OPTIONS;
		return true;
	case HTTP_PATCH:
		req->method = HTTP_M_PATCH;
		return true;
	default:
		return false;
	}
}

static enum err_code
take_target(struct http_request *req, char *target)
{
	size_t len = strlen(target), path_len;
	char *mark;

	if (len > (size_t)config_int(CFG_MAX_URL_BYTES))
		return err_set(ERR_URI_TOO_LONG,
		    "the target is over %lld bytes",
		    (long long)config_int(CFG_MAX_URL_BYTES));
	if (strncasecmp(target, "http://", 7) == 0 ||
	    strncasecmp(target, "https://", 8) == 0) {
		target = strchr(strchr(target, ':') + 3, '/');
		if (target == NULL)
			return err_set(ERR_INVALID, "the target has no path");
	}
	if (target[0] != '/' && strcmp(target, "*") != 0)
		return err_set(ERR_INVALID, "the target is not a path");
	mark = strchr(target, '#');
	if (mark != NULL)
		return err_set(ERR_INVALID, "the target has a fragment");
	req->target = target;
	mark = strchr(target, '?');
	path_len = mark != NULL ? (size_t)(mark - target) : strlen(target);
	req->query = mark != NULL ? mark + 1 : target + strlen(target);
	req->path = arena_alloc(&req->arena, path_len + 1);
	if (req->path == NULL)
		return ERR_TOO_LARGE;
	if (!url_decode(target, path_len, req->path, &path_len) ||
	    !str_is_utf8(req->path, path_len))
		return err_set(ERR_INVALID, "the path has a bad percent code");
	return OK;
}

static void
trim(char **from, char *end)
{
	while (**from == ' ' || **from == '\t')
		(*from)++;
	while (end > *from && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*end = '\0';
}

/* `head`: our copy, from the request line to the empty line. */
static enum err_code
split_head(struct http_request *req, char *head, size_t len)
{
	size_t max = (size_t)config_int(CFG_MAX_HEADERS);
	char *end = head + len, *line, *space, *eol;

	eol = memchr(head, '\r', (size_t)(end - head));
	space = memchr(head, ' ', (size_t)(end - head));
	if (eol == NULL || space == NULL || space > eol)
		return err_set(ERR_INVALID, "bad request line");
	*eol = '\0';
	line = strchr(space + 1, ' ');
	if (line == NULL)
		return err_set(ERR_INVALID, "HTTP/0.9 is not spoken here");
	*line = '\0';
	TRY(take_target(req, space + 1));
	req->headers = arena_alloc(&req->arena, max * sizeof(*req->headers));
	if (req->headers == NULL)
		return ERR_TOO_LARGE;
	for (line = eol + 2; line < end && *line != '\r'; line = eol + 2) {
		char *colon;

		eol = memchr(line, '\r', (size_t)(end - line));
		if (*line == ' ' || *line == '\t')
			return err_set(ERR_INVALID,
			    "folded header lines are not accepted");
		if (eol == NULL)
			return err_set(ERR_INVALID, "bad header line");
		*eol = '\0';
		colon = strchr(line, ':');
		if (colon == NULL || strlen(line) != (size_t)(eol - line))
			return err_set(ERR_INVALID, "bad header line");
		if (req->header_count == max)
			return err_set(ERR_HEADERS_TOO_LARGE,
			    "more than %zu header lines", max);
		*colon++ = '\0';
		trim(&colon, eol);
		req->headers[req->header_count].name = line;
		req->headers[req->header_count++].value = colon;
	}
	return OK;
}

static enum err_code
check_host(const struct http_request *req)
{
	size_t hosts = 0;

	for (size_t i = 0; i < req->header_count; i++)
		hosts += strcasecmp(req->headers[i].name, "host") == 0;
	if (hosts > 1)
		return err_set(ERR_INVALID, "more than one Host header");
	if (hosts == 0 && !req->http10)
		return err_set(ERR_INVALID, "the Host header is missing");
	return OK;
}

static enum err_code
check_expect(struct http_request *req)
{
	const char *expect = http_header(req, "expect");

	if (expect == NULL)
		return OK;
	if (strcasecmp(expect, "100-continue") != 0)
		return err_set(ERR_EXPECTATION, "Expect: \"%.64s\"", expect);
	req->expects_continue = !req->http10;
	return OK;
}

/* The sentence that helps more: 414 when it is the target that is long. */
static enum err_code
head_too_large(const char *head, size_t len)
{
	size_t max_url = (size_t)config_int(CFG_MAX_URL_BYTES);
	const char *eol = memchr(head, '\r', len);

	if ((eol == NULL ? len : (size_t)(eol - head)) > max_url)
		return err_set(
		    ERR_URI_TOO_LONG, "the target is over %zu bytes", max_url);
	return err_set(ERR_HEADERS_TOO_LARGE, "the head is over %lld bytes",
	    (long long)config_int(CFG_MAX_HEAD_BYTES));
}

static enum err_code
take_head(struct http_request *req, const llhttp_t *parser)
{
	struct http_conn *conn = req->conn;
	const char *from, *end;
	size_t left, len;
	char *head;

	req->foreign = !take_method(req, parser->method);
	if (parser->http_major != 1 || parser->http_minor > 1)
		return err_set(ERR_INVALID, "HTTP/%d.%d is not spoken here",
		    parser->http_major, parser->http_minor);
	req->http10 = parser->http_minor == 0;
	if (req->http10 && (parser->flags & F_TRANSFER_ENCODING) != 0)
		return err_set(ERR_INVALID, "HTTP/1.0 has no chunks");
	/* `in` begins with this message, and holds its whole head: llhttp has
	 * seen the empty line. Blank lines before it are stepped over. */
	from = conn->in.data;
	left = conn->in.len;
	while (left > 0 && (*from == '\r' || *from == '\n')) {
		from++;
		left--;
	}
	end = memmem(from, left, "\r\n\r\n", 4);
	if (end == NULL)
		return err_set(ERR_INVALID, "the head has no end");
	len = (size_t)(end - from) + 4;
	if (len > (size_t)config_int(CFG_MAX_HEAD_BYTES))
		return head_too_large(from, len);
	head = arena_strndup(&req->arena, from, len);
	if (head == NULL)
		return ERR_TOO_LARGE;
	TRY(split_head(req, head, len));
	TRY(check_host(req));
	return check_expect(req);
}

/* How much body there may be, by the route. */
static enum err_code
check_body(struct http_request *req, const llhttp_t *parser)
{
	bool chunked = (parser->flags & F_CHUNKED) != 0;
	uint64_t length = chunked ? 0 : parser->content_length;

	req->has_body = chunked || length > 0;
	switch (req->route->body) {
	case HTTP_BODY_NONE:
		req->body_max = 0;
		break;
	case HTTP_BODY_SMALL:
		req->body_max = (uint64_t)config_int(CFG_MAX_JSON_BYTES);
		break;
	case HTTP_BODY_STREAM:
		req->body_max = (uint64_t)config_int(CFG_MAX_UPLOAD_BYTES);
		break;
	}
	if (length > req->body_max)
		return err_set(ERR_TOO_LARGE, "the body is over %llu bytes",
		    (unsigned long long)req->body_max);
	return OK;
}

static enum err_code
accept_head(struct http_request *req, const llhttp_t *parser)
{
	const struct http_server *server = req->conn->listener->server;
	char allow[64];
	enum err_code rc;

	req->has_body =
	    (parser->flags & F_CHUNKED) != 0 ||
	    ((parser->flags & F_CONTENT_LENGTH) && parser->content_length > 0);
	TRY(take_head(req, parser));
	rc = http__route(req, server->options.routes, allow, sizeof(allow));
	if (rc == ERR_METHOD)
		http_set_header(req, "Allow", allow);
	if (rc != OK)
		return rc;
	return check_body(req, parser);
}

/* ---- llhttp's callbacks; none of them may wait ---- */

static int
on_message_begin(llhttp_t *parser)
{
	struct http_conn *conn = conn_of(parser);

	conn->req = http__request_new(conn);
	conn->overhead = 0;
	http__conn_wait(conn, WAIT_HEAD);
	return 0;
}

static int
on_headers_complete(llhttp_t *parser)
{
	struct http_conn *conn = conn_of(parser);
	struct http_request *req = conn->req;
	enum err_code rc;

	req->began_us = clock_mono_us();
	rc = accept_head(req, parser);

	req->keep_alive = llhttp_should_keep_alive(parser) &&
			  !atomic_load(&conn->listener->server->draining);
	if (rc == OK && parser->upgrade)
		rc = err_set(ERR_INVALID, "upgrades are not accepted");
	if (rc != OK) {
		http__refuse(req, rc);
		return parser->upgrade || req->has_body ? HPE_USER : 0;
	}
	http__conn_wait(conn, WAIT_BODY);
	if (req->route->body == HTTP_BODY_STREAM)
		http__request_start(req);
	else if (req->expects_continue && req->has_body) {
		buf_adds(&conn->out, "HTTP/1.1 100 Continue\r\n\r\n");
		http__conn_flush_later(conn);
	}
	return 0;
}

static int
on_body(llhttp_t *parser, const char *data, size_t len)
{
	struct http_conn *conn = conn_of(parser);
	struct http_request *req = conn->req;

	req->body_seen += len;
	if (req->refused != OK || req->failed != OK)
		return HPE_USER;
	if (req->body_seen > req->body_max) {
		http__refuse(
		    req, err_set(ERR_TOO_LARGE, "the body is over %llu bytes",
			     (unsigned long long)req->body_max));
		return HPE_USER;
	}
	buf_add(&req->body, data, len);
	fiber_cond_signal(&req->arrived);
	return 0;
}

static int
on_message_complete(llhttp_t *parser)
{
	struct http_conn *conn = conn_of(parser);
	struct http_request *req = conn->req;

	req->body_done = true;
	http__conn_wait(conn, WAIT_NOTHING);
	if (req->started)
		fiber_cond_signal(&req->arrived);
	else
		http__request_start(req);
	return HPE_PAUSED; /* the next one waits for this one's answer */
}

static llhttp_settings_t settings;
static uv_once_t once = UV_ONCE_INIT;

static void
make_settings(void)
{
	llhttp_settings_init(&settings);
	settings.on_message_begin = on_message_begin;
	settings.on_headers_complete = on_headers_complete;
	settings.on_body = on_body;
	settings.on_message_complete = on_message_complete;
}

void
http__parser_init(struct http_conn *conn)
{
	uv_once(&once, make_settings);
	llhttp_init(&conn->parser, HTTP_REQUEST, &settings);
	conn->parser.data = conn;
}

/* Bytes that are no HTTP: 400, and the connection ends. */
static void
refuse_bytes(struct http_conn *conn)
{
	const char *reason = llhttp_get_error_reason(&conn->parser);
	struct http_request *req = conn->req;

	if (req == NULL)
		req = conn->req = http__request_new(conn);
	http__refuse(req, err_set(ERR_INVALID, "not valid HTTP: %s",
			      reason != NULL && reason[0] ? reason : "syntax"));
}

/* The head, the trailers and the chunks' framing have a ceiling too. */
static enum err_code
check_ceilings(struct http_conn *conn, size_t consumed, uint64_t body_before)
{
	struct http_request *req = conn->req;
	size_t max = (size_t)config_int(CFG_MAX_HEAD_BYTES);

	if (req == NULL)
		return OK;
	conn->overhead += consumed - (size_t)(req->body_seen - body_before);
	if (req->route == NULL && req->refused == OK && conn->overhead > max)
		return head_too_large(conn->in.data, conn->in.len);
	if (conn->overhead > 2 * max + 16 * req->body_seen)
		return err_set(ERR_HEADERS_TOO_LARGE,
		    "the framing of the body is over its ceiling");
	return OK;
}

void
http__parse(struct http_conn *conn)
{
	struct http_request *req = conn->req;
	uint64_t body_before = req != NULL ? req->body_seen : 0;
	const char *at;
	size_t left, consumed;
	llhttp_errno_t error;
	enum err_code rc;

	if (req != NULL && (req->body_done || req->refused != OK))
		return;
	left = conn->in.len - conn->parsed;
	if (left == 0)
		return;
	at = conn->in.data + conn->parsed;
	error = llhttp_execute(&conn->parser, at, left);
	if (error == HPE_OK)
		consumed = left;
	else
		consumed = (size_t)(llhttp_get_error_pos(&conn->parser) - at);
	conn->parsed += consumed;
	if (error == HPE_PAUSED)
		llhttp_resume(&conn->parser);
	req = conn->req;
	rc = check_ceilings(conn, consumed, body_before);
	if (rc != OK)
		http__refuse(req, rc);
	else if (error != HPE_OK && error != HPE_PAUSED &&
		 (req == NULL || req->refused == OK))
		refuse_bytes(conn);
	/* The head is copied: what was parsed is done with. */
	if (conn->req == NULL || conn->req->route != NULL ||
	    conn->req->refused != OK) {
		buf_drop(&conn->in, conn->parsed);
		conn->parsed = 0;
	}
}
