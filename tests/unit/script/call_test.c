/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and calls: values in and out, errors, waits, reload. */
#include "fiber_group.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "script/host_call.h"
#include "script_fixture.h"

/* A host call for tests: test_wait(ms) sleeps on the fiber, returns "done". */
struct nap {
	struct script_request request;
	uint64_t ms;
};

static enum err_code
nap_run(struct script_request *request, struct script_session *session)
{
	(void)session;
	return fiber_sleep(((struct nap *)request)->ms);
}

static int
nap_push(struct script_request *request, lua_State *lua)
{
	if (request->rc != OK)
		return script_push_error(lua, request->rc);
	lua_pushliteral(lua, "done");
	return 1;
}

static int
nap(lua_State *lua)
{
	lua_Integer ms = lua_tointeger(lua, 1);
	struct nap *nap = script_request_new(lua, sizeof(*nap));

	nap->ms = (uint64_t)ms;
	nap->request.run = nap_run;
	nap->request.push = nap_push;
	return script_wait(lua, &nap->request);
}

static void
bindings(lua_State *lua)
{
	lua_newtable(lua);
	lua_pushcfunction(lua, nap);
	lua_setfield(lua, -2, "nap");
	lua_setglobal(lua, "xin");
}

static int
setup(void **state)
{
	(void)state;
	script_setup(bindings);
	return 0;
}

static void
values_go_in_and_come_out_unchanged(void **state)
{
	json_t *out = run_lua("return message",
	    "[{\"a\":[1,2.5,\"x\",true,null,"
	    "{\"big\":9007199254740993}],\"empty\":[]}]");
	json_t *want = json_loads("{\"a\":[1,2.5,\"x\",true,null,"
				  "{\"big\":9007199254740993}],\"empty\":[]}",
	    0, NULL);

	(void)state;
	assert_non_null(out);
	assert_true(json_equal(out, want));
	json_decref(out);
	json_decref(want);
}

static void
an_error_names_file_and_line(void **state)
{
	(void)state;
	assert_int_equal(
	    run_lua_rc("\n\nlocal x = message.missing.field", "[{}]", NULL),
	    ERR_SCRIPT);
	assert_non_null(strstr(err_message(), "brands/alpha.lua:5"));
}

static void
an_undeclared_global_is_named(void **state)
{
	(void)state;
	assert_int_equal(run_lua_rc("return mesage", "[1]", NULL), ERR_SCRIPT);
	assert_non_null(strstr(
	    err_message(), "brands/alpha.lua:3: undeclared global 'mesage'"));
	assert_int_equal(run_lua_rc("found = 1", "[1]", NULL), ERR_SCRIPT);
	assert_non_null(strstr(err_message(), "assignment to global 'found'"));
}

static void
a_script_waits_for_the_host(void **state)
{
	json_t *out = run_lua("return xin.nap(3)", "[]");

	(void)state;
	assert_string_equal(json_string_value(out), "done");
	json_decref(out);
}

static void
a_wait_passes_through_pcall_and_nested_coroutines(void **state)
{
	json_t *out = run_lua(
	    "local inner = coroutine.wrap(function()\n"
	    "  coroutine.yield(select(2, pcall(xin.nap, 1)))\n"
	    "  local co = coroutine.create(function() return xin.nap(1) end)\n"
	    "  local ok, v = coroutine.resume(co)\n"
	    "  return v .. coroutine.status(co)\n"
	    "end)\n"
	    "local t = setmetatable({}, {__index = function() return xin.nap(1) end})\n"
	    "local a = inner()\n"
	    "return a .. inner() .. t.x",
	    "[]");

	(void)state;
	assert_non_null(out);
	assert_string_equal(json_string_value(out), "donedonedeaddone");
	json_decref(out);
}

static void
a_wait_inside_sort_is_refused_with_a_sentence(void **state)
{
	(void)state;
	assert_int_equal(
	    run_lua_rc("table.sort({2, 1}, function() return xin.nap(1) end)",
		"[]", NULL),
	    ERR_SCRIPT);
	assert_non_null(strstr(err_message(), "table.sort"));
}

static void
a_callback_of_gsub_waits(void **state)
{
	json_t *out =
	    run_lua("return (('a-b'):gsub('%a', function(c) return c .. "
		    "xin.nap(1) end))",
		"[]");

	(void)state;
	assert_string_equal(json_string_value(out), "adone-bdone");
	json_decref(out);
}

struct pattern_case {
	const char *expression;
	const char *want;
};

/* Against what Lua 5.4 itself gives. */
static const struct pattern_case patterns[] = {
	{ "('hello world'):find('o w')", "[5,7]" },
	{ "('hello'):find('l+')", "[3,4]" },
	{ "('hello'):find('(h)(.)')", "[1,2,\"h\",\"e\"]" },
	{ "('hello'):find('', 10)", "[false]" },
	{ "('hello'):find('')", "[1,0]" },
	{ "('a.b'):find('.', 1, true)", "[2,2]" },
	{ "('key = value'):match('^(%w+)%s*=%s*(%w+)$')",
	    "[\"key\",\"value\"]" },
	{ "('f(a(b)c)d'):match('%b()')", "[\"(a(b)c)\"]" },
	{ "('THE (quick) fox'):find('%f[%a]%a+%f[%A]')", "[1,3]" },
	{ "('abc'):match('()b()')", "[2,3]" },
	{ "('abab'):match('(ab)%1')", "[\"ab\"]" },
	{ "('x'):rep(3, ',')", "[\"x,x,x\"]" },
	{ "('hello'):gsub('l', 'L')", "[\"heLLo\",2]" },
	{ "('hello'):gsub('', '-')", "[\"-h-e-l-l-o-\",6]" },
	{ "('hello world'):gsub('%w+', '%0 %0', 1)",
	    "[\"hello hello world\",1]" },
	{ "('abc'):gsub('%w', {a = '1', b = false})", "[\"1bc\",3]" },
	{ "('abc'):gsub('^a', 'x')", "[\"xbc\",1]" },
	{ "('aaa'):gsub('^a', 'x')", "[\"xaa\",1]" },
	{ "('baa'):gsub('^a', 'x')", "[\"baa\",0]" },
	{ "('abc'):gsub('(a)(b)(c)', '%3%2%1')", "[\"cba\",1]" },
	{ "('a-b'):gsub('-', '%%')", "[\"a%b\",1]" },
	{ "('  x  '):match('^%s*(.-)%s*$')", "[\"x\"]" },
	{ "('[x]'):match('[]]')", "[\"]\"]" },
	{ "('a]b'):match('[^]]+')", "[\"a\"]" },
	{ "('2026-11-25'):match('(%d+)-(%d+)-(%d+)')",
	    "[\"2026\",\"11\",\"25\"]" },
};

static void
patterns_answer_as_lua_does(void **state)
{
	int bad = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
		char body[256];
		json_t *out;
		json_t *want = json_loads(patterns[i].want, 0, NULL);

		snprintf(body, sizeof(body),
		    "local t = {%s} if t[1] == nil then t[1] = false end "
		    "return t",
		    patterns[i].expression);
		out = run_lua(body, "[]");
		if (out == NULL || !json_equal(out, want)) {
			print_message("%s\n", patterns[i].expression);
			bad++;
		}
		json_decref(out);
		json_decref(want);
	}
	assert_int_equal(bad, 0);
}

static void
gmatch_gives_every_match(void **state)
{
	json_t *out = run_lua("local t = {} for k, v in ('a=1, b=2'):gmatch("
			      "'(%w+)=(%w+)') do t[#t + 1] = k .. v end "
			      "for w in ('one two'):gmatch('%a*') do t[#t + 1] "
			      "= w end return table.concat(t, '|')",
	    "[]");

	(void)state;
	assert_string_equal(json_string_value(out), "a1|b2|one|two");
	json_decref(out);
}

static void
sort_and_table_functions_work(void **state)
{
	json_t *out = run_lua(
	    "local t = {} for i = 1, 200 do t[i] = (i * 7919) % 211 end "
	    "table.sort(t) for i = 2, #t do assert(t[i - 1] <= t[i]) end "
	    "table.sort(t, function(a, b) return a > b end) "
	    "for i = 2, #t do assert(t[i - 1] >= t[i]) end "
	    "local u = {1, 2, 3} table.insert(u, 1, 0) table.insert(u, 4) "
	    "assert(table.concat(u, ',') == '0,1,2,3,4') "
	    "assert(table.remove(u) == 4 and table.remove(u, 1) == 0) "
	    "assert(table.concat(table.move(u, 1, 3, 2), ',') == '1,1,2,3') "
	    "assert(table.remove({}) == nil) "
	    "assert(select('#', table.unpack({1, nil, 3}, 1, 3)) == 3) "
	    "assert(table.pack(1, nil).n == 2) "
	    "local ok, err = xpcall(function(a) error('x' .. a) end, "
	    "function(e) return 'H' .. e:sub(-2) end, 'y') "
	    "assert(ok == false and err == 'Hxy', err) "
	    "assert(select(2, xpcall(function(...) return ... end, print, 7)) == 7) "
	    "assert(os.date('%Y-%m-%d', 0) == '1970-01-01') "
	    "assert(os.time({year = 1970, month = 1, day = 2, hour = 0}) == 86400) "
	    "assert(cjson.encode({a = cjson.empty_array}) == '{\"a\":[]}') "
	    "assert(math.type(cjson.decode('[1]')[1]) == 'integer') "
	    "assert(('%s %d %5.1f %q'):format(nil, 3, 2.5, 'x') == "
	    "'nil 3   2.5 \"x\"') "
	    "local n = 0 for k in pairs(string) do n = n + 1 end assert(n > 10) "
	    "return 'ok'",
	    "[]");

	(void)state;
	assert_non_null(out);
	json_decref(out);
}

static void
a_reported_failure_carries_its_reason(void **state)
{
	(void)state;
	assert_int_equal(
	    run_lua_rc(
		"return nil, {code = 'not_found', reason = 'no such city'}",
		"[]", NULL),
	    ERR_SCRIPT);
	assert_non_null(strstr(err_message(), "no such city"));
}

static void
host_calls_are_counted(void **state)
{
	(void)state;
	assert_int_equal(
	    run_lua_rc("for i = 1, 1000 do pcall(xin.nap, 0) end", "[]", NULL),
	    ERR_SCRIPT_LIMIT);
	assert_non_null(strstr(err_message(), "host calls"));
}

static void
a_missing_brand_or_hook_is_not_found(void **state)
{
	struct script_generation *gen = generation_of(
	    "brands/alpha.lua", "return {api=1,name='alpha'}", NULL);
	struct script_session *session;
	json_t *args = json_array();
	json_t *out;

	(void)state;
	assert_int_equal(
	    script_session_open("beta", gen, NULL, &session), ERR_NOT_FOUND);
	assert_int_equal(script_session_open("alpha", gen, NULL, &session), OK);
	assert_int_equal(
	    script_call(session, SCRIPT_BRAND, "alpha", "route", args, &out),
	    ERR_NOT_FOUND);
	assert_int_equal(
	    script_call(session, SCRIPT_GUARDRAIL, "none", "check", args, &out),
	    ERR_NOT_FOUND);
	assert_false(
	    script_module_has(session, SCRIPT_BRAND, "alpha", "route"));
	script_session_close(session);
	script_generation_unref(gen);
	json_decref(args);
}

static void
modules_are_shared_in_a_generation_and_nowhere_else(void **state)
{
	struct script_generation *gen = generation_of("brands/alpha.lua",
	    "local lib = require('lib.count')\n"
	    "return {route = function() return lib.up() end,\n"
	    " bad = function(n) return require(n) end}",
	    "lib/count.lua",
	    "local n = 0\nreturn {up = function() n = n + 1 return n end}",
	    NULL);
	static const char *const refused[] = { "../x", "/etc/passwd", "a..b",
		".a", "A", "brands.beta", "" };
	struct script_session *session;
	json_t *args = json_array();
	json_t *out = NULL;

	(void)state;
	assert_int_equal(script_session_open("alpha", gen, NULL, &session), OK);
	assert_int_equal(
	    script_call(session, SCRIPT_BRAND, "alpha", "route", args, &out),
	    OK);
	assert_int_equal(json_integer_value(out), 1);
	json_decref(out);
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		json_array_clear(args);
		json_array_append_new(args, json_string(refused[i]));
		assert_int_equal(script_call(session, SCRIPT_BRAND, "alpha",
				     "bad", args, &out),
		    ERR_SCRIPT);
	}
	script_session_close(session);
	script_generation_unref(gen);
	json_decref(args);
}

static void
declared_fields_come_without_functions(void **state)
{
	struct script_generation *gen = generation_of("brands/alpha.lua",
	    "return {api=1, name='alpha', languages={'fa','en'},"
	    " route=function() end, nested={f=print, x=1}}",
	    NULL);
	struct script_session *session;
	json_t *fields;
	json_t *want = json_loads("{\"api\":1,\"name\":\"alpha\",\"languages\":"
				  "[\"fa\",\"en\"],\"nested\":{\"x\":1}}",
	    0, NULL);

	(void)state;
	assert_int_equal(script_session_open("alpha", gen, NULL, &session), OK);
	assert_int_equal(
	    script_module_fields(session, SCRIPT_BRAND, "alpha", &fields), OK);
	assert_true(json_equal(fields, want));
	json_decref(fields);
	json_decref(want);
	script_session_close(session);
	script_generation_unref(gen);
}

static void
a_turn_ends_on_the_generation_it_began_with(void **state)
{
	struct script_generation *one = generation_of(
	    "brands/alpha.lua", "return {route=function() return 1 end}", NULL);
	struct script_generation *two = generation_of(
	    "brands/alpha.lua", "return {route=function() return 2 end}", NULL);
	struct script_session *old;
	struct script_session *fresh;
	json_t *args = json_array();
	json_t *out;

	(void)state;
	assert_int_equal(script_activate(one), OK);
	assert_int_equal(script_session_open("alpha", NULL, NULL, &old), OK);
	assert_int_equal(script_activate(two), OK);
	script_generation_unref(one);
	assert_int_equal(script_session_open("alpha", NULL, NULL, &fresh), OK);
	assert_int_equal(
	    script_call(old, SCRIPT_BRAND, "alpha", "route", args, &out), OK);
	assert_int_equal(json_integer_value(out), 1);
	json_decref(out);
	assert_int_equal(
	    script_call(fresh, SCRIPT_BRAND, "alpha", "route", args, &out), OK);
	assert_int_equal(json_integer_value(out), 2);
	json_decref(out);
	script_session_close(old);
	script_session_close(fresh);
	script_generation_unref(two);
	json_decref(args);
	script_teardown();
}

static void
a_generation_that_cannot_start_is_not_activated(void **state)
{
	struct script_generation *good = generation_of(
	    "brands/alpha.lua", "return {route=function() return 1 end}", NULL);
	struct script_generation *bad = generation_of("brands/alpha.lua",
	    "return {}", "brands/beta.lua", "local x =\nreturn", NULL);
	struct script_generation *now;

	(void)state;
	assert_int_equal(script_activate(good), OK);
	assert_int_equal(script_activate(bad), ERR_SCRIPT);
	assert_non_null(strstr(err_message(), "brands/beta.lua:2"));
	now = script_active();
	assert_ptr_equal(now, good);
	script_generation_unref(now);
	script_generation_unref(good);
	script_generation_unref(bad);
	script_teardown();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_go_in_and_come_out_unchanged),
		cmocka_unit_test(an_error_names_file_and_line),
		cmocka_unit_test(an_undeclared_global_is_named),
		cmocka_unit_test(a_script_waits_for_the_host),
		cmocka_unit_test(
		    a_wait_passes_through_pcall_and_nested_coroutines),
		cmocka_unit_test(a_wait_inside_sort_is_refused_with_a_sentence),
		cmocka_unit_test(a_callback_of_gsub_waits),
		cmocka_unit_test(patterns_answer_as_lua_does),
		cmocka_unit_test(gmatch_gives_every_match),
		cmocka_unit_test(sort_and_table_functions_work),
		cmocka_unit_test(a_reported_failure_carries_its_reason),
		cmocka_unit_test(host_calls_are_counted),
		cmocka_unit_test(a_missing_brand_or_hook_is_not_found),
		cmocka_unit_test(
		    modules_are_shared_in_a_generation_and_nowhere_else),
		cmocka_unit_test(declared_fields_come_without_functions),
		cmocka_unit_test(a_turn_ends_on_the_generation_it_began_with),
		cmocka_unit_test(
		    a_generation_that_cannot_start_is_not_activated),
	};

	return fiber_group(tests, setup, NULL);
}
