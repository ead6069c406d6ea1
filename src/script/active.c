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
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "script/internal.h"

#define PREPARE_CPU_US ((uint64_t)2000000)

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

static enum err_code
prepare_brand(struct script_generation *gen, const char *file)
{
	struct script_budget budget = script_budget_default();
	struct script_session *session;
	char brand[BRAND_ID_SIZE];
	enum err_code rc;

	if (strlen(file) - strlen("brands/.lua") >= sizeof(brand))
		return err_set(ERR_SCRIPT, "%s:1: the name is too long", file);
	str_copy_n(brand, sizeof(brand), file + strlen("brands/"),
	    strlen(file) - strlen("brands/.lua"));
	budget.cpu_us = PREPARE_CPU_US;
	rc = script_session_open(brand, gen, &budget, &session);
	if (rc == ERR_NOT_FOUND)
		return err_set(
		    ERR_SCRIPT, "%s:1: '%s' is no brand name", file, brand);
	if (rc == OK)
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
		metric_move(METRIC_SCRIPT_GENERATION,
		    LABELS(script_generation_id(gen)), 1);
	}
	if (old != NULL)
		metric_move(METRIC_SCRIPT_GENERATION,
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
	script__states_drop_all();
	return OK;
}

void
script_teardown(void)
{
	switch_all(NULL);
	for (unsigned i = 0; i < loops_count(); i++)
		loop_call(loop_at(i), drop_here, NULL);
}
