/* SPDX-License-Identifier: Apache-2.0 */
/*
 * string.find, match, gmatch and gsub with Lua's patterns (pattern.c). Plain
 * find is memmem: linear.
 */
#include <ctype.h>
#include <string.h>

#include "script/pattern.h"

#define SPECIALS "^$*+?.([%-"

static bool
no_specials(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != '\0' && strchr(SPECIALS, p[i]) != NULL)
			return false;
	return true;
}

static size_t
start_index(lua_State *lua, int arg, size_t len)
{
	lua_Integer at = luaL_optinteger(lua, arg, 1);

	if (at > 0)
		return (size_t)at - 1;
	if (at == 0 || at < -(lua_Integer)len)
		return 0;
	return len + (size_t)at;
}

static int
find_plain(lua_State *lua, const char *s, size_t len, const char *p,
    size_t pattern_len, size_t init)
{
	const char *found = pattern_len == 0
				? s + init
				: memmem(s + init, len - init, p, pattern_len);

	if (found == NULL) {
		lua_pushnil(lua);
		return 1;
	}
	lua_pushinteger(lua, (found - s) + 1);
	lua_pushinteger(lua, (found - s) + (lua_Integer)pattern_len);
	return 2;
}

/* From offset `from` on; between two positions it may give way. */
static int
search(lua_State *lua, bool find, size_t from, lua_KFunction again)
{
	size_t len;
	size_t pattern_len;
	const char *s = lua_tolstring(lua, 1, &len);
	const char *p = lua_tolstring(lua, 2, &pattern_len);
	bool anchor = pattern_len > 0 && *p == '^';
	const char *at = s + from;
	struct script__matcher m;

	if (anchor) {
		p++;
		pattern_len--;
	}
	script__match_begin(&m, lua, s, len, p, pattern_len);
	do {
		const char *end;

		if (script__may_give_way(lua))
			return script__give_way(
			    lua, (lua_KContext)(at - s), again);
		end = script__match_at(&m, at, p);
		if (end == NULL)
			continue;
		if (!find)
			return script__push_captures(&m, at, end);
		lua_pushinteger(lua, (at - s) + 1);
		lua_pushinteger(lua, end - s);
		return script__push_captures(&m, NULL, NULL) + 2;
	} while (at++ < m.text_end && !anchor);
	lua_pushnil(lua);
	return 1;
}

static int
find_again(lua_State *lua, int status, lua_KContext from)
{
	(void)status;
	return search(lua, true, (size_t)from, find_again);
}

static int
match_again(lua_State *lua, int status, lua_KContext from)
{
	(void)status;
	return search(lua, false, (size_t)from, match_again);
}

static int
find_or_match(lua_State *lua, bool find)
{
	size_t len;
	size_t pattern_len;
	const char *s = luaL_checklstring(lua, 1, &len);
	const char *p = luaL_checklstring(lua, 2, &pattern_len);
	size_t init = start_index(lua, 3, len);

	if (init > len) {
		lua_pushnil(lua);
		return 1;
	}
	if (find && (lua_toboolean(lua, 4) || no_specials(p, pattern_len)))
		return find_plain(lua, s, len, p, pattern_len, init);
	return search(lua, find, init, find ? find_again : match_again);
}

static int
lib_find(lua_State *lua)
{
	return find_or_match(lua, true);
}

static int
lib_match(lua_State *lua)
{
	return find_or_match(lua, false);
}

static int gmatch_next(lua_State *lua);

static int
gmatch_again(lua_State *lua, int status, lua_KContext context)
{
	(void)status;
	(void)context;
	return gmatch_next(lua);
}

/* Upvalues: text, pattern, where to go on, where the last match ended. */
static int
gmatch_next(lua_State *lua)
{
	size_t len;
	size_t pattern_len;
	const char *s = lua_tolstring(lua, lua_upvalueindex(1), &len);
	const char *p = lua_tolstring(lua, lua_upvalueindex(2), &pattern_len);
	lua_Integer from = lua_tointeger(lua, lua_upvalueindex(3));
	lua_Integer last = lua_tointeger(lua, lua_upvalueindex(4));
	struct script__matcher m;

	script__match_begin(&m, lua, s, len, p, pattern_len);
	for (const char *at = s + from; at <= m.text_end; at++) {
		const char *end;

		if (script__may_give_way(lua)) {
			lua_pushinteger(lua, at - s);
			lua_replace(lua, lua_upvalueindex(3));
			return script__give_way(lua, 0, gmatch_again);
		}
		end = script__match_at(&m, at, p);
		if (end == NULL || end - s == last)
			continue;
		lua_pushinteger(lua, end - s);
		lua_pushvalue(lua, -1);
		lua_replace(lua, lua_upvalueindex(3));
		lua_replace(lua, lua_upvalueindex(4));
		return script__push_captures(&m, at, end);
	}
	return 0;
}

static int
lib_gmatch(lua_State *lua)
{
	size_t len;
	size_t init;

	luaL_checklstring(lua, 1, &len);
	luaL_checkstring(lua, 2);
	init = start_index(lua, 3, len);
	if (init > len)
		init = len + 1;
	lua_settop(lua, 2);
	lua_pushinteger(lua, (lua_Integer)init);
	lua_pushinteger(lua, -1);
	lua_pushcclosure(lua, gmatch_next, 4);
	return 1;
}

/* ---- gsub: its state is a userdata, so that it can give way between two
 * positions and its callbacks can wait ---- */

struct gsub {
	struct script__matcher m;
	const char *at;
	const char *pattern;
	const char *last; /* end of the last match */
	const char *end;  /* of the match that the callback is about */
	lua_Integer count;
	lua_Integer most;
	int type;
	bool anchor;
	bool changed;
	char *out; /* counted against the state's ceiling */
	size_t len;
	size_t cap;
};

#define GSUB_INDEX 4

static const char gsub_key;

static int
gsub_free(lua_State *lua)
{
	struct gsub *g = lua_touserdata(lua, 1);
	void *ud;
	lua_Alloc alloc = lua_getallocf(lua, &ud);

	if (g->out != NULL)
		alloc(ud, g->out, g->cap, 0);
	g->out = NULL;
	return 0;
}

static void
put(lua_State *lua, struct gsub *g, const char *data, size_t len)
{
	if (len > g->cap - g->len) {
		size_t cap = (g->len + len) * 2 + 256;
		void *ud;
		lua_Alloc alloc = lua_getallocf(lua, &ud);
		char *fresh;

		if (g->len + len > SCRIPT_STRING_MAX)
			luaL_error(lua, "resulting string is over %d bytes",
			    (int)SCRIPT_STRING_MAX);
		fresh = alloc(ud, g->out, g->cap, cap);
		if (fresh == NULL) {
			luaL_error(lua, "not enough memory");
			return; /* never: it raises */
		}
		g->out = fresh;
		g->cap = cap;
	}
	if (len > 0)
		memcpy(g->out + g->len, data, len);
	g->len += len;
}

/* What is on top of the stack. */
static void
put_top(lua_State *lua, struct gsub *g)
{
	size_t len;
	const char *text = lua_tolstring(lua, -1, &len);

	put(lua, g, text, len);
	lua_pop(lua, 1);
}

static void
put_template(lua_State *lua, struct gsub *g)
{
	size_t len;
	const char *text = lua_tolstring(lua, 3, &len);
	const char *mark;

	while ((mark = memchr(text, ESCAPE, len)) != NULL) {
		put(lua, g, text, (size_t)(mark - text));
		mark++;
		if (*mark == ESCAPE) {
			put(lua, g, mark, 1);
		} else if (*mark == '0') {
			put(lua, g, g->at, (size_t)(g->end - g->at));
		} else if (isdigit((unsigned char)*mark)) {
			script__push_capture(&g->m, *mark - '1', g->at, g->end);
			put_top(lua, g);
		} else {
			luaL_error(lua, "invalid use of '%%' in replacement "
					"string");
		}
		len -= (size_t)(mark + 1 - text);
		text = mark + 1;
	}
	put(lua, g, text, len);
}

/* The value that a table or a callback gave, on top of the stack. */
static void
put_value(lua_State *lua, struct gsub *g)
{
	if (!lua_toboolean(lua, -1)) {
		lua_pop(lua, 1);
		put(lua, g, g->at, (size_t)(g->end - g->at));
		return;
	}
	if (!lua_isstring(lua, -1))
		luaL_error(lua, "invalid replacement value (a %s)",
		    luaL_typename(lua, -1));
	g->changed = true;
	put_top(lua, g);
}

static void
matched(struct gsub *g)
{
	g->at = g->last = g->end;
}

static int
gsub_done(lua_State *lua, struct gsub *g)
{
	if (!g->changed) {
		lua_pushvalue(lua, 1);
	} else {
		put(lua, g, g->at, (size_t)(g->m.text_end - g->at));
		lua_pushlstring(lua, g->len == 0 ? "" : g->out, g->len);
	}
	lua_pushinteger(lua, g->count);
	return 2;
}

enum { GSUB_POSITION, GSUB_CALLED };

static int gsub_again(lua_State *lua, int status, lua_KContext context);

/* The replacement of one match, g->at to g->end. */
static void
replace(lua_State *lua, struct gsub *g)
{
	if (g->type == LUA_TSTRING) {
		g->changed = true;
		put_template(lua, g);
		return;
	}
	if (g->type == LUA_TFUNCTION) {
		lua_pushvalue(lua, 3);
		lua_callk(lua, script__push_captures(&g->m, g->at, g->end), 1,
		    GSUB_CALLED, gsub_again);
	} else {
		script__push_capture(&g->m, 0, g->at, g->end);
		lua_gettable(lua, 3);
	}
	put_value(lua, g);
}

static int
gsub_loop(lua_State *lua, struct gsub *g)
{
	while (g->count < g->most && !(g->anchor && g->last != NULL)) {
		if (script__may_give_way(lua))
			return script__give_way(lua, GSUB_POSITION, gsub_again);
		g->end = script__match_at(&g->m, g->at, g->pattern);
		if (g->end != NULL && g->end != g->last) {
			g->count++;
			replace(lua, g);
			matched(g);
		} else if (g->at < g->m.text_end && !g->anchor) {
			put(lua, g, g->at++, 1);
		} else {
			break;
		}
	}
	return gsub_done(lua, g);
}

static int
gsub_again(lua_State *lua, int status, lua_KContext context)
{
	struct gsub *g = lua_touserdata(lua, GSUB_INDEX);

	(void)status;
	if (context == GSUB_CALLED) {
		put_value(lua, g);
		matched(g);
	}
	return gsub_loop(lua, g);
}

static int
lib_gsub(lua_State *lua)
{
	size_t len;
	size_t pattern_len;
	const char *s = luaL_checklstring(lua, 1, &len);
	const char *p = luaL_checklstring(lua, 2, &pattern_len);
	int type =
	    lua_type(lua, 3) == LUA_TNUMBER ? LUA_TSTRING : lua_type(lua, 3);
	lua_Integer most = luaL_optinteger(lua, 4, (lua_Integer)len + 1);
	struct gsub *g;

	luaL_argexpected(lua,
	    type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE,
	    3, "string/function/table");
	lua_settop(lua, 3);
	g = lua_newuserdatauv(lua, sizeof(*g), 0);
	memset(g, 0, sizeof(*g));
	lua_rawgetp(lua, LUA_REGISTRYINDEX, &gsub_key);
	lua_setmetatable(lua, -2);
	g->anchor = pattern_len > 0 && *p == '^';
	script__match_begin(
	    &g->m, lua, s, len, p + g->anchor, pattern_len - g->anchor);
	g->at = s;
	g->pattern = p + g->anchor;
	g->most = most;
	g->type = type;
	return gsub_loop(lua, g);
}

void
script__open_patterns(lua_State *lua)
{
	static const luaL_Reg functions[] = {
		{ "find", lib_find },
		{ "match", lib_match },
		{ "gmatch", lib_gmatch },
		{ "gsub", lib_gsub },
		{ NULL, NULL },
	};

	luaL_setfuncs(lua, functions, 0);
	lua_createtable(lua, 0, 1);
	lua_pushcfunction(lua, gsub_free);
	lua_setfield(lua, -2, "__gc");
	lua_rawsetp(lua, LUA_REGISTRYINDEX, &gsub_key);
}
