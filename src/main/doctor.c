/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `xin doctor`: every configured back end, opened and looked at as the services
 * would do it, each with a line of facts or with what is wrong and what to do;
 * `xin migrate`: the store's schema.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/checkup.h"
#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "domain/product.h"
#include "fiber/loop.h"
#include "main/back_ends.h"
#include "main/command.h"
#include "script/script.h"

enum finding { FINE, ADVICE, FAILED };

struct doctor {
	struct product product;
	json_t *findings; /* for --json; NULL = lines */
	int failed;
};

static void
tell(struct doctor *doctor, const char *name, enum finding finding,
    const char *facts, const char *advice)
{
	static const char *const words[] = { "ok", "warn", "FAIL" };

	doctor->failed += finding == FAILED;
	if (doctor->findings != NULL) {
		json_array_append_new(doctor->findings,
		    json_pack("{s:s, s:s, s:s, s:s}", "name", name, "finding",
			finding == FAILED ? "fail" : words[finding], "facts",
			facts, "advice", advice));
		return;
	}
	printf("%-5s %-11s %s\n", words[finding], name, facts);
	if (advice[0] != '\0')
		printf("%-5s %-11s -> %s\n", "", "", advice);
}

static void
check(struct doctor *doctor, const struct back_end *back_end)
{
	struct checkup checkup = { 0 };
	enum err_code rc = back_end->open(&doctor->product);

	if (rc == OK && back_end->check != NULL)
		rc = back_end->check(&doctor->product, &checkup);
	if (rc == ERR_UNAVAILABLE || rc == ERR_DEADLINE)
		snprintf(checkup.advice, sizeof(checkup.advice),
		    "does it run, and can this machine reach it? Look at %s",
		    back_end->settings);
	if (rc != OK)
		tell(doctor, back_end->name, FAILED, err_message(),
		    checkup.advice);
	else if (back_end->check != NULL)
		tell(doctor, back_end->name, checkup.advice[0] ? ADVICE : FINE,
		    checkup.facts, checkup.advice);
}

static enum err_code
examine(void *arg)
{
	struct doctor *doctor = arg;

	for (const struct back_end *b = back_ends; b->name != NULL; b++)
		check(doctor, b);
	return OK;
}

/* A data folder that is in use has a service on it, which knows better. */
static bool
open_embedded(struct doctor *doctor)
{
	enum err_code rc = back_ends_database();

	if (rc == OK)
		return true;
	tell(doctor, "data folder", rc == ERR_CONFLICT ? ADVICE : FAILED,
	    err_message(),
	    rc == ERR_CONFLICT ? "if that is a running service, ask its /health"
			       : err_help(rc));
	return false;
}

int
command_doctor(int argc, char **argv)
{
	struct doctor doctor = { 0 };
	bool json = false;
	const struct option_spec options[] = { { "json", NULL, &json }, { 0 } };
	int words;

	if (!command_options(argc, argv, options, &words) || words > 0)
		return 2;
	if (!command_setup())
		return 1;
	if (json)
		doctor.findings = json_array();
	if (loops_start(1) != OK)
		return command_fail(ERR_INTERNAL);
	if (open_embedded(&doctor))
		loop_call(loop_at(0), examine, &doctor);
	loops_stop(1000);
	back_ends_close(&doctor.product);
	if (json)
		json_dumpf(doctor.findings, stdout, JSON_INDENT(2));
	json_decref(doctor.findings);
	return doctor.failed > 0 ? 1 : 0;
}

static int
migrate_on_terminal(void)
{
	int applied, version;

	if (!command_setup())
		return 1;
	if (back_ends_migrate(&applied, &version) != OK)
		return command_fail(ERR_CONFLICT);
	if (version == 0)
		puts("the embedded store migrates by itself at start");
	else
		printf("schema %d, %d migration%s applied\n", version, applied,
		    applied == 1 ? "" : "s");
	return 0;
}

/* As a job of a cluster: its log is what is left of it. */
static int
migrate_as_job(void)
{
	int applied = 0, version = 0;
	enum err_code rc = config_load(".env");

	if (rc == OK)
		rc = command_log();
	if (rc == OK)
		rc = back_ends_migrate(&applied, &version);
	if (rc == OK)
		log_info("store.migrated", kv_int("schema", version),
		    kv_int("applied", applied));
	else
		log_error("process.failed", kv_str("error_code", err_name(rc)),
		    kv_str("error", err_message()));
	log_stop(COMMAND_LOG_MS);
	return rc == OK ? 0 : 1;
}

int
command_migrate(int argc, char **argv)
{
	const struct option_spec options[] = { { 0 } };
	int words;

	if (!command_options(argc, argv, options, &words) || words > 0)
		return 2;
	return isatty(STDOUT_FILENO) ? migrate_on_terminal() : migrate_as_job();
}
