/* SPDX-License-Identifier: Apache-2.0 */
/* The extractive answerer: what it says, cites, and declines. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "model/model.h"

static const struct model_passage passages[] = {
	{ "Returns",
	    "Our shop sells lamps. You can return a lamp within 30 days. "
	    "Shipping is free.",
	    77, 5.0, 1.0 },
	{ "Hours", "The shop opens at nine. It closes at six.", 41, 1.0, 0.2 },
};

static void
answer(
    const char *question, size_t count, double floor, struct model_reply *reply)
{
	struct model_request request = { .question = question,
		.passages = passages,
		.passage_count = count,
		.confidence_floor = floor,
		.no_answer = "I do not know." };
	struct model *model;

	assert_int_equal(model_open("", &model), OK);
	assert_int_equal(model_answer(model, &request, 0, reply), OK);
	model_close(model);
}

static void
it_says_the_sentence_that_answers_and_cites_its_passage(void **state)
{
	struct model_reply reply;

	(void)state;
	answer("Can I return a lamp within some days?", 2, -1, &reply);
	assert_true(reply.answered);
	assert_non_null(strstr(buf_str(&reply.text), "within 30 days."));
	assert_int_equal(reply.cited_count, 1);
	assert_int_equal(reply.cited[0], 0);
	assert_true(reply.confidence >= 0.5 && reply.confidence <= 1);
	assert_true(reply.prompt_tokens > 10);
	assert_true(reply.completion_tokens > 3);
	model_reply_done(&reply);
}

static void
it_declines_what_no_passage_speaks_of(void **state)
{
	struct model_reply reply;

	(void)state;
	answer("Who won the football championship?", 2, -1, &reply);
	assert_false(reply.answered);
	assert_string_equal(buf_str(&reply.text), "I do not know.");
	assert_int_equal(reply.cited_count, 0);
	model_reply_done(&reply);
}

static void
it_declines_without_passages_and_below_a_raised_floor(void **state)
{
	struct model_reply reply;

	(void)state;
	answer("return a lamp", 0, -1, &reply);
	assert_false(reply.answered);
	model_reply_done(&reply);
	answer("return a lamp", 2, 1.1, &reply);
	assert_false(reply.answered);
	model_reply_done(&reply);
}

static void
equal_requests_give_equal_answers(void **state)
{
	struct model_reply a, b;

	(void)state;
	answer("When does the shop open?", 2, 0, &a);
	answer("When does the shop open?", 2, 0, &b);
	assert_string_equal(buf_str(&a.text), buf_str(&b.text));
	assert_true(a.confidence == b.confidence);
	model_reply_done(&a);
	model_reply_done(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    it_says_the_sentence_that_answers_and_cites_its_passage),
		cmocka_unit_test(it_declines_what_no_passage_speaks_of),
		cmocka_unit_test(
		    it_declines_without_passages_and_below_a_raised_floor),
		cmocka_unit_test(equal_requests_give_equal_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
