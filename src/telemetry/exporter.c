/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exporter's fiber: wait, gather a batch, ship it, look again. ship is the
 * page to read. Everything here but start, flush and stop runs on the loop
 * aside.
 */
#include "telemetry/exporter.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"
#include "fiber/loop.h"
#include "telemetry/otlp.h"
#include "telemetry/span_queue.h"

#define ANSWER_MAX     ((size_t)4 << 20) /* OTLP: larger is not retried */
#define ERROR_MAX      ((size_t)4096)
#define RETRY_FIRST_MS 500
#define RETRY_LAST_MS  5000
#define HOLD_MAX_MS    300000 /* longest Retry-After that is obeyed */
#define SAY_AFTER      2      /* failed tries in a row; one is a hiccup */
#define PARTIAL_MS     60000  /* between two lines about rejected spans */
#define USER_AGENT     "OTel-OTLP-Exporter-C/" XIN_VERSION " xin/" XIN_VERSION

enum verdict { SENT, TRY_AGAIN, REFUSED };

static struct {
	const struct trace_settings *settings;
	enum service service;
	struct loop *loop;
	struct fiber *fiber;
	struct buf resources[SERVICE_COUNT];
	const char *headers[SETTINGS_HEADERS_MAX + 3];
	atomic_bool flush, stopping;
	_Atomic uint64_t stop_ms; /* deadline of everything, 0 = none */
	/* The fiber's own. */
	uint64_t hold_ms; /* not before: Retry-After */
	uint64_t partial_ms;
	unsigned failed; /* tries in a row */
	bool failing;    /* and it was said */
	uint64_t lost;   /* spans since then */
} out;

/* ---- what came of it ---- */

static void
count_spans(const struct span_batch *batch, const char *outcome)
{
	struct task *task = task_self();
	enum service before = task->service;

	for (int s = 0; s < SERVICE_COUNT; s++) {
		if (batch->counts[s] == 0)
			continue;
		task->service = (enum service)s;
		metric_count(
		    METRIC_TRACE_SPANS, LABELS(outcome), batch->counts[s]);
	}
	task->service = before;
}

static void
note_failure(bool final)
{
	out.failed++;
	if (out.failing || (!final && out.failed < SAY_AFTER))
		return;
	out.failing = true;
	out.lost = 0;
	log_error("tracing export failing", kv_error("error", err_message()),
	    kv_str("note", "said once; spans that are lost are counted in "
			   "xin_tracing_spans_total"));
}

static void
note_success(void)
{
	out.failed = 0;
	if (!out.failing)
		return;
	out.failing = false;
	log_info("tracing export recovered",
	    kv_int("spans_lost", (int64_t)out.lost));
}

static void
note_partial(const struct otlp_answer *answer)
{
	if (answer->rejected > 0)
		metric_count(METRIC_TRACE_SPANS, LABELS("rejected"),
		    (uint64_t)answer->rejected);
	if (answer->rejected == 0 && answer->message[0] == '\0')
		return;
	if (out.partial_ms != 0 &&
	    clock_mono_ms() - out.partial_ms < PARTIAL_MS)
		return;
	out.partial_ms = clock_mono_ms();
	log_warn("tracing.partly_accepted",
	    kv_int("rejected_spans", answer->rejected),
	    kv_error("message", answer->message));
}

/* ---- one request ---- */

/* Seconds or a date (RFC 9110 10.2.3); 0 = none. */
static uint64_t
retry_after_ms(const struct http_call_reply *reply)
{
	struct tm tm = { 0 };
	uint64_t seconds, now = clock_wall_ms(), at;
	char text[64];

	if (!http_call_header(reply, "retry-after", text, sizeof(text)))
		return 0;
	if (str_to_u64(text, &seconds))
		return seconds < HOLD_MAX_MS / 1000 ? seconds * 1000
						    : HOLD_MAX_MS;
	if (strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) == NULL)
		return 0;
	at = (uint64_t)timegm(&tm) * 1000;
	if (at <= now)
		return 0;
	return at - now < HOLD_MAX_MS ? at - now : HOLD_MAX_MS;
}

static enum verdict
judge(const struct http_call_reply *reply, uint64_t *after_ms_out)
{
	struct otlp_answer answer;

	if (reply->status / 100 == 2) {
		otlp_answer(buf_str(&reply->body), reply->body.len, &answer);
		note_partial(&answer);
		return SENT;
	}
	err_set(ERR_UPSTREAM, "the collector answered %d", reply->status);
	*after_ms_out = retry_after_ms(reply);
	return reply->status == 429 ||
		       (reply->status >= 502 && reply->status <= 504)
		   ? TRY_AGAIN
		   : REFUSED;
}

static enum verdict
post(const struct buf *body, uint64_t deadline_ms, uint64_t *after_ms_out)
{
	const struct trace_settings *settings = out.settings;
	const struct http_call call = {
		.method = "POST",
		.url = settings->url,
		.headers = out.headers,
		.body = body->data,
		.body_len = body->len,
		.max_reply_bytes = ANSWER_MAX,
		.max_error_bytes = ERROR_MAX,
		.trace = HTTP_TRACE_NONE,
		.user_agent = USER_AGENT,
		.tls = &settings->tls,
	};
	struct http_call_reply reply;
	enum verdict verdict;
	enum err_code rc;

	*after_ms_out = 0;
	rc = http_call(&call,
	    deadline_min(deadline_ms, deadline_in_ms(settings->timeout_ms)),
	    &reply);
	if (rc == OK) {
		verdict = judge(&reply, after_ms_out);
		http_call_reply_done(&reply);
	} else {
		verdict = rc == ERR_UNAVAILABLE || rc == ERR_DEADLINE
			      ? TRY_AGAIN
			      : REFUSED;
	}
	metric_count(METRIC_TRACE_EXPORTS,
	    LABELS(verdict == SENT      ? "sent"
		   : verdict == REFUSED ? "refused"
					: "failed"),
	    1);
	return verdict;
}

/* ---- one batch ---- */

static uint64_t
stop_deadline(void)
{
	return atomic_load(&out.stop_ms);
}

/* Sleeps until then (0 = not at all); stopping cuts it short. */
static void
wait_until(uint64_t until_ms)
{
	while (until_ms > 0 && deadline_left_ms(until_ms) > 0 &&
	       !atomic_load(&out.stopping))
		if (fiber_park(until_ms) == ERR_CANCELLED)
			return;
}

static enum verdict
post_until(const struct buf *body, uint64_t until_ms)
{
	for (unsigned attempt = 0;; attempt++) {
		uint64_t limit = deadline_min(until_ms, stop_deadline());
		uint64_t after_ms, wait_ms;
		enum verdict verdict = post(body, limit, &after_ms);

		if (verdict == SENT)
			return verdict;
		wait_ms =
		    backoff_ms(attempt + 1, RETRY_FIRST_MS, RETRY_LAST_MS);
		if (after_ms > wait_ms)
			wait_ms = after_ms;
		if (after_ms > 0)
			out.hold_ms = deadline_in_ms(after_ms);
		limit = deadline_min(until_ms, stop_deadline());
		if (verdict == TRY_AGAIN && wait_ms >= deadline_left_ms(limit))
			verdict = REFUSED;
		note_failure(verdict == REFUSED);
		if (verdict == REFUSED || atomic_load(&out.stopping))
			return REFUSED;
		wait_until(deadline_in_ms(wait_ms));
	}
}

static void
ship(struct span_batch *batch)
{
	struct buf plain, packed;
	const struct buf *body = &plain;
	enum verdict verdict;

	buf_init(&plain, 0);
	buf_init(&packed, 0);
	otlp_request(batch, out.resources, &plain);
	if (out.settings->gzip) {
		otlp_gzip(plain.data, plain.len, &packed);
		body = &packed;
	}
	wait_until(out.hold_ms);
	verdict = post_until(body, deadline_in_ms(out.settings->export_ms));
	if (verdict == SENT)
		note_success();
	else
		out.lost += batch->count;
	count_spans(batch, verdict == SENT ? "sent" : "lost");
	buf_done(&plain);
	buf_done(&packed);
}

/* At most one batch's worth; false when nothing waited. */
static bool
ship_some(void)
{
	struct span_batch batch;
	bool some;

	span_batch_init(&batch);
	span_queue_drain(&batch, out.settings->batch_max);
	some = batch.count > 0;
	if (some)
		ship(&batch);
	span_batch_done(&batch);
	return some;
}

static void
wait_for_work(void)
{
	uint64_t until = deadline_in_ms(out.settings->schedule_ms);

	while (deadline_left_ms(until) > 0 && !atomic_load(&out.stopping) &&
	       !atomic_load(&out.flush) &&
	       span_queue_len() < out.settings->batch_max)
		if (fiber_park(until) == ERR_CANCELLED)
			return;
	atomic_store(&out.flush, false);
}

static void
exporter_run(void *arg)
{
	(void)arg;
	task_self()->service = out.service;
	task_self()->request_id[0] = '\0';
	while (!atomic_load(&out.stopping)) {
		wait_for_work();
		while (
		    ship_some() && span_queue_len() >= out.settings->batch_max)
			;
	}
	while (deadline_left_ms(stop_deadline()) > 0 && ship_some())
		;
	out.fiber = NULL;
}

/* ---- from other threads ---- */

static void
wake(void *arg)
{
	(void)arg;
	if (out.fiber != NULL)
		fiber_wake(out.fiber);
}

static void
on_full(void)
{
	loop_post(out.loop, wake, NULL);
}

void
exporter_flush(void)
{
	atomic_store(&out.flush, true);
	loop_post(out.loop, wake, NULL);
}

static void
begin(void *arg)
{
	out.fiber = fiber_start(exporter_run, arg);
}

static double
read_waiting(void *arg)
{
	(void)arg;
	return (double)span_queue_len();
}

static void
make_headers(void)
{
	size_t n = 0;

	out.headers[n++] = "Content-Type: application/x-protobuf";
	if (out.settings->gzip)
		out.headers[n++] = "Content-Encoding: gzip";
	for (size_t i = 0; out.settings->headers[i] != NULL; i++)
		out.headers[n++] = out.settings->headers[i];
	out.headers[n] = NULL;
}

enum err_code
exporter_start(const struct trace_settings *settings, enum service service)
{
	out.settings = settings;
	out.service = service;
	atomic_store(&out.stopping, false);
	atomic_store(&out.flush, false);
	atomic_store(&out.stop_ms, 0);
	out.hold_ms = out.partial_ms = out.lost = 0;
	out.failed = 0;
	out.failing = false;
	make_headers();
	for (int s = 0; s < SERVICE_COUNT; s++) {
		buf_init(&out.resources[s], 0);
		TRY(settings_resource((enum service)s, &out.resources[s]));
	}
	TRY(loop_aside_start("xin-telemetry", &out.loop));
	span_queue_open(settings->queue_max, settings->batch_max, on_full);
	loop_post(out.loop, begin, NULL);
	metric_gauge_read(METRIC_TRACE_WAITING, SERVICE_NONE, METRIC_NO_LABELS,
	    read_waiting, NULL);
	span_sink(span_queue_push);
	return OK;
}

void
exporter_stop(uint64_t within_ms)
{
	if (out.loop == NULL)
		return;
	span_sink(NULL);
	atomic_store(&out.stop_ms, deadline_in_ms(within_ms));
	atomic_store(&out.stopping, true);
	loop_post(out.loop, wake, NULL);
	loop_aside_stop(out.loop, within_ms);
	out.loop = NULL;
	span_queue_close();
	for (int s = 0; s < SERVICE_COUNT; s++)
		buf_done(&out.resources[s]);
}
