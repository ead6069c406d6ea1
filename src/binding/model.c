/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xin.model: a brand asks the model by itself. What comes back is text like any
 * other: it reaches people only through the output guards. URL and key are the
 * host's; a script names at most the model.
 */
#include "model/model.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "binding/internal.h"

#define MODEL_NAME_MAX 128
#define TOKENS_MAX     100000
#define MESSAGES_MAX   64
#define MESSAGES_BYTES ((size_t)256 << 10)

struct chat_request {
	struct script_request base;
	struct binding_turn *turn;
	json_t *options; /* the table, checked */
	struct model_completion said;
};

static enum err_code
chat_run(struct script_request *base, struct script_session *session)
{
	struct chat_request *request = (struct chat_request *)base;
	const json_t *temperature =
	    json_object_get(request->options, "temperature");
	const struct model_chat chat = {
		.model = json_str(request->options, "model"),
		.messages = json_object_get(request->options, "messages"),
		.max_tokens = json_int(request->options, "max_tokens", 0),
		.temperature = json_is_number(temperature)
				   ? json_number_value(temperature)
				   : -1,
		.stream = true, /* seen to stall, not only to be late */
	};

	struct binding_turn *turn = request->turn;

	(void)session;
	TRY(model_chat(turn->model, &chat, 0, &request->said));
	turn->spent.prompt_tokens += request->said.prompt_tokens;
	turn->spent.completion_tokens += request->said.completion_tokens;
	turn->spent.waited_us += request->said.waited_us;
	return OK;
}

static int
chat_push(struct script_request *base, lua_State *lua)
{
	struct chat_request *request = (struct chat_request *)base;
	const struct model_completion *said = &request->said;

	if (base->rc != OK)
		return script_push_error(lua, base->rc);
	lua_createtable(lua, 0, 5);
	lua_pushlstring(lua, buf_str(&said->text), said->text.len);
	lua_setfield(lua, -2, "text");
	lua_pushstring(lua, said->finish_reason);
	lua_setfield(lua, -2, "finish_reason");
	lua_pushstring(lua, said->model);
	lua_setfield(lua, -2, "model");
	lua_pushinteger(lua, said->prompt_tokens);
	lua_setfield(lua, -2, "prompt_tokens");
	lua_pushinteger(lua, said->completion_tokens);
	lua_setfield(lua, -2, "completion_tokens");
	return 1;
}

static void
chat_done(struct script_request *base)
{
	struct chat_request *request = (struct chat_request *)base;

	json_decref(request->options);
	model_completion_done(&request->said);
}

static enum err_code
check_messages(const json_t *messages)
{
	static const char *const known[] = { "role", "content", NULL };
	const json_t *message;
	size_t i, bytes = 0;

	if (json_array_size(messages) == 0 ||
	    json_array_size(messages) > MESSAGES_MAX)
		return err_set(ERR_INVALID,
		    "messages must be an array of 1 to %d messages",
		    MESSAGES_MAX);
	json_array_foreach (messages, i, message) {
		TRY(json_only_keys(message, known));
		bytes +=
		    json_string_length(json_object_get(message, "content"));
	}
	return bytes > MESSAGES_BYTES
		   ? err_set(ERR_INVALID, "messages are over %zu bytes",
			 MESSAGES_BYTES)
		   : OK;
}

/* Wrong types and misspelt names are mistakes of the script: they raise. */
static enum err_code
check_options(const json_t *options)
{
	static const char *const known[] = { "messages", "model", "max_tokens",
		"temperature", NULL };
	const json_t *temperature = json_object_get(options, "temperature");
	const char *model;
	int64_t max_tokens;

	TRY(json_only_keys(options, known));
	TRY(json_field_str(options, "model", false, MODEL_NAME_MAX, &model));
	TRY(json_field_int(
	    options, "max_tokens", 1, TOKENS_MAX, 1, &max_tokens));
	if (temperature != NULL && (!json_is_number(temperature) ||
				       json_number_value(temperature) < 0 ||
				       json_number_value(temperature) > 2))
		return err_set(
		    ERR_INVALID, "temperature must be a number from 0 to 2");
	return check_messages(json_object_get(options, "messages"));
}

static int
model_chat_(lua_State *lua)
{
	struct binding_turn *turn = binding__turn(lua);
	struct chat_request *request;
	json_t **options;

	luaL_checktype(lua, 1, LUA_TTABLE);
	options = binding__json_box(lua);
	*options = script_to_json(lua, 1);
	if (check_options(*options) != OK)
		return luaL_argerror(lua, 1, err_message());
	if (turn == NULL || turn->model == NULL)
		return script_push_error(
		    lua, err_set(ERR_UNAVAILABLE, "there is no model here"));
	request = script_request_new(lua, sizeof(*request));
	request->base.run = chat_run;
	request->base.push = chat_push;
	request->base.done = chat_done;
	request->turn = turn;
	request->options = json_incref(*options);
	return script_wait(lua, &request->base);
}

static const struct binding_function functions[] = {
	{ "chat", model_chat_, IN_BRAND,
	    "request { messages: { role: \"system\"|\"user\"|\"assistant\", "
	    "content: string }[], model: string?, max_tokens: integer?, "
	    "temperature: number? }",
	    "{ text: string, finish_reason: string, model: string, "
	    "prompt_tokens: integer, completion_tokens: integer }?, xin.Error?",
	    "Ask the model of XIN_MODEL_URL as it is, without passages; "
	    "\"unavailable\" without one. WAITS." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__model = { "model", "The language model.",
	functions, false };
