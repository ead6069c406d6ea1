/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers: a binary heap for each loop over base/clock.h's monotonic
 * milliseconds. One uv_timer stands for the earliest of them and is set only
 * when the loop is about to poll, so that a wait which ends in time costs two
 * heap moves and no more. While a test has replaced the clock, the loop looks
 * every millisecond.
 */
#include "base/clock.h"
#include "fiber/internal.h"

struct loop_timer {
	struct fiber__timer timer;
	struct loop *loop;
	loop_fn fn;
	void *arg;
};

static void
place(struct loop *loop, size_t at, struct fiber__timer *timer)
{
	loop->heap[at] = timer;
	timer->at = at + 1;
}

static void
sift_up(struct loop *loop, size_t at, struct fiber__timer *timer)
{
	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (loop->heap[parent]->due_ms <= timer->due_ms)
			break;
		place(loop, at, loop->heap[parent]);
		at = parent;
	}
	place(loop, at, timer);
}

static void
sift_down(struct loop *loop, size_t at, struct fiber__timer *timer)
{
	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= loop->heap_len)
			break;
		if (child + 1 < loop->heap_len &&
		    loop->heap[child + 1]->due_ms < loop->heap[child]->due_ms)
			child++;
		if (loop->heap[child]->due_ms >= timer->due_ms)
			break;
		place(loop, at, loop->heap[child]);
		at = child;
	}
	place(loop, at, timer);
}

void
fiber__timer_stop(struct loop *loop, struct fiber__timer *timer)
{
	size_t at = timer->at - 1;
	struct fiber__timer *last;

	if (timer->at == 0)
		return;
	timer->at = 0;
	last = loop->heap[--loop->heap_len];
	if (last == timer)
		return;
	if (at > 0 && loop->heap[(at - 1) / 2]->due_ms > last->due_ms)
		sift_up(loop, at, last);
	else
		sift_down(loop, at, last);
}

void
fiber__timer_set(struct loop *loop, struct fiber__timer *timer, uint64_t due_ms)
{
	fiber__timer_stop(loop, timer);
	if (loop->heap_len == loop->heap_cap) {
		loop->heap_cap = loop->heap_cap == 0 ? 64 : 2 * loop->heap_cap;
		loop->heap = mem_resize(
		    loop->heap, loop->heap_cap * sizeof(*loop->heap));
	}
	timer->due_ms = due_ms;
	sift_up(loop, loop->heap_len++, timer);
}

static void
on_uv_timer(uv_timer_t *handle)
{
	struct loop *loop = handle->data;
	uint64_t now = clock_mono_ms();

	loop->armed_ms = 0;
	while (loop->heap_len > 0 && loop->heap[0]->due_ms <= now) {
		struct fiber__timer *timer = loop->heap[0];

		fiber__timer_stop(loop, timer);
		timer->fn(timer);
	}
}

void
fiber__timers_arm(struct loop *loop)
{
	uint64_t due, now;

	if (loop->heap_len == 0)
		return; /* a set uv_timer may fire for nobody: harmless */
	if (clock_is_fake()) {
		loop->armed_ms = 0;
		uv_timer_start(&loop->uv_timer, on_uv_timer, 1, 0);
		return;
	}
	due = loop->heap[0]->due_ms;
	if (loop->armed_ms != 0 && loop->armed_ms <= due)
		return;
	/* Both clocks are CLOCK_MONOTONIC; uv adds its own idea of now. */
	now = uv_now(&loop->uv);
	uv_timer_start(
	    &loop->uv_timer, on_uv_timer, due > now ? due - now : 0, 0);
	loop->armed_ms = due;
}

void
fiber__timers_init(struct loop *loop)
{
	uv_timer_init(&loop->uv, &loop->uv_timer);
	uv_unref((uv_handle_t *)&loop->uv_timer);
	loop->uv_timer.data = loop;
}

/* ---- timers for others ---- */

static void
on_loop_timer(struct fiber__timer *timer)
{
	struct loop_timer *self = (struct loop_timer *)(void *)timer;

	self->fn(self->arg); /* may free it */
}

struct loop_timer *
loop_timer_new(loop_fn fn, void *arg)
{
	struct loop_timer *timer = mem_zero(sizeof(*timer));

	must(loop_self() != NULL);
	timer->timer.fn = on_loop_timer;
	timer->loop = loop_self();
	timer->fn = fn;
	timer->arg = arg;
	return timer;
}

void
loop_timer_set(struct loop_timer *timer, uint64_t in_ms)
{
	must(timer->loop == loop_self());
	fiber__timer_set(timer->loop, &timer->timer, clock_mono_ms() + in_ms);
}

void
loop_timer_stop(struct loop_timer *timer)
{
	must(timer->loop == loop_self());
	fiber__timer_stop(timer->loop, &timer->timer);
}

void
loop_timer_free(struct loop_timer *timer)
{
	if (timer == NULL)
		return;
	loop_timer_stop(timer);
	mem_free(timer);
}
