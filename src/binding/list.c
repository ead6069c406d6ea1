/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks and chunks as scripts see them: userdata with #, indexing and ipairs.
 * The text stays in C; an item becomes a Lua table when a script looks at it.
 * Lists are counted and immutable once pushed, but for the vectors of chunks,
 * which are set once.
 */
#include "base/json.h"
#include "base/mem.h"
#include "binding/internal.h"

static const char blocks_key, chunks_key;

struct binding_blocks *
binding__blocks_new(json_t *items)
{
	struct binding_blocks *blocks = mem_zero(sizeof(*blocks));
	size_t i;
	json_t *item;

	atomic_init(&blocks->refs, 1);
	blocks->items = items;
	json_array_foreach (items, i, item)
		blocks->bytes +=
		    json_string_length(json_object_get(item, "text"));
	return blocks;
}

struct binding_blocks *
binding__blocks_ref(struct binding_blocks *blocks)
{
	atomic_fetch_add(&blocks->refs, 1);
	return blocks;
}

void
binding__blocks_unref(struct binding_blocks *blocks)
{
	if (blocks == NULL || atomic_fetch_sub(&blocks->refs, 1) != 1)
		return;
	json_decref(blocks->items);
	mem_free(blocks);
}

struct binding_chunks *
binding__chunks_new(void)
{
	struct binding_chunks *chunks = mem_zero(sizeof(*chunks));

	atomic_init(&chunks->refs, 1);
	return chunks;
}

struct binding_chunks *
binding__chunks_ref(struct binding_chunks *chunks)
{
	atomic_fetch_add(&chunks->refs, 1);
	return chunks;
}

void
binding__chunks_unref(struct binding_chunks *chunks)
{
	if (chunks == NULL || atomic_fetch_sub(&chunks->refs, 1) != 1)
		return;
	for (size_t i = 0; i < chunks->count; i++) {
		mem_free(chunks->items[i].text);
		mem_free(chunks->items[i].heading);
	}
	mem_free(chunks->items);
	mem_free(chunks->vectors);
	mem_free(chunks);
}

void
binding__chunks_add(struct binding_chunks *chunks, const char *text, size_t len,
    int64_t start, int64_t end, const char *heading)
{
	if (chunks->count == chunks->cap) {
		chunks->cap = chunks->cap == 0 ? 64 : chunks->cap * 2;
		chunks->items = mem_resize(
		    chunks->items, chunks->cap * sizeof(*chunks->items));
	}
	chunks->items[chunks->count++] = (struct binding_chunk){
		.text = mem_strndup(text, len),
		.len = len,
		.start = start,
		.end = end,
		.heading = mem_strdup(heading),
	};
	chunks->bytes += len;
}

void
binding__chunks_page(struct binding_chunks *chunks, int64_t page)
{
	if (chunks->count > 0)
		chunks->items[chunks->count - 1].page = page;
}

/* ---- as Lua values ---- */

static void *
list_at(lua_State *lua, int index, const void *key)
{
	bool same;

	if (lua_type(lua, index) != LUA_TUSERDATA ||
	    !lua_getmetatable(lua, index))
		return NULL;
	lua_rawgetp(lua, LUA_REGISTRYINDEX, key);
	same = lua_rawequal(lua, -1, -2);
	lua_pop(lua, 2);
	return same ? *(void **)lua_touserdata(lua, index) : NULL;
}

static void
push_list(lua_State *lua, const void *key, void ***slot_out)
{
	void **slot = lua_newuserdatauv(lua, sizeof(*slot), 0);

	*slot = NULL;
	lua_rawgetp(lua, LUA_REGISTRYINDEX, key);
	lua_setmetatable(lua, -2);
	*slot_out = slot;
}

void
binding__push_blocks(lua_State *lua, struct binding_blocks *blocks)
{
	void **slot;

	push_list(lua, &blocks_key, &slot);
	*slot = binding__blocks_ref(blocks);
}

void
binding__push_chunks(lua_State *lua, struct binding_chunks *chunks)
{
	void **slot;

	push_list(lua, &chunks_key, &slot);
	*slot = binding__chunks_ref(chunks);
}

static int
blocks_collect(lua_State *lua)
{
	void **slot = lua_touserdata(lua, 1);

	binding__blocks_unref(*slot);
	*slot = NULL;
	return 0;
}

static int
chunks_collect(lua_State *lua)
{
	void **slot = lua_touserdata(lua, 1);

	binding__chunks_unref(*slot);
	*slot = NULL;
	return 0;
}

static int
blocks_length(lua_State *lua)
{
	struct binding_blocks *blocks = list_at(lua, 1, &blocks_key);

	lua_pushinteger(lua,
	    blocks != NULL ? (lua_Integer)json_array_size(blocks->items) : 0);
	return 1;
}

static int
chunks_length(lua_State *lua)
{
	struct binding_chunks *chunks = list_at(lua, 1, &chunks_key);

	lua_pushinteger(lua, chunks != NULL ? (lua_Integer)chunks->count : 0);
	return 1;
}

static bool
position(lua_State *lua, size_t count, size_t *at_out)
{
	lua_Integer i;

	if (!lua_isinteger(lua, 2))
		return false;
	i = lua_tointeger(lua, 2);
	if (i < 1 || (size_t)i > count)
		return false;
	*at_out = (size_t)i - 1;
	return true;
}

static int
blocks_index(lua_State *lua)
{
	struct binding_blocks *blocks = list_at(lua, 1, &blocks_key);
	size_t at;

	if (blocks == NULL ||
	    !position(lua, json_array_size(blocks->items), &at))
		lua_pushnil(lua);
	else
		script_push_json(lua, json_array_get(blocks->items, at));
	return 1;
}

static int
chunks_index(lua_State *lua)
{
	struct binding_chunks *chunks = list_at(lua, 1, &chunks_key);
	const struct binding_chunk *chunk;
	size_t at;

	if (chunks == NULL || !position(lua, chunks->count, &at)) {
		lua_pushnil(lua);
		return 1;
	}
	chunk = &chunks->items[at];
	lua_createtable(lua, 0, 4);
	lua_pushlstring(lua, chunk->text, chunk->len);
	lua_setfield(lua, -2, "text");
	lua_pushinteger(lua, chunk->start);
	lua_setfield(lua, -2, "start");
	lua_pushinteger(lua, chunk->end);
	lua_setfield(lua, -2, "end");
	lua_pushstring(lua, chunk->heading);
	lua_setfield(lua, -2, "heading");
	if (chunk->page > 0) {
		lua_pushinteger(lua, chunk->page);
		lua_setfield(lua, -2, "page");
	}
	return 1;
}

/* ---- from arrays that a script built ---- */

static bool
good_block(const json_t *item)
{
	static const char *const types[] = { "heading", "paragraph", "list",
		"table", "code", "quote" };
	const char *type = json_str(item, "type");

	if (type == NULL || json_str(item, "text") == NULL)
		return false;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i], type) == 0)
			return true;
	return false;
}

/* The array at `index` as JSON, in a box that replaces it on the stack. */
static json_t *
array_arg(lua_State *lua, int index, const char *wanted)
{
	json_t **box;

	if (lua_type(lua, index) != LUA_TTABLE)
		luaL_typeerror(lua, index, wanted);
	box = binding__json_box(lua);
	*box = script_to_json(lua, index);
	lua_replace(lua, index);
	if (json_is_object(*box) && json_object_size(*box) == 0) {
		json_decref(*box);
		*box = json_array();
	}
	if (!json_is_array(*box))
		luaL_argerror(lua, index, "an array is expected");
	return *box;
}

struct binding_blocks *
binding__check_blocks(lua_State *lua, int index)
{
	struct binding_blocks *blocks = list_at(lua, index, &blocks_key);
	json_t *array, *item;
	void **slot;
	size_t i;

	if (blocks != NULL)
		return blocks;
	array = array_arg(lua, index, "list of blocks");
	json_array_foreach (array, i, item)
		if (!good_block(item))
			luaL_argerror(lua, index,
			    lua_pushfstring(lua,
				"block %d needs a text and a type: heading, "
				"paragraph, list, table, code or quote",
				(int)i + 1));
	push_list(lua, &blocks_key, &slot);
	*slot = binding__blocks_new(json_incref(array));
	lua_replace(lua, index);
	return *slot;
}

struct binding_chunks *
binding__check_chunks(lua_State *lua, int index)
{
	struct binding_chunks *chunks = list_at(lua, index, &chunks_key);
	json_t *array, *item;
	void **slot;
	size_t i;

	if (chunks != NULL)
		return chunks;
	array = array_arg(lua, index, "list of chunks");
	json_array_foreach (array, i, item)
		if (json_str(item, "text") == NULL)
			luaL_argerror(lua, index,
			    lua_pushfstring(
				lua, "chunk %d needs a text", (int)i + 1));
	push_list(lua, &chunks_key, &slot);
	chunks = binding__chunks_new();
	*slot = chunks;
	json_array_foreach (array, i, item) {
		const json_t *text = json_object_get(item, "text");
		const char *heading = json_str(item, "heading");

		binding__chunks_add(chunks, json_string_value(text),
		    json_string_length(text), json_int(item, "start", 0),
		    json_int(item, "end", 0), heading != NULL ? heading : "");
		binding__chunks_page(chunks, json_int(item, "page", 0));
	}
	lua_replace(lua, index);
	return chunks;
}

static void
make_type(lua_State *lua, const void *key, const char *name,
    lua_CFunction collect, lua_CFunction length, lua_CFunction index)
{
	lua_createtable(lua, 0, 5);
	lua_pushcfunction(lua, collect);
	lua_setfield(lua, -2, "__gc");
	lua_pushcfunction(lua, length);
	lua_setfield(lua, -2, "__len");
	lua_pushcfunction(lua, index);
	lua_setfield(lua, -2, "__index");
	lua_pushboolean(lua, 0);
	lua_setfield(lua, -2, "__metatable");
	lua_pushstring(lua, name);
	lua_setfield(lua, -2, "__name");
	lua_rawsetp(lua, LUA_REGISTRYINDEX, key);
}

void
binding__open_lists(lua_State *lua)
{
	make_type(lua, &blocks_key, "xin.Blocks", blocks_collect, blocks_length,
	    blocks_index);
	make_type(lua, &chunks_key, "xin.Chunks", chunks_collect, chunks_length,
	    chunks_index);
}
