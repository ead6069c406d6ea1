/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SCRIPT_HOST_CALL_H
#define XIN_SCRIPT_HOST_CALL_H

#include <lua.h>
#include "script/script.h"

/*
 * For the binding floor: how a Lua C function waits. It checks its arguments
 * (may raise), copies what it needs into memory from script_request_new, and
 * ends with `return script_wait(lua, request)`. The runtime yields, calls
 * request->run on the fiber (which WAITS, and fills the request), then
 * request->push back inside the coroutine to leave results on the stack
 * (count returned), then request->done. The request travels in C.
 * Where the coroutine cannot yield (sort, gsub, __tostring, metamethods
 * called from C) script_wait raises a sentence that says so.
 */
struct script_request {
	enum err_code (*run)(
	    struct script_request *request, struct script_session *session);
	int (*push)(struct script_request *request, lua_State *lua);
	void (*done)(struct script_request *request); /* frees what it owns */
	enum err_code rc;                             /* what run returned */
};
/* Zeroed memory of `size` bytes that starts with a script_request; counted
 * against the session's host calls (raises when they are used up). */
void *script_request_new(lua_State *lua, size_t size);
int script_wait(lua_State *lua, struct script_request *request);
/* push a failure: nil, {code=, reason=}; returns 2. */
int script_push_error(lua_State *lua, enum err_code rc);

/* The session of the running call; NULL at load and in `xin check`. */
struct script_session *script_running(lua_State *lua);
/* The kind of hook that runs now, for capability checks; SCRIPT_KINDS = load.
 */
enum script_kind script_running_kind(lua_State *lua);
/* Count one log line of the running call; ends it when over 100. False when no
 * call is running. */
bool script_log_allowed(lua_State *lua);
/* Whether `text` stands in the source of the Lua function that called, or of
 * the running hook: then it is the script's, and no user's. */
bool script_in_source(lua_State *lua, const char *text, size_t len);
/* Raise "xin.search.find may not be called in a guardrail; ..." unless the
 * running kind is in the mask of (1 << kind). */
void script_need_kind(lua_State *lua, const char *what, unsigned mask);

/* JSON between jansson and Lua. Null is a light userdata, cjson.null. Raises
 * on cycles, depth over 64, keys that are no strings, NaN, invalid UTF-8. */
void script_push_json(lua_State *lua, const json_t *value);
json_t *script_to_json(lua_State *lua, int index); /* new reference */

#endif
