/* SPDX-License-Identifier: Apache-2.0 */
/* The client of Redis against a real server: answers, failures, coming back. */
#include "fiber_group.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "redis/redis.h"
#include "redis_server.h"

#define PASSWORD "s3cret pass"

static struct redis_server *server;

static struct redis_options
options(void)
{
	return (struct redis_options){ .host = "127.0.0.1",
		.port = redis_server_port(server),
		.password = PASSWORD,
		.command_ms = 1000 };
}

static int
set_up(void **state)
{
	struct redis_options with = options();
	struct redis *redis;

	assert_int_equal(redis_open(&with, &redis), OK);
	assert_int_equal(redis_call(redis, 0, NULL, "t", "FLUSHALL"), OK);
	*state = redis;
	return 0;
}

static int
tear_down(void **state)
{
	redis_close(*state);
	return 0;
}

static void
values_come_back_as_they_went(void **state)
{
	struct redis *redis = *state;
	struct redis_reply *reply;
	const char *text;
	size_t len;

	assert_int_equal(redis_call(redis, 0, NULL, "ttb", "SET", "k",
			     "a\0b\r\n", (size_t)5),
	    OK);
	assert_int_equal(redis_call(redis, 0, &reply, "tt", "GET", "k"), OK);
	text = redis_str(reply, &len);
	assert_int_equal(len, 5);
	assert_memory_equal(text, "a\0b\r\n", 5);
	redis_reply_free(reply);
	assert_int_equal(redis_call(redis, 0, &reply, "tt", "GET", "none"), OK);
	assert_true(redis_is_nil(reply));
	redis_reply_free(reply);
	assert_int_equal(
	    redis_call(redis, 0, &reply, "tti", "INCRBY", "n", (int64_t)-7),
	    OK);
	assert_int_equal(redis_int(reply, 0), -7);
	redis_reply_free(reply);
	assert_int_equal(
	    redis_call(redis, 0, &reply, "ttt", "MGET", "n", ""), OK);
	assert_int_equal(redis_count(reply), 2);
	assert_int_equal(redis_int(redis_at(reply, 0), 0), -7);
	assert_null(redis_at(reply, 2));
	redis_reply_free(reply);
}

static void
a_script_is_sent_once_and_again_after_a_flush(void **state)
{
	static struct redis_script script = { .text =
						  "return {KEYS[1], ARGV[1]}" };
	struct redis *redis = *state;
	struct redis_reply *reply;

	for (int i = 0; i < 3; i++) {
		if (i == 2)
			assert_int_equal(
			    redis_call(redis, 0, NULL, "tt", "SCRIPT", "FLUSH"),
			    OK);
		assert_int_equal(redis_eval(redis, &script, 0, &reply, 1, "ti",
				     "key", (int64_t)5),
		    OK);
		assert_string_equal(redis_str(redis_at(reply, 0), NULL), "key");
		assert_int_equal(redis_int(redis_at(reply, 1), 0), 5);
		redis_reply_free(reply);
	}
}

struct crowd {
	struct redis *redis;
	_Atomic int wrong, alive;
};

static void
count_up(void *arg)
{
	struct crowd *c = arg;
	struct redis_reply *reply;
	char word[32];

	for (int i = 0; i < 50; i++) {
		snprintf(word, sizeof(word), "%p-%d", (void *)&reply, i);
		if (redis_call(c->redis, 0, &reply, "tt", "ECHO", word) != OK) {
			c->wrong++;
			continue;
		}
		if (strcmp(redis_str(reply, NULL), word) != 0)
			c->wrong++;
		redis_reply_free(reply);
	}
	c->alive--;
}

static void
many_fibers_of_all_loops_get_their_own_answers(void **state)
{
	struct crowd c = { .redis = *state, .alive = 200 };

	for (unsigned i = 0; i < 200; i++)
		assert_true(
		    loop_spawn(loop_at(i % 2), SERVICE_NONE, count_up, &c));
	while (c.alive > 0)
		assert_int_equal(fiber_sleep(5), OK);
	assert_int_equal(c.wrong, 0);
}

static void
expect_failure(const struct redis_options *with, const char *sentence)
{
	struct redis *redis;

	assert_int_equal(redis_open(with, &redis), OK);
	assert_int_equal(redis_ping(redis, 0), ERR_UNAVAILABLE);
	if (strstr(err_message(), sentence) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", err_message(), sentence);
	assert_null(strstr(err_message(), "wrong-one"));
	redis_close(redis);
}

static void
failures_say_what_to_do(void **state)
{
	struct redis_options with = options();
	char name[64];

	(void)state;
	with.password = "wrong-one";
	expect_failure(&with, "refuses the password: check INGEST_REDIS");
	with.password = NULL;
	expect_failure(&with, "wants a password: set INGEST_REDIS_PASSWORD");
	with = options();
	with.db = 99;
	{
		struct redis *redis;

		assert_int_equal(redis_open(&with, &redis), OK);
		assert_int_equal(redis_ping(redis, 0), ERR_UNAVAILABLE);
		redis_close(redis);
	}
	with.port = 1;
	expect_failure(&with, "Redis 127.0.0.1:1 cannot be reached");
	with = options();
	with.host = "no-such-host.invalid";
	snprintf(name, sizeof(name), "Redis no-such-host.invalid:%d cannot be",
	    with.port);
	expect_failure(&with, name);
}

static void
other_errors_have_their_sentences(void **state)
{
	struct redis *redis = *state;

	assert_int_equal(
	    redis_call(redis, 0, NULL, "t", "NOSUCHCOMMAND"), ERR_UPSTREAM);
	assert_int_equal(redis_call(redis, 0, NULL, "tttt", "CONFIG", "SET",
			     "maxmemory", "1"),
	    OK);
	assert_int_equal(redis_call(redis, 0, NULL, "ttt", "SET", "k", "v"),
	    ERR_UNAVAILABLE);
	assert_non_null(strstr(err_message(), "out of memory"));
	assert_int_equal(redis_call(redis, 0, NULL, "tttt", "CONFIG", "SET",
			     "maxmemory", "0"),
	    OK);
	assert_int_equal(
	    redis_call(redis, 0, NULL, "ttt", "REPLICAOF", "127.0.0.1", "1"),
	    OK);
	assert_int_equal(redis_call(redis, 0, NULL, "ttt", "SET", "k", "v"),
	    ERR_UNAVAILABLE);
	assert_non_null(strstr(err_message(), "read-only replica"));
	assert_int_equal(
	    redis_call(redis, 0, NULL, "ttt", "REPLICAOF", "NO", "ONE"), OK);
}

static void
a_lost_server_fails_calls_at_once_and_comes_back(void **state)
{
	struct redis *redis = *state;
	uint64_t start;

	assert_int_equal(redis_ping(redis, 0), OK);
	redis_server_kill(server);
	fiber_sleep(20);
	start = clock_mono_ms();
	for (int i = 0; i < 20; i++)
		assert_int_equal(redis_ping(redis, 0), ERR_UNAVAILABLE);
	assert_true(clock_mono_ms() - start < 500);
	redis_server_restart(server);
	start = clock_mono_ms();
	while (redis_ping(redis, 0) != OK) {
		assert_true(clock_mono_ms() - start < 6000);
		fiber_sleep(10);
	}
}

static void
a_silent_server_costs_one_deadline(void **state)
{
	struct redis *redis = *state;
	uint64_t start;

	assert_int_equal(redis_ping(redis, 0), OK);
	redis_server_freeze(server, true);
	start = clock_mono_ms();
	assert_int_equal(redis_ping(redis, deadline_in_ms(100)), ERR_DEADLINE);
	assert_int_equal(redis_ping(redis, 0), ERR_UNAVAILABLE);
	assert_non_null(strstr(err_message(), "did not answer in time"));
	assert_true(clock_mono_ms() - start < 2500);
	redis_server_freeze(server, false);
	while (redis_ping(redis, 0) != OK) {
		assert_true(clock_mono_ms() - start < 9000);
		fiber_sleep(10);
	}
}

static void
an_answer_over_the_ceiling_ends_the_connection(void **state)
{
	struct redis_options with = options();
	char *big = mem_zero(300001);
	struct redis *redis;

	(void)state;
	with.max_reply_bytes = 100000;
	memset(big, 'x', 300000);
	assert_int_equal(redis_open(&with, &redis), OK);
	assert_int_equal(
	    redis_call(redis, 0, NULL, "ttt", "SET", "k", big), OK);
	assert_int_equal(
	    redis_call(redis, 0, NULL, "tt", "GET", "k"), ERR_UNAVAILABLE);
	assert_int_equal(redis_ping(redis, 0), OK);
	redis_close(redis);
	mem_free(big);
}

static void
hear(void *arg)
{
	(*(_Atomic int *)arg)++;
}

static void
wait_more(struct redis *redis, _Atomic int *heard, int than)
{
	uint64_t start = clock_mono_ms();

	while (*heard <= than) {
		redis_listen(redis, "channel", hear, heard);
		assert_true(clock_mono_ms() - start < 6000);
		fiber_sleep(10);
	}
}

static void
a_channel_is_heard_again_after_the_server_was_lost(void **state)
{
	struct redis *redis = *state;
	_Atomic int heard = 0;

	wait_more(redis, &heard, 0); /* connected */
	assert_int_equal(
	    redis_call(redis, 0, NULL, "ttt", "PUBLISH", "channel", "x"), OK);
	wait_more(redis, &heard, 1);
	redis_server_kill(server);
	redis_server_restart(server);
	wait_more(redis, &heard, 2);
	while (
	    redis_call(redis, 0, NULL, "ttt", "PUBLISH", "channel", "x") != OK)
		fiber_sleep(10);
	wait_more(redis, &heard, 3);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest redis_tests[] = {
		T(values_come_back_as_they_went),
		T(a_script_is_sent_once_and_again_after_a_flush),
		T(many_fibers_of_all_loops_get_their_own_answers),
		T(failures_say_what_to_do),
		T(other_errors_have_their_sentences),
		T(a_lost_server_fails_calls_at_once_and_comes_back),
		T(a_silent_server_costs_one_deadline),
		T(an_answer_over_the_ceiling_ends_the_connection),
		T(a_channel_is_heard_again_after_the_server_was_lost),
	};
	int failed;

	if (!redis_server_have())
		return 0;
	server = redis_server_start(PASSWORD);
	failed = fiber_group(redis_tests, NULL, NULL);
	redis_server_stop(server);
	return failed;
}
