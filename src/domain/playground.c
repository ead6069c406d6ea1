/* SPDX-License-Identifier: Apache-2.0 */
/* The playground: a turn or a guard on an edited generation. */
#include "domain/playground.h"

#include <string.h>

#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/task.h"
#include "domain/turn.h"
#include "guard/guard.h"
#include "script/script.h"

#define EDITS_MAX 64
#define CHECK_MS  30000

struct steps {
	struct turn_sink sink; /* first: the sink is the list */
	json_t *list;
};

static void
keep_step(struct turn_sink *sink, const char *name, const json_t *data)
{
	json_array_append_new(((struct steps *)sink)->list,
	    json_pack("{s:s, s:O}", "step", name, "data", data));
}

/* The active generation with the caller's files over it; a new reference. */
static enum err_code
edited(const json_t *body, struct script_generation **gen_out)
{
	json_t *files = json_object_get(body, "files"), *text;
	struct script_file edits[EDITS_MAX];
	struct script_generation *active;
	size_t count = 0;
	enum err_code rc;
	const char *name;

	if (files != NULL && !json_is_object(files))
		return err_set(ERR_INVALID, "\"files\" must be an object");
	if (json_object_size(files) > EDITS_MAX)
		return err_set(ERR_TOO_LARGE, "over %d files", EDITS_MAX);
	json_object_foreach (files, name, text) {
		if (!json_is_string(text))
			return err_set(ERR_INVALID,
			    "the text of \"%.128s\" must be a string", name);
		edits[count].name = (char *)(uintptr_t)name;
		edits[count].text = (char *)(uintptr_t)json_string_value(text);
		edits[count++].len = json_string_length(text);
	}
	active = script_active();
	if (active == NULL)
		return err_set(ERR_UNAVAILABLE, "no scripts are active");
	if (count == 0) {
		*gen_out = active;
		return OK;
	}
	rc = script_generation_edit(active, edits, count, gen_out);
	script_generation_unref(active);
	return rc;
}

/* Only edits are checked: what is active has been. */
static enum err_code
check(struct script_generation *gen, const json_t *body, json_t *errors)
{
	struct script_report report = { 0 };
	enum err_code rc;

	if (json_object_size(json_object_get(body, "files")) == 0)
		return OK;
	rc = script_check_in_child(gen, deadline_in_ms(CHECK_MS), &report);
	for (size_t i = 0; rc == OK && i < report.count; i++)
		json_array_append_new(
		    errors, json_pack("{s:s, s:i, s:s}", "file",
				report.problems[i].file, "line",
				report.problems[i].line, "message",
				report.problems[i].message));
	script_report_done(&report);
	return rc;
}

static enum err_code
try_message(struct product *product, const char *brand, const json_t *body,
    struct script_generation *gen, json_t *steps, json_t *answer)
{
	struct steps sink = { { keep_step }, steps };
	struct turn_request request = {
		.brand = brand,
		.channel = "playground",
		.user_id = "playground",
	};
	json_t *turn = NULL;

	TRY(json_field_str(body, "message", true,
	    (size_t)config_int(CFG_MAX_MESSAGE_BYTES), &request.message));
	TRY(turn_try(product, &request, gen, &sink.sink, &turn));
	json_object_set_new(answer, "turn", turn);
	return OK;
}

static enum err_code
try_guard(const char *brand, const json_t *body, struct script_generation *gen,
    json_t *steps, json_t *answer)
{
	const struct guard_context context = { NULL, "playground" };
	const char *name, *text, *stage_name;
	enum guard_stage stage = GUARD_INPUT;
	struct script_session *session;
	json_auto json_t *list = NULL;
	struct guard_text *result;
	enum err_code rc;

	TRY(json_field_str(body, "guard", true, 63, &name));
	TRY(json_field_str(body, "text", true,
	    (size_t)config_int(CFG_MAX_MESSAGE_BYTES), &text));
	TRY(json_field_str(body, "stage", false, 16, &stage_name));
	if (stage_name != NULL && !guard_stage_parse(stage_name, &stage))
		return err_set(
		    ERR_INVALID, "\"stage\" must be input, output or document");
	list = json_pack("[{s:s, s:O*}]", "name", name, "settings",
	    json_object_get(body, "settings"));
	TRY(script_session_open(brand, gen, NULL, &session));
	rc = guard_run(session, list, stage, &context, text, strlen(text), "",
	    steps, &result);
	script_session_close(session);
	if (rc != OK)
		return rc;
	json_object_set_new(answer, "text",
	    json_stringn(guard_text_str(result), guard_text_len(result)));
	guard_text_free(result);
	return OK;
}

enum err_code
playground_run(struct product *product, const char *brand, const json_t *body,
    json_t **answer_out)
{
	static const char *const known[] = { "message", "guard", "text",
		"stage", "settings", "files", NULL };
	json_t *errors = json_array(), *steps = json_array(), *answer;
	struct script_generation *gen = NULL;
	enum err_code rc;

	answer = json_pack("{s:o, s:o}", "errors", errors, "steps", steps);
	rc = json_only_keys(body, known);
	if (rc == OK)
		rc = edited(body, &gen);
	if (rc == OK)
		rc = check(gen, body, errors);
	if (rc == OK && json_array_size(errors) == 0)
		rc =
		    json_object_get(body, "guard") != NULL
			? try_guard(brand, body, gen, steps, answer)
			: try_message(product, brand, body, gen, steps, answer);
	if (rc == OK) {
		json_object_set_new(answer, "generation",
		    json_string(script_generation_id(gen)));
		json_object_set_new(
		    answer, "ok", json_boolean(json_array_size(errors) == 0));
		*answer_out = json_incref(answer);
	}
	script_generation_unref(gen);
	json_decref(answer);
	return rc;
}
