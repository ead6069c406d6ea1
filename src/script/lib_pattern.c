/* SPDX-License-Identifier: Apache-2.0 */
/*
 * string.find, match, gmatch and gsub with Lua's patterns. The matcher follows
 * lstrlib.c of Lua 5.4 (Copyright 1994-2022 Lua.org, PUC-Rio, MIT licence);
 * ours counts its steps, because backtracking runs for minutes on short texts
 * and no hook fires inside of a C function. Plain find is memmem: linear.
 */
#include <ctype.h>
#include <string.h>

#include "script/internal.h"

#define CAPTURES_MAX     32
#define CAPTURE_OPEN     (-1)
#define CAPTURE_POSITION (-2)
#define MATCH_DEPTH      200
#define ESCAPE           '%'
#define SPECIALS         "^$*+?.([%-"

struct matcher {
	const char *text;
	const char *text_end;
	const char *pattern_end;
	lua_State *lua;
	uint64_t steps;
	int depth;
	unsigned char level;
	struct {
		const char *start;
		ptrdiff_t len;
	} capture[CAPTURES_MAX];
};

static const char *match(struct matcher *m, const char *s, const char *p);

static int
check_capture(struct matcher *m, int letter)
{
	int index = letter - '1';

	if (index < 0 || index >= m->level ||
	    m->capture[index].len == CAPTURE_OPEN)
		return luaL_error(
		    m->lua, "invalid capture index %%%d", index + 1);
	return index;
}

static int
capture_to_close(struct matcher *m)
{
	int level = m->level;

	for (level--; level >= 0; level--)
		if (m->capture[level].len == CAPTURE_OPEN)
			return level;
	return luaL_error(m->lua, "invalid pattern capture");
}

/* The end of the single-character class that begins at p. */
static const char *
class_end(struct matcher *m, const char *p)
{
	switch (*p++) {
	case ESCAPE:
		if (p == m->pattern_end)
			luaL_error(
			    m->lua, "malformed pattern (ends with '%%')");
		return p + 1;
	case '[':
		if (*p == '^')
			p++;
		do {
			if (p == m->pattern_end)
				luaL_error(
				    m->lua, "malformed pattern (missing ']')");
			if (*p++ == ESCAPE && p < m->pattern_end)
				p++;
		} while (*p != ']');
		return p + 1;
	default:
		return p;
	}
}

static bool
in_class(int c, int class)
{
	bool in;

	switch (tolower(class)) {
	case 'a':
		in = isalpha(c);
		break;
	case 'c':
		in = iscntrl(c);
		break;
	case 'd':
		in = isdigit(c);
		break;
	case 'g':
		in = isgraph(c);
		break;
	case 'l':
		in = islower(c);
		break;
	case 'p':
		in = ispunct(c);
		break;
	case 's':
		in = isspace(c);
		break;
	case 'u':
		in = isupper(c);
		break;
	case 'w':
		in = isalnum(c);
		break;
	case 'x':
		in = isxdigit(c);
		break;
	default:
		return class == c;
	}
	return isupper(class) ? !in : in;
}

static bool
in_set(int c, const char *p, const char *last)
{
	bool sign = true;

	if (p[1] == '^') {
		sign = false;
		p++;
	}
	while (++p < last) {
		if (*p == ESCAPE) {
			p++;
			if (in_class(c, (unsigned char)*p))
				return sign;
		} else if (p[1] == '-' && p + 2 < last) {
			p += 2;
			if ((unsigned char)p[-2] <= c && c <= (unsigned char)*p)
				return sign;
		} else if ((unsigned char)*p == c) {
			return sign;
		}
	}
	return !sign;
}

/* A long set costs more than a step. */
static __attribute__((cold, noinline)) void
count_long_set(struct matcher *m, ptrdiff_t len)
{
	m->steps += (uint64_t)len / 64;
	script__tick(m->lua, &m->steps);
}

static bool
single(struct matcher *m, const char *s, const char *p, const char *end)
{
	int c;

	if (s >= m->text_end)
		return false;
	c = (unsigned char)*s;
	switch (*p) {
	case '.':
		return true;
	case ESCAPE:
		return in_class(c, (unsigned char)p[1]);
	case '[':
		if (end - p > 64)
			count_long_set(m, end - p);
		return in_set(c, p, end - 1);
	default:
		return (unsigned char)*p == c;
	}
}

static const char *
match_balance(struct matcher *m, const char *s, const char *p)
{
	int level = 1;

	if (p >= m->pattern_end - 1)
		luaL_error(
		    m->lua, "malformed pattern (missing arguments to '%%b')");
	if (s >= m->text_end || *s != *p)
		return NULL;
	while (++s < m->text_end) {
		script__tick(m->lua, &m->steps);
		if (*s == p[1]) {
			if (--level == 0)
				return s + 1;
		} else if (*s == *p) {
			level++;
		}
	}
	return NULL;
}

static const char *
max_expand(struct matcher *m, const char *s, const char *p, const char *end)
{
	ptrdiff_t i = 0;

	while (single(m, s + i, p, end))
		i++;
	m->steps += (uint64_t)i / 4; /* match() looks at it */
	while (i >= 0) {
		const char *found = match(m, s + i, end + 1);

		if (found != NULL)
			return found;
		i--;
	}
	return NULL;
}

static const char *
min_expand(struct matcher *m, const char *s, const char *p, const char *end)
{
	for (;;) {
		const char *found = match(m, s, end + 1);

		if (found != NULL)
			return found;
		if (!single(m, s, p, end))
			return NULL;
		s++;
	}
}

static const char *
start_capture(struct matcher *m, const char *s, const char *p, ptrdiff_t what)
{
	const char *found;

	if (m->level >= CAPTURES_MAX)
		luaL_error(m->lua, "too many captures");
	m->capture[m->level].start = s;
	m->capture[m->level].len = what;
	m->level++;
	found = match(m, s, p);
	if (found == NULL)
		m->level--;
	return found;
}

static const char *
end_capture(struct matcher *m, const char *s, const char *p)
{
	int level = capture_to_close(m);
	const char *found;

	m->capture[level].len = s - m->capture[level].start;
	found = match(m, s, p);
	if (found == NULL)
		m->capture[level].len = CAPTURE_OPEN;
	return found;
}

static const char *
match_capture(struct matcher *m, const char *s, int letter)
{
	int index = check_capture(m, letter);
	size_t len = (size_t)m->capture[index].len;

	m->steps += len / 64;
	if (m->capture[index].len >= 0 && (size_t)(m->text_end - s) >= len &&
	    memcmp(m->capture[index].start, s, len) == 0)
		return s + len;
	return NULL;
}

static const char *
match_frontier(struct matcher *m, const char *s, const char **p)
{
	const char *end;
	char previous;

	if (**p != '[')
		luaL_error(m->lua, "missing '[' after '%%f' in pattern");
	end = class_end(m, *p);
	previous = s == m->text ? '\0' : s[-1];
	if (in_set((unsigned char)previous, *p, end - 1) ||
	    !in_set((unsigned char)*s, *p, end - 1))
		return NULL;
	*p = end;
	return s;
}

/* %b, %f and back references. False when p is none of them. */
static bool
match_special(struct matcher *m, const char **s, const char **p)
{
	switch (p[0][1]) {
	case 'b':
		*s = match_balance(m, *s, *p + 2);
		*p += 4;
		return true;
	case 'f':
		*p += 2;
		*s = match_frontier(m, *s, p);
		return true;
	case '0':
	case '1':
	case '2':
	case '3':
	case '4':
	case '5':
	case '6':
	case '7':
	case '8':
	case '9':
		*s = match_capture(m, *s, (unsigned char)p[0][1]);
		*p += 2;
		return true;
	default:
		return false;
	}
}

/* One class with its repetition. True when the rest was matched in `*s`;
 * false to go on in the loop of match() at (*s, *p). */
static bool
match_single(struct matcher *m, const char **s, const char **p)
{
	const char *end = class_end(m, *p);
	const char *found;
	bool fits;

	switch (end < m->pattern_end ? *end : '\0') {
	case '*':
		*s = max_expand(m, *s, *p, end);
		return true;
	case '-':
		*s = min_expand(m, *s, *p, end);
		return true;
	case '+':
		*s = single(m, *s, *p, end) ? max_expand(m, *s + 1, *p, end)
					    : NULL;
		return true;
	case '?':
		if (single(m, *s, *p, end) &&
		    (found = match(m, *s + 1, end + 1)) != NULL) {
			*s = found;
			return true;
		}
		*p = end + 1;
		return false;
	default:
		fits = single(m, *s, *p, end);
		*s = fits ? *s + 1 : NULL;
		*p = end;
		return !fits;
	}
}

static const char *
match_here(struct matcher *m, const char *s, const char *p)
{
	while (s != NULL && p != m->pattern_end) {
		if (*p == '(')
			return p[1] == ')'
				   ? start_capture(
					 m, s, p + 2, CAPTURE_POSITION)
				   : start_capture(m, s, p + 1, CAPTURE_OPEN);
		if (*p == ')')
			return end_capture(m, s, p + 1);
		if (*p == '$' && p + 1 == m->pattern_end)
			return s == m->text_end ? s : NULL;
		if (*p == ESCAPE && p + 1 < m->pattern_end &&
		    match_special(m, &s, &p))
			continue;
		if (match_single(m, &s, &p))
			return s;
	}
	return s;
}

static const char *
match(struct matcher *m, const char *s, const char *p)
{
	const char *found;

	script__tick(m->lua, &m->steps);
	if (m->depth-- == 0)
		luaL_error(m->lua, "pattern too complex");
	found = match_here(m, s, p);
	m->depth++;
	return found;
}

static void
begin(struct matcher *m, lua_State *lua, const char *text, size_t len,
    const char *pattern, size_t pattern_len)
{
	m->lua = lua;
	m->text = text;
	m->text_end = text + len;
	m->pattern_end = pattern + pattern_len;
	m->steps = 0;
	m->depth = MATCH_DEPTH;
	m->level = 0;
}

static const char *
attempt(struct matcher *m, const char *s, const char *p)
{
	m->level = 0;
	m->depth = MATCH_DEPTH;
	return match(m, s, p);
}

static size_t
capture_of(struct matcher *m, int i, const char *s, const char *end,
    const char **start_out)
{
	ptrdiff_t len;

	if (i >= m->level) {
		if (i != 0)
			luaL_error(m->lua, "invalid capture index %%%d", i + 1);
		*start_out = s;
		return (size_t)(end - s);
	}
	len = m->capture[i].len;
	*start_out = m->capture[i].start;
	if (len == CAPTURE_OPEN)
		luaL_error(m->lua, "unfinished capture");
	if (len == CAPTURE_POSITION)
		lua_pushinteger(m->lua, (m->capture[i].start - m->text) + 1);
	return (size_t)len;
}

static void
push_capture(struct matcher *m, int i, const char *s, const char *end)
{
	const char *start;
	size_t len = capture_of(m, i, s, end, &start);

	if (len != (size_t)CAPTURE_POSITION)
		lua_pushlstring(m->lua, start, len);
}

static int
push_captures(struct matcher *m, const char *s, const char *end)
{
	int count = m->level == 0 && s != NULL ? 1 : m->level;

	luaL_checkstack(m->lua, count, "too many captures");
	for (int i = 0; i < count; i++)
		push_capture(m, i, s, end);
	return count;
}

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
	struct matcher m;

	if (anchor) {
		p++;
		pattern_len--;
	}
	begin(&m, lua, s, len, p, pattern_len);
	do {
		const char *end;

		if (script__may_give_way(lua))
			return script__give_way(
			    lua, (lua_KContext)(at - s), again);
		end = attempt(&m, at, p);
		if (end == NULL)
			continue;
		if (!find)
			return push_captures(&m, at, end);
		lua_pushinteger(lua, (at - s) + 1);
		lua_pushinteger(lua, end - s);
		return push_captures(&m, NULL, NULL) + 2;
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
	struct matcher m;

	begin(&m, lua, s, len, p, pattern_len);
	for (const char *at = s + from; at <= m.text_end; at++) {
		const char *end;

		if (script__may_give_way(lua)) {
			lua_pushinteger(lua, at - s);
			lua_replace(lua, lua_upvalueindex(3));
			return script__give_way(lua, 0, gmatch_again);
		}
		end = attempt(&m, at, p);
		if (end == NULL || end - s == last)
			continue;
		lua_pushinteger(lua, end - s);
		lua_pushvalue(lua, -1);
		lua_replace(lua, lua_upvalueindex(3));
		lua_replace(lua, lua_upvalueindex(4));
		return push_captures(&m, at, end);
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
	struct matcher m;
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
		if (fresh == NULL)
			luaL_error(lua, "not enough memory");
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
			push_capture(&g->m, *mark - '1', g->at, g->end);
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
		lua_callk(lua, push_captures(&g->m, g->at, g->end), 1,
		    GSUB_CALLED, gsub_again);
	} else {
		push_capture(&g->m, 0, g->at, g->end);
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
		g->end = attempt(&g->m, g->at, g->pattern);
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
	begin(&g->m, lua, s, len, p + g->anchor, pattern_len - g->anchor);
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
