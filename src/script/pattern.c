/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The matcher of Lua's patterns. It follows lstrlib.c of Lua 5.4 (Copyright
 * 1994-2022 Lua.org, PUC-Rio, MIT licence); ours counts its steps, because
 * backtracking runs for minutes on short texts and no hook fires inside of a C
 * function.
 */
#include "script/pattern.h"

#include <ctype.h>
#include <string.h>

#define CAPTURE_OPEN     (-1)
#define CAPTURE_POSITION (-2)
#define MATCH_DEPTH      200

static const char *match(
    struct script__matcher *m, const char *s, const char *p);

static int
check_capture(struct script__matcher *m, int letter)
{
	int index = letter - '1';

	if (index < 0 || index >= m->level ||
	    m->capture[index].len == CAPTURE_OPEN)
		return luaL_error(
		    m->lua, "invalid capture index %%%d", index + 1);
	return index;
}

static int
capture_to_close(struct script__matcher *m)
{
	int level = m->level;

	for (level--; level >= 0; level--)
		if (m->capture[level].len == CAPTURE_OPEN)
			return level;
	return luaL_error(m->lua, "invalid pattern capture");
}

/* The end of the single-character class that begins at p. */
static const char *
class_end(struct script__matcher *m, const char *p)
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
count_long_set(struct script__matcher *m, ptrdiff_t len)
{
	m->steps += (uint64_t)len / 64;
	script__tick(m->lua, &m->steps);
}

static bool
single(struct script__matcher *m, const char *s, const char *p, const char *end)
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
match_balance(struct script__matcher *m, const char *s, const char *p)
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
max_expand(
    struct script__matcher *m, const char *s, const char *p, const char *end)
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
min_expand(
    struct script__matcher *m, const char *s, const char *p, const char *end)
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
start_capture(
    struct script__matcher *m, const char *s, const char *p, ptrdiff_t what)
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
end_capture(struct script__matcher *m, const char *s, const char *p)
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
match_capture(struct script__matcher *m, const char *s, int letter)
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
match_frontier(struct script__matcher *m, const char *s, const char **p)
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
match_special(struct script__matcher *m, const char **s, const char **p)
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
match_single(struct script__matcher *m, const char **s, const char **p)
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
match_here(struct script__matcher *m, const char *s, const char *p)
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
match(struct script__matcher *m, const char *s, const char *p)
{
	const char *found;

	script__tick(m->lua, &m->steps);
	if (m->depth-- == 0)
		luaL_error(m->lua, "pattern too complex");
	found = match_here(m, s, p);
	m->depth++;
	return found;
}

void
script__match_begin(struct script__matcher *m, lua_State *lua, const char *text,
    size_t len, const char *pattern, size_t pattern_len)
{
	m->lua = lua;
	m->text = text;
	m->text_end = text + len;
	m->pattern_end = pattern + pattern_len;
	m->steps = 0;
	m->depth = MATCH_DEPTH;
	m->level = 0;
}

const char *
script__match_at(struct script__matcher *m, const char *s, const char *p)
{
	m->level = 0;
	m->depth = MATCH_DEPTH;
	return match(m, s, p);
}

static size_t
capture_of(struct script__matcher *m, int i, const char *s, const char *end,
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

void
script__push_capture(
    struct script__matcher *m, int i, const char *s, const char *end)
{
	const char *start;
	size_t len = capture_of(m, i, s, end, &start);

	if (len != (size_t)CAPTURE_POSITION)
		lua_pushlstring(m->lua, start, len);
}

int
script__push_captures(struct script__matcher *m, const char *s, const char *end)
{
	int count = m->level == 0 && s != NULL ? 1 : m->level;

	luaL_checkstack(m->lua, count, "too many captures");
	for (int i = 0; i < count; i++)
		script__push_capture(m, i, s, end);
	return count;
}
