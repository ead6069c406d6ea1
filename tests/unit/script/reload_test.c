/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Switching generations under load: turns on both loops, some of them killed,
 * while new generations become active. Every turn gets answers of the one
 * generation it began with, and everything is freed in the end. Run this one
 * under ThreadSanitizer and AddressSanitizer.
 */
#include "fiber_group.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "script_fixture.h"

#define FIBERS   4
#define SWITCHES 30

static atomic_bool stop;
static atomic_int running;
static atomic_int turns;
static atomic_int kills;
static atomic_int wrong;

static struct script_generation *
numbered(int number)
{
	char *text = mem_printf(
	    "local lib = require('lib.number')\n"
	    "local M = {}\n"
	    "function M.route(how)\n"
	    "  if how == 'die' then\n"
	    "    local t = {}\n"
	    "    while true do pcall(function() for i = 1, 100 do t[i] = "
	    "{i, tostring(i) .. how} end end) end\n"
	    "  end\n"
	    "  return lib.value\n"
	    "end\n"
	    "M.number = %d\n"
	    "return M\n",
	    number);
	char *lib = mem_printf("return {value = %d}", number);
	struct script_generation *gen = generation_of("brands/alpha.lua", text,
	    "brands/beta.lua", text, "lib/number.lua", lib, NULL);

	mem_free(text);
	mem_free(lib);
	return gen;
}

static long
ask(struct script_session *session, const char *brand, const char *how,
    enum err_code *rc_out)
{
	json_t *args = json_pack("[s]", how);
	json_t *out = NULL;
	long number = -1;

	*rc_out =
	    script_call(session, SCRIPT_BRAND, brand, "route", args, &out);
	if (*rc_out == OK) {
		number = (long)json_integer_value(out);
		json_decref(out);
	}
	json_decref(args);
	return number;
}

static void
one_turn(const char *brand, bool die)
{
	struct script_budget budget = script_budget_default();
	struct script_session *session;
	json_t *fields = NULL;
	enum err_code rc;
	long declared;

	budget.cpu_us = die ? 3000 : 2000000;
	if (script_session_open(brand, NULL, &budget, &session) != OK) {
		atomic_fetch_add(&wrong, 1);
		return;
	}
	if (script_module_fields(session, SCRIPT_BRAND, brand, &fields) != OK) {
		atomic_fetch_add(&wrong, 1);
		script_session_close(session);
		return;
	}
	declared = (long)json_integer_value(json_object_get(fields, "number"));
	json_decref(fields);
	fiber_sleep(1); /* a switch may come in here */
	if (ask(session, brand, die ? "die" : "live", &rc) != declared && !die)
		atomic_fetch_add(&wrong, 1);
	if (die && rc != ERR_SCRIPT_LIMIT)
		atomic_fetch_add(&wrong, 1);
	atomic_fetch_add(die ? &kills : &turns, 1);
	script_session_close(session);
}

static void
turns_run(void *arg)
{
	bool die = arg != NULL;

	for (int i = 0; !atomic_load(&stop); i++)
		one_turn(i & 1 ? "alpha" : "beta", die);
	atomic_fetch_sub(&running, 1);
}

static void
every_turn_ends_on_its_own_generation(void **state)
{
	struct script_generation *gen = numbered(0);

	(void)state;
	assert_int_equal(script_activate(gen), OK);
	script_generation_unref(gen);
	for (unsigned i = 0; i < loops_count(); i++)
		for (uintptr_t j = 0; j < FIBERS; j++) {
			atomic_fetch_add(&running, 1);
			assert_true(loop_spawn(loop_at(i), SERVICE_ORCHESTRATOR,
			    turns_run, j == 0 ? &stop : NULL));
		}
	for (int i = 1; i <= SWITCHES; i++) {
		gen = numbered(i);
		assert_int_equal(script_activate(gen), OK);
		script_generation_unref(gen);
		fiber_sleep(10);
	}
	atomic_store(&stop, true);
	while (atomic_load(&running) > 0)
		fiber_sleep(5);
	print_message("%d turns, %d kills, %d switches\n", atomic_load(&turns),
	    atomic_load(&kills), SWITCHES);
	assert_int_equal(atomic_load(&wrong), 0);
	assert_true(atomic_load(&turns) > 0);
	assert_true(atomic_load(&kills) > 0);
	script_teardown();
	gen = script_active();
	assert_null(gen);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_turn_ends_on_its_own_generation),
	};

	return fiber_group(tests, NULL, NULL);
}
