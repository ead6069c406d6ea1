/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text to bytecode, once for each generation. The dump is made by this process
 * and stays in it: scripts can never load bytecode (a damaged dump corrupts
 * the heap). The compiler runs in a bare state of its own, so it may run on a
 * pool thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "script/internal.h"

#define COMPILE_HEAP_MAX ((size_t)256 << 20)

static void *
compile_alloc(void *ud, void *ptr, size_t old_size, size_t size)
{
	size_t *used = ud;
	void *fresh;

	if (ptr == NULL)
		old_size = 0;
	if (size == 0) {
		*used -= old_size;
		free(ptr);
		return NULL;
	}
	if (size > old_size && *used + (size - old_size) > COMPILE_HEAP_MAX)
		return NULL;
	fresh = realloc(ptr, size);
	if (fresh != NULL)
		*used += size - old_size;
	return fresh;
}

static int
add_dump(lua_State *lua, const void *data, size_t len, void *ud)
{
	(void)lua;
	buf_add(ud, data, len);
	return 0;
}

struct compile_job {
	const char *name;
	const char *text;
	size_t len;
	struct buf out;
};

static int
compile_protected(lua_State *lua)
{
	struct compile_job *job = lua_touserdata(lua, 1);
	char chunk[300];

	snprintf(chunk, sizeof(chunk), "=%s", job->name);
	if (luaL_loadbufferx(lua, job->text, job->len, chunk, "t") != LUA_OK)
		return lua_error(lua);
	lua_dump(lua, add_dump, &job->out, 0);
	return 0;
}

static void
compile_in(lua_State *lua, const char *name, const char *text, size_t len,
    struct script_chunk *chunk)
{
	struct compile_job job = { name, text, len, { 0 } };

	memset(chunk, 0, sizeof(*chunk));
	lua_pushcfunction(lua, compile_protected);
	lua_pushlightuserdata(lua, &job);
	if (lua_pcall(lua, 1, 0, 0) == LUA_OK) {
		chunk->code = buf_take(&job.out, &chunk->len);
	} else {
		const char *message = lua_type(lua, -1) == LUA_TSTRING
					  ? lua_tostring(lua, -1)
					  : "cannot be compiled";

		chunk->error = mem_strndup(message, strnlen(message, 1000));
		lua_pop(lua, 1);
	}
	buf_done(&job.out);
}

static lua_State *
compile_state(size_t *used)
{
	lua_State *lua;

	*used = 0;
	lua = lua_newstate(compile_alloc, used);
	if (lua == NULL)
		panic("no memory for a compiler state");
	return lua;
}

void
script__compile(const char *name, const char *text, size_t len,
    struct script_chunk *chunk_out)
{
	size_t used;
	lua_State *lua = compile_state(&used);

	compile_in(lua, name, text, len, chunk_out);
	lua_close(lua);
}

static enum err_code
compile_all(void *arg)
{
	struct script_generation *gen = arg;
	size_t used;
	lua_State *lua;

	pthread_mutex_lock(&gen->compiling);
	if (!atomic_load(&gen->compiled)) {
		lua = compile_state(&used);
		gen->chunks = mem_zero((gen->count + 1) * sizeof(*gen->chunks));
		for (size_t i = 0; i < gen->count; i++)
			compile_in(lua, gen->files[i].name, gen->files[i].text,
			    gen->files[i].len, &gen->chunks[i]);
		lua_close(lua);
		atomic_store(&gen->compiled, true);
	}
	pthread_mutex_unlock(&gen->compiling);
	return OK;
}

void
script__generation_compile(struct script_generation *gen)
{
	if (atomic_load(&gen->compiled))
		return;
	if (fiber_self() != NULL)
		pool_run(compile_all, gen);
	else
		compile_all(gen);
}
