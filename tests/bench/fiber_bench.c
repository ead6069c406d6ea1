/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fiber runtime costs, in nanoseconds for each operation:
 *   ninja -C build fiber_bench && build/bench/fiber_bench
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"

#define ROUNDS 1000000

struct pair {
	struct fiber *a, *b;
	int left;
};

static void
report(const char *what, uint64_t begin_ns, uint64_t n)
{
	printf("%-44s %8.1f ns\n", what,
	    (double)(clock_mono_ns() - begin_ns) / (double)n);
}

static void
ping(void *arg)
{
	struct pair *pair = arg;

	while (pair->left-- > 0) {
		fiber_wake(pair->b);
		fiber_park(0);
	}
}

static void
pong(void *arg)
{
	struct pair *pair = arg;

	while (pair->left > 0) {
		fiber_park(0);
		fiber_wake(pair->a);
	}
}

static void
nothing(void *arg)
{
	(void)arg;
}

static void
tick(void *arg)
{
	(void)arg;
}

static enum err_code
pool_nothing(void *arg)
{
	(void)arg;
	return OK;
}

static void
wait_for_count(size_t n)
{
	while (fiber_count() > n)
		fiber_sleep(1);
}

static void
bench_switch(void)
{
	struct pair pair = { .left = ROUNDS };
	uint64_t begin = clock_mono_ns();

	pair.a = fiber_start(ping, &pair);
	pair.b = fiber_start(pong, &pair);
	wait_for_count(2);
	report("park and wake, one way", begin, 2 * ROUNDS);
	fiber_cancel(pair.b);
	wait_for_count(1);
}

static void
bench_rest(void)
{
	uint64_t begin = clock_mono_ns();

	for (int i = 0; i < ROUNDS; i++)
		fiber_on_loop_stack(nothing, NULL);
	report("to the loop's stack and back", begin, ROUNDS);
	begin = clock_mono_ns();
	for (int i = 0; i < 20000; i++) {
		for (int k = 0; k < 50; k++)
			fiber_start(nothing, NULL);
		fiber_wake(fiber_self());
		fiber_park(0);
		while (fiber_count() > 1)
			fiber_sleep(0);
	}
	report("fiber, start to end (with a turn for 50)", begin, 20000 * 50);
	begin = clock_mono_ns();
	for (int i = 0; i < ROUNDS; i++)
		watchdog_disarm(watchdog_arm(tick, NULL));
	report("arm and disarm", begin, ROUNDS);
	begin = clock_mono_ns();
	for (int i = 0; i < 20000; i++)
		pool_run(pool_nothing, NULL);
	report("pool_run of nothing", begin, 20000);
}

static enum err_code
bench(void *arg)
{
	uint64_t begin;

	(void)arg;
	bench_switch();
	bench_rest();
	begin = clock_mono_ns();
	for (int i = 0; i < 20000; i++)
		loop_call(loop_at(1), pool_nothing, NULL);
	report("loop_call to another loop", begin, 20000);
	return OK;
}

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int
main(void)
{
	double before;

	if (loops_start(2) != OK || loop_call(loop_at(0), bench, NULL) != OK) {
		fprintf(stderr, "%s\n", err_message());
		return 1;
	}
	usleep(100000);
	before = cpu_seconds();
	sleep(2);
	printf("%-44s %8.3f ms CPU\n", "two seconds of idling",
	    1e3 * (cpu_seconds() - before));
	loops_stop(1000);
	return 0;
}
