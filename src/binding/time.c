/* SPDX-License-Identifier: Apache-2.0 */
/* xin.time: the host's clock, which tests and replays hold still. */
#include "base/clock.h"
#include "binding/internal.h"

#define LATEST_MS 253402300799999 /* the end of year 9999 */

static int
time_now(lua_State *lua)
{
	lua_pushinteger(lua, (lua_Integer)clock_wall_ms());
	return 1;
}

static int
time_iso(lua_State *lua)
{
	lua_Integer ms = luaL_optinteger(lua, 1, (lua_Integer)clock_wall_ms());
	char text[CLOCK_RFC3339_SIZE];

	luaL_argcheck(lua, ms >= 0 && ms <= LATEST_MS, 1,
	    "milliseconds between 1970 and 9999 are expected");
	clock_rfc3339((uint64_t)ms, text);
	lua_pushstring(lua, text);
	return 1;
}

static const struct binding_function functions[] = {
	{ "now", time_now, IN_HOOKS, NULL, "integer",
	    "Milliseconds since 1970." },
	{ "iso", time_iso, IN_HOOKS, "ms? integer", "string",
	    "RFC 3339 in UTC of a time in milliseconds, or of now." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__time = { "time", "Time.", functions,
	false };
