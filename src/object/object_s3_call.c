/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One S3 operation: signed, sent, judged. What may pass by itself (no answer,
 * silence, 5xx, SlowDown) is tried again with a growing pause, each time with a
 * new signature; when the clocks differ too much for storage, its Date tells by
 * how much, and the signatures of all later calls are made with its time.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "object/object_s3.h"

#define CONNECT_MS     5000
#define PAUSE_MS       300
#define PAUSE_LAST_MS  5000
#define CALL_MS        60000
#define BYTES_PER_MS   128 /* slower than that is no storage */
#define OBJECT_MAX     ((uint64_t)4 << 30)
#define ASK_FIRST_OVER ((uint64_t)64 << 10) /* what sockets hold */
#define SKEW_SEEN_MS   (int64_t)(4 * 60000) /* a clock to blame for a 403 */
#define HEADERS_MAX    5

/* ---- what is sent ---- */

struct message {
	struct buf path, query, url, authorization;
	char timestamp[SIGV4_TIMESTAMP_SIZE];
	struct sigv4_pair signed_headers[HEADERS_MAX];
	size_t signed_count;
	char *lines[HEADERS_MAX + 2];
	size_t line_count;
};

static void
add_line(struct message *m, const char *name, const char *value)
{
	m->lines[m->line_count++] = mem_printf("%s: %s", name, value);
}

static void
add_signed(struct message *m, const char *name, const char *value)
{
	m->signed_headers[m->signed_count++] =
	    (struct sigv4_pair){ name, value };
	add_line(m, name, value);
}

static const char *
payload_of(const struct object__s3_call *call)
{
	return call->payload_sha256 != NULL ? call->payload_sha256
					    : S3_EMPTY_SHA256;
}

static void
message_init(struct message *m, const struct object__s3 *s3,
    const struct object__s3_call *call)
{
	struct sigv4_request request = { .method = call->method,
		.headers = m->signed_headers,
		.payload_sha256 = payload_of(call),
		.timestamp = m->timestamp };

	memset(m, 0, sizeof(*m));
	buf_adds(&m->path, s3->prefix);
	if (call->key != NULL) {
		buf_addc(&m->path, '/');
		sigv4_path(&m->path, call->key);
	}
	if (m->path.len == 0)
		buf_addc(&m->path, '/');
	sigv4_query(&m->query, call->query, call->query_count);
	buf_addf(&m->url, "%s://%s%s%s%s", s3->https ? "https" : "http",
	    s3->host, buf_str(&m->path), m->query.len > 0 ? "?" : "",
	    buf_str(&m->query));
	sigv4_timestamp(
	    (uint64_t)((int64_t)clock_wall_ms() + atomic_load(&s3->skew_ms)),
	    m->timestamp);
	add_signed(m, "Host", s3->host);
	add_signed(m, "x-amz-date", m->timestamp);
	add_signed(m, "x-amz-content-sha256", payload_of(call));
	if (call->content_type != NULL)
		add_signed(m, "Content-Type", call->content_type);
	request.path = buf_str(&m->path);
	request.query = buf_str(&m->query);
	request.header_count = m->signed_count;
	sigv4_authorization(&request, &s3->keys, &m->authorization);
	add_line(m, "Authorization", buf_str(&m->authorization));
}

static void
message_done(struct message *m)
{
	buf_done(&m->path);
	buf_done(&m->query);
	buf_done(&m->url);
	buf_done(&m->authorization);
	for (size_t i = 0; i < m->line_count; i++)
		mem_free(m->lines[i]);
}

static uint64_t
time_for(const struct object__s3_call *call)
{
	uint64_t bytes = call->file != NULL      ? call->file->len
			 : call->on_data != NULL ? OBJECT_MAX
						 : call->max_reply_bytes;

	if (call->within_ms > 0)
		return deadline_in_ms(call->within_ms);
	return deadline_in_ms(CALL_MS + bytes / BYTES_PER_MS);
}

static enum err_code
send_once(const struct object__s3 *s3, const struct object__s3_call *call,
    struct http_call_reply *reply)
{
	struct message m;
	struct http_call http = { .method = call->method,
		.body = call->body,
		.body_len = call->body_len,
		.file = call->file,
		.ask_first =
		    call->file != NULL && call->file->len > ASK_FIRST_OVER,
		.connect_ms = CONNECT_MS,
		.idle_ms = (uint64_t)config_int(CFG_STORAGE_STALL_MS),
		.max_reply_bytes = call->max_reply_bytes > 0
				       ? call->max_reply_bytes
				       : S3_XML_MAX,
		.max_error_bytes = S3_XML_MAX,
		.on_data = call->on_data,
		.arg = call->arg };
	enum err_code rc;

	message_init(&m, s3, call);
	http.url = buf_str(&m.url);
	http.headers = (const char *const *)m.lines;
	rc = http_call(&http, time_for(call), reply);
	message_done(&m);
	if (rc == ERR_DEADLINE)
		rc = ERR_UNAVAILABLE; /* it was storage that was late */
	return rc == OK ? OK : err_add(rc, "storage");
}

/* ---- what came back ---- */

bool
object__s3_clock(const struct http_call_reply *reply, int64_t *ms_out)
{
	char text[64];
	struct tm tm = { 0 };

	if (!http_call_header(reply, "date", text, sizeof(text)) ||
	    strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) == NULL)
		return false;
	*ms_out = (int64_t)timegm(&tm) * 1000 - (int64_t)clock_wall_ms();
	return true;
}

static bool
is_skewed(const struct object__s3_failure *why, int64_t difference)
{
	if (strcmp(why->code, "RequestTimeTooSkewed") == 0)
		return true;
	/* HEAD has no body that could say so. */
	return why->status == 403 && why->head &&
	       llabs(difference) > SKEW_SEEN_MS;
}

/* True when it was the clock and a new signature can do better. */
static bool
correct_clock(struct object__s3 *s3, const struct object__s3_failure *why,
    const struct http_call_reply *reply)
{
	int64_t difference;

	if (!object__s3_clock(reply, &difference) ||
	    !is_skewed(why, difference))
		return false;
	atomic_store(&s3->skew_ms, difference);
	log_warn("object.clock_corrected", kv_str("storage", s3->host),
	    kv_int("seconds_off", difference / 1000));
	return true;
}

static enum err_code
blame_clock(const struct object__s3 *s3, const struct http_call_reply *reply)
{
	int64_t difference = 0;

	object__s3_clock(reply, &difference);
	return err_set(ERR_UNAVAILABLE,
	    "storage %s refuses our time: this machine's clock is %lld s %s "
	    "storage's; set the clock",
	    s3->host, llabs(difference) / 1000,
	    difference < 0 ? "ahead of" : "behind");
}

static bool
passes_by_itself(const struct object__s3_failure *why)
{
	static const char *const codes[] = { "RequestTimeout",
		"OperationAborted", "SlowDown", "InternalError",
		"ServiceUnavailable" };

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(why->code, codes[i]) == 0)
			return true;
	return why->status == 500 || why->status == 502 || why->status == 503 ||
	       why->status == 504 || why->status == 429 || why->status == 408;
}

/* Fill in `why` unless the answer is a success. */
static bool
succeeded(const struct object__s3_call *call,
    const struct http_call_reply *reply, struct object__s3_failure *why)
{
	bool error = reply->status / 100 != 2;

	if (!error && call->error_in_200)
		error = strstr(buf_str(&reply->body), "<Error>") != NULL;
	if (!error)
		return true;
	why->head = strcmp(call->method, "HEAD") == 0;
	why->status = reply->status / 100 != 2 ? reply->status : 500;
	if (!object__s3_xml(&reply->body, "Code", why->code, sizeof(why->code)))
		why->code[0] = '\0';
	return false;
}

/* ---- again and again ---- */

enum verdict { DONE, SIGN_AGAIN, TRY_AGAIN, FAILED };

static enum verdict
attempt(struct object__s3 *s3, const struct object__s3_call *call,
    bool corrected, struct object__s3_failure *why,
    struct http_call_reply *reply, enum err_code *rc)
{
	enum verdict verdict = FAILED;

	memset(why, 0, sizeof(*why));
	*rc = send_once(s3, call, reply);
	if (*rc != OK)
		return *rc == ERR_UNAVAILABLE ? TRY_AGAIN : FAILED;
	if (succeeded(call, reply, why))
		return DONE;
	if (!corrected && correct_clock(s3, why, reply))
		verdict = SIGN_AGAIN;
	else if (passes_by_itself(why))
		verdict = TRY_AGAIN;
	*rc = strcmp(why->code, "RequestTimeTooSkewed") == 0
		  ? blame_clock(s3, reply)
		  : object__s3_explain(s3, call, why, reply);
	http_call_reply_done(reply);
	return verdict;
}

/* WAITS; keeps the record. With noise, so that many do not come back at the
 * same moment. */
static enum err_code
pause_before(unsigned next)
{
	struct error why;
	enum err_code rc;

	err_save(&why);
	log_warn("object.retried", kv_int("attempt", next),
	    kv_error("error", why.message));
	rc = fiber_sleep(backoff_ms(next - 1, PAUSE_MS, PAUSE_LAST_MS));
	if (rc == OK)
		err_restore(&why);
	return rc;
}

enum err_code
object__s3_call(struct object__s3 *s3, const struct object__s3_call *call,
    struct object__s3_failure *failure, struct http_call_reply *reply_out)
{
	unsigned attempts = call->attempts > 0 ? call->attempts : S3_PATIENT;
	struct object__s3_failure ignored;
	struct http_call_reply reply;
	bool corrected = false;
	enum err_code rc;

	if (failure == NULL)
		failure = &ignored;
	for (unsigned i = 1;;) {
		enum verdict verdict =
		    attempt(s3, call, corrected, failure, &reply, &rc);

		metric_count(METRIC_STORAGE_CALLS,
		    LABELS(call->method, verdict == DONE ? "ok"
					 : verdict == FAILED || i >= attempts
					     ? err_name(rc)
					     : "retried"),
		    1);
		if (verdict == DONE)
			break;
		corrected |= verdict == SIGN_AGAIN;
		if (verdict == FAILED ||
		    (verdict == TRY_AGAIN && i++ >= attempts))
			return rc;
		if (verdict == TRY_AGAIN)
			TRY(pause_before(i));
		if (call->restart != NULL)
			TRY(call->restart(call->arg));
	}
	if (reply_out != NULL)
		*reply_out = reply;
	else
		http_call_reply_done(&reply);
	return OK;
}
