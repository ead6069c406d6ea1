/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job loop: take, renew while it runs, ingest, and tell the queue how it
 * ended. A worker that stops gives its leases up by letting them expire: the
 * reaper (of any worker) queues what was left.
 */
#include "worker/worker.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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
#include "domain/ingest.h"
#include "domain/knowledge.h"
#include "domain/knowledge_watch.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "kv/kv.h"
#include "queue/queue.h"
#include "store/store.h"

#define TAKE_MS       1000
#define TELL_EVERY_MS 10000
#define REAP_MS       1000
#define REAPER_MS     5000 /* until another worker may reap */

static const char *const functions[] = { "ingest_source", NULL };

static struct product *product;
static atomic_bool stopping;
static atomic_int running; /* fibers of the worker */

/* One job in work, on its fiber's stack. */
struct work {
	struct job *job;
	char owner[IDENT_SIZE];
	char source_id[IDENT_SIZE];
	int64_t version;
	struct fiber *fiber;
	struct fiber_cond beat;
	struct span *span; /* NULL = not recorded */
	bool ended;        /* the ingestion */
	bool beat_ended;
};

/* A client of the queue asked to end the job (Python's Job.abort). The row is
 * the truth: unless it is cancelled too, the reaper queues it again. */
static void
abort_document(const struct job *job, const struct work *work)
{
	enum err_code rc =
	    store_source_cancel(product->store, job->brand_id, work->source_id);

	if (rc != OK && rc != ERR_CONFLICT && rc != ERR_NOT_FOUND)
		log_warn("job.not_aborted", kv_str("job_id", job->id),
		    kv_error("error", err_message()));
}

/* Both leases, the job's as often as the queue wants it, the row's at a third
 * of its time. */
static enum err_code
renew(struct work *work, int64_t lease_ms, uint64_t *row_at_ms)
{
	enum err_code rc = queue_renew(product->queue, work->job, lease_ms);

	if (rc == ERR_CANCELLED && work->job->aborted)
		abort_document(work->job, work);
	if (rc != OK || deadline_left_ms(*row_at_ms) > 0)
		return rc;
	*row_at_ms = deadline_in_ms((uint64_t)lease_ms / 3);
	return store_source_renew(
	    product->store, work->source_id, work->owner, lease_ms);
}

/* When a lease is lost, or the document was cancelled, so is the ingestion. */
static void
heartbeat_run(void *arg)
{
	struct work *work = arg;
	int64_t lease_ms = config_int(CFG_LEASE_MS);
	uint64_t beat_ms = queue_beat_ms(product->queue, lease_ms);
	uint64_t row_at_ms = deadline_in_ms((uint64_t)lease_ms / 3);
	enum err_code rc = OK;

	task_self()->trace_flags = 0; /* a span a second would tell nothing */

	while (rc == OK && !work->ended) {
		rc = fiber_cond_wait(&work->beat, deadline_in_ms(beat_ms));
		if (work->ended)
			break;
		if (rc != ERR_DEADLINE && rc != OK)
			break;
		rc = renew(work, lease_ms, &row_at_ms);
		if (rc != ERR_CONFLICT && rc != ERR_CANCELLED)
			rc = OK; /* a passing fault: the lease still holds */
	}
	if (rc != OK && !work->ended)
		fiber_cancel(work->fiber);
	work->beat_ended = true;
	fiber_cond_broadcast(&work->beat);
}

static void
end_heartbeat(struct work *work)
{
	work->ended = true;
	fiber_cond_broadcast(&work->beat);
	fiber_shield();
	while (!work->beat_ended)
		fiber_cond_wait(&work->beat, deadline_in_ms(1000));
	fiber_unshield();
}

/* A child of the span that sent the job, so that upload and ingestion are one
 * trace; linked to it too, as messaging conventions want it. */
static struct span *
begin_span(const struct job *job, const json_t *kwargs)
{
	const struct trace_headers from = { json_str(kwargs, "traceparent"),
		json_str(kwargs, "tracestate"), json_str(kwargs, "baggage") };
	const char *queue = config_str(CFG_REDIS_QUEUE);
	char name[128], trace_id[33], span_id[17];
	struct span *span;
	uint8_t flags;

	snprintf(name, sizeof(name), "process %s", queue);
	span = span_enter(SPAN_CONSUMER, name, &from);
	if (span == NULL)
		return NULL;
	if (from.traceparent != NULL &&
	    trace_parse_parent(from.traceparent, trace_id, span_id, &flags))
		span_link(span, trace_id, span_id, flags);
	span_add(span,
	    attr_str(
		ATTR_MSG_SYSTEM, config_is_set(CFG_REDIS_HOST) ? "arq" : "xin"),
	    attr_str(ATTR_MSG_OPERATION, "process"),
	    attr_str(ATTR_MSG_TYPE, "process"),
	    attr_str(ATTR_MSG_DESTINATION, queue),
	    attr_str(ATTR_MSG_ID, job->id),
	    attr_str(ATTR_SOURCE, json_str(kwargs, "source_id")));
	return span;
}

/* The job's identity becomes the task's: one id from upload to ready. */
static enum err_code
read_job(const struct job *job, struct work *work)
{
	json_auto json_t *kwargs = NULL;
	struct task *task = task_self();
	const char *id, *correlation;

	if (strcmp(job->function, functions[0]) != 0)
		return err_set(
		    ERR_INVALID, "unknown function \"%.64s\"", job->function);
	if (strcmp(job->args, "[]") != 0)
		return err_set(ERR_INVALID,
		    "%s wants keyword arguments alone: source_id, brand_id, "
		    "version",
		    functions[0]);
	if (job->brand_id[0] == '\0')
		return err_set(
		    ERR_INVALID, "brand_id is missing or is no brand's name");
	TRY(json_parse(job->kwargs, strlen(job->kwargs), &kwargs));
	TRY(json_field_str(kwargs, "source_id", true, IDENT_SIZE - 1, &id));
	TRY(json_field_int(kwargs, "version", 1, INT64_MAX, 0, &work->version));
	if (work->version == 0)
		return err_set(ERR_INVALID, "version is missing");
	correlation = json_str(kwargs, "correlation_id");
	str_copy(work->source_id, sizeof(work->source_id), id);
	if (correlation != NULL && correlation[0] != '\0')
		str_copy(
		    task->request_id, sizeof(task->request_id), correlation);
	str_copy(task->brand_id, sizeof(task->brand_id), job->brand_id);
	work->span = begin_span(job, kwargs);
	return OK;
}

static void
settle(struct job *job, const struct ingest_result *result)
{
	enum err_code rc;

	if (result->outcome == INGEST_RETRY)
		rc = queue_retry(
		    product->queue, job, result->retry_at, !result->away);
	else if (result->outcome == INGEST_DEAD)
		rc = queue_bury(product->queue, job, result->reason);
	else
		rc = queue_finish(product->queue, job);
	if (rc != OK && rc != ERR_CONFLICT)
		log_warn("job.not_settled", kv_str("job_id", job->id),
		    kv_error("error", err_message()));
}

static void
work_on(struct job *job)
{
	struct work work = { .job = job, .fiber = fiber_self() };
	struct ingest_result result = { .outcome = INGEST_DEAD };

	ident_new("wk", work.owner);
	if (read_job(job, &work) != OK) {
		mask_quoted(
		    err_message(), result.reason, sizeof(result.reason));
		log_warn("job.unreadable", kv_str("job_id", job->id),
		    kv_error("error", result.reason));
		settle(job, &result);
		return;
	}
	if (job->aborted) { /* before it began */
		abort_document(job, &work);
		result.outcome = INGEST_ENDED;
		settle(job, &result);
		span_end(work.span, OK);
		return;
	}
	fiber_start(heartbeat_run, &work);
	ingest_run(product, work.owner, job->brand_id, work.source_id,
	    work.version, &result);
	end_heartbeat(&work);
	fiber_shield();
	settle(job, &result);
	fiber_unshield();
	span_end(work.span, OK);
}

static void
job_fiber(void *arg)
{
	struct job *job = arg;

	work_on(job);
	job_done(job);
	mem_free(job);
	atomic_fetch_sub(&running, 1);
}

/* Takes jobs and gives each a fiber (and so a task) of its own; waits for it,
 * so that XIN_WORKER_JOBS takers mean as many jobs at a time. */
struct taker {
	struct job *job;
	struct fiber_done done;
};

static void
taken_run(void *arg)
{
	struct taker *taker = arg;

	atomic_fetch_add(&running, 1);
	job_fiber(taker->job);
	fiber_done_fulfil(&taker->done);
}

/* All takers of the process meet an outage; one line in a while says it. */
static void
tell_unavailable(void)
{
	static _Atomic uint64_t next_ms;
	uint64_t now = clock_mono_ms(), next = atomic_load(&next_ms);

	if (now >= next && atomic_compare_exchange_strong(
			       &next_ms, &next, now + TELL_EVERY_MS))
		log_warn("queue.unavailable", kv_error("error", err_message()));
}

static void
taker_run(void *arg)
{
	int64_t lease_ms = config_int(CFG_LEASE_MS);

	(void)arg;
	while (!atomic_load(&stopping)) {
		struct taker taker;
		enum err_code rc;

		knowledge_worker_seen(product);
		taker.job = mem_zero(sizeof(*taker.job));
		rc = queue_take(product->queue, lease_ms,
		    deadline_in_ms(TAKE_MS), taker.job);
		if (rc == OK) {
			fiber_done_init(&taker.done);
			fiber_start_service(SERVICE_WORKER, taken_run, &taker);
			fiber_done_wait(&taker.done);
			continue;
		}
		mem_free(taker.job);
		if (rc == ERR_CANCELLED)
			break;
		if (rc != ERR_DEADLINE) {
			tell_unavailable();
			fiber_sleep(TAKE_MS);
		}
	}
	atomic_fetch_sub(&running, 1);
}

/* One worker of all reaps at a time; another takes over when it is gone. While
 * that cannot be agreed on all do: queueing a document twice does nothing. */
static bool
is_reaper(const char *token)
{
	return kv_lease_take(product->kv, "xin:reaper", token, REAPER_MS) !=
	       ERR_CONFLICT;
}

#define DAY_MS ((int64_t)24 * 3600 * 1000)

/* What is past its time, a bounded part in each minute. */
static void
retain(void)
{
	int64_t now = (int64_t)clock_wall_ms(), erased = 0;
	int64_t days = config_int(CFG_RETENTION_DAYS);
	struct store_erasure old = { .before = now - days * DAY_MS };
	enum err_code rc = OK;

	if (days > 0)
		rc = store_erase(product->store, &old, &erased);
	if (erased > 0)
		log_info("retention.erased", kv_int("conversations", erased));
	days = config_int(CFG_AUDIT_DAYS);
	if (rc == OK && days > 0)
		rc = store_audit_forget(product->store, now - days * DAY_MS);
	if (rc != OK)
		log_warn("retention.failed", kv_error("error", err_message()));
}

static void
reaper_run(void *arg)
{
	int64_t count, sweep = 0;
	char token[IDENT_SIZE];

	(void)arg;
	ident_new("rp", token);
	while (!atomic_load(&stopping)) {
		if (fiber_sleep(REAP_MS) != OK)
			break;
		if (!is_reaper(token))
			continue;
		if (knowledge_reap(product, &count) != OK)
			log_warn(
			    "reaper.failed", kv_error("error", err_message()));
		else if (count > 0)
			log_info("reaper.queued", kv_int("documents", count));
		if (++sweep % 60 != 0)
			continue;
		store_sweep(product->store);
		retain();
	}
	atomic_fetch_sub(&running, 1);
}

static struct {
	_Atomic int64_t waiting, delayed, in_work, dead, oldest_ms;
} depth_seen;

static double
read_depth(void *arg)
{
	return (double)atomic_load((_Atomic int64_t *)arg);
}

static double
read_seconds(void *arg)
{
	return read_depth(arg) / 1e3;
}

static void
depth_run(void *arg)
{
	struct queue_depth depth;

	(void)arg;
	while (!atomic_load(&stopping)) {
		if (queue_depth(product->queue, &depth) == OK) {
			atomic_store(&depth_seen.waiting, depth.waiting);
			atomic_store(&depth_seen.delayed, depth.delayed);
			atomic_store(&depth_seen.in_work, depth.running);
			atomic_store(&depth_seen.dead, depth.dead);
			atomic_store(
			    &depth_seen.oldest_ms, depth.oldest_wait_ms);
		}
		if (fiber_sleep(2 * REAP_MS) != OK)
			break;
	}
	atomic_fetch_sub(&running, 1);
}

static void
show_depth(void)
{
	metric_gauge_read(METRIC_QUEUE_DEPTH, SERVICE_WORKER, LABELS("waiting"),
	    read_depth, &depth_seen.waiting);
	metric_gauge_read(METRIC_QUEUE_DEPTH, SERVICE_WORKER, LABELS("delayed"),
	    read_depth, &depth_seen.delayed);
	metric_gauge_read(METRIC_QUEUE_DEPTH, SERVICE_WORKER, LABELS("running"),
	    read_depth, &depth_seen.in_work);
	metric_gauge_read(METRIC_QUEUE_DEPTH, SERVICE_WORKER, LABELS("dead"),
	    read_depth, &depth_seen.dead);
	metric_gauge_read(METRIC_QUEUE_OLDEST, SERVICE_WORKER, METRIC_NO_LABELS,
	    read_seconds, &depth_seen.oldest_ms);
}

static void
spawn(unsigned loop, fiber_fn fn)
{
	atomic_fetch_add(&running, 1);
	if (!loop_spawn(
		loop_at(loop % loops_count()), SERVICE_WORKER, fn, NULL))
		atomic_fetch_sub(&running, 1);
}

enum err_code
worker_start(struct product *with)
{
	unsigned jobs = (unsigned)config_int(CFG_WORKER_JOBS);

	product = with;
	queue_serve(product->queue, functions);
	atomic_store(&stopping, false);
	show_depth();
	for (unsigned i = 0; i < jobs; i++)
		spawn(i, taker_run);
	spawn(0, reaper_run);
	spawn(0, depth_run);
	return OK;
}

void
worker_stop(uint64_t drain_ms)
{
	uint64_t until = deadline_in_ms(drain_ms);

	atomic_store(&stopping, true);
	while (atomic_load(&running) > 0 && deadline_left_ms(until) > 0)
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}
