/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BINDING_BINDING_H
#define XIN_BINDING_BINDING_H

#include "base/buf.h"

/*
 * What scripts may call: one file for each xin.* module, one table of all
 * functions. The table registers them, decides where each may be called, and
 * generates the editor annotations (lua/meta/xin.lua).
 */
struct lua_State;

/* For script_setup: sets the global `xin` of a fresh state. Protected call. */
void binding_open(struct lua_State *lua);
/* The text of lua/meta/xin.lua (LuaCATS). */
void binding_annotations(struct buf *out);

#endif
