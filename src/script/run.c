/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions and calls: a fiber drives one coroutine. Each step hands it to the
 * loop's own stack, where it runs until it returns, fails, is killed, gives
 * way, or asks for something that waits; the fiber then does the waiting.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/mask.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "script/internal.h"

script_open_fn script__open_bindings;

static const char *const folders[SCRIPT_KINDS] = { "brands", "guardrails",
	"pipelines", "pipelines/steps", "channels" };

void
script_setup(script_open_fn open_bindings)
{
	script__open_bindings = open_bindings;
}

const char *
script_kind_folder(enum script_kind kind)
{
	return (unsigned)kind < SCRIPT_KINDS ? folders[kind] : "";
}

struct script_budget
script_budget_default(void)
{
	return (struct script_budget){
		.cpu_us = (uint64_t)config_int(CFG_SCRIPT_TURN_CPU_MS) * 1000u,
		.host_calls = (unsigned)config_int(CFG_SCRIPT_HOST_CALLS),
		.result_bytes = (size_t)config_int(CFG_SCRIPT_RESULT_BYTES),
	};
}

bool
script__file_name(
    enum script_kind kind, const char *name, char *out, size_t size)
{
	if (!str_is_name(name))
		return false;
	return snprintf(out, size, "%s/%s.lua", folders[kind], name) <
	       (int)size;
}

/* ---- one step, on the loop's stack ---- */

static int call_entry(lua_State *lua);

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
	if (run->entry != call_entry || is_lua_s_own(words) ||
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
		keep_words(run, 0, text, own_file(run));
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

/* ---- inside the coroutine ---- */

/* The result, measured; limits on it are limits of the run. */
static json_t *
take_result(lua_State *lua, int index, bool skip_functions)
{
	struct script_run *run = script__run(lua);
	struct script_measure measure = {
		.left = run->session->budget.result_bytes,
		.skip_functions = skip_functions,
	};
	json_t *value = script__json(lua, index, &measure);

	if (value != NULL)
		return value;
	if (measure.over)
		script__kill(lua, WANT_RESULT);
	luaL_error(
	    lua, "%s: result of %s: %s", run->file, run->hook, measure.error);
	return NULL;
}

/* A channel's parse judges what somebody sent: these codes are the sender's
 * mistake, to be answered as such. */
static enum err_code
take_code(lua_State *lua, int index, const struct script_run *run)
{
	enum err_code code = OK;

	lua_pushliteral(lua, "code");
	lua_rawget(lua, index);
	if (run->kind == SCRIPT_CHANNEL && lua_type(lua, -1) == LUA_TSTRING)
		code = err_from_name(lua_tostring(lua, -1));
	lua_pop(lua, 1);
	return code == ERR_INVALID || code == ERR_TOO_LARGE ? code : OK;
}

/* `nil, err`: a failure that the script reports. */
static void
take_reason(lua_State *lua, int index)
{
	struct script_run *run = script__run(lua);
	const char *reason = NULL;

	if (lua_type(lua, index) == LUA_TTABLE) {
		run->failure = take_code(lua, index, run);
		lua_pushliteral(lua, "reason");
		lua_rawget(lua, index);
		reason = lua_type(lua, -1) == LUA_TSTRING
			     ? lua_tostring(lua, -1)
			     : "failed without a reason";
	} else if (lua_type(lua, index) == LUA_TSTRING) {
		reason = lua_tostring(lua, index);
	}
	if (reason == NULL)
		return;
	run->failed = true;
	if (run->failure != OK)
		keep_words(run, 0, reason, own_file(run));
	else
		keep_words(run,
		    (size_t)snprintf(run->error, sizeof(run->error),
			"%s: %s: ", run->file, run->hook),
		    reason, own_file(run));
}

static int
called(lua_State *lua, int status, lua_KContext context)
{
	struct script_run *run = script__run(lua);

	(void)status;
	(void)context;
	lua_settop(lua, 3);
	run->result = take_result(lua, 2, false);
	if (lua_isnil(lua, 2) && !lua_isnil(lua, 3))
		take_reason(lua, 3);
	return 0;
}

static int
call_entry(lua_State *lua)
{
	struct script_run *run = script__run(lua);
	size_t count = json_array_size(run->args);

	script__module(lua, run->file);
	if (lua_type(lua, -1) != LUA_TTABLE) {
		run->missing = true;
		return 0;
	}
	lua_pushstring(lua, run->hook);
	lua_rawget(lua, 1);
	if (lua_type(lua, -1) != LUA_TFUNCTION) {
		run->missing = true;
		return 0;
	}
	luaL_checkstack(lua, (int)count + 8, "too many arguments");
	for (size_t i = 0; i < count; i++)
		script_push_json(lua, json_array_get(run->args, i));
	lua_callk(lua, (int)count, 2, 0, called);
	return called(lua, LUA_OK, 0);
}

static int
fields_entry(lua_State *lua)
{
	struct script_run *run = script__run(lua);

	script__module(lua, run->file);
	if (lua_type(lua, -1) != LUA_TTABLE) {
		run->missing = true;
		return 0;
	}
	run->result = take_result(lua, 1, true);
	return 0;
}

static int
load_entry(lua_State *lua)
{
	script__module(lua, script__run(lua)->file);
	script__run(lua)->missing = lua_type(lua, -1) == LUA_TNIL;
	return 0;
}

static int
has_entry(lua_State *lua)
{
	struct script_run *run = script__run(lua);

	script__module(lua, run->file);
	if (lua_type(lua, -1) != LUA_TTABLE) {
		run->missing = true;
		return 0;
	}
	lua_pushstring(lua, run->hook);
	lua_rawget(lua, 1);
	run->missing = lua_type(lua, -1) != LUA_TFUNCTION;
	return 0;
}

/* ---- the contract ---- */

/* Loading is not charged to the turn that happens to come first (compiling
 * pattern sets takes its time), but has a budget of its own. */
enum err_code
script__load(struct script_session *session, const char *file)
{
	struct script_run run = { .kind = SCRIPT_KINDS,
		.file = file,
		.hook = "top level",
		.entry = load_entry };
	uint64_t turn_ns = session->cpu_ns;
	uint64_t turn_budget_us = session->budget.cpu_us;
	enum err_code rc;

	session->cpu_ns = 0;
	session->budget.cpu_us = LOAD_CPU_US;
	rc = script__execute(session, &run);
	session->cpu_ns = turn_ns;
	session->budget.cpu_us = turn_budget_us;
	return rc;
}

static enum err_code
ensure_loaded(struct script_session *session, const struct script_file *file)
{
	size_t at = (size_t)(file - session->gen->files);

	return session->state->loaded[at] ? OK
					  : script__load(session, file->name);
}

enum err_code
script__session_open_bare(const char *brand, struct script_generation *gen,
    const struct script_budget *budget, bool checking,
    struct script_session **session_out)
{
	struct script_session *session;
	struct script_state *state;
	const struct task *task = task_self();

	script__generation_compile(gen);
	TRY(script__state_get(gen, brand, &state));
	session = mem_zero(sizeof(*session));
	session->state = state;
	session->gen = script_generation_ref(gen);
	session->budget = budget != NULL ? *budget : script_budget_default();
	session->checking = checking;
	str_copy(session->brand, sizeof(session->brand), brand);
	session->wall_deadline_ms =
	    deadline_min(session->budget.wall_ms == 0
			     ? 0
			     : deadline_in_ms(session->budget.wall_ms),
		task != NULL ? task->deadline_ms : 0);
	*session_out = session;
	return OK;
}

enum err_code
script_session_open(const char *brand, struct script_generation *gen,
    const struct script_budget *budget, struct script_session **session_out)
{
	struct script_generation *pinned =
	    gen != NULL ? script_generation_ref(gen) : script_active();
	struct script_session *session = NULL;
	char file[128];
	enum err_code rc;

	if (pinned == NULL)
		return err_set(ERR_UNAVAILABLE, "no scripts are active yet");
	if (!script__file_name(SCRIPT_BRAND, brand, file, sizeof(file)) ||
	    script_generation_file(pinned, file) == NULL) {
		script_generation_unref(pinned);
		return err_set(
		    ERR_NOT_FOUND, "there is no brand \"%.64s\"", brand);
	}
	rc = script__session_open_bare(brand, pinned, budget, false, &session);
	script_generation_unref(pinned);
	if (rc != OK)
		return rc;
	rc = ensure_loaded(session, script_generation_file(session->gen, file));
	if (rc != OK) {
		script_session_close(session);
		return rc;
	}
	if (task_self() != NULL)
		str_copy(task_self()->generation, GENERATION_SIZE,
		    script_generation_id(session->gen));
	*session_out = session;
	return OK;
}

void
script_session_close(struct script_session *session)
{
	if (session == NULL)
		return;
	script__state_put(session->state);
	script_generation_unref(session->gen);
	mem_free(session);
}

struct script_generation *
script_session_generation(struct script_session *session)
{
	return session->gen;
}

const char *
script_session_brand(const struct script_session *session)
{
	return session->brand;
}

void
script_session_set_user(struct script_session *session, void *user)
{
	session->user = user;
}

void *
script_session_user(const struct script_session *session)
{
	return session->user;
}

uint64_t
script_session_cpu_us(const struct script_session *session)
{
	return session->cpu_ns / 1000u;
}

static enum err_code
run_entry(struct script_session *session, enum script_kind kind,
    const char *name, struct script_run *run)
{
	char path[128];
	const struct script_file *file;

	if ((unsigned)kind >= SCRIPT_KINDS ||
	    !script__file_name(kind, name, path, sizeof(path)))
		return err_set(
		    ERR_NOT_FOUND, "no such script: \"%.64s\"", name);
	file = script_generation_file(session->gen, path);
	if (file == NULL)
		return err_set(ERR_NOT_FOUND, "there is no %s", path);
	TRY(ensure_loaded(session, file));
	run->kind = kind;
	run->file = file->name; /* outlives the run: the session pins it */
	return script__execute(session, run);
}

enum err_code
script_call(struct script_session *session, enum script_kind kind,
    const char *name, const char *hook, json_t *args, json_t **result_out)
{
	struct script_run run = {
		.hook = hook, .args = args, .entry = call_entry
	};

	TRY(run_entry(session, kind, name, &run));
	*result_out = run.result;
	return OK;
}

/* Declared once, asked for in every turn: kept beside the state. */
enum err_code
script_module_fields(struct script_session *session, enum script_kind kind,
    const char *name, json_t **fields_out)
{
	struct script_run run = { .hook = "fields", .entry = fields_entry };
	char path[128];
	json_t **kept = NULL;
	long at;

	if ((unsigned)kind < SCRIPT_KINDS &&
	    script__file_name(kind, name, path, sizeof(path)) &&
	    (at = script__generation_find(session->gen, path)) >= 0)
		kept = &session->state->fields[at];
	if (kept == NULL || *kept == NULL) {
		TRY(run_entry(session, kind, name, &run));
		must(kept != NULL); /* what ran is in the generation */
		if (*kept == NULL)
			*kept = run.result;
		else
			json_decref(run.result);
	}
	*fields_out = json_incref(*kept);
	return OK;
}

bool
script_module_has(struct script_session *session, enum script_kind kind,
    const char *name, const char *hook)
{
	struct script_run run = { .hook = hook, .entry = has_entry };
	struct error saved;
	bool has;

	err_save(&saved);
	has = run_entry(session, kind, name, &run) == OK;
	err_restore(&saved);
	return has;
}
