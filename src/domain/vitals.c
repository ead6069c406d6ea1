/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The periodic look around: each dependency is asked with what its front offers
 * for that, in a deadline, one after the other; the answers are gauges. A model
 * costs money with each question, so it is judged by its last real call.
 */
#include "domain/vitals.h"

#include <stdatomic.h>
#include <string.h>

#include "base/checkup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "model/embed.h"
#include "model/model.h"
#include "net/http_client.h"
#include "object/object.h"
#include "queue/queue.h"
#include "search/search.h"
#include "store/store.h"

#define CHECK_MS  5000
#define REPLY_MAX ((size_t)64 << 10)

struct dependency {
	const char *name;
	enum err_code (*check)(void); /* WAITS */
	_Atomic int64_t up;
};

static struct product *product;
static struct {
	_Atomic int64_t sources[SOURCE_CANCELLED + 1];
	_Atomic int64_t still_since; /* wall ms, 0 = none */
	_Atomic int64_t waiting, delayed, in_work, dead, oldest_ms;
} seen;
/* Of the fiber; on loop 0 alone. */
static bool started, running, stopping;
static struct fiber_cond wake;

static enum err_code
check_store(void)
{
	return store_ping(product->store);
}

static enum err_code
check_queue(void)
{
	struct queue_depth depth;

	TRY(queue_depth(product->queue, &depth));
	atomic_store(&seen.waiting, depth.waiting);
	atomic_store(&seen.delayed, depth.delayed);
	atomic_store(&seen.in_work, depth.running);
	atomic_store(&seen.dead, depth.dead);
	atomic_store(&seen.oldest_ms, depth.oldest_wait_ms);
	return OK;
}

static enum err_code
check_objects(void)
{
	return object_ping(product->objects);
}

static enum err_code
check_search(void)
{
	struct checkup checkup = { 0 };

	return search_checkup(product->search, &checkup);
}

static enum err_code
check_model(void)
{
	return model_is_up(product->model) ? OK : ERR_UNAVAILABLE;
}

static enum err_code
check_embeddings(void)
{
	return embed_is_up(product->embedder) ? OK : ERR_UNAVAILABLE;
}

static enum err_code
check_orchestrator(void)
{
	char *url = mem_printf("%s/health", config_str(CFG_ORCHESTRATOR_URL));
	const struct http_call call = {
		.method = "GET", .url = url, .max_reply_bytes = REPLY_MAX
	};
	struct http_call_reply reply;
	enum err_code rc = http_call(&call, deadline_in_ms(CHECK_MS), &reply);

	if (rc == OK) {
		if (reply.status != 200)
			rc = ERR_UNAVAILABLE;
		http_call_reply_done(&reply);
	}
	mem_free(url);
	return rc;
}

static struct dependency behind[] = {
	{ "store", check_store, 1 }, { "queue", check_queue, 1 },
	{ "objects", check_objects, 1 }, { "search", check_search, 1 },
	{ "model", check_model, 1 },
	{ "embeddings", check_embeddings, 1 }, /* the last: may be missing */
};
static struct dependency before[] = {
	{ "orchestrator", check_orchestrator, 1 },
};

static struct dependency *
dependencies(size_t *count_out)
{
	size_t count = sizeof(behind) / sizeof(behind[0]);

	if (product == NULL) {
		*count_out = 1;
		return before;
	}
	*count_out = product->embedder != NULL ? count : count - 1;
	return behind;
}

static void
look_at(struct dependency *dependency)
{
	uint64_t began = clock_mono_us();
	bool was = atomic_load(&dependency->up) != 0;
	bool up;

	task_self()->deadline_ms = deadline_in_ms(CHECK_MS);
	up = dependency->check() == OK;
	task_self()->deadline_ms = 0;
	metric_observe_us(METRIC_DEPENDENCY_LATENCY, LABELS(dependency->name),
	    clock_mono_us() - began);
	atomic_store(&dependency->up, up);
	if (was && !up)
		log_warn("dependency.down", kv_str("name", dependency->name),
		    kv_error("error", err_message()));
	else if (!was && up)
		log_info("dependency.up", kv_str("name", dependency->name));
}

static void
look_at_sources(void)
{
	struct store_figures figures;

	if (product == NULL || store_figures(product->store, &figures) != OK)
		return;
	for (int i = 0; i <= SOURCE_CANCELLED; i++)
		atomic_store(&seen.sources[i], figures.sources[i]);
	atomic_store(&seen.still_since, figures.still_since);
}

static void
look_run(void *arg)
{
	struct dependency *all;
	size_t count;

	(void)arg;
	while (!stopping) {
		all = dependencies(&count);
		for (size_t i = 0; i < count && !stopping; i++)
			look_at(&all[i]);
		look_at_sources();
		if (fiber_cond_wait(&wake,
			deadline_in_ms((uint64_t)config_int(CFG_VITALS_MS))) ==
		    ERR_CANCELLED)
			break;
	}
	running = false;
}

/* ---- gauges ---- */

static double
read_count(void *arg)
{
	return (double)atomic_load((_Atomic int64_t *)arg);
}

static double
read_seconds(void *arg)
{
	return read_count(arg) / 1e3;
}

static double
read_age(void *arg)
{
	int64_t since = atomic_load((_Atomic int64_t *)arg);
	double age = ((double)clock_wall_ms() - (double)since) / 1e3;

	return since == 0 || age < 0 ? 0 : age;
}

static void
gauge(enum metric metric, const char *label, metric_read_fn read, void *of)
{
	metric_gauge_read(metric, SERVICE_NONE, LABELS(label), read, of);
}

static void
show_gauges(enum service service)
{
	struct dependency *all;
	size_t count;

	all = dependencies(&count);
	for (size_t i = 0; i < count; i++)
		gauge(METRIC_DEPENDENCY, all[i].name, read_count, &all[i].up);
	if (product == NULL)
		return;
	for (int i = 0; i <= SOURCE_CANCELLED; i++)
		gauge(METRIC_SOURCES, source_status_name((enum source_status)i),
		    read_count, &seen.sources[i]);
	gauge(METRIC_SOURCES_STILL, NULL, read_age, &seen.still_since);
	if (service == SERVICE_WORKER)
		return; /* it shows the queue that it reads by itself */
	gauge(METRIC_QUEUE_DEPTH, "waiting", read_count, &seen.waiting);
	gauge(METRIC_QUEUE_DEPTH, "delayed", read_count, &seen.delayed);
	gauge(METRIC_QUEUE_DEPTH, "running", read_count, &seen.in_work);
	gauge(METRIC_QUEUE_DEPTH, "dead", read_count, &seen.dead);
	gauge(METRIC_QUEUE_OLDEST, NULL, read_seconds, &seen.oldest_ms);
}

/* What alerts and dashboards look at, before it happens. */
static const struct {
	enum service service;
	enum metric metric;
	struct metric_labels labels;
} zeros[] = {
	{ SERVICE_ORCHESTRATOR, METRIC_TURNS, { { "default", "done" } } },
	{ SERVICE_ORCHESTRATOR, METRIC_TURNS, { { "default", "error" } } },
	{ SERVICE_ORCHESTRATOR, METRIC_TURN_LATENCY, { { "default" } } },
	{ SERVICE_ORCHESTRATOR, METRIC_RATE_OPEN, { { NULL } } },
	{ SERVICE_ORCHESTRATOR, METRIC_RATE_LIMITED, { { "turns" } } },
	{ SERVICE_ORCHESTRATOR, METRIC_SEARCHES, { { "default", "ok" } } },
	{ SERVICE_ORCHESTRATOR, METRIC_SCRIPT_PREEMPTED, { { "default" } } },
	{ SERVICE_GATEWAY, METRIC_DUPLICATES, { { "webchat" } } },
	{ SERVICE_WORKER, METRIC_INGESTED, { { "default", "ready" } } },
	{ SERVICE_WORKER, METRIC_INGESTED, { { "default", "failed" } } },
	{ SERVICE_WORKER, METRIC_QUEUE_JOBS, { { "dead" } } },
	{ SERVICE_NONE, METRIC_LOOP_HELD, { { NULL } } },
	{ SERVICE_NONE, METRIC_TRACE_SPANS, { { "sent" } } },
	{ SERVICE_NONE, METRIC_TRACE_SPANS, { { "dropped" } } },
	{ SERVICE_NONE, METRIC_TRACE_SPANS, { { "lost" } } },
	{ SERVICE_NONE, METRIC_TRACE_SPANS, { { "rejected" } } },
	{ SERVICE_NONE, METRIC_TRACE_EXPORTS, { { "sent" } } },
	{ SERVICE_NONE, METRIC_TRACE_EXPORTS, { { "failed" } } },
	{ SERVICE_NONE, METRIC_TRACE_EXPORTS, { { "refused" } } },
	{ SERVICE_NONE, METRIC_SCRIPT_RELOADS, { { "rejected" } } },
	{ SERVICE_NONE, METRIC_LOG_LINES, { { "error" } } },
	{ SERVICE_NONE, METRIC_LOG_LINES, { { "warning" } } },
	{ SERVICE_NONE, METRIC_LOG_DROPPED, { { "repeated" } } },
	{ SERVICE_NONE, METRIC_LOG_DROPPED, { { "stalled" } } },
	{ SERVICE_NONE, METRIC_LOG_DROPPED, { { "failed" } } },
};

static void
show_zeros(enum service service)
{
	for (size_t i = 0; i < sizeof(zeros) / sizeof(zeros[0]); i++)
		if (service == SERVICE_COUNT || zeros[i].service == service ||
		    zeros[i].service == SERVICE_NONE)
			metric_show(
			    zeros[i].metric, zeros[i].service, zeros[i].labels);
	for (int s = SERVICE_GATEWAY; s < SERVICE_COUNT; s++)
		if (service == SERVICE_COUNT || (int)service == s)
			for (int status = 2; status <= 5; status++)
				metric_show(METRIC_HTTP_REQUESTS,
				    (enum service)s,
				    LABELS("GET", "/health",
					metric_status_class(status * 100)));
}

static enum err_code
start_on_loop(void *arg)
{
	(void)arg;
	stopping = false;
	running = true;
	fiber_start(look_run, NULL);
	return OK;
}

enum err_code
vitals_start(struct product *of, enum service service)
{
	product = of;
	show_gauges(service);
	show_zeros(service);
	started = true;
	return loop_call(loop_at(0), start_on_loop, NULL);
}

static enum err_code
stop_on_loop(void *arg)
{
	(void)arg;
	stopping = true;
	fiber_cond_broadcast(&wake);
	while (running)
		TRY(fiber_sleep(5));
	return OK;
}

void
vitals_stop(void)
{
	if (started)
		loop_call(loop_at(0), stop_on_loop, NULL);
	started = false;
}
