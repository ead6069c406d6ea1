/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SCRIPT_INTERNAL_H
#define XIN_SCRIPT_INTERNAL_H

#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/ident.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "script/generation.h"
#include "script/host_call.h"
#include "script/script.h"

/*
 * Shared inside script/: states, runs, limits.
 *
 * A run is one script_call. It lives on the calling fiber; while its coroutine
 * is on the processor, state->run points at it. Everything that touches Lua
 * happens inside its coroutine or in a protected call on the loop's stack.
 */

#define STATES_PER_LOOP 256
#define STATE_IDLE_MAX  8     /* finished coroutines kept for reuse */
#define RUN_COROUTINES  10000 /* made by one session */
#define RUN_HOLD_MS     250   /* where giving way is impossible */
/* A module's top level may compile pattern sets: 0.4 s each where none is kept
 * on disk; sanitizers make that some eight times more. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LOAD_CPU_US ((uint64_t)15000000)
#else
#define LOAD_CPU_US ((uint64_t)5000000)
#endif
#define RUN_LOG_LINES 100 /* of one call */
#define SCRIPT_STRING_MAX                                                      \
	((size_t)16 << 20)                  /* results of rep, concat, gsub    \
					     */
#define SCRIPT_JSON_MAX   ((size_t)4 << 20) /* one value handed to the host */
#define SCRIPT_DECODE_MAX ((size_t)1 << 20)
#define SCRIPT_DEPTH_MAX  64

/* What the watchdog (or a ceiling) wants of the running coroutine. From
 * WANT_CPU on it is the end of the run. */
enum script_want {
	WANT_NOTHING,
	WANT_GIVE_WAY,
	WANT_CPU,
	WANT_WALL,
	WANT_HOLD,
	WANT_MEMORY,
	WANT_HOST_CALLS,
	WANT_RESULT,
	WANT_COROUTINES,
	WANT_LOG_LINES,
	WANT_COUNT
};

/* Why a coroutine yielded to the level below, when it was not the script. */
enum script_pass { PASS_NOTHING, PASS_GIVE_WAY, PASS_WAIT, PASS_KILL };

struct script_idle {
	lua_State *co;
	int ref;
};

struct script_state {
	struct script_state *next; /* most recently used first */
	lua_State *lua;
	struct script_generation *gen; /* pinned by sessions, not by idling */
	char brand[BRAND_ID_SIZE];
	unsigned refs;
	bool retired; /* takes no new sessions, closed with the last one */
	struct script_run *run;
	size_t used;
	size_t shown; /* of it in xin_script_heap_bytes */
	size_t ceiling;
	size_t limit;  /* of `used`, while a run goes on; else the ceiling */
	size_t denied; /* the last refused growth: a second refusal is final */
	struct script_idle idle[STATE_IDLE_MAX];
	unsigned idle_count;
	uint64_t serials;
	/* Runs that outlasted a slice take turns: one of a brand is runnable at
	 * a time, so that many cannot crowd out the loop's other work. */
	bool heavy_taken;
	struct fiber_cond heavy;
	unsigned loading; /* depth of module top levels */
	size_t files;
	json_t **fields; /* by file: declared fields, once asked for */
	bool *loaded;    /* by file: done, so that a call need not load it */
};

struct script_session {
	struct script_state *state;
	struct script_generation *gen;
	struct script_budget budget;
	char brand[BRAND_ID_SIZE];
	uint64_t wall_deadline_ms;
	uint64_t cpu_ns;
	unsigned host_calls;
	unsigned coroutines;
	size_t grown; /* net heap growth, for the soft ceiling */
	bool checking;
	void *user;
	char host_said[ERR_MESSAGE_MAX]; /* the last failure given to it */
};

/* A host call's memory, ahead of the request that the binding sees. */
struct script_held {
	struct script_held *next;
	max_align_t request[];
};

struct script_run {
	struct script_session *session;
	struct script_state *state;
	enum script_kind kind;
	const char *file; /* "guardrails/x.lua" */
	const char *hook;
	json_t *args;
	json_t *result;
	json_t *reason; /* second result, when the first is nil */
	int (*entry)(lua_State *lua);
	lua_State *top;
	int top_ref;
	/* shared with the signal handler on this thread */
	lua_State *volatile current;
	volatile sig_atomic_t want;
	uint64_t resumed_ns;
	uint64_t tick_ns;     /* at the first tick of this resume, or 0 */
	uint64_t tick_cpu_us; /* thread CPU then */
	uint64_t slice_us;
	enum script_want killed;
	enum script_pass pass;
	unsigned blocked; /* levels that cannot yield below the running one */
	struct script_held *held;
	struct script_request *request; /* being waited for */
	size_t used_before;
	bool heavy; /* holds the state's turn */
	unsigned log_lines;
	bool missing; /* no such module or hook */
	char where[96];
	char error[1024];
	int status; /* of the last resume */
	bool failed;
	enum err_code failure; /* with failed; OK = the script's own fault */
};

static inline struct script_state *
script__state(lua_State *lua)
{
	uintptr_t word = *(uintptr_t *)lua_getextraspace(lua);

	return (struct script_state *)(word & ~(uintptr_t)1);
}

/* Bit 0 of the extra space: this coroutine is suspended by the host (it waits,
 * gave way or was killed), so no script may resume it. */
static inline bool
script__is_held(lua_State *lua)
{
	return (*(uintptr_t *)lua_getextraspace(lua) & 1) != 0;
}

static inline void
script__set_held(lua_State *lua, bool held)
{
	uintptr_t *word = lua_getextraspace(lua);

	*word = (*word & ~(uintptr_t)1) | (held ? 1 : 0);
}

static inline struct script_run *
script__run(lua_State *lua)
{
	return script__state(lua)->run;
}

/* limit.c */
void script__arm(struct script_run *run);
void script__charge_start(struct script_run *run);
void script__charge_end(struct script_run *run);
void script__on_tick(void *arg);
/* Called by the allocator over the limit: false = refuse. */
bool script__may_grow(struct script_state *state, size_t by);
void script__memory_start(struct script_run *run);
void script__memory_end(struct script_run *run);
/* The end of the running call, from a C function: never comes back (yields for
 * ever, or raises where it cannot). Returns int for `return script__kill()`. */
int script__kill(lua_State *lua, enum script_want why);
void script__want(struct script_run *run, enum script_want why);
const char *script__limit_text(
    const struct script_run *run, char *buf, size_t size);
/* Sets run->where to the innermost script line. */
void script__note_where(struct script_run *run, lua_State *lua);

/* For C functions that keep their state in Lua: when true, end with
 * `return script__give_way(...)`; `again` goes on later. */
bool script__may_give_way(lua_State *lua);
int script__give_way(lua_State *lua, lua_KContext context, lua_KFunction again);

/* Looks whether the run is to end, and then ends it. Out of line and cold, so
 * that counting costs an addition and a comparison. */
void script__tick_now(lua_State *lua, uint64_t *steps)
    __attribute__((cold, noinline));

/* In C loops over what scripts hand in: looks every 1,024 steps. */
static inline void
script__tick(lua_State *lua, uint64_t *steps)
{
#ifndef XIN_NO_SCRIPT_LIMITS
	if (__builtin_expect(++*steps >= 1024, 0))
		script__tick_now(lua, steps);
#else
	(void)lua;
	(void)steps;
#endif
}

/* state.c: on the loop that owns them, on the loop's stack or a fiber. */
enum err_code script__state_get(struct script_generation *gen,
    const char *brand, struct script_state **state_out);
void script__state_put(struct script_state *state);
/* Close this loop's idle states of a generation; NULL = of all. */
void script__states_drop(const struct script_generation *gen);
lua_State *script__thread_take(struct script_state *state, int *ref_out);
void script__thread_give(
    struct script_state *state, lua_State *co, int ref, bool clean);

/* env.c: builds the environment in a fresh state; protected. */
int script__env_open(lua_State *lua);
/* Pushes the module ("brands/alpha"), loading it first. Raises; pushes nil
 * when there is no such file. */
void script__module(lua_State *lua, const char *file);
/* A userdata that stands for a table on top of the stack, which it replaces:
 * readable, never writable. `what` is its name in messages. */
void script__freeze(lua_State *lua, const char *what);
/* tostring without addresses; pushes a string. */
const char *script__tostring(lua_State *lua, int index, size_t *len_out);

/* Whether scripts may read this global. */
bool script__is_global(const char *name);

/* Libraries: each leaves one table. */
int script__open_string(lua_State *lua);
void script__open_patterns(lua_State *lua); /* adds to the table on top */
int script__open_table(lua_State *lua);
int script__open_coroutine(lua_State *lua);
int script__open_os(lua_State *lua);
int script__open_json(lua_State *lua);
/* A stock C function behind a cap on its first string argument. */
void script__push_capped(lua_State *lua, lua_CFunction fn);

/* value.c: NULL and a sentence when it cannot be turned into JSON. */
struct script_measure {
	size_t left;
	unsigned steps;
	bool skip_functions;
	bool over;
	char error[160];
};
json_t *script__json(lua_State *lua, int index, struct script_measure *measure);
extern const char script__array_key; /* registry: metatable of arrays */

/* run.c */
/* Run `entry` in a coroutine under the session's limits. WAITS. */
enum err_code script__execute(
    struct script_session *session, struct script_run *run);
/* `words` of a script into run->error, behind its first `place` bytes; what
 * does not stand in its source is quoted (base/mask.h). */
void script__keep_words(
    struct script_run *run, size_t place, const char *words);

/* call.c */
extern script_open_fn script__open_bindings;
/* The entry of hooks: the only one whose errors may hold a user's words. */
int script__call_entry(lua_State *lua);
enum err_code script__session_open_bare(const char *brand,
    struct script_generation *gen, const struct script_budget *budget,
    bool checking, struct script_session **session_out);
enum err_code script__load(struct script_session *session, const char *file);
bool script__file_name(
    enum script_kind kind, const char *name, char *out, size_t size);

#endif
