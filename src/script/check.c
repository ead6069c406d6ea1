/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check that every generation passes before it is switched to, and that a
 * developer runs by hand: compile, names, each module's top level, the
 * contract of its kind, its examples. Problems carry file and line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "script/internal.h"
#include "script/scan.h"

#define CHECK_CPU_US LOAD_CPU_US

/* One module under check. */
struct checked {
	struct script_generation *gen;
	struct script_report *report;
	const struct script_file *file;
	enum script_kind kind; /* SCRIPT_KINDS = a library */
	char name[64];
	json_t *fields;
};

static enum err_code
open_session(struct script_generation *gen, struct script_session **out)
{
	struct script_budget budget = script_budget_default();

	budget.cpu_us = CHECK_CPU_US;
	return script__session_open_bare("check", gen, &budget, true, out);
}

/* ---- where a problem is ---- */

/* The line on which `field =` or `.field(` first stands, else 1. */
static int
line_of(const struct script_file *file, const char *field)
{
	size_t len = strlen(field);
	const char *at = file->text;
	int line = 1;

	for (const char *p = at; *p != '\0'; p++) {
		const char *after = p + len;

		if (*p == '\n')
			line++;
		if (strncmp(p, field, len) != 0 ||
		    (p > at && (p[-1] == '_' || p[-1] == '"' ||
				   (p[-1] >= 'a' && p[-1] <= 'z'))))
			continue;
		after += strspn(after, " \t");
		if (*after == '=' || *after == '(')
			return line;
	}
	return 1;
}

static void
problem_at(struct checked *checked, const char *field, const char *message)
{
	script_report_add(checked->report, checked->file->name,
	    line_of(checked->file, field), "%s", message);
}

/* Lua's own messages begin with "file:line: ". */
static void
problem_from(struct script_generation *gen, struct script_report *report,
    const struct script_file *file, const char *message)
{
	const struct script_file *named = file;
	const char *text = message;
	char name[256];
	int line = 1;
	int used = 0;

	if (sscanf(message, "%255[^: ]:%d: %n", name, &line, &used) == 2 &&
	    used > 0 && script_generation_file(gen, name) != NULL) {
		named = script_generation_file(gen, name);
		text = message + used;
	} else {
		line = 1;
	}
	script_report_add(report, named->name, line, "%s", text);
}

/* ---- the contracts ---- */

static bool
exists(const struct checked *checked, enum script_kind kind, const char *name)
{
	char path[128];

	return name != NULL &&
	       script__file_name(kind, name, path, sizeof(path)) &&
	       script_generation_file(checked->gen, path) != NULL;
}

static void
need_hook(
    struct checked *checked, struct script_session *session, const char *hook)
{
	char text[128];

	if (script_module_has(session, checked->kind, checked->name, hook))
		return;
	snprintf(text, sizeof(text), "the function '%s' is missing", hook);
	problem_at(checked, hook, text);
}

static void
check_names(struct checked *checked, bool with_api)
{
	char text[160];
	json_t *api = json_object_get(checked->fields, "api");
	const char *name = json_str(checked->fields, "name");

	if (with_api && !(json_is_number(api) && json_number_value(api) == 1))
		problem_at(checked, "api", "api = 1 is missing");
	if (!str_eq(name, checked->name)) {
		snprintf(text, sizeof(text),
		    "name must be \"%s\", as the file's", checked->name);
		problem_at(checked, "name", text);
	}
}

static const char *
item_name(const json_t *item)
{
	if (json_is_string(item))
		return json_string_value(item);
	return json_is_object(item) ? json_str(item, "name") : NULL;
}

/* A list of names (or of tables with a name), each of which must exist. */
static void
check_list(struct checked *checked, const char *field, enum script_kind kind,
    bool required)
{
	json_t *list = json_object_get(checked->fields, field);
	char text[200];
	json_t *item;
	size_t i;

	if (list == NULL ||
	    (json_is_object(list) && json_object_size(list) == 0)) {
		if (!required)
			return;
		snprintf(text, sizeof(text), "%s is missing", field);
		problem_at(checked, field, text);
		return;
	}
	if (!json_is_array(list)) {
		snprintf(text, sizeof(text), "%s must be a list", field);
		problem_at(checked, field, text);
		return;
	}
	json_array_foreach (list, i, item) {
		const char *name = item_name(item);

		if (exists(checked, kind, name))
			continue;
		snprintf(text, sizeof(text), "%s: there is no %s/%.64s.lua",
		    field, script_kind_folder(kind), name == NULL ? "?" : name);
		problem_at(checked, field, text);
	}
}

static void
check_brand(struct checked *checked, struct script_session *session)
{
	json_t *pipeline = json_object_get(checked->fields, "pipeline");
	json_t *languages = json_object_get(checked->fields, "languages");
	char text[160];

	check_names(checked, true);
	need_hook(checked, session, "route");
	check_list(checked, "guardrails", SCRIPT_GUARDRAIL, false);
	check_list(checked, "channels", SCRIPT_CHANNEL, false);
	if (languages != NULL && !json_is_array(languages))
		problem_at(checked, "languages", "languages must be a list");
	if (pipeline != NULL &&
	    !exists(checked, SCRIPT_PIPELINE, json_string_value(pipeline))) {
		snprintf(text, sizeof(text),
		    "pipeline: there is no pipelines/%.64s.lua",
		    json_is_string(pipeline) ? json_string_value(pipeline)
					     : "?");
		problem_at(checked, "pipeline", text);
	}
}

static bool
one_of(const json_t *value, const char *const *names)
{
	const char *text = json_string_value(value);

	for (; text != NULL && *names != NULL; names++)
		if (strcmp(text, *names) == 0)
			return true;
	return false;
}

static void
check_stages(struct checked *checked)
{
	static const char *const names[] = { "input", "output", "document",
		NULL };
	json_t *stages = json_object_get(checked->fields, "stages");
	json_t *stage;
	size_t i;

	if (!json_is_array(stages) || json_array_size(stages) == 0) {
		problem_at(checked, "stages",
		    "stages must list one or more of input, output, document");
		return;
	}
	json_array_foreach (stages, i, stage) {
		if (!one_of(stage, names))
			problem_at(checked, "stages",
			    "stages knows input, output and document only");
	}
}

/* The defaults that a schema declares: what check() gets when a brand sets
 * nothing. */
static json_t *
defaults_of(const json_t *fields)
{
	json_t *settings = json_object();
	json_t *field;
	const char *key;

	json_object_foreach (json_object_get(fields, "schema"), key, field) {
		json_t *value = json_object_get(field, "default");

		if (value != NULL)
			json_object_set(settings, key, value);
	}
	return settings;
}

static json_t *
guard_args(const json_t *fields, const json_t *example)
{
	const char *stage = json_str(example, "stage");
	const char *text = json_str(example, "text");

	if (stage == NULL)
		stage = json_string_value(
		    json_array_get(json_object_get(fields, "stages"), 0));
	if (stage == NULL)
		stage = "input";
	return json_pack("[{s:s,s:s,s:s,s:s,s:s},o]", "text",
	    text == NULL ? "" : text, "stage", stage, "brand", "check",
	    "language", "en", "user_id", "check", defaults_of(fields));
}

/* The line of an example: where its text stands, else where examples begin. */
static int
example_line(const struct checked *checked, const char *text)
{
	const char *at =
	    text == NULL ? NULL : strstr(checked->file->text, text);
	int line = 1;

	if (at == NULL)
		return line_of(checked->file, "examples");
	for (const char *p = checked->file->text; p < at; p++)
		line += *p == '\n';
	return line;
}

static void
run_guard_example(struct checked *checked, struct script_session *session,
    const json_t *example, size_t index)
{
	const char *want = json_str(example, "action");
	const char *text = json_str(example, "text");
	const char *got;
	json_t *args;
	json_t *out = NULL;
	enum err_code rc;

	if (want == NULL || text == NULL) {
		problem_at(
		    checked, "examples", "an example needs text and action");
		return;
	}
	args = guard_args(checked->fields, example);
	rc = script_call(
	    session, SCRIPT_GUARDRAIL, checked->name, "check", args, &out);
	json_decref(args);
	if (rc != OK) {
		problem_from(checked->gen, checked->report, checked->file,
		    err_message());
		return;
	}
	got = json_is_object(out) ? json_str(out, "action") : NULL;
	if (got == NULL)
		got = "allow";
	if (strcmp(got, want) != 0)
		script_report_add(checked->report, checked->file->name,
		    example_line(checked, text),
		    "example %zu: check() says %s, wanted %s", index + 1, got,
		    want);
	json_decref(out);
}

static void
check_guardrail(struct checked *checked, struct script_session *session)
{
	static const char *const errors[] = { "block", "allow", NULL };
	static const char *const cadences[] = { "token", "sentence", "whole",
		NULL };
	json_t *cadence = json_object_get(checked->fields, "cadence");
	json_t *schema = json_object_get(checked->fields, "schema");
	size_t before = checked->report->count;
	json_t *example;
	size_t i;

	check_names(checked, true);
	check_stages(checked);
	if (!one_of(json_object_get(checked->fields, "on_error"), errors))
		problem_at(checked, "on_error",
		    "on_error must be \"block\" or \"allow\"");
	if (cadence != NULL && !one_of(cadence, cadences))
		problem_at(checked, "cadence",
		    "cadence must be \"token\", \"sentence\" or \"whole\"");
	if (schema != NULL && !json_is_object(schema))
		problem_at(checked, "schema", "schema must be a table");
	need_hook(checked, session, "check");
	if (checked->report->count > before)
		return; /* examples would only repeat it */
	json_array_foreach (
	    json_object_get(checked->fields, "examples"), i, example)
		run_guard_example(checked, session, example, i);
}

/* Everything in `want` is in `got`; lists are compared item by item. */
static bool
is_subset(const json_t *want, const json_t *got)
{
	const char *key;
	json_t *value;
	size_t i;

	if (json_is_number(want) && json_is_number(got))
		return json_number_value(want) == json_number_value(got);
	if (json_is_object(want) && json_is_object(got)) {
		json_object_foreach ((json_t *)(uintptr_t)want, key, value) {
			if (!is_subset(value, json_object_get(got, key)))
				return false;
		}
		return true;
	}
	if (json_is_array(want) && json_is_array(got)) {
		json_array_foreach (want, i, value) {
			if (!is_subset(value, json_array_get(got, i)))
				return false;
		}
		return true;
	}
	return json_equal(want, got);
}

static void
run_examples(
    struct checked *checked, struct script_session *session, const char *hook)
{
	json_t *example;
	size_t i;

	json_array_foreach (
	    json_object_get(checked->fields, "examples"), i, example) {
		json_t *input = json_object_get(example, "input");
		json_t *output = json_object_get(example, "output");
		json_t *args =
		    json_pack("[O,o]", input == NULL ? json_null() : input,
			defaults_of(checked->fields));
		json_t *out = NULL;
		enum err_code rc = script_call(
		    session, checked->kind, checked->name, hook, args, &out);

		json_decref(args);
		if (rc != OK)
			problem_from(checked->gen, checked->report,
			    checked->file, err_message());
		else if (output != NULL && !is_subset(output, out))
			script_report_add(checked->report, checked->file->name,
			    line_of(checked->file, "examples"),
			    "example %zu: %s() returns something else", i + 1,
			    hook);
		if (rc == OK)
			json_decref(out);
	}
}

static void
check_module(struct checked *checked, struct script_session *session)
{
	switch (checked->kind) {
	case SCRIPT_BRAND:
		check_brand(checked, session);
		break;
	case SCRIPT_GUARDRAIL:
		check_guardrail(checked, session);
		break;
	case SCRIPT_PIPELINE:
		check_names(checked, false);
		check_list(checked, "steps", SCRIPT_STEP, true);
		break;
	case SCRIPT_STEP:
		check_names(checked, false);
		need_hook(checked, session, "run");
		run_examples(checked, session, "run");
		break;
	case SCRIPT_CHANNEL:
		check_names(checked, false);
		need_hook(checked, session, "parse");
		need_hook(checked, session, "render");
		run_examples(checked, session, "parse");
		break;
	default:
		break;
	}
}

/* ---- files ---- */

/* "guardrails/x.lua" -> SCRIPT_GUARDRAIL, "x"; SCRIPT_KINDS for the rest. */
static enum script_kind
kind_of(const char *file, char *name, size_t size)
{
	const char *slash = strrchr(file, '/');
	size_t folder_len = slash == NULL ? 0 : (size_t)(slash - file);

	if (slash == NULL)
		return SCRIPT_KINDS;
	for (int kind = 0; kind < SCRIPT_KINDS; kind++) {
		const char *folder = script_kind_folder((enum script_kind)kind);

		if (strlen(folder) != folder_len ||
		    strncmp(file, folder, folder_len) != 0)
			continue;
		str_copy_n(
		    name, size, slash + 1, strlen(slash + 1) - strlen(".lua"));
		return (enum script_kind)kind;
	}
	return SCRIPT_KINDS;
}

static enum err_code
check_file(struct script_generation *gen, const struct script_file *file,
    struct script_report *report)
{
	struct checked checked = { gen, report, file, SCRIPT_KINDS, "", NULL };
	struct script_session *session;
	enum err_code rc;

	checked.kind = kind_of(file->name, checked.name, sizeof(checked.name));
	if (checked.kind == SCRIPT_KINDS && !str_starts(file->name, "lib/"))
		return OK; /* compiled, and loaded by whoever requires it */
	if (checked.kind != SCRIPT_KINDS && !str_is_name(checked.name)) {
		script_report_add(
		    report, file->name, 1, "a file name is made of [a-z0-9_-]");
		return OK;
	}
	TRY(open_session(gen, &session));
	rc = script__load(session, file->name);
	if (rc == OK && checked.kind != SCRIPT_KINDS)
		rc = script_module_fields(
		    session, checked.kind, checked.name, &checked.fields);
	if (rc == ERR_NOT_FOUND)
		script_report_add(
		    report, file->name, 1, "the module must return a table");
	else if (rc == ERR_SCRIPT || rc == ERR_SCRIPT_LIMIT)
		problem_from(gen, report, file, err_message());
	else if (rc == OK && checked.kind != SCRIPT_KINDS)
		check_module(&checked, session);
	json_decref(checked.fields);
	script_session_close(session);
	return rc == ERR_CANCELLED || rc == ERR_DEADLINE ? rc : OK;
}

static enum err_code
check_files(struct script_generation *gen, struct script_report *report)
{
	for (size_t i = 0; i < gen->count; i++) {
		const struct script_file *file = &gen->files[i];
		const struct script_chunk *chunk = &gen->chunks[i];
		size_t before = report->count;

		if (str_ends(file->name, "_spec.lua"))
			continue;
		if (chunk->error != NULL)
			problem_from(gen, report, file, chunk->error);
		else
			script__scan(file->name, chunk->code, chunk->len,
			    script__is_global, report);
		if (report->count == before)
			TRY(check_file(gen, file, report));
	}
	return OK;
}

enum err_code
script_check(struct script_generation *gen, struct script_report *report_out)
{
	size_t brands = 0;
	enum err_code rc;

	script__generation_compile(gen);
	for (size_t i = 0; i < gen->count; i++)
		brands += str_starts(gen->files[i].name, "brands/");
	if (brands == 0)
		script_report_add(report_out, "brands", 1,
		    "there is no brand: brands/<name>.lua is missing");
	rc = check_files(gen, report_out);
	script__states_drop(gen); /* whoever checks may stop its loops next */
	return rc;
}
