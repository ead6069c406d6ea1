/* SPDX-License-Identifier: Apache-2.0 */
/* What a child process may and may not do. */
#include "fiber_group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "process/process.h"

static const struct process_limits usual = { .cpu_ms = 10000,
	.max_output_bytes = 1 << 20 };

static enum err_code
shell(const char *script, const char *input, const struct process_limits *l,
    uint64_t ms, struct process_result *result)
{
	const char *argv[] = { "/bin/sh", "-c", script, NULL };

	return process_run(argv, input, input == NULL ? 0 : strlen(input), -1,
	    l, deadline_in_ms(ms), result);
}

static size_t
open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static void
output_errors_and_exit_code_come_back(void **state)
{
	struct process_result r = { 0 };

	(void)state;
	assert_int_equal(
	    shell("echo out; echo err >&2; exit 3", NULL, &usual, 5000, &r),
	    OK);
	assert_string_equal(buf_str(&r.out), "out\n");
	assert_string_equal(buf_str(&r.err), "err\n");
	assert_int_equal(r.exit_code, 3);
	assert_int_equal(r.signal, 0);
	process_result_done(&r);
}

static void
input_larger_than_a_pipe_is_streamed(void **state)
{
	size_t len = 700 * 1000;
	char *input = mem_alloc(len + 1);
	struct process_result r = { 0 };

	(void)state;
	for (size_t i = 0; i < len; i++)
		input[i] = (char)('a' + i % 26);
	input[len] = '\0';
	assert_int_equal(shell("cat", input, &usual, 10000, &r), OK);
	assert_int_equal(r.out.len, len);
	assert_memory_equal(r.out.data, input, len);
	process_result_done(&r);
	/* One that does not read it is no error. */
	assert_int_equal(
	    shell("exec <&-; echo no", input, &usual, 5000, &r), OK);
	assert_string_equal(buf_str(&r.out), "no\n");
	process_result_done(&r);
	mem_free(input);
}

static void
output_over_the_ceiling_ends_the_child(void **state)
{
	struct process_limits small = { .cpu_ms = 10000,
		.max_output_bytes = 100000 };
	struct process_result r = { 0 };
	uint64_t begin = clock_mono_ms();

	(void)state;
	assert_int_equal(
	    shell("while :; do echo 0123456789; done", NULL, &small, 20000, &r),
	    ERR_TOO_LARGE);
	assert_true(clock_mono_ms() - begin < 5000);
	assert_int_equal(
	    shell("head -c 100000 /dev/zero", NULL, &small, 5000, &r), OK);
	assert_int_equal(r.out.len, 100000);
	process_result_done(&r);
	assert_int_equal(
	    shell("head -c 100001 /dev/zero", NULL, &small, 5000, &r),
	    ERR_TOO_LARGE);
}

static void
an_endless_child_and_its_children_die_at_the_deadline(void **state)
{
	struct process_result r = { 0 };
	char name[] = "/tmp/xin-pids-XXXXXX", script[128], line[64] = "";
	int fd = mkstemp(name);
	struct process_limits files = usual;
	uint64_t begin = clock_mono_ms();
	long pid;

	(void)state;
	files.file_bytes = 4096;
	snprintf(script, sizeof(script),
	    "sleep 1000 & echo $! > %s; while :; do :; done", name);
	assert_int_equal(shell(script, NULL, &files, 200, &r), ERR_DEADLINE);
	assert_true(clock_mono_ms() - begin < 3000);
	assert_true(read(fd, line, sizeof(line) - 1) > 0);
	close(fd);
	unlink(name);
	pid = strtol(line, NULL, 10);
	assert_true(pid > 1);
	for (int i = 0; i < 100 && kill((pid_t)pid, 0) == 0; i++)
		fiber_sleep(10); /* its adopter reaps it */
	if (kill((pid_t)pid, 0) == 0) {
		char stat[64], text[256] = "";
		FILE *f;

		snprintf(stat, sizeof(stat), "/proc/%ld/stat", pid);
		f = fopen(stat, "r");
		assert_non_null(f);
		assert_non_null(fgets(text, sizeof(text), f));
		fclose(f);
		assert_non_null(strstr(text, ") Z ")); /* dead, unreaped */
	}
}

struct cancelled {
	enum err_code rc;
	bool ended;
};

static void
sleep_in_a_child(void *arg)
{
	struct cancelled *c = arg;
	struct process_result r = { 0 };

	c->rc = shell("sleep 100", NULL, &usual, 60000, &r);
	c->ended = true;
}

static void
a_cancelled_fiber_kills_its_child(void **state)
{
	struct cancelled c = { OK, false };
	struct fiber *fiber = fiber_start(sleep_in_a_child, &c);

	(void)state;
	fiber_sleep(100);
	assert_false(c.ended);
	fiber_cancel(fiber);
	for (int i = 0; i < 200 && !c.ended; i++)
		fiber_sleep(10);
	assert_true(c.ended);
	assert_int_equal(c.rc, ERR_CANCELLED);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void
cpu_time_is_limited(void **state)
{
	struct process_limits second = { .cpu_ms = 900,
		.max_output_bytes = 100 };
	struct process_result r = { 0 };

	(void)state;
	assert_int_equal(
	    shell("while :; do :; done", NULL, &second, 20000, &r), OK);
	assert_int_equal(r.exit_code, -1);
	assert_true(r.signal == SIGXCPU || r.signal == SIGKILL);
	process_result_done(&r);
}

static void
a_memory_bomb_ends_itself(void **state)
{
	struct process_limits small = { .cpu_ms = 20000,
		.memory_bytes = 64 << 20,
		.max_output_bytes = 100 };
	struct process_result r = { 0 };

	(void)state;
	assert_int_equal(shell("a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done",
			     NULL, &small, 20000, &r),
	    OK);
	assert_true(r.exit_code != 0);
	assert_true(r.err.len > 0 || r.signal != 0);
	process_result_done(&r);
}

#if !defined(__SANITIZE_THREAD__) && !defined(XIN_COVERAGE)
static void
files_cannot_be_written(void **state)
{
	struct process_result r = { 0 };
	char name[] = "/tmp/xin-write-XXXXXX", script[128];
	int fd = mkstemp(name);

	(void)state;
	snprintf(script, sizeof(script), "echo no > %s", name);
	assert_int_equal(shell(script, NULL, &usual, 5000, &r), OK);
	assert_true(r.exit_code != 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	process_result_done(&r);
	close(fd);
	unlink(name);
}

#endif

static void
environment_is_empty_and_descriptors_are_four(void **state)
{
	const char *env[] = { "/usr/bin/env", NULL };
	const char *fds[] = { "/bin/ls", "/proc/self/fd", NULL };
	struct process_result r = { 0 };
	int leak = open("/dev/null", O_RDONLY); /* not close-on-exec */
	int extra = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);

	(void)state;
	setenv("XIN_ADMIN_KEY", "secret", 1);
	assert_int_equal(
	    process_run(env, NULL, 0, -1, &usual, deadline_in_ms(5000), &r),
	    OK);
	assert_string_equal(buf_str(&r.out), "");
	process_result_done(&r);
	unsetenv("XIN_ADMIN_KEY");
	/* ls itself has one more open: the folder. */
	assert_int_equal(
	    process_run(fds, NULL, 0, -1, &usual, deadline_in_ms(5000), &r),
	    OK);
	assert_string_equal(buf_str(&r.out), "0\n1\n2\n3\n");
	process_result_done(&r);
	assert_int_equal(
	    process_run(fds, NULL, 0, extra, &usual, deadline_in_ms(5000), &r),
	    OK);
	assert_string_equal(buf_str(&r.out), "0\n1\n2\n3\n4\n");
	process_result_done(&r);
	assert_int_equal(shell("cat <&3", NULL, &usual, 5000, &r), OK);
	assert_int_not_equal(r.exit_code, 0);
	process_result_done(&r);
	close(leak);
	close(extra);
}

static void
a_missing_program_is_named(void **state)
{
	const char *argv[] = { "/nonexistent/program", NULL };
	struct process_result r = { 0 };

	(void)state;
	assert_int_equal(
	    process_run(argv, NULL, 0, -1, &usual, deadline_in_ms(5000), &r),
	    ERR_INTERNAL);
	assert_non_null(strstr(err_message(), "/nonexistent/program"));
	assert_non_null(strstr(err_message(), "No such file"));
}

static void
many_children_leave_no_descriptor_behind(void **state)
{
	struct process_result r = { 0 };
	size_t before;

	(void)state;
	fiber_sleep(10); /* handles of the tests before */
	before = open_descriptors();
	for (int i = 0; i < 20; i++) {
		assert_int_equal(shell("echo $$", NULL, &usual, 5000, &r), OK);
		process_result_done(&r);
		shell("exit 1", "input", &usual, 5000, &r);
		process_result_done(&r);
	}
	fiber_sleep(10);
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void
our_own_path_can_be_run(void **state)
{
	(void)state;
	assert_int_equal(access(process_self_path(), X_OK), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_errors_and_exit_code_come_back),
		cmocka_unit_test(input_larger_than_a_pipe_is_streamed),
		cmocka_unit_test(output_over_the_ceiling_ends_the_child),
		cmocka_unit_test(
		    an_endless_child_and_its_children_die_at_the_deadline),
		cmocka_unit_test(a_cancelled_fiber_kills_its_child),
		cmocka_unit_test(cpu_time_is_limited),
		cmocka_unit_test(a_memory_bomb_ends_itself),
#if !defined(__SANITIZE_THREAD__) && !defined(XIN_COVERAGE) /* which write */
		cmocka_unit_test(files_cannot_be_written),
#endif
		cmocka_unit_test(environment_is_empty_and_descriptors_are_four),
		cmocka_unit_test(a_missing_program_is_named),
		cmocka_unit_test(many_children_leave_no_descriptor_behind),
		cmocka_unit_test(our_own_path_can_be_run),
	};

	return fiber_group(tests, NULL, NULL);
}
