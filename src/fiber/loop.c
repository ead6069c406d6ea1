/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loops: one thread each. The order of a loop's turn is uv's: poll (I/O
 * callbacks, which only note what came), check, closing, timers, prepare. All
 * fibers and mail run in prepare, then the deferred hooks flush what they
 * wrote, then the loop polls again: so the answers of one turn leave together.
 * Mail is in mail.c.
 */
#include "fiber/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "fiber/internal.h"

#if defined(FIBER_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

#if defined(FIBER_ASAN) || defined(FIBER_TSAN)
#define LOOP_STACK_BYTES ((size_t)64 << 20)
#else
#define LOOP_STACK_BYTES ((size_t)8 << 20)
#endif
#define LOOPS_MAX     256
#define MAIL_ROUNDS   4
#define STOP_GRACE_MS 10000 /* for cancelled fibers to unwind */

static _Thread_local struct loop *self_loop;
static struct loop *loops[LOOPS_MAX];
static unsigned loop_count;
static atomic_uint undrained;

/* Not inlined, for the same reason as task_self. */
__attribute__((noinline)) struct loop *
loop_self(void)
{
	return self_loop;
}

unsigned
loops_count(void)
{
	return loop_count;
}

struct loop *
loop_at(unsigned index)
{
	return index < loop_count ? loops[index] : NULL;
}

unsigned
loop_index(const struct loop *loop)
{
	return loop->index;
}

struct uv_loop_s *
loop_uv(struct loop *loop)
{
	return &loop->uv;
}

/* FNV-1a with a final mix: stable over restarts and machines. */
struct loop *
loop_of(const void *key, size_t len)
{
	const unsigned char *bytes = key;
	uint64_t h = 0xcbf29ce484222325u;

	must(loop_count > 0);
	for (size_t i = 0; i < len; i++)
		h = (h ^ bytes[i]) * 0x100000001b3u;
	h ^= h >> 32;
	return loops[h % loop_count];
}

/* ---- the turn of a loop ---- */

void
loop_defer(struct loop_hook *hook)
{
	struct loop *loop = loop_self();

	must(loop != NULL);
	if (hook->linked)
		return;
	hook->linked = true;
	hook->next = loop->hooks;
	loop->hooks = hook;
}

static void
run_hooks(struct loop *loop)
{
	while (loop->hooks != NULL) {
		struct loop_hook *hook = loop->hooks;

		loop->hooks = hook->next;
		hook->linked = false;
		hook->fn(hook);
	}
}

static bool
has_work(struct loop *loop)
{
	return loop->ready_first != NULL || loop->hooks != NULL ||
	       atomic_load_explicit(&loop->mail, memory_order_relaxed) !=
		   NULL ||
	       atomic_load_explicit(&loop->done, memory_order_relaxed) != NULL;
}

/* Past the drain time, handles of others no longer keep the loop. The mailbox
 * is a handle that counts, or uv would not run at all. */
static bool
drained(struct loop *loop)
{
	bool others;

	/* Whoever rings at this moment may have been taken in already, and then
	 * nothing would wake us when it lets go: it needs no time, wait for it.
	 */
	while (atomic_load(&loop->senders) > 0)
		sched_yield();
	if (has_work(loop) ||
	    atomic_load_explicit(&loop->count, memory_order_relaxed) > 0)
		return false;
	if (loop->drain_ms == 0)
		return true;
	uv_unref((uv_handle_t *)&loop->async);
	others = uv_loop_alive(&loop->uv);
	uv_ref((uv_handle_t *)&loop->async);
	return !others;
}

static void
on_idle(uv_idle_t *handle)
{
	(void)handle; /* its being active keeps the poll from blocking */
}

static void
on_prepare(uv_prepare_t *handle)
{
	struct loop *loop = handle->data;
	bool work;

	for (int round = 0; round < MAIL_ROUNDS && has_work(loop); round++) {
		loop__take_dones(loop);
		loop__take_mail(loop);
		fiber__run_ready(loop);
		run_hooks(loop);
		if (loop->ready_first != NULL)
			break; /* some gave way: look at the sockets first */
	}
	if (loop->draining && drained(loop))
		uv_stop(&loop->uv); /* and do not block in the poll */
	fiber__timers_arm(loop);
	work = has_work(loop);
	if (work && !loop->idling)
		uv_idle_start(&loop->idle, on_idle);
	else if (!work && loop->idling)
		uv_idle_stop(&loop->idle);
	loop->idling = work;
	if (!work)
		atomic_store_explicit(&loop->busy, false, memory_order_release);
}

static void
on_check(uv_check_t *handle)
{
	watchdog__busy(handle->data);
}

static void
on_async(uv_async_t *handle)
{
	(void)handle; /* mail is read in prepare */
}

/* ---- end of a loop ---- */

void
loop_at_exit(loop_fn fn, void *arg)
{
	struct loop *loop = loop_self();
	struct loop__exit *entry = mem_alloc(sizeof(*entry));

	must(loop != NULL);
	*entry =
	    (struct loop__exit){ .next = loop->exits, .fn = fn, .arg = arg };
	loop->exits = entry;
}

static void
run_exits(struct loop *loop)
{
	while (loop->exits != NULL) {
		struct loop__exit *entry = loop->exits;

		loop->exits = entry->next;
		entry->fn(entry->arg);
		mem_free(entry);
	}
}

static void
on_drain_end(struct fiber__timer *timer)
{
	struct loop *loop =
	    (struct loop *)(void *)((char *)timer -
				    offsetof(struct loop, drain_timer));

	fiber__cancel_all(loop);
	loop->drain_ms = 0;
	/* Fibers that start meanwhile are cancelled too. */
	fiber__timer_set(loop, timer, clock_mono_ms() + 10);
}

static void
begin_stop(void *arg)
{
	struct loop *loop = arg;

	fiber__timer_set(
	    loop, &loop->drain_timer, clock_mono_ms() + loop->drain_ms);
	loop->draining = true;
	uv_stop(&loop->uv);
}

static void
close_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void
loop_close(struct loop *loop)
{
	/* Whoever was let in before `stopping` has rung by now or soon will. */
	while (atomic_load(&loop->senders) > 0)
		sched_yield();
	loop__take_dones(loop);
	loop__take_mail(loop);
	uv_walk(&loop->uv, close_handle, NULL);
	uv_run(&loop->uv, UV_RUN_DEFAULT);
	if (uv_loop_close(&loop->uv) != 0)
		panic("a loop cannot be closed");
	fiber__pool_done(loop);
	mem_free(loop->heap);
	loop->heap = NULL;
}

static void
loop_init(struct loop *loop)
{
	if (uv_loop_init(&loop->uv) != 0)
		panic("no event loop: out of descriptors?");
	loop->uv.data = loop;
	uv_prepare_init(&loop->uv, &loop->prepare);
	uv_check_init(&loop->uv, &loop->check);
	uv_idle_init(&loop->uv, &loop->idle);
	if (uv_async_init(&loop->uv, &loop->async, on_async) != 0)
		panic("no mailbox: out of descriptors?");
	fiber__timers_init(loop);
	loop->prepare.data = loop->check.data = loop->idle.data = loop;
	uv_prepare_start(&loop->prepare, on_prepare);
	uv_check_start(&loop->check, on_check);
	uv_unref((uv_handle_t *)&loop->prepare);
	uv_unref((uv_handle_t *)&loop->check);
	uv_unref((uv_handle_t *)&loop->idle);
	loop->drain_timer.fn = on_drain_end;
}

static void *
loop_thread(void *arg)
{
	struct loop *loop = arg;
	char name[16];

	snprintf(name, sizeof(name), "xin-loop-%u", loop->index);
	pthread_setname_np(pthread_self(), loop->name ?: name);
	self_loop = loop;
	loop->self = pthread_self();
#if defined(FIBER_TSAN)
	loop->tsan = __tsan_get_current_fiber();
#endif
	crash_guard_thread();
	watchdog__busy(loop);
	sem_post(&loop->ready);
	uv_run(&loop->uv, UV_RUN_DEFAULT);
	while (!drained(loop))
		uv_run(&loop->uv, UV_RUN_ONCE);
	/* Fibers of slower loops may still send us their cancellations. */
	atomic_fetch_sub(&undrained, 1);
	while (atomic_load(&undrained) > 0) {
		uv_run(&loop->uv, UV_RUN_NOWAIT);
		usleep(500);
	}
	run_exits(loop);
	for (int turn = 0; turn < 100 && (has_work(loop) || loop->count > 0);
	     turn++)
		uv_run(&loop->uv, UV_RUN_NOWAIT);
	loop_close(loop);
	atomic_store(&loop->busy, false);
	sem_post(&loop->ended);
	return NULL;
}

/* ---- start and stop ---- */

static double
count_fibers(void *arg)
{
	size_t n = 0;

	(void)arg;
	for (unsigned i = 0; i < loop_count; i++)
		n += atomic_load_explicit(
		    &loops[i]->count, memory_order_relaxed);
	return (double)n;
}

/* Once for the process, before the first thread. */
static void
process_setup(void)
{
	static bool ready;
	char threads[16];

	if (ready)
		return;
	ready = true;
	signal(SIGPIPE, SIG_IGN);
	crash_install();
	crash_describe(fiber__describe_fault);
	/* uv's pool also resolves names: leave room for slow ones. */
	snprintf(
	    threads, sizeof(threads), "%u", uv_available_parallelism() + 6);
	setenv("UV_THREADPOOL_SIZE", threads, 0);
	metric_gauge_read(
	    METRIC_FIBERS, SERVICE_NONE, METRIC_NO_LABELS, count_fibers, NULL);
}

static enum err_code
start_thread(struct loop *loop)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int rc;

	/* Signals for the process go to the main thread, ticks to loops. */
	sigfillset(&all);
	sigdelset(&all, SIGURG);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGABRT);
	sigdelset(&all, SIGPROF);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, LOOP_STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&loop->thread, &attr, loop_thread, loop);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		return err_set(
		    ERR_INTERNAL, "no thread for a loop: %s", strerror(rc));
	while (sem_wait(&loop->ready) != 0)
		;
	return OK;
}

static struct loop *
loop_new(unsigned index)
{
	struct loop *loop = mem_zero(sizeof(*loop));

	loop->index = index;
	sem_init(&loop->ready, 0, 0);
	sem_init(&loop->ended, 0, 0);
	loop_init(loop);
	return loop;
}

static void
loop_free(struct loop *loop)
{
	sem_destroy(&loop->ready);
	sem_destroy(&loop->ended);
	mem_free(loop);
}

enum err_code
loops_start(unsigned count)
{
	must(loop_count == 0);
	if (count == 0)
		count = uv_available_parallelism();
	if (count > LOOPS_MAX)
		count = LOOPS_MAX;
	process_setup();
	for (unsigned i = 0; i < count; i++)
		loops[i] = loop_new(i);
	loop_count = count;
	watchdog__start();
	for (unsigned i = 0; i < count; i++)
		if (start_thread(loops[i]) != OK)
			panic("loop %u of %u: %s", i, count, err_message());
	return OK;
}

static bool
wait_ended(struct loop *loop, uint64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (sem_timedwait(&loop->ended, &until) != 0)
		if (errno != EINTR)
			return false;
	return true;
}

void
loops_stop(uint64_t drain_ms)
{
	struct loop__mail mail[LOOPS_MAX];
	unsigned count = loop_count;

	must(loop_self() == NULL);
	atomic_store(&undrained, count);
	for (unsigned i = 0; i < count; i++)
		atomic_store(&loops[i]->stopping, true);
	for (unsigned i = 0; i < count; i++) {
		loops[i]->drain_ms = drain_ms;
		mail[i] =
		    (struct loop__mail){ .fn = begin_stop, .arg = loops[i] };
		loop__mail(loops[i], &mail[i], true);
	}
	for (unsigned i = 0; i < count; i++) {
		if (wait_ended(loops[i], drain_ms + STOP_GRACE_MS))
			continue;
		/* Nothing may be freed under a loop that still runs; the
		 * process is about to exit anyway. */
		log_error("loop.stuck", kv_int("loop", i));
		return;
	}
	watchdog__stop();
	for (unsigned i = 0; i < count; i++) {
		pthread_join(loops[i]->thread, NULL);
		loop_free(loops[i]);
		loops[i] = NULL;
	}
	loop_count = 0;
}

enum err_code
loop_aside_start(const char *name, struct loop **loop_out)
{
	struct loop *loop;
	enum err_code rc;

	process_setup();
	loop = loop_new(LOOPS_MAX);
	loop->name = name;
	rc = start_thread(loop);
	if (rc != OK) {
		uv_walk(&loop->uv, close_handle, NULL);
		uv_run(&loop->uv, UV_RUN_DEFAULT);
		uv_loop_close(&loop->uv);
		loop_free(loop);
		return rc;
	}
	*loop_out = loop;
	return OK;
}

void
loop_aside_stop(struct loop *loop, uint64_t drain_ms)
{
	struct loop__mail mail = { .fn = begin_stop, .arg = loop };

	must(loop_self() == NULL);
	atomic_fetch_add(&undrained, 1);
	atomic_store(&loop->stopping, true);
	loop->drain_ms = drain_ms;
	loop__mail(loop, &mail, true);
	if (!wait_ended(loop, drain_ms + STOP_GRACE_MS)) {
		log_error("loop.stuck", kv_int("loop", loop->index));
		return;
	}
	pthread_join(loop->thread, NULL);
	loop_free(loop);
}
