/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_FIBER_FIBER_H
#define XIN_FIBER_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/task.h"

/*
 * Fibers: straight-line C on an event loop. One thread runs one loop; a fiber
 * belongs to the loop it was started on and never moves. A fiber has a small
 * stack (FIBER_STACK_BYTES, guard page, pooled) and a task (base/task.h).
 *
 * WAITS marks functions that may suspend the calling fiber. Each returns
 * ERR_DEADLINE when its deadline (monotonic milliseconds, 0 = the task's own;
 * the earlier of the two counts) passed, or ERR_CANCELLED when the fiber was
 * cancelled: ordinary errors, so that stacks always unwind.
 */
#define FIBER_STACK_BYTES ((size_t)64 << 10)

struct loop;
struct fiber;
typedef void (*fiber_fn)(void *arg);
/* A function that runs on a loop's own stack, outside any fiber. */
typedef void (*loop_fn)(void *arg);

/* Start a fiber on the calling thread's loop; it first runs when the caller
 * next gives way. `service` and the identity of the running task (request id,
 * brand, trace) are inherited. Never fails: stacks come from a pool. */
struct fiber *fiber_start(fiber_fn fn, void *arg);
/* The same, with an identity of its own (`service`, fresh request id). */
struct fiber *fiber_start_service(enum service service, fiber_fn fn, void *arg);
/* The running fiber, or NULL on the loop's own stack. */
struct fiber *fiber_self(void);
/* Number of live fibers of this loop. */
size_t fiber_count(void);

/* Suspend until fiber_wake. WAITS. A wake that came first is not lost: one
 * is remembered. ERR_DEADLINE, ERR_CANCELLED. Callers loop on a condition. */
enum err_code fiber_park(uint64_t deadline_ms);
/* Make a parked fiber runnable. Same loop only; from other threads use
 * loop_post. */
void fiber_wake(struct fiber *fiber);
/* Its current or next wait returns ERR_CANCELLED, and so does each after it. */
void fiber_cancel(struct fiber *fiber);
/* True once fiber_cancel was called on the running fiber. */
bool fiber_cancelled(void);
/* Shield a short piece of clean-up from cancellation; nests. WAITS inside
 * still obey their deadlines; an explicit one then stands alone, so that
 * clean-up can wait although the task's deadline has passed. */
void fiber_shield(void);
void fiber_unshield(void);

/* WAITS. */
enum err_code fiber_sleep(uint64_t ms);
/* Give way to others if this fiber has run for more than a millisecond. For
 * long loops. WAITS. */
enum err_code fiber_breathe(void);

/* Run fn(arg) on the loop's own large stack and come back. Does not give way:
 * other fibers do not run meanwhile. fn must not wait. For script calls. */
void fiber_on_loop_stack(loop_fn fn, void *arg);

/* A pure function on a pool thread, for blocking work: it may touch neither
 * fibers nor Lua. WAITS, and cannot be interrupted: the deadline is not looked
 * at, `fn` must be bounded by itself. Error records of fn are carried back. */
typedef enum err_code (*pool_fn)(void *arg);
enum err_code pool_run(pool_fn fn, void *arg);

/* A queue of fibers waiting for a condition. Same loop only. */
struct fiber_cond {
	struct fiber_waiter *first;
	struct fiber_waiter *last;
};
/* WAITS until signalled. */
enum err_code fiber_cond_wait(struct fiber_cond *cond, uint64_t deadline_ms);
void fiber_cond_signal(struct fiber_cond *cond);
void fiber_cond_broadcast(struct fiber_cond *cond);

/* A completion that another thread fulfils: init on the fiber, hand a pointer
 * to the other thread, wait. The wait always lasts until fulfilled (the other
 * thread writes to the fiber's stack), so the other side must be bounded. */
struct fiber_done {
	struct loop *loop;
	struct fiber *fiber;
	struct fiber_done *next; /* for the loop's mailbox */
	bool fulfilled;
};
void fiber_done_init(struct fiber_done *done);
/* Any thread, once. */
void fiber_done_fulfil(struct fiber_done *done);
/* WAITS; not interruptible. */
void fiber_done_wait(struct fiber_done *done);

#endif
