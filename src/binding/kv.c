/* SPDX-License-Identifier: Apache-2.0 */
/* xin.kv: small shared state of a brand, with expiry. The brand comes from
 * what the call works on; a script cannot name another. Every call waits and
 * counts as a host call, embedded too: what runs on a laptop runs in a
 * cluster, where the state is in Redis. */
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

enum kv_op { KV_GET, KV_SET, KV_DELETE };

struct kv_request {
	struct script_request base;
	enum kv_op op;
	struct kv *kv;
	const char *brand; /* of the turn or job, which outlives the call */
	uint64_t ttl_ms;
	const char *set; /* behind the key */
	char *got;
	char key[];
};

static enum err_code
request_run(struct script_request *base, struct script_session *session)
{
	struct kv_request *r = (struct kv_request *)base;

	(void)session;
	switch (r->op) {
	case KV_GET:
		return kv_get(r->kv, r->brand, r->key, &r->got);
	case KV_SET:
		return kv_set(r->kv, r->brand, r->key, r->set, r->ttl_ms);
	case KV_DELETE:
		break;
	}
	return kv_delete(r->kv, r->brand, r->key);
}

static int
request_push(struct script_request *base, lua_State *lua)
{
	struct kv_request *r = (struct kv_request *)base;

	if (base->rc == ERR_NOT_FOUND && r->op == KV_GET)
		lua_pushnil(lua);
	else if (base->rc == ERR_NOT_FOUND)
		lua_pushboolean(lua, 0);
	else if (base->rc != OK)
		return script_push_error(lua, base->rc);
	else if (r->op == KV_GET)
		lua_pushstring(lua, r->got);
	else
		lua_pushboolean(lua, 1);
	return 1;
}

static void
request_done(struct script_request *base)
{
	mem_free(((struct kv_request *)base)->got);
}

/* Both arguments are checked, so the stack's strings may be copied. */
static int
ask(lua_State *lua, enum kv_op op, const char *key, const char *value,
    uint64_t ttl_ms)
{
	const char *brand;
	struct kv *kv = kv_here(lua, &brand);
	size_t key_size = strlen(key) + 1, value_size = strlen(value) + 1;
	struct kv_request *r;

	if (kv == NULL)
		return not_here(lua);
	r = script_request_new(lua, sizeof(*r) + key_size + value_size);
	r->base.run = request_run;
	r->base.push = request_push;
	r->base.done = request_done;
	r->op = op;
	r->kv = kv;
	r->brand = brand;
	r->ttl_ms = ttl_ms;
	memcpy(r->key, key, key_size);
	memcpy(r->key + key_size, value, value_size);
	r->set = r->key + key_size;
	return script_wait(lua, &r->base);
}

static int
kv_get_(lua_State *lua)
{
	return ask(lua, KV_GET, plain_arg(lua, 1, KEY_MAX, "a key"), "", 0);
}

static int
kv_set_(lua_State *lua)
{
	const char *key = plain_arg(lua, 1, KEY_MAX, "a key");
	const char *value = plain_arg(lua, 2, VALUE_MAX, "a string");
	lua_Integer ttl_s = luaL_optinteger(lua, 3, 86400);

	luaL_argcheck(lua, ttl_s > 0 && ttl_s <= TTL_MAX_S, 3,
	    "seconds from 1 to 2592000 are expected");
	return ask(lua, KV_SET, key, value, (uint64_t)ttl_s * 1000);
}

static int
kv_delete_(lua_State *lua)
{
	return ask(lua, KV_DELETE, plain_arg(lua, 1, KEY_MAX, "a key"), "", 0);
}

static const struct binding_function functions[] = {
	{ "get", kv_get_, IN_BRAND | IN_STEP, "key string",
	    "string?, xin.Error?",
	    "The value, nil when there is none. WAITS." },
	{ "set", kv_set_, IN_BRAND | IN_STEP,
	    "key string\nvalue string\nttl_seconds? integer",
	    "true?, xin.Error?",
	    "Keep a value of at most 64 KiB, for a day unless said. WAITS." },
	{ "delete", kv_delete_, IN_BRAND | IN_STEP, "key string",
	    "boolean?, xin.Error?", "Forget a value. WAITS." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__kv = { "kv",
	"Small state of the brand, shared by all its calls.", functions,
	false };
