/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cjson` for scripts: encode, decode, null, empty_array. Over the same
 * converters as host calls, because lua-cjson 2.1 turns integers into floats,
 * knows no empty array, lets bad UTF-8 through, and its buffers live outside
 * of the heap's ceiling and leak when a call is ended inside of it. Here the
 * value is measured while it is read, and a run that ends holds nothing: the
 * text is copied into a Lua userdata before anything can raise.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "script/internal.h"

/* Owned by a userdata, so that whatever raises, the collector frees it. */
struct box {
	json_t *value;
	struct buf text;
};

static int
box_free(lua_State *lua)
{
	struct box *box = lua_touserdata(lua, 1);

	json_decref(box->value);
	box->value = NULL;
	buf_done(&box->text);
	return 0;
}

static const char box_key;

static struct box *
box_new(lua_State *lua)
{
	struct box *box = lua_newuserdatauv(lua, sizeof(*box), 0);

	memset(box, 0, sizeof(*box));
	lua_rawgetp(lua, LUA_REGISTRYINDEX, &box_key);
	lua_setmetatable(lua, -2);
	return box;
}

static void
box_clear(struct box *box)
{
	json_decref(box->value);
	box->value = NULL;
	buf_done(&box->text);
	memset(&box->text, 0, sizeof(box->text));
}

static int
lib_encode(lua_State *lua)
{
	struct box *box;

	luaL_checkany(lua, 1);
	lua_settop(lua, 1);
	box = box_new(lua);
	box->value = script_to_json(lua, 1);
	json_write(box->value, &box->text);
	lua_pushlstring(lua, buf_str(&box->text), box->text.len);
	box_clear(box);
	return 1;
}

static int
lib_decode(lua_State *lua)
{
	size_t len;
	const char *text = luaL_checklstring(lua, 1, &len);
	struct error saved;
	struct box *box;

	if (len > SCRIPT_DECODE_MAX)
		return luaL_error(
		    lua, "JSON text of over %d bytes", (int)SCRIPT_DECODE_MAX);
	box = box_new(lua);
	err_save(&saved);
	if (json_parse(text, len, &box->value) != OK) {
		box->value = NULL;
		lua_pushstring(lua, err_message());
		err_restore(&saved);
		return luaL_error(lua, "%s", lua_tostring(lua, -1));
	}
	script_push_json(lua, box->value);
	box_clear(box);
	return 1;
}

/* The list that is empty. A light userdata, so that it cannot be changed. */
static void
add_empty_array(lua_State *lua)
{
	lua_pushlightuserdata(lua, (void *)(uintptr_t)&script__array_key);
	lua_setfield(lua, -2, "empty_array");
}

int
script__open_json(lua_State *lua)
{
	static const luaL_Reg functions[] = {
		{ "decode", lib_decode },
		{ "encode", lib_encode },
		{ NULL, NULL },
	};

	lua_createtable(lua, 0, 1);
	lua_pushcfunction(lua, box_free);
	lua_setfield(lua, -2, "__gc");
	lua_rawsetp(lua, LUA_REGISTRYINDEX, &box_key);

	lua_createtable(lua, 0, 1);
	lua_pushboolean(lua, 0);
	lua_setfield(lua, -2, "__metatable");
	lua_rawsetp(lua, LUA_REGISTRYINDEX, &script__array_key);

	luaL_newlib(lua, functions);
	lua_pushlightuserdata(lua, NULL);
	lua_setfield(lua, -2, "null");
	add_empty_array(lua);
	return 1;
}
