/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker and a producer of the shared queue for tests and measurements, with
 * functions that a Python worker can have too. Settings as for xin.
 *
 *   queue_worker work TAKERS [MS]     until SIGTERM; "ran ID ATTEMPT" for each,
 *                                     which takes MS
 *   queue_worker drain JOBS TAKERS    until so many ran; seconds at the end
 *   queue_worker put JOBS FIBERS PREFIX FUNCTION    "put JOBS in SECONDS"
 *
 * echo returns its arguments; slow sleeps kwargs.ms, under a heartbeat; again
 * asks for a second attempt; broken fails for good.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "queue/queue.h"

static const char *const functions[] = { "echo", "slow", "again", "broken",
	NULL };

static struct queue *queue;
static atomic_bool stopping, quiet;
static atomic_int alive;
static _Atomic int64_t done, wanted, next_put;
static uint64_t job_ms;
static const char *put_prefix, *put_function;

static void
complain(const char *what, const struct job *job)
{
	fprintf(stderr, "%s %s: %s\n", what, job->id, err_message());
}

/* ---- functions ---- */

static void
finish(struct job *job)
{
	if (!job->aborted)
		job->result = mem_printf(
		    "{\"by\":\"c\",\"args\":%s,\"kwargs\":%s,\"try\":%lld}",
		    job->args, job->kwargs, (long long)job->attempt);
	if (queue_finish(queue, job) != OK)
		complain("finish", job);
}

static void
slow(struct job *job)
{
	int64_t lease_ms = config_int(CFG_LEASE_MS);
	json_t *kwargs = NULL;
	uint64_t until;

	if (json_parse(job->kwargs, strlen(job->kwargs), &kwargs) != OK)
		complain("kwargs", job);
	until = deadline_in_ms((uint64_t)json_int(kwargs, "ms", 100));
	json_decref(kwargs);
	while (deadline_left_ms(until) > 0) {
		uint64_t left = deadline_left_ms(until);
		enum err_code rc;

		fiber_sleep(left < (uint64_t)lease_ms / 3
				? left
				: (uint64_t)lease_ms / 3);
		rc = queue_renew(queue, job, lease_ms);
		if (rc == ERR_CANCELLED)
			break;
		if (rc != OK) {
			complain("renew", job);
			return;
		}
	}
	finish(job);
}

static void
run(struct job *job)
{
	enum err_code rc = OK;

	if (!atomic_load(&quiet)) {
		printf("ran %s %lld%s\n", job->id, (long long)job->attempt,
		    job->aborted ? " aborted" : "");
		fflush(stdout);
	}
	if (job_ms > 0)
		fiber_sleep(job_ms);
	if (job->aborted || strcmp(job->function, "echo") == 0)
		finish(job);
	else if (strcmp(job->function, "slow") == 0)
		slow(job);
	else if (strcmp(job->function, "again") == 0 && job->attempt == 1)
		rc = queue_retry(
		    queue, job, (int64_t)clock_wall_ms() + 300, true);
	else if (strcmp(job->function, "broken") == 0)
		rc = queue_bury(queue, job, "it is broken");
	else
		finish(job);
	if (rc != OK)
		complain("end", job);
}

/* ---- takers and putters ---- */

static void
taker_run(void *arg)
{
	(void)arg;
	while (!atomic_load(&stopping)) {
		struct job job = { .id = "" };
		enum err_code rc = queue_take(
		    queue, config_int(CFG_LEASE_MS), deadline_in_ms(500), &job);

		if (rc == OK) {
			run(&job);
			job_done(&job);
			if (atomic_fetch_add(&done, 1) + 1 ==
			    atomic_load(&wanted))
				atomic_store(&stopping, true);
		} else if (rc != ERR_DEADLINE) {
			complain("take", &job);
			fiber_sleep(100);
		}
	}
	atomic_fetch_sub(&alive, 1);
}

static void
putter_run(void *arg)
{
	int64_t n;

	(void)arg;
	while ((n = atomic_fetch_add(&next_put, 1)) < atomic_load(&wanted)) {
		char id[64], kwargs[96];

		snprintf(id, sizeof(id), "%s%lld", put_prefix, (long long)n);
		snprintf(kwargs, sizeof(kwargs),
		    "{\"brand_id\":\"b%lld\",\"n\":%lld}", (long long)n % 5,
		    (long long)n);
		if (queue_put(queue, id, "b", put_function, kwargs, 0) != OK) {
			fprintf(stderr, "put: %s\n", err_message());
			exit(1);
		}
	}
	atomic_fetch_sub(&alive, 1);
}

static void
on_term(int signal)
{
	(void)signal;
	atomic_store(&stopping, true);
}

static double
run_fibers(fiber_fn fn, int count)
{
	uint64_t began = clock_mono_us();

	atomic_store(&alive, count);
	for (int i = 0; i < count; i++)
		if (!loop_spawn(loop_at((unsigned)i % loops_count()),
			SERVICE_WORKER, fn, NULL))
			exit(1);
	while (atomic_load(&alive) > 0)
		usleep(500);
	return (double)(clock_mono_us() - began) / 1e6;
}

int
main(int argc, char **argv)
{
	bool put = argc == 6 && strcmp(argv[1], "put") == 0;
	bool drain = argc == 4 && strcmp(argv[1], "drain") == 0;
	bool work = argc >= 3 && argc <= 4 && strcmp(argv[1], "work") == 0;
	double took;

	if (!put && !drain && !work) {
		fprintf(stderr, "see the head of queue_worker.c\n");
		return 2;
	}
	signal(SIGTERM, on_term);
	if (config_load(NULL) != OK || loops_start(2) != OK ||
	    queue_open("redis:", NULL, &queue) != OK) {
		fprintf(stderr, "%s\n", err_message());
		return 1;
	}
	queue_serve(queue, functions);
	if (put || drain)
		atomic_store(&wanted, atoll(argv[2]));
	if (put) {
		put_prefix = argv[4];
		put_function = argv[5];
		took = run_fibers(putter_run, atoi(argv[3]));
		printf("put %s in %.4f\n", argv[2], took);
	} else {
		atomic_store(&quiet, drain);
		job_ms = work && argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
		took = run_fibers(taker_run, atoi(argv[drain ? 3 : 2]));
		if (drain)
			printf("drained %s in %.4f\n", argv[2], took);
	}
	loops_stop(2000);
	queue_close(queue);
	return 0;
}
