/* SPDX-License-Identifier: Apache-2.0 */
/* W3C Trace Context level 2 and Baggage: what comes in, what goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/trace.h"

#define ID     "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static bool
parses(const char *text)
{
	char trace_id[33], span_id[17];
	uint8_t flags;

	return trace_parse_parent(text, trace_id, span_id, &flags);
}

static void
a_traceparent_is_read_as_the_grammar_says(void **state)
{
	char trace_id[33], span_id[17];
	uint8_t flags;

	(void)state;
	assert_true(trace_parse_parent(
	    "00-" ID "-" PARENT "-01", trace_id, span_id, &flags));
	assert_string_equal(trace_id, ID);
	assert_string_equal(span_id, PARENT);
	assert_int_equal(flags, TRACE_SAMPLED);
	assert_true(parses("00-" ID "-" PARENT "-ff"));
	assert_true(parses("cc-" ID "-" PARENT "-01"));
	assert_true(parses("cc-" ID "-" PARENT "-01-what-comes-later"));
}

static void
a_bad_traceparent_is_refused(void **state)
{
	static const char *const bad[] = { "", "00", "00-" ID "-" PARENT,
		"ff-" ID "-" PARENT "-01", "00-" ID "-" PARENT "-01-x",
		"00-" ID "-" PARENT "-01 ", "cc-" ID "-" PARENT "-01.x",
		"00-00000000000000000000000000000000-" PARENT "-01",
		"00-" ID "-0000000000000000-01",
		"00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01",
		"000-" ID "-" PARENT "-01", "0-" ID "-" PARENT "-01",
		".0-" ID "-" PARENT "-01", "00-1" ID "-" PARENT "-01",
		"00-" ID "-1" PARENT "-01", "00-" ID "-" PARENT "-001",
		"00-" ID "-" PARENT "-1", "00-" ID "-B7AD6B7169203331-01",
		"00-" ID "-" PARENT "-0A", "FF-" ID "-" PARENT "-01",
		"CC-" ID "-" PARENT "-01", "cc-" ID "-" PARENT "-0",
		"00-" ID "-" PARENT "-01,00-" ID "-" PARENT "-01",
		"cc-" ID "-" PARENT "-01,cc-" ID "-" PARENT "-01",
		"0g-" ID "-" PARENT "-01", "00-" ID "-" PARENT "-0g",
		"00_" ID "_" PARENT "_01" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (parses(bad[i]))
			fail_msg("taken: \"%s\"", bad[i]);
}

static void
flags_we_do_not_know_are_dropped(void **state)
{
	char trace_id[33], span_id[17];
	uint8_t flags;

	(void)state;
	assert_true(trace_parse_parent(
	    "00-" ID "-" PARENT "-ff", trace_id, span_id, &flags));
	assert_int_equal(flags, TRACE_SAMPLED | TRACE_RANDOM);
}

static void
a_tracestate_keeps_its_order_and_loses_blanks(void **state)
{
	char out[TRACE_STATE_SIZE];

	(void)state;
	assert_true(trace_clean_state("b=2 ,\ta=1,, 1t@v=x y", out));
	assert_string_equal(out, "b=2,a=1,1t@v=x y");
	assert_false(trace_clean_state("", out));
	assert_false(trace_clean_state(" , ,", out));
	assert_false(trace_clean_state("a", out));
	assert_false(trace_clean_state("A=1", out));
	assert_false(trace_clean_state("a=", out));
	assert_false(trace_clean_state("a=1=2", out));
	assert_false(trace_clean_state("a=b\x01", out));
	assert_false(trace_clean_state("good=1,b\xc3\xa4=1", out));
}

static void
a_long_tracestate_loses_whole_entries_long_ones_first(void **state)
{
	char in[1200], out[TRACE_STATE_SIZE];
	int len =
	    snprintf(in, sizeof(in), "long=%0200d,short=1,wide=%0200d", 0, 0);

	(void)state;
	for (int i = 0; i < 12; i++)
		len += snprintf(
		    in + len, sizeof(in) - (size_t)len, ",k%02d=%020d", i, i);
	assert_true(trace_clean_state(in, out));
	assert_non_null(strstr(out, "short=1"));
	assert_non_null(strstr(out, "k11="));
	assert_null(strstr(out, "wide="));
	assert_true(strlen(out) < TRACE_STATE_SIZE);
}

/* W3C's own validation: 32 members are taken, 33 make the header invalid. */
static void
over_32_entries_are_no_tracestate(void **state)
{
	char in[600] = "", out[TRACE_STATE_SIZE];
	size_t len = 0;

	(void)state;
	for (int i = 0; i < 33; i++) {
		len += (size_t)snprintf(
		    in + len, sizeof(in) - len, "%sk%02d=1", i ? "," : "", i);
		assert_int_equal(trace_clean_state(in, out), i < 32);
	}
}

static void
a_tracestate_of_512_bytes_goes_on_whole(void **state)
{
	char in[600], out[TRACE_STATE_SIZE];

	(void)state;
	/* One entry, the key and value as long as they may be but one. */
	memset(in, 'k', sizeof(in));
	in[255] = '=';
	in[512] = '\0';
	assert_true(trace_clean_state(in, out));
	assert_string_equal(out, in);
	/* Four entries of 127 and three commas make 511. */
	for (int i = 0; i < 4; i++)
		snprintf(in + i * 128, 129, "k%d=%0124d,", i, i);
	in[511] = '\0';
	assert_true(trace_clean_state(in, out));
	assert_string_equal(out, in);
}

static void
keys_and_values_of_a_tracestate_have_their_lengths(void **state)
{
	char in[600], out[TRACE_STATE_SIZE];

	(void)state;
	memset(in, 'k', sizeof(in));
	strcpy(in + 256, "=v");
	assert_true(trace_clean_state(in, out));
	memset(in, 'k', sizeof(in));
	strcpy(in + 257, "=v");
	assert_false(trace_clean_state(in, out));
	memset(in, 'k', sizeof(in));
	in[1] = '=';
	in[2 + 256] = '\0';
	assert_true(trace_clean_state(in, out));
	in[2 + 256] = 'v';
	in[2 + 257] = '\0';
	assert_false(trace_clean_state(in, out));
}

static void
baggage_keeps_the_well_formed_members(void **state)
{
	char out[TRACE_BAGGAGE_SIZE];

	(void)state;
	assert_true(trace_clean_baggage(
	    "a=1, b = x%20y;p=1;q ,no,=v,k\"=1,c=a=b", out));
	assert_string_equal(out, "a=1,b = x%20y;p=1;q,c=a=b");
	assert_false(trace_clean_baggage("nothing here", out));
	assert_false(trace_clean_baggage("a=\x01", out));
}

static void
baggage_that_breaks_the_grammar_is_dropped_alone(void **state)
{
	static const char *const bad[] = { "a=b c", "a=\"b\"", "a=b\\c",
		"a b=1", "a=1;", "a=1;;q", "a=1;=2", "a=1;p=x y", "a=1;p q",
		"=1", "a", "a=\xc3\xa4", "a=\x7f", "(a)=1" };
	static const char *const good[] = { "a=", "a = 1", "a=1 ; p = 2 ; q",
		"a=b=c", "!#$%&'*+-.^_`|~09azAZ=1", "a=%20%C3%A4" };
	char in[200], out[TRACE_BAGGAGE_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(in, sizeof(in), "x=1,%s,y=2", bad[i]);
		assert_true(trace_clean_baggage(in, out));
		assert_string_equal(out, "x=1,y=2");
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(trace_clean_baggage(good[i], out));
		assert_string_equal(out, good[i]);
	}
}

static void
baggage_of_64_members_or_8192_bytes_goes_on_whole(void **state)
{
	static char in[9000], out[TRACE_BAGGAGE_SIZE];
	size_t len = 0;

	(void)state;
	for (int i = 0; i < 65; i++) {
		len += (size_t)snprintf(
		    in + len, sizeof(in) - len, "%sk%02d=1", i ? "," : "", i);
		assert_true(trace_clean_baggage(in, out));
		assert_int_equal(strcmp(in, out) == 0, i < 64);
	}
	assert_null(strstr(out, "k64"));
	memset(in, 'k', sizeof(in));
	in[1] = '=';
	in[8192] = '\0';
	assert_true(trace_clean_baggage(in, out));
	assert_string_equal(out, in);
	in[8192] = 'k';
	in[8193] = '\0';
	assert_false(trace_clean_baggage(in, out));
}

static void
baggage_is_bounded_and_no_member_is_cut(void **state)
{
	static char in[20000], out[TRACE_BAGGAGE_SIZE];
	size_t len = 0;

	(void)state;
	for (int i = 0; i < 60; i++)
		len += (size_t)snprintf(in + len, sizeof(in) - len,
		    "%sk%02d=%0200d", i ? "," : "", i, 7);
	assert_true(trace_clean_baggage(in, out));
	assert_true(strlen(out) <= 8192);
	assert_int_equal(out[strlen(out) - 1], '7');
	assert_int_equal((strlen(out) + 1) % 205, 0);
}

/* ---- entering ---- */

static void
enter(struct task *task, const char *parent)
{
	const struct trace_headers from = { parent, "a=1", "k=v" };

	task_init(task, SERVICE_GATEWAY);
	trace_enter(task, &from);
}

static void
a_valid_parent_is_continued(void **state)
{
	char text[TRACE_PARENT_SIZE];
	struct task task;

	(void)state;
	enter(&task, "00-" ID "-" PARENT "-01");
	assert_string_equal(task.trace_id, ID);
	assert_string_equal(task.span_id, PARENT);
	assert_string_equal(trace_state(&task), "a=1");
	assert_string_equal(trace_baggage(&task), "k=v");
	assert_true(trace_parent(&task, text));
	assert_string_equal(text, "00-" ID "-" PARENT "-01");
	task_done(&task);
}

static void
without_a_valid_parent_a_trace_begins_and_tracestate_is_not_read(void **state)
{
	struct task task, other;

	(void)state;
	enter(&task, "00-" ID);
	enter(&other, NULL);
	assert_int_equal(strlen(task.trace_id), 32);
	assert_string_not_equal(task.trace_id, other.trace_id);
	assert_string_equal(task.span_id, "");
	assert_null(trace_state(&task));
	assert_string_equal(trace_baggage(&task), "k=v");
	assert_int_equal(task.trace_flags, TRACE_SAMPLED | TRACE_RANDOM);
	task_done(&task);
	task_done(&other);
}

static bool
samples(enum trace_sampler sampler, double ratio, const char *parent)
{
	const struct trace_options options = { .sampler = sampler,
		.ratio = ratio };
	struct task task;
	bool sampled;

	trace_setup(&options);
	enter(&task, parent);
	sampled = (task.trace_flags & TRACE_SAMPLED) != 0;
	task_done(&task);
	trace_setup(&(struct trace_options){ 0 });
	return sampled;
}

static void
samplers_decide_as_their_names_say(void **state)
{
	static const char on[] = "00-" ID "-" PARENT "-01";
	static const char off[] = "00-" ID "-" PARENT "-00";
	/* The right-most 56 bits: 0x48eb211c80319c of 2^56 = 0.284... */

	(void)state;
	assert_true(samples(TRACE_PARENT_ALWAYS_ON, 1, NULL));
	assert_true(samples(TRACE_PARENT_ALWAYS_ON, 1, on));
	assert_false(samples(TRACE_PARENT_ALWAYS_ON, 1, off));
	assert_false(samples(TRACE_PARENT_ALWAYS_OFF, 1, NULL));
	assert_true(samples(TRACE_PARENT_ALWAYS_OFF, 1, on));
	assert_true(samples(TRACE_ALWAYS_ON, 1, off));
	assert_false(samples(TRACE_ALWAYS_OFF, 1, on));
	assert_true(samples(TRACE_RATIO, 0.29, off));
	assert_false(samples(TRACE_RATIO, 0.28, on));
	assert_true(samples(TRACE_PARENT_RATIO, 0, on));
	assert_false(samples(TRACE_PARENT_RATIO, 0, NULL));
	assert_true(samples(TRACE_PARENT_RATIO, 1, NULL));
}

static void
work_for_a_task_inherits_its_trace(void **state)
{
	struct task task, child;

	(void)state;
	enter(&task, "00-" ID "-" PARENT "-01");
	task_init(&child, SERVICE_NONE);
	task_inherit(&child, &task);
	task_done(&task); /* its strings are gone */
	assert_string_equal(child.trace_id, ID);
	assert_string_equal(trace_state(&child), "a=1");
	assert_string_equal(trace_baggage(&child), "k=v");
	assert_int_equal(child.service, SERVICE_GATEWAY);
	task_done(&child);
}

static void
propagators_that_are_off_read_and_send_nothing(void **state)
{
	char text[TRACE_PARENT_SIZE];
	struct task task;

	(void)state;
	trace_setup(
	    &(struct trace_options){ .no_context = true, .no_baggage = true });
	enter(&task, "00-" ID "-" PARENT "-01");
	assert_string_not_equal(task.trace_id, ID);
	assert_false(trace_parent(&task, text));
	assert_null(trace_state(&task));
	assert_null(trace_baggage(&task));
	task_done(&task);
	trace_setup(&(struct trace_options){ 0 });
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_traceparent_is_read_as_the_grammar_says),
		cmocka_unit_test(a_bad_traceparent_is_refused),
		cmocka_unit_test(flags_we_do_not_know_are_dropped),
		cmocka_unit_test(a_tracestate_keeps_its_order_and_loses_blanks),
		cmocka_unit_test(
		    a_long_tracestate_loses_whole_entries_long_ones_first),
		cmocka_unit_test(over_32_entries_are_no_tracestate),
		cmocka_unit_test(a_tracestate_of_512_bytes_goes_on_whole),
		cmocka_unit_test(
		    keys_and_values_of_a_tracestate_have_their_lengths),
		cmocka_unit_test(
		    baggage_that_breaks_the_grammar_is_dropped_alone),
		cmocka_unit_test(
		    baggage_of_64_members_or_8192_bytes_goes_on_whole),
		cmocka_unit_test(baggage_keeps_the_well_formed_members),
		cmocka_unit_test(baggage_is_bounded_and_no_member_is_cut),
		cmocka_unit_test(a_valid_parent_is_continued),
		cmocka_unit_test(
		    without_a_valid_parent_a_trace_begins_and_tracestate_is_not_read),
		cmocka_unit_test(samplers_decide_as_their_names_say),
		cmocka_unit_test(work_for_a_task_inherits_its_trace),
		cmocka_unit_test(
		    propagators_that_are_off_read_and_send_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
