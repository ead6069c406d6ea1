/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits that a script cannot catch. A resume is armed with the watchdog,
 * which signals this thread only when the resume outlasts a tick. The handler
 * charges CPU and, on overrun, sets a count hook on the running coroutine
 * (lua_sethook is async-signal-safe by design). The hook then ends the run by
 * yielding for ever: pcall, xpcall and __close cannot catch a yield. Where a
 * yield is impossible (inside sort, gsub, metamethods called from C) it
 * raises, and goes on raising at every instruction until a level that yields
 * is reached. The same way a script that used up its slice gives way.
 *
 * With XIN_NO_SCRIPT_LIMITS all of this is left out, to measure its cost.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "fiber/loop.h"
#include "script/internal.h"

/* Where neither a yield nor a kill is due: look again after so many. */
#define HOOK_LATER 1000

static void on_hook(lua_State *lua, lua_Debug *ar);

/* Not clock_mono_ns: limits hold while a test's clock stands still. */
static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void
script__arm(struct script_run *run)
{
	lua_sethook(run->current, on_hook, LUA_MASKCOUNT, 1);
}

void
script__want(struct script_run *run, enum script_want why)
{
	if (run->want < WANT_CPU)
		run->want = (sig_atomic_t)why;
	script__arm(run);
}

void
script__charge_start(struct script_run *run)
{
#ifdef XIN_NO_SCRIPT_LIMITS
	(void)run;
#else
	run->tick_ns = 0;
	run->resumed_ns = now_ns();
#endif
}

/*
 * CPU of this resume. Reading the thread's CPU clock is a system call, so it
 * is read only once a tick came: until then the monotonic clock stands in,
 * capped so that a descheduled thread does not pay for its neighbours.
 */
static uint64_t
resume_ns(const struct script_run *run)
{
	uint64_t before;

	if (run->tick_ns == 0)
		return now_ns() - run->resumed_ns;
	before = run->tick_ns - run->resumed_ns;
	if (before > 2000000u * WATCHDOG_TICK_MS)
		before = 2000000u * WATCHDOG_TICK_MS;
	return before + (clock_thread_cpu_us() - run->tick_cpu_us) * 1000u;
}

void
script__charge_end(struct script_run *run)
{
#ifdef XIN_NO_SCRIPT_LIMITS
	(void)run;
	(void)resume_ns;
#else
	struct script_session *session = run->session;

	session->cpu_ns += resume_ns(run);
	if (session->cpu_ns / 1000u > session->budget.cpu_us &&
	    run->want < WANT_CPU)
		run->want = WANT_CPU;
#endif
}

/* In signal context, on the loop's thread, while the run is on it. */
void
script__on_tick(void *arg)
{
	struct script_run *run = arg;
	const struct script_session *session = run->session;
	uint64_t used;

	if (run->tick_ns == 0) {
		run->tick_cpu_us = clock_thread_cpu_us();
		run->tick_ns = now_ns();
	}
	used = resume_ns(run);
	if (run->want >= WANT_CPU)
		;
	else if ((session->cpu_ns + used) / 1000u > session->budget.cpu_us)
		run->want = WANT_CPU;
	else if (session->wall_deadline_ms != 0 &&
		 clock_mono_ms() > session->wall_deadline_ms)
		run->want = WANT_WALL;
	else if (used > RUN_HOLD_MS * (uint64_t)1000000u &&
		 run->state->loading == 0)
		run->want = WANT_HOLD;
	else if (used / 1000u > run->slice_us)
		run->want = WANT_GIVE_WAY;
	if (run->want != WANT_NOTHING)
		script__arm(run);
}

void
script__note_where(struct script_run *run, lua_State *lua)
{
	lua_Debug ar;

	if (run->where[0] != '\0')
		return;
	for (int level = 0; level < 32; level++) {
		if (!lua_getstack(lua, level, &ar))
			return;
		if (!lua_getinfo(lua, "Sl", &ar) || ar.currentline <= 0)
			continue;
		snprintf(run->where, sizeof(run->where),
		    "%s:%d: ", ar.short_src, ar.currentline);
		return;
	}
}

int
script__kill(lua_State *lua, enum script_want why)
{
	struct script_run *run = script__run(lua);

	script__want(run, why);
	script__note_where(run, lua);
	run->killed = (enum script_want)run->want;
	if (lua_isyieldable(lua)) {
		run->pass = PASS_KILL;
		return lua_yield(lua, 0);
	}
	return luaL_error(lua, "the call reached a limit and is being ended");
}

void
script__tick_now(lua_State *lua, uint64_t *steps)
{
	const struct script_run *run = script__run(lua);

	*steps = 0;
	if (run != NULL && run->want >= WANT_CPU)
		script__kill(lua, (enum script_want)run->want);
}

static void
on_hook(lua_State *lua, lua_Debug *ar)
{
	struct script_run *run = script__run(lua);

	(void)ar;
	if (run == NULL || run->want == WANT_NOTHING) {
		lua_sethook(lua, NULL, 0, 0);
		return;
	}
	if (run->want >= WANT_CPU) {
		script__kill(lua, (enum script_want)run->want);
		return;
	}
	if (run->blocked > 0 || !lua_isyieldable(lua)) {
		lua_sethook(lua, on_hook, LUA_MASKCOUNT, HOOK_LATER);
		return;
	}
	run->want = WANT_NOTHING;
	lua_sethook(lua, NULL, 0, 0);
	run->pass = PASS_GIVE_WAY;
	lua_yield(lua, 0);
}

bool
script__may_give_way(lua_State *lua)
{
	const struct script_run *run = script__run(lua);

	return run != NULL && run->want == WANT_GIVE_WAY && run->blocked == 0 &&
	       lua_isyieldable(lua);
}

int
script__give_way(lua_State *lua, lua_KContext context, lua_KFunction again)
{
	struct script_run *run = script__run(lua);

	run->want = WANT_NOTHING;
	lua_sethook(lua, NULL, 0, 0);
	run->pass = PASS_GIVE_WAY;
	return lua_yieldk(lua, 0, context, again);
}

/*
 * Memory. One comparison for each allocation in state_alloc: `limit` is the
 * lower of the state's ceiling and of what this session may still add. The
 * hard ceiling refuses: Lua answers with a full collection and one more try,
 * so only a second refusal in a row is the end. The soft one lets the
 * allocation through and ends the run: one turn may not fill the heap that the
 * brand's other turns share.
 */
bool
script__may_grow(struct script_state *state, size_t by)
{
	struct script_run *run = state->run;

	if (state->used + by > state->ceiling) {
		if (run != NULL && state->denied == by)
			script__want(run, WANT_MEMORY);
		state->denied = by;
		return false;
	}
	if (run != NULL && run->want < WANT_CPU)
		script__want(run, WANT_MEMORY);
	return true;
}

void
script__memory_start(struct script_run *run)
{
#ifndef XIN_NO_SCRIPT_LIMITS
	struct script_state *state = run->state;
	size_t soft = state->ceiling / 4 * 3;
	size_t grown = run->session->grown;

	run->used_before = state->used;
	state->denied = 0;
	state->limit = state->used + (soft > grown ? soft - grown : 0);
	if (state->limit > state->ceiling)
		state->limit = state->ceiling;
#else
	(void)run;
#endif
}

/* Freeing what others left behind earns no credit below zero. */
void
script__memory_end(struct script_run *run)
{
#ifndef XIN_NO_SCRIPT_LIMITS
	struct script_state *state = run->state;

	size_t *grown = &run->session->grown;
	size_t freed;

	if (state->used >= run->used_before) {
		*grown += state->used - run->used_before;
	} else {
		freed = run->used_before - state->used;
		*grown -= freed < *grown ? freed : *grown;
	}
	state->limit = state->ceiling;
#else
	(void)run;
#endif
}

const char *
script__limit_text(const struct script_run *run, char *buf, size_t size)
{
	const struct script_budget *budget = &run->session->budget;

	switch (run->killed) {
	case WANT_CPU:
		snprintf(buf, size, "used up its %llu ms of CPU",
		    (unsigned long long)(budget->cpu_us / 1000u));
		break;
	case WANT_WALL:
		snprintf(buf, size, "did not end within its deadline");
		break;
	case WANT_HOLD:
		snprintf(buf, size,
		    "worked for %d ms where it cannot give way "
		    "(one pattern, or a callback of sort)",
		    RUN_HOLD_MS);
		break;
	case WANT_MEMORY:
		snprintf(buf, size, "used up its %zu MiB of memory",
		    run->state->ceiling >> 20);
		break;
	case WANT_HOST_CALLS:
		snprintf(
		    buf, size, "used up its %u host calls", budget->host_calls);
		break;
	case WANT_RESULT:
		snprintf(buf, size, "returned more than %zu bytes",
		    budget->result_bytes);
		break;
	case WANT_COROUTINES:
		snprintf(
		    buf, size, "made more than %d coroutines", RUN_COROUTINES);
		break;
	case WANT_LOG_LINES:
		snprintf(buf, size, "logged more than %d lines", RUN_LOG_LINES);
		break;
	default:
		snprintf(buf, size, "reached a limit");
		break;
	}
	return buf;
}
