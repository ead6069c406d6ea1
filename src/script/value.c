/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON between jansson and Lua. Tables are read raw (no metamethod of a script
 * runs here) and measured while they are read: depth, bytes, cycles (which
 * exceed the depth). Integers stay integers both ways.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "script/internal.h"

const char script__array_key = 0;

static void push_value(lua_State *lua, const json_t *value, int depth);

static void
push_array(lua_State *lua, const json_t *value, int depth)
{
	size_t count = json_array_size(value);

	lua_createtable(lua, count > 1000000 ? 0 : (int)count, 0);
	for (size_t i = 0; i < count; i++) {
		push_value(lua, json_array_get(value, i), depth + 1);
		lua_rawseti(lua, -2, (lua_Integer)i + 1);
	}
	if (count == 0) {
		/* So that an empty list goes back as a list. */
		lua_rawgetp(lua, LUA_REGISTRYINDEX, &script__array_key);
		lua_setmetatable(lua, -2);
	}
}

static void
push_object(lua_State *lua, const json_t *value, int depth)
{
	void *iter = json_object_iter((json_t *)(uintptr_t)value);

	lua_createtable(lua, 0, (int)(json_object_size(value) & 0xffff));
	while (iter != NULL) {
		const char *key = json_object_iter_key(iter);

		lua_pushstring(lua, key);
		push_value(lua, json_object_iter_value(iter), depth + 1);
		lua_rawset(lua, -3);
		iter = json_object_iter_next((json_t *)(uintptr_t)value, iter);
	}
}

static void
push_value(lua_State *lua, const json_t *value, int depth)
{
	if (depth > SCRIPT_DEPTH_MAX)
		luaL_error(
		    lua, "JSON is nested over %d levels", SCRIPT_DEPTH_MAX);
	luaL_checkstack(lua, 8, "JSON");
	switch (value == NULL ? JSON_NULL : json_typeof(value)) {
	case JSON_OBJECT:
		push_object(lua, value, depth);
		break;
	case JSON_ARRAY:
		push_array(lua, value, depth);
		break;
	case JSON_STRING:
		lua_pushlstring(
		    lua, json_string_value(value), json_string_length(value));
		break;
	case JSON_INTEGER:
		lua_pushinteger(lua, json_integer_value(value));
		break;
	case JSON_REAL:
		lua_pushnumber(lua, json_real_value(value));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		lua_pushboolean(lua, json_is_true(value));
		break;
	default:
		lua_pushlightuserdata(lua, NULL);
		break;
	}
}

void
script_push_json(lua_State *lua, const json_t *value)
{
	push_value(lua, value, 0);
}

static json_t *to_value(
    lua_State *lua, int index, struct script_measure *m, int depth);

static json_t *
fail(struct script_measure *m, const char *sentence)
{
	if (m->error[0] == '\0')
		snprintf(m->error, sizeof(m->error), "%s", sentence);
	return NULL;
}

static bool
take(struct script_measure *m, size_t bytes)
{
	if (bytes > m->left) {
		m->over = true;
		fail(m, "the value is too large");
		return false;
	}
	m->left -= bytes;
	return true;
}

static json_t *
to_string(lua_State *lua, int index, struct script_measure *m)
{
	size_t len;
	const char *text = lua_tolstring(lua, index, &len);

	if (!take(m, len + 2))
		return NULL;
	if (!str_is_utf8(text, len))
		return fail(m, "a string is not valid UTF-8");
	return json_stringn_nocheck(text, len);
}

static json_t *
to_number(lua_State *lua, int index, struct script_measure *m)
{
	double number;

	if (!take(m, 8))
		return NULL;
	if (lua_isinteger(lua, index))
		return json_integer(lua_tointeger(lua, index));
	number = lua_tonumber(lua, index);
	if (!isfinite(number))
		return fail(m, "a number is not finite");
	return json_real(number);
}

static bool
is_skipped(lua_State *lua, int index, const struct script_measure *m)
{
	int type = lua_type(lua, index);

	return m->skip_functions &&
	       (type == LUA_TFUNCTION || type == LUA_TUSERDATA ||
		   type == LUA_TTHREAD);
}

static json_t *
to_array(lua_State *lua, int index, struct script_measure *m, int depth,
    size_t count)
{
	json_t *array = json_array();

	for (size_t i = 1; i <= count; i++) {
		json_t *item;

		lua_rawgeti(lua, index, (lua_Integer)i);
		if (is_skipped(lua, -1, m)) {
			lua_pop(lua, 1);
			continue;
		}
		item = to_value(lua, lua_gettop(lua), m, depth + 1);
		lua_pop(lua, 1);
		if (item == NULL) {
			json_decref(array);
			return NULL;
		}
		json_array_append_new(array, item);
	}
	return array;
}

static bool
add_member(lua_State *lua, json_t *object, struct script_measure *m, int depth)
{
	size_t len;
	const char *key;
	json_t *item;

	if (lua_type(lua, -2) != LUA_TSTRING)
		return fail(m, "a table mixes list items with named fields, or "
			       "has keys that are no strings") != NULL;
	if (is_skipped(lua, -1, m))
		return true;
	key = lua_tolstring(lua, -2, &len);
	if (!take(m, len + 4))
		return false;
	if (strlen(key) != len || !str_is_utf8(key, len))
		return fail(m, "a key is not valid UTF-8 text") != NULL;
	item = to_value(lua, lua_gettop(lua), m, depth + 1);
	if (item == NULL)
		return false;
	json_object_set_new_nocheck(object, key, item);
	return true;
}

static json_t *
to_object(lua_State *lua, int index, struct script_measure *m, int depth)
{
	json_t *object = json_object();

	lua_pushnil(lua);
	while (lua_next(lua, index) != 0) {
		if (!add_member(lua, object, m, depth)) {
			json_decref(object);
			lua_pop(lua, 2);
			return NULL;
		}
		lua_pop(lua, 1);
	}
	return object;
}

/* How many members, and whether the keys are exactly 1..n. */
static bool
is_list(lua_State *lua, int index, size_t *count_out)
{
	size_t count = 0;
	lua_Integer highest = 0;

	lua_pushnil(lua);
	while (lua_next(lua, index) != 0) {
		lua_Integer key;

		lua_pop(lua, 1);
		if (!lua_isinteger(lua, -1)) {
			lua_pop(lua, 1);
			return false;
		}
		key = lua_tointeger(lua, -1);
		if (key < 1) {
			lua_pop(lua, 1);
			return false;
		}
		if (key > highest)
			highest = key;
		count++;
	}
	*count_out = count;
	return count > 0 && (size_t)highest == count;
}

static bool
marked_array(lua_State *lua, int index)
{
	bool marked;

	if (!lua_getmetatable(lua, index))
		return false;
	lua_rawgetp(lua, LUA_REGISTRYINDEX, &script__array_key);
	marked = lua_rawequal(lua, -1, -2);
	lua_pop(lua, 2);
	return marked;
}

static json_t *
to_table(lua_State *lua, int index, struct script_measure *m, int depth)
{
	size_t count = 0;
	bool empty;

	if (depth >= SCRIPT_DEPTH_MAX)
		return fail(m, "a table is nested over 64 levels, or contains "
			       "itself");
	if (!lua_checkstack(lua, 8))
		return fail(m, "no memory");
	if (!take(m, 16))
		return NULL;
	if (is_list(lua, index, &count))
		return to_array(lua, index, m, depth, count);
	lua_pushnil(lua);
	empty = lua_next(lua, index) == 0;
	if (!empty)
		lua_pop(lua, 2);
	if (empty && marked_array(lua, index))
		return json_array();
	return to_object(lua, index, m, depth);
}

/* C memory is owned here, so nothing may raise: a limit that was reached stops
 * the reading with an ordinary failure, and the hook does the rest. */
static bool
limit_reached(lua_State *lua, struct script_measure *m)
{
	const struct script_run *run = script__run(lua);

	return (++m->steps & 255) == 0 && run != NULL && run->want >= WANT_CPU;
}

static json_t *
to_value(lua_State *lua, int index, struct script_measure *m, int depth)
{
	if (limit_reached(lua, m))
		return fail(m, "the call reached a limit");
	switch (lua_type(lua, index)) {
	case LUA_TNIL:
	case LUA_TNONE:
		return json_null();
	case LUA_TBOOLEAN:
		return take(m, 5) ? json_boolean(lua_toboolean(lua, index))
				  : NULL;
	case LUA_TNUMBER:
		return to_number(lua, index, m);
	case LUA_TSTRING:
		return to_string(lua, index, m);
	case LUA_TTABLE:
		return to_table(lua, index, m, depth);
	case LUA_TLIGHTUSERDATA:
		if (lua_touserdata(lua, index) == NULL)
			return json_null();
		if (lua_touserdata(lua, index) == &script__array_key)
			return json_array();
		return fail(m, "a handle cannot be turned into JSON");
	default:
		snprintf(m->error, sizeof(m->error),
		    "a %s cannot be turned into JSON",
		    luaL_typename(lua, index));
		return NULL;
	}
}

json_t *
script__json(lua_State *lua, int index, struct script_measure *measure)
{
	measure->error[0] = '\0';
	measure->over = false;
	return to_value(lua, lua_absindex(lua, index), measure, 0);
}

json_t *
script_to_json(lua_State *lua, int index)
{
	struct script_measure measure = { .left = SCRIPT_JSON_MAX };
	json_t *value = script__json(lua, index, &measure);

	if (value == NULL)
		luaL_error(lua, "%s", measure.error);
	return value;
}
