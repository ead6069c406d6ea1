/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SCRIPT_PATTERN_H
#define XIN_SCRIPT_PATTERN_H

#include "script/internal.h"

/* Lua's patterns (reference manual, 6.4.1), matched with counted steps: inside
 * of the folder. */
#define CAPTURES_MAX 32
#define ESCAPE       '%'

struct script__matcher {
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

/* Errors are Lua's. */
void script__match_begin(struct script__matcher *m, lua_State *lua,
    const char *text, size_t len, const char *pattern, size_t pattern_len);
/* Match at s; the end of the match, or NULL. */
const char *script__match_at(
    struct script__matcher *m, const char *s, const char *p);
/* Push the i-th capture (from 0), or the whole match when there is none; a
 * position as an integer. */
void script__push_capture(
    struct script__matcher *m, int i, const char *s, const char *end);
/* All of them; their number. */
int script__push_captures(
    struct script__matcher *m, const char *s, const char *end);

#endif
