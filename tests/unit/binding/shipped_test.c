/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scripts in lua/, in the real host with the real matcher: they pass the
 * check, the brands differ as they say, and the guards find what they should
 * on sets that nobody here wrote (skipped by name where those are absent).
 */
#include "fiber_group.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "binding/binding.h"
#include "script/script.h"
#include "shared_data.h"

static struct script_generation *shipped;

static int
setup(void **state)
{
	(void)state;
	script_setup(binding_open);
	if (script_snapshot("lua", &shipped) == OK)
		return 0;
	print_message("lua/: %s\n", err_message());
	return -1;
}

static int
teardown(void **state)
{
	(void)state;
	script_generation_unref(shipped);
	return 0;
}

static void
the_shipped_scripts_pass_the_check(void **state)
{
	struct script_report report = { 0 };

	(void)state;
	assert_int_equal(script_check(shipped, &report), OK);
	for (size_t i = 0; i < report.count; i++)
		print_message("%s:%d: %s\n", report.problems[i].file,
		    report.problems[i].line, report.problems[i].message);
	assert_int_equal(report.count, 0);
	script_report_done(&report);
}

static struct script_session *
session_of(const char *brand)
{
	struct script_budget budget = script_budget_default();
	struct script_session *session;

	budget.cpu_us = 60000000;
	assert_int_equal(
	    script_session_open(brand, shipped, &budget, &session), OK);
	return session;
}

static json_t *
route(struct script_session *session, const char *brand, const char *text,
    const char *language)
{
	json_auto json_t *args = json_pack(
	    "[{s:s, s:s, s:s, s:s, s:{s:s, s:n}, s:{s:s, s:[]}, s:{}}]", "text",
	    text, "language", language, "channel", "webchat", "brand", brand,
	    "user", "id", "u1", "name", "conversation", "id", "cv_1",
	    "messages", "context");
	json_t *out = NULL;

	if (script_call(session, SCRIPT_BRAND, brand, "route", args, &out) !=
	    OK)
		print_message("route: %s\n", err_message());
	assert_non_null(out);
	return out;
}

static void
brands_route_in_their_own_voice(void **state)
{
	static const struct {
		const char *brand, *text, *language, *route, *reply;
	} cases[] = {
		{ "default", "Hello", "en", "reply", "Ask me anything" },
		{ "alpha", "hey", "en", "reply", "looking for" },
		{ "alpha", "let me talk to a human", "en", "handoff",
		    "colleague" },
		{ "alpha", "Do you ship to Oslo?", "en", "answer", NULL },
		{ "beta", "سلام", "fa", "reply", "درود" },
		{ "beta", "Hi", "en", "reply", "Good day" },
		{ "beta",
		    "می‌خواهم با اپراتور صحبت کنم",
		    "fa", "handoff", "همکاران" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct script_session *session = session_of(cases[i].brand);
		json_t *out = route(
		    session, cases[i].brand, cases[i].text, cases[i].language);

		assert_string_equal(json_str(out, "route"), cases[i].route);
		if (cases[i].reply != NULL)
			assert_non_null(
			    strstr(json_str(out, "reply"), cases[i].reply));
		json_decref(out);
		script_session_close(session);
	}
}

/* What is wrong with a message is its sender's mistake, said in words. */
static void
a_bad_webhook_is_the_senders_mistake(void **state)
{
	struct script_session *session = session_of("default");
	json_auto json_t *args = json_pack(
	    "[{s:{s:s, s:{s:s}}}]", "body", "text", "hi", "user", "id", "u1");
	json_t *out = NULL;

	(void)state;
	assert_int_equal(script_call(session, SCRIPT_CHANNEL, "webchat",
			     "parse", args, &out),
	    ERR_INVALID);
	assert_string_equal(err_message(), "message_id is missing");
	json_object_set_new(json_object_get(json_array_get(args, 0), "body"),
	    "message_id", json_integer(7));
	assert_int_equal(script_call(session, SCRIPT_CHANNEL, "webchat",
			     "parse", args, &out),
	    OK);
	json_decref(out);
	script_session_close(session);
}

/* ---- sets ---- */

static struct buf data;

/* The lines of a .jsonl file, or a skip that names it. */
static bool
load(const char *name)
{
	char path[512];

	shared_data_path(name, path, sizeof(path));
	buf_init(&data, 0);
	if (shared_data_read(path, &data))
		return true;
	print_message("SKIPPED: %s is not here (XIN_SHARED_DATA)\n", name);
	return false;
}

static json_t *
verdict_of(struct script_session *session, const char *guard, const char *text,
    const char *stage)
{
	json_auto json_t *args =
	    json_pack("[{s:s, s:s, s:s, s:s, s:s}, {}]", "text", text, "stage",
		stage, "brand", "default", "language", "en", "user_id", "u");
	json_t *out = NULL;

	assert_non_null(args);
	if (script_call(
		session, SCRIPT_GUARDRAIL, guard, "check", args, &out) != OK)
		print_message("%s: %s\n", guard, err_message());
	assert_non_null(out);
	return out;
}

struct tally {
	int labelled, found; /* of label `wanted` */
	int others, alarms;
};

/* Run the guard over the loaded lines. Those of `wanted` should be hit. */
static struct tally
tally(const char *guard, const char *stage, const char *wanted)
{
	struct script_session *session = session_of("default");
	struct tally sum = { 0 };
	char *save = NULL;

	for (char *line = strtok_r(data.data, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		json_auto json_t *row = NULL;
		json_auto json_t *out = NULL;
		bool hit, is_wanted;

		if (json_parse(line, strlen(line), &row) != OK)
			continue;
		is_wanted =
		    wanted != NULL && str_eq(json_str(row, "label"), wanted);
		out = verdict_of(session, guard, json_str(row, "text"), stage);
		hit = !str_eq(json_str(out, "action"), "allow");
		sum.labelled += is_wanted;
		sum.found += is_wanted && hit;
		sum.others += !is_wanted;
		sum.alarms += !is_wanted && hit;
		/* One session is one turn's host calls; begin anew. */
		if ((sum.labelled + sum.others) % 500 == 0) {
			script_session_close(session);
			session = session_of("default");
		}
	}
	script_session_close(session);
	buf_done(&data);
	return sum;
}

static void
most_injections_are_blocked_and_few_other_messages(void **state)
{
	struct tally sum;

	(void)state;
	if (!load("guard/injection_deepset_train/cases.jsonl"))
		skip();
	sum = tally("prompt_injection", "input", "injection");
	print_message("deepset train: %d of %d blocked, %d false alarms of "
		      "%d\n",
	    sum.found, sum.labelled, sum.alarms, sum.others);
	assert_true(sum.found * 100 >= sum.labelled * 80);
	assert_true(sum.alarms * 100 <= sum.others);
}

static void
jailbreak_prompts_are_blocked(void **state)
{
	struct tally sum;

	(void)state;
	if (!load("guard/injection_giskard/cases.jsonl"))
		skip();
	sum = tally("prompt_injection", "input", "injection");
	print_message("giskard: %d of %d blocked\n", sum.found, sum.labelled);
	assert_int_equal(sum.found, sum.labelled);
}

static void
ordinary_questions_raise_no_alarm(void **state)
{
	static const char *const sets[] = { "retrieval/xquad/en/queries.jsonl",
		"retrieval/xquad/ar/queries.jsonl",
		"retrieval/xquad/zh/queries.jsonl",
		"retrieval/pquad_validation/queries.jsonl",
		"intents/clinc150/test.jsonl" };
	static const char *const guards[] = { "prompt_injection", "off_topic" };

	(void)state;
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		for (int g = 0; g < 2; g++) {
			struct tally sum;

			if (!load(sets[i]))
				skip();
			sum = tally(guards[g], "input", NULL);
			print_message("%s %s: %d false alarms of %d\n",
			    guards[g], sets[i], sum.alarms, sum.others);
			assert_true(sum.alarms * 200 <= sum.others);
		}
	}
}

static void
passages_of_documents_raise_no_alarm(void **state)
{
	struct tally sum;

	(void)state;
	if (!load("retrieval/xquad/en/corpus.jsonl"))
		skip();
	sum = tally("prompt_injection", "document", NULL);
	print_message(
	    "xquad passages: %d false alarms of %d\n", sum.alarms, sum.others);
	assert_int_equal(sum.alarms, 0);
}

/* Characters of a span that no longer stand in the masked text. */
static bool
is_masked(const char *masked, const char *text, const json_t *span)
{
	int64_t from = json_integer_value(json_array_get(span, 0));
	int64_t to = json_integer_value(json_array_get(span, 1));
	char secret[128];
	size_t start = 0, len = 0;
	int64_t at = 0;

	for (size_t i = 0; text[i] != '\0' && at <= to; i++) {
		if (((unsigned char)text[i] & 0xc0) == 0x80)
			continue;
		if (at == from)
			start = i;
		if (at == to)
			len = i - start;
		at++;
	}
	if (len == 0)
		len = strlen(text + start);
	if (len >= sizeof(secret))
		return false;
	memcpy(secret, text + start, len);
	secret[len] = '\0';
	return strstr(masked, secret) == NULL;
}

static void
pii_recall(const char *guard, const char *type, int at_least_percent,
    int alarms_percent)
{
	struct script_session *session;
	int spans = 0, found = 0, without = 0, alarms = 0, rows = 0;
	char *save = NULL;

	if (!load("guard/pii_presidio_research/cases.jsonl"))
		skip();
	session = session_of("default");
	for (char *line = strtok_r(data.data, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		json_auto json_t *row = NULL;
		json_auto json_t *out = NULL;
		const char *masked;
		json_t *span;
		bool has = false;
		size_t i;

		if (json_parse(line, strlen(line), &row) != OK)
			continue;
		if (++rows % 400 == 0) {
			script_session_close(session);
			session = session_of("default");
		}
		out =
		    verdict_of(session, guard, json_str(row, "text"), "input");
		masked = json_str(out, "text");
		if (masked == NULL)
			masked = json_str(row, "text");
		json_array_foreach (json_object_get(row, "spans"), i, span) {
			if (!str_eq(json_string_value(json_array_get(span, 2)),
				type))
				continue;
			has = true;
			spans++;
			found += is_masked(masked, json_str(row, "text"), span);
		}
		without += !has;
		alarms += !has && str_eq(json_str(out, "action"), "rewrite");
	}
	script_session_close(session);
	buf_done(&data);
	print_message("%s: %d of %d %s, %d alarms in %d sentences without\n",
	    guard, found, spans, type, alarms, without);
	assert_true(found * 100 >= spans * at_least_percent);
	assert_true(alarms * 100 <= without * alarms_percent);
}

static void
personal_data_is_masked(void **state)
{
	(void)state;
	pii_recall("card_numbers", "CREDIT_CARD", 85, 0);
	pii_recall("email_addresses", "EMAIL_ADDRESS", 95, 1);
	pii_recall("phone_numbers", "PHONE_NUMBER", 65, 1);
	pii_recall("national_id", "US_SSN", 90, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_shipped_scripts_pass_the_check),
		cmocka_unit_test(brands_route_in_their_own_voice),
		cmocka_unit_test(a_bad_webhook_is_the_senders_mistake),
		cmocka_unit_test(
		    most_injections_are_blocked_and_few_other_messages),
		cmocka_unit_test(jailbreak_prompts_are_blocked),
		cmocka_unit_test(ordinary_questions_raise_no_alarm),
		cmocka_unit_test(passages_of_documents_raise_no_alarm),
		cmocka_unit_test(personal_data_is_masked),
	};

	return fiber_group(tests, setup, teardown);
}
