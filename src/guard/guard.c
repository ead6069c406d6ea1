/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass of a brand's guardrails over a text. Verdicts come from Lua
 * (guardrails/<name>.lua: check); what to do when one fails is decided here,
 * closed by default.
 */
#include "guard/guard.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"

struct guard_text {
	char *text;
	size_t len;
	char *reason;
	bool blocked;
	bool rewritten;
};

enum action { ALLOW, REWRITE, BLOCK };
static const char *const action_names[] = { "allow", "rewrite", "block" };
static const char *const stage_names[] = { "input", "output", "document" };

struct verdict {
	enum action action;
	char *text; /* for REWRITE */
	char *reason;
};

const char *
guard_stage_name(enum guard_stage stage)
{
	return stage_names[stage];
}

bool
guard_stage_parse(const char *name, enum guard_stage *stage_out)
{
	for (int i = 0; i < 3; i++) {
		if (strcmp(stage_names[i], name) != 0)
			continue;
		*stage_out = (enum guard_stage)i;
		return true;
	}
	return false;
}

static bool
is_due(const json_t *fields, enum guard_stage stage)
{
	const json_t *stages = json_object_get(fields, "stages");
	size_t i;
	json_t *name;

	json_array_foreach (stages, i, name)
		if (json_is_string(name) &&
		    strcmp(json_string_value(name), stage_names[stage]) == 0)
			return true;
	return false;
}

static void
verdict_done(struct verdict *verdict)
{
	mem_free(verdict->text);
	mem_free(verdict->reason);
	*verdict = (struct verdict){ 0 };
}

/* Read {action, text, reason}; anything else is the script's fault. */
static enum err_code
read_verdict(const json_t *value, struct verdict *verdict_out)
{
	const char *action, *text, *reason;

	*verdict_out = (struct verdict){ .action = ALLOW };
	if (json_is_null(value))
		return OK;
	action = json_str(value, "action");
	text = json_str(value, "text");
	reason = json_str(value, "reason");
	if (action == NULL)
		return err_set(ERR_SCRIPT, "the verdict has no action");
	if (strcmp(action, "rewrite") == 0) {
		if (text == NULL)
			return err_set(
			    ERR_SCRIPT, "a rewrite verdict needs a text");
		verdict_out->action = REWRITE;
		verdict_out->text = mem_strdup(text);
	} else if (strcmp(action, "block") == 0) {
		verdict_out->action = BLOCK;
	} else if (strcmp(action, "allow") != 0) {
		return err_set(ERR_SCRIPT, "unknown verdict \"%.32s\"", action);
	}
	if (reason != NULL)
		verdict_out->reason = mem_strndup(reason, strnlen(reason, 200));
	return OK;
}

/* The guard's settings: the schema's defaults under the brand's values. */
static json_t *
settings_of(const json_t *fields, const json_t *entry)
{
	json_t *schema = json_object_get(fields, "schema");
	json_t *given = json_object_get(entry, "settings");
	json_t *settings = json_object();
	const char *key;
	json_t *value;

	json_object_foreach (schema, key, value) {
		json_t *fallback = json_object_get(value, "default");

		if (fallback != NULL)
			json_object_set(settings, key, fallback);
	}
	if (json_is_object(given))
		json_object_update(settings, given);
	return settings;
}

static enum err_code
ask(struct script_session *session, const char *name, const json_t *fields,
    const json_t *entry, enum guard_stage stage,
    const struct guard_context *context, const struct guard_text *now,
    struct verdict *verdict_out)
{
	json_auto json_t *result = NULL;
	json_auto json_t *args = json_pack("[{s:s%, s:s, s:s, s:s, s:s}, o]",
	    "text", now->text, now->len, "stage", stage_names[stage], "brand",
	    script_session_brand(session), "language",
	    context->language ? context->language : "und", "user_id",
	    context->user_id ? context->user_id : "",
	    settings_of(fields, entry));

	if (args == NULL)
		return err_set(ERR_INVALID, "the text is not valid UTF-8");
	TRY(script_call(
	    session, SCRIPT_GUARDRAIL, name, "check", args, &result));
	return read_verdict(result, verdict_out);
}

/* A guard that failed: its own on_error, or block when it is not even known
 * what it would have wanted. */
static void
decide_failure(const json_t *fields, const char *name, enum err_code rc,
    struct verdict *verdict_out)
{
	const char *on_error = fields ? json_str(fields, "on_error") : NULL;
	bool open = on_error != NULL && strcmp(on_error, "allow") == 0;

	log_warn("guard.failed", kv_str("guard", name),
	    kv_str("error_code", err_name(rc)),
	    kv_error("error", err_message()),
	    kv_str("on_error", open ? "allow" : "block"));
	*verdict_out = (struct verdict){
		.action = open ? ALLOW : BLOCK,
		.reason = mem_strdup("guard_failed"),
	};
}

static void
record(json_t *ledger, struct script_session *session, const char *name,
    enum guard_stage stage, const struct verdict *verdict, uint64_t us,
    bool shadow)
{
	const char *action = action_names[verdict->action];

	json_array_append_new(ledger,
	    json_pack("{s:s, s:s, s:s, s:s?, s:f, s:b}", "guard", name, "stage",
		stage_names[stage], "action", action, "reason", verdict->reason,
		"ms", (double)us / 1000.0, "shadow", shadow));
	span_event(span_current(), "guard.verdict", attr_str(ATTR_GUARD, name),
	    attr_str(ATTR_GUARD_STAGE, stage_names[stage]),
	    attr_str(ATTR_GUARD_ACTION, action),
	    attr_str(ATTR_GUARD_REASON,
		verdict->reason != NULL && str_is_name(verdict->reason)
		    ? verdict->reason /* a code; a sentence may quote users */
		    : NULL),
	    attr_bool(ATTR_GUARD_SHADOW, shadow));
	metric_count(METRIC_GUARDS,
	    LABELS(script_session_brand(session), name, stage_names[stage],
		action),
	    1);
	/* Without the reason: it is a script's, and may quote the text. */
	if (verdict->action != ALLOW)
		log_info("guard.acted", kv_str("guard", name),
		    kv_str("stage", stage_names[stage]),
		    kv_str("action", action), kv_bool("shadow", shadow));
}

static void
apply(struct guard_text *now, const struct verdict *verdict,
    const char *blocked_text)
{
	const char *text =
	    verdict->action == BLOCK ? blocked_text : verdict->text;

	if (verdict->action == ALLOW)
		return;
	mem_free(now->text);
	now->len = strlen(text);
	now->text = mem_strndup(text, now->len);
	if (verdict->action == REWRITE) {
		now->rewritten = true;
		return;
	}
	now->blocked = true;
	now->reason = mem_strdup(verdict->reason ? verdict->reason : "blocked");
}

static enum err_code
run_one(struct script_session *session, const json_t *entry,
    enum guard_stage stage, const struct guard_context *context,
    const char *blocked_text, json_t *ledger, struct guard_text *now)
{
	const char *name = json_is_string(entry) ? json_string_value(entry)
						 : json_str(entry, "name");
	bool shadow = json_bool(entry, "shadow", false);
	uint64_t began = clock_mono_us();
	json_auto json_t *fields = NULL;
	struct verdict verdict = { 0 };
	enum err_code rc;

	if (name == NULL)
		return err_set(ERR_SCRIPT, "a guardrail entry has no name");
	rc = script_module_fields(session, SCRIPT_GUARDRAIL, name, &fields);
	if (rc == OK) {
		if (!is_due(fields, stage))
			return OK;
		rc = ask(session, name, fields, entry, stage, context, now,
		    &verdict);
	}
	if (rc == ERR_CANCELLED || rc == ERR_DEADLINE)
		return rc;
	if (rc != OK) {
		verdict_done(&verdict);
		decide_failure(fields, name, rc, &verdict);
	}
	record(ledger, session, name, stage, &verdict, clock_mono_us() - began,
	    shadow);
	if (!shadow)
		apply(now, &verdict, blocked_text);
	verdict_done(&verdict);
	return OK;
}

enum err_code
guard_run(struct script_session *session, const json_t *guardrails,
    enum guard_stage stage, const struct guard_context *context,
    const char *text, size_t len, const char *blocked_text, json_t *ledger,
    struct guard_text **text_out)
{
	struct guard_text *now = mem_zero(sizeof(*now));
	size_t i;
	json_t *entry;

	now->text = mem_strndup(text, len);
	now->len = len;
	json_array_foreach (guardrails, i, entry) {
		enum err_code rc = run_one(
		    session, entry, stage, context, blocked_text, ledger, now);

		if (rc != OK) {
			guard_text_free(now);
			return rc;
		}
		if (now->blocked)
			break;
	}
	*text_out = now;
	return OK;
}

const char *
guard_text_str(const struct guard_text *text)
{
	return text->text;
}

size_t
guard_text_len(const struct guard_text *text)
{
	return text->len;
}

bool
guard_text_blocked(const struct guard_text *text)
{
	return text->blocked;
}

const char *
guard_text_reason(const struct guard_text *text)
{
	return text->reason;
}

bool
guard_text_rewritten(const struct guard_text *text)
{
	return text->rewritten;
}

void
guard_text_free(struct guard_text *text)
{
	if (text == NULL)
		return;
	mem_free(text->text);
	mem_free(text->reason);
	mem_free(text);
}
