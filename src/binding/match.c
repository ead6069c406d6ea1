/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xin.match: pattern sets for scripts. A set is compiled while a module loads
 * and kept for the process by the hash of what was declared, so that the
 * states of all loops and the next generation share it; the first compilation
 * holds the loop that loads it, and happens in the child that checks first.
 */
#include "text/match.h"

#include <pthread.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "base/str.h"
#include "binding/internal.h"

#define SETS_MAX     512
#define HITS_MAX     256
#define PATTERNS_MAX 1000

static const char set_key;

/* ---- the process's sets ---- */

struct cached {
	uint8_t hash[SHA256_SIZE];
	struct match_set *set;
};
static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t compile_lock = PTHREAD_MUTEX_INITIALIZER;
static struct cached cache[SETS_MAX];
static unsigned cache_count, cache_next;

static struct match_set *
cache_find(const uint8_t hash[SHA256_SIZE])
{
	struct match_set *set = NULL;

	pthread_mutex_lock(&cache_lock);
	for (unsigned i = 0; i < cache_count && set == NULL; i++)
		if (memcmp(cache[i].hash, hash, SHA256_SIZE) == 0)
			set = match_ref(cache[i].set);
	pthread_mutex_unlock(&cache_lock);
	return set;
}

/* The oldest goes when it is full; who uses it holds a reference. */
static void
cache_add(const uint8_t hash[SHA256_SIZE], struct match_set *set)
{
	struct cached *slot;

	pthread_mutex_lock(&cache_lock);
	slot = &cache[cache_next];
	cache_next = (cache_next + 1) % SETS_MAX;
	if (cache_count < SETS_MAX)
		cache_count++;
	else
		match_unref(slot->set);
	memcpy(slot->hash, hash, SHA256_SIZE);
	slot->set = match_ref(set);
	pthread_mutex_unlock(&cache_lock);
}

/* ---- reading declarations ---- */

static const char *
string_field(
    lua_State *lua, int index, int number, const char *key, bool required)
{
	lua_pushstring(lua, key);
	lua_rawget(lua, index);
	if (lua_isnil(lua, -1) && !required) {
		lua_pop(lua, 1);
		return NULL;
	}
	if (lua_type(lua, -1) != LUA_TSTRING || lua_rawlen(lua, -1) > 1000 ||
	    strlen(lua_tostring(lua, -1)) != lua_rawlen(lua, -1))
		luaL_error(lua,
		    "pattern %d: %s must be a string of at most 1,000 bytes",
		    number, key);
	lua_pop(lua, 1); /* the table still holds it */
	lua_pushstring(lua, key);
	lua_rawget(lua, index);
	key = lua_tostring(lua, -1);
	lua_pop(lua, 1);
	return key;
}

static bool
flag_field(lua_State *lua, int index, int number, const char *key)
{
	bool value;

	lua_pushstring(lua, key);
	lua_rawget(lua, index);
	if (!lua_isnil(lua, -1) && !lua_isboolean(lua, -1))
		luaL_error(
		    lua, "pattern %d: %s must be true or false", number, key);
	value = lua_toboolean(lua, -1);
	lua_pop(lua, 1);
	return value;
}

static void
only_known_fields(lua_State *lua, int index, int number)
{
	static const char *const known[] = { "name", "regex", "check",
		"caseless", "word_edges", NULL };
	const char *key;
	size_t i;

	lua_pushnil(lua);
	while (lua_next(lua, index) != 0) {
		lua_pop(lua, 1);
		key = lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1)
						       : "?";
		for (i = 0; known[i] != NULL; i++)
			if (strcmp(known[i], key) == 0)
				break;
		if (known[i] == NULL)
			luaL_error(
			    lua, "pattern %d: unknown field '%s'", number, key);
	}
}

static void
read_pattern(lua_State *lua, int number, struct match_pattern *pattern)
{
	int index = lua_gettop(lua);

	if (lua_type(lua, index) != LUA_TTABLE)
		luaL_error(lua, "pattern %d must be a table", number);
	only_known_fields(lua, index, number);
	pattern->name = string_field(lua, index, number, "name", true);
	pattern->regex = string_field(lua, index, number, "regex", true);
	pattern->check = string_field(lua, index, number, "check", false);
	pattern->caseless = flag_field(lua, index, number, "caseless");
	pattern->word_edges = flag_field(lua, index, number, "word_edges");
}

static void
hash_patterns(const struct match_pattern *patterns, size_t count, bool fold,
    uint8_t hash[SHA256_SIZE])
{
	struct crypto_hash *sum = crypto_hash_new();

	crypto_hash_add(sum, fold ? "F" : "-", 1);
	for (size_t i = 0; i < count; i++) {
		const struct match_pattern *p = &patterns[i];
		const char flags[2] = { p->caseless ? 'c' : '-',
			p->word_edges ? 'w' : '-' };

		crypto_hash_add(sum, p->name, strlen(p->name) + 1);
		crypto_hash_add(sum, p->regex, strlen(p->regex) + 1);
		if (p->check != NULL)
			crypto_hash_add(sum, p->check, strlen(p->check));
		crypto_hash_add(sum, "", 1);
		crypto_hash_add(sum, flags, sizeof(flags));
	}
	crypto_hash_end(sum, hash);
	crypto_hash_free(sum);
}

static void
push_set(lua_State *lua, struct match_set ***slot_out)
{
	struct match_set **slot = lua_newuserdatauv(lua, sizeof(*slot), 0);

	*slot = NULL;
	lua_rawgetp(lua, LUA_REGISTRYINDEX, &set_key);
	lua_setmetatable(lua, -2);
	*slot_out = slot;
}

static bool
fold_option(lua_State *lua, int index)
{
	bool fold = true;

	if (lua_isnoneornil(lua, index))
		return fold;
	luaL_checktype(lua, index, LUA_TTABLE);
	lua_pushliteral(lua, "fold");
	lua_rawget(lua, index);
	if (!lua_isnil(lua, -1)) {
		luaL_argcheck(lua, lua_isboolean(lua, -1), index,
		    "fold must be true or false");
		fold = lua_toboolean(lua, -1);
	}
	lua_pop(lua, 1);
	return fold;
}

/* Loops that load the same generation at the same time want the same sets: one
 * compiles, the others wait for it. */
static enum err_code
find_or_compile(const struct match_pattern *patterns, size_t count, bool fold,
    struct match_set **set_out)
{
	uint8_t hash[SHA256_SIZE];
	enum err_code rc = OK;
	struct match_set *set;

	hash_patterns(patterns, count, fold, hash);
	set = cache_find(hash);
	if (set == NULL) {
		pthread_mutex_lock(&compile_lock);
		set = cache_find(hash);
		if (set == NULL) {
			rc = match_compile(patterns, count, fold, &set);
			if (rc == OK)
				cache_add(hash, set);
		}
		pthread_mutex_unlock(&compile_lock);
	}
	if (rc == OK)
		*set_out = set;
	return rc;
}

static int
match_compile_(lua_State *lua)
{
	struct match_pattern *patterns;
	struct match_set **slot;
	size_t count;
	bool fold;

	luaL_checktype(lua, 1, LUA_TTABLE);
	count = lua_rawlen(lua, 1);
	if (count == 0 || count > PATTERNS_MAX)
		return luaL_error(lua, "a set has 1 to %d patterns, not %d",
		    PATTERNS_MAX, (int)count);
	fold = fold_option(lua, 2);
	patterns = lua_newuserdatauv(lua, count * sizeof(*patterns), 0);
	for (size_t i = 0; i < count; i++) {
		lua_rawgeti(lua, 1, (lua_Integer)i + 1);
		read_pattern(lua, (int)i + 1, &patterns[i]);
		lua_pop(lua, 1);
	}
	push_set(lua, &slot);
	if (find_or_compile(patterns, count, fold, slot) != OK)
		return luaL_error(lua, "%s", err_message());
	return 1;
}

/* ---- using sets ---- */

static struct match_set *
set_arg(lua_State *lua)
{
	bool same = false;

	if (lua_type(lua, 1) == LUA_TUSERDATA && lua_getmetatable(lua, 1)) {
		lua_rawgetp(lua, LUA_REGISTRYINDEX, &set_key);
		same = lua_rawequal(lua, -1, -2);
		lua_pop(lua, 2);
	}
	if (!same)
		luaL_error(lua, "a set is expected: call set:scan(text) with a "
				"colon");
	return *(struct match_set **)lua_touserdata(lua, 1);
}

static void
push_hit(lua_State *lua, const struct match_hit *hit, const char *text)
{
	lua_createtable(lua, 0, 4);
	lua_pushstring(lua, hit->name);
	lua_setfield(lua, -2, "name");
	lua_pushinteger(lua, (lua_Integer)hit->start + 1);
	lua_setfield(lua, -2, "start");
	lua_pushinteger(lua, (lua_Integer)hit->end);
	lua_setfield(lua, -2, "end");
	lua_pushlstring(lua, text + hit->start, hit->end - hit->start);
	lua_setfield(lua, -2, "text");
}

static struct match_hit *
scan_arg(
    lua_State *lua, const char **text_out, size_t *len_out, size_t *count_out)
{
	struct match_set *set = set_arg(lua);
	struct match_hit *hits;

	*text_out = binding__text_arg(lua, 2, BINDING_TEXT_MAX, len_out);
	hits = lua_newuserdatauv(lua, HITS_MAX * sizeof(*hits), 0);
	*count_out = match_scan(set, *text_out, *len_out, hits, HITS_MAX);
	return hits;
}

static int
set_scan(lua_State *lua)
{
	size_t len, count;
	const char *text;
	const struct match_hit *hits = scan_arg(lua, &text, &len, &count);

	lua_createtable(lua, (int)count, 0);
	for (size_t i = 0; i < count; i++) {
		push_hit(lua, &hits[i], text);
		lua_rawseti(lua, -2, (lua_Integer)i + 1);
	}
	return 1;
}

static int
set_any(lua_State *lua)
{
	struct match_set *set = set_arg(lua);
	size_t len;
	const char *text = binding__text_arg(lua, 2, BINDING_TEXT_MAX, &len);

	lua_pushboolean(lua, match_any(set, text, len));
	return 1;
}

/* Pushes what stands for the hit; false (nothing pushed) = leave it. */
static bool
push_replacement(lua_State *lua, const struct match_hit *hit, const char *text)
{
	switch (lua_type(lua, 3)) {
	case LUA_TSTRING:
		lua_pushvalue(lua, 3);
		break;
	case LUA_TTABLE:
		lua_pushstring(lua, hit->name);
		lua_rawget(lua, 3);
		break;
	default:
		lua_pushvalue(lua, 3);
		push_hit(lua, hit, text);
		lua_call(lua, 1, 1);
		break;
	}
	if (lua_type(lua, -1) == LUA_TSTRING)
		return true;
	if (lua_toboolean(lua, -1))
		luaL_error(lua, "a replacement must be a string or nil");
	lua_pop(lua, 1);
	return false;
}

/* One pass sees at most HITS_MAX hits; a text full of them takes several. */
static int
set_replace(lua_State *lua)
{
	struct match_set *set = set_arg(lua);
	size_t len, done = 0, from = 0;
	const char *text = binding__text_arg(lua, 2, BINDING_TEXT_MAX, &len);
	lua_Integer replaced = 0;
	struct match_hit *hits;
	struct buf *out;
	size_t count;
	int type = lua_type(lua, 3);

	if (type != LUA_TSTRING && type != LUA_TTABLE && type != LUA_TFUNCTION)
		return luaL_typeerror(lua, 3, "string, table or function");
	lua_settop(lua, 3);
	hits = lua_newuserdatauv(lua, HITS_MAX * sizeof(*hits), 0);
	out = binding__buf(lua);
	do {
		size_t base = from;

		count =
		    match_scan(set, text + base, len - base, hits, HITS_MAX);
		for (size_t i = 0; i < count; i++) {
			struct match_hit hit = hits[i];

			hit.start += base;
			hit.end += base;
			from = hit.end > from ? hit.end : from;
			if (hit.start < done)
				continue;
			if (!push_replacement(lua, &hit, text))
				continue;
			buf_add(out, text + done, hit.start - done);
			buf_add(
			    out, lua_tostring(lua, -1), lua_rawlen(lua, -1));
			lua_pop(lua, 1);
			done = hit.end;
			replaced++;
			if (out->len > 4 * BINDING_TEXT_MAX)
				return luaL_error(
				    lua, "the replaced text is over 4 MiB");
		}
	} while (count == HITS_MAX && from < len);
	buf_add(out, text + done, len - done);
	binding__push_buf(lua, out);
	lua_pushinteger(lua, replaced);
	return 2;
}

static int
set_collect(lua_State *lua)
{
	struct match_set **slot = lua_touserdata(lua, 1);

	if (*slot != NULL)
		match_unref(*slot);
	*slot = NULL;
	return 0;
}

void
binding__open_match(lua_State *lua)
{
	lua_createtable(lua, 0, 4);
	lua_pushcfunction(lua, set_collect);
	lua_setfield(lua, -2, "__gc");
	binding__push_functions(lua, &binding__match_set);
	lua_setfield(lua, -2, "__index");
	lua_pushboolean(lua, 0);
	lua_setfield(lua, -2, "__metatable");
	lua_pushliteral(lua, "xin.MatchSet");
	lua_setfield(lua, -2, "__name");
	lua_rawsetp(lua, LUA_REGISTRYINDEX, &set_key);
}

static const struct binding_function functions[] = {
	{ "compile", match_compile_, AT_LOAD,
	    "patterns xin.Pattern[]\noptions? { fold: boolean? }",
	    "xin.MatchSet",
	    "Compile a set of patterns (linear time, a subset of PCRE: no "
	    "lookaround, no back references). With fold, which is the default, "
	    "digits of all scripts count as ASCII, ZWNJ and bidi controls are "
	    "skipped." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__match = { "match",
	"Pattern sets, declared at the top of a module.", functions, false };

static const struct binding_function methods[] = {
	{ "scan", set_scan, ANYWHERE, "text string", "xin.Hit[]",
	    "The hits, leftmost and longest, by position; at most 256." },
	{ "any", set_any, ANYWHERE, "text string", "boolean",
	    "Whether anything matches." },
	{ "replace", set_replace, ANYWHERE,
	    "text string\nwith string|table<string, string>|fun(hit: xin.Hit): "
	    "string?",
	    "string, integer",
	    "Replace every hit: by a string, by hit name, or by what a "
	    "function returns (nil leaves it). Also the number replaced." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__match_set = { "MatchSet",
	"A compiled set.", methods, true };
