/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BINDING_INTERNAL_H
#define XIN_BINDING_INTERNAL_H

#include <jansson.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "binding/job.h"
#include "binding/turn.h"
#include "script/host_call.h"
#include "script/script.h"

/*
 * Shared inside binding/. Laws for every function here: it owns nothing at the
 * moment it may raise (memory stands in a box or in the request), wrong types
 * raise, failures at run time are nil, {code=, reason=}.
 */

/* ---- the table ---- */
#define IN_BRAND     (1u << SCRIPT_BRAND)
#define IN_GUARDRAIL (1u << SCRIPT_GUARDRAIL)
#define IN_STEP      (1u << SCRIPT_STEP)
#define IN_CHANNEL   (1u << SCRIPT_CHANNEL)
#define IN_HOOKS     ((1u << SCRIPT_KINDS) - 1)
#define AT_LOAD      (1u << SCRIPT_KINDS)
#define ANYWHERE     (IN_HOOKS | AT_LOAD)

struct binding_function {
	const char *name;
	lua_CFunction fn;
	unsigned where;
	/* LuaCATS, one line for each: "text string", "list? xin.Blocks". */
	const char *params;
	const char *returns;
	const char *help; /* one or two sentences */
};
struct binding_module {
	const char *name; /* "text" for xin.text; "MatchSet" for methods */
	const char *help;
	const struct binding_function *functions; /* ends with name NULL */
	bool methods;                             /* of values, not of xin.* */
};
extern const struct binding_module *const binding__modules[];
/* A table of the module's functions, checked where they may be called. */
void binding__push_functions(
    lua_State *lua, const struct binding_module *module);

extern const struct binding_module binding__text, binding__match,
    binding__match_set, binding__json, binding__log, binding__time,
    binding__crypto, binding__kv, binding__search, binding__extract,
    binding__guard, binding__embed, binding__model, binding__document,
    binding__conversation, binding__metric, binding__telemetry;
/* Metatables that the modules need; called once for each state. */
void binding__open_match(lua_State *lua);
void binding__open_lists(lua_State *lua);

/* ---- memory that the collector owns ---- */
/* Pushes a userdata with an empty buffer; freed with it. */
struct buf *binding__buf(lua_State *lua);
/* The same for a JSON value: *value is decref'ed with the userdata. */
json_t **binding__json_box(lua_State *lua);
/* Push the buffer's text as a string and empty the buffer. */
void binding__push_buf(lua_State *lua, struct buf *buf);
/* A string argument of at most `max` bytes that is valid UTF-8; raises. */
const char *binding__text_arg(
    lua_State *lua, int index, size_t max, size_t *len_out);
#define BINDING_TEXT_MAX ((size_t)1 << 20)

/* ---- what the running call works on ---- */
/* NULL when the caller attached none (checks, playground). */
struct binding_turn *binding__turn(lua_State *lua);
/* Raises when there is none: steps run in jobs only. */
struct binding_job *binding__job(lua_State *lua);
/* Keep the failure for binding_job_outcome; returns rc. */
enum err_code binding__job_failed(struct binding_job *job, enum err_code rc);
/* Raise progress and tell the owner. */
enum err_code binding__job_moved(struct binding_job *job);

/* ---- lists that stay native ---- */
struct binding_blocks {
	atomic_uint refs;
	json_t *items; /* [{"type","level","text","page"}] */
	size_t bytes;  /* of text */
};
struct binding_chunk {
	char *text;
	size_t len;
	int64_t start, end; /* characters in the text of all blocks */
	int64_t page;       /* where it begins; 0 = the document has none */
	char *heading;
	/* Of unit length, in the list's `vectors`; NULL = none was made. */
	const float *vector;
};
struct binding_chunks {
	atomic_uint refs;
	struct binding_chunk *items;
	size_t count, cap;
	size_t bytes;
	float *vectors; /* all of them, or NULL: xin.embed.chunks */
	size_t dimensions;
};
struct binding_blocks *binding__blocks_new(json_t *items); /* takes items */
struct binding_blocks *binding__blocks_ref(struct binding_blocks *blocks);
void binding__blocks_unref(struct binding_blocks *blocks);
struct binding_chunks *binding__chunks_new(void);
struct binding_chunks *binding__chunks_ref(struct binding_chunks *chunks);
void binding__chunks_unref(struct binding_chunks *chunks);
/* Copies text and heading. */
void binding__chunks_add(struct binding_chunks *chunks, const char *text,
    size_t len, int64_t start, int64_t end, const char *heading);
/* The page of the chunk added last. */
void binding__chunks_page(struct binding_chunks *chunks, int64_t page);
/* Push a userdata that holds its own reference. */
void binding__push_blocks(lua_State *lua, struct binding_blocks *blocks);
void binding__push_chunks(lua_State *lua, struct binding_chunks *chunks);
/* The argument: such a list, or an array of tables, which is turned into one
 * (replacing the value at `index`). Raises otherwise. Borrowed from there. */
struct binding_blocks *binding__check_blocks(lua_State *lua, int index);
struct binding_chunks *binding__check_chunks(lua_State *lua, int index);

/* ---- pure work, fit for a pool thread ---- */
/* `verbatim` keeps white space inside lines (code, tables). */
void binding__clean_text(
    const char *text, size_t len, bool verbatim, struct buf *out);
struct binding_blocks *binding__clean_blocks(const struct binding_blocks *in);
struct binding_chunks *binding__chunk(
    const struct binding_blocks *blocks, size_t max_chars);

#endif
