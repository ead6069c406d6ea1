/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xin.telemetry, and under the runbook's name: require
 * "chatbot.core.telemetry". The process has set tracing up before any script
 * loads; init_tracing is its entry point for scripts, and asks how it is.
 */
#include "telemetry/telemetry.h"

#include "binding/internal.h"

static int
telemetry_init_tracing_(lua_State *lua)
{
	lua_createtable(lua, 0, 2);
	lua_pushboolean(lua, telemetry_is_tracing());
	lua_setfield(lua, -2, "active");
	lua_pushstring(lua, telemetry_endpoint());
	lua_setfield(lua, -2, "endpoint");
	return 1;
}

static const struct binding_function functions[] = {
	{ "init_tracing", telemetry_init_tracing_, ANYWHERE, "",
	    "{ active: boolean, endpoint: string }",
	    "Tracing as the OTEL_* settings say; every call after the first "
	    "changes nothing. Also as require(\"chatbot.core.telemetry\")." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__telemetry = { "telemetry",
	"Do traces leave the process?", functions, false };
