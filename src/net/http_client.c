/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP client: one curl multi handle for each loop, driven by uv_poll and one
 * timer; a call is a fiber that parks until curl says its transfer ended. All
 * calls into curl run on the loop's stack: TLS needs more than a fiber has.
 *
 * Pieces for `on_data` are handed over on the caller's fiber; while it works,
 * at most PENDING_MAX bytes pile up before the transfer is paused.
 */
#include "net/http_client.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "net/http_multi.h"
#include "net/http_trace.h"

#define CONNECT_MS     10000L
#define PENDING_MAX    ((size_t)64 << 10)
#define HEADERS_MAX    ((size_t)64 << 10)
#define ERROR_REST_MAX ((size_t)1 << 20)

struct transfer {
	struct http__end end;
	const struct http_call *call;
	struct http_call_reply *reply;
	CURL *easy;
	struct curl_slist *headers;
	size_t received;
	uint64_t sent;      /* of call->file */
	uint64_t moved;     /* bytes of bodies, in both directions */
	uint64_t moved_ms;  /* when that changed last */
	struct buf pending; /* for on_data */
	bool paused;
	bool stalled;     /* idle_ms passed */
	enum err_code rc; /* our own reason to end it */
	struct error error;
	char why[CURL_ERROR_SIZE];
	char *trace[HTTP_TRACE_LINES]; /* header lines of the running trace */
};

/* ---- curl's callbacks of one transfer ---- */

static size_t
end_transfer(
    struct transfer *t, enum err_code rc, const char *what, size_t limit)
{
	t->rc = err_set(rc, "%s is over %zu bytes", what, limit);
	err_save(&t->error);
	return 0;
}

/* Answers that say why not are kept short instead of refused; what is thrown
 * away has an end too, or a server that never stops costs the whole deadline.
 */
static size_t
on_error_body(struct transfer *t, const char *data, size_t len)
{
	size_t room = t->call->max_error_bytes - t->reply->body.len;

	t->received += len;
	if (t->received > t->call->max_error_bytes + ERROR_REST_MAX)
		return end_transfer(t, ERR_TOO_LARGE, "the answer's error",
		    t->call->max_error_bytes + ERROR_REST_MAX);
	buf_add(&t->reply->body, data, len < room ? len : room);
	return len;
}

/* Decoded bytes are counted: a compressed bomb meets the ceiling as well. */
static size_t
on_body(char *data, size_t one, size_t len, void *arg)
{
	struct transfer *t = arg;

	(void)one;
	if (t->call->max_error_bytes > 0 && t->reply->status / 100 != 2)
		return on_error_body(t, data, len);
	if (t->received + len > t->call->max_reply_bytes)
		return end_transfer(
		    t, ERR_TOO_LARGE, "the answer", t->call->max_reply_bytes);
	if (t->call->on_data == NULL) {
		t->received += len;
		buf_add(&t->reply->body, data, len);
		return len;
	}
	fiber_wake(t->end.fiber);
	if (t->pending.len >= PENDING_MAX) {
		t->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	t->received += len;
	buf_add(&t->pending, data, len);
	return len;
}

/* "HTTP/1.1 200 OK" begins a head; one of 1xx is followed by another. Some
 * servers that refuse a file do not read it, and take the rest of it for the
 * next request: such a connection is not used again. */
static void
begin_head(struct transfer *t)
{
	long status = 0;

	buf_clear(&t->reply->headers);
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	t->reply->status = (int)status;
	if (status >= 300 && t->call->file != NULL)
		curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
}

static size_t
on_header(char *line, size_t one, size_t len, void *arg)
{
	struct transfer *t = arg;
	size_t total = len, name;
	const char *colon;

	(void)one;
	if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
		begin_head(t);
		return total;
	}
	while (len > 0 && strchr("\r\n \t", line[len - 1]) != NULL)
		len--;
	colon = memchr(line, ':', len);
	if (colon == NULL)
		return total;
	if (t->reply->headers.len + len + 2 > HEADERS_MAX)
		return end_transfer(
		    t, ERR_TOO_LARGE, "the answer's head", HEADERS_MAX);
	name = (size_t)(colon - line);
	for (size_t i = 0; i < name; i++)
		buf_addc(&t->reply->headers, line[i] >= 'A' && line[i] <= 'Z'
						 ? (char)(line[i] + 32)
						 : line[i]);
	buf_adds(&t->reply->headers, ": ");
	for (name++; name < len && (line[name] == ' ' || line[name] == '\t');)
		name++;
	buf_add(&t->reply->headers, line + name, len - name);
	buf_addc(&t->reply->headers, '\n');
	return total;
}

/* Pieces of the file to send. Read on the loop: it was written or read just
 * before, so the pages are there. */
static size_t
on_send(char *into, size_t one, size_t size, void *arg)
{
	struct transfer *t = arg;
	const struct http_file *file = t->call->file;
	uint64_t left = file->len - t->sent;
	ssize_t n;

	size *= one;
	if (left == 0)
		return 0;
	do
		n = pread(file->fd, into, size < left ? size : (size_t)left,
		    (off_t)(file->offset + t->sent));
	while (n < 0 && errno == EINTR);
	if (n <= 0) {
		t->rc = err_set(ERR_IO, "reading the file to send: %s",
		    n < 0 ? strerror(errno) : "it is shorter than it was");
		err_save(&t->error);
		return CURL_READFUNC_ABORT;
	}
	t->sent += (uint64_t)n;
	return (size_t)n;
}

/* curl sends again when a kept connection turns out to be dead. */
static int
on_seek(void *arg, curl_off_t offset, int origin)
{
	struct transfer *t = arg;

	if (origin != SEEK_SET || offset < 0 ||
	    (uint64_t)offset > t->call->file->len)
		return CURL_SEEKFUNC_FAIL;
	t->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

/* curl's own limit on slowness counts the mean of six seconds. */
static int
on_progress(void *arg, curl_off_t down_total, curl_off_t down,
    curl_off_t up_total, curl_off_t up)
{
	struct transfer *t = arg;
	uint64_t moved = (uint64_t)down + (uint64_t)up;

	(void)down_total;
	(void)up_total;
	if (moved != t->moved)
		t->moved_ms = clock_mono_ms();
	t->moved = moved;
	return 0;
}

/* ---- one call ---- */

static bool
has_line_break(const char *text)
{
	return strpbrk(text, "\r\n") != NULL;
}

static enum err_code
check_call(const struct http_call *call)
{
	if (strncasecmp(call->url, "http://", 7) != 0 &&
	    strncasecmp(call->url, "https://", 8) != 0)
		return err_set(
		    ERR_INVALID, "only http and https can be called");
	for (const char *p = call->method; *p != '\0'; p++)
		if (*p < 'A' || *p > 'Z')
			return err_set(ERR_INVALID, "bad HTTP method");
	if (call->method[0] == '\0' || has_line_break(call->url))
		return err_set(ERR_INVALID, "bad HTTP method or URL");
	for (const char *const *h = call->headers; h != NULL && *h != NULL; h++)
		if (has_line_break(*h) || strchr(*h, ':') == NULL)
			return err_set(ERR_INVALID, "bad header for a call");
	return OK;
}

static void
add_header(struct transfer *t, const char *line)
{
	struct curl_slist *list = curl_slist_append(t->headers, line);

	if (list == NULL)
		panic("out of memory for headers");
	t->headers = list;
}

static void
set_file(struct transfer *t)
{
	curl_easy_setopt(t->easy, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(
	    t->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->call->file->len);
	curl_easy_setopt(t->easy, CURLOPT_READFUNCTION, on_send);
	curl_easy_setopt(t->easy, CURLOPT_READDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(t->easy, CURLOPT_SEEKDATA, t);
}

static void
set_limits(struct transfer *t)
{
	long connect_ms = (long)t->call->connect_ms;

	curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS,
	    connect_ms > 0 ? connect_ms : CONNECT_MS);
	if (t->call->idle_ms == 0)
		return;
	curl_easy_setopt(t->easy, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(t->easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(t->easy, CURLOPT_XFERINFODATA, t);
}

static void
set_request(struct transfer *t)
{
	const struct http_call *call = t->call;
	bool typed = false;

	for (const char *const *h = call->headers; h != NULL && *h != NULL;
	     h++) {
		typed |= strncasecmp(*h, "content-type:", 13) == 0;
		add_header(t, *h);
	}
	for (size_t i = 0; i < HTTP_TRACE_LINES && t->trace[i] != NULL; i++)
		add_header(t, t->trace[i]);
	add_header(t, call->ask_first ? "Expect: 100-continue" : "Expect:");
	if (strcmp(call->method, "HEAD") == 0) {
		curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
	} else if (call->file != NULL) {
		set_file(t);
	} else if (call->body != NULL || strcmp(call->method, "GET") != 0) {
		if (!typed) /* curl would call it a form */
			add_header(t, "Content-Type:");
		curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE,
		    (curl_off_t)call->body_len);
		curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS,
		    call->body != NULL ? call->body : "");
	}
	curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, call->method);
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
}

static void
set_tls(CURL *easy, const struct http_tls *tls)
{
	if (tls->ca != NULL)
		curl_easy_setopt(easy, CURLOPT_CAINFO, tls->ca);
	if (tls->cert != NULL)
		curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->cert);
	if (tls->key != NULL)
		curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->key);
}

/* On the loop's stack, like every function that calls into the multi. */
static void
start(void *arg)
{
	struct transfer *t = arg;

	t->easy = curl_easy_init();
	if (t->easy == NULL)
		panic("out of memory for a call");
	curl_easy_setopt(t->easy, CURLOPT_URL, t->call->url);
	curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->why);
	curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
	/* Ending a call must not wait for the resolver's thread. */
	curl_easy_setopt(t->easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(t->easy, CURLOPT_FOLLOWLOCATION, 0L);
	set_limits(t);
	curl_easy_setopt(t->easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(t->easy, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(t->easy, CURLOPT_USERAGENT,
	    t->call->user_agent ?: "xin/" XIN_VERSION);
	if (t->call->tls != NULL)
		set_tls(t->easy, t->call->tls);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
	set_request(t);
	http__multi_add(t->easy, &t->end);
}

static void
resume(void *arg)
{
	struct transfer *t = arg;

	t->paused = false;
	http__multi_resume(t->easy);
}

static void
finish(void *arg)
{
	struct transfer *t = arg;

	http__multi_remove(t->easy);
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
}

/* Hand over what is pending; the buffer is swapped, since more may come while
 * the caller works. */
static enum err_code
deliver(struct transfer *t)
{
	struct buf piece = t->pending;
	enum err_code rc;

	buf_init(&t->pending, 0);
	rc = t->call->on_data(t->call->arg, piece.data, piece.len);
	buf_done(&piece);
	t->moved_ms = clock_mono_ms(); /* the pause was ours */
	if (rc == OK && t->paused)
		fiber_on_loop_stack(resume, t);
	return rc;
}

static enum err_code
wait_for_more(struct transfer *t, uint64_t deadline_ms)
{
	uint64_t idle_ms = t->call->idle_ms;
	enum err_code rc;

	if (idle_ms == 0)
		return fiber_park(deadline_ms);
	rc = fiber_park(deadline_min(deadline_ms, t->moved_ms + idle_ms));
	if (rc != ERR_DEADLINE || deadline_left_ms(deadline_ms) == 0)
		return rc;
	t->stalled = clock_mono_ms() - t->moved_ms >= idle_ms;
	return t->stalled ? rc : OK; /* else it moved while we slept */
}

static enum err_code
converse(struct transfer *t, uint64_t deadline_ms)
{
	while (!t->end.finished || t->pending.len > 0) {
		if (t->pending.len > 0)
			TRY(deliver(t));
		else
			TRY(wait_for_more(t, deadline_ms));
	}
	return OK;
}

static enum err_code
explain(const struct transfer *t, const char *site)
{
	if (t->rc != OK) {
		err_restore(&t->error);
		return err_add(t->rc, "%s %s", t->call->method, site);
	}
	if (t->end.code == CURLE_URL_MALFORMAT ||
	    t->end.code == CURLE_UNSUPPORTED_PROTOCOL)
		return err_set(ERR_INVALID, "%s %s: %s", t->call->method, site,
		    curl_easy_strerror(t->end.code));
	return err_set(ERR_UNAVAILABLE, "%s %s: %s", t->call->method, site,
	    t->why[0] != '\0' ? t->why : curl_easy_strerror(t->end.code));
}

static enum err_code
call_untraced(const struct http_call *call, uint64_t deadline_ms,
    char *const *trace, struct http_call_reply *reply_out)
{
	struct http_call_reply reply = { 0 };
	struct transfer t = { .call = call,
		.reply = &reply,
		.end.fiber = fiber_self(),
		.moved_ms = clock_mono_ms() };
	char site[HTTP_SITE_SIZE];
	enum err_code rc;

	must(t.end.fiber != NULL);
	memcpy(t.trace, trace, sizeof(t.trace));
	http__site(call->url, site);
	buf_init(&reply.body, 0);
	buf_init(&reply.headers, 0);
	buf_init(&t.pending, 0);
	fiber_on_loop_stack(start, &t);
	rc = converse(&t, deadline_ms);
	fiber_on_loop_stack(finish, &t);
	if (rc == ERR_DEADLINE && !t.end.finished)
		rc = err_set(rc, "%s %s: %s", call->method, site,
		    t.stalled ? "the transfer stalled"
			      : "no complete answer in time");
	if (rc == OK && t.end.code != CURLE_OK)
		rc = explain(&t, site);
	buf_done(&t.pending);
	if (rc != OK) {
		http_call_reply_done(&reply);
		return rc;
	}
	*reply_out = reply;
	return OK;
}

enum err_code
http_call(const struct http_call *call, uint64_t deadline_ms,
    struct http_call_reply *reply_out)
{
	char *lines[HTTP_TRACE_LINES] = { NULL };
	struct span *span;
	enum err_code rc;

	TRY(check_call(call));
	span = http__trace_begin(call);
	http__trace_lines(call->trace, lines);
	rc = call_untraced(call, deadline_ms, lines, reply_out);
	http__trace_end(span, rc, rc == OK ? reply_out->status : 0);
	for (size_t i = 0; i < HTTP_TRACE_LINES; i++)
		mem_free(lines[i]);
	return rc;
}

bool
http_call_header(const struct http_call_reply *reply, const char *name,
    char *value, size_t size)
{
	size_t len = strlen(name);
	const char *line = buf_str(&reply->headers);

	while (*line != '\0') {
		size_t n = strcspn(line, "\n");

		if (n > len + 1 && strncasecmp(line, name, len) == 0 &&
		    line[len] == ':')
			return str_copy_n(
			    value, size, line + len + 2, n - len - 2);
		line += line[n] == '\n' ? n + 1 : n;
	}
	return false;
}

void
http_call_reply_done(struct http_call_reply *reply)
{
	if (reply == NULL)
		return;
	buf_done(&reply->body);
	buf_done(&reply->headers);
}
