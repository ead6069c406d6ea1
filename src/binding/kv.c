/* SPDX-License-Identifier: Apache-2.0 */
/* xin.kv: small shared state of a brand, with expiry. The brand comes from
 * what the call works on; a script cannot name another. */
#include "kv/kv.h"

#include "base/mem.h"
#include "base/str.h"
#include "binding/internal.h"

#define KEY_MAX   256
#define VALUE_MAX ((size_t)64 << 10)
#define TTL_MAX_S (30 * 86400)

static struct kv *
kv_here(lua_State *lua, const char **brand_out)
{
	struct script_session *session = script_running(lua);
	struct binding_turn *turn;
	struct binding_job *job;

	if (session == NULL || script_session_user(session) == NULL)
		return NULL;
	if (script_running_kind(lua) == SCRIPT_STEP) {
		job = script_session_user(session);
		*brand_out = job->brand;
		return job->kv;
	}
	turn = script_session_user(session);
	*brand_out = turn->brand;
	return turn->kv;
}

static int
not_here(lua_State *lua)
{
	return script_push_error(
	    lua, err_set(ERR_UNAVAILABLE, "there is no shared state here"));
}

static const char *
plain_arg(lua_State *lua, int index, size_t max, const char *what)
{
	size_t len;
	const char *text = luaL_checklstring(lua, index, &len);

	if (len > max || strlen(text) != len)
		luaL_argerror(lua, index,
		    lua_pushfstring(lua,
			"%s of at most %d bytes without NUL is expected", what,
			(int)max));
	return text;
}

static int
kv_get_(lua_State *lua)
{
	const char *key = plain_arg(lua, 1, KEY_MAX, "a key");
	const char *brand;
	struct kv *kv = kv_here(lua, &brand);
	struct buf *box;
	char *value;
	enum err_code rc;

	if (kv == NULL)
		return not_here(lua);
	box = binding__buf(lua);
	rc = kv_get(kv, brand, key, &value);
	if (rc == ERR_NOT_FOUND) {
		lua_pushnil(lua);
		return 1;
	}
	if (rc != OK)
		return script_push_error(lua, rc);
	buf_adds(box, value);
	mem_free(value);
	binding__push_buf(lua, box);
	return 1;
}

static int
kv_set_(lua_State *lua)
{
	const char *key = plain_arg(lua, 1, KEY_MAX, "a key");
	const char *value = plain_arg(lua, 2, VALUE_MAX, "a string");
	lua_Integer ttl_s = luaL_optinteger(lua, 3, 86400);
	const char *brand;
	struct kv *kv = kv_here(lua, &brand);
	enum err_code rc;

	luaL_argcheck(lua, ttl_s > 0 && ttl_s <= TTL_MAX_S, 3,
	    "seconds from 1 to 2592000 are expected");
	if (kv == NULL)
		return not_here(lua);
	rc = kv_set(kv, brand, key, value, (uint64_t)ttl_s * 1000);
	if (rc != OK)
		return script_push_error(lua, rc);
	lua_pushboolean(lua, 1);
	return 1;
}

static int
kv_delete_(lua_State *lua)
{
	const char *key = plain_arg(lua, 1, KEY_MAX, "a key");
	const char *brand;
	struct kv *kv = kv_here(lua, &brand);
	enum err_code rc;

	if (kv == NULL)
		return not_here(lua);
	rc = kv_delete(kv, brand, key);
	if (rc != OK && rc != ERR_NOT_FOUND)
		return script_push_error(lua, rc);
	lua_pushboolean(lua, rc == OK);
	return 1;
}

static const struct binding_function functions[] = {
	{ "get", kv_get_, IN_BRAND | IN_STEP, "key string",
	    "string?, xin.Error?", "The value, nil when there is none." },
	{ "set", kv_set_, IN_BRAND | IN_STEP,
	    "key string\nvalue string\nttl_seconds? integer",
	    "true?, xin.Error?",
	    "Keep a value of at most 64 KiB, for a day unless said." },
	{ "delete", kv_delete_, IN_BRAND | IN_STEP, "key string",
	    "boolean?, xin.Error?", "Whether there was one." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__kv = { "kv",
	"Small state of the brand, shared by all its calls.", functions,
	false };
