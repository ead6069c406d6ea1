/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xin.text: the native text work for scripts. Short texts are done on the
 * spot; lists of blocks go to a pool thread when they are big, because a loop
 * must not be held for a book.
 */
#include "text/text.h"

#include "base/mem.h"
#include "base/str.h"
#include "binding/internal.h"
#include "fiber/fiber.h"

#define ON_THE_SPOT ((size_t)128 << 10) /* bytes of text */
#define LIST_MAX    10000

static int
text_fold_(lua_State *lua)
{
	size_t len;
	const char *text = binding__text_arg(lua, 1, BINDING_TEXT_MAX, &len);
	struct buf *out = binding__buf(lua);

	text_fold(text, len, out);
	binding__push_buf(lua, out);
	return 1;
}

/* Collected in C first: text_tokens cannot unwind a Lua error. */
struct strings {
	struct buf *out; /* NUL separated */
	size_t count;
};

static bool
add_token(void *arg, const struct text_token *token)
{
	struct strings *strings = arg;

	buf_add(strings->out, token->text, token->len);
	buf_addc(strings->out, '\0');
	return ++strings->count < LIST_MAX;
}

static int
text_tokens_(lua_State *lua)
{
	size_t len;
	const char *text = binding__text_arg(lua, 1, BINDING_TEXT_MAX, &len);
	struct strings strings = { binding__buf(lua), 0 };
	const char *at;

	text_tokens(text, len, add_token, &strings);
	lua_createtable(lua, (int)strings.count, 0);
	at = buf_str(strings.out);
	for (size_t i = 1; i <= strings.count; i++) {
		lua_pushstring(lua, at);
		lua_rawseti(lua, -2, (lua_Integer)i);
		at += strlen(at) + 1;
	}
	return 1;
}

static bool
add_range(void *arg, size_t start, size_t end)
{
	struct strings *strings = arg;
	size_t range[2] = { start, end };

	buf_add(strings->out, range, sizeof(range));
	return ++strings->count < LIST_MAX;
}

static int
text_sentences_(lua_State *lua)
{
	size_t len;
	const char *text = binding__text_arg(lua, 1, BINDING_TEXT_MAX, &len);
	struct strings strings = { binding__buf(lua), 0 };

	text_sentences(text, len, add_range, &strings);
	lua_createtable(lua, (int)strings.count, 0);
	for (size_t i = 0; i < strings.count; i++) {
		size_t range[2];

		memcpy(range, strings.out->data + i * sizeof(range),
		    sizeof(range));
		lua_pushlstring(lua, text + range[0], range[1] - range[0]);
		lua_rawseti(lua, -2, (lua_Integer)i + 1);
	}
	return 1;
}

static int
text_similarity_(lua_State *lua)
{
	size_t a_len, b_len;
	const char *a = binding__text_arg(lua, 1, ON_THE_SPOT, &a_len);
	const char *b = binding__text_arg(lua, 2, ON_THE_SPOT, &b_len);

	lua_pushnumber(lua, text_similarity(a, a_len, b, b_len));
	return 1;
}

static int
text_language_(lua_State *lua)
{
	size_t len;
	const char *text = binding__text_arg(lua, 1, BINDING_TEXT_MAX, &len);

	lua_pushstring(lua, text_language(text, len));
	return 1;
}

static int
text_is_rtl_(lua_State *lua)
{
	size_t len;
	const char *text = binding__text_arg(lua, 1, BINDING_TEXT_MAX, &len);

	lua_pushboolean(lua, text_is_rtl(text, len));
	return 1;
}

static int
text_length_(lua_State *lua)
{
	size_t len;
	const char *text = binding__text_arg(lua, 1, BINDING_TEXT_MAX, &len);

	lua_pushinteger(lua, (lua_Integer)text_length(text, len));
	return 1;
}

/* string.sub's rules, in characters. */
static int
text_sub_(lua_State *lua)
{
	size_t len;
	const char *text = binding__text_arg(lua, 1, BINDING_TEXT_MAX, &len);
	lua_Integer count = (lua_Integer)text_length(text, len);
	lua_Integer from = luaL_checkinteger(lua, 2);
	lua_Integer to = luaL_optinteger(lua, 3, -1);
	size_t start, end;

	if (from < 0)
		from = from < -count ? 1 : count + from + 1;
	else if (from == 0)
		from = 1;
	if (to < 0)
		to = to < -count ? 0 : count + to + 1;
	else if (to > count)
		to = count;
	if (from > to) {
		lua_pushliteral(lua, "");
		return 1;
	}
	start = text_offset(text, len, (size_t)from - 1);
	end = text_offset(text, len, (size_t)to);
	lua_pushlstring(lua, text + start, end - start);
	return 1;
}

/* ---- lists ---- */

struct list_request {
	struct script_request base;
	struct binding_blocks *in;
	size_t max_chars; /* 0 = clean */
	struct binding_blocks *blocks;
	struct binding_chunks *chunks;
};

static enum err_code
list_work(void *arg)
{
	struct list_request *request = arg;

	if (request->max_chars == 0)
		request->blocks = binding__clean_blocks(request->in);
	else
		request->chunks =
		    binding__chunk(request->in, request->max_chars);
	return OK;
}

static enum err_code
list_run(struct script_request *base, struct script_session *session)
{
	(void)session;
	return pool_run(list_work, base);
}

static int
list_push(struct script_request *base, lua_State *lua)
{
	struct list_request *request = (struct list_request *)base;

	if (base->rc != OK)
		return script_push_error(lua, base->rc);
	if (request->blocks != NULL)
		binding__push_blocks(lua, request->blocks);
	else
		binding__push_chunks(lua, request->chunks);
	return 1;
}

static void
list_done(struct script_request *base)
{
	struct list_request *request = (struct list_request *)base;

	binding__blocks_unref(request->in);
	binding__blocks_unref(request->blocks);
	binding__chunks_unref(request->chunks);
}

static int
list_wait(lua_State *lua, struct binding_blocks *in, size_t max_chars)
{
	struct list_request *request =
	    script_request_new(lua, sizeof(*request));

	request->base.run = list_run;
	request->base.push = list_push;
	request->base.done = list_done;
	request->in = binding__blocks_ref(in);
	request->max_chars = max_chars;
	return script_wait(lua, &request->base);
}

static int
clean_list(lua_State *lua)
{
	struct binding_blocks *in = binding__check_blocks(lua, 1);
	struct list_request request = { .in = in };

	if (in->bytes > ON_THE_SPOT)
		return list_wait(lua, in, 0);
	list_work(&request);
	binding__push_blocks(lua, request.blocks);
	binding__blocks_unref(request.blocks);
	return 1;
}

static int
text_clean_(lua_State *lua)
{
	const char *text;
	struct buf *out;
	size_t len;

	if (lua_type(lua, 1) != LUA_TSTRING)
		return clean_list(lua);
	text = binding__text_arg(lua, 1, BINDING_TEXT_MAX, &len);
	out = binding__buf(lua);
	binding__clean_text(text, len, false, out);
	binding__push_buf(lua, out);
	return 1;
}

static size_t
max_chars_option(lua_State *lua, int index)
{
	lua_Integer value = 1200;

	if (lua_isnoneornil(lua, index))
		return (size_t)value;
	luaL_checktype(lua, index, LUA_TTABLE);
	lua_pushliteral(lua, "max_chars");
	lua_rawget(lua, index);
	if (!lua_isnil(lua, -1)) {
		luaL_argcheck(lua, lua_isinteger(lua, -1), index,
		    "max_chars must be an integer");
		value = lua_tointeger(lua, -1);
	}
	luaL_argcheck(lua, value >= 50 && value <= 100000, index,
	    "max_chars must be from 50 to 100000");
	lua_pop(lua, 1);
	return (size_t)value;
}

static int
text_chunks_(lua_State *lua)
{
	struct binding_blocks *in = binding__check_blocks(lua, 1);
	size_t max_chars = max_chars_option(lua, 2);
	struct list_request request = { .in = in, .max_chars = max_chars };

	if (in->bytes > ON_THE_SPOT)
		return list_wait(lua, in, max_chars);
	list_work(&request);
	binding__push_chunks(lua, request.chunks);
	binding__chunks_unref(request.chunks);
	return 1;
}

static const struct binding_function functions[] = {
	{ "fold", text_fold_, ANYWHERE, "text string", "string",
	    "The form that the index compares: case, Arabic and Persian letter "
	    "variants, digits and marks unified." },
	{ "tokens", text_tokens_, ANYWHERE, "text string", "string[]",
	    "Folded and stemmed words, at most 10,000." },
	{ "sentences", text_sentences_, ANYWHERE, "text string", "string[]",
	    "The sentences, at most 10,000." },
	{ "similarity", text_similarity_, ANYWHERE, "a string\nb string",
	    "number", "Dice similarity of the two sets of tokens, 0 to 1." },
	{ "language", text_language_, ANYWHERE, "text string", "string",
	    "\"fa\", \"en\", \"ar\" ..., \"und\" when it cannot be told." },
	{ "is_rtl", text_is_rtl_, ANYWHERE, "text string", "boolean",
	    "Whether the first strong letter runs from right to left." },
	{ "length", text_length_, ANYWHERE, "text string", "integer",
	    "The number of characters (code points)." },
	{ "sub", text_sub_, ANYWHERE, "text string\nfrom integer\nto? integer",
	    "string", "string.sub in characters instead of bytes." },
	{ "clean", text_clean_, ANYWHERE, "text string|xin.Blocks|xin.Block[]",
	    "any, xin.Error?",
	    "Without control characters, odd spaces, words cut at line ends; "
	    "of a list also without page numbers and lines that repeat on "
	    "every page. WAITS for big lists." },
	{ "chunks", text_chunks_, ANYWHERE,
	    "blocks xin.Blocks|xin.Block[]\noptions? { max_chars: integer? }",
	    "xin.Chunks?, xin.Error?",
	    "Cut along headings, blocks, sentences. `start` and `end` count "
	    "characters in the blocks' texts joined by blank lines. WAITS for "
	    "big lists." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__text = { "text",
	"Native text work. A text argument is at most 1 MiB.", functions,
	false };
