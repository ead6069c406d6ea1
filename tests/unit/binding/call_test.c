/* SPDX-License-Identifier: Apache-2.0 */
/* xin.* from scripts, in the real host: what each gives, where each may be
 * called, and that bad arguments are sentences. */
#include "fiber_group.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "binding/binding.h"
#include "binding/job.h"
#include "binding/turn.h"
#include "kv/kv.h"
#include "script/script.h"
#include "script_fixture.h"
#include "search/search.h"
#include "sqlite/sqlite.h"
#include "store/store.h"

static int
setup(void **state)
{
	(void)state;
	script_setup(binding_open);
	return 0;
}

/* What a route made of `body` gives, as JSON text; "!sentence" on failure. */
static char *
eval_in(const char *head, const char *body, void *user)
{
	char *text = mem_printf("%s\nlocal M = {}\nfunction M.route(turn)\n"
				"%s\nend\nreturn M",
	    head, body);
	struct script_generation *gen =
	    generation_of("brands/alpha.lua", text, NULL);
	struct script_session *session = NULL;
	json_auto json_t *args = json_pack("[{}]");
	json_auto json_t *out = NULL;
	enum err_code rc;
	char *result;

	rc = script_session_open("alpha", gen, NULL, &session);
	if (rc == OK) {
		script_session_set_user(session, user);
		rc = script_call(
		    session, SCRIPT_BRAND, "alpha", "route", args, &out);
	}
	result = rc == OK ? json_text(out) : mem_printf("!%s", err_message());
	script_session_close(session);
	script_generation_unref(gen);
	mem_free(text);
	return result;
}

static void
assert_eval(const char *head, const char *body, const char *wanted)
{
	char *got = eval_in(head, body, NULL);

	if (!str_eq(got, wanted))
		print_message(
		    "%s\n  gave   %s\n  wanted %s\n", body, got, wanted);
	assert_string_equal(got, wanted);
	mem_free(got);
}

static void
assert_fails(const char *head, const char *body, const char *part)
{
	char *got = eval_in(head, body, NULL);

	if (got[0] != '!' || strstr(got, part) == NULL)
		print_message(
		    "%s\n  gave   %s\n  wanted %s\n", body, got, part);
	assert_true(got[0] == '!');
	assert_non_null(strstr(got, part));
	mem_free(got);
}

static void
text_functions_count_characters(void **state)
{
	(void)state;
	assert_eval("", "return xin.text.length('سلام')", "4");
	assert_eval("", "return xin.text.sub('سلام', 2, 3)", "\"لا\"");
	assert_eval("", "return xin.text.sub('سلام', -2)", "\"ام\"");
	assert_eval("", "return xin.text.sub('abc', 2, 99)", "\"bc\"");
	assert_eval("", "return xin.text.sub('abc', 3, 2)", "\"\"");
	assert_eval("", "return xin.text.fold('ABC ۱۲٣')", "\"abc 123\"");
	assert_eval("", "return xin.text.is_rtl('سلام')", "true");
	assert_eval("", "return #xin.text.tokens('red green red')", "3");
	assert_eval(
	    "", "return xin.text.sentences('One. Two!')[2]", "\"Two!\"");
	assert_eval("", "return xin.text.clean(' a\\0\\r\\n b ')", "\"a\\nb\"");
	assert_fails("", "return xin.text.fold(('x'):rep(2000000))",
	    "longer than 1048576 bytes");
	assert_fails("", "return xin.text.fold('\\xff')", "not valid UTF-8");
	assert_fails("", "return xin.text.fold({})", "string expected");
}

#define DIGITS                                                                 \
	"local set = xin.match.compile({ { name = 'n', regex = [[\\d+]] }, "   \
	"{ name = 'w', regex = 'cat', caseless = true, word_edges = true } })"

static void
sets_scan_and_replace(void **state)
{
	(void)state;
	assert_eval(DIGITS, "return set:scan('a 12 Cat')[1].text", "\"12\"");
	assert_eval(DIGITS,
	    "local h = set:scan('a 12 Cat')[2] "
	    "return h.name .. h.start .. '-' .. h['end']",
	    "\"w6-8\"");
	assert_eval(DIGITS, "return set:any('concat')", "false");
	assert_eval(DIGITS, "return set:replace('1 cat ۲', '#')", "\"# # #\"");
	assert_eval(
	    DIGITS, "return set:replace('1 cat', { w = 'dog' })", "\"1 dog\"");
	assert_eval(DIGITS,
	    "return set:replace('1 cat 22', function(h) "
	    "if h.name == 'n' then return '<' .. h.text .. '>' end end)",
	    "\"<1> cat <22>\"");
	assert_eval(DIGITS,
	    "local t, n = set:replace(('7 '):rep(1000), 'x') "
	    "return n .. t:sub(-4)",
	    "\"1000x x \"");
	assert_fails(DIGITS, "return set:replace('1', 5)", "string, table");
	assert_fails(DIGITS, "return set.scan('x')", "with a colon");
	assert_fails(DIGITS, "set.scan = 1", "");
}

static void
sets_are_declared_at_load_and_checked_there(void **state)
{
	(void)state;
	assert_fails(
	    "", "return xin.match.compile({})", "only while a module loads");
	assert_fails("local s = xin.match.compile({ { name = 'a', regex = '(' "
		     "} })",
	    "return 1", "pattern \"a\"");
	assert_fails("local s = xin.match.compile({ { name = 'a', regx = 'x' "
		     "} })",
	    "return 1", "unknown field 'regx'");
	assert_fails("local s = xin.match.compile({ { name = 'a', regex = 'x',"
		     " check = 'magic' } })",
	    "return 1", "magic");
	assert_fails(
	    "local s = xin.match.compile({})", "return 1", "1 to 1000");
}

static void
json_and_hashes_and_time(void **state)
{
	(void)state;
	assert_eval(
	    "", "return xin.json.decode('[1, {\"a\": 2.5}]')[2].a", "2.5");
	assert_eval("", "return xin.json.encode({ a = { 1, 2 } })",
	    "\"{\\\"a\\\":[1,2]}\"");
	assert_eval("", "local v, e = xin.json.decode('[1,') return e.code",
	    "\"invalid_request\"");
	assert_eval(
	    "", "return xin.crypto.sha256('abc'):sub(1, 8)", "\"ba7816bf\"");
	assert_eval(
	    "", "return xin.time.iso(0)", "\"1970-01-01T00:00:00.000Z\"");
	assert_fails("", "return xin.time.iso(-1)", "between 1970");
	assert_fails("", "return xin.json.encode(print)", "function");
}

static void
host_functions_cannot_be_changed(void **state)
{
	(void)state;
	assert_fails("", "xin.text.fold = print", "cannot be changed");
	assert_fails("", "rawset(xin, 'text', {})", "table expected");
	assert_eval("", "return getmetatable(xin.text)", "false");
}

static void
calls_are_refused_where_they_do_not_belong(void **state)
{
	(void)state;
	assert_fails("", "return xin.search.put({})",
	    "xin.search.put may not be called in a brand");
	assert_fails("", "return xin.document.blocks()", "a pipeline step");
	assert_fails("local x = xin.search.find('q')", "return 1",
	    "may not be called in");
}

static void
logs_and_metrics_take_no_text_of_users(void **state)
{
	(void)state;
	assert_eval("",
	    "xin.log.info('route.chosen', { route = 'answer', n = "
	    "3 }) return true",
	    "true");
	assert_fails("", "xin.log.info('my text')", "an event name");
	assert_fails("", "xin.metric.count('whatever')", "invalid option");
	assert_eval("", "xin.metric.count('greeting') return true", "true");
}

static void
state_of_a_brand_is_kept(void **state)
{
	struct kv *kv;
	struct binding_turn turn = { .brand = "alpha" };
	char *got;

	(void)state;
	assert_int_equal(kv_open("", &kv), OK);
	turn.kv = kv;
	got = eval_in("",
	    "xin.kv.set('a', '1') xin.kv.set('b', '2', 60) "
	    "xin.kv.delete('b') return { xin.kv.get('a'), "
	    "xin.kv.get('b') == nil }",
	    &turn);
	assert_string_equal(got, "[\"1\",true]");
	mem_free(got);
	turn.brand = "beta";
	got = eval_in("", "return xin.kv.get('a') == nil", &turn);
	assert_string_equal(got, "true");
	mem_free(got);
	kv_close(kv);
	assert_eval("", "local v, e = xin.kv.get('a') return e.code",
	    "\"unavailable\"");
}

static void
slots_of_a_conversation_are_kept(void **state)
{
	char *folder = test_folder_new();
	char *path = mem_printf("%s/x.db", folder);
	struct conversation conversation = { 0 };
	struct binding_turn turn = { .brand = "alpha" };
	struct sqlite *db;
	char *got;

	(void)state;
	assert_int_equal(sqlite_open(path, &db), OK);
	assert_int_equal(store_open("sqlite:", db, &turn.store), OK);
	assert_int_equal(store_conversation_open(turn.store, "alpha", "api",
			     "u1", NULL, 1000, &conversation),
	    OK);
	turn.conversation_id = conversation.id;
	got = eval_in("",
	    "xin.conversation.set('order', { id = 7 }) "
	    "return xin.conversation.get('order').id",
	    &turn);
	assert_string_equal(got, "7");
	mem_free(got);
	got = eval_in("",
	    "local ok, e = xin.conversation.set('big', "
	    "('x'):rep(20000)) return e.code",
	    &turn);
	assert_string_equal(got, "\"too_large\"");
	mem_free(got);
	conversation_done(&conversation);
	store_close(turn.store);
	sqlite_close(db);
	test_folder_remove(folder);
	mem_free(path);
}

/* ---- steps ---- */

#define GUARD                                                                  \
	"local set = xin.match.compile({ { name = 'bad', regex = 'badword' "   \
	"} })\n"                                                               \
	"return { api = 1, name = 'polite', stages = { 'document' }, "         \
	"on_error = 'block', check = function(m)\n"                            \
	"if m.text:find('secret') then return { action = 'block', reason = "   \
	"'secret' } end\n"                                                     \
	"local t, n = set:replace(m.text, '***')\n"                            \
	"if n > 0 then return { action = 'rewrite', text = t } end\n"          \
	"return { action = 'allow' } end }"
#define STEP_CUT                                                               \
	"return { name = 'cut', run = function(d)\n"                           \
	"xin.document.set_blocks({ { type = 'heading', level = 1, text = "     \
	"'Top' }, { type = 'paragraph', text = ('Fine words. '):rep(10) }, "   \
	"{ type = 'paragraph', text = ('A secret. '):rep(10) }, { type = "     \
	"'paragraph', text = ('One badword. '):rep(8) } })\n"                  \
	"xin.document.set_chunks(xin.text.chunks(xin.document.blocks(), { "    \
	"max_chars = 130 }))\n"                                                \
	"local n = 0 for _, c in ipairs(xin.document.chunks()) do n = n + "    \
	"#c.text end\n"                                                        \
	"d.title = 'New' d.language = 'en' d.metadata = { size = n } "         \
	"return d end }"
#define STEP_GUARD                                                             \
	"return { name = 'guard', run = function(d)\n"                         \
	"local one = xin.guard.check('a badword', 'document')\n"               \
	"if one.action ~= 'rewrite' or one.text ~= 'a ***' then error('?') "   \
	"end\n"                                                                \
	"local chunks, o = xin.guard.chunks(xin.document.chunks())\n"          \
	"xin.document.set_chunks(chunks) return d end }"
#define STEP_INDEX                                                             \
	"return { name = 'index', run = function(d)\n"                         \
	"local n, e = xin.search.put(xin.document.chunks())\n"                 \
	"if not n then return nil, e end return d end }"

struct pipeline {
	struct script_session *session;
	struct binding_job job;
	int moved;
};

static enum err_code
count_moves(struct binding_job *job)
{
	((struct pipeline *)job->owner)->moved++;
	return OK;
}

static enum err_code
run_step(struct pipeline *pipeline, const char *step)
{
	json_auto json_t *args =
	    json_pack("[o, {}]", binding_job_view(&pipeline->job));
	json_auto json_t *out = NULL;
	enum err_code rc = script_call(
	    pipeline->session, SCRIPT_STEP, step, "run", args, &out);

	rc = binding_job_outcome(&pipeline->job, rc);
	if (rc == OK)
		rc = binding_job_take(&pipeline->job, out);
	if (rc != OK)
		print_message("%s: %s\n", step, err_message());
	return rc;
}

static void
steps_share_a_document_that_stays_native(void **state)
{
	char *folder = test_folder_new();
	char *path = mem_printf("%s/x.db", folder);
	struct script_generation *gen = generation_of("brands/alpha.lua",
	    "return { route = function() end }", "guardrails/polite.lua", GUARD,
	    "pipelines/steps/cut.lua", STEP_CUT, "pipelines/steps/guard.lua",
	    STEP_GUARD, "pipelines/steps/index.lua", STEP_INDEX, NULL);
	json_auto json_t *guards = json_pack("[{s:s}]", "name", "polite");
	struct pipeline p = { .job = { .brand = "alpha",
				  .source_id = "kn_1",
				  .version = 1,
				  .title = "Old",
				  .guardrails = guards,
				  .moved = count_moves } };
	struct sqlite *db;
	struct store *store;

	(void)state;
	p.job.owner = &p;
	assert_int_equal(sqlite_open(path, &db), OK);
	assert_int_equal(store_open("sqlite:", db, &store), OK);
	assert_int_equal(search_open("", db, &p.job.search), OK);
	assert_int_equal(
	    script_session_open("alpha", gen, NULL, &p.session), OK);
	script_session_set_user(p.session, &p.job);

	assert_int_equal(run_step(&p, "cut"), OK);
	assert_int_equal(binding_job_blocks(&p.job), 4);
	assert_int_equal(binding_job_chunks(&p.job), 3);
	assert_string_equal(p.job.made_title, "New");
	assert_string_equal(p.job.made_language, "en");
	assert_true(json_int(p.job.made_metadata, "size", 0) > 300);

	assert_int_equal(run_step(&p, "guard"), OK);
	assert_int_equal(p.job.dropped, 1);
	assert_int_equal(p.job.rewritten, 1);
	assert_int_equal(binding_job_chunks(&p.job), 2);
	assert_true(json_array_size(p.job.ledger) >= 2);

	assert_int_equal(run_step(&p, "index"), OK);
	assert_int_equal(p.job.indexed, 2);
	assert_true(p.moved >= 2);

	script_session_close(p.session);
	binding_job_done(&p.job);
	script_generation_unref(gen);
	search_close(p.job.search);
	store_close(store);
	sqlite_close(db);
	test_folder_remove(folder);
	mem_free(path);
}

static void
a_host_failure_keeps_its_code_through_a_step(void **state)
{
	struct script_generation *gen = generation_of("brands/alpha.lua",
	    "return { route = function() end }", "pipelines/steps/read.lua",
	    "return { name = 'read', run = function(d)\n"
	    "local b, e = xin.extract.blocks()\n"
	    "if not b then return nil, e end return d end }",
	    "pipelines/steps/early.lua",
	    "return { name = 'early', run = function(d)\n"
	    "return xin.document.chunks() end }",
	    NULL);
	struct pipeline p = { .job = { .brand = "alpha",
				  .source_id = "kn_1",
				  .version = 1,
				  .path = "/etc/passwd",
				  .filename = "x.exe",
				  .content_type =
				      "application/x-msdownload" } };

	(void)state;
	assert_int_equal(
	    script_session_open("alpha", gen, NULL, &p.session), OK);
	script_session_set_user(p.session, &p.job);
	assert_int_equal(run_step(&p, "read"), ERR_MEDIA_TYPE);
	assert_int_equal(run_step(&p, "early"), ERR_SCRIPT);
	assert_non_null(strstr(err_message(), "no chunks yet"));
	script_session_close(p.session);
	binding_job_done(&p.job);
	script_generation_unref(gen);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_functions_count_characters),
		cmocka_unit_test(sets_scan_and_replace),
		cmocka_unit_test(sets_are_declared_at_load_and_checked_there),
		cmocka_unit_test(json_and_hashes_and_time),
		cmocka_unit_test(host_functions_cannot_be_changed),
		cmocka_unit_test(calls_are_refused_where_they_do_not_belong),
		cmocka_unit_test(logs_and_metrics_take_no_text_of_users),
		cmocka_unit_test(state_of_a_brand_is_kept),
		cmocka_unit_test(slots_of_a_conversation_are_kept),
		cmocka_unit_test(steps_share_a_document_that_stays_native),
		cmocka_unit_test(a_host_failure_keeps_its_code_through_a_step),
	};

	return fiber_group(tests, setup, NULL);
}
