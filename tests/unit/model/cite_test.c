/* SPDX-License-Identifier: Apache-2.0 */
/* From passages to a prompt, and from what a model says to a reply. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/model_backend.h"

#define LAMP "Our shop sells lamps. You can return a lamp within 30 days."
#define OPEN "The shop opens at nine. It closes at six."
#define SHIP "Shipping is free above fifty euros."

static const struct model_passage passages[] = {
	{ "Returns", LAMP, sizeof(LAMP) - 1, 5.0, 1.0 },
	{ "Hours", OPEN, sizeof(OPEN) - 1, 3.0, 0.5 },
	{ "", SHIP, sizeof(SHIP) - 1, 1.0, 0.2 },
};

static struct model_request
request_of(void)
{
	return (struct model_request){ .question = "When?",
		.passages = passages,
		.passage_count = 3,
		.no_answer = "none" };
}

/* The reply's text and its citations, as "text|0,2". */
static void
expect(const char *said, const char *reply_and_cited)
{
	struct model_request request = request_of();
	struct model_reply reply = { 0 };
	struct buf got;

	buf_init(&reply.text, 4096);
	buf_init(&got, 0);
	model__cite(&request, said, strlen(said), &reply);
	buf_addf(&got, "%s|", buf_str(&reply.text));
	for (size_t i = 0; i < reply.cited_count; i++)
		buf_addf(&got, "%s%zu", i > 0 ? "," : "", reply.cited[i]);
	assert_string_equal(buf_str(&got), reply_and_cited);
	assert_int_equal(reply.answered, reply.cited_count > 0);
	assert_true(reply.confidence >= 0 && reply.confidence <= 1);
	buf_done(&got);
	model_reply_done(&reply);
}

static void
marks_become_citations_in_the_order_of_use(void **state)
{
	(void)state;
	expect("Free [3]. At nine [2][3].", "Free [1]. At nine [2][1].|2,1");
	expect(
	    "A [1, 2]. B [2-3]. C [1;3]", "A [1][2]. B [2][3]. C [1][3]|0,1,2");
	expect("A\xE3\x80\x90"
	       "2\xE2\x80\xA0source\xE3\x80\x91 b",
	    "A[1] b|1");
	expect("\xD8\xA8 [\xDB\xB2] \xD8\xA8 [\xD9\xA1]",
	    "\xD8\xA8 [1] \xD8\xA8 [2]|1,0");
	expect("A [^3].", "A [1].|2");
}

static void
marks_that_name_no_passage_go_and_other_brackets_stay(void **state)
{
	(void)state;
	expect("Nine [7]. Six [2] [9].", "Nine. Six [1].|1");
	expect("In [2024] at [x] nine [2], [1](http://a) and [",
	    "In [2024] at [x] nine [1], [1](http://a) and [|1");
	expect("a [] [,] [1,] [3-1] [2] \xE3\x80\x82",
	    "a [] [,] [1,] [3-1] [1] \xE3\x80\x82|1");
}

static void
an_unmarked_answer_is_given_to_the_passages_that_back_it(void **state)
{
	(void)state;
	expect("The shop opens at nine.", "The shop opens at nine.|1");
	expect("Elephants migrate in spring.", "none|");
}

static void
not_knowing_is_no_answer(void **state)
{
	(void)state;
	expect("NO_ANSWER", "none|");
	expect("  NO_ANSWER. Passage [1] is about lamps.", "none|");
	expect("", "none|");
	expect(" \n\t", "none|");
	expect("<think>hm [1]", "none|");
}

static void
thinking_aloud_is_left_out(void **state)
{
	(void)state;
	expect("<think>NO_ANSWER? [2]</think>\n\nNine [2]. ", "Nine [1].|1");
}

static void
any_bytes_of_a_mark_cut_short_are_text(void **state)
{
	const char *mark = "x \xE3\x80\x90"
			   "2\xE2\x80\xA0s\xE3\x80\x91 [\xDB\xB2, 3]";
	struct model_request request = request_of();

	(void)state;
	for (size_t len = 0; len <= strlen(mark); len++) {
		char *copy = mem_alloc(len + 1);
		struct model_reply reply = { 0 };

		memcpy(copy, mark, len);
		buf_init(&reply.text, 4096);
		model__cite(&request, copy, len, &reply);
		model_reply_done(&reply);
		mem_free(copy);
	}
}

static const char *
content(const json_t *messages, size_t at)
{
	return json_str(json_array_get(messages, at), "content");
}

static void
the_prompt_gives_way_at_its_ceiling_oldest_messages_first(void **state)
{
	struct model_request request = request_of();
	json_t *history = json_array(), *messages;
	char old[200];

	(void)state;
	memset(old, 'o', sizeof(old) - 1);
	old[sizeof(old) - 1] = '\0';
	json_array_append_new(
	    history, json_pack("{s:s, s:s}", "role", "user", "text", old));
	json_array_append_new(history,
	    json_pack("{s:s, s:s}", "role", "assistant", "text", "young"));
	request.history = history;
	messages = model__prompt(&request, 4096);
	assert_int_equal(json_array_size(messages), 4);
	assert_non_null(strstr(content(messages, 3), "[3]\nShipping"));
	json_decref(messages);
	messages = model__prompt(&request, 700);
	assert_int_equal(json_array_size(messages), 3);
	assert_string_equal(content(messages, 1), "young");
	json_decref(messages);
	messages = model__prompt(&request, 1);
	assert_int_equal(json_array_size(messages), 2);
	assert_non_null(strstr(content(messages, 1), "[1] Returns\n" LAMP));
	assert_null(strstr(content(messages, 1), "[2]"));
	assert_non_null(strstr(content(messages, 1), "Question: When?"));
	json_decref(messages);
	json_decref(history);
}

int
main(void)
{
	const struct CMUnitTest cite[] = {
		cmocka_unit_test(marks_become_citations_in_the_order_of_use),
		cmocka_unit_test(
		    marks_that_name_no_passage_go_and_other_brackets_stay),
		cmocka_unit_test(
		    an_unmarked_answer_is_given_to_the_passages_that_back_it),
		cmocka_unit_test(not_knowing_is_no_answer),
		cmocka_unit_test(thinking_aloud_is_left_out),
		cmocka_unit_test(any_bytes_of_a_mark_cut_short_are_text),
		cmocka_unit_test(
		    the_prompt_gives_way_at_its_ceiling_oldest_messages_first),
	};

	return cmocka_run_group_tests(cite, NULL, NULL);
}
