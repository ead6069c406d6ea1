/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watchdog: one thread for all loops. Every WATCHDOG_TICK_MS it looks at
 * each busy loop: an armed section that it saw a tick ago gets a signal, a loop
 * whose progress count stood still for 50 ms is named in the log. When no loop
 * did anything for a while it parks, and the next loop that wakes from its
 * poll wakes it: an idle process costs nothing, and arming is plain stores,
 * since a loop arms only while it is busy.
 *
 * It keeps real time, never a test's clock. I/O callbacks run inside uv's poll
 * and are not seen; by the law of loop.c they only note what came.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/metric.h"
#include "fiber/internal.h"

#define HELD_MS    50
#define PARK_TICKS 20
/* Ignored by default, sent by nobody else (we take no out-of-band data), and
 * merged while pending, unlike the real-time signals. */
#define TICK_SIGNAL SIGURG

static pthread_t thread;
static sem_t wake;
static atomic_bool parked;
static atomic_bool ending;

uint64_t
watchdog__real_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- the loop's side ---- */

/* The store and the load must not be swapped: either the watchdog sees us
 * busy before it parks, or we see it parked. */
void
watchdog__busy(struct loop *loop)
{
	atomic_store_explicit(&loop->progress,
	    atomic_load_explicit(&loop->progress, memory_order_relaxed) + 1,
	    memory_order_relaxed);
	atomic_store(&loop->busy, true);
	if (atomic_load(&parked) && atomic_exchange(&parked, false))
		sem_post(&wake);
}

/* Called in signal context on the loop's thread. A signal that comes after
 * its section ended finds another sequence number and does nothing. */
static void
on_signal(int signal)
{
	struct loop *loop = loop_self();
	int saved = errno;
	uint64_t armed;

	(void)signal;
	if (loop == NULL)
		return;
	armed = atomic_load_explicit(&loop->armed, memory_order_relaxed);
	if (armed != 0 && armed == atomic_load(&loop->ticked))
		loop->tick(loop->tick_arg);
	errno = saved;
}

uint64_t
watchdog_arm(watchdog_tick_fn tick, void *arg)
{
	struct loop *loop = loop_self();

	if (loop == NULL)
		return 0; /* outside loops nobody watches */
	atomic_store_explicit(&loop->armed, 0, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	loop->tick = tick;
	loop->tick_arg = arg;
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(
	    &loop->armed, ++loop->sequence, memory_order_relaxed);
	return loop->sequence;
}

void
watchdog_disarm(uint64_t sequence)
{
	struct loop *loop = loop_self();

	if (loop == NULL || atomic_load_explicit(
				&loop->armed, memory_order_relaxed) != sequence)
		return;
	atomic_store_explicit(&loop->armed, 0, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* Copied, since the watchdog may read it after its owner freed it; a torn
 * copy costs a wrong name in a log line. */
void
loop_label(const char *what, const char *detail)
{
	struct loop *loop = loop_self();
	uint64_t words[LOOP_LABEL_WORDS] = { 0 };

	if (loop == NULL)
		return;
	atomic_store_explicit(&loop->label, what, memory_order_relaxed);
	if (detail != NULL) {
		size_t len = strnlen(detail, sizeof(words) - 1);

		memcpy(words, detail, len);
	}
	for (size_t i = 0; i < LOOP_LABEL_WORDS; i++)
		atomic_store_explicit(
		    &loop->detail[i], words[i], memory_order_relaxed);
}

/* ---- the watchdog's side ---- */

static void
report(struct loop *loop, uint64_t held_ms)
{
	const char *label =
	    atomic_load_explicit(&loop->label, memory_order_relaxed);
	uint64_t words[LOOP_LABEL_WORDS];
	char detail[sizeof(words)];

	for (size_t i = 0; i < LOOP_LABEL_WORDS; i++)
		words[i] = atomic_load_explicit(
		    &loop->detail[i], memory_order_relaxed);
	memcpy(detail, words, sizeof(words));
	detail[sizeof(detail) - 1] = '\0';
	log_warn("loop.held", kv_int("loop", loop->index),
	    kv_int("held_ms", (int64_t)held_ms), kv_str("label", label),
	    kv_str("detail", detail));
}

/* True when the loop did anything since the last look. */
static bool
look(struct loop *loop, uint64_t now_ms)
{
	uint64_t progress =
	    atomic_load_explicit(&loop->progress, memory_order_relaxed);
	uint64_t armed =
	    atomic_load_explicit(&loop->armed, memory_order_acquire);
	bool busy = atomic_load(&loop->busy);
	bool moved = progress != loop->seen.progress;

	if (armed != 0 && armed == loop->seen.armed) {
		atomic_store(&loop->ticked, armed);
		pthread_kill(loop->self, TICK_SIGNAL);
	}
	loop->seen.armed = armed;
	if (moved || !busy) {
		loop->seen.progress = progress;
		loop->seen.since_ms = now_ms;
		loop->seen.report_ms = HELD_MS;
	} else if (now_ms - loop->seen.since_ms >= loop->seen.report_ms) {
		uint64_t held = now_ms - loop->seen.since_ms;

		if (loop->seen.report_ms == HELD_MS)
			metric_count(METRIC_LOOP_HELD, METRIC_NO_LABELS, 1);
		report(loop, held);
		loop->seen.report_ms = 4 * held; /* again while it lasts */
	}
	return moved || busy;
}

static void
park(void)
{
	bool busy = false;

	atomic_store(&parked, true);
	for (unsigned i = 0; i < loops_count(); i++)
		busy |= atomic_load(&loop_at(i)->busy);
	if ((busy || atomic_load(&ending)) && atomic_exchange(&parked, false))
		return;
	while (sem_wait(&wake) != 0)
		;
	for (unsigned i = 0; i < loops_count(); i++)
		loop_at(i)->seen.since_ms = watchdog__real_ns() / 1000000u;
}

static void *
watchdog_thread(void *arg)
{
	struct timespec tick = { .tv_nsec = WATCHDOG_TICK_MS * 1000000 };
	unsigned quiet = 0;

	(void)arg;
	pthread_setname_np(pthread_self(), "xin-watchdog");
	while (!atomic_load(&ending)) {
		uint64_t now_ms = watchdog__real_ns() / 1000000u;
		bool active = false;

		for (unsigned i = 0; i < loops_count(); i++)
			active |= look(loop_at(i), now_ms);
		quiet = active ? 0 : quiet + 1;
		if (quiet < PARK_TICKS) {
			nanosleep(&tick, NULL);
		} else {
			park();
			quiet = 0;
		}
	}
	return NULL;
}

/* The threads of the loops exist only after this: none is armed before. */
void
watchdog__start(void)
{
	struct sigaction action = { .sa_handler = on_signal,
		.sa_flags = SA_RESTART };
	sigset_t old;
	int rc;

	sigemptyset(&action.sa_mask);
	if (sigaction(TICK_SIGNAL, &action, NULL) != 0)
		panic("no watchdog signal: %s", strerror(errno));
	sem_init(&wake, 0, 0);
	atomic_store(&ending, false);
	atomic_store(&parked, false);
	crash_block_signals(&old);
	rc = pthread_create(&thread, NULL, watchdog_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		panic("no watchdog thread: %s", strerror(rc));
}

void
watchdog__stop(void)
{
	atomic_store(&ending, true);
	if (atomic_exchange(&parked, false))
		sem_post(&wake);
	pthread_join(thread, NULL);
	sem_destroy(&wake);
}
