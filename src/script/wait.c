/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a Lua C function waits. The request stays in C memory that the run owns:
 * a script cannot forge one, and whatever raises in between, the run's end
 * frees it.
 */
#include <stdlib.h>

#include "base/str.h"
#include "base/mem.h"
#include "script/internal.h"

void *
script_request_new(lua_State *lua, size_t size)
{
	struct script_run *run = script__run(lua);
	struct script_held *held;

	if (run == NULL || run->session->checking ||
	    script__state(lua)->loading > 0) {
		luaL_error(lua,
		    "this host call is not available while a module loads, nor "
		    "in xin check; call it inside a hook");
		return NULL; /* never: it raises */
	}
	if (size > SCRIPT_STRING_MAX)
		luaL_error(lua, "the arguments are too large");
	if (++run->session->host_calls > run->session->budget.host_calls)
		script__kill(lua, WANT_HOST_CALLS);
	held = mem_zero(sizeof(*held) + size);
	held->next = run->held;
	run->held = held;
	return held->request;
}

static void
release(struct script_run *run, struct script_request *request)
{
	struct script_held **at = &run->held;
	struct script_held *held;

	while (*at != NULL && (void *)(*at)->request != (void *)request)
		at = &(*at)->next;
	held = *at;
	if (held == NULL)
		return;
	*at = held->next;
	if (request->done != NULL)
		request->done(request);
	mem_free(held);
}

static int
waited(lua_State *lua, int status, lua_KContext context)
{
	struct script_run *run = script__run(lua);
	struct script_request *request = (struct script_request *)context;
	int count;

	(void)status;
	/* May raise for want of memory: the run still owns it then. */
	count = request->push(request, lua);
	release(run, request);
	return count;
}

int
script_wait(lua_State *lua, struct script_request *request)
{
	struct script_run *run = script__run(lua);

	if (run->blocked > 0 || !lua_isyieldable(lua))
		return luaL_error(lua,
		    "this host call waits, which is impossible inside a "
		    "callback of table.sort, in __tostring, or "
		    "while a module loads; call it before or after");
	run->request = request;
	run->pass = PASS_WAIT;
	return lua_yieldk(lua, 0, (lua_KContext)request, waited);
}

int
script_push_error(lua_State *lua, enum err_code rc)
{
	const struct script_run *run = script__run(lua);

	if (run != NULL && run->session != NULL)
		str_copy(run->session->host_said,
		    sizeof(run->session->host_said), err_message());
	lua_pushnil(lua);
	lua_createtable(lua, 0, 2);
	lua_pushstring(lua, err_name(rc));
	lua_setfield(lua, -2, "code");
	lua_pushstring(lua, err_message());
	lua_setfield(lua, -2, "reason");
	return 2;
}

struct script_session *
script_running(lua_State *lua)
{
	struct script_run *run = script__run(lua);

	if (run == NULL || run->session->checking ||
	    script__state(lua)->loading > 0)
		return NULL;
	return run->session;
}

enum script_kind
script_running_kind(lua_State *lua)
{
	struct script_run *run = script__run(lua);

	if (run == NULL || script__state(lua)->loading > 0)
		return SCRIPT_KINDS;
	return run->kind;
}

static const char *const kind_words[SCRIPT_KINDS + 1] = { "a brand",
	"a guardrail", "a pipeline", "a pipeline step", "a channel",
	"the top level of a module" };

void
script_need_kind(lua_State *lua, const char *what, unsigned mask)
{
	enum script_kind kind = script_running_kind(lua);
	luaL_Buffer text;

	if (kind < SCRIPT_KINDS && (mask & (1u << kind)) != 0)
		return;
	luaL_buffinit(lua, &text);
	luaL_addstring(&text, what);
	luaL_addstring(&text, " may not be called in ");
	luaL_addstring(&text, kind_words[kind]);
	luaL_addstring(&text, "; it may be called in");
	for (unsigned i = 0, n = 0; i < SCRIPT_KINDS; i++) {
		if ((mask & (1u << i)) == 0)
			continue;
		luaL_addstring(&text, n++ == 0 ? " " : ", ");
		luaL_addstring(&text, kind_words[i]);
	}
	luaL_pushresult(&text);
	luaL_error(lua, "%s", lua_tostring(lua, -1));
}

static bool
stands_in(const struct script_file *file, const char *text, size_t len)
{
	return file != NULL && memmem(file->text, file->len, text, len) != NULL;
}

bool
script_in_source(lua_State *lua, const char *text, size_t len)
{
	const struct script_run *run = script__run(lua);
	const struct script_generation *gen;
	lua_Debug ar;

	if (run == NULL)
		return false;
	gen = run->session->gen;
	if (stands_in(script_generation_file(gen, run->file), text, len))
		return true;
	return lua_getstack(lua, 1, &ar) && lua_getinfo(lua, "S", &ar) &&
	       (ar.source[0] == '@' || ar.source[0] == '=') &&
	       stands_in(script_generation_file(gen, ar.source + 1), text, len);
}

bool
script_log_allowed(lua_State *lua)
{
	struct script_run *run = script__run(lua);

	if (run == NULL)
		return false;
	if (++run->log_lines > RUN_LOG_LINES)
		script__kill(lua, WANT_LOG_LINES);
	return true;
}
