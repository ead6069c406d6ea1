/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `xin check`: the same check that a running service makes before it switches.
 * The service runs it as a child: `xin check --packed -`, a packed generation
 * on stdin, the report as JSON on stdout.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "binding/binding.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "main/command.h"
#include "script/script.h"
#include "text/match.h"

#define PACKED_MAX ((size_t)80 << 20)

static struct {
	const char *folder;
	const char *packed;
	const char *patterns; /* folder of compiled pattern sets */
	bool json;
	struct script_generation *gen;
	struct script_report report;
	char id[16];
} check;

static enum err_code
read_packed(void *arg)
{
	char piece[65536];
	struct buf data;
	enum err_code rc;
	size_t n;

	(void)arg;
	buf_init(&data, PACKED_MAX);
	while ((n = fread(piece, 1, sizeof(piece), stdin)) > 0 && !data.full)
		buf_add(&data, piece, n);
	rc = data.full
		 ? err_set(ERR_TOO_LARGE, "the scripts are over 80 MiB")
		 : script_generation_unpack(data.data, data.len, &check.gen);
	buf_done(&data);
	return rc;
}

static enum err_code
read_folder(void *arg)
{
	(void)arg;
	return script_snapshot(check.folder, &check.gen);
}

static enum err_code
run(void *arg)
{
	enum err_code rc;

	(void)arg;
	TRY(pool_run(check.packed != NULL ? read_packed : read_folder, NULL));
	rc = script_check(check.gen, &check.report);
	str_copy(check.id, sizeof(check.id), script_generation_id(check.gen));
	script_generation_unref(check.gen); /* its states live on this loop */
	return rc;
}

static void
print_report(void)
{
	struct buf out;

	if (!check.json && check.packed == NULL) {
		for (size_t i = 0; i < check.report.count; i++)
			printf("%s:%d: %s\n", check.report.problems[i].file,
			    check.report.problems[i].line,
			    check.report.problems[i].message);
		if (check.report.count == 0)
			printf("ok: generation %s\n", check.id);
		return;
	}
	buf_init(&out, 0);
	script_report_json(&check.report, &out);
	puts(buf_str(&out));
	buf_done(&out);
}

int
command_check(int argc, char **argv)
{
	struct option_spec specs[] = { { "packed", &check.packed, NULL },
		{ "patterns", &check.patterns, NULL },
		{ "json", NULL, &check.json }, { 0 } };
	int count, code;

	if (!command_options(argc, argv, specs, &count) || count > 1) {
		fputs("usage: xin check [FOLDER] [--json]\n", stderr);
		return 2;
	}
	check.folder = count == 1 ? argv[0] : "lua";
	if (!command_setup())
		return 2;
	log_setup(2, LOG_LEVEL_ERROR, true); /* slow is no problem here */
	if (check.patterns != NULL && match_cache_open(check.patterns) != OK)
		return command_fail(ERR_IO);
	script_setup(binding_open);
	code = client_run(run, NULL);
	if (code == 0) {
		print_report();
		code = check.report.count > 0;
	}
	script_report_done(&check.report);
	return code;
}
