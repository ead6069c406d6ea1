/* SPDX-License-Identifier: Apache-2.0 */
/* `xin health`: the health of a running service as an exit code, for images
 * that have nothing else to ask with. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/str.h"
#include "main/command.h"

static enum err_code
ask(void *arg)
{
	json_auto json_t *answer = NULL;
	const char *status;

	(void)arg;
	TRY(client_call("GET", "/health", NULL, NULL, 0, &answer));
	status = json_str(answer, "status") ?: "no answer of ours";
	json_dumpf(answer, stdout, JSON_COMPACT);
	putchar('\n');
	return str_eq(status, "ok") ? OK
				    : err_set(ERR_UNAVAILABLE, "%s", status);
}

int
command_health(int argc, char **argv)
{
	const struct option_spec options[] = { { 0 } };
	int words;

	if (!command_options(argc, argv, options, &words) || words > 1) {
		fputs("usage: xin health [URL]\n", stderr);
		return 2;
	}
	if (words == 1)
		setenv("XIN_URL", argv[0], 1); /* as for the other commands */
	return command_setup() ? client_run(ask, NULL) : 1;
}
