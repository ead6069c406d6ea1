/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a loop: one lua_State for (generation, brand), made when first
 * needed, kept most recently used first, never shared between threads. Small
 * ones are closed where they are; big ones on a pool thread, because freeing
 * a full heap holds a loop for tens of milliseconds.
 */
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "script/internal.h"

#define STATE_BIG ((size_t)4 << 20)

static _Thread_local struct script_state *states;
static _Thread_local unsigned states_count;

static void *
state_alloc(void *ud, void *ptr, size_t old_size, size_t size)
{
	struct script_state *state = ud;
	void *fresh;

	if (ptr == NULL)
		old_size = 0; /* it is a type tag then */
	if (size == 0) {
		state->used -= old_size;
		free(ptr);
		return NULL;
	}
	if (size > old_size && state->used + (size - old_size) > state->limit &&
	    !script__may_grow(state, size - old_size))
		return NULL;
	fresh = realloc(ptr, size);
	if (fresh == NULL)
		return NULL;
	state->used += size - old_size;
	if (size > old_size)
		state->denied = 0;
	return fresh;
}

static enum err_code
close_lua(void *arg)
{
	struct script_state *state = arg;

	lua_close(state->lua);
	for (size_t i = 0; i < state->files; i++)
		json_decref(state->fields[i]);
	mem_free(state->fields);
	mem_free(state->loaded);
	mem_free(state);
	return OK;
}

static void
close_big(void *arg)
{
	pool_run(close_lua, arg);
}

/* What the brand's states hold, without counting at each allocation. */
static void
show_heap(struct script_state *state, size_t bytes)
{
	metric_move_process(METRIC_SCRIPT_HEAP, LABELS(state->brand),
	    (int64_t)bytes - (int64_t)state->shown);
	state->shown = bytes;
}

/* Taken out of the list already. */
static void
state_free(struct script_state *state)
{
	show_heap(state, 0);
	state->run = NULL;
	if (state->used > STATE_BIG && loop_self() != NULL)
		fiber_start_service(SERVICE_NONE, close_big, state);
	else
		close_lua(state);
}

static void
take_out(struct script_state *state)
{
	struct script_state **at = &states;

	while (*at != NULL && *at != state)
		at = &(*at)->next;
	if (*at == NULL)
		return;
	*at = state->next;
	state->next = NULL;
	states_count--;
}

static void
push_front(struct script_state *state)
{
	state->next = states;
	states = state;
	states_count++;
}

/* Make room: the least recently used idle one goes. */
static void
evict(void)
{
	struct script_state *last = NULL;

	for (struct script_state *at = states; at != NULL; at = at->next)
		if (at->refs == 0)
			last = at;
	if (last != NULL) {
		take_out(last);
		state_free(last);
	}
}

struct opening {
	struct script_state *state;
	bool done;
	char error[256];
};

static int
open_protected(lua_State *lua)
{
	script__env_open(lua);
	return 0;
}

static void
open_on_loop_stack(void *arg)
{
	struct opening *opening = arg;
	struct script_state *state = opening->state;
	const char *message;

	state->lua = lua_newstate(state_alloc, state);
	if (state->lua == NULL) {
		str_copy(opening->error, sizeof(opening->error),
		    "no memory for a script state");
		return;
	}
	*(struct script_state **)lua_getextraspace(state->lua) = state;
	lua_pushcfunction(state->lua, open_protected);
	if (lua_pcall(state->lua, 0, 0, 0) == LUA_OK) {
		opening->done = true;
		return;
	}
	message = lua_type(state->lua, -1) == LUA_TSTRING
		      ? lua_tostring(state->lua, -1)
		      : "unknown error";
	str_copy(opening->error, sizeof(opening->error), message);
	lua_close(state->lua);
}

static enum err_code
make(struct script_generation *gen, const char *brand,
    struct script_state **state_out)
{
	struct opening opening = { 0 };
	struct script_state *state = mem_zero(sizeof(*state));

	state->gen = gen;
	state->ceiling = (size_t)config_int(CFG_SCRIPT_HEAP_BYTES);
#ifdef XIN_NO_SCRIPT_LIMITS
	state->ceiling = SIZE_MAX;
#endif
	state->limit = state->ceiling;
	str_copy(state->brand, sizeof(state->brand), brand);
	state->files = gen->count;
	state->loaded = mem_zero(gen->count + 1);
	state->fields = mem_zero((gen->count + 1) * sizeof(*state->fields));
	opening.state = state;
	if (fiber_self() != NULL)
		fiber_on_loop_stack(open_on_loop_stack, &opening);
	else
		open_on_loop_stack(&opening);
	if (!opening.done) {
		mem_free(state->fields);
		mem_free(state->loaded);
		mem_free(state);
		return err_set(
		    ERR_SCRIPT, "state of brand %s: %s", brand, opening.error);
	}
	atomic_store(&gen->has_states, true);
	*state_out = state;
	return OK;
}

enum err_code
script__state_get(struct script_generation *gen, const char *brand,
    struct script_state **state_out)
{
	struct script_state *state = states;

	while (state != NULL && (state->gen != gen || state->retired ||
				    strcmp(state->brand, brand) != 0))
		state = state->next;
	if (state == NULL) {
		TRY(make(gen, brand, &state));
		if (states_count >= STATES_PER_LOOP)
			evict();
		push_front(state);
	} else if (state != states) {
		take_out(state);
		push_front(state);
	}
	state->refs++;
	*state_out = state;
	return OK;
}

void
script__state_put(struct script_state *state)
{
	show_heap(state, state->used);
	/* A heap that stays half full is begun anew. */
	if (state->used > state->ceiling / 2)
		state->retired = true;
	if (--state->refs == 0 && state->retired) {
		take_out(state);
		state_free(state);
	}
}

static void
drop_states(const struct script_generation *gen)
{
	struct script_state *next;

	for (struct script_state *at = states; at != NULL; at = next) {
		next = at->next;
		if (gen != NULL && at->gen != gen)
			continue;
		if (at->refs > 0) {
			at->retired = true;
			continue;
		}
		take_out(at);
		state_free(at);
	}
}

void
script__states_drop(const struct script_generation *gen)
{
	drop_states(gen);
}

static void
release_here(void *arg)
{
	struct script_generation *gen = arg;

	drop_states(gen);
	if (atomic_fetch_sub(&gen->releasing, 1) == 1)
		script__generation_free(gen);
}

void
script__states_release(struct script_generation *gen)
{
	unsigned count = loops_count();

	atomic_store(&gen->releasing, (size_t)count + 1);
	for (unsigned i = 0; i < count; i++)
		if (!loop_post(loop_at(i), release_here, gen))
			atomic_fetch_sub(&gen->releasing, 1);
	if (atomic_fetch_sub(&gen->releasing, 1) == 1)
		script__generation_free(gen);
}

static int
make_thread(lua_State *lua)
{
	struct script_idle *out = lua_touserdata(lua, 1);

	out->co = lua_newthread(lua);
	out->ref = luaL_ref(lua, LUA_REGISTRYINDEX);
	return 0;
}

/* On the loop's stack. NULL when memory is short. */
lua_State *
script__thread_take(struct script_state *state, int *ref_out)
{
	struct script_idle made = { 0 };

	if (state->idle_count > 0) {
		made = state->idle[--state->idle_count];
		*ref_out = made.ref;
		return made.co;
	}
	lua_pushcfunction(state->lua, make_thread);
	lua_pushlightuserdata(state->lua, &made);
	if (lua_pcall(state->lua, 1, 0, 0) != LUA_OK) {
		lua_pop(state->lua, 1);
		return NULL;
	}
	*ref_out = made.ref;
	return made.co;
}

/* Only a coroutine that ran to its end is kept: the hooks of a killed or
 * failed one are off for ever. luaL_unref allocates nothing. */
void
script__thread_give(
    struct script_state *state, lua_State *co, int ref, bool clean)
{
	if (co == NULL)
		return;
	if (clean && state->idle_count < STATE_IDLE_MAX) {
		lua_settop(co, 0);
		lua_sethook(co, NULL, 0, 0);
		state->idle[state->idle_count++] =
		    (struct script_idle){ co, ref };
		return;
	}
	luaL_unref(state->lua, LUA_REGISTRYINDEX, ref);
}
