/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of everything that scripts may call, and its registration. Each
 * function is entered through one gate that knows its row: where it may be
 * called is decided here, not in the functions.
 */
#include "binding/binding.h"

#include <stdio.h>

#include "base/str.h"
#include "binding/internal.h"

const struct binding_module *const binding__modules[] = {
	&binding__text,
	&binding__match,
	&binding__match_set,
	&binding__json,
	&binding__log,
	&binding__time,
	&binding__crypto,
	&binding__metric,
	&binding__kv,
	&binding__search,
	&binding__conversation,
	&binding__document,
	&binding__extract,
	&binding__guard,
	&binding__embed,
	&binding__model,
	&binding__telemetry,
	NULL,
};

static int
gate(lua_State *lua)
{
	const struct binding_module *module =
	    lua_touserdata(lua, lua_upvalueindex(1));
	const struct binding_function *function =
	    lua_touserdata(lua, lua_upvalueindex(2));
	enum script_kind kind;
	char what[96];

	if (function->where == ANYWHERE)
		return function->fn(lua);
	kind = script_running_kind(lua);
	if ((function->where & (1u << kind)) != 0)
		return function->fn(lua);
	snprintf(what, sizeof(what), "xin.%s.%s", module->name, function->name);
	if (function->where == AT_LOAD)
		return luaL_error(lua,
		    "%s may be called only while a module loads (at its top "
		    "level), not inside a hook",
		    what);
	script_need_kind(lua, what, function->where & IN_HOOKS);
	return luaL_error(lua, "%s may not be called here", what);
}

void
binding__push_functions(lua_State *lua, const struct binding_module *module)
{
	const struct binding_function *at;

	lua_newtable(lua);
	for (at = module->functions; at->name != NULL; at++) {
		lua_pushlightuserdata(lua, (void *)(uintptr_t)module);
		lua_pushlightuserdata(lua, (void *)(uintptr_t)at);
		lua_pushcclosure(lua, gate, 2);
		lua_setfield(lua, -2, at->name);
	}
}

void
binding_open(lua_State *lua)
{
	binding__open_lists(lua);
	binding__open_match(lua);
	lua_newtable(lua);
	for (size_t i = 0; binding__modules[i] != NULL; i++) {
		if (binding__modules[i]->methods)
			continue;
		binding__push_functions(lua, binding__modules[i]);
		lua_setfield(lua, -2, binding__modules[i]->name);
	}
	lua_setglobal(lua, "xin");
}

/* ---- boxes ---- */

static const char buf_key, json_key;

static int
buf_collect(lua_State *lua)
{
	buf_done(lua_touserdata(lua, 1));
	return 0;
}

static int
json_collect(lua_State *lua)
{
	json_t **value = lua_touserdata(lua, 1);

	json_decref(*value);
	*value = NULL;
	return 0;
}

static void
set_collector(lua_State *lua, const void *key, lua_CFunction collect)
{
	if (lua_rawgetp(lua, LUA_REGISTRYINDEX, key) != LUA_TTABLE) {
		lua_pop(lua, 1);
		lua_createtable(lua, 0, 1);
		lua_pushcfunction(lua, collect);
		lua_setfield(lua, -2, "__gc");
		lua_pushvalue(lua, -1);
		lua_rawsetp(lua, LUA_REGISTRYINDEX, key);
	}
	lua_setmetatable(lua, -2);
}

struct buf *
binding__buf(lua_State *lua)
{
	struct buf *buf = lua_newuserdatauv(lua, sizeof(*buf), 0);

	buf_init(buf, 0);
	set_collector(lua, &buf_key, buf_collect);
	return buf;
}

json_t **
binding__json_box(lua_State *lua)
{
	json_t **value = lua_newuserdatauv(lua, sizeof(*value), 0);

	*value = NULL;
	set_collector(lua, &json_key, json_collect);
	return value;
}

void
binding__push_buf(lua_State *lua, struct buf *buf)
{
	lua_pushlstring(lua, buf_str(buf), buf->len);
	buf_done(buf);
	buf_init(buf, 0);
}

const char *
binding__text_arg(lua_State *lua, int index, size_t max, size_t *len_out)
{
	const char *text;
	size_t len;

	luaL_checktype(lua, index, LUA_TSTRING);
	text = lua_tolstring(lua, index, &len);
	if (len > max)
		luaL_argerror(lua, index,
		    lua_pushfstring(
			lua, "the text is longer than %d bytes", (int)max));
	luaL_argcheck(
	    lua, str_is_utf8(text, len), index, "the text is not valid UTF-8");
	*len_out = len;
	return text;
}

/* ---- what the call works on ---- */

struct binding_turn *
binding__turn(lua_State *lua)
{
	struct script_session *session = script_running(lua);

	if (session == NULL || script_running_kind(lua) != SCRIPT_BRAND)
		return NULL;
	return script_session_user(session);
}

struct binding_job *
binding__job(lua_State *lua)
{
	struct script_session *session = script_running(lua);
	struct binding_job *job = NULL;

	if (session != NULL && script_running_kind(lua) == SCRIPT_STEP)
		job = script_session_user(session);
	if (job == NULL)
		luaL_error(lua, "there is no document here: this function "
				"works inside a pipeline that is running");
	return job;
}
