/* SPDX-License-Identifier: Apache-2.0 */
/* The last line of a process that a fault ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/crash.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static void
faults_are_the_sanitizers_matter(void **state)
{
	(void)state;
	crash_install();
	crash_guard_thread();
	assert_false(crash_because("a", 1, "b"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(faults_are_the_sanitizers_matter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
#else

static struct {
	int status;
	char text[65536];
	json_t *last;
	int lines;
} seen;

/* A child that crashes in `fn`, with a task and a log of its own. */
static void
crash_in(void (*fn)(void), bool queued)
{
	int ends[2];
	size_t len = 0;
	ssize_t n;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		struct rlimit none = { 0, 0 };
		struct task task;

		setrlimit(RLIMIT_CORE, &none);
		close(ends[0]);
		log_setup(ends[1], LOG_LEVEL_INFO, false);
		if (queued)
			log_start();
		crash_install();
		task_init(&task, SERVICE_WORKER);
		strcpy(task.request_id, "rq-\"7");
		strcpy(task.brand_id, "default");
		strcpy(task.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
		strcpy(task.generation, "abc123");
		task_enter(&task);
		fn();
		_exit(0);
	}
	close(ends[1]);
	while ((n = read(
		    ends[0], seen.text + len, sizeof(seen.text) - 1 - len)) > 0)
		len += (size_t)n;
	seen.text[len] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(child, &seen.status, 0), child);
	json_decref(seen.last);
	seen.last = NULL;
	seen.lines = 0;
	for (char *at = seen.text, *end; *at != '\0'; at = end + 1) {
		end = strchr(at, '\n');
		assert_non_null(end);
		json_decref(seen.last);
		assert_int_equal(
		    json_parse(at, (size_t)(end - at), &seen.last), OK);
		seen.lines++;
	}
}

static void
ended_by(int signal, const char *name)
{
	assert_true(WIFSIGNALED(seen.status));
	assert_int_equal(WTERMSIG(seen.status), signal);
	assert_non_null(seen.last);
	assert_string_equal(json_str(seen.last, "event"), "process.crashed");
	assert_string_equal(json_str(seen.last, "level"), "error");
	assert_string_equal(json_str(seen.last, "signal"), name);
	assert_string_equal(
	    json_str(seen.last, "service"), "xin-ingestion-worker");
	assert_string_equal(json_str(seen.last, "correlation_id"), "rq-\"7");
	assert_string_equal(json_str(seen.last, "brand_id"), "default");
	assert_string_equal(json_str(seen.last, "generation"), "abc123");
	assert_int_equal(strlen(json_str(seen.last, "trace_id")), 32);
	assert_int_equal(strlen(json_str(seen.last, "timestamp")), 24);
	assert_true(
	    json_array_size(json_object_get(seen.last, "backtrace")) > 2);
}

static volatile int *volatile nowhere = (int *)0x18;

static void
touch_nothing(void)
{
	*nowhere = 1;
}

static void
give_up(void)
{
	panic("must hold: \"%s\"", "x < 3");
}

static void
hear(int signal)
{
	kill(getpid(), signal);
	pause();
}

static void
hear_segv(void)
{
	hear(SIGSEGV);
}

static void
hear_bus(void)
{
	hear(SIGBUS);
}

static void
hear_fpe(void)
{
	hear(SIGFPE);
}

static void
hear_ill(void)
{
	hear(SIGILL);
}

static void
talk_and_crash(void)
{
	for (int i = 0; i < 100; i++)
		log_info("test.line", kv_int("n", i));
	touch_nothing();
}

static void
destroy_the_stack(void)
{
	void **frame = __builtin_frame_address(0);

	for (int i = 0; i < 64; i++)
		frame[i] = (void *)0x10;
	touch_nothing();
}

static void *
crash_thread(void *arg)
{
	crash_guard_thread();
	(void)arg;
	touch_nothing();
	return NULL;
}

static void
many_crash_at_once(void)
{
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, crash_thread, NULL);
	pause();
}

static void
a_fault_is_one_line_with_identity_address_and_frames(void **state)
{
	const char *frame;

	(void)state;
	crash_in(touch_nothing, false);
	ended_by(SIGSEGV, "SIGSEGV");
	assert_int_equal(seen.lines, 1);
	assert_string_equal(json_str(seen.last, "address"), "0x18");
	assert_true(strlen(json_str(seen.last, "build_id")) >= 16);
	frame = json_string_value(
	    json_array_get(json_object_get(seen.last, "backtrace"), 0));
	assert_non_null(strstr(frame, "crash_test+0x"));
}

static void
a_failed_check_says_what_and_where(void **state)
{
	(void)state;
	crash_in(give_up, false);
	ended_by(SIGABRT, "SIGABRT");
	assert_int_equal(seen.lines, 1);
	assert_string_equal(
	    json_str(seen.last, "reason"), "must hold: \"x < 3\"");
	assert_true(str_ends(json_str(seen.last, "at"), "crash_test.c"));
}

static void
each_signal_keeps_its_exit_status(void **state)
{
	(void)state;
	crash_in(hear_segv, false);
	ended_by(SIGSEGV, "SIGSEGV");
	crash_in(hear_bus, true);
	ended_by(SIGBUS, "SIGBUS");
	crash_in(hear_fpe, false);
	ended_by(SIGFPE, "SIGFPE");
	crash_in(hear_ill, true);
	ended_by(SIGILL, "SIGILL");
	crash_in(abort, false);
	ended_by(SIGABRT, "SIGABRT");
}

static void
what_waited_in_the_log_comes_before(void **state)
{
	(void)state;
	crash_in(talk_and_crash, true);
	ended_by(SIGSEGV, "SIGSEGV");
	assert_int_equal(seen.lines, 101);
}

static void
a_destroyed_stack_still_has_its_line(void **state)
{
	(void)state;
	crash_in(destroy_the_stack, false);
	assert_true(WIFSIGNALED(seen.status));
	assert_int_equal(WTERMSIG(seen.status), SIGSEGV);
	assert_int_equal(seen.lines, 1);
	assert_string_equal(json_str(seen.last, "event"), "process.crashed");
}

static void
threads_that_crash_together_write_one_line(void **state)
{
	(void)state;
	crash_in(many_crash_at_once, true);
	assert_int_equal(WTERMSIG(seen.status), SIGSEGV);
	assert_int_equal(seen.lines, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_fault_is_one_line_with_identity_address_and_frames),
		cmocka_unit_test(a_failed_check_says_what_and_where),
		cmocka_unit_test(each_signal_keeps_its_exit_status),
		cmocka_unit_test(what_waited_in_the_log_comes_before),
		cmocka_unit_test(a_destroyed_stack_still_has_its_line),
		cmocka_unit_test(threads_that_crash_together_write_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
