/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_FIBER_INTERNAL_H
#define XIN_FIBER_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <uv.h>
#include "base/crash.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"

/*
 * What the files of this folder share. Everything in struct loop belongs to
 * the loop's thread, except the fields of type _Atomic.
 */
#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define FIBER_TSAN 1
#endif

/* ---- timers (timer.c): a binary heap for each loop, one uv_timer under it */
struct fiber__timer {
	uint64_t due_ms;
	size_t at; /* place in the heap + 1; 0 = not set */
	void (*fn)(struct fiber__timer *timer);
};
void fiber__timer_set(
    struct loop *loop, struct fiber__timer *timer, uint64_t due_ms);
void fiber__timer_stop(struct loop *loop, struct fiber__timer *timer);
/* Before the loop polls: have uv wake it in time. */
void fiber__timers_arm(struct loop *loop);
void fiber__timers_init(struct loop *loop);

/* ---- fibers (fiber.c) */
enum fiber__state { FIBER_READY, FIBER_RUNNING, FIBER_PARKED, FIBER_ENDED };

struct fiber {
	void *sp;
	struct fiber *next; /* ready list, later list, or pool */
	struct fiber *all_prev;
	struct fiber *all_next;
	struct loop *loop;
	fiber_fn fn;
	void *arg;
	enum fiber__state state;
	bool woken; /* a wake that no park has consumed */
	bool deaf;  /* parked where cancellation does not reach */
	unsigned shield;
	uint64_t slice_ns; /* first fiber_breathe of this run, 0 = none yet */
	struct fiber__timer timer;
	char *stack; /* lowest usable byte, above the guard page */
	size_t stack_size;
	void *asan_fake;
	void *tsan;
	unsigned valgrind;
	struct task task;
};

/* Run everything that is ready, some rounds at most. */
void fiber__run_ready(struct loop *loop);
void fiber__cancel_all(struct loop *loop);
void fiber__pool_done(struct loop *loop);
/* fiber_park with a final deadline (0 = none); a deaf one ignores
 * cancellation. */
enum err_code fiber__park(uint64_t deadline_ms, bool deaf);
struct fiber *fiber__start(struct loop *loop, fiber_fn fn, void *arg,
    enum service service, const struct task *like);

void fiber__switch(void **save_sp, void *to_sp);
void fiber__entry(void);

/* ---- stacks (stack.c) */
void fiber__stack_map(struct fiber *fiber);
void fiber__stack_unmap(struct fiber *fiber);
/* On a loop's thread, first: name stack overflows before they end us. */
void fiber__describe_fault(const void *address, struct crash_notes *notes_out);

/* ---- mail (mail.c) */
struct loop__mail {
	struct loop__mail *next;
	loop_fn fn;
	void *arg;
	bool on_heap;
};
/* Any thread. A node that is not on the heap lives until fn was called.
 * `always` = also while the loop is stopping. */
bool loop__mail(struct loop *loop, struct loop__mail *mail, bool always);
/* On the loop: what came so far. */
void loop__take_mail(struct loop *loop);
void loop__take_dones(struct loop *loop);

/* ---- loops */
#define LOOP_LABEL_WORDS 8

struct loop__exit {
	struct loop__exit *next;
	loop_fn fn;
	void *arg;
};

struct loop {
	unsigned index;
	const char *name; /* of one aside; NULL = by its index */
	pthread_t thread; /* the starter's, to join */
	pthread_t self;   /* its own, to signal; read after `armed` */
	uv_loop_t uv;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle;
	uv_async_t async;
	uv_timer_t uv_timer;
	bool idling;

	/* mail */
	_Atomic(struct loop__mail *) mail;
	_Atomic(struct fiber_done *) done;
	atomic_int senders;
	atomic_bool stopping;
	sem_t ready;
	sem_t ended;

	/* fibers */
	void *sp; /* of the loop's stack while a fiber runs */
	struct fiber *current;
	struct fiber *ready_first;
	struct fiber *ready_last;
	struct fiber *later_first; /* gave way: after the next poll */
	struct fiber *later_last;
	struct fiber *all;
	struct fiber *pool;
	size_t pooled;
	_Atomic size_t count;
	loop_fn call_fn; /* asked for by fiber_on_loop_stack */
	void *call_arg;
	void *asan_fake;
	const void *stack_bottom;
	size_t stack_size;
	void *tsan;

	/* timers */
	struct fiber__timer **heap;
	size_t heap_len;
	size_t heap_cap;
	uint64_t armed_ms; /* what uv_timer is set to, 0 = not set */

	struct loop_hook *hooks;
	struct loop__exit *exits;

	/* drain */
	bool draining;
	uint64_t drain_ms;
	struct fiber__timer drain_timer;

	/* watchdog (watchdog.c) */
	atomic_bool busy;
	_Atomic uint64_t progress;
	_Atomic uint64_t armed;  /* sequence of the armed section, 0 = none */
	_Atomic uint64_t ticked; /* sequence that the last signal was for */
	uint64_t sequence;
	watchdog_tick_fn tick;
	void *tick_arg;
	_Atomic(const char *) label;
	_Atomic uint64_t detail[LOOP_LABEL_WORDS];
	struct {
		uint64_t progress;
		uint64_t armed;
		uint64_t since_ms;
		uint64_t report_ms;
	} seen; /* the watchdog thread's */
};

void watchdog__start(void);
void watchdog__stop(void);
/* The loop begins to work after a poll. */
void watchdog__busy(struct loop *loop);
/* Real milliseconds: the watchdog does not follow a test's clock. */
uint64_t watchdog__real_ns(void);

#endif
