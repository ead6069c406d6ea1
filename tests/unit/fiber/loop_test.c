/* SPDX-License-Identifier: Apache-2.0 */
/* What loops promise across threads: mail, calls, timers, ticks, stopping. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "fiber/fiber.h"
#include "fiber/internal.h"
#include "fiber/loop.h"

/* Asserts stay on the main thread; the loops only fill in what they saw. */

static void
wait_for(atomic_int *counter, int value)
{
	for (int i = 0; i < 3000 && atomic_load(counter) < value; i++)
		usleep(1000);
	assert_int_equal(atomic_load(counter), value);
}

/* ---- mail ---- */

#define LETTERS 2000

static struct {
	int order[2 * LETTERS];
	atomic_int arrived;
	bool wrong_loop;
} box;

static void
letter(void *arg)
{
	int n = atomic_load(&box.arrived);

	box.wrong_loop |= loop_self() != loop_at(0) || fiber_self() != NULL;
	box.order[n] = (int)(intptr_t)arg;
	atomic_store(&box.arrived, n + 1);
}

static void *
post_letters(void *arg)
{
	int base = (int)(intptr_t)arg;

	for (int i = 0; i < LETTERS; i++)
		loop_post(loop_at(0), letter, (void *)(intptr_t)(base + i));
	return NULL;
}

static void
mail_of_each_sender_arrives_in_order(void **state)
{
	pthread_t other;
	int last[2] = { -1, LETTERS - 1 };

	(void)state;
	assert_int_equal(loops_start(2), OK);
	pthread_create(&other, NULL, post_letters, (void *)(intptr_t)LETTERS);
	post_letters(0);
	pthread_join(other, NULL);
	wait_for(&box.arrived, 2 * LETTERS);
	loops_stop(0);
	assert_false(box.wrong_loop);
	for (int i = 0; i < 2 * LETTERS; i++) {
		int sender = box.order[i] / LETTERS;

		assert_int_equal(box.order[i], last[sender] + 1);
		last[sender]++;
	}
}

/* ---- calls ---- */

static enum err_code
say_where(void *arg)
{
	*(unsigned *)arg = loop_index(loop_self());
	return fiber_sleep(1);
}

static enum err_code
fail_there(void *arg)
{
	(void)arg;
	return err_set(
	    ERR_CONFLICT, "loop %u refuses", loop_index(loop_self()));
}

struct hop {
	unsigned where;
	enum err_code rc;
	char message[64];
	char request_id[REQUEST_ID_SIZE];
};

static enum err_code
copy_request_id(void *arg)
{
	strcpy(((struct hop *)arg)->request_id, task_self()->request_id);
	return OK;
}

static enum err_code
hop_over(void *arg)
{
	struct hop *hop = arg;

	strcpy(task_self()->request_id, "rq-hop");
	TRY(loop_call(loop_at(1), say_where, &hop->where));
	TRY(loop_call(loop_at(1), copy_request_id, hop));
	hop->rc = loop_call(loop_at(1), fail_there, NULL);
	snprintf(hop->message, sizeof(hop->message), "%s", err_message());
	return OK;
}

static void
calls_reach_the_loop_and_bring_errors_back(void **state)
{
	struct hop hop = { .where = 9 };
	unsigned where = 9;

	(void)state;
	assert_int_equal(loops_start(2), OK);
	assert_int_equal(loop_call(loop_at(1), say_where, &where), OK);
	assert_int_equal(where, 1);
	assert_int_equal(loop_call(loop_at(1), fail_there, NULL), ERR_CONFLICT);
	assert_string_equal(err_message(), "loop 1 refuses");
	assert_int_equal(loop_call(loop_at(0), hop_over, &hop), OK);
	loops_stop(0);
	assert_int_equal(hop.where, 1);
	assert_int_equal(hop.rc, ERR_CONFLICT);
	assert_string_equal(hop.message, "loop 1 refuses");
	assert_string_equal(hop.request_id, "rq-hop");
}

static enum err_code
wait_long(void *arg)
{
	enum err_code rc = fiber_sleep(60000);

	*(enum err_code *)arg = rc;
	return rc;
}

struct caller {
	enum err_code inner, outer;
};

static void
call_long(void *arg)
{
	struct caller *caller = arg;

	caller->outer = loop_call(loop_at(1), wait_long, &caller->inner);
}

static enum err_code
cancel_a_caller(void *arg)
{
	struct fiber *fiber = fiber_start(call_long, arg);

	TRY(fiber_sleep(20));
	fiber_cancel(fiber);
	return fiber_sleep(20);
}

static void
a_cancelled_call_cancels_its_callee(void **state)
{
	struct caller caller = { OK, OK };

	(void)state;
	assert_int_equal(loops_start(2), OK);
	assert_int_equal(loop_call(loop_at(0), cancel_a_caller, &caller), OK);
	loops_stop(1000);
	assert_int_equal(caller.inner, ERR_CANCELLED);
	assert_int_equal(caller.outer, ERR_CANCELLED);
}

/* ---- completions ---- */

static void *
fulfil_soon(void *arg)
{
	usleep(5000);
	fiber_done_fulfil(arg);
	return NULL;
}

static enum err_code
wait_for_a_thread(void *arg)
{
	struct fiber_done done;
	pthread_t thread;

	(void)arg;
	fiber_done_init(&done);
	pthread_create(&thread, NULL, fulfil_soon, &done);
	fiber_done_wait(&done);
	pthread_join(thread, NULL);
	return done.fulfilled ? OK : ERR_INTERNAL;
}

static void
a_thread_can_fulfil_what_a_fiber_waits_for(void **state)
{
	(void)state;
	assert_int_equal(loops_start(1), OK);
	for (int i = 0; i < 5; i++)
		assert_int_equal(
		    loop_call(loop_at(0), wait_for_a_thread, NULL), OK);
	loops_stop(0);
}

/* ---- timers and hooks ---- */

struct firing {
	struct loop_timer *timer;
	int fired;
	uint64_t at_ms;
};

static void
fire(void *arg)
{
	struct firing *f = arg;

	f->fired++;
	f->at_ms = clock_mono_ms();
}

static enum err_code
set_timers(void *arg)
{
	struct firing *f = arg;
	uint64_t begin = clock_mono_ms();

	for (int i = 0; i < 8; i++) {
		f[i].timer = loop_timer_new(fire, &f[i]);
		loop_timer_set(f[i].timer, (uint64_t)(40 - 5 * i));
	}
	loop_timer_set(f[7].timer, 10);
	loop_timer_stop(f[6].timer);
	TRY(fiber_sleep(60));
	for (int i = 0; i < 8; i++) {
		f[i].at_ms -= f[i].at_ms > begin ? begin : f[i].at_ms;
		loop_timer_free(f[i].timer);
	}
	return OK;
}

static void
timers_fire_once_in_time_and_can_be_stopped(void **state)
{
	struct firing f[8] = { { NULL, 0, 0 } };

	(void)state;
	assert_int_equal(loops_start(1), OK);
	assert_int_equal(loop_call(loop_at(0), set_timers, f), OK);
	loops_stop(0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(f[i].fired, i != 6);
	assert_in_range(f[0].at_ms, 40, 1000);
	assert_in_range(f[7].at_ms, 10, 1000);
	assert_true(f[7].at_ms <= f[0].at_ms);
}

struct counting {
	struct loop_hook hook;
	int calls;
};

static void
count_hook(struct loop_hook *hook)
{
	((struct counting *)(void *)hook)->calls++;
}

static enum err_code
defer_often(void *arg)
{
	struct counting *c = arg;

	for (int i = 0; i < 5; i++)
		loop_defer(&c->hook);
	if (c->calls != 0)
		return ERR_INTERNAL;
	TRY(fiber_sleep(1));
	loop_defer(&c->hook);
	return fiber_sleep(1);
}

static void
deferred_work_runs_once_at_the_end_of_a_turn(void **state)
{
	struct counting c = { .calls = 0 };

	(void)state;
	c.hook.fn = count_hook;
	assert_int_equal(loops_start(1), OK);
	assert_int_equal(loop_call(loop_at(0), defer_often, &c), OK);
	loops_stop(0);
	assert_int_equal(c.calls, 2);
}

/* ---- watching ---- */

static void
count_change(void *arg)
{
	++*(int *)arg;
}

static enum err_code
watch_a_folder(void *arg)
{
	char folder[] = "/tmp/xin-watch-XXXXXX", file[64];
	struct watch *watch = NULL;
	FILE *f;

	if (mkdtemp(folder) == NULL)
		return ERR_IO;
	TRY(watch_open(folder, count_change, arg, &watch));
	snprintf(file, sizeof(file), "%s/a", folder);
	f = fopen(file, "w");
	if (f != NULL)
		fclose(f);
	for (int i = 0; i < 200 && *(int *)arg == 0; i++)
		fiber_sleep(5);
	watch_close(watch);
	unlink(file);
	rmdir(folder);
	return watch_open("/nonexistent/folder", count_change, arg, &watch);
}

static void
a_watch_tells_of_new_files_and_missing_folders(void **state)
{
	int changes = 0;

	(void)state;
	assert_int_equal(loops_start(1), OK);
	assert_int_equal(
	    loop_call(loop_at(0), watch_a_folder, &changes), ERR_NOT_FOUND);
	loops_stop(0);
	assert_true(changes > 0);
}

/* ---- the watchdog ---- */

struct ticking {
	atomic_int ticks;
	atomic_int late; /* ticks outside the section */
	atomic_bool armed;
	bool on_own_thread;
	pthread_t thread;
};

static void
tick(void *arg)
{
	struct ticking *t = arg;

	t->on_own_thread = pthread_equal(t->thread, pthread_self());
	atomic_fetch_add(atomic_load(&t->armed) ? &t->ticks : &t->late, 1);
}

/* Spin for `ms`; the allocation lets TSan deliver signals. */
static void
spin(unsigned ms)
{
	uint64_t end = clock_mono_ms() + ms;

	while (clock_mono_ms() < end)
		free(malloc(16));
}

static void
spin_armed(void *arg)
{
	struct ticking *t = arg;
	uint64_t sequence;

	t->thread = pthread_self();
	for (int i = 0; i < 10000; i++) { /* short sections: no tick */
		atomic_store(&t->armed, true);
		sequence = watchdog_arm(tick, t);
		watchdog_disarm(sequence);
		atomic_store(&t->armed, false);
	}
	atomic_store(&t->armed, true);
	sequence = watchdog_arm(tick, t);
	spin(40);
	watchdog_disarm(sequence);
	atomic_store(&t->armed, false);
	spin(20);
}

static enum err_code
spin_on_the_loop(void *arg)
{
	fiber_on_loop_stack(spin_armed, arg);
	return OK;
}

static void
ticks_come_to_the_armed_section_only(void **state)
{
	struct ticking t = { .ticks = 0 };

	(void)state;
	assert_int_equal(loops_start(2), OK);
	usleep(60000); /* the watchdog parked by now */
	assert_int_equal(loop_call(loop_at(1), spin_on_the_loop, &t), OK);
	loops_stop(0);
	assert_in_range(atomic_load(&t.ticks), 3, 60);
	assert_int_equal(atomic_load(&t.late), 0);
	assert_true(t.on_own_thread);
}

static enum err_code
hold_the_loop(void *arg)
{
	(void)arg;
	loop_label("brand", "alpha");
	spin(120);
	loop_label(NULL, NULL);
	TRY(fiber_sleep(1));
	spin(20); /* not long enough to be named */
	return OK;
}

static void
whoever_holds_a_loop_is_named(void **state)
{
	char name[] = "/tmp/xin-held-XXXXXX", text[2048] = "";
	int fd = mkstemp(name);
	double before = metric_value(METRIC_LOOP_HELD, METRIC_NO_LABELS);
	ssize_t len;

	(void)state;
	assert_true(fd >= 0);
	log_setup(fd, LOG_LEVEL_WARN, false);
	assert_int_equal(loops_start(1), OK);
	assert_int_equal(loop_call(loop_at(0), hold_the_loop, NULL), OK);
	loops_stop(0);
	log_setup(1, LOG_LEVEL_INFO, false);
	len = pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	unlink(name);
	assert_true(len > 0);
	assert_non_null(strstr(text, "\"loop.held\""));
	assert_non_null(strstr(text, "\"brand\""));
	assert_non_null(strstr(text, "\"alpha\""));
	assert_true(
	    metric_value(METRIC_LOOP_HELD, METRIC_NO_LABELS) == before + 1);
}

/* ---- stopping ---- */

static atomic_int ends;
static atomic_int end_rc;

static void
nap(void *arg)
{
	atomic_store(&end_rc, (int)fiber_sleep((uint64_t)(uintptr_t)arg));
	atomic_fetch_add(&ends, 1);
}

static void
stopping_lets_fibers_end_in_the_drain_time(void **state)
{
	uint64_t begin;

	(void)state;
	atomic_store(&ends, 0);
	assert_int_equal(loops_start(2), OK);
	assert_true(loop_spawn(loop_at(1), SERVICE_WORKER, nap, (void *)50));
	usleep(5000);
	begin = clock_mono_ms();
	loops_stop(5000);
	assert_in_range(clock_mono_ms() - begin, 30, 3000);
	assert_int_equal(atomic_load(&ends), 1);
	assert_int_equal(atomic_load(&end_rc), OK);
}

static void
stopping_cancels_those_who_outlast_the_drain(void **state)
{
	uint64_t begin;

	(void)state;
	atomic_store(&ends, 0);
	assert_int_equal(loops_start(2), OK);
	for (int i = 0; i < 50; i++)
		loop_spawn(loop_at(i % 2), SERVICE_WORKER, nap, (void *)60000);
	usleep(5000);
	begin = clock_mono_ms();
	loops_stop(20);
	assert_in_range(clock_mono_ms() - begin, 15, 3000);
	assert_int_equal(atomic_load(&ends), 50);
	assert_int_equal(atomic_load(&end_rc), ERR_CANCELLED);
}

static struct loop *stopping_loop;
static atomic_int refused;

static void
post_while_stopping(void *arg)
{
	(void)arg;
	fiber_sleep(20);
	if (!loop_post(stopping_loop, letter, NULL))
		atomic_fetch_add(&refused, 1);
	if (loop_call(stopping_loop, fail_there, NULL) == ERR_UNAVAILABLE)
		atomic_fetch_add(&refused, 1);
}

static void
a_stopping_loop_refuses_mail(void **state)
{
	(void)state;
	assert_int_equal(loops_start(1), OK);
	stopping_loop = loop_at(0);
	loop_spawn(loop_at(0), SERVICE_NONE, post_while_stopping, NULL);
	usleep(2000);
	loops_stop(5000);
	assert_int_equal(atomic_load(&refused), 2);
}

static void
count_exit(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, loop_self() != NULL ? 1 : 100);
}

static enum err_code
register_exit(void *arg)
{
	loop_at_exit(count_exit, arg);
	return OK;
}

static void
exits_run_on_their_loop(void **state)
{
	atomic_int exits = 0;

	(void)state;
	assert_int_equal(loops_start(2), OK);
	assert_int_equal(loop_call(loop_at(0), register_exit, &exits), OK);
	assert_int_equal(loop_call(loop_at(1), register_exit, &exits), OK);
	loops_stop(0);
	assert_int_equal(atomic_load(&exits), 2);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static int __attribute__((noinline)) fall(int depth)
{
	volatile char frame[2048];

	memset((void *)(uintptr_t)frame, depth, sizeof(frame));
	return depth > 1000 ? 0 : frame[depth] + fall(depth + 1) + frame[0];
}

static enum err_code
overflow(void *arg)
{
	*(int *)arg = fall(0);
	return OK;
}

static void
an_overflowing_fiber_is_named_before_the_process_ends(void **state)
{
	char text[8192] = "";
	int fds[2], status, sum;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		dup2(fds[1], 1);
		crash_install(); /* cmocka has taken the signals */
		loops_start(1);
		loop_call(loop_at(0), overflow, &sum);
		_exit(0);
	}
	close(fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
	close(fds[0]);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	if (strstr(text, "a fiber's stack overflowed") == NULL)
		fail_msg("%s", text);
}
#endif

static void
a_key_always_has_the_same_owner(void **state)
{
	unsigned hits[4] = { 0 };
	char key[16];

	(void)state;
	assert_int_equal(loops_start(4), OK);
	for (int i = 0; i < 1000; i++) {
		int len = snprintf(key, sizeof(key), "cv_%d", i);
		struct loop *owner = loop_of(key, (size_t)len);

		assert_ptr_equal(owner, loop_of(key, (size_t)len));
		hits[loop_index(owner)]++;
	}
	loops_stop(0);
	for (int i = 0; i < 4; i++)
		assert_in_range(hits[i], 150, 350);
}

static struct {
	atomic_int ran;
	bool in_fiber;
	struct loop *self;
} aside;

static void
run_aside(void *arg)
{
	(void)arg;
	aside.self = loop_self();
	aside.in_fiber = fiber_self() != NULL;
	fiber_sleep(5);
	atomic_fetch_add(&aside.ran, 1);
}

static void
a_loop_aside_runs_what_it_is_given_and_outlives_the_others(void **state)
{
	struct loop *loop;

	(void)state;
	assert_int_equal(loops_start(2), OK);
	assert_int_equal(loop_aside_start("aside", &loop), OK);
	assert_int_equal(loops_count(), 2);
	assert_ptr_not_equal(loop_at(0), loop);
	assert_ptr_not_equal(loop_at(1), loop);
	assert_true(loop_spawn(loop, SERVICE_NONE, run_aside, NULL));
	wait_for(&aside.ran, 1);
	assert_ptr_equal(aside.self, loop);
	assert_true(aside.in_fiber);
	loops_stop(100);
	assert_true(loop_spawn(loop, SERVICE_NONE, run_aside, NULL));
	loop_aside_stop(loop, 1000); /* lets its fibers end */
	assert_int_equal(aside.ran, 2);
}

/* Its letter has arrived and woke the loop, but the thread that sent it was
 * held up before it let go: a busy machine does that. */
static void *
let_go_late(void *arg)
{
	struct loop *loop = arg;

	usleep(200000);
	atomic_fetch_sub(&loop->senders, 1);
	return NULL;
}

static void
a_slow_sender_does_not_cost_the_drain_time(void **state)
{
	uint64_t began;
	pthread_t thread;

	(void)state;
	assert_int_equal(loops_start(1), OK);
	atomic_fetch_add(&loop_at(0)->senders, 1);
	pthread_create(&thread, NULL, let_go_late, loop_at(0));
	began = clock_mono_ms();
	loops_stop(20000);
	assert_in_range(clock_mono_ms() - began, 150, 10000);
	pthread_join(thread, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mail_of_each_sender_arrives_in_order),
		cmocka_unit_test(calls_reach_the_loop_and_bring_errors_back),
		cmocka_unit_test(a_cancelled_call_cancels_its_callee),
		cmocka_unit_test(a_thread_can_fulfil_what_a_fiber_waits_for),
		cmocka_unit_test(timers_fire_once_in_time_and_can_be_stopped),
		cmocka_unit_test(deferred_work_runs_once_at_the_end_of_a_turn),
		cmocka_unit_test(
		    a_watch_tells_of_new_files_and_missing_folders),
		cmocka_unit_test(ticks_come_to_the_armed_section_only),
		cmocka_unit_test(whoever_holds_a_loop_is_named),
		cmocka_unit_test(stopping_lets_fibers_end_in_the_drain_time),
		cmocka_unit_test(stopping_cancels_those_who_outlast_the_drain),
		cmocka_unit_test(a_stopping_loop_refuses_mail),
		cmocka_unit_test(exits_run_on_their_loop),
		cmocka_unit_test(a_slow_sender_does_not_cost_the_drain_time),
		cmocka_unit_test(a_key_always_has_the_same_owner),
		cmocka_unit_test(
		    a_loop_aside_runs_what_it_is_given_and_outlives_the_others),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
		cmocka_unit_test(
		    an_overflowing_fiber_is_named_before_the_process_ends),
#endif
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
