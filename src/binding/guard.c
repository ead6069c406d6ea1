/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xin.guard: the brand's guardrails of stage "document" for pipeline steps,
 * over one text or over every chunk. While the step's coroutine waits, the
 * guards run in sessions of their own on the same generation: each batch of
 * chunks gets the CPU of a step, so that a long document costs the step
 * nothing, and a guard that is slow on a few chunks is ended all the same.
 */
#include "guard/guard.h"

#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mask.h"
#include "base/mem.h"
#include "base/str.h"
#include "binding/internal.h"
#include "fiber/fiber.h"

#define LEDGER_MAX 200 /* verdicts kept for people to read */
#define BATCH      64  /* chunks between two looks at the lease */

/* Verdicts other than "allow", with the chunk's number. */
static void
keep_verdicts(struct binding_job *job, const json_t *ledger, int64_t number)
{
	size_t i;
	json_t *entry;

	json_array_foreach (ledger, i, entry) {
		const char *action = json_str(entry, "action");
		char reason[80]; /* a code; a sentence may quote the text */

		if (str_eq(action, "allow"))
			continue;
		mask_unless_word(
		    json_str(entry, "reason") ?: "", reason, sizeof(reason));
		log_warn("document.guarded",
		    kv_str("source_id", job->source_id),
		    kv_int("chunk", number),
		    kv_str("guard", json_str(entry, "guard")),
		    kv_str("action", json_str(entry, "action")),
		    kv_str("reason", reason));
		if (job->ledger == NULL)
			job->ledger = json_array();
		if (json_array_size(job->ledger) >= LEDGER_MAX)
			return;
		if (number >= 0)
			json_object_set_new(
			    entry, "chunk", json_integer(number));
		json_array_append(job->ledger, entry);
	}
}

static enum err_code
guard_one(struct binding_job *job, struct script_session *session,
    const char *text, size_t len, int64_t number, struct guard_text **out)
{
	struct guard_context context = { .language = job->made_language,
		.user_id = "" };
	json_auto json_t *ledger = json_array();
	enum err_code rc;

	rc = guard_run(session, job->guardrails, GUARD_DOCUMENT, &context, text,
	    len, "", ledger, out);
	if (rc != OK)
		return binding__job_failed(job, rc);
	keep_verdicts(job, ledger, number);
	return OK;
}

static enum err_code
open_guards(struct script_session *outer, struct script_session **session_out)
{
	struct script_budget budget = script_budget_default();

	budget.cpu_us = (uint64_t)config_int(CFG_SCRIPT_STEP_CPU_MS) * 1000;
	return script_session_open(script_session_brand(outer),
	    script_session_generation(outer), &budget, session_out);
}

/* ---- check ---- */

struct check_request {
	struct script_request base;
	struct binding_job *job;
	struct guard_text *result;
	size_t len;
	char text[];
};

static enum err_code
check_run(struct script_request *base, struct script_session *session)
{
	struct check_request *request = (struct check_request *)base;
	struct script_session *guards;
	enum err_code rc;

	TRY(open_guards(session, &guards));
	rc = guard_one(request->job, guards, request->text, request->len, -1,
	    &request->result);
	script_session_close(guards);
	return rc;
}

static int
check_push(struct script_request *base, lua_State *lua)
{
	struct check_request *request = (struct check_request *)base;
	const struct guard_text *result = request->result;
	bool blocked, rewritten;

	if (base->rc != OK)
		return script_push_error(lua, base->rc);
	blocked = guard_text_blocked(result);
	rewritten = !blocked && guard_text_rewritten(result);
	lua_createtable(lua, 0, 3);
	lua_pushstring(lua, blocked     ? "block"
			    : rewritten ? "rewrite"
					: "allow");
	lua_setfield(lua, -2, "action");
	if (rewritten) {
		lua_pushlstring(
		    lua, guard_text_str(result), guard_text_len(result));
		lua_setfield(lua, -2, "text");
	}
	if (guard_text_reason(result) != NULL) {
		lua_pushstring(lua, guard_text_reason(result));
		lua_setfield(lua, -2, "reason");
	}
	return 1;
}

static void
check_done(struct script_request *base)
{
	guard_text_free(((struct check_request *)base)->result);
}

static int
guard_check(lua_State *lua)
{
	static const char *const stages[] = { "document", NULL };
	struct binding_job *job = binding__job(lua);
	size_t len;
	const char *text = binding__text_arg(lua, 1, BINDING_TEXT_MAX, &len);
	struct check_request *request;

	luaL_checkoption(lua, 2, "document", stages);
	request = script_request_new(lua, sizeof(*request) + len + 1);
	request->base.run = check_run;
	request->base.push = check_push;
	request->base.done = check_done;
	request->job = job;
	request->len = len;
	memcpy(request->text, text, len + 1);
	return script_wait(lua, &request->base);
}

/* ---- chunks ---- */

struct chunks_request {
	struct script_request base;
	struct binding_job *job;
	struct binding_chunks *in, *out;
	int64_t dropped, rewritten;
};

static enum err_code
guard_chunk(
    struct chunks_request *request, struct script_session *session, size_t i)
{
	const struct binding_chunk *chunk = &request->in->items[i];
	struct guard_text *result;

	TRY(guard_one(request->job, session, chunk->text, chunk->len,
	    (int64_t)i, &result));
	if (guard_text_blocked(result)) {
		request->dropped++;
	} else {
		if (guard_text_rewritten(result))
			request->rewritten++;
		binding__chunks_add(request->out, guard_text_str(result),
		    guard_text_len(result), chunk->start, chunk->end,
		    chunk->heading);
		binding__chunks_page(request->out, chunk->page);
	}
	guard_text_free(result);
	return OK;
}

static enum err_code
guard_batch(struct chunks_request *request, struct script_session *session,
    size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		TRY(guard_chunk(request, session, i));
		TRY(fiber_breathe());
	}
	return OK;
}

static enum err_code
guard_all(struct chunks_request *request, struct script_session *outer)
{
	struct binding_job *job = request->job;
	size_t total = request->in->count;
	struct script_session *session;
	enum err_code rc;
	size_t to;

	job->done = 0;
	job->total = (int64_t)total;
	for (size_t from = 0; from < total; from = to) {
		to = total - from > BATCH ? from + BATCH : total;
		TRY(open_guards(outer, &session));
		rc = guard_batch(request, session, from, to);
		script_session_close(session);
		if (rc != OK)
			return rc;
		job->done = (int64_t)to;
		TRY(binding__job_moved(job));
	}
	return OK;
}

static enum err_code
chunks_run(struct script_request *base, struct script_session *session)
{
	struct chunks_request *request = (struct chunks_request *)base;
	struct binding_job *job = request->job;
	enum err_code rc;

	request->out = binding__chunks_new();
	rc = guard_all(request, session);
	if (rc != OK)
		return binding__job_failed(job, rc);
	job->worth_keeping = true; /* scripts have read every chunk */
	job->dropped = request->dropped;
	job->rewritten = request->rewritten;
	return OK;
}

static int
chunks_push(struct script_request *base, lua_State *lua)
{
	struct chunks_request *request = (struct chunks_request *)base;

	if (base->rc != OK)
		return script_push_error(lua, base->rc);
	binding__push_chunks(lua, request->out);
	lua_createtable(lua, 0, 3);
	lua_pushinteger(lua, (lua_Integer)request->in->count);
	lua_setfield(lua, -2, "checked");
	lua_pushinteger(lua, request->dropped);
	lua_setfield(lua, -2, "dropped");
	lua_pushinteger(lua, request->rewritten);
	lua_setfield(lua, -2, "rewritten");
	return 2;
}

static void
chunks_done(struct script_request *base)
{
	struct chunks_request *request = (struct chunks_request *)base;

	binding__chunks_unref(request->in);
	binding__chunks_unref(request->out);
}

static int
guard_chunks(lua_State *lua)
{
	struct binding_job *job = binding__job(lua);
	struct binding_chunks *chunks = binding__check_chunks(lua, 1);
	struct chunks_request *request =
	    script_request_new(lua, sizeof(*request));

	request->base.run = chunks_run;
	request->base.push = chunks_push;
	request->base.done = chunks_done;
	request->job = job;
	request->in = binding__chunks_ref(chunks);
	return script_wait(lua, &request->base);
}

static const struct binding_function functions[] = {
	{ "check", guard_check, IN_STEP, "text string\nstage? \"document\"",
	    "xin.Verdict?, xin.Error?",
	    "The brand's guardrails of that stage over one text. WAITS." },
	{ "chunks", guard_chunks, IN_STEP, "chunks xin.Chunks|xin.Chunk[]",
	    "xin.Chunks?, { checked: integer, dropped: integer, rewritten: "
	    "integer }|xin.Error",
	    "The same over every chunk, in one host call: blocked chunks are "
	    "left out, rewritten ones replaced. WAITS." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__guard = { "guard",
	"The brand's guardrails.", functions, false };
