/* SPDX-License-Identifier: Apache-2.0 */
/* xin.json: the strict JSON of the house for scripts. Integers stay integers,
 * null is cjson.null, a failure to decode is nil and an error. */
#include "base/json.h"

#include "binding/internal.h"

#define JSON_MAX ((size_t)4 << 20)

static int
json_encode_(lua_State *lua)
{
	json_t **box;
	struct buf *out;

	luaL_checkany(lua, 1);
	box = binding__json_box(lua);
	*box = script_to_json(lua, 1);
	out = binding__buf(lua);
	json_write(*box, out);
	binding__push_buf(lua, out);
	return 1;
}

static int
json_decode_(lua_State *lua)
{
	size_t len;
	const char *text;
	json_t **box;
	enum err_code rc;

	luaL_checktype(lua, 1, LUA_TSTRING);
	text = lua_tolstring(lua, 1, &len);
	if (len > JSON_MAX)
		return script_push_error(
		    lua, err_set(ERR_TOO_LARGE, "JSON text of over %zu bytes",
			     JSON_MAX));
	box = binding__json_box(lua);
	rc = json_parse(text, len, box);
	if (rc != OK) {
		*box = NULL;
		return script_push_error(lua, rc);
	}
	script_push_json(lua, *box);
	return 1;
}

static const struct binding_function functions[] = {
	{ "encode", json_encode_, ANYWHERE, "value any", "string",
	    "Compact JSON. Raises on functions, cycles, mixed tables, NaN." },
	{ "decode", json_decode_, ANYWHERE, "text string", "any, xin.Error?",
	    "Strict JSON of at most 4 MiB; null is cjson.null." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__json = { "json", "JSON.", functions,
	false };
