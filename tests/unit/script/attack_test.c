/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The corpus of attacks, one entry for each case: published escapes, faults of
 * other hosts, and our own measurements. Each runs with a CPU budget of 50 ms;
 * afterwards the same brand answers the next call. Times are printed, and held
 * against seconds only.
 */
#include "fiber_group.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "script_fixture.h"

/* Under ASan on a busy machine deep recursion alone takes seconds. */
#ifdef __SANITIZE_ADDRESS__
#define LONGEST_US 20000000
#else
#define LONGEST_US 5000000
#endif

struct attack {
	const char *name;
	enum err_code want; /* OK: contained by ending well */
	const char *body;
};

#define ANY_END ERR_COUNT /* stack, memory or CPU: whichever comes first */
#define ENDLESS "local function endless() while true do end end "

static const struct attack attacks[] = {
	/* CPU, pure Lua */
	{ "01 endless loop", ERR_SCRIPT_LIMIT, "while true do end" },
	{ "02 endless pcall of endless", ERR_SCRIPT_LIMIT,
	    ENDLESS "while true do pcall(endless) end" },
	{ "03 xpcall with an endless handler", ERR_SCRIPT_LIMIT,
	    ENDLESS "while true do xpcall(endless, endless) end" },
	{ "03b xpcall handler after an error", ERR_SCRIPT_LIMIT,
	    ENDLESS "xpcall(error, endless, 'x')" },
	{ "04 wrap with an endless __close", ERR_SCRIPT_LIMIT,
	    ENDLESS "local f = coroutine.wrap(function() local x <close> = "
		    "setmetatable({}, {__close = endless}) endless() end) "
		    "while true do pcall(f) end" },
	{ "05 top-level endless __close", ERR_SCRIPT_LIMIT,
	    ENDLESS "local x <close> = setmetatable({}, {__close = endless}) "
		    "endless()" },
	{ "06 __gc endless", ERR_SCRIPT,
	    ENDLESS "setmetatable({}, {__gc = endless})" },
	{ "08 __gc true, later a function", ERR_SCRIPT,
	    "local mt = {__gc = true} setmetatable({}, mt)" },
	{ "08b __mode", ERR_SCRIPT, "setmetatable({}, {__mode = 'k'})" },
	{ "09 nested short coroutines", ERR_SCRIPT_LIMIT,
	    "local function nest(d) for i = 1, 60 do local co = "
	    "coroutine.create(nest) coroutine.resume(co, d > 0 and d - 1 or 0) "
	    "end end while true do pcall(nest, 7) end" },
	{ "10 pcall(wrap) 50 deep", ERR_SCRIPT_LIMIT,
	    ENDLESS "local function deep(n) while true do if n == 0 then "
		    "endless() end pcall(coroutine.wrap(function() deep(n - 1) "
		    "end)) end end deep(50)" },
	{ "11 for ok in pcall, endless", ERR_SCRIPT_LIMIT,
	    ENDLESS "for ok in pcall, endless do end" },
	{ "12 sort with an endless comparator", ERR_SCRIPT_LIMIT,
	    ENDLESS "while true do pcall(table.sort, {3, 2, 1}, endless) end" },
	{ "13 gsub with an endless callback", ERR_SCRIPT_LIMIT,
	    ENDLESS
	    "while true do pcall(string.gsub, 'aaa', 'a', endless) end" },
	{ "14 tostring with endless __tostring", ERR_SCRIPT_LIMIT,
	    ENDLESS "local o = setmetatable({}, {__tostring = endless}) "
		    "while true do pcall(tostring, o) end" },
	{ "15 error inside an endless __close", ERR_SCRIPT_LIMIT,
	    ENDLESS
	    "while true do pcall(function() local x <close> = "
	    "setmetatable({}, {__close = endless}) error('x') end) end" },
	{ "16 coroutine within a sort within a coroutine", ERR_SCRIPT_LIMIT,
	    ENDLESS
	    "local f = coroutine.wrap(function() table.sort({2, 1}, function() "
	    "coroutine.wrap(endless)() end) end) while true do pcall(f) end" },
	{ "18 deep recursion", ANY_END,
	    "local function f(n) return 1 + f(n + 1) end return f(1)" },
	{ "18b endless __index", ERR_SCRIPT_LIMIT,
	    ENDLESS "local t = setmetatable({}, {__index = endless}) "
		    "while true do pcall(function() return t.x end) end" },
	{ "18c tail calls for ever", ERR_SCRIPT_LIMIT,
	    "local function f() return f() end f()" },
	{ "18d goto", ERR_SCRIPT_LIMIT, "::a:: goto a" },
	/* CPU, inside C functions */
	{ "21 rep of nothing, maxinteger times", OK,
	    "return #(''):rep(math.maxinteger)" },
	{ "22 table.move to maxinteger", ERR_SCRIPT_LIMIT,
	    "table.move({}, 1, math.maxinteger - 1, 2)" },
	{ "23 table.insert with a lying __len", ERR_SCRIPT_LIMIT,
	    "table.insert(setmetatable({}, {__len = function() return 2^40//1|0 "
	    "end}), 1, 1)" },
	{ "24 table.remove with a lying __len", ERR_SCRIPT_LIMIT,
	    "table.remove(setmetatable({}, {__len = function() return 2^40//1|0 "
	    "end}), 1)" },
	{ "25 sort with a lying __len, C comparator", ERR_SCRIPT_LIMIT,
	    "table.sort(setmetatable({}, {__len = function() return 2^25//1|0 "
	    "end, __index = function() return 1 end, __newindex = function() end"
	    "}), rawequal)" },
	{ "26 concat over __index", ERR_SCRIPT_LIMIT,
	    "table.concat(setmetatable({}, {__len = function() return 2^40//1|0 "
	    "end, __index = function() return '' end}))" },
	{ "26b concat over a C __index", ERR_SCRIPT_LIMIT,
	    "return table.concat(setmetatable({}, {__len = function() return "
	    "2^40//1|0 end, __index = type}), '', 1)" },
	{ "27 a* twelve times", ERR_SCRIPT_LIMIT,
	    "return ('a'):rep(40000):find(('a*'):rep(12) .. 'b')" },
	{ "28 gsub .-.-.-b", ERR_SCRIPT_LIMIT,
	    "return ('a'):rep(200000):gsub('.-.-.-b', '')" },
	{ "28b find .-.-.-b on 400", ERR_SCRIPT_LIMIT,
	    "while true do pcall(string.find, ('a'):rep(400), '.-.-.-b') end" },
	{ "28c %b over and over", ERR_SCRIPT_LIMIT,
	    "return ('('):rep(1000000):gsub('%b()', '')" },
	{ "28d frontier", ERR_SCRIPT_LIMIT,
	    "return ('a'):rep(1000000):gsub('%f[b].-c', '')" },
	{ "28e long sets", ERR_SCRIPT_LIMIT,
	    "local set = '[' .. ('b'):rep(100000) .. ']' return "
	    "('a'):rep(100000):find(set)" },
	{ "29 plain find of a big needle", OK,
	    "local s = ('a'):rep(1000000) return (s:find(('a'):rep(500000) .. "
	    "'b', 1, true)) == nil" },
	{ "30 utf8.len on 10 MB", ERR_SCRIPT,
	    "local s = ('a'):rep(10000000) while true do utf8.len(s) end" },
	{ "30b utf8.len on 4 MB for ever", ERR_SCRIPT_LIMIT,
	    "local s = ('a'):rep(4000000) while true do utf8.len(s) end" },
	{ "31 comparing 10 MB strings", ERR_SCRIPT_LIMIT,
	    "local a = ('a'):rep(10000000) .. 'b' local b = ('a'):rep(10000000) "
	    ".. 'c' while true do local _ = a < b end" },
	{ "32 concat of 2000 empty strings", ERR_SCRIPT_LIMIT,
	    "local t = {} for i = 1, 2000 do t[i] = '' end while true do "
	    "table.concat(t) end" },
	{ "33 next over an emptied table", ERR_SCRIPT_LIMIT,
	    "local t = {} for i = 1, 2^17 do t['k' .. i] = true end "
	    "for k in pairs(t) do t[k] = nil end while true do next(t) end" },
	{ "35 allocations that fail near the ceiling", ERR_SCRIPT_LIMIT,
	    "local t = {} while true do pcall(function() t[#t + 1] = "
	    "('x'):rep(1000000) .. #t end) end" },
	{ "36 collectgarbage is not there", ERR_SCRIPT,
	    "collectgarbage('stop')" },
	{ "38 decode of deep nesting", ERR_SCRIPT,
	    "cjson.decode(('['):rep(1000) .. (']'):rep(1000))" },
	{ "38b encode of a sparse array", ERR_SCRIPT,
	    "return cjson.encode({[1] = 1, [1000000] = 2})" },
	{ "38c encode of a fan of references", ANY_END,
	    "local t = {} for i = 1, 60 do t = {t, t, t, t} end return "
	    "cjson.encode(t)" },
	/* Memory */
	{ "39 rep of 1 GB", ERR_SCRIPT, "return #('x'):rep(1 << 30)" },
	{ "40 doubling", ERR_SCRIPT_LIMIT,
	    "local s = 'x' while true do s = s .. s end" },
	{ "41 surviving not enough memory", ERR_SCRIPT_LIMIT,
	    "local t = {} while true do pcall(function() for i = 1, 1e6 do "
	    "t[#t + 1] = {i} end end) end" },
	{ "42 unpack of 999000", ERR_SCRIPT,
	    "return select('#', table.unpack({}, 1, 999000))" },
	{ "43 suspended coroutines", ERR_SCRIPT_LIMIT,
	    "local t = {} while true do local co = coroutine.create(function() "
	    "coroutine.yield() end) coroutine.resume(co) t[#t + 1] = co end" },
	{ "44 log lines", ERR_SCRIPT_LIMIT,
	    "while true do pcall(print, 'x') end" },
	{ "47 interning flood", ERR_SCRIPT_LIMIT,
	    "local t = {} local i = 0 while true do i = i + 1 t[i] = 'k' .. i "
	    "end" },
	/* C stack and parser */
	{ "48 gsub callback recursion", ERR_SCRIPT,
	    "local function f() return (('x'):gsub('x', f)) end return f()" },
	{ "51 pcall chain", OK,
	    "local function f(n) if n > 0 then return pcall(f, n - 1) end return "
	    "n end return (f(10000))" },
	{ "52 recursive handler", OK,
	    "return (xpcall(error, function(e) return e end, 'x'))" },
	/* Code loading and the surface */
	{ "56 load", ERR_SCRIPT, "return load('return 1')" },
	{ "58 string.dump", ERR_SCRIPT, "return string.dump(print)" },
	{ "59 dofile", ERR_SCRIPT, "return dofile('/etc/passwd')" },
	{ "59b package", ERR_SCRIPT, "return package.loaded" },
	{ "60 debug", ERR_SCRIPT, "return debug.getregistry()" },
	{ "61 io", ERR_SCRIPT, "return io.open('/etc/passwd')" },
	{ "61b os.execute", ERR_SCRIPT, "return os.execute('true')" },
	{ "61c os.getenv", ERR_SCRIPT, "return os.getenv('HOME')" },
	{ "62 string metatable", ERR_SCRIPT, "getmetatable('').__index = {}" },
	{ "62b setmetatable on a string's", ERR_SCRIPT,
	    "setmetatable(getmetatable(''), {})" },
	{ "63 overwriting a library", ERR_SCRIPT, "string.format = print" },
	{ "63b overwriting a global", ERR_SCRIPT, "print = 1" },
	{ "63c through _ENV", ERR_SCRIPT, "_ENV.print = 1" },
	{ "64 rawset on a library", ERR_SCRIPT,
	    "rawset(string, 'format', print)" },
	{ "64b rawset on _ENV", ERR_SCRIPT, "rawset(_ENV, 'print', 1)" },
	{ "64c setmetatable on a library", ERR_SCRIPT,
	    "setmetatable(string, {})" },
	{ "66 undeclared read", ERR_SCRIPT, "return undeclared_thing" },
	{ "69 cyclic require", ERR_SCRIPT, "return require('brands.alpha2')" },
	{ "70 %p", ERR_SCRIPT, "return ('%p'):format({})" },
	{ "73 invalid UTF-8 result", ERR_SCRIPT, "return '\\xff\\xfe'" },
	{ "73b NaN result", ERR_SCRIPT, "return 0/0" },
	{ "74 metamethods are not called by the host", OK,
	    "return setmetatable({a = 1}, {__index = error, __pairs = error, "
	    "__len = error})" },
	{ "75 __tostring on an error object", ERR_SCRIPT,
	    ENDLESS "error(setmetatable({}, {__tostring = endless, __name = "
		    "'a\\nb'}))" },
	{ "78 a huge result", ERR_SCRIPT_LIMIT,
	    "local t = {} for i = 1, 100000 do t[i] = i end return t" },
	{ "78b a cyclic result", ERR_SCRIPT, "local t = {} t.t = t return t" },
	{ "78c a function as result", ERR_SCRIPT, "return {f = print}" },
	{ "79 yield outside of a coroutine", ERR_SCRIPT,
	    "coroutine.yield({})" },
	{ "80 a forged host request", ERR_SCRIPT,
	    "coroutine.yield('wait', {run = 1})" },
	{ "80b resuming the host's coroutine", ERR_SCRIPT,
	    "return coroutine.resume(coroutine.running())" },
};

static const char *
outcome_name(enum err_code rc)
{
	return rc == OK ? "ended well" : err_name(rc);
}

/* Another fiber of the same loop: how long it is kept from running. */
struct neighbour {
	bool stop;
	bool ended;
	uint64_t worst_us;
};

static void
neighbour_run(void *arg)
{
	struct neighbour *neighbour = arg;

	while (!neighbour->stop) {
		uint64_t before = clock_mono_us();

		if (fiber_sleep(1) != OK)
			break;
		if (clock_mono_us() - before > neighbour->worst_us)
			neighbour->worst_us = clock_mono_us() - before;
	}
	neighbour->ended = true;
}

static void
every_attack_is_contained(void **state)
{
	int bad = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(attacks) / sizeof(*attacks); i++) {
		const struct attack *attack = &attacks[i];
		struct neighbour neighbour = { 0 };
		uint64_t before = clock_mono_us();
		uint64_t took;
		enum err_code rc;
		struct error error;
		json_t *next;

		fiber_start(neighbour_run, &neighbour);
		fiber_sleep(0);
		rc = run_lua_rc(attack->body, "[]", NULL);
		took = clock_mono_us() - before;
		err_save(&error);
		neighbour.stop = true;
		while (!neighbour.ended)
			fiber_sleep(1);
		print_message("%-46s %-14s %7.1f ms, neighbour %6.1f ms\n",
		    attack->name, outcome_name(rc), (double)took / 1e3,
		    (double)neighbour.worst_us / 1e3);
		if (attack->want == ANY_END ? rc == OK : rc != attack->want) {
			print_message("  wanted %s: %s\n",
			    outcome_name(attack->want),
			    rc == OK ? "" : error.message);
			bad++;
		}
		assert_true(took < LONGEST_US);
		next = run_lua("return 'still here'", "[]");
		assert_non_null(next);
		assert_string_equal(json_string_value(next), "still here");
		json_decref(next);
	}
	assert_int_equal(bad, 0);
}

static void
addresses_never_show(void **state)
{
	json_t *out =
	    run_lua("local co = coroutine.create(print) local t = {} "
		    "return {tostring(t), tostring(print), ('%s'):format(t), "
		    "tostring(co), tostring(string), tostring(cjson.null)}",
		"[]");
	size_t i;
	json_t *item;

	(void)state;
	assert_non_null(out);
	json_array_foreach (out, i, item)
		assert_null(strstr(json_string_value(item), "0x"));
	json_decref(out);
}

/* One state, many brands' worth of kills: the state itself stays usable. */
static void
a_killed_call_leaves_its_state_usable(void **state)
{
	struct script_generation *gen = generation_of("brands/alpha.lua",
	    "return {route = function(how) if how == 'die' then while true do "
	    "pcall(function() while true do end end) end end return how end}",
	    NULL);
	struct script_budget budget = script_budget_default();
	struct script_session *session;
	json_t *die = json_loads("[\"die\"]", 0, NULL);
	json_t *live = json_loads("[\"live\"]", 0, NULL);
	json_t *out;

	(void)state;
	budget.cpu_us = 10000;
	for (int i = 0; i < 30; i++) {
		assert_int_equal(
		    script_session_open("alpha", gen, &budget, &session), OK);
		assert_int_equal(script_call(session, SCRIPT_BRAND, "alpha",
				     "route", die, &out),
		    ERR_SCRIPT_LIMIT);
		/* The budget is the turn's: nothing more runs in it. */
		assert_int_equal(script_call(session, SCRIPT_BRAND, "alpha",
				     "route", live, &out),
		    ERR_SCRIPT_LIMIT);
		script_session_close(session);
		assert_int_equal(
		    script_session_open("alpha", gen, &budget, &session), OK);
		assert_int_equal(script_call(session, SCRIPT_BRAND, "alpha",
				     "route", live, &out),
		    OK);
		json_decref(out);
		script_session_close(session);
	}
	script_generation_unref(gen);
	json_decref(die);
	json_decref(live);
}

static void
a_long_legal_computation_ends_right(void **state)
{
	json_t *out = run_lua("local s = 0 for i = 1, 1000000 do s = s + i end "
			      "return s",
	    "[]");

	(void)state;
	assert_non_null(out);
	assert_int_equal(json_integer_value(out), 500000500000);
	json_decref(out);
}

struct attacker {
	struct script_generation *gen;
	int *running;
	enum err_code rc;
};

static void
attacker_run(void *arg)
{
	struct attacker *attacker = arg;
	struct script_budget budget = script_budget_default();
	struct script_session *session = NULL;
	json_t *args = json_array();
	json_t *out = NULL;

	budget.cpu_us = 50000;
	attacker->rc =
	    script_session_open("alpha", attacker->gen, &budget, &session);
	if (attacker->rc == OK)
		attacker->rc = script_call(
		    session, SCRIPT_BRAND, "alpha", "route", args, &out);
	json_decref(args);
	script_session_close(session);
	--*attacker->running;
}

static void
eight_attackers_of_one_brand_take_turns(void **state)
{
	struct script_generation *gen = generation_of("brands/alpha.lua",
	    "return {route = function() while true do end end}", NULL);
	struct neighbour neighbour = { 0 };
	struct attacker attackers[8];
	int running = 8;

	(void)state;
	fiber_start(neighbour_run, &neighbour);
	for (int i = 0; i < 8; i++) {
		attackers[i] = (struct attacker){ gen, &running, OK };
		fiber_start(attacker_run, &attackers[i]);
	}
	while (running > 0)
		fiber_sleep(5);
	neighbour.stop = true;
	while (!neighbour.ended)
		fiber_sleep(1);
	for (int i = 0; i < 8; i++)
		assert_int_equal(attackers[i].rc, ERR_SCRIPT_LIMIT);
	print_message("eight attackers: neighbour waited %.1f ms at most\n",
	    (double)neighbour.worst_us / 1e3);
	script_generation_unref(gen);
}

static void
a_deadline_ends_a_script(void **state)
{
	struct script_generation *gen = generation_of("brands/alpha.lua",
	    "return {route = function() while true do end end}", NULL);
	struct script_budget budget = script_budget_default();
	struct script_session *session;
	json_t *args = json_array();
	json_t *out;

	(void)state;
	budget.cpu_us = 60000000;
	budget.wall_ms = 30;
	assert_int_equal(
	    script_session_open("alpha", gen, &budget, &session), OK);
	assert_int_equal(
	    script_call(session, SCRIPT_BRAND, "alpha", "route", args, &out),
	    ERR_SCRIPT_LIMIT);
	assert_non_null(strstr(err_message(), "deadline"));
	script_session_close(session);
	script_generation_unref(gen);
	json_decref(args);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_attack_is_contained),
		cmocka_unit_test(addresses_never_show),
		cmocka_unit_test(a_killed_call_leaves_its_state_usable),
		cmocka_unit_test(a_long_legal_computation_ends_right),
		cmocka_unit_test(eight_attackers_of_one_brand_take_turns),
		cmocka_unit_test(a_deadline_ends_a_script),
	};

#ifdef __SANITIZE_THREAD__
	/* ThreadSanitizer hands signals over at intercepted calls only: a loop
	 * without any would never be ended. reload_test covers kills there. */
	print_message("SKIP attack_test: not under ThreadSanitizer\n");
	(void)tests;
	return 0;
#endif
	return fiber_group(tests, NULL, NULL);
}
