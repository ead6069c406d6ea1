/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fibers: starting, switching, parking and waking. A fiber runs only from
 * fiber__run_ready, on the loop's stack below it; it comes back there when it
 * parks, ends, or wants a function run on the loop's stack. An ended fiber
 * keeps its stack and waits in the pool inside entry_loop for its next
 * function, so that starting one is a switch and no system call.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/ident.h"
#include "fiber/internal.h"

#if defined(FIBER_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(FIBER_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

#define POOL_MAX   256 /* stacks kept for each loop */
#define ROUNDS_MAX 16  /* of ready fibers before the loop polls again */
#define BREATHE_NS 1000000u
#define ARENA_KEEP 8192u /* bytes of arena that a pooled fiber may keep */

static struct fiber *
running(void)
{
	struct loop *loop = loop_self();

	return loop == NULL ? NULL : loop->current;
}

/* The same where there must be one. */
static struct fiber *
running_fiber(void)
{
	struct fiber *self = running();

	must(self != NULL);
	return self;
}

struct fiber *
fiber_self(void)
{
	return running();
}

size_t
fiber_count(void)
{
	struct loop *loop = loop_self();

	return loop == NULL
		   ? 0
		   : atomic_load_explicit(&loop->count, memory_order_relaxed);
}

/* ---- switching ---- */

/* From the loop's stack to the fiber's; returns when it comes back. */
static void
switch_in(struct loop *loop, struct fiber *fiber)
{
#if defined(FIBER_ASAN)
	__sanitizer_start_switch_fiber(
	    &loop->asan_fake, fiber->stack, fiber->stack_size);
#endif
#if defined(FIBER_TSAN)
	__tsan_switch_to_fiber(fiber->tsan, 0);
#endif
	fiber__switch(&loop->sp, fiber->sp);
#if defined(FIBER_ASAN)
	__sanitizer_finish_switch_fiber(loop->asan_fake, NULL, NULL);
#endif
}

/* The other way: from the running fiber to its loop. */
static void
switch_out(struct fiber *fiber)
{
	struct loop *loop = fiber->loop;

#if defined(FIBER_ASAN)
	__sanitizer_start_switch_fiber(
	    &fiber->asan_fake, loop->stack_bottom, loop->stack_size);
#endif
#if defined(FIBER_TSAN)
	__tsan_switch_to_fiber(loop->tsan, 0);
#endif
	fiber__switch(&fiber->sp, loop->sp);
#if defined(FIBER_ASAN)
	__sanitizer_finish_switch_fiber(
	    fiber->asan_fake, &loop->stack_bottom, &loop->stack_size);
#endif
}

/* What every fiber's stack begins with; `fiber` gets a new function before
 * each round. */
static void
entry_loop(void *arg)
{
	struct fiber *fiber = arg;

#if defined(FIBER_ASAN)
	__sanitizer_finish_switch_fiber(
	    NULL, &fiber->loop->stack_bottom, &fiber->loop->stack_size);
#endif
	for (;;) {
		fiber->fn(fiber->arg);
		fiber->state = FIBER_ENDED;
		switch_out(fiber);
	}
}

/* Lay out a stack as fiber__switch leaves it, with fiber__entry to return to.
 */
static void
prepare_stack(struct fiber *fiber)
{
	void **top = (void **)(void *)(fiber->stack + fiber->stack_size);

#if defined(__x86_64__)
	/* r15 r14 r13 r12 rbx rbp, return address; two more words, so that
	 * fiber__entry begins on a multiple of 16 */
	top -= 9;
	memset(top, 0, 9 * sizeof(*top));
	top[2] = (void *)(uintptr_t)entry_loop; /* r13 */
	top[3] = fiber;                         /* r12 */
	top[6] = (void *)(uintptr_t)fiber__entry;
#elif defined(__aarch64__)
	top -= 20;
	memset(top, 0, 20 * sizeof(*top));
	top[0] = fiber;                            /* x19 */
	top[1] = (void *)(uintptr_t)entry_loop;    /* x20 */
	top[11] = (void *)(uintptr_t)fiber__entry; /* x30 */
#else
#error "fibers know x86-64 and arm64"
#endif
	fiber->sp = top;
}

/* ---- birth and death ---- */

static void wake_by_timer(struct fiber__timer *timer);

static struct fiber *
fiber_alloc(struct loop *loop)
{
	struct fiber *fiber = loop->pool;

	if (fiber != NULL) {
		loop->pool = fiber->next;
		loop->pooled--;
#if defined(FIBER_ASAN)
		/* Whatever the last function left behind. */
		__asan_unpoison_memory_region(
		    fiber->stack, (size_t)((char *)fiber->sp - fiber->stack));
#endif
		return fiber;
	}
	fiber = mem_zero(sizeof(*fiber));
	fiber->loop = loop;
	fiber->timer.fn = wake_by_timer;
	fiber__stack_map(fiber);
	prepare_stack(fiber);
	task_init(&fiber->task, SERVICE_NONE);
#if defined(FIBER_TSAN)
	fiber->tsan = __tsan_create_fiber(0);
#endif
	return fiber;
}

static void
fiber_free(struct fiber *fiber)
{
#if defined(FIBER_TSAN)
	__tsan_destroy_fiber(fiber->tsan);
#endif
	fiber__stack_unmap(fiber);
	task_done(&fiber->task);
	mem_free(fiber);
}

static void
fiber_recycle(struct loop *loop, struct fiber *fiber)
{
	if (fiber->all_prev != NULL)
		fiber->all_prev->all_next = fiber->all_next;
	else
		loop->all = fiber->all_next;
	if (fiber->all_next != NULL)
		fiber->all_next->all_prev = fiber->all_prev;
	atomic_fetch_sub_explicit(&loop->count, 1, memory_order_relaxed);
	if (loop->pooled >= POOL_MAX) {
		fiber_free(fiber);
		return;
	}
	if (fiber->task.arena.used > ARENA_KEEP)
		arena_done(&fiber->task.arena);
	fiber->next = loop->pool;
	loop->pool = fiber;
	loop->pooled++;
}

void
fiber__pool_done(struct loop *loop)
{
	while (loop->pool != NULL) {
		struct fiber *fiber = loop->pool;

		loop->pool = fiber->next;
		fiber_free(fiber);
	}
	loop->pooled = 0;
}

static void
push_ready(struct loop *loop, struct fiber *fiber)
{
	fiber->state = FIBER_READY;
	fiber->next = NULL;
	if (loop->ready_last != NULL)
		loop->ready_last->next = fiber;
	else
		loop->ready_first = fiber;
	loop->ready_last = fiber;
}

/* A fresh identity, or that of `like`; the arena keeps its first block. */
static void
reset_task(struct task *task, enum service service, const struct task *like)
{
	arena_clear(&task->arena);
	task->error.code = OK;
	task->error.message[0] = '\0';
	task->deadline_ms = 0;
	task->service = service;
	task->cancelled = false;
	task->request_id[0] = '\0';
	task->brand_id[0] = '\0';
	task->trace_id[0] = '\0';
	task->span_id[0] = '\0';
	task->trace_flags = 0;
	task->tracestate = NULL;
	task->baggage = NULL;
	task->span = NULL;
	if (like != NULL)
		task_inherit(task, like);
}

struct fiber *
fiber__start(struct loop *loop, fiber_fn fn, void *arg, enum service service,
    const struct task *like)
{
	struct fiber *fiber = fiber_alloc(loop);

	reset_task(&fiber->task, service, like);
	fiber->fn = fn;
	fiber->arg = arg;
	fiber->woken = false;
	fiber->deaf = false;
	fiber->shield = 0;
	fiber->all_prev = NULL;
	fiber->all_next = loop->all;
	if (loop->all != NULL)
		loop->all->all_prev = fiber;
	loop->all = fiber;
	atomic_fetch_add_explicit(&loop->count, 1, memory_order_relaxed);
	push_ready(loop, fiber);
	return fiber;
}

struct fiber *
fiber_start(fiber_fn fn, void *arg)
{
	must(loop_self() != NULL);
	return fiber__start(loop_self(), fn, arg, SERVICE_NONE, task_self());
}

struct fiber *
fiber_start_service(enum service service, fiber_fn fn, void *arg)
{
	struct fiber *fiber;

	must(loop_self() != NULL);
	fiber = fiber__start(loop_self(), fn, arg, service, NULL);
	ident_new("rq", fiber->task.request_id);
	return fiber;
}

/* ---- the scheduler ---- */

static void
resume(struct loop *loop, struct fiber *fiber)
{
	fiber->state = FIBER_RUNNING;
	fiber->slice_ns = 0;
	for (;;) {
		loop_fn fn;

		atomic_store_explicit(&loop->progress,
		    atomic_load_explicit(
			&loop->progress, memory_order_relaxed) +
			1,
		    memory_order_relaxed);
		loop->current = fiber;
		task_enter(&fiber->task);
		switch_in(loop, fiber);
		loop->current = NULL;
		fn = loop->call_fn;
		if (fn == NULL)
			break;
		loop->call_fn = NULL;
		fn(loop->call_arg); /* its task stays entered */
	}
	task_enter(NULL);
	if (fiber->state == FIBER_ENDED)
		fiber_recycle(loop, fiber);
}

void
fiber__run_ready(struct loop *loop)
{
	for (int round = 0; round < ROUNDS_MAX; round++) {
		struct fiber *fiber = loop->ready_first;

		if (fiber == NULL)
			break;
		loop->ready_first = loop->ready_last = NULL;
		while (fiber != NULL) {
			struct fiber *next = fiber->next;

			resume(loop, fiber);
			fiber = next;
		}
	}
	if (loop->later_first == NULL)
		return;
	/* Those that gave way run after the next poll. */
	if (loop->ready_last != NULL)
		loop->ready_last->next = loop->later_first;
	else
		loop->ready_first = loop->later_first;
	loop->ready_last = loop->later_last;
	loop->later_first = loop->later_last = NULL;
}

void
fiber_on_loop_stack(loop_fn fn, void *arg)
{
	struct fiber *self = running();

	if (self == NULL) { /* we stand on it already */
		fn(arg);
		return;
	}
	self->loop->call_fn = fn;
	self->loop->call_arg = arg;
	switch_out(self);
}

/* ---- waiting ---- */

static void
wake_by_timer(struct fiber__timer *timer)
{
	struct fiber *fiber =
	    (struct fiber *)(void *)((char *)timer -
				     offsetof(struct fiber, timer));

	if (fiber->state == FIBER_PARKED)
		push_ready(fiber->loop, fiber);
}

enum err_code
fiber__park(uint64_t deadline_ms, bool deaf)
{
	struct fiber *self = running();

	must(self != NULL);
	deaf |= self->shield > 0;
	if (self->task.cancelled && !deaf)
		return err_set(ERR_CANCELLED, "the work was cancelled");
	if (self->woken) {
		self->woken = false;
		return OK;
	}
	if (deadline_ms != 0)
		fiber__timer_set(self->loop, &self->timer, deadline_ms);
	self->deaf = deaf;
	self->state = FIBER_PARKED;
	switch_out(self);
	if (deadline_ms != 0)
		fiber__timer_stop(self->loop, &self->timer);
	if (self->task.cancelled && !deaf)
		return err_set(ERR_CANCELLED, "the work was cancelled");
	if (self->woken) {
		self->woken = false;
		return OK;
	}
	return err_set(ERR_DEADLINE, "the deadline passed");
}

/* Under a shield an explicit deadline stands alone: clean-up after a passed
 * task deadline would otherwise never be able to wait. */
static uint64_t
effective(const struct fiber *self, uint64_t deadline_ms)
{
	if (self->shield > 0 && deadline_ms != 0)
		return deadline_ms;
	return deadline_min(deadline_ms, self->task.deadline_ms);
}

enum err_code
fiber_park(uint64_t deadline_ms)
{
	return fiber__park(effective(running_fiber(), deadline_ms), false);
}

void
fiber_wake(struct fiber *fiber)
{
	must(fiber->loop == loop_self());
	fiber->woken = true;
	if (fiber->state == FIBER_PARKED)
		push_ready(fiber->loop, fiber);
}

void
fiber_cancel(struct fiber *fiber)
{
	must(fiber->loop == loop_self());
	fiber->task.cancelled = true;
	if (fiber->state == FIBER_PARKED && !fiber->deaf)
		push_ready(fiber->loop, fiber);
}

void
fiber__cancel_all(struct loop *loop)
{
	for (struct fiber *f = loop->all; f != NULL; f = f->all_next)
		fiber_cancel(f);
}

bool
fiber_cancelled(void)
{
	struct fiber *self = running();

	return self != NULL && self->task.cancelled;
}

void
fiber_shield(void)
{
	running_fiber()->shield++;
}

void
fiber_unshield(void)
{
	struct fiber *self = running_fiber();

	must(self->shield > 0);
	self->shield--;
}

enum err_code
fiber_sleep(uint64_t ms)
{
	struct fiber *self = running();
	uint64_t until = deadline_in_ms(ms);
	bool woken = false;
	enum err_code rc;

	must(self != NULL);
	for (;;) {
		rc = fiber__park(effective(self, until), false);
		if (rc != OK)
			break;
		woken = true; /* meant for a later park */
	}
	self->woken |= woken;
	if (rc == ERR_DEADLINE && deadline_left_ms(until) == 0)
		return OK;
	return rc;
}

enum err_code
fiber_breathe(void)
{
	struct fiber *self = running();
	uint64_t now = watchdog__real_ns();
	struct loop *loop;

	must(self != NULL);
	if (self->task.cancelled && self->shield == 0)
		return err_set(ERR_CANCELLED, "the work was cancelled");
	if (self->slice_ns == 0)
		self->slice_ns = now;
	if (now - self->slice_ns < BREATHE_NS)
		return OK;
	if (self->shield == 0 && deadline_left_ms(self->task.deadline_ms) == 0)
		return err_set(ERR_DEADLINE, "the deadline passed");
	loop = self->loop;
	self->state = FIBER_READY;
	self->next = NULL;
	if (loop->later_last != NULL)
		loop->later_last->next = self;
	else
		loop->later_first = self;
	loop->later_last = self;
	switch_out(self);
	return OK;
}
