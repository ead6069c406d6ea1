/* SPDX-License-Identifier: Apache-2.0 */
/* What the check finds, with file and line; and that good sets pass. */
#include "fiber_group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/task.h"
#include "fiber/loop.h"

#include "script_fixture.h"

#define BRAND                                                                  \
	"return {\n  api = 1,\n  name = 'alpha',\n  route = function() end,\n" \
	"  guardrails = { 'polite', { name = 'polite' } },\n"                  \
	"  pipeline = 'standard',\n  channels = { 'web' },\n}\n"
#define GUARD                                                                    \
	"local M = {\n  api = 1,\n  name = 'polite',\n  stages = { 'input' },\n" \
	"  on_error = 'block',\n"                                                \
	"  schema = { word = { type = 'string', default = 'damn' } },\n"         \
	"  examples = {\n    { text = 'damn it', action = 'block' },\n"          \
	"    { text = 'hello', action = 'allow' },\n  },\n}\n"                   \
	"function M.check(message, settings)\n"                                  \
	"  if message.text:find(settings.word, 1, true) then\n"                  \
	"    return { action = 'block', reason = 'rude' }\n  end\nend\n"         \
	"return M\n"
#define PIPELINE "return { name = 'standard', steps = { 'one' } }\n"
#define STEP     "return { name = 'one', run = function(d) return d end }\n"
#define CHANNEL                                                                 \
	"return { name = 'web', parse = function(r) return { messages = "       \
	"{ r } } end, render = function() end,\n examples = { { input = { a = " \
	"1, b = 2 }, output = { messages = { { a = 1 } } } } } }\n"

struct expected {
	const char *what;
	const char *file;
	const char *text;
	int line;
	const char *message;
};

static const struct expected problems[] = {
	{ "syntax", "guardrails/polite.lua",
	    "local x = 1\nlocal y =\nreturn {}\n", 3, "unexpected" },
	{ "undeclared global", "guardrails/polite.lua",
	    "local function f()\n  return undefined_thing\nend\nreturn { f = f }",
	    2, "undeclared global 'undefined_thing'" },
	{ "assigned global", "brands/alpha.lua",
	    "local a = 1\n\nb = a\nreturn {}", 3, "assignment to global 'b'" },
	{ "module local changed by a hook", "brands/alpha.lua",
	    "local last\nlocal M = { api = 1, name = 'alpha' }\n"
	    "function M.route(turn)\n  last = turn\nend\nreturn M",
	    4, "changes the module's local 'last'" },
	{ "top level raises", "pipelines/steps/one.lua",
	    "local x = nil\nreturn x.y", 2, "attempt to index" },
#ifndef __SANITIZE_THREAD__ /* which hands no signal to a loop without calls   \
			     */
	{ "endless top level", "pipelines/steps/one.lua",
	    "while true do end\nreturn {}", 1, "CPU" },
#endif
	{ "a top level that eats memory", "pipelines/steps/one.lua",
	    "local t = {}\nwhile true do t[#t + 1] = ('x'):rep(1000000) .. #t "
	    "end\nreturn {}",
	    2, "memory" },
	{ "no table", "brands/alpha.lua", "return 1", 1,
	    "must return a table" },
	{ "nothing returned", "brands/alpha.lua", "local a = 1\n", 1,
	    "must return its table" },
	{ "wrong api", "brands/alpha.lua",
	    "return {\n  name = 'alpha',\n  api = 2,\n  route = print }", 3,
	    "api = 1" },
	{ "wrong name", "brands/alpha.lua",
	    "return {\n  name = 'beta',\n  api = 1,\n  route = print }", 2,
	    "name must be" },
	{ "no route", "brands/alpha.lua", "return { name = 'alpha', api = 1 }",
	    1, "'route' is missing" },
	{ "unknown guardrail", "brands/alpha.lua",
	    "return { name = 'alpha', api = 1, route = print,\n\n"
	    "guardrails = { 'nope' } }",
	    3, "no guardrails/nope.lua" },
	{ "unknown pipeline", "brands/alpha.lua",
	    "return { name = 'alpha', api = 1, route = print,\n"
	    "pipeline = 'nope' }",
	    2, "no pipelines/nope.lua" },
	{ "no on_error", "guardrails/polite.lua",
	    "return { name = 'polite', api = 1, stages = { 'input' }, check = "
	    "print }",
	    1, "on_error must be" },
	{ "unknown stage", "guardrails/polite.lua",
	    "return { name = 'polite', api = 1,\nstages = { 'inptu' }, "
	    "on_error = 'allow', check = print }",
	    2, "stages knows" },
	{ "a failing example", "guardrails/polite.lua",
	    "return { name = 'polite', api = 1, stages = { 'input' },\n"
	    "on_error = 'allow', check = function() end,\nexamples = {\n"
	    "{ text = 'bad words', action = 'block' } } }",
	    4, "says allow, wanted block" },
	{ "an example that raises", "guardrails/polite.lua",
	    "return { name = 'polite', api = 1, stages = { 'input' },\n"
	    "on_error = 'allow', check = function(m)\nreturn m.nope.nope end,\n"
	    "examples = { { text = 'x', action = 'block' } } }",
	    3, "attempt to index" },
	{ "unknown step", "pipelines/standard.lua",
	    "return { name = 'standard', steps = { 'two' } }", 1,
	    "no pipelines/steps/two.lua" },
	{ "no run", "pipelines/steps/one.lua", "return { name = 'one' }", 1,
	    "'run' is missing" },
	{ "a channel example that differs", "channels/web.lua",
	    "return { name = 'web', parse = function() return {} end, render = "
	    "print,\nexamples = { { input = {}, output = { a = 1 } } } }",
	    2, "returns something else" },
};

static struct script_generation *
set_with(const char *file, const char *text)
{
	static const char *const good[][2] = { { "brands/alpha.lua", BRAND },
		{ "guardrails/polite.lua", GUARD },
		{ "pipelines/standard.lua", PIPELINE },
		{ "pipelines/steps/one.lua", STEP },
		{ "channels/web.lua", CHANNEL } };
	const char *texts[5];

	for (size_t i = 0; i < 5; i++)
		texts[i] = file != NULL && strcmp(file, good[i][0]) == 0
			       ? text
			       : good[i][1];
	return generation_of(good[0][0], texts[0], good[1][0], texts[1],
	    good[2][0], texts[2], good[3][0], texts[3], good[4][0], texts[4],
	    "guardrails/polite_spec.lua", "describe('x', function() end)",
	    NULL);
}

static void
a_good_set_has_no_problems(void **state)
{
	struct script_generation *gen = set_with(NULL, NULL);
	struct script_report report = { 0 };

	(void)state;
	assert_int_equal(script_check(gen, &report), OK);
	for (size_t i = 0; i < report.count; i++)
		print_message("%s:%d: %s\n", report.problems[i].file,
		    report.problems[i].line, report.problems[i].message);
	assert_int_equal(report.count, 0);
	script_report_done(&report);
	script_generation_unref(gen);
}

static bool
has_problem(const struct script_report *report, const struct expected *want)
{
	for (size_t i = 0; i < report->count; i++)
		if (strcmp(report->problems[i].file, want->file) == 0 &&
		    report->problems[i].line == want->line &&
		    strstr(report->problems[i].message, want->message) != NULL)
			return true;
	return false;
}

static void
each_problem_names_file_and_line(void **state)
{
	int missed = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(problems) / sizeof(*problems); i++) {
		const struct expected *want = &problems[i];
		struct script_generation *gen =
		    set_with(want->file, want->text);
		struct script_report report = { 0 };

		assert_int_equal(script_check(gen, &report), OK);
		if (!has_problem(&report, want)) {
			missed++;
			print_message("missed: %s\n", want->what);
			for (size_t j = 0; j < report.count; j++)
				print_message("  %s:%d: %s\n",
				    report.problems[j].file,
				    report.problems[j].line,
				    report.problems[j].message);
		}
		script_report_done(&report);
		script_generation_unref(gen);
	}
	assert_int_equal(missed, 0);
}

static void
a_report_survives_the_pipe(void **state)
{
	struct script_report report = { 0 };
	struct script_report copy = { 0 };
	struct buf out = { 0 };

	(void)state;
	script_report_add(&report, "brands/a.lua", 7, "quotes \" and %s", "\n");
	script_report_json(&report, &out);
	assert_int_equal(script_report_parse(out.data, out.len, &copy), OK);
	assert_int_equal(copy.count, 1);
	assert_int_equal(copy.problems[0].line, 7);
	assert_string_equal(copy.problems[0].message, "quotes \" and \n");
	script_report_done(&report);
	script_report_done(&copy);
	buf_done(&out);
}

/* ---- the check in a child: this binary is `xin check --packed -` too ---- */

static struct script_generation *child_gen;
static struct script_report child_report;

static enum err_code
child_check(void *arg)
{
	(void)arg;
	return script_check(child_gen, &child_report);
}

static int
child_main(void)
{
	struct buf data = { 0 };
	struct buf out = { 0 };
	char piece[4096];
	size_t n;

	while ((n = fread(piece, 1, sizeof(piece), stdin)) > 0)
		buf_add(&data, piece, n);
	if (script_generation_unpack(data.data, data.len, &child_gen) != OK)
		return 2;
	if (script_generation_file(child_gen, "lib/crash.lua") != NULL)
		abort();
	if (script_generation_file(child_gen, "lib/hang.lua") != NULL)
		for (;;)
			pause();
	if (loops_start(1) != OK || loop_call(loop_at(0), child_check, NULL))
		return 2;
	script_report_json(&child_report, &out);
	puts(buf_str(&out));
	buf_done(&out);
	buf_done(&data);
	loops_stop(1000);
	n = child_report.count;
	script_report_done(&child_report);
	script_generation_unref(child_gen);
	return n > 0;
}

static void
a_child_reports_what_it_found(void **state)
{
	struct script_generation *good = set_with(NULL, NULL);
	struct script_generation *bad =
	    set_with("brands/alpha.lua", "local a = 1\n\nb = a\nreturn {}");
	struct script_report report = { 0 };

	(void)state;
	assert_int_equal(
	    script_check_in_child(good, deadline_in_ms(20000), &report), OK);
	for (size_t i = 0; i < report.count; i++)
		print_message("%s\n", report.problems[i].message);
	assert_int_equal(report.count, 0);
	assert_int_equal(
	    script_check_in_child(bad, deadline_in_ms(20000), &report), OK);
	assert_int_equal(report.count, 1);
	assert_string_equal(report.problems[0].file, "brands/alpha.lua");
	assert_int_equal(report.problems[0].line, 3);
	script_report_done(&report);
	script_generation_unref(good);
	script_generation_unref(bad);
}

static void
a_child_that_dies_or_hangs_is_a_problem(void **state)
{
	struct script_generation *crash = generation_of("brands/alpha.lua",
	    "return {}", "lib/crash.lua", "return {}", NULL);
	struct script_generation *hang = generation_of(
	    "brands/alpha.lua", "return {}", "lib/hang.lua", "return {}", NULL);
	struct script_report report = { 0 };

	(void)state;
	assert_int_equal(
	    script_check_in_child(crash, deadline_in_ms(20000), &report), OK);
	assert_int_equal(report.count, 1);
	assert_non_null(strstr(report.problems[0].message, "signal"));
	script_report_done(&report);
	assert_int_equal(
	    script_check_in_child(hang, deadline_in_ms(300), &report), OK);
	assert_int_equal(report.count, 1);
	assert_non_null(strstr(report.problems[0].message, "did not end"));
	script_report_done(&report);
	script_generation_unref(crash);
	script_generation_unref(hang);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_set_has_no_problems),
		cmocka_unit_test(each_problem_names_file_and_line),
		cmocka_unit_test(a_report_survives_the_pipe),
		cmocka_unit_test(a_child_reports_what_it_found),
		cmocka_unit_test(a_child_that_dies_or_hangs_is_a_problem),
	};

	if (argc > 1 && strcmp(argv[1], "check") == 0)
		return child_main();

	return fiber_group(tests, NULL, NULL);
}
