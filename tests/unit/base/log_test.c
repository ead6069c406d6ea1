/* SPDX-License-Identifier: Apache-2.0 */
/* The log's ways out: the writer, a reader that stops, the ceiling on repeated
 * lines, and lines for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/str.h"

#define THREADS 4
#define EACH    2000

static int ends[2]; /* of the pipe that the log writes to */

static int
open_pipe(void **state)
{
	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	log_setup(ends[1], LOG_LEVEL_INFO, false);
	return 0;
}

static int
close_pipe(void **state)
{
	(void)state;
	clock_fake_stop();
	log_limit(0);
	log_setup(STDOUT_FILENO, LOG_LEVEL_INFO, false);
	close(ends[0]);
	close(ends[1]);
	return 0;
}

struct tally {
	int64_t lines, told, told_by_line;
	int64_t next[THREADS]; /* the least number each writer may have */
	char last[64];         /* event of the last line */
	struct buf text;       /* read, not yet a line */
};

static void
read_line(const char *line, size_t len, struct tally *tally)
{
	json_auto json_t *value = NULL;
	const char *event;
	int64_t thread, n;

	assert_int_equal(json_parse(line, len, &value), OK);
	event = json_str(value, "event");
	str_copy(tally->last, sizeof(tally->last), event);
	tally->told_by_line += json_int(value, "suppressed", 0);
	if (strcmp(event, "log.dropped") == 0) {
		tally->told += json_int(value, "lines", 0);
		return;
	}
	tally->lines++;
	thread = json_int(value, "thread", -1);
	if (thread < 0)
		return;
	n = json_int(value, "n", -1);
	assert_true(n >= tally->next[thread]); /* in order */
	tally->next[thread] = n + 1;
}

/* Until the other end is closed, or `enough` lines came (0 = all). */
static void
read_lines(struct tally *tally, int64_t enough)
{
	struct buf *text = &tally->text;
	char chunk[65536];
	char *end;
	ssize_t n;

	while ((enough == 0 || tally->lines < enough) &&
	       (n = read(ends[0], chunk, sizeof(chunk))) > 0) {
		buf_add(text, chunk, (size_t)n);
		while ((end = memchr(text->data, '\n', text->len)) != NULL) {
			read_line(
			    text->data, (size_t)(end - text->data), tally);
			buf_drop(text, (size_t)(end - text->data) + 1);
		}
	}
	if (enough > 0)
		return;
	assert_int_equal(text->len, 0);
	buf_done(text);
}

static void *
reader_main(void *arg)
{
	read_lines(arg, 0);
	return NULL;
}

/* Every tenth line is longer than a pipe takes at once. */
static void *
talk(void *arg)
{
	char filling[6000];
	int thread = (int)(intptr_t)arg;

	memset(filling, 'x', sizeof(filling) - 1);
	for (int n = 0; n < EACH; n++) {
		filling[sizeof(filling) - 1] = '\0';
		log_info("test.line", kv_int("thread", thread), kv_int("n", n),
		    kv_str("a", n % 10 == 0 ? filling : "short"),
		    kv_str("b", n % 10 == 0 ? filling : "short"));
	}
	return NULL;
}

static void
all_talk(void)
{
	pthread_t threads[THREADS];

	for (intptr_t i = 0; i < THREADS; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, talk, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static double
dropped(const char *reason)
{
	return metric_value(METRIC_LOG_DROPPED, LABELS(reason));
}

static void
lines_of_threads_never_mix_and_stay_in_order(void **state)
{
	double before = dropped("stalled");
	struct tally tally = { 0 };
	pthread_t reader;

	(void)state;
	pthread_create(&reader, NULL, reader_main, &tally);
	log_start();
	all_talk();
	log_info("test.last");
	assert_true(log_stop(20000));
	close(ends[1]);
	pthread_join(reader, NULL);
	assert_int_equal(tally.lines + (int64_t)(dropped("stalled") - before),
	    THREADS * EACH + 1);
}

static void
a_reader_that_stops_blocks_nobody_and_is_told_what_it_missed(void **state)
{
	double before = dropped("stalled"), lost;
	uint64_t began = clock_mono_ms();
	struct tally tally = { 0 };
	pthread_t reader;

	(void)state;
	fcntl(ends[1], F_SETPIPE_SZ, 4096);
	log_start();
	all_talk(); /* some 11 MB, and nobody reads */
	assert_true(clock_mono_ms() - began < 10000);
	lost = dropped("stalled") - before;
	assert_true(lost > 0);
	while (tally.told == 0) /* room again: the warning comes by itself */
		read_lines(&tally, tally.lines + 1);
	pthread_create(&reader, NULL, reader_main, &tally);
	assert_true(log_stop(20000));
	close(ends[1]);
	pthread_join(reader, NULL);
	assert_int_equal(tally.told, (int64_t)lost);
	assert_int_equal(tally.lines + tally.told, THREADS * EACH);
}

static void
nothing_is_lost_at_a_normal_end(void **state)
{
	struct tally tally = { 0 };

	(void)state;
	for (int round = 0; round < 20; round++) {
		log_start();
		for (int i = 0; i < 20; i++)
			log_info("test.line", kv_int("n", i));
		assert_true(log_stop(5000));
	}
	log_info("test.after");
	close(ends[1]);
	read_lines(&tally, 0);
	assert_int_equal(tally.lines, 401);
	assert_string_equal(tally.last, "test.after");
}

static void
a_process_ends_though_nobody_reads_its_log(void **state)
{
	int status;
	pid_t child;

	(void)state;
	fcntl(ends[1], F_SETPIPE_SZ, 4096);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		log_start();
		all_talk();
		_exit(log_stop(200) ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void
a_log_that_cannot_be_written_stops_nobody(void **state)
{
	double before = dropped("failed");
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	assert_true(full >= 0);
	log_setup(full, LOG_LEVEL_INFO, false);
	log_start();
	log_info("test.line");
	log_info("test.line");
	assert_true(log_stop(5000));
	assert_true(dropped("failed") - before == 2);
	log_info("test.line");
	close(full);
}

static void
repeated_warnings_are_counted_and_the_next_one_says_so(void **state)
{
	double before = dropped("repeated");
	struct tally tally = { 0 };

	(void)state;
	clock_fake_start(1700000000000);
	log_limit(5);
	for (int i = 0; i < 100; i++)
		log_warn("test.flood");
	for (int i = 0; i < 100; i++) {
		log_info("test.work"); /* is never left out */
		log_info_limited("test.refused");
	}
	log_error("test.flood"); /* another level is another line */
	clock_fake_advance(1000);
	log_warn("test.flood");
	log_warn("test.flood");
	close(ends[1]);
	read_lines(&tally, 0);
	assert_int_equal(tally.lines, 5 + 100 + 5 + 1 + 2);
	assert_int_equal(tally.told_by_line, 95);
	assert_true(dropped("repeated") - before == 95 + 95);
}

static void
suppressed_lines_are_told_when_no_more_come(void **state)
{
	struct tally tally = { 0 };

	(void)state;
	log_limit(3);
	log_start();
	for (int i = 0; i < 50; i++)
		log_warn("test.ended_flood");
	read_lines(&tally, 4); /* WAITS for the second's end */
	assert_string_equal(tally.last, "log.suppressed");
	log_stop(5000);
	close(ends[1]);
	read_lines(&tally, 0);
	assert_true(tally.told_by_line >= 44); /* a second may have turned */
}

static void
a_line_for_people_shows_service_and_correlation(void **state)
{
	char line[1024] = { 0 };
	struct task task;

	(void)state;
	log_setup(ends[1], LOG_LEVEL_INFO, true);
	task_init(&task, SERVICE_WORKER);
	str_copy(task.request_id, sizeof(task.request_id), "rq-7");
	task_enter(&task);
	log_warn("test.event", kv_int("n", 3));
	task_enter(NULL);
	task_done(&task);
	assert_true(read(ends[0], line, sizeof(line) - 1) > 0);
	assert_non_null(strstr(line, "warning"));
	assert_non_null(strstr(line, " worker "));
	assert_non_null(strstr(line, "test.event"));
	assert_non_null(strstr(line, "n=3 (rq-7)\n"));
	assert_null(strchr(line, '\033')); /* a pipe has no colours */
}

static void
a_process_has_an_owner_for_lines_without_a_task(void **state)
{
	char line[1024] = { 0 };

	(void)state;
	log_owner(SERVICE_GATEWAY);
	log_info("test.event");
	log_owner(SERVICE_NONE);
	assert_true(read(ends[0], line, sizeof(line) - 1) > 0);
	assert_non_null(strstr(line, "\"service\":\"xin-channel-gateway\""));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_pipe, close_pipe)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lines_of_threads_never_mix_and_stay_in_order),
		TEST(
		    a_reader_that_stops_blocks_nobody_and_is_told_what_it_missed),
		TEST(nothing_is_lost_at_a_normal_end),
		TEST(a_process_ends_though_nobody_reads_its_log),
		TEST(a_log_that_cannot_be_written_stops_nobody),
		TEST(repeated_warnings_are_counted_and_the_next_one_says_so),
		TEST(suppressed_lines_are_told_when_no_more_come),
		TEST(a_line_for_people_shows_service_and_correlation),
		TEST(a_process_has_an_owner_for_lines_without_a_task),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
