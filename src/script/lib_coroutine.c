/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coroutines of scripts. Waits of the host, giving way and kills pass through
 * every level: when the inner one yields for the host, the outer one yields
 * too, and goes on resuming it afterwards. Where an outer level cannot yield
 * (`blocked`), nothing waits or gives way, and a kill raises there.
 * coroutine.close is not given: closing runs __close handlers with hooks off.
 */
#include "script/internal.h"

static int go_on(lua_State *lua, int status, lua_KContext context);

static int
deliver_error(lua_State *lua, lua_State *co, bool wrapped)
{
	lua_xmove(co, lua, 1);
	if (!wrapped) {
		lua_pushboolean(lua, 0);
		lua_insert(lua, -2);
		return 2;
	}
	if (lua_type(lua, -1) == LUA_TSTRING) {
		luaL_where(lua, 1);
		lua_insert(lua, -2);
		lua_concat(lua, 2);
	}
	return lua_error(lua);
}

static int
deliver(lua_State *lua, lua_State *co, int count, bool wrapped)
{
	if (!lua_checkstack(lua, count + 1)) {
		lua_pop(co, count);
		return luaL_error(lua, "too many results to resume");
	}
	if (!wrapped)
		lua_pushboolean(lua, 1);
	lua_xmove(co, lua, count);
	return wrapped ? count : count + 1;
}

static int
advance(lua_State *lua, lua_State *co, int args, bool wrapped)
{
	struct script_run *run = script__run(lua);
	bool blocked = !lua_isyieldable(lua);
	int count = 0;
	int status;

	script__set_held(co, false);
	run->blocked += blocked;
	run->current = co;
	if (run->want != WANT_NOTHING)
		script__arm(run);
	status = lua_resume(co, lua, args, &count);
	run->current = lua;
	run->blocked -= blocked;
	if (run->want != WANT_NOTHING)
		script__arm(run);
	if (status == LUA_YIELD && run->pass != PASS_NOTHING) {
		script__set_held(co, true);
		if (!blocked)
			return lua_yieldk(lua, 0, wrapped, go_on);
		/* Only a kill comes here: the others look at `blocked`. */
		run->pass = PASS_NOTHING;
		return luaL_error(
		    lua, "the call reached a limit and is being ended");
	}
	if (status == LUA_OK || status == LUA_YIELD)
		return deliver(lua, co, count, wrapped);
	return deliver_error(lua, co, wrapped);
}

static lua_State *
get_co(lua_State *lua, int index)
{
	lua_State *co = lua_tothread(lua, index);

	luaL_argexpected(lua, co != NULL, index, "coroutine");
	return co;
}

static int
go_on(lua_State *lua, int status, lua_KContext wrapped)
{
	lua_State *co = lua_tothread(lua, wrapped ? lua_upvalueindex(1) : 1);

	(void)status;
	return advance(lua, co, 0, wrapped != 0);
}

static const char *
state_of(lua_State *lua, lua_State *co)
{
	lua_Debug ar;

	if (lua == co)
		return "running";
	if (script__is_held(co))
		return "normal";
	switch (lua_status(co)) {
	case LUA_YIELD:
		return "suspended";
	case LUA_OK:
		if (lua_getstack(co, 0, &ar))
			return "normal";
		return lua_gettop(co) == 0 ? "dead" : "suspended";
	default:
		return "dead";
	}
}

static int
start(lua_State *lua, lua_State *co, int args, bool wrapped)
{
	const char *state = state_of(lua, co);

	if (state[0] != 's') {
		if (wrapped)
			return luaL_error(lua, "cannot resume %s coroutine",
			    state[0] == 'd' ? "dead" : "non-suspended");
		lua_pushboolean(lua, 0);
		lua_pushfstring(lua, "cannot resume %s coroutine",
		    state[0] == 'd' ? "dead" : "non-suspended");
		return 2;
	}
	if (!lua_checkstack(co, args + 1))
		return luaL_error(lua, "too many arguments to resume");
	lua_xmove(lua, co, args);
	return advance(lua, co, args, wrapped);
}

static int
lib_resume(lua_State *lua)
{
	lua_State *co = get_co(lua, 1);

	return start(lua, co, lua_gettop(lua) - 1, false);
}

static int
wrapped_call(lua_State *lua)
{
	lua_State *co = lua_tothread(lua, lua_upvalueindex(1));

	return start(lua, co, lua_gettop(lua), true);
}

static int
lib_create(lua_State *lua)
{
	struct script_run *run = script__run(lua);
	lua_State *co;

	luaL_checktype(lua, 1, LUA_TFUNCTION);
	if (++run->session->coroutines > RUN_COROUTINES)
		return script__kill(lua, WANT_COROUTINES);
	co = lua_newthread(lua);
	/* The copy of the main thread's word may not carry a held bit. */
	script__set_held(co, false);
	lua_pushvalue(lua, 1);
	lua_xmove(lua, co, 1);
	return 1;
}

static int
lib_wrap(lua_State *lua)
{
	lib_create(lua);
	lua_pushcclosure(lua, wrapped_call, 1);
	return 1;
}

static int
lib_yield(lua_State *lua)
{
	if (lua == script__run(lua)->top)
		return luaL_error(
		    lua, "attempt to yield from outside a coroutine");
	return lua_yield(lua, lua_gettop(lua));
}

static int
lib_status(lua_State *lua)
{
	lua_pushstring(lua, state_of(lua, get_co(lua, 1)));
	return 1;
}

static int
lib_isyieldable(lua_State *lua)
{
	lua_pushboolean(
	    lua, lua != script__run(lua)->top && lua_isyieldable(lua));
	return 1;
}

/* The host's own coroutine is not handed out: nobody may resume it. */
static int
lib_running(lua_State *lua)
{
	bool main = lua == script__run(lua)->top;

	if (main)
		lua_pushnil(lua);
	else
		lua_pushthread(lua);
	lua_pushboolean(lua, main);
	return 2;
}

int
script__open_coroutine(lua_State *lua)
{
	static const luaL_Reg functions[] = {
		{ "create", lib_create },
		{ "isyieldable", lib_isyieldable },
		{ "resume", lib_resume },
		{ "running", lib_running },
		{ "status", lib_status },
		{ "wrap", lib_wrap },
		{ "yield", lib_yield },
		{ NULL, NULL },
	};

	luaL_newlib(lua, functions);
	return 1;
}
