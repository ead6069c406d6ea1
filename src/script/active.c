/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which generation is active. Each loop holds its own reference and reads it
 * without a lock; a switch visits every loop. First everything is prepared
 * everywhere (bytecode, a state for each brand, every brand module's top
 * level), so that the switch itself cannot fail.
 */
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "script/internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct script_generation *active; /* for threads outside all loops */
static _Thread_local struct script_generation *mine;

struct script_generation *
script_active(void)
{
	struct script_generation *gen;

	if (loop_self() != NULL)
		return script_generation_ref(mine);
	pthread_mutex_lock(&lock);
	gen = script_generation_ref(active);
	pthread_mutex_unlock(&lock);
	return gen;
}

/* Load what a list of names (or of tables with a name) names. */
static enum err_code
prepare_list(
    struct script_session *session, enum script_kind kind, const json_t *list)
{
	char file[128];
	json_t *item;
	size_t i;

	json_array_foreach (list, i, item) {
		const char *name = json_is_string(item)
				       ? json_string_value(item)
				       : json_str(item, "name");

		if (name != NULL &&
		    script__file_name(kind, name, file, sizeof(file)) &&
		    script_generation_file(session->gen, file) != NULL)
			TRY(script__load(session, file));
	}
	return OK;
}

static enum err_code
prepare_modules(struct script_session *session, const char *brand)
{
	json_auto json_t *fields = NULL;
	json_auto json_t *pipeline = NULL;
	const char *name;

	TRY(script_module_fields(session, SCRIPT_BRAND, brand, &fields));
	TRY(prepare_list(
	    session, SCRIPT_GUARDRAIL, json_object_get(fields, "guardrails")));
	TRY(prepare_list(
	    session, SCRIPT_CHANNEL, json_object_get(fields, "channels")));
	name = json_str(fields, "pipeline");
	if (name == NULL || script_module_fields(session, SCRIPT_PIPELINE, name,
				&pipeline) != OK)
		return OK; /* the check says so; a turn does not need it */
	return prepare_list(
	    session, SCRIPT_STEP, json_object_get(pipeline, "steps"));
}

static enum err_code
prepare_brand(struct script_generation *gen, const char *file)
{
	struct script_session *session;
	char brand[BRAND_ID_SIZE];
	enum err_code rc;

	if (strlen(file) - strlen("brands/.lua") >= sizeof(brand))
		return err_set(ERR_SCRIPT, "%s:1: the name is too long", file);
	str_copy_n(brand, sizeof(brand), file + strlen("brands/"),
	    strlen(file) - strlen("brands/.lua"));
	rc = script_session_open(brand, gen, NULL, &session);
	if (rc == ERR_NOT_FOUND)
		return err_set(
		    ERR_SCRIPT, "%s:1: '%s' is no brand name", file, brand);
	if (rc != OK)
		return rc;
	rc = prepare_modules(session, brand);
	if (rc == ERR_NOT_FOUND)
		rc = err_set(
		    ERR_SCRIPT, "%s:1: the module must return a table", file);
	script_session_close(session);
	return rc;
}

static enum err_code
prepare(void *arg)
{
	struct script_generation *gen = arg;

	for (size_t i = 0; i < gen->count; i++) {
		const char *file = gen->files[i].name;

		if (!str_starts(file, "brands/") ||
		    strchr(file + strlen("brands/"), '/') != NULL ||
		    str_ends(file, "_spec.lua"))
			continue;
		TRY(prepare_brand(gen, file));
		TRY(fiber_breathe());
	}
	return OK;
}

static enum err_code
switch_here(void *arg)
{
	struct script_generation *old = mine;

	mine = script_generation_ref(arg);
	script_generation_unref(old);
	return OK;
}

static void
switch_all(struct script_generation *gen)
{
	struct script_generation *old;

	for (unsigned i = 0; i < loops_count(); i++)
		loop_call(loop_at(i), switch_here, gen);
	pthread_mutex_lock(&lock);
	old = active;
	active = script_generation_ref(gen);
	pthread_mutex_unlock(&lock);
	if (gen != NULL) {
		atomic_store(&gen->since_ms, clock_wall_ms());
		metric_move_process(METRIC_SCRIPT_GENERATION,
		    LABELS(script_generation_id(gen)), 1);
	}
	if (old != NULL)
		metric_move_process(METRIC_SCRIPT_GENERATION,
		    LABELS(script_generation_id(old)), -1);
	script_generation_unref(old);
}

enum err_code
script_activate(struct script_generation *gen)
{
	script__generation_compile(gen);
	for (unsigned i = 0; i < loops_count(); i++)
		TRY(loop_call(loop_at(i), prepare, gen));
	fiber_shield();
	switch_all(gen);
	fiber_unshield();
	return OK;
}

static enum err_code
drop_here(void *arg)
{
	(void)arg;
	script__states_drop(NULL);
	return OK;
}

void
script_teardown(void)
{
	switch_all(NULL);
	for (unsigned i = 0; i < loops_count(); i++)
		loop_call(loop_at(i), drop_here, NULL);
}
