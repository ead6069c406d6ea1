/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table library: the same functions as Lua's (sort follows ltablib.c,
 * Copyright 1994-2022 Lua.org, PUC-Rio, MIT licence), each counting its steps:
 * a table whose __len lies would hold a loop for ever otherwise.
 */
#include <limits.h>
#include <lualib.h>

#include "script/internal.h"

#define UNPACK_MAX 200000
#define SORT_MAX   ((lua_Integer)1 << 26)

static lua_Integer
length(lua_State *lua, int index)
{
	luaL_checktype(lua, index, LUA_TTABLE);
	return luaL_len(lua, index);
}

static int
lib_insert(lua_State *lua)
{
	lua_Integer end = length(lua, 1);
	lua_Integer at;
	uint64_t steps = 0;

	end = (lua_Integer)((lua_Unsigned)end + 1);
	switch (lua_gettop(lua)) {
	case 2:
		at = end;
		break;
	case 3:
		at = luaL_checkinteger(lua, 2);
		luaL_argcheck(lua, (lua_Unsigned)at - 1u < (lua_Unsigned)end, 2,
		    "position out of bounds");
		for (lua_Integer i = end; i > at; i--) {
			lua_geti(lua, 1, i - 1);
			lua_seti(lua, 1, i);
			script__tick(lua, &steps);
		}
		break;
	default:
		return luaL_error(lua, "wrong number of arguments to 'insert'");
	}
	lua_seti(lua, 1, at);
	return 0;
}

static int
lib_remove(lua_State *lua)
{
	lua_Integer size = length(lua, 1);
	lua_Integer at = luaL_optinteger(lua, 2, size);
	uint64_t steps = 0;

	if (at != size)
		luaL_argcheck(lua, (lua_Unsigned)at - 1u <= (lua_Unsigned)size,
		    2, "position out of bounds");
	lua_geti(lua, 1, at);
	for (; at < size; at++) {
		lua_geti(lua, 1, at + 1);
		lua_seti(lua, 1, at);
		script__tick(lua, &steps);
	}
	lua_pushnil(lua);
	lua_seti(lua, 1, at);
	return 1;
}

static int
lib_move(lua_State *lua)
{
	lua_Integer from = luaL_checkinteger(lua, 2);
	lua_Integer last = luaL_checkinteger(lua, 3);
	lua_Integer to = luaL_checkinteger(lua, 4);
	int target = lua_isnoneornil(lua, 5) ? 1 : 5;
	uint64_t steps = 0;
	lua_Integer count;

	luaL_checktype(lua, 1, LUA_TTABLE);
	luaL_checktype(lua, target, LUA_TTABLE);
	if (last >= from) {
		luaL_argcheck(lua, from > 0 || last < LUA_MAXINTEGER + from, 3,
		    "too many elements to move");
		count = last - from + 1;
		luaL_argcheck(lua, to <= LUA_MAXINTEGER - count + 1, 4,
		    "destination wrap around");
		if (to > last || to <= from || target != 1) {
			for (lua_Integer i = 0; i < count; i++) {
				lua_geti(lua, 1, from + i);
				lua_seti(lua, target, to + i);
				script__tick(lua, &steps);
			}
		} else {
			for (lua_Integer i = count - 1; i >= 0; i--) {
				lua_geti(lua, 1, from + i);
				lua_seti(lua, target, to + i);
				script__tick(lua, &steps);
			}
		}
	}
	lua_pushvalue(lua, target);
	return 1;
}

static void
add_field(lua_State *lua, luaL_Buffer *out, lua_Integer i, size_t *total)
{
	lua_geti(lua, 1, i);
	if (!lua_isstring(lua, -1))
		luaL_error(lua,
		    "invalid value (at index %I) in table for "
		    "'concat'",
		    (LUAI_UACINT)i);
	*total += lua_rawlen(lua, -1);
	if (*total > SCRIPT_STRING_MAX)
		luaL_error(lua, "resulting string is over %d bytes",
		    (int)SCRIPT_STRING_MAX);
	luaL_addvalue(out);
}

static int
lib_concat(lua_State *lua)
{
	lua_Integer last = length(lua, 1);
	size_t sep_len;
	const char *sep = luaL_optlstring(lua, 2, "", &sep_len);
	lua_Integer i = luaL_optinteger(lua, 3, 1);
	uint64_t steps = 0;
	size_t total = 0;
	luaL_Buffer out;

	last = luaL_optinteger(lua, 4, last);
	luaL_buffinit(lua, &out);
	for (; i < last; i++) {
		add_field(lua, &out, i, &total);
		luaL_addlstring(&out, sep, sep_len);
		total += sep_len;
		script__tick(lua, &steps);
	}
	if (i == last)
		add_field(lua, &out, i, &total);
	luaL_pushresult(&out);
	return 1;
}

static int
lib_pack(lua_State *lua)
{
	int count = lua_gettop(lua);

	lua_createtable(lua, count, 1);
	lua_insert(lua, 1);
	for (int i = count; i >= 1; i--)
		lua_seti(lua, 1, i);
	lua_pushinteger(lua, count);
	lua_setfield(lua, 1, "n");
	return 1;
}

static int
lib_unpack(lua_State *lua)
{
	lua_Integer from = luaL_optinteger(lua, 2, 1);
	lua_Integer last =
	    luaL_opt(lua, luaL_checkinteger, 3, luaL_len(lua, 1));
	uint64_t steps = 0;

	luaL_checktype(lua, 1, LUA_TTABLE);
	if (from > last)
		return 0;
	if ((lua_Unsigned)last - (lua_Unsigned)from >= UNPACK_MAX ||
	    !lua_checkstack(lua, (int)(last - from + 1)))
		return luaL_error(lua, "too many results to unpack");
	for (lua_Integer i = from; i < last; i++) {
		lua_geti(lua, 1, i);
		script__tick(lua, &steps);
	}
	lua_geti(lua, 1, last);
	return (int)(last - from + 1);
}

/* ---- sort: quicksort, the larger half by iteration ---- */

struct sorting {
	lua_State *lua;
	uint64_t steps;
};

static void
set2(lua_State *lua, lua_Integer i, lua_Integer j)
{
	lua_seti(lua, 1, i);
	lua_seti(lua, 1, j);
}

static bool
less(struct sorting *sorting, int a, int b)
{
	lua_State *lua = sorting->lua;
	bool result;

	script__tick(lua, &sorting->steps);
	if (lua_isnil(lua, 2))
		return lua_compare(lua, a, b, LUA_OPLT);
	lua_pushvalue(lua, 2);
	lua_pushvalue(lua, a - 1);
	lua_pushvalue(lua, b - 2);
	lua_call(lua, 2, 1);
	result = lua_toboolean(lua, -1);
	lua_pop(lua, 1);
	return result;
}

/* The pivot is on top, and at high - 1. */
static lua_Integer
partition(struct sorting *sorting, lua_Integer low, lua_Integer high)
{
	lua_State *lua = sorting->lua;
	lua_Integer i = low;
	lua_Integer j = high - 1;

	for (;;) {
		while (lua_geti(lua, 1, ++i), less(sorting, -1, -2)) {
			if (i == high - 1)
				luaL_error(
				    lua, "invalid order function for sorting");
			lua_pop(lua, 1);
		}
		while (lua_geti(lua, 1, --j), less(sorting, -3, -1)) {
			if (j < i)
				luaL_error(
				    lua, "invalid order function for sorting");
			lua_pop(lua, 1);
		}
		if (j < i) {
			lua_pop(lua, 1);
			set2(lua, high - 1, i);
			return i;
		}
		set2(lua, i, j);
	}
}

static void
order_pair(struct sorting *sorting, lua_Integer a, lua_Integer b)
{
	lua_State *lua = sorting->lua;

	lua_geti(lua, 1, a);
	lua_geti(lua, 1, b);
	if (less(sorting, -1, -2))
		set2(lua, a, b);
	else
		lua_pop(lua, 2);
}

static void
sort_range(struct sorting *sorting, lua_Integer low, lua_Integer high)
{
	lua_State *lua = sorting->lua;

	luaL_checkstack(lua, 40, "sort");
	while (low < high) {
		lua_Integer middle = low + (high - low) / 2;
		lua_Integer p;

		order_pair(sorting, low, high);
		if (high - low == 1)
			return;
		order_pair(sorting, low, middle);
		order_pair(sorting, middle, high);
		if (high - low == 2)
			return;
		lua_geti(lua, 1, middle);
		lua_pushvalue(lua, -1);
		lua_geti(lua, 1, high - 1);
		set2(lua, middle, high - 1);
		p = partition(sorting, low, high);
		if (p - low < high - p) {
			sort_range(sorting, low, p - 1);
			low = p + 1;
		} else {
			sort_range(sorting, p + 1, high);
			high = p - 1;
		}
	}
}

static int
lib_sort(lua_State *lua)
{
	lua_Integer size = length(lua, 1);
	struct sorting sorting = { lua, 0 };

	if (size < 2)
		return 0;
	luaL_argcheck(lua, size < SORT_MAX, 1, "array too big");
	if (!lua_isnoneornil(lua, 2))
		luaL_checktype(lua, 2, LUA_TFUNCTION);
	lua_settop(lua, 2);
	sort_range(&sorting, 1, size);
	return 0;
}

int
script__open_table(lua_State *lua)
{
	static const luaL_Reg functions[] = {
		{ "insert", lib_insert },
		{ "remove", lib_remove },
		{ "move", lib_move },
		{ "concat", lib_concat },
		{ "pack", lib_pack },
		{ "unpack", lib_unpack },
		{ "sort", lib_sort },
		{ NULL, NULL },
	};

	luaL_newlib(lua, functions);
	return 1;
}
