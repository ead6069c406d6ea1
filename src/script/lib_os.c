/* SPDX-License-Identifier: Apache-2.0 */
/*
 * os.time, os.date and os.clock over the host's clock, always in UTC: nothing
 * of the process or its time zone shows.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "script/internal.h"

#define DATE_CONVERSIONS "aAbBcdDeFHIjmMnprRStTuwxXyYzZ%"
#define SECONDS_MAX      ((lua_Integer)253402300799) /* year 9999 */

static int
field(lua_State *lua, const char *key, int fallback, int delta)
{
	lua_Integer value;
	int exact;

	lua_getfield(lua, 1, key);
	value = lua_tointegerx(lua, -1, &exact);
	if (!exact) {
		if (!lua_isnil(lua, -1) || fallback < 0)
			return luaL_error(
			    lua, "field '%s' is not an integer", key);
		value = fallback;
	}
	lua_pop(lua, 1);
	if (value < -100000000 || value > 100000000)
		return luaL_error(lua, "field '%s' is out of bounds", key);
	return (int)value - delta;
}

static int
lib_time(lua_State *lua)
{
	struct tm tm = { 0 };

	if (lua_isnoneornil(lua, 1)) {
		lua_pushinteger(lua, (lua_Integer)(clock_wall_ms() / 1000u));
		return 1;
	}
	luaL_checktype(lua, 1, LUA_TTABLE);
	tm.tm_year = field(lua, "year", -1, 1900);
	tm.tm_mon = field(lua, "month", -1, 1);
	tm.tm_mday = field(lua, "day", -1, 0);
	tm.tm_hour = field(lua, "hour", 12, 0);
	tm.tm_min = field(lua, "min", 0, 0);
	tm.tm_sec = field(lua, "sec", 0, 0);
	lua_pushinteger(lua, (lua_Integer)timegm(&tm));
	return 1;
}

static void
set_int(lua_State *lua, const char *key, int value)
{
	lua_pushinteger(lua, value);
	lua_setfield(lua, -2, key);
}

static int
push_fields(lua_State *lua, const struct tm *tm)
{
	lua_createtable(lua, 0, 9);
	set_int(lua, "year", tm->tm_year + 1900);
	set_int(lua, "month", tm->tm_mon + 1);
	set_int(lua, "day", tm->tm_mday);
	set_int(lua, "hour", tm->tm_hour);
	set_int(lua, "min", tm->tm_min);
	set_int(lua, "sec", tm->tm_sec);
	set_int(lua, "yday", tm->tm_yday + 1);
	set_int(lua, "wday", tm->tm_wday + 1);
	lua_pushboolean(lua, 0);
	lua_setfield(lua, -2, "isdst");
	return 1;
}

static void
add_conversion(luaL_Buffer *out, char letter, const struct tm *tm)
{
	char format[3] = { '%', letter, '\0' };
	char text[128];
	size_t len;

	/* The letter was looked up in the list of safe ones. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	len = strftime(text, sizeof(text), format, tm);
#pragma GCC diagnostic pop
	luaL_addlstring(out, text, len);
}

static int
lib_date(lua_State *lua)
{
	size_t len;
	const char *format = luaL_optlstring(lua, 1, "%c", &len);
	lua_Integer seconds =
	    luaL_optinteger(lua, 2, (lua_Integer)(clock_wall_ms() / 1000u));
	time_t at = (time_t)seconds;
	struct tm tm;
	luaL_Buffer out;

	luaL_argcheck(lua, len <= 256, 1, "format too long");
	luaL_argcheck(lua, seconds >= -SECONDS_MAX && seconds <= SECONDS_MAX, 2,
	    "time out of bounds");
	gmtime_r(&at, &tm);
	if (*format == '!')
		format++;
	if (strncmp(format, "*t", 2) == 0)
		return push_fields(lua, &tm);
	luaL_buffinit(lua, &out);
	for (; *format != '\0'; format++) {
		if (*format != '%') {
			luaL_addchar(&out, *format);
			continue;
		}
		format++;
		if (*format == '\0' ||
		    strchr(DATE_CONVERSIONS, *format) == NULL)
			return luaL_argerror(
			    lua, 1, "invalid conversion specifier");
		add_conversion(&out, *format, &tm);
	}
	luaL_pushresult(&out);
	return 1;
}

/* CPU seconds of the running session's scripts. */
static int
lib_clock(lua_State *lua)
{
	const struct script_run *run = script__run(lua);

	lua_pushnumber(
	    lua, run == NULL ? 0 : (lua_Number)run->session->cpu_ns / 1e9);
	return 1;
}

static int
lib_difftime(lua_State *lua)
{
	lua_pushnumber(lua, (lua_Number)luaL_checkinteger(lua, 1) -
				(lua_Number)luaL_optinteger(lua, 2, 0));
	return 1;
}

int
script__open_os(lua_State *lua)
{
	static const luaL_Reg functions[] = {
		{ "clock", lib_clock },
		{ "date", lib_date },
		{ "difftime", lib_difftime },
		{ "time", lib_time },
		{ NULL, NULL },
	};

	luaL_newlib(lua, functions);
	return 1;
}
