/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does anybody read the queue? Workers leave a sign in kv, which in a cluster
 * all processes share; the orchestrator looks for it, so that a queue without
 * a reader is told by explain, by a gauge and by one line in the log, and
 * nothing waits in silence.
 */
#include "domain/knowledge_watch.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "kv/kv.h"
#include "queue/queue.h"

/* kv keys belong to brands; this one can hold no documents. */
#define SIGN_BRAND "0-workers"
#define SIGN_KEY   "seen"
/* A sign is renewed so often, and old after so long: explain and the gauge
 * know within a minute. */
#define SIGN_MS  5000
#define OLD_MS   45000
#define CACHE_MS 1000
#define WATCH_MS 5000

static _Atomic uint64_t seen_ms;   /* by this process, 0 = never */
static _Atomic uint64_t signed_ms; /* when it last wrote the sign */
static _Atomic uint64_t asked_ms;  /* when kv was last asked */
static _Atomic int asked;          /* what it said: enum knowledge_readers */
static _Atomic int64_t unread;     /* for the gauge */
/* Of the watch; on loop 0 alone. */
static bool watching, stopping;
static struct fiber_cond wake;

void
knowledge_worker_seen(struct product *product)
{
	uint64_t now = clock_mono_ms(), last = atomic_load(&signed_ms);

	atomic_store(&seen_ms, now);
	if ((last != 0 && now - last < SIGN_MS) ||
	    !atomic_compare_exchange_strong(&signed_ms, &last, now))
		return;
	/* When kv is down so is the queue, and the worker says that. */
	(void)kv_set(product->kv, SIGN_BRAND, SIGN_KEY, "1", OLD_MS);
}

static enum knowledge_readers
ask(struct product *product)
{
	char *sign;
	enum err_code rc = kv_get(product->kv, SIGN_BRAND, SIGN_KEY, &sign);

	if (rc == OK) {
		mem_free(sign);
		return KNOWLEDGE_READ;
	}
	return rc == ERR_NOT_FOUND ? KNOWLEDGE_UNREAD : KNOWLEDGE_UNKNOWN;
}

enum knowledge_readers
knowledge_readers(struct product *product)
{
	uint64_t now = clock_mono_ms(), seen = atomic_load(&seen_ms);
	uint64_t last = atomic_load(&asked_ms);

	if (seen != 0 && now - seen < OLD_MS)
		return KNOWLEDGE_READ;
	if (last != 0 && now - last < CACHE_MS)
		return (enum knowledge_readers)atomic_load(&asked);
	atomic_store(&asked, (int)ask(product));
	atomic_store(&asked_ms, now);
	return (enum knowledge_readers)atomic_load(&asked);
}

/* ---- the orchestrator's watch ---- */

/* Jobs wait and nobody comes, nor works on others (a Python worker leaves no
 * sign of ours, but its jobs are in work). */
static bool
is_unread(struct product *product)
{
	struct queue_depth depth;

	if (knowledge_readers(product) != KNOWLEDGE_UNREAD ||
	    queue_depth(product->queue, &depth) != OK)
		return false;
	return depth.waiting > 0 && depth.running == 0;
}

static void
watch_run(void *arg)
{
	struct product *product = arg;

	while (!stopping) {
		bool before = atomic_load(&unread) != 0;
		bool now = is_unread(product);

		atomic_store(&unread, now);
		if (now && !before)
			log_warn("queue.unread",
			    kv_str("advice",
				"documents wait and no worker has asked for "
				"one: start `xin worker` on this queue"));
		else if (before && !now)
			log_info("queue.read");
		if (fiber_cond_wait(&wake, deadline_in_ms(WATCH_MS)) ==
		    ERR_CANCELLED)
			break;
	}
	watching = false;
}

static double
read_unread(void *arg)
{
	return (double)atomic_load((_Atomic int64_t *)arg);
}

static enum err_code
start_on_loop(void *product)
{
	stopping = false;
	watching = true;
	fiber_start(watch_run, product);
	return OK;
}

enum err_code
knowledge_watch_start(struct product *product)
{
	metric_gauge_read(METRIC_QUEUE_UNREAD, SERVICE_ORCHESTRATOR,
	    METRIC_NO_LABELS, read_unread, &unread);
	return loop_call(loop_at(0), start_on_loop, product);
}

static enum err_code
stop_on_loop(void *arg)
{
	(void)arg;
	stopping = true;
	fiber_cond_broadcast(&wake);
	while (watching)
		TRY(fiber_sleep(5));
	return OK;
}

void
knowledge_watch_stop(void)
{
	loop_call(loop_at(0), stop_on_loop, NULL);
}
