/* SPDX-License-Identifier: Apache-2.0 */
/* `xin scripts` and `xin keys`: the operators' verbs of a running service. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "main/command.h"

static struct {
	char **words;
	int count;
} admin;

static enum err_code
print(json_t *answer)
{
	if (answer == NULL)
		return OK;
	json_dumpf(answer, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(answer);
	return OK;
}

static enum err_code
scripts_verb(void *arg)
{
	const char *verb = arg;
	json_auto json_t *body = NULL;
	json_t *answer = NULL;
	char path[64];

	if (strcmp(verb, "status") == 0) {
		TRY(client_json("GET", "/v1/scripts", NULL, &answer));
		return print(answer);
	}
	if (str_ends(verb, "pin"))
		body = json_pack("{s:b}", "pinned", strcmp(verb, "pin") == 0);
	else
		body = json_object();
	snprintf(path, sizeof(path), "/v1/scripts/%.20s",
	    str_ends(verb, "pin") ? "pin" : verb);
	TRY(client_json("POST", path, body, &answer));
	return print(answer);
}

int
command_scripts(int argc, char **argv)
{
	static const char *const verbs[] = { "status", "reload", "rollback",
		"pin", "unpin" };
	struct option_spec specs[] = { { 0 } };
	int count;

	if (argc > 0 && strcmp(argv[0], "wait") == 0)
		return command_scripts_wait(argc - 1, argv + 1);
	if (command_options(argc, argv, specs, &count) && count == 1) {
		for (size_t i = 0; i < 5; i++)
			if (strcmp(argv[0], verbs[i]) == 0)
				return command_setup()
					   ? client_run(scripts_verb, argv[0])
					   : 1;
	}
	fputs("usage: xin scripts status | reload | rollback | pin | unpin | "
	      "wait ...\n",
	    stderr);
	return 2;
}

static enum err_code
keys_add(void *arg)
{
	json_auto json_t *body = NULL;
	json_t *scopes = json_array(), *answer;

	(void)arg;
	for (int i = 2; i < admin.count; i++)
		json_array_append_new(scopes, json_string(admin.words[i]));
	body =
	    json_pack("{s:s, s:o}", "name", admin.words[1], "scopes", scopes);
	TRY(client_json("POST", "/v1/keys", body, &answer));
	return print(answer);
}

static enum err_code
keys_other(void *arg)
{
	json_t *answer = NULL;
	char path[96];

	(void)arg;
	if (strcmp(admin.words[0], "list") == 0) {
		TRY(client_json("GET", "/v1/keys", NULL, &answer));
	} else {
		snprintf(path, sizeof(path), "/v1/keys/%.64s", admin.words[1]);
		TRY(client_json("DELETE", path, NULL, &answer));
	}
	return print(answer);
}

int
command_keys(int argc, char **argv)
{
	struct option_spec specs[] = { { 0 } };

	admin.words = argv;
	if (command_options(argc, argv, specs, &admin.count) &&
	    admin.count > 0) {
		const char *verb = argv[0];

		if (strcmp(verb, "add") == 0 && admin.count >= 3)
			return command_setup() ? client_run(keys_add, NULL) : 1;
		if ((strcmp(verb, "list") == 0 && admin.count == 1) ||
		    (strcmp(verb, "revoke") == 0 && admin.count == 2))
			return command_setup() ? client_run(keys_other, NULL)
					       : 1;
	}
	fputs("usage: xin keys list | add NAME SCOPE... | revoke ID\n", stderr);
	return 2;
}
