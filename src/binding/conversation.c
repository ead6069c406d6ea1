/* SPDX-License-Identifier: Apache-2.0 */
/* xin.conversation: what a brand wants to remember of one conversation (slots:
 * an order number, a chosen language). Messages of a conversation run one
 * after the other, so reading and writing back is no race. */
#include "base/json.h"

#include "base/mem.h"
#include "base/str.h"
#include "binding/internal.h"
#include "store/store.h"

#define SLOTS_MAX ((size_t)16 << 10)

struct slot_request {
	struct script_request base;
	struct binding_turn *turn;
	json_t *value; /* NULL = get */
	json_t *slots;
	char key[65];
};

static enum err_code
load_slots(struct slot_request *request)
{
	struct conversation conversation = { 0 };
	enum err_code rc;

	TRY(store_conversation_get(request->turn->store, request->turn->brand,
	    request->turn->conversation_id, &conversation));
	if (conversation.slots == NULL || conversation.slots[0] == '\0') {
		request->slots = json_object();
		rc = OK;
	} else {
		rc = json_parse(conversation.slots, strlen(conversation.slots),
		    &request->slots);
	}
	conversation_done(&conversation);
	return rc;
}

static enum err_code
save_slots(struct slot_request *request)
{
	struct buf text;
	enum err_code rc;

	if (json_is_null(request->value))
		json_object_del(request->slots, request->key);
	else
		json_object_set(request->slots, request->key, request->value);
	buf_init(&text, SLOTS_MAX);
	json_write(request->slots, &text);
	if (text.full)
		rc = err_set(ERR_TOO_LARGE,
		    "the conversation's slots are over %zu bytes", SLOTS_MAX);
	else
		rc = store_conversation_slots(request->turn->store,
		    request->turn->brand, request->turn->conversation_id,
		    buf_str(&text));
	buf_done(&text);
	return rc;
}

static enum err_code
slot_run(struct script_request *base, struct script_session *session)
{
	struct slot_request *request = (struct slot_request *)base;

	(void)session;
	TRY(load_slots(request));
	return request->value != NULL ? save_slots(request) : OK;
}

static int
slot_push(struct script_request *base, lua_State *lua)
{
	struct slot_request *request = (struct slot_request *)base;
	json_t *value;

	if (base->rc != OK)
		return script_push_error(lua, base->rc);
	if (request->value != NULL) {
		lua_pushboolean(lua, 1);
		return 1;
	}
	value = request->key[0] != '\0'
		    ? json_object_get(request->slots, request->key)
		    : request->slots;
	if (value == NULL)
		lua_pushnil(lua);
	else
		script_push_json(lua, value);
	return 1;
}

static void
slot_done(struct script_request *base)
{
	struct slot_request *request = (struct slot_request *)base;

	json_decref(request->value);
	json_decref(request->slots);
}

static int
slot_call(lua_State *lua, const char *key, json_t *const *value)
{
	struct binding_turn *turn = binding__turn(lua);
	struct slot_request *request;

	if (turn == NULL || turn->store == NULL ||
	    turn->conversation_id == NULL)
		return script_push_error(lua,
		    err_set(ERR_UNAVAILABLE, "there is no conversation here"));
	request = script_request_new(lua, sizeof(*request));
	request->base.run = slot_run;
	request->base.push = slot_push;
	request->base.done = slot_done;
	request->turn = turn;
	if (value != NULL)
		request->value = json_incref(*value);
	str_copy(request->key, sizeof(request->key), key);
	return script_wait(lua, &request->base);
}

static const char *
key_arg(lua_State *lua, const char *fallback)
{
	const char *key = fallback != NULL ? luaL_optstring(lua, 1, fallback)
					   : luaL_checkstring(lua, 1);

	luaL_argcheck(lua,
	    key == fallback || (key[0] != '\0' && strlen(key) <= 64), 1,
	    "a key has 1 to 64 bytes");
	return key;
}

static int
conversation_get_(lua_State *lua)
{
	return slot_call(lua, key_arg(lua, ""), NULL);
}

static int
conversation_set_(lua_State *lua)
{
	const char *key = key_arg(lua, NULL);
	json_t **value;

	luaL_checkany(lua, 2);
	value = binding__json_box(lua);
	*value = script_to_json(lua, 2);
	return slot_call(lua, key, value);
}

static const struct binding_function functions[] = {
	{ "get", conversation_get_, IN_BRAND, "key? string", "any, xin.Error?",
	    "A slot of the conversation, or all of them as a table. WAITS." },
	{ "set", conversation_set_, IN_BRAND, "key string\nvalue any",
	    "true?, xin.Error?",
	    "Set a slot (nil removes it); 16 KiB for all of them. WAITS." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__conversation = { "conversation",
	"Slots of the running turn's conversation.", functions, false };
