/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The string and utf8 libraries: stock functions where one call is short
 * whatever its arguments, our own where it is not (rep, the patterns), and a
 * format that neither shows addresses nor knows %p.
 */
#include <lualib.h>
#include <string.h>

#include "script/internal.h"

#define UTF8_MAX ((size_t)4 << 20)

/* At most SCRIPT_STRING_MAX bytes, doubled in place: a few milliseconds. */
static int
lib_rep(lua_State *lua)
{
	size_t len;
	size_t sep_len;
	const char *s = luaL_checklstring(lua, 1, &len);
	lua_Integer n = luaL_checkinteger(lua, 2);
	const char *sep = luaL_optlstring(lua, 3, "", &sep_len);
	size_t unit = len + sep_len;
	size_t total;
	luaL_Buffer out;
	char *at;

	if (n <= 0 || unit == 0) {
		lua_pushliteral(lua, "");
		return 1;
	}
	if ((uint64_t)n > SCRIPT_STRING_MAX / unit)
		return luaL_error(lua, "resulting string is over %d bytes",
		    (int)SCRIPT_STRING_MAX);
	total = (size_t)n * unit;
	at = luaL_buffinitsize(lua, &out, total);
	memcpy(at, s, len);
	memcpy(at + len, sep, sep_len);
	for (size_t done = unit; done < total; done *= 2)
		memcpy(at + done, at, done * 2 <= total ? done : total - done);
	luaL_pushresultsize(&out, total - sep_len);
	return 1;
}

/* %s of what has an address gets our own text; then the stock function. */
static int
lib_format(lua_State *lua)
{
	size_t len;
	const char *format = luaL_checklstring(lua, 1, &len);
	int top = lua_gettop(lua);
	int arg = 1;
	uint64_t steps = 0;

	for (size_t i = 0; i + 1 < len; i++) {
		script__tick(lua, &steps);
		if (format[i] != '%')
			continue;
		if (format[i + 1] == '%') {
			i++;
			continue;
		}
		do
			i++;
		while (i < len &&
		       strchr("-+ #0123456789.", format[i]) != NULL &&
		       format[i] != '\0');
		arg++;
		if (i < len && format[i] == 'p')
			return luaL_error(lua, "%%p is not available");
		if (i >= len || format[i] != 's' || arg > top)
			continue;
		if (lua_type(lua, arg) < LUA_TTABLE &&
		    lua_type(lua, arg) != LUA_TLIGHTUSERDATA)
			continue;
		script__tostring(lua, arg, NULL);
		lua_replace(lua, arg);
	}
	lua_pushvalue(lua, lua_upvalueindex(1));
	lua_insert(lua, 1);
	lua_call(lua, top, LUA_MULTRET);
	return lua_gettop(lua);
}

/* Stock functions that read a whole string in one call. */
static int
capped(lua_State *lua)
{
	lua_CFunction fn = lua_tocfunction(lua, lua_upvalueindex(1));

	if (lua_type(lua, 1) == LUA_TSTRING && lua_rawlen(lua, 1) > UTF8_MAX)
		return luaL_error(lua,
		    "a string of over %d bytes; work on it "
		    "in parts",
		    (int)UTF8_MAX);
	return fn(lua);
}

void
script__push_capped(lua_State *lua, lua_CFunction fn)
{
	lua_pushcfunction(lua, fn);
	lua_pushcclosure(lua, capped, 1);
}

static void
cap(lua_State *lua, const char *name)
{
	lua_getfield(lua, -1, name);
	script__push_capped(lua, lua_tocfunction(lua, -1));
	lua_setfield(lua, -3, name);
	lua_pop(lua, 1);
}

static void
replace_string_metatable(lua_State *lua)
{
	lua_pushliteral(lua, "");
	lua_getmetatable(lua, -1);
	lua_pushvalue(lua, -3);
	lua_setfield(lua, -2, "__index");
	lua_pushboolean(lua, 0);
	lua_setfield(lua, -2, "__metatable");
	lua_pop(lua, 2);
}

int
script__open_string(lua_State *lua)
{
	lua_pushcfunction(lua, luaopen_utf8);
	lua_call(lua, 0, 1);
	cap(lua, "len");
	cap(lua, "codepoint");
	cap(lua, "offset");
	script__freeze(lua, "utf8");
	lua_setglobal(lua, "utf8");

	lua_pushcfunction(lua, luaopen_string);
	lua_call(lua, 0, 1);
	lua_pushnil(lua);
	lua_setfield(lua, -2, "dump");
	lua_getfield(lua, -1, "format");
	lua_pushcclosure(lua, lib_format, 1);
	lua_setfield(lua, -2, "format");
	lua_pushcfunction(lua, lib_rep);
	lua_setfield(lua, -2, "rep");
	script__open_patterns(lua);
	replace_string_metatable(lua);
	return 1;
}
