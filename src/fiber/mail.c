/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other threads want of a loop: mail, completions, and calls made of them.
 * Mail and completions are two lock-free stacks that any thread pushes to and
 * the loop takes whole; uv_async wakes the loop for the first of a batch.
 */
#include <string.h>

#include "base/mem.h"
#include "fiber/internal.h"
#include "fiber/loop.h"

/* `senders` holds the loop's handles open until the last push has rung. */
bool
loop__mail(struct loop *loop, struct loop__mail *mail, bool always)
{
	struct loop__mail *first;

	atomic_fetch_add(&loop->senders, 1);
	if (atomic_load(&loop->stopping) && !always) {
		atomic_fetch_sub(&loop->senders, 1);
		return false;
	}
	first = atomic_load(&loop->mail);
	do
		mail->next = first;
	while (!atomic_compare_exchange_weak(&loop->mail, &first, mail));
	if (first == NULL)
		uv_async_send(&loop->async);
	atomic_fetch_sub(&loop->senders, 1);
	return true;
}

void
fiber_done_fulfil(struct fiber_done *done)
{
	struct loop *loop = done->loop;
	struct fiber_done *first;

	atomic_fetch_add(&loop->senders, 1);
	first = atomic_load(&loop->done);
	do
		done->next = first;
	while (!atomic_compare_exchange_weak(&loop->done, &first, done));
	if (first == NULL)
		uv_async_send(&loop->async);
	atomic_fetch_sub(&loop->senders, 1);
}

bool
loop_post(struct loop *loop, loop_fn fn, void *arg)
{
	struct loop__mail *mail = mem_alloc(sizeof(*mail));

	*mail = (struct loop__mail){ .fn = fn, .arg = arg, .on_heap = true };
	if (loop__mail(loop, mail, false))
		return true;
	mem_free(mail);
	return false;
}

void
loop__take_dones(struct loop *loop)
{
	struct fiber_done *done;

	if (atomic_load_explicit(&loop->done, memory_order_relaxed) == NULL)
		return;
	done = atomic_exchange(&loop->done, NULL);
	while (done != NULL) {
		struct fiber_done *next = done->next;

		done->fulfilled = true;
		fiber_wake(done->fiber);
		done = next;
	}
}

void
loop__take_mail(struct loop *loop)
{
	struct loop__mail *stack, *mail = NULL;

	if (atomic_load_explicit(&loop->mail, memory_order_relaxed) == NULL)
		return;
	stack = atomic_exchange(&loop->mail, NULL);
	while (stack != NULL) { /* the last pushed is on top: turn it round */
		struct loop__mail *next = stack->next;

		stack->next = mail;
		mail = stack;
		stack = next;
	}
	while (mail != NULL) {
		struct loop__mail *next = mail->next;
		loop_fn fn = mail->fn;
		void *arg = mail->arg;

		if (mail->on_heap)
			mem_free(mail);
		fn(arg);
		mail = next;
	}
}

struct spawn {
	enum service service;
	fiber_fn fn;
	void *arg;
};

static void
spawn_here(void *arg)
{
	struct spawn *spawn = arg;

	fiber_start_service(spawn->service, spawn->fn, spawn->arg);
	mem_free(spawn);
}

bool
loop_spawn(struct loop *loop, enum service service, fiber_fn fn, void *arg)
{
	struct spawn *spawn = mem_alloc(sizeof(*spawn));

	*spawn = (struct spawn){ .service = service, .fn = fn, .arg = arg };
	if (loop_post(loop, spawn_here, spawn))
		return true;
	mem_free(spawn);
	return false;
}

/* ---- calls ---- */

/* Lives on the caller's stack, which stays until the callee's end and, when
 * one was sent, the cancel letter's arrival. `callee` is the other loop's. */
struct call {
	struct loop__mail mail;
	struct loop__mail cancel_mail;
	enum err_code (*fn)(void *arg);
	void *arg;
	enum err_code rc;
	struct error error;
	const struct task *like;
	struct fiber *callee;
	struct fiber_done done;
	struct fiber_done cancel_done;
	sem_t outside;
};

static void
call_fiber(void *arg)
{
	struct call *call = arg;

	if (call->like != NULL)
		task_self()->deadline_ms = call->like->deadline_ms;
	call->rc = call->fn(call->arg);
	err_save(&call->error);
	call->callee = NULL;
	if (call->done.fiber != NULL)
		fiber_done_fulfil(&call->done);
	else
		sem_post(&call->outside);
}

static void
call_begin(void *arg)
{
	struct call *call = arg;

	call->callee = fiber__start(
	    loop_self(), call_fiber, call, SERVICE_NONE, call->like);
}

static void
call_cancel(void *arg)
{
	struct call *call = arg;

	if (call->callee != NULL)
		fiber_cancel(call->callee);
	fiber_done_fulfil(&call->cancel_done);
}

static enum err_code
call_from_outside(struct loop *loop, struct call *call)
{
	sem_init(&call->outside, 0, 0);
	if (!loop__mail(loop, &call->mail, false)) {
		sem_destroy(&call->outside);
		return err_set(ERR_UNAVAILABLE, "the loop is stopping");
	}
	while (sem_wait(&call->outside) != 0 && errno == EINTR)
		;
	sem_destroy(&call->outside);
	if (call->rc != OK)
		err_restore(&call->error);
	return call->rc;
}

/* A cancelled caller passes it on to the callee and still waits for its end. */
static void
call_wait(struct loop *loop, struct call *call)
{
	bool shielded = fiber_self()->shield > 0;

	while (!call->done.fulfilled && !shielded)
		if (fiber__park(0, false) == ERR_CANCELLED) {
			fiber_done_init(&call->cancel_done);
			call->cancel_mail.fn = call_cancel;
			call->cancel_mail.arg = call;
			loop__mail(loop, &call->cancel_mail, true);
			fiber_done_wait(&call->cancel_done);
			break;
		}
	fiber_done_wait(&call->done);
}

enum err_code
loop_call(struct loop *loop, enum err_code (*fn)(void *arg), void *arg)
{
	struct call call = { .fn = fn, .arg = arg, .like = task_self() };

	call.mail.fn = call_begin;
	call.mail.arg = &call;
	if (loop_self() == NULL)
		return call_from_outside(loop, &call);
	fiber_done_init(&call.done);
	if (!loop__mail(loop, &call.mail, false))
		return err_set(ERR_UNAVAILABLE, "the loop is stopping");
	call_wait(loop, &call);
	if (call.rc != OK)
		err_restore(&call.error);
	return call.rc;
}
