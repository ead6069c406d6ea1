/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for each other: conditions between fibers of one loop, completions
 * fulfilled by other threads, and blocking work on pool threads.
 */
#include <stdatomic.h>

#include "fiber/internal.h"

/* ---- conditions: a list of waiters, each on its fiber's stack ---- */

struct fiber_waiter {
	struct fiber_waiter *next;
	struct fiber_waiter *prev;
	struct fiber *fiber;
	bool signalled;
};

static void
unlink_waiter(struct fiber_cond *cond, struct fiber_waiter *w)
{
	if (w->prev != NULL)
		w->prev->next = w->next;
	else
		cond->first = w->next;
	if (w->next != NULL)
		w->next->prev = w->prev;
	else
		cond->last = w->prev;
}

/* gcc 12 sees that `self` is linked and not that it is unlinked on each way
 * out, by the signaller or at the end. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wdangling-pointer"

/* A signalled waiter returns OK even when it was cancelled meanwhile: the
 * signal would be lost otherwise. The cancellation meets its next wait. */
enum err_code
fiber_cond_wait(struct fiber_cond *cond, uint64_t deadline_ms)
{
	struct fiber_waiter self = { .fiber = fiber_self(),
		.prev = cond->last };
	enum err_code rc = OK;

	must(self.fiber != NULL);
	/* A waiter stands on the stack of the fiber that waits, and leaves the
	 * list before that returns: hence the suppressions. */
	if (cond->last != NULL)
		cond->last->next = &self;
	else
		cond->first = &self; /* cppcheck-suppress autoVariables */
	cond->last = &self;          /* cppcheck-suppress autoVariables */
	while (!self.signalled && rc == OK)
		rc = fiber_park(deadline_ms);
	if (self.signalled)
		return OK;
	unlink_waiter(cond, &self);
	return rc;
}
#pragma GCC diagnostic pop

void
fiber_cond_signal(struct fiber_cond *cond)
{
	struct fiber_waiter *w = cond->first;

	if (w == NULL)
		return;
	unlink_waiter(cond, w);
	w->signalled = true;
	fiber_wake(w->fiber);
}

void
fiber_cond_broadcast(struct fiber_cond *cond)
{
	while (cond->first != NULL)
		fiber_cond_signal(cond);
}

/* ---- completions ---- */

void
fiber_done_init(struct fiber_done *done)
{
	*done =
	    (struct fiber_done){ .loop = loop_self(), .fiber = fiber_self() };
	must(done->fiber != NULL);
}

void
fiber_done_wait(struct fiber_done *done)
{
	bool woken = false;

	while (!done->fulfilled) {
		fiber__park(0, true);
		if (!done->fulfilled)
			woken = true; /* meant for a later park */
	}
	done->fiber->woken = woken;
}

/* ---- pool threads ---- */

struct pool_work {
	uv_work_t request;
	pool_fn fn;
	void *arg;
	enum err_code rc;
	struct task *task;
	struct fiber *fiber;
	bool ended;
};

/* On the pool thread. The task is lent to it: its fiber sleeps meanwhile, so
 * the error record and the identity in log lines are the right ones. */
static void
pool_thread(uv_work_t *request)
{
	struct pool_work *work = request->data;

	crash_guard_thread();
	task_enter(work->task);
	work->rc = work->fn(work->arg);
	task_enter(NULL);
}

static void
pool_ended(uv_work_t *request, int status)
{
	struct pool_work *work = request->data;

	(void)status;
	work->ended = true;
	fiber_wake(work->fiber);
}

enum err_code
pool_run(pool_fn fn, void *arg)
{
	struct pool_work work = {
		.fn = fn, .arg = arg, .task = task_self(), .fiber = fiber_self()
	};
	bool woken = false;
	int rc;

	must(work.fiber != NULL);
	work.request.data = &work;
	rc = uv_queue_work(
	    loop_uv(loop_self()), &work.request, pool_thread, pool_ended);
	if (rc != 0)
		return err_set(
		    ERR_INTERNAL, "no pool thread: %s", uv_strerror(rc));
	while (!work.ended) {
		fiber__park(0, true);
		if (!work.ended)
			woken = true;
	}
	work.fiber->woken = woken;
	return work.rc;
}
