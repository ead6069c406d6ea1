/* SPDX-License-Identifier: Apache-2.0 */
/* The program: choose a command. Each one lives in a file of its own. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/config.h"
#include "extract/extract.h"
#include "main/command.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *usage;
	const char *sentence;
} commands[] = {
	{ "serve", command_serve, "xin serve",
	    "All three services in one process." },
	{ "gateway", command_gateway, "xin gateway",
	    "The channel gateway alone; asks XIN_ORCHESTRATOR_URL." },
	{ "orchestrator", command_orchestrator, "xin orchestrator",
	    "The API and the console alone, on shared back ends." },
	{ "worker", command_worker, "xin worker",
	    "The ingestion worker alone, on shared back ends." },
	{ "ingest", command_ingest,
	    "xin ingest FILE|FOLDER... --brand BRAND [--force]",
	    "Upload documents and follow them until they are ready." },
	{ "chat", command_chat, "xin chat [--brand BRAND] [--user ID]",
	    "Talk to a brand in the terminal." },
	{ "tail", command_tail, "xin tail [--brand B] [--kind KIND] [--json]",
	    "Watch turns, guards, documents and scripts as they happen." },
	{ "check", command_check, "xin check [FOLDER] [--json]",
	    "Check scripts: compile, contract, examples." },
	{ "scripts", command_scripts,
	    "xin scripts status | wait --hash HASH [URL...] | reload | rollback | "
	    "pin | unpin",
	    "Ask about, and steer, the script generations of a service." },
	{ "doctor", command_doctor, "xin doctor [--json]",
	    "Look at every configured back end; say what is wrong." },
	{ "health", command_health, "xin health [URL]",
	    "Ask a running service (http://127.0.0.1:8000) how it is; 0 = well." },
	{ "migrate", command_migrate, "xin migrate",
	    "Bring the schema of a PostgreSQL store up to date." },
	{ "backup", command_backup, "xin backup FOLDER",
	    "Copy the data folder of `xin serve`, also while it serves." },
	{ "keys", command_keys, "xin keys list | add NAME SCOPE... | revoke ID",
	    "API keys of a running service." },
	{ 0 },
};

static void
help(FILE *out)
{
	fputs("xin " XIN_VERSION ": chatbots for many brands\n\n", out);
	for (const struct command *c = commands; c->name != NULL; c++)
		fprintf(out, "  %-12s %s\n", c->name, c->sentence);
	fputs("\n`xin COMMAND --help` shows one command, `xin help settings` "
	      "all settings.\nCommands that talk to a running service read "
	      "XIN_URL and XIN_KEY.\n",
	    out);
}

static bool
asks_for_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 ||
		    strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

static int
help_settings(void)
{
	struct buf text;

	buf_init(&text, 0);
	config_describe(&text);
	fputs(buf_str(&text), stdout);
	buf_done(&text);
	return 0;
}

int
main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "--help";

	if (strcmp(name, "extract-child") == 0)
		return extract_child_main(argc - 1, argv + 1);
	if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
		puts("xin " XIN_VERSION);
		return 0;
	}
	if (strcmp(name, "help") == 0 && argc > 2 &&
	    strcmp(argv[2], "settings") == 0)
		return help_settings();
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
	    strcmp(name, "help") == 0) {
		help(stdout);
		return 0;
	}
	for (const struct command *c = commands; c->name != NULL; c++) {
		if (strcmp(c->name, name) != 0)
			continue;
		if (asks_for_help(argc - 2, argv + 2)) {
			printf("%s\n\n  %s\n", c->usage, c->sentence);
			return 0;
		}
		return c->run(argc - 2, argv + 2);
	}
	fprintf(stderr, "xin: unknown command \"%s\"\n\n", name);
	help(stderr);
	return 2;
}
