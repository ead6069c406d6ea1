/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded back ends under load: durable writes with group commit, reads,
 * jobs through the queue. Usage: data_bench [folder] [fibers]. Prints one line
 * a figure; the disk decides.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "queue/queue.h"
#include "sqlite/sqlite.h"
#include "store/store.h"

#define EACH 40

struct bench {
	struct store *store;
	struct queue *queue;
	int fibers, alive;
	struct fiber_cond over;
	void (*work)(struct bench *bench, int64_t n);
	int64_t next;
};

static void
need(enum err_code rc, const char *what)
{
	if (rc == OK)
		return;
	fprintf(stderr, "%s: %s\n", what, err_message());
	exit(1);
}

static void
begin_key(struct bench *bench, int64_t n)
{
	char key[32], *answer;

	snprintf(key, sizeof(key), "k%lld", (long long)n);
	need(store_dedup_begin(bench->store, key, "", 1000, &answer), "dedup");
}

static void
count_keys(struct bench *bench, int64_t n)
{
	int64_t count;

	(void)n;
	need(store_key_count(bench->store, &count), "count");
}

static void
put_job(struct bench *bench, int64_t n)
{
	char id[32], brand[8];

	snprintf(id, sizeof(id), "job%lld", (long long)n);
	snprintf(brand, sizeof(brand), "b%d", (int)(n % 50));
	need(queue_put(bench->queue, id, brand, "f", "{}", 0), "put");
}

static void
run_job(struct bench *bench, int64_t n)
{
	struct job job;

	(void)n;
	need(queue_take(bench->queue, 30000, deadline_in_ms(5000), &job),
	    "take");
	need(queue_finish(bench->queue, &job), "finish");
	job_done(&job);
}

static void
member(void *arg)
{
	struct bench *bench = arg;

	for (int i = 0; i < EACH; i++)
		bench->work(bench, bench->next++);
	if (--bench->alive == 0)
		fiber_cond_signal(&bench->over);
}

static void
measure(struct bench *bench, const char *name,
    void (*work)(struct bench *bench, int64_t n))
{
	double commits = metric_value(METRIC_STORE_COMMITS, METRIC_NO_LABELS);
	uint64_t start = clock_mono_us(), us;
	int total = bench->fibers * EACH;

	bench->work = work;
	bench->next = 0;
	bench->alive = bench->fibers;
	for (int i = 0; i < bench->fibers; i++)
		fiber_start(member, bench);
	while (bench->alive > 0)
		need(fiber_cond_wait(&bench->over, 0), "wait");
	us = clock_mono_us() - start;
	commits =
	    metric_value(METRIC_STORE_COMMITS, METRIC_NO_LABELS) - commits;
	printf("%-24s %8.0f /s  mean %7.2f ms  commits %.0f of %d\n", name,
	    total * 1e6 / (double)us, (double)us / 1e3 / EACH, commits, total);
}

static enum err_code
run(void *arg)
{
	struct bench *bench = arg;

	measure(bench, "durable writes", begin_key);
	measure(bench, "reads", count_keys);
	measure(bench, "queue_put", put_job);
	measure(bench, "queue_take + finish", run_job);
	return OK;
}

int
main(int argc, char **argv)
{
	char folder[] = "/tmp/xin-bench-XXXXXX";
	struct bench bench = { .fibers = argc > 2 ? atoi(argv[2]) : 64 };
	const char *where = argc > 1 ? argv[1] : mkdtemp(folder);
	char *path = mem_printf("%s/bench.db", where);
	struct sqlite *db;

	need(sqlite_open(path, &db), path);
	need(store_open("sqlite:", db, &bench.store), "store");
	need(queue_open("sqlite:", db, &bench.queue), "queue");
	need(loops_start(2), "loops");
	need(loop_call(loop_at(0), run, &bench), "run");
	loops_stop(1000);
	queue_close(bench.queue);
	store_close(bench.store);
	sqlite_close(db);
	printf("the database stays in %s\n", path);
	mem_free(path);
	return 0;
}
