/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xin.log: a script's own log lines. Words of users must not end in logs, so a
 * string value is written only when it is an identifier that stands in the
 * script's source, or one that the host made; of any other the number of bytes
 * is. The runtime adds brand and trace id.
 */
#include "base/log.h"

#include "base/mask.h"
#include "base/str.h"
#include "binding/internal.h"

#define FIELDS_MAX 16
#define VALUE_MAX  64
#define SHORT_MAX  3 /* a language's code; nobody's name or number */
#define IDENTIFIER                                                             \
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-"
#define NAME "abcdefghijklmnopqrstuvwxyz0123456789_."

static void
add_value(lua_State *lua, int index, struct buf *out)
{
	size_t len;
	const char *text;

	switch (lua_type(lua, index)) {
	case LUA_TBOOLEAN:
		buf_adds(out, lua_toboolean(lua, index) ? "true" : "false");
		return;
	case LUA_TNUMBER:
		if (lua_isinteger(lua, index))
			buf_addf(
			    out, "%lld", (long long)lua_tointeger(lua, index));
		else if (lua_tonumber(lua, index) - lua_tonumber(lua, index) ==
			 0)
			buf_addf(out, "%.9g", lua_tonumber(lua, index));
		else
			buf_adds(out, "null");
		return;
	case LUA_TSTRING:
		text = lua_tolstring(lua, index, &len);
		if (len <= VALUE_MAX && strspn(text, IDENTIFIER) == len &&
		    (len <= SHORT_MAX || mask_is_id(text, len) ||
			script_in_source(lua, text, len)))
			buf_add_json(out, text, len);
		else
			buf_addf(out, "\"(%zu bytes)\"", len);
		return;
	default:
		buf_addf(out, "\"(%s)\"", luaL_typename(lua, index));
	}
}

static void
add_fields(lua_State *lua, int index, struct buf *out)
{
	int count = 0;

	buf_addc(out, '{');
	lua_pushnil(lua);
	while (lua_next(lua, index) != 0) {
		size_t len = 0;
		const char *key = lua_type(lua, -2) == LUA_TSTRING
				      ? lua_tolstring(lua, -2, &len)
				      : NULL;

		if (key == NULL || len == 0 || len > 40 ||
		    strspn(key, NAME) != len)
			luaL_error(lua, "field names of a log line are made "
					"of [a-z0-9_.], at most 40");
		if (++count > FIELDS_MAX)
			luaL_error(lua, "a log line has at most %d fields",
			    FIELDS_MAX);
		if (count > 1)
			buf_addc(out, ',');
		buf_add_json(out, key, len);
		buf_addc(out, ':');
		add_value(lua, -1, out);
		lua_pop(lua, 1);
	}
	buf_addc(out, '}');
}

static int
log_line(lua_State *lua, enum log_level level)
{
	size_t len;
	const char *event = luaL_checklstring(lua, 1, &len);
	struct buf *fields;

	luaL_argcheck(lua, len > 0 && len <= 64 && strspn(event, NAME) == len,
	    1, "an event name is made of [a-z0-9_.], at most 64");
	if (!lua_isnoneornil(lua, 2))
		luaL_checktype(lua, 2, LUA_TTABLE);
	lua_settop(lua, 2);
	fields = binding__buf(lua);
	if (lua_istable(lua, 2))
		add_fields(lua, 2, fields);
	else
		buf_adds(fields, "{}");
	if (!script_log_allowed(lua))
		return 0;
	log_at_(level, "script.log", kv_str("script_event", event),
	    kv_json("fields", buf_str(fields)), );
	return 0;
}

static int
log_info_(lua_State *lua)
{
	return log_line(lua, LOG_LEVEL_INFO);
}

static int
log_warn_(lua_State *lua)
{
	return log_line(lua, LOG_LEVEL_WARN);
}

static const struct binding_function functions[] = {
	{ "info", log_info_, IN_HOOKS,
	    "event string\nfields? table<string, string|number|boolean>", NULL,
	    "One log line. Strings other than identifiers that stand in the "
	    "script or are the host's are written as their length." },
	{ "warn", log_warn_, IN_HOOKS,
	    "event string\nfields? table<string, string|number|boolean>", NULL,
	    "The same at level warning: something was coped with." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__log = { "log",
	"Log lines, at most 100 in one call.", functions, false };
