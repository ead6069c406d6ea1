/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of models over an OpenAI-compatible service, and its faults. */
#include "fiber_group.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/task.h"
#include "model/model.h"
#include "model_peer.h"

static const struct model_passage passages[] = {
	{ "Returns",
	    "Our shop sells lamps. You can return a lamp within 30 days.", 59,
	    5.0, 1.0 },
	{ "Hours", "The shop opens at nine. It closes at six.", 41, 1.0, 0.2 },
};
static bool have_server;

#define NEEDS_SERVER()                                                         \
	do {                                                                   \
		(void)state;                                                   \
		if (!have_server) {                                            \
			print_message("skipped: python3 cannot be had\n");     \
			skip();                                                \
		}                                                              \
	} while (0)

static int
set_up(void **state)
{
	(void)state;
	have_server = model_peer_start(64);
	log_setup(
	    open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_WARN, false);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	if (have_server)
		model_peer_stop();
	return 0;
}

/* Fresh settings, a server that remembers nothing. */
static int
begin(void **state)
{
	if (!have_server)
		return 0;
	config_override(CFG_MODEL_KEY, "sk-test");
	config_override(CFG_MODEL_NAME, "test-model");
	config_override(CFG_MODEL_MS, "8000");
	config_override(CFG_MODEL_IDLE_MS, "5000");
	config_override(CFG_MODEL_RATE, "100000");
	config_override(CFG_MODEL_TOKENS, "1024");
	model_peer_forget();
	*state = NULL;
	return 0;
}

static struct model_request
request_of(const char *question)
{
	return (struct model_request){ .question = question,
		.system = "You work for a shop.",
		.passages = passages,
		.passage_count = 2,
		.confidence_floor = -1,
		.temperature = -1,
		.no_answer = "I do not know." };
}

#define LAMP "Can I return a lamp within some days?"

static enum err_code
ask(const char *faults, const char *question, struct model_reply *reply)
{
	struct model_request request = request_of(question);
	struct model *model;
	char script[256];
	enum err_code rc;

	snprintf(script, sizeof(script), "{\"faults\": [%s]}", faults);
	model_peer_script(script);
	assert_int_equal(model_open(model_peer_url(), &model), OK);
	rc = model_answer(model, &request, 0, reply);
	model_close(model);
	return rc;
}

/* It fails so, with this in the sentence, after so many calls. */
static void
expect_failure(
    const char *faults, enum err_code code, const char *says, size_t calls)
{
	struct model_reply reply;

	model_peer_forget();
	assert_int_equal(ask(faults, LAMP, &reply), code);
	if (strstr(err_message(), says) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err_message(), says);
	assert_null(strstr(err_message(), "sk-"));
	assert_null(strstr(err_message(), "secret words"));
	assert_int_equal(model_peer_calls(), calls);
}

static void
expect_answer(const char *faults, size_t calls)
{
	struct model_reply reply;

	model_peer_forget();
	assert_int_equal(ask(faults, LAMP, &reply), OK);
	assert_true(reply.answered);
	assert_string_equal(
	    buf_str(&reply.text), "You can return a lamp within 30 days. [1]");
	assert_int_equal(model_peer_calls(), calls);
	model_reply_done(&reply);
}

static void
an_answer_cites_its_passages_and_counts_its_tokens(void **state)
{
	struct model_reply reply;

	NEEDS_SERVER();
	assert_int_equal(ask("", LAMP, &reply), OK);
	assert_true(reply.answered);
	assert_string_equal(
	    buf_str(&reply.text), "You can return a lamp within 30 days. [1]");
	assert_int_equal(reply.cited_count, 1);
	assert_int_equal(reply.cited[0], 0);
	assert_string_equal(reply.model, "test-model");
	assert_string_equal(reply.finish_reason, "stop");
	assert_int_equal(reply.completion_tokens, 9);
	assert_true(reply.prompt_tokens > 50);
	assert_true(reply.confidence > 0.5);
	model_reply_done(&reply);
	assert_true(metric_value(METRIC_MODEL_TOKENS,
			LABELS("test-model", "completion")) >= 9);
	assert_true(
	    metric_value(METRIC_MODEL_CALLS, LABELS("test-model", "ok")) >= 1);
}

static void
the_service_gets_prompt_history_and_numbered_passages(void **state)
{
	struct model_request request = request_of(LAMP);
	json_t *history = json_pack("[{s:s,s:s},{s:s,s:s}]", "role", "user",
	    "text", "hello", "role", "assistant", "text", "hi");
	struct model_reply reply;
	struct model *model;
	json_t *told;
	const json_t *body, *messages;
	const char *text;

	NEEDS_SERVER();
	request.history = history;
	request.max_tokens = 77;
	request.temperature = 0.5;
	assert_int_equal(model_open(model_peer_url(), &model), OK);
	assert_int_equal(model_answer(model, &request, 0, &reply), OK);
	model_close(model);
	model_reply_done(&reply);
	told = model_peer_told();
	body = json_object_get(
	    json_array_get(json_object_get(told, "calls"), 0), "body");
	assert_int_equal(json_int(body, "max_tokens", 0), 77);
	assert_true(json_bool(body, "stream", false));
	assert_true(
	    json_number_value(json_object_get(body, "temperature")) == 0.5);
	messages = json_object_get(body, "messages");
	assert_int_equal(json_array_size(messages), 4);
	text = json_str(json_array_get(messages, 0), "content");
	assert_non_null(strstr(text, "You work for a shop."));
	assert_non_null(strstr(text, "NO_ANSWER"));
	assert_string_equal(
	    json_str(json_array_get(messages, 2), "role"), "assistant");
	text = json_str(json_array_get(messages, 3), "content");
	assert_non_null(strstr(text, "[1] Returns\nOur shop"));
	assert_non_null(strstr(text, "[2] Hours\n"));
	assert_non_null(strstr(text, "Question: " LAMP));
	json_decref(told);
	json_decref(history);
}

static void
it_says_no_answer_when_the_model_does_not_know(void **state)
{
	struct model_reply reply;

	NEEDS_SERVER();
	assert_int_equal(
	    ask("", "Who won the football championship?", &reply), OK);
	assert_false(reply.answered);
	assert_string_equal(buf_str(&reply.text), "I do not know.");
	assert_int_equal(reply.cited_count, 0);
	model_reply_done(&reply);
}

static void
without_passages_nobody_is_asked(void **state)
{
	struct model_request request = request_of(LAMP);
	struct model_reply reply;
	struct model *model;

	NEEDS_SERVER();
	request.passage_count = 0;
	assert_int_equal(model_open(model_peer_url(), &model), OK);
	assert_int_equal(model_answer(model, &request, 0, &reply), OK);
	model_close(model);
	assert_false(reply.answered);
	assert_string_equal(buf_str(&reply.text), "I do not know.");
	assert_int_equal(model_peer_calls(), 0);
	model_reply_done(&reply);
}

static void
a_stream_cut_anywhere_and_a_whole_object_read_the_same(void **state)
{
	NEEDS_SERVER();
	expect_answer("\"dribble\"", 1);
	expect_answer("\"whole\"", 1);
	expect_answer("\"nousage\"", 1);
	expect_answer("\"slow:200\"", 1);
}

static void
what_may_pass_is_tried_again(void **state)
{
	double before =
	    metric_value(METRIC_PROVIDER_RETRIES, LABELS("chat", "status"));

	NEEDS_SERVER();
	expect_answer("\"status:500\"", 2);
	expect_answer("\"html:502\", \"reset\"", 3);
	assert_true(metric_value(METRIC_PROVIDER_RETRIES,
			LABELS("chat", "status")) >= before + 2);
}

static void
retry_after_is_obeyed(void **state)
{
	uint64_t began;

	NEEDS_SERVER();
	began = clock_mono_ms();
	expect_answer("\"limited:0.8\"", 2);
	assert_true(clock_mono_ms() - began >= 800);
	began = clock_mono_ms();
	expect_answer("\"limited:date:2.5\"", 2);
	assert_true(clock_mono_ms() - began >= 1000);
}

static void
a_wait_longer_than_the_deadline_is_not_begun(void **state)
{
	uint64_t began = clock_mono_ms();

	NEEDS_SERVER();
	/* A pace of its own: the hold must not meet the other tests. */
	config_override(CFG_MODEL_RATE, "99999");
	expect_failure("\"limited:60\"", ERR_OVERLOADED, "rate", 1);
	assert_true(clock_mono_ms() - began < 3000);
}

static void
refusals_are_said_in_our_words_and_not_repeated(void **state)
{
	NEEDS_SERVER();
	config_override(CFG_MODEL_KEY, "sk-wrong");
	expect_failure("", ERR_UPSTREAM, "check XIN_MODEL_KEY", 1);
	config_override(CFG_MODEL_KEY, "sk-test");
	config_override(CFG_MODEL_NAME, "other");
	expect_failure("", ERR_UPSTREAM, "does not know model \"other\"", 1);
	config_override(CFG_MODEL_NAME, "test-model");
	expect_failure("\"error:400:context_length_exceeded\"", ERR_TOO_LARGE,
	    "longer than the context", 1);
	expect_failure(
	    "\"error:400:content_filter\"", ERR_BLOCKED, "content filter", 1);
	expect_failure(
	    "\"error:429:insufficient_quota\"", ERR_UPSTREAM, "quota", 1);
	expect_failure("\"status:400\"", ERR_UPSTREAM,
	    "answered 400 (invalid_request_error)", 1);
	expect_failure("\"filter\"", ERR_BLOCKED, "content filter", 1);
	expect_failure("\"refusal\"", ERR_BLOCKED, "the model refused", 1);
}

static void
broken_answers_are_not_given_out(void **state)
{
	NEEDS_SERVER();
	expect_failure("\"cut\"", ERR_UNAVAILABLE, "127.0.0.1", 1);
	expect_failure("\"early\"", ERR_UPSTREAM, "ended in the middle", 1);
	expect_failure("\"badjson\"", ERR_UPSTREAM, "no JSON", 1);
	expect_failure("\"badsse\"", ERR_UPSTREAM, "no JSON", 1);
	expect_failure("\"midstream\"", ERR_UPSTREAM, "server_error", 1);
	expect_failure("\"huge\"", ERR_TOO_LARGE, "over", 1);
}

static void
a_service_that_is_down_is_said_to_be(void **state)
{
	NEEDS_SERVER();
	expect_failure("\"status:503\", \"status:503\", \"status:503\", "
		       "\"status:503\", \"status:503\"",
	    ERR_UNAVAILABLE, "HTTP 503", 4);
}

static void
a_stalled_stream_ends(void **state)
{
	uint64_t began = clock_mono_ms();

	NEEDS_SERVER();
	config_override(CFG_MODEL_IDLE_MS, "300");
	expect_failure("\"stall:2\"", ERR_DEADLINE, "stalled", 1);
	assert_true(clock_mono_ms() - began < 3000);
}

static void
an_endless_stream_meets_the_deadline_or_the_ceiling(void **state)
{
	uint64_t began = clock_mono_ms();

	NEEDS_SERVER();
	config_override(CFG_MODEL_MS, "700");
	expect_failure("\"endless\"", ERR_DEADLINE, "in time", 1);
	assert_true(clock_mono_ms() - began < 3000);
}

static void
the_pace_of_a_key_is_kept(void **state)
{
	struct model_reply reply;
	struct model *model;
	struct model_request request = request_of(LAMP);

	NEEDS_SERVER();
	config_override(CFG_MODEL_RATE, "12"); /* two at once, then 5 s each */
	config_override(CFG_MODEL_MS, "2000");
	model_peer_script("{\"faults\": []}");
	assert_int_equal(model_open(model_peer_url(), &model), OK);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(model_answer(model, &request, 0, &reply), OK);
		model_reply_done(&reply);
	}
	assert_int_equal(
	    model_answer(model, &request, 0, &reply), ERR_OVERLOADED);
	assert_non_null(strstr(err_message(), "XIN_MODEL_CALLS_PER_MINUTE"));
	assert_int_equal(model_peer_calls(), 2);
	model_close(model);
}

static void
connections_are_kept(void **state)
{
	struct model_reply reply;
	struct model *model;
	struct model_request request = request_of(LAMP);
	int64_t before, after;
	json_t *told;

	NEEDS_SERVER();
	assert_int_equal(model_open(model_peer_url(), &model), OK);
	told = model_peer_told();
	before = json_int(told, "connections", 0);
	json_decref(told);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(model_answer(model, &request, 0, &reply), OK);
		model_reply_done(&reply);
	}
	told = model_peer_told();
	after = json_int(told, "connections", 0);
	json_decref(told);
	assert_true(after - before <= 2); /* one of them asked for the count */
	model_close(model);
}

static void
a_chat_goes_as_it_is(void **state)
{
	struct model_completion said;
	struct model *model;
	json_t *messages = json_pack(
	    "[{s:s, s:s}]", "role", "user", "content", "a poem, please");
	struct model_chat chat = { .messages = messages, .temperature = -1 };

	NEEDS_SERVER();
	assert_int_equal(model_open(model_peer_url(), &model), OK);
	assert_int_equal(model_chat(model, &chat, 0, &said), OK);
	assert_string_equal(buf_str(&said.text), "echo: a poem, please");
	model_completion_done(&said);
	chat.max_tokens = 2;
	assert_int_equal(model_chat(model, &chat, 0, &said), OK);
	assert_string_equal(said.finish_reason, "length");
	model_completion_done(&said);
	json_array_clear(messages);
	assert_int_equal(model_chat(model, &chat, 0, &said), ERR_INVALID);
	model_close(model);
	json_decref(messages);
}

static void
settings_that_cannot_work_are_refused_at_open(void **state)
{
	struct model *model;

	(void)state;
	config_override(CFG_MODEL_NAME, "");
	assert_int_equal(
	    model_open("http://127.0.0.1:1/v1", &model), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "XIN_MODEL_NAME"));
	config_override(CFG_MODEL_NAME, "m");
	assert_int_equal(model_open("ftp://host/v1", &model), ERR_CONFIG);
	assert_int_equal(model_open("http://", &model), ERR_CONFIG);
	assert_int_equal(
	    model_open("https://user:pass@host/v1", &model), ERR_CONFIG);
	assert_null(strstr(err_message(), "pass@"));
}

#define T(test) cmocka_unit_test_setup(test, begin)

int
main(void)
{
	const struct CMUnitTest model[] = {
		T(an_answer_cites_its_passages_and_counts_its_tokens),
		T(the_service_gets_prompt_history_and_numbered_passages),
		T(it_says_no_answer_when_the_model_does_not_know),
		T(without_passages_nobody_is_asked),
		T(a_stream_cut_anywhere_and_a_whole_object_read_the_same),
		T(what_may_pass_is_tried_again),
		T(retry_after_is_obeyed),
		T(a_wait_longer_than_the_deadline_is_not_begun),
		T(refusals_are_said_in_our_words_and_not_repeated),
		T(broken_answers_are_not_given_out),
		T(a_service_that_is_down_is_said_to_be),
		T(a_stalled_stream_ends),
		T(an_endless_stream_meets_the_deadline_or_the_ceiling),
		T(the_pace_of_a_key_is_kept),
		T(connections_are_kept),
		T(a_chat_goes_as_it_is),
		T(settings_that_cannot_work_are_refused_at_open),
	};

	return fiber_group(model, set_up, tear_down);
}
