/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions and calls, what script.h promises: a session is a brand's state for
 * one turn or job; a call is a run (run.c) whose entry finds the module, calls
 * its hook with arguments from JSON, and takes the result back, measured.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
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
		script__keep_words(run, 0, reason);
	else
		script__keep_words(run,
		    (size_t)snprintf(run->error, sizeof(run->error),
			"%s: %s: ", run->file, run->hook),
		    reason);
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

int
script__call_entry(lua_State *lua)
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
		.hook = hook, .args = args, .entry = script__call_entry
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
