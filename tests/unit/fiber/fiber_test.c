/* SPDX-License-Identifier: Apache-2.0 */
/* What fibers promise to those who wait on them. */
#include "fiber_group.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"

struct log {
	char text[64];
	size_t len;
};

static void
note(struct log *log, char c)
{
	if (log->len + 1 < sizeof(log->text))
		log->text[log->len++] = c;
	log->text[log->len] = '\0';
}

/* Let everything that is ready run. */
static void
settle(void)
{
	assert_int_equal(fiber_sleep(3), OK);
}

/* ---- order ---- */

struct writer {
	struct log *log;
	char name;
};

static void
write_twice(void *arg)
{
	struct writer *w = arg;

	note(w->log, w->name);
	fiber_sleep(1);
	note(w->log, w->name);
}

static void
fibers_start_when_the_caller_gives_way(void **state)
{
	struct log log = { .len = 0 };
	struct writer a = { &log, 'a' }, b = { &log, 'b' };

	(void)state;
	fiber_start(write_twice, &a);
	fiber_start(write_twice, &b);
	note(&log, '-');
	settle();
	fiber_sleep(20);
	assert_string_equal(log.text, "-abab");
}

static void
ended_fibers_give_their_stack_to_later_ones(void **state)
{
	struct log log = { .len = 0 };
	struct writer w = { &log, 'x' };

	(void)state;
	for (int i = 0; i < 2000; i++) {
		fiber_start(write_twice, &w);
		if (i % 100 == 0)
			settle();
	}
	fiber_sleep(10);
	assert_int_equal(fiber_count(), 1);
}

/* ---- parking ---- */

struct parker {
	struct fiber *fiber;
	enum err_code first, second;
	uint64_t deadline_ms;
	bool shielded;
	bool ended;
};

static void
park_twice(void *arg)
{
	struct parker *p = arg;

	if (p->shielded)
		fiber_shield();
	p->first = fiber_park(p->deadline_ms);
	if (p->shielded)
		fiber_unshield();
	p->second = fiber_park(deadline_in_ms(2000));
	p->ended = true;
}

static void
a_wake_before_the_park_is_not_lost(void **state)
{
	struct parker p = { .deadline_ms = deadline_in_ms(2000) };

	(void)state;
	p.fiber = fiber_start(park_twice, &p);
	fiber_wake(p.fiber);
	settle();
	assert_int_equal(p.first, OK);
	assert_false(p.ended);
	fiber_wake(p.fiber);
	settle();
	assert_true(p.ended);
	assert_int_equal(p.second, OK);
}

static void
a_deadline_ends_a_park(void **state)
{
	struct parker p = { .deadline_ms = deadline_in_ms(5), .first = OK };
	uint64_t begin = clock_mono_ms();

	(void)state;
	p.fiber = fiber_start(park_twice, &p);
	fiber_sleep(30);
	assert_true(clock_mono_ms() - begin >= 30);
	assert_int_equal(p.first, ERR_DEADLINE);
	fiber_wake(p.fiber);
	settle();
	assert_true(p.ended);
}

static void
cancel_ends_this_wait_and_each_after_it(void **state)
{
	struct parker p = { .deadline_ms = deadline_in_ms(5000) };

	(void)state;
	p.fiber = fiber_start(park_twice, &p);
	settle();
	fiber_cancel(p.fiber);
	settle();
	assert_true(p.ended);
	assert_int_equal(p.first, ERR_CANCELLED);
	assert_int_equal(p.second, ERR_CANCELLED);
}

static void
a_shield_keeps_cancellation_out(void **state)
{
	struct parker p = { .deadline_ms = deadline_in_ms(5000),
		.shielded = true };

	(void)state;
	p.fiber = fiber_start(park_twice, &p);
	settle();
	fiber_cancel(p.fiber);
	settle();
	assert_false(p.ended);
	fiber_wake(p.fiber);
	settle();
	assert_true(p.ended);
	assert_int_equal(p.first, OK);
	assert_int_equal(p.second, ERR_CANCELLED);
}

static void
the_tasks_deadline_bounds_every_wait(void **state)
{
	struct task *task = task_self();
	enum err_code slept, parked, shielded;

	(void)state;
	task->deadline_ms = deadline_in_ms(5);
	slept = fiber_sleep(1000);
	parked = fiber_park(0);
	fiber_shield();
	shielded = fiber_sleep(2);
	fiber_unshield();
	task->deadline_ms = 0;
	assert_int_equal(slept, ERR_DEADLINE);
	assert_int_equal(parked, ERR_DEADLINE);
	assert_int_equal(shielded, OK);
}

static void
sleep_keeps_a_wake_for_the_next_park(void **state)
{
	(void)state;
	fiber_wake(fiber_self());
	assert_int_equal(fiber_sleep(2), OK);
	assert_int_equal(fiber_park(deadline_in_ms(1000)), OK);
}

/* ---- breathing ---- */

static void
spin_and_breathe(void *arg)
{
	bool *stop = arg;

	while (!*stop)
		if (fiber_breathe() != OK)
			return;
}

static void
breathing_lets_others_and_timers_run(void **state)
{
	bool stop = false;
	uint64_t begin = clock_mono_ms();

	(void)state;
	fiber_start(spin_and_breathe, &stop);
	fiber_sleep(10);
	assert_true(clock_mono_ms() - begin < 500);
	stop = true;
	settle();
	assert_int_equal(fiber_count(), 1);
}

/* ---- conditions ---- */

struct waiter {
	struct fiber_cond *cond;
	struct log *log;
	char name;
	uint64_t deadline_ms;
	enum err_code rc;
};

static void
wait_once(void *arg)
{
	struct waiter *w = arg;

	w->rc = fiber_cond_wait(w->cond, w->deadline_ms);
	note(w->log, w->name);
}

static void
conditions_wake_in_order_and_forget_those_who_left(void **state)
{
	struct fiber_cond cond = { NULL, NULL };
	struct log log = { .len = 0 };
	uint64_t late = deadline_in_ms(5000);
	struct waiter a = { &cond, &log, 'a', late, OK };
	struct waiter b = { &cond, &log, 'b', deadline_in_ms(5), OK };
	struct waiter c = { &cond, &log, 'c', late, OK };
	struct waiter d = { &cond, &log, 'd', late, OK };

	(void)state;
	fiber_start(wait_once, &a);
	fiber_start(wait_once, &b);
	fiber_start(wait_once, &c);
	fiber_start(wait_once, &d);
	fiber_sleep(30);
	assert_int_equal(b.rc, ERR_DEADLINE);
	fiber_cond_signal(&cond);
	settle();
	assert_string_equal(log.text, "ba");
	fiber_cond_broadcast(&cond);
	settle();
	assert_string_equal(log.text, "bacd");
	assert_int_equal(c.rc, OK);
	assert_null(cond.first);
	assert_null(cond.last);
}

/* ---- the loop's stack ---- */

struct deep {
	bool outside_fiber;
	bool same_task;
	struct task *task;
	int sum;
};

/* 100 frames of 40 KiB: far over a fiber's stack. */
static int __attribute__((noinline)) dig(int depth)
{
	volatile char frame[40 << 10];

	memset((void *)(uintptr_t)frame, depth, sizeof(frame));
	return depth == 0 ? 0 : frame[depth] + dig(depth - 1) - depth + 1;
}

static void
go_deep(void *arg)
{
	struct deep *deep = arg;

	deep->outside_fiber = fiber_self() == NULL;
	deep->same_task = task_self() == deep->task;
	deep->sum = dig(100);
}

static void
the_loops_stack_is_deep_and_keeps_the_task(void **state)
{
	struct deep deep = { .task = task_self() };

	(void)state;
	fiber_on_loop_stack(go_deep, &deep);
	assert_true(deep.outside_fiber);
	assert_true(deep.same_task);
	assert_int_equal(deep.sum, 100);
	assert_non_null(fiber_self());
	assert_ptr_equal(task_self(), deep.task);
}

/* ---- pool threads ---- */

static enum err_code
fail_in_pool(void *arg)
{
	pthread_t *self = arg;

	*self = pthread_self();
	return err_set(ERR_IO, "the disk said %d", 42);
}

static void
pool_errors_come_back_with_their_sentence(void **state)
{
	pthread_t where = pthread_self();

	(void)state;
	assert_int_equal(pool_run(fail_in_pool, &where), ERR_IO);
	assert_string_equal(err_message(), "the disk said 42");
	assert_false(pthread_equal(where, pthread_self()));
}

static enum err_code
nap_in_pool(void *arg)
{
	usleep(20000);
	*(bool *)arg = true;
	return OK;
}

static void
run_in_pool(void *arg)
{
	bool *done = arg;

	if (pool_run(nap_in_pool, &done[0]) == OK)
		done[1] = true;
	done[2] = fiber_park(deadline_in_ms(1000)) == ERR_CANCELLED;
}

static void
pool_work_is_waited_for_even_when_cancelled(void **state)
{
	bool done[3] = { false };
	struct fiber *fiber = fiber_start(run_in_pool, done);

	(void)state;
	settle();
	fiber_cancel(fiber);
	settle();
	assert_false(done[1]);
	fiber_sleep(60);
	assert_true(done[0] && done[1] && done[2]);
}

/* ---- identity ---- */

struct identity {
	char request_id[REQUEST_ID_SIZE];
	enum service service;
	uint64_t deadline_ms;
};

static void
copy_identity(void *arg)
{
	struct identity *id = arg;

	strcpy(id->request_id, task_self()->request_id);
	id->service = task_self()->service;
	id->deadline_ms = task_self()->deadline_ms;
}

static void
fibers_inherit_identity_but_services_get_their_own(void **state)
{
	struct identity same = { .service = SERVICE_NONE }, own = same;
	struct task *task = task_self();

	(void)state;
	strcpy(task->request_id, "req-1");
	task->service = SERVICE_WORKER;
	fiber_start(copy_identity, &same);
	fiber_start_service(SERVICE_GATEWAY, copy_identity, &own);
	settle();
	assert_string_equal(same.request_id, "req-1");
	assert_int_equal(same.service, SERVICE_WORKER);
	assert_memory_equal(own.request_id, "rq_", 3);
	assert_int_equal(own.service, SERVICE_GATEWAY);
	task->request_id[0] = '\0';
	task->service = SERVICE_NONE;
}

static void
errors_belong_to_the_fiber_that_recorded_them(void **state)
{
	struct parker p = { .deadline_ms = deadline_in_ms(1) };

	(void)state;
	err_set(ERR_CONFLICT, "mine");
	fiber_start(park_twice, &p);
	p.fiber = NULL;
	usleep(2000);
	fiber_on_loop_stack(go_deep, &(struct deep){ .task = NULL });
	assert_string_equal(err_message(), "mine");
	fiber_sleep(2100);
	assert_true(p.ended);
}

/* ---- a replaced clock ---- */

static void
a_replaced_clock_ends_waits_without_waiting(void **state)
{
	struct parker p = { .first = OK };

	(void)state;
	clock_fake_start(1000);
	p.deadline_ms = deadline_in_ms(3600 * 1000);
	p.fiber = fiber_start(park_twice, &p);
	fiber_start(copy_identity, &(struct identity){ .service = 0 });
	clock_fake_advance(3600 * 1000 + 1);
	/* The sleeper needs the clock to move too. */
	fiber_wake(fiber_self());
	while (p.first == OK) {
		clock_fake_advance(1);
		fiber_sleep(0);
	}
	assert_int_equal(p.first, ERR_DEADLINE);
	fiber_cancel(p.fiber);
	clock_fake_stop();
	settle();
	assert_true(p.ended);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fibers_start_when_the_caller_gives_way),
		cmocka_unit_test(ended_fibers_give_their_stack_to_later_ones),
		cmocka_unit_test(a_wake_before_the_park_is_not_lost),
		cmocka_unit_test(a_deadline_ends_a_park),
		cmocka_unit_test(cancel_ends_this_wait_and_each_after_it),
		cmocka_unit_test(a_shield_keeps_cancellation_out),
		cmocka_unit_test(the_tasks_deadline_bounds_every_wait),
		cmocka_unit_test(sleep_keeps_a_wake_for_the_next_park),
		cmocka_unit_test(breathing_lets_others_and_timers_run),
		cmocka_unit_test(
		    conditions_wake_in_order_and_forget_those_who_left),
		cmocka_unit_test(the_loops_stack_is_deep_and_keeps_the_task),
		cmocka_unit_test(pool_errors_come_back_with_their_sentence),
		cmocka_unit_test(pool_work_is_waited_for_even_when_cancelled),
		cmocka_unit_test(
		    fibers_inherit_identity_but_services_get_their_own),
		cmocka_unit_test(errors_belong_to_the_fiber_that_recorded_them),
		cmocka_unit_test(a_replaced_clock_ends_waits_without_waiting),
	};

	return fiber_group(tests, NULL, NULL);
}
