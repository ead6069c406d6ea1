/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run: a fiber drives one coroutine. Each step hands it to the loop's own
 * stack, where it runs until it returns, fails, is killed, gives way, or asks
 * for something that waits; the fiber then does the waiting.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/mask.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "script/internal.h"

/* ---- one step, on the loop's stack ---- */

/* What Lua itself says of an error holds no values. */
static bool
is_lua_s_own(const char *text)
{
	static const char *const own[] = { "attempt to ", "bad argument #",
		"stack overflow", "number has no ", "string length overflow",
		"malformed pattern", "undeclared global",
		"xin." /* the host: it quotes values itself */ };

	if (strstr(text, "invalid option") != NULL) /* 'and the value' */
		return false;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (str_starts(text, own[i]))
			return true;
	return false;
}

/* A script may build its words of what users wrote. What does not stand in its
 * source is quoted, so that logs leave it out (base/mask.h). The first `place`
 * bytes of run->error stay. */
static void
keep_words(struct script_run *run, size_t place, const char *words,
    const struct script_file *file)
{
	if (place >= sizeof(run->error))
		place = sizeof(run->error) - 1;
	/* Loading knows no users; the host quotes for itself. */
	if (run->entry != script__call_entry || is_lua_s_own(words) ||
	    strcmp(words, run->session->host_said) == 0)
		str_copy(run->error + place, sizeof(run->error) - place, words);
	else
		mask_quote_foreign(words, file != NULL ? file->text : "",
		    file != NULL ? file->len : 0, run->error + place,
		    sizeof(run->error) - place);
}

static const struct script_file *
own_file(const struct script_run *run)
{
	return script_generation_file(run->session->gen, run->file);
}

void
script__keep_words(struct script_run *run, size_t place, const char *words)
{
	keep_words(run, place, words, own_file(run));
}

/* `text` may begin with the place that error() adds: "brands/x.lua:12: ". */
static void
keep_error(struct script_run *run, const char *text)
{
	const char *rest = strstr(text, ".lua:");
	const struct script_file *file = NULL;
	char name[128];
	size_t len = rest != NULL ? (size_t)(rest - text) + 4 : sizeof(name);

	if (len < sizeof(name)) {
		memcpy(name, text, len);
		name[len] = '\0';
		file = script_generation_file(run->session->gen, name);
	}
	if (file == NULL) {
		script__keep_words(run, 0, text);
		return;
	}
	rest += 5 + strspn(rest + 5, "0123456789");
	rest += str_starts(rest, ": ") ? 2 : 0;
	memcpy(run->error, text, (size_t)(rest - text));
	keep_words(run, (size_t)(rest - text), rest, file);
}

static void
note_error(struct script_run *run)
{
	lua_State *co = run->top;
	const char *text = "the error is no text";

	/* Only real text is looked at: no metamethod of a script runs here. */
	if (lua_type(co, -1) == LUA_TSTRING) {
		text = lua_tostring(co, -1);
	} else if (lua_type(co, -1) == LUA_TTABLE && lua_checkstack(co, 3)) {
		lua_pushliteral(co, "reason");
		lua_rawget(co, -2);
		if (lua_type(co, -1) == LUA_TSTRING)
			text = lua_tostring(co, -1);
	}
	keep_error(run, text);
}

static void
step(void *arg)
{
	struct script_run *run = arg;
	struct script_state *state = run->state;
	uint64_t sequence = 0;
	int count = 0;

	if (run->top == NULL) {
		run->top = script__thread_take(state, &run->top_ref);
		if (run->top == NULL) {
			run->killed = WANT_MEMORY;
			return;
		}
		lua_pushcfunction(run->top, run->entry);
	}
	run->current = run->top;
	run->pass = PASS_NOTHING;
	run->want = WANT_NOTHING;
	run->blocked = 0;
	state->run = run;
	loop_label("script", run->file);
	script__memory_start(run);
	script__charge_start(run);
#ifndef XIN_NO_SCRIPT_LIMITS
	sequence = watchdog_arm(script__on_tick, run);
#endif
	run->status = lua_resume(run->top, state->lua, 0, &count);
#ifndef XIN_NO_SCRIPT_LIMITS
	watchdog_disarm(sequence);
#else
	(void)sequence;
#endif
	run->current = NULL;
	state->run = NULL;
	script__charge_end(run);
	script__memory_end(run);
	loop_label(NULL, NULL);
	/* Whatever else happened, a limit that was reached is the end: nobody
	 * gets away by returning quickly or by raising an error of their own.
	 */
	if (run->want >= WANT_CPU)
		run->killed = (enum script_want)run->want;
	if (run->status == LUA_YIELD)
		return;
	if (run->status != LUA_OK) {
		run->failed = true;
		note_error(run);
	}
}

/* ---- the run, on the fiber ---- */

static void
free_held(struct script_run *run)
{
	struct script_held *held;

	while ((held = run->held) != NULL) {
		struct script_request *request = (void *)held->request;

		run->held = held->next;
		if (request->done != NULL)
			request->done(request);
		mem_free(held);
	}
}

static enum err_code
do_request(struct script_run *run)
{
	struct script_request *request = run->request;

	run->request = NULL;
	request->rc = request->run(request, run->session);
	if (fiber_cancelled())
		return err_set(ERR_CANCELLED, "%s: cancelled", run->file);
	if (run->session->wall_deadline_ms != 0 &&
	    clock_mono_ms() > run->session->wall_deadline_ms)
		run->killed = WANT_WALL;
	return OK;
}

static void
pass_turn(struct script_run *run)
{
	if (!run->heavy)
		return;
	run->heavy = false;
	run->state->heavy_taken = false;
	fiber_cond_signal(&run->state->heavy);
}

/* After a slice: let the loop's others run, then the brand's other long runs,
 * then go on. A signal that meets a deadline or a cancel is handed on. */
static enum err_code
give_way(struct script_run *run)
{
	struct script_state *state = run->state;
	enum err_code rc;

	metric_count(METRIC_SCRIPT_PREEMPTED, LABELS(run->session->brand), 1);
	pass_turn(run);
	rc = fiber_sleep(0);
	while (rc == OK && state->heavy_taken)
		rc = fiber_cond_wait(
		    &state->heavy, run->session->wall_deadline_ms);
	if (rc != OK) {
		if (!state->heavy_taken)
			fiber_cond_signal(&state->heavy);
		return rc;
	}
	state->heavy_taken = true;
	run->heavy = true;
	return OK;
}

static enum err_code
drive(struct script_run *run)
{
	for (;;) {
		fiber_on_loop_stack(step, run);
		if (run->killed != WANT_NOTHING || run->status != LUA_YIELD)
			return OK;
		switch (run->pass) {
		case PASS_WAIT:
			pass_turn(run);
			TRY(do_request(run));
			if (run->killed != WANT_NOTHING)
				return OK;
			break;
		case PASS_GIVE_WAY:
			TRY(give_way(run));
			break;
		default:
			run->failed = true;
			str_copy(run->error, sizeof(run->error),
			    "yielded outside of a coroutine");
			return OK;
		}
	}
}

static enum err_code
verdict(struct script_run *run)
{
	char text[128];

	if (run->killed != WANT_NOTHING) {
		run->state->retired |= run->killed == WANT_MEMORY;
		return err_set(ERR_SCRIPT_LIMIT,
		    "%s%s of brand %s, hook %s: %s", run->where, run->file,
		    run->session->brand, run->hook,
		    script__limit_text(run, text, sizeof(text)));
	}
	if (run->failed)
		return err_set(run->failure != OK ? run->failure : ERR_SCRIPT,
		    "%s", run->error);
	if (run->missing)
		return err_set(
		    ERR_NOT_FOUND, "%s has no %s", run->file, run->hook);
	return OK;
}

static void
count_call(const struct script_run *run, enum err_code rc, uint64_t cpu_ns)
{
	const char *brand = run->session->brand;
	const char *outcome = rc == OK                 ? "ok"
			      : rc == ERR_SCRIPT_LIMIT ? "killed"
			      : rc == ERR_CANCELLED    ? "cancelled"
						       : "error";

	if (run->session->checking)
		return;
	metric_count(METRIC_SCRIPT_CALLS, LABELS(brand, run->file, outcome), 1);
	metric_count(METRIC_SCRIPT_CPU, LABELS(brand), cpu_ns / 1000u);
}

enum err_code
script__execute(struct script_session *session, struct script_run *run)
{
	uint64_t before = session->cpu_ns;
	enum err_code rc;

	run->session = session;
	run->state = session->state;
	run->slice_us = (uint64_t)config_int(CFG_SCRIPT_SLICE_MS) * 1000u;
	run->top_ref = LUA_NOREF;
	if (session->cpu_ns / 1000u > session->budget.cpu_us)
		run->killed = WANT_CPU;
	else if (session->wall_deadline_ms != 0 &&
		 clock_mono_ms() > session->wall_deadline_ms)
		run->killed = WANT_WALL;
	rc = run->killed == WANT_NOTHING ? drive(run) : OK;
	if (rc == OK)
		rc = verdict(run);
	pass_turn(run);
	free_held(run);
	script__thread_give(run->state, run->top, run->top_ref,
	    rc == OK && run->status == LUA_OK && !run->failed);
	if (rc != OK) {
		json_decref(run->result);
		run->result = NULL;
	}
	count_call(run, rc, session->cpu_ns - before);
	return rc;
}
