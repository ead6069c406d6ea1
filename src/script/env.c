/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment of scripts, built from nothing: a short list of functions
 * and libraries. Libraries are userdata (rawset, next and setmetatable refuse
 * them), globals cannot be written, undeclared names raise. `require` finds
 * modules in the generation only.
 */
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mask.h"
#include "base/str.h"
#include "script/internal.h"

static const char loaded_key;
static const char env_key;
static const char serial_key;

/* ---- frozen tables ---- */

static int
frozen_write(lua_State *lua)
{
	return luaL_error(lua, "%s cannot be changed",
	    lua_tostring(lua, lua_upvalueindex(1)));
}

static int
frozen_pairs(lua_State *lua)
{
	lua_getglobal(lua, "next");
	lua_newtable(lua);
	lua_pushnil(lua);
	while (lua_next(lua, lua_upvalueindex(1)) != 0) {
		lua_pushvalue(lua, -2);
		lua_insert(lua, -2);
		lua_rawset(lua, -4);
	}
	lua_pushnil(lua);
	return 3;
}

void
script__freeze(lua_State *lua, const char *what)
{
	lua_newuserdatauv(lua, 0, 0);
	lua_createtable(lua, 0, 5);
	lua_pushvalue(lua, -3);
	lua_setfield(lua, -2, "__index");
	lua_pushstring(lua, what);
	lua_pushcclosure(lua, frozen_write, 1);
	lua_setfield(lua, -2, "__newindex");
	lua_pushvalue(lua, -3);
	lua_pushcclosure(lua, frozen_pairs, 1);
	lua_setfield(lua, -2, "__pairs");
	lua_pushboolean(lua, 0);
	lua_setfield(lua, -2, "__metatable");
	lua_pushstring(lua, what);
	lua_setfield(lua, -2, "__name");
	lua_setmetatable(lua, -2);
	lua_remove(lua, -2);
}

/* ---- names ---- */

static int
undeclared(lua_State *lua)
{
	return luaL_error(lua, "undeclared global '%s'",
	    lua_type(lua, 2) == LUA_TSTRING ? lua_tostring(lua, 2) : "?");
}

static int
no_assignment(lua_State *lua)
{
	return luaL_error(lua, "assignment to global '%s'; use a local",
	    lua_type(lua, 2) == LUA_TSTRING ? lua_tostring(lua, 2) : "?");
}

/* ---- base functions of our own ---- */

static void
push_serial(lua_State *lua, int index)
{
	lua_rawgetp(lua, LUA_REGISTRYINDEX, &serial_key);
	lua_pushvalue(lua, index);
	lua_rawget(lua, -2);
	if (lua_isnil(lua, -1)) {
		lua_pop(lua, 1);
		lua_pushinteger(
		    lua, (lua_Integer)++script__state(lua)->serials);
		lua_pushvalue(lua, index);
		lua_pushvalue(lua, -2);
		lua_rawset(lua, -4);
	}
	lua_remove(lua, -2);
}

const char *
script__tostring(lua_State *lua, int index, size_t *len_out)
{
	int type = lua_type(lua, index);

	index = lua_absindex(lua, index);
	luaL_checkstack(lua, 8, "tostring");
	if (luaL_callmeta(lua, index, "__tostring")) {
		if (!lua_isstring(lua, -1))
			luaL_error(lua, "'__tostring' must return a string");
		return lua_tolstring(lua, -1, len_out);
	}
	if (type == LUA_TLIGHTUSERDATA) {
		lua_pushstring(lua,
		    lua_touserdata(lua, index) == NULL ? "null" : "handle");
		return lua_tolstring(lua, -1, len_out);
	}
	if (type < LUA_TTABLE)
		return luaL_tolstring(lua, index, len_out);
	push_serial(lua, index);
	lua_pushfstring(lua, "%s: %I", lua_typename(lua, type),
	    (LUAI_UACINT)lua_tointeger(lua, -1));
	lua_remove(lua, -2);
	return lua_tolstring(lua, -1, len_out);
}

static int
lib_tostring(lua_State *lua)
{
	luaL_checkany(lua, 1);
	script__tostring(lua, 1, NULL);
	return 1;
}

/* A debugging aid, and its values may be what users wrote: the log gets the
 * words that stand in the source, and how long the rest is. */
static void
print_words(
    lua_State *lua, const lua_Debug *at, const char *where, const char *words)
{
	const struct script_run *run = script__run(lua);
	const struct script_file *file =
	    run != NULL && where[0] != '\0'
		? script_generation_file(run->session->gen, at->source + 1)
		: NULL;
	char shown[ERR_MESSAGE_MAX];

	mask_quote_foreign(words, file != NULL ? file->text : "",
	    file != NULL ? file->len : 0, shown, sizeof(shown));
	log_info(
	    "script.print", kv_str("at", where), kv_error("message", shown));
}

static int
lib_print(lua_State *lua)
{
	int count = lua_gettop(lua);
	luaL_Buffer line;
	char where[96] = "";
	lua_Debug ar;

	if (lua_getstack(lua, 1, &ar) && lua_getinfo(lua, "Sl", &ar))
		snprintf(where, sizeof(where), "%s:%d", ar.short_src,
		    ar.currentline);
	luaL_buffinit(lua, &line);
	for (int i = 1; i <= count; i++) {
		if (i > 1)
			luaL_addchar(&line, '\t');
		script__tostring(lua, i, NULL);
		luaL_addvalue(&line);
	}
	luaL_pushresult(&line);
	if (script_log_allowed(lua))
		print_words(lua, &ar, where, lua_tostring(lua, -1));
	return 0;
}

/* A metatable with a finalizer would run code outside of every limit; one
 * with weak references meets faults of older Lua 5.4 releases. */
static int
lib_setmetatable(lua_State *lua)
{
	static const char *const refused[] = { "__gc", "__mode" };
	int type = lua_type(lua, 2);

	luaL_checktype(lua, 1, LUA_TTABLE);
	luaL_argexpected(
	    lua, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
	if (luaL_getmetafield(lua, 1, "__metatable") != LUA_TNIL)
		return luaL_error(lua, "cannot change a protected metatable");
	for (size_t i = 0; type == LUA_TTABLE && i < 2; i++) {
		lua_pushstring(lua, refused[i]);
		if (lua_rawget(lua, 2) != LUA_TNIL)
			return luaL_error(
			    lua, "%s is not available", refused[i]);
		lua_pop(lua, 1);
	}
	lua_settop(lua, 2);
	lua_setmetatable(lua, 1);
	return 1;
}

/* The handler runs after the stack is unwound, not inside of the error: there
 * it would run with hooks off. It can wait and be ended like anything else. */
static int
handled(lua_State *lua, int status, lua_KContext context)
{
	(void)status;
	(void)context;
	return lua_gettop(lua) - 1;
}

static int
tried(lua_State *lua, int status, lua_KContext context)
{
	(void)context;
	if (status == LUA_OK || status == LUA_YIELD) {
		lua_pushboolean(lua, 1);
		lua_replace(lua, 2);
		return lua_gettop(lua) - 1;
	}
	/* 1 handler, 2 false, error on top: handler(error) */
	lua_pushvalue(lua, 1);
	lua_insert(lua, -2);
	lua_callk(lua, 1, LUA_MULTRET, 0, handled);
	return handled(lua, LUA_OK, 0);
}

static int
lib_xpcall(lua_State *lua)
{
	int args = lua_gettop(lua) - 2;

	luaL_checktype(lua, 2, LUA_TFUNCTION);
	/* f, handler, args -> handler, false, f, args */
	lua_pushvalue(lua, 1);
	lua_insert(lua, 3);
	lua_pushvalue(lua, 2);
	lua_replace(lua, 1);
	lua_pushboolean(lua, 0);
	lua_replace(lua, 2);
	return tried(lua, lua_pcallk(lua, args, LUA_MULTRET, 0, 0, tried), 0);
}

/* ---- modules ---- */

static void
run_chunk(lua_State *lua, const struct script_chunk *chunk, const char *file)
{
	struct script_state *state = script__state(lua);
	char name[300];
	int status;

	if (chunk->error != NULL)
		luaL_error(lua, "%s", chunk->error);
	snprintf(name, sizeof(name), "=%s", file);
	if (luaL_loadbufferx(lua, chunk->code, chunk->len, name, "b") != LUA_OK)
		lua_error(lua);
	lua_rawgetp(lua, LUA_REGISTRYINDEX, &env_key);
	if (lua_setupvalue(lua, -2, 1) == NULL)
		lua_pop(lua, 1);
	state->loading++;
	status = lua_pcall(lua, 0, 1, 0);
	state->loading--;
	if (status == LUA_OK && lua_isnil(lua, -1)) {
		lua_pop(lua, 1);
		lua_pushfstring(
		    lua, "%s:1: a module must return its table", file);
		status = LUA_ERRRUN;
	}
	if (status == LUA_OK)
		return;
	lua_rawgetp(lua, LUA_REGISTRYINDEX, &loaded_key);
	lua_pushstring(lua, file);
	lua_pushnil(lua);
	lua_rawset(lua, -3);
	lua_pop(lua, 1);
	lua_error(lua);
}

void
script__module(lua_State *lua, const char *file)
{
	struct script_state *state = script__state(lua);
	long at;

	luaL_checkstack(lua, 12, "require");
	lua_rawgetp(lua, LUA_REGISTRYINDEX, &loaded_key);
	lua_pushstring(lua, file);
	lua_rawget(lua, -2);
	if (lua_islightuserdata(lua, -1))
		luaL_error(lua, "%s requires itself", file);
	if (!lua_isnil(lua, -1)) {
		lua_remove(lua, -2);
		return;
	}
	at = script__generation_find(state->gen, file);
	if (at < 0) {
		lua_remove(lua, -2);
		return;
	}
	lua_pop(lua, 1);
	lua_pushstring(lua, file);
	lua_pushlightuserdata(lua, state);
	lua_rawset(lua, -3);
	run_chunk(lua, &state->gen->chunks[at], file);
	lua_pushstring(lua, file);
	lua_pushvalue(lua, -2);
	lua_rawset(lua, -4);
	lua_remove(lua, -2);
	state->loaded[at] = true;
}

/* Modules of the host under the names that runbooks know them by: parts of
 * xin.*, so that what they are stands in the binding table. */
static bool
push_host_module(lua_State *lua, const char *name)
{
	if (script__open_bindings == NULL ||
	    !str_eq(name, "chatbot.core.telemetry"))
		return false;
	lua_getglobal(lua, "xin");
	lua_getfield(lua, -1, "telemetry");
	lua_remove(lua, -2);
	return true;
}

static int
lib_require(lua_State *lua)
{
	size_t len;
	const char *name = luaL_checklstring(lua, 1, &len);
	char file[256];
	size_t i;

	if (len == 0 || len > 200 ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") != len ||
	    name[0] == '.' || name[len - 1] == '.' ||
	    strstr(name, "..") != NULL)
		return luaL_error(lua,
		    "require: a module name is made of [a-z0-9_] and single "
		    "dots");
	if (str_eq(name, "cjson")) {
		lua_getglobal(lua, "cjson");
		return 1;
	}
	if (push_host_module(lua, name))
		return 1;
	for (i = 0; i < len; i++)
		file[i] = name[i] == '.' ? '/' : name[i];
	memcpy(file + len, ".lua", 5);
	script__module(lua, file);
	if (lua_isnil(lua, -1))
		return luaL_error(
		    lua, "there is no module '%s' (%s)", name, file);
	return 1;
}

/* ---- putting it together ---- */

static const char *const base_names[] = { "_VERSION", "assert", "error",
	"getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal",
	"rawget", "rawlen", "rawset", "select", "tonumber", "type", NULL };

static bool
is_base_name(const char *name)
{
	for (const char *const *at = base_names; *at != NULL; at++)
		if (strcmp(*at, name) == 0)
			return true;
	return false;
}

bool
script__is_global(const char *name)
{
	static const char *const others[] = { "print", "require",
		"setmetatable", "tostring", "xpcall", "string", "table", "math",
		"utf8", "coroutine", "os", "cjson", "xin", NULL };

	for (const char *const *at = others; *at != NULL; at++)
		if (strcmp(*at, name) == 0)
			return true;
	return is_base_name(name);
}

static void
open_base(lua_State *lua)
{
	static const luaL_Reg functions[] = {
		{ "print", lib_print },
		{ "require", lib_require },
		{ "setmetatable", lib_setmetatable },
		{ "tostring", lib_tostring },
		{ "xpcall", lib_xpcall },
		{ NULL, NULL },
	};

	lua_pushcfunction(lua, luaopen_base);
	lua_call(lua, 0, 1);
	lua_pushnil(lua);
	while (lua_next(lua, -2) != 0) {
		lua_pop(lua, 1);
		if (is_base_name(lua_tostring(lua, -1)))
			continue;
		lua_pushvalue(lua, -1);
		lua_pushnil(lua);
		lua_rawset(lua, -4);
	}
	luaL_setfuncs(lua, functions, 0);
	lua_pop(lua, 1);
}

static void
open_library(lua_State *lua, const char *name, lua_CFunction open)
{
	lua_pushcfunction(lua, open);
	lua_call(lua, 0, 1);
	if (strcmp(name, "math") == 0) {
		lua_pushnil(lua);
		lua_setfield(lua, -2, "randomseed");
	}
	script__freeze(lua, name);
	lua_setglobal(lua, name);
}

/* What the bindings left as plain tables is frozen, two levels deep. */
static void
freeze_bindings(lua_State *lua)
{
	char what[80];

	if (lua_getglobal(lua, "xin") != LUA_TTABLE) {
		lua_pop(lua, 1);
		return;
	}
	lua_pushnil(lua);
	while (lua_next(lua, -2) != 0) {
		if (lua_type(lua, -1) != LUA_TTABLE ||
		    lua_type(lua, -2) != LUA_TSTRING) {
			lua_pop(lua, 1);
			continue;
		}
		snprintf(
		    what, sizeof(what), "xin.%.60s", lua_tostring(lua, -2));
		script__freeze(lua, what);
		lua_pushvalue(lua, -2);
		lua_insert(lua, -2);
		lua_rawset(lua, -4);
	}
	script__freeze(lua, "xin");
	lua_setglobal(lua, "xin");
}

static void
registry_table(lua_State *lua, const void *key, const char *mode)
{
	lua_newtable(lua);
	if (mode != NULL) {
		lua_createtable(lua, 0, 1);
		lua_pushstring(lua, mode);
		lua_setfield(lua, -2, "__mode");
		lua_setmetatable(lua, -2);
	}
	lua_rawsetp(lua, LUA_REGISTRYINDEX, key);
}

static void
seal_globals(lua_State *lua)
{
	lua_pushglobaltable(lua);
	lua_createtable(lua, 0, 1);
	lua_pushcfunction(lua, undeclared);
	lua_setfield(lua, -2, "__index");
	lua_setmetatable(lua, -2);

	lua_newuserdatauv(lua, 0, 0);
	lua_createtable(lua, 0, 3);
	lua_pushvalue(lua, -3);
	lua_setfield(lua, -2, "__index");
	lua_pushcfunction(lua, no_assignment);
	lua_setfield(lua, -2, "__newindex");
	lua_pushboolean(lua, 0);
	lua_setfield(lua, -2, "__metatable");
	lua_setmetatable(lua, -2);
	lua_rawsetp(lua, LUA_REGISTRYINDEX, &env_key);
	lua_pop(lua, 1);
}

int
script__env_open(lua_State *lua)
{
	registry_table(lua, &loaded_key, NULL);
	registry_table(lua, &serial_key, "k");
	open_base(lua);
	open_library(lua, "string", script__open_string);
	open_library(lua, "table", script__open_table);
	open_library(lua, "math", luaopen_math);
	open_library(lua, "coroutine", script__open_coroutine);
	open_library(lua, "os", script__open_os);
	open_library(lua, "cjson", script__open_json);
	if (script__open_bindings != NULL) {
		script__open_bindings(lua);
		lua_settop(lua, 0);
		freeze_bindings(lua);
	}
	seal_globals(lua);
	return 0;
}
