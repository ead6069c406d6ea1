/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hosting scripts costs: turns of three hooks (route, guard, render) with
 * one wait on another thread, a log line and counters; CPU for each turn. Run
 * it from two builds in turns (presets release and nolimits) to see what the
 * limits cost. With limits it goes on to time kills and to see how long
 * a neighbour on the same loop is kept waiting meanwhile.
 *
 *   bench/script_bench [turns] [wait: pool | none]
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "script/host_call.h"
#include "script/script.h"

static bool wait_on_pool = true;
static long turns = 20000;

static const char brand_text[] =
    "local M = { api = 1, name = 'alpha' }\n"
    "local words = { 'refund', 'order', 'ship', 'price', 'human' }\n"
    "function M.route(turn)\n"
    "  local text = turn.text:lower()\n"
    "  local scores, best, top = {}, 'faq', 0\n"
    "  for word in text:gmatch('%a+') do\n"
    "    for i = 1, #words do\n"
    "      if word == words[i] then\n"
    "        scores[word] = (scores[word] or 0) + 1\n"
    "        if scores[word] > top then best, top = word, scores[word] end\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "  local found = bench.fetch(turn.user.id)\n"
    "  bench.log('routed')\n"
    "  return { route = best, known = found == 'found', prompt = "
    "('Answer %s in %s'):format(turn.user.name, turn.language) }\n"
    "end\n"
    "return M\n";

static const char guard_text[] =
    "local M = { api = 1, name = 'polite' }\n"
    "function M.check(message, settings)\n"
    "  for i = 1, #settings.words do\n"
    "    if message.text:find(settings.words[i], 1, true) then\n"
    "      return { action = 'block', reason = settings.words[i] }\n"
    "    end\n"
    "  end\n"
    "  return { action = 'allow' }\n"
    "end\n"
    "return M\n";

static const char channel_text[] =
    "local M = { api = 1, name = 'web' }\n"
    "function M.render(reply)\n"
    "  local out = {}\n"
    "  for i, c in ipairs(reply.citations) do\n"
    "    out[i] = '[' .. i .. '] ' .. c.title\n"
    "  end\n"
    "  return { status = 200, body = { text = reply.text .. '\\n' .. "
    "table.concat(out, ' '), citations = reply.citations } }\n"
    "end\n"
    "return M\n";

/* ---- bindings ---- */

static enum err_code
nothing(void *arg)
{
	*(int *)arg = 1;
	return OK;
}

static enum err_code
fetch_run(struct script_request *request, struct script_session *session)
{
	int done = 0;

	(void)request;
	(void)session;
	return wait_on_pool ? pool_run(nothing, &done) : OK;
}

static int
fetch_push(struct script_request *request, lua_State *lua)
{
	(void)request;
	lua_pushliteral(lua, "found");
	return 1;
}

static int
fetch(lua_State *lua)
{
	struct script_request *request =
	    script_request_new(lua, sizeof(*request));

	request->run = fetch_run;
	request->push = fetch_push;
	return script_wait(lua, request);
}

static int
log_line(lua_State *lua)
{
	if (script_log_allowed(lua))
		log_info("script.log", kv_str("message", lua_tostring(lua, 1)));
	return 0;
}

static void
bindings(lua_State *lua)
{
	lua_newtable(lua);
	lua_pushcfunction(lua, fetch);
	lua_setfield(lua, -2, "fetch");
	lua_pushcfunction(lua, log_line);
	lua_setfield(lua, -2, "log");
	lua_setglobal(lua, "bench");
}

/* ---- a generation ---- */

static void
put_u32(struct buf *out, size_t value)
{
	for (int i = 0; i < 4; i++)
		buf_addc(out, (char)((value >> (8 * i)) & 0xff));
}

static struct script_generation *
generation(const char *const (*files)[2], size_t count)
{
	struct script_generation *gen = NULL;
	struct buf packed = { 0 };

	buf_adds(&packed, "XINGEN1\n");
	put_u32(&packed, count);
	for (size_t i = 0; i < count; i++) {
		put_u32(&packed, strlen(files[i][0]));
		put_u32(&packed, strlen(files[i][1]));
		buf_adds(&packed, files[i][0]);
		buf_adds(&packed, files[i][1]);
	}
	must(script_generation_unpack(packed.data, packed.len, &gen) == OK);
	buf_done(&packed);
	return gen;
}

/* ---- turns ---- */

static double
cpu_us(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
	       (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void
call(struct script_session *session, enum script_kind kind, const char *name,
    const char *hook, json_t *args)
{
	json_t *out = NULL;
	enum err_code rc = script_call(session, kind, name, hook, args, &out);

	if (rc != OK)
		panic("%s: %s", hook, err_message());
	metric_count(METRIC_TURNS, LABELS("alpha", "done"), 1);
	json_decref(out);
}

static void
run_turns(void)
{
	static const char *const files[][2] = { { "brands/alpha.lua",
						    brand_text },
		{ "channels/web.lua", channel_text },
		{ "guardrails/polite.lua", guard_text } };
	struct script_generation *gen = generation(files, 3);
	json_t *turn = json_loads(
	    "[{\"text\":\"Where is my order, and what is "
	    "the price to ship a refund to me?\",\"language\":\"en\","
	    "\"user\":{\"id\":\"u1\",\"name\":\"Ann\"},\"history\":[]}]",
	    0, NULL);
	json_t *guard = json_loads(
	    "[{\"text\":\"Where is my order, and what is "
	    "the price to ship a refund to me?\",\"stage\":\"input\"},"
	    "{\"words\":[\"damn\",\"idiot\",\"stupid\"]}]",
	    0, NULL);
	json_t *reply =
	    json_loads("[{\"text\":\"It left on Monday.\","
		       "\"citations\":[{\"title\":\"Delivery\",\"chunk\":3},"
		       "{\"title\":\"Returns\",\"chunk\":7}]}]",
		0, NULL);
	double before = 0;
	struct timespec t0, t1;
	double thread;

	must(script_activate(gen) == OK);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t0);
	for (long i = -1000; i < turns; i++) {
		struct script_session *session;

		if (i == 0) {
			before = cpu_us();
			clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t0);
		}
		must(script_session_open("alpha", NULL, NULL, &session) == OK);
		call(session, SCRIPT_BRAND, "alpha", "route", turn);
		call(session, SCRIPT_GUARDRAIL, "polite", "check", guard);
		call(session, SCRIPT_CHANNEL, "web", "render", reply);
		script_session_close(session);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t1);
	thread = (double)(t1.tv_sec - t0.tv_sec) * 1e6 +
		 (double)(t1.tv_nsec - t0.tv_nsec) / 1e3;
	printf("turn: %.3f us CPU of the process, %.3f of the loop's thread "
	       "(%ld turns, wait %s)\n",
	    (cpu_us() - before) / (double)turns, thread / (double)turns, turns,
	    wait_on_pool ? "on a pool thread" : "none");
	script_generation_unref(gen);
	json_decref(turn);
	json_decref(guard);
	json_decref(reply);
}

/* ---- kills ---- */

#ifndef XIN_NO_SCRIPT_LIMITS
#define ENDLESS "local function endless() while true do end end "

static const char *const attacks[][2] = {
	{ "endless loop", "while true do end" },
	{ "pcall of endless", ENDLESS "while true do pcall(endless) end" },
	{ "xpcall handlers",
	    ENDLESS "while true do xpcall(endless, endless) end" },
	{ "nested wraps", ENDLESS
	    "local function deep(n) while true do if n == "
	    "0 then endless() end pcall(coroutine.wrap(function() deep(n - "
	    "1) end)) end end deep(50)" },
	{ "short coroutines",
	    "while true do local co = coroutine.create("
	    "function() local x = 0 for i = 1, 2000 do x = x + i end end) "
	    "coroutine.resume(co) end" },
	{ "__index",
	    ENDLESS "local t = setmetatable({}, {__index = endless}) "
		    "while true do pcall(function() return t.x end) end" },
	{ "__close", ENDLESS "local x <close> = setmetatable({}, {__close = "
			     "endless}) endless()" },
	{ "gsub callback", ENDLESS "('a'):gsub('a', endless)" },
	{ "sort callback", ENDLESS "table.sort({2, 1}, endless)" },
	{ "backtracking",
	    "return ('a'):rep(40000):find(('a*'):rep(12) .. 'b')" },
	{ "gsub .-.-.-b", "return ('a'):rep(200000):gsub('.-.-.-b', '')" },
	{ "table.move", "table.move({}, 1, math.maxinteger - 1, 2)" },
	{ "memory",
	    "local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t "
	    "end" },
};

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

		fiber_sleep(1);
		if (clock_mono_us() - before > neighbour->worst_us)
			neighbour->worst_us = clock_mono_us() - before;
	}
	neighbour->ended = true;
}

static void
run_attack(const char *name, const char *body)
{
	char *text = mem_printf("return { route = function() %s end }", body);
	const char *const files[][2] = { { "brands/alpha.lua", text } };
	struct script_generation *gen = generation(files, 1);
	struct script_budget budget = script_budget_default();
	struct neighbour neighbour = { 0 };
	struct script_session *session;
	json_t *args = json_array();
	json_t *out = NULL;
	uint64_t before;
	enum err_code rc;

	budget.cpu_us = 50000;
	must(script_session_open("alpha", gen, &budget, &session) == OK);
	fiber_start(neighbour_run, &neighbour);
	fiber_sleep(2);
	before = clock_mono_us();
	rc = script_call(session, SCRIPT_BRAND, "alpha", "route", args, &out);
	before = clock_mono_us() - before;
	neighbour.stop = true;
	while (!neighbour.ended)
		fiber_sleep(1);
	printf("kill: %-18s %-14s after %6.1f ms (CPU %5.1f), neighbour waited "
	       "%5.1f ms at most\n",
	    name, err_name(rc), (double)before / 1e3,
	    (double)script_session_cpu_us(session) / 1e3,
	    (double)neighbour.worst_us / 1e3);
	script_session_close(session);
	script_generation_unref(gen);
	json_decref(args);
	mem_free(text);
}
#endif

static enum err_code
bench(void *arg)
{
	(void)arg;
	run_turns();
#ifndef XIN_NO_SCRIPT_LIMITS
	if (getenv("XIN_BENCH_KILLS") != NULL)
		for (size_t i = 0; i < sizeof(attacks) / sizeof(*attacks); i++)
			run_attack(attacks[i][0], attacks[i][1]);
#endif
	script_teardown();
	return OK;
}

int
main(int argc, char **argv)
{
	if (argc > 1)
		turns = strtol(argv[1], NULL, 10);
	if (argc > 2)
		wait_on_pool = strcmp(argv[2], "none") != 0;
	if (turns <= 0)
		turns = 20000;
	log_setup(
	    open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_INFO, false);
	script_setup(bindings);
	must(loops_start(1) == OK);
	loop_call(loop_at(0), bench, NULL);
	loops_stop(1000);
	return 0;
}
