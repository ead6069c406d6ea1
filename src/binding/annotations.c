/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lua/meta/xin.lua, for editors (LuaCATS): the functions come from the binding
 * table, so they cannot drift; the shapes of what passes between host and
 * scripts stand here.
 */
#include "binding/binding.h"

#include <string.h>

#include "binding/internal.h"

static const char head[] =
    "---@meta\n"
    "-- Generated from the binding table (src/binding); do not edit.\n"
    "-- xin.* is what scripts may call; the classes are what hooks get and "
    "give.\n\n";

static const char classes[] =
    "---@class xin.Error\n"
    "---@field code string a code of the error table: \"not_found\" ...\n"
    "---@field reason string a sentence\n\n"
    "---@class xin.Turn\n"
    "---@field text string the message\n"
    "---@field language string \"fa\", \"en\" ..., \"und\"\n"
    "---@field channel string\n"
    "---@field brand string\n"
    "---@field user { id: string, name: string? }\n"
    "---@field conversation { id: string, messages: { role: string, text: "
    "string }[] }\n"
    "---@field context table what the caller of the API sent along\n\n"
    "---@class xin.Route\n"
    "---@field route \"answer\"|\"handoff\"|\"reply\"\n"
    "---@field reply string? what to say, for handoff and reply\n"
    "---@field query string? what to search for instead of the message\n"
    "---@field prompt string? the system prompt\n"
    "---@field model string|string[]? one, or several that are asked in order "
    "until one answers\n"
    "---@field max_tokens integer?\n"
    "---@field temperature number?\n"
    "---@field top_k integer?\n"
    "---@field no_answer string?\n"
    "---@field confidence_floor number? 0 to 1\n\n"
    "---@class xin.Answer\n"
    "---@field text string\n"
    "---@field answered boolean\n"
    "---@field citations { title: string, number: integer }[]\n"
    "---@field confidence number\n\n"
    "---@class xin.Brand\n"
    "---@field api 1\n"
    "---@field name string\n"
    "---@field title string\n"
    "---@field languages string[]\n"
    "---@field channels string[]\n"
    "---@field direction? \"ltr\"|\"rtl\"\n"
    "---@field guardrails { name: string, settings: table?, shadow: boolean? "
    "}[] in order of running\n"
    "---@field pipeline string\n"
    "---@field retrieval? { top_k: integer?, confidence_floor: number? }\n"
    "---@field fallback string|table<string, string> said when a script "
    "fails\n"
    "---@field no_answer string|table<string, string>\n"
    "---@field blocked? string|table<string, string>\n"
    "---@field route fun(turn: xin.Turn): xin.Route\n"
    "---@field reply? fun(turn: xin.Turn, answer: xin.Answer): { text: "
    "string }?\n\n"
    "---@class xin.Message\n"
    "---@field text string\n"
    "---@field stage \"input\"|\"output\"|\"document\"\n"
    "---@field brand string\n"
    "---@field language string\n"
    "---@field user_id string\n\n"
    "---@class xin.Verdict\n"
    "---@field action \"allow\"|\"rewrite\"|\"block\"\n"
    "---@field text string? for rewrite\n"
    "---@field reason string?\n\n"
    "---@class xin.Guardrail\n"
    "---@field api 1\n"
    "---@field name string\n"
    "---@field stages (\"input\"|\"output\"|\"document\")[]\n"
    "---@field on_error \"block\"|\"allow\"\n"
    "---@field schema? table<string, table> settings and their defaults\n"
    "---@field examples? { text: string, action: string, settings: table? }[] "
    "run at load\n"
    "---@field check fun(message: xin.Message, settings: table): "
    "xin.Verdict?\n\n"
    "---@class xin.Pipeline\n"
    "---@field api 1\n"
    "---@field name string\n"
    "---@field steps string[]\n\n"
    "---@class xin.Document\n"
    "---@field id string\n"
    "---@field brand string\n"
    "---@field version integer\n"
    "---@field title string\n"
    "---@field content_type string\n"
    "---@field filename string\n"
    "---@field language string\n"
    "---@field metadata table\n\n"
    "---@class xin.Step\n"
    "---@field api 1\n"
    "---@field name string\n"
    "---@field schema? table<string, table>\n"
    "---@field run fun(document: xin.Document, settings: table): "
    "xin.Document?, xin.Error?\n\n"
    "---@class xin.ChannelRequest\n"
    "---@field body any decoded JSON\n"
    "---@field headers table<string, string>\n"
    "---@field path_brand string?\n"
    "---@field channel string\n\n"
    "---@class xin.ChannelMessage\n"
    "---@field id string\n"
    "---@field text string\n"
    "---@field user { id: string, name: string? }\n"
    "---@field conversation_id string?\n"
    "---@field locale string?\n"
    "---@field attachments table[]\n\n"
    "---@class xin.ChannelReply\n"
    "---@field message_id string\n"
    "---@field turn_id string\n"
    "---@field conversation_id string\n"
    "---@field text string\n"
    "---@field citations table[]\n"
    "---@field duplicate boolean\n\n"
    "---@class xin.Channel\n"
    "---@field api 1\n"
    "---@field name string\n"
    "---@field parse fun(request: xin.ChannelRequest): { messages: "
    "xin.ChannelMessage[], brand: string? }?, xin.Error?\n"
    "---@field render fun(reply: xin.ChannelReply): { status: integer, body: "
    "table }\n\n"
    "---@class xin.Block\n"
    "---@field type "
    "\"heading\"|\"paragraph\"|\"list\"|\"table\"|\"code\"|\"quote\"\n"
    "---@field level integer? of a heading\n"
    "---@field page integer? of a PDF or a slide, from 1\n"
    "---@field text string\n\n"
    "---@class xin.Chunk\n"
    "---@field text string\n"
    "---@field start integer characters before it in the document\n"
    "---@field end integer\n"
    "---@field heading string \"Install > Linux\"\n"
    "---@field page integer? where it begins\n\n"
    "--- A list that stays native: #list, list[i], ipairs(list).\n"
    "---@class xin.Blocks: { [integer]: xin.Block }\n"
    "---@operator len: integer\n\n"
    "--- A list that stays native: #list, list[i], ipairs(list).\n"
    "---@class xin.Chunks: { [integer]: xin.Chunk }\n"
    "---@operator len: integer\n\n"
    "---@class xin.Pattern\n"
    "---@field name string\n"
    "---@field regex string\n"
    "---@field check? \"luhn\"|\"iban\"|\"ir_national_id\"\n"
    "---@field caseless? boolean\n"
    "---@field word_edges? boolean no letter or digit next to it\n\n"
    "---@class xin.Hit\n"
    "---@field name string\n"
    "---@field start integer bytes, as string.sub counts\n"
    "---@field end integer\n"
    "---@field text string\n\n"
    "---@class xin.SearchHit\n"
    "---@field source_id string\n"
    "---@field chunk integer\n"
    "---@field title string\n"
    "---@field text string\n"
    "---@field heading string?\n"
    "---@field source_url string?\n"
    "---@field score number\n"
    "---@field coverage number 0 to 1\n"
    "---@field start integer\n"
    "---@field end integer\n\n"
    "---@alias xin.MetricName "
    "\"answer\"|\"greeting\"|\"small_talk\"|\"handoff\"|\"off_topic\"|\"no_"
    "answer\"|\"clarification\"|\"feedback\"|\"goal_reached\"|\"goal_"
    "missed\"\n\n";

static void
add_where(struct buf *out, unsigned where)
{
	static const char *const words[] = { "brands", "guardrails",
		"pipelines", "pipeline steps", "channels",
		"the top of a module" };
	bool first = true;

	if (where == ANYWHERE)
		return;
	buf_adds(out, "--- Callable in: ");
	for (unsigned i = 0; i <= SCRIPT_KINDS; i++) {
		if ((where & (1u << i)) == 0)
			continue;
		buf_addf(out, "%s%s", first ? "" : ", ", words[i]);
		first = false;
	}
	buf_adds(out, ".\n");
}

/* "text string\nto? integer": one annotation a line; the names as a list. */
static void
add_params(struct buf *out, const char *params, struct buf *names)
{
	while (params != NULL && params[0] != '\0') {
		size_t line = strcspn(params, "\n");
		size_t name = strcspn(params, " ?");

		buf_adds(out, "---@param ");
		buf_add(out, params, line);
		buf_addc(out, '\n');
		if (names->len > 0)
			buf_adds(names, ", ");
		buf_add(names, params, name);
		params += line + (params[line] == '\n');
	}
}

static void
add_function(struct buf *out, const struct binding_module *module,
    const struct binding_function *function)
{
	struct buf names;

	buf_init(&names, 0);
	buf_addf(out, "--- %s\n", function->help);
	add_where(out, function->where);
	add_params(out, function->params, &names);
	if (function->returns != NULL)
		buf_addf(out, "---@return %s\n", function->returns);
	if (module->methods)
		buf_addf(out, "function %s:%s(%s) end\n\n", module->name,
		    function->name, buf_str(&names));
	else
		buf_addf(out, "function xin.%s.%s(%s) end\n\n", module->name,
		    function->name, buf_str(&names));
	buf_done(&names);
}

void
binding_annotations(struct buf *out)
{
	buf_adds(out, head);
	buf_adds(out, classes);
	/* No `xin = {}`: the file is part of a generation, and those assign no
	 * globals. Editors learn the name from .luarc.json. */
	for (size_t i = 0; binding__modules[i] != NULL; i++) {
		const struct binding_module *module = binding__modules[i];

		buf_addf(out, "--- %s\n", module->help);
		if (module->methods)
			buf_addf(out, "---@class xin.%s\nlocal %s = {}\n\n",
			    module->name, module->name);
		else
			buf_addf(out, "xin.%s = {}\n\n", module->name);
		for (const struct binding_function *at = module->functions;
		     at->name != NULL; at++)
			add_function(out, module, at);
	}
	/* One newline at the end, as editors leave it. */
	while (out->len > 1 && out->data[out->len - 2] == '\n')
		out->data[--out->len] = '\0';
}
