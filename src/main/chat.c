/* SPDX-License-Identifier: Apache-2.0 */
/* `xin chat`: a conversation with a brand, line by line. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "main/command.h"

static struct {
	const char *brand;
	const char *user;
	char conversation[64];
} chat;

static enum err_code
read_line(void *arg)
{
	char **line = arg;
	size_t cap = 0;
	ssize_t n;

	if (isatty(STDIN_FILENO)) {
		fprintf(stderr, "%s> ", chat.brand);
		fflush(stderr);
	}
	*line = NULL;
	n = getline(line, &cap, stdin);
	if (n <= 0) {
		mem_free(*line);
		*line = NULL;
		return OK;
	}
	while (n > 0 && ((*line)[n - 1] == '\n' || (*line)[n - 1] == '\r'))
		(*line)[--n] = '\0';
	return OK;
}

static void
show(const json_t *answer)
{
	const json_t *guards = json_object_get(answer, "guards");
	const json_t *citations = json_object_get(answer, "citations");
	json_t *item;
	size_t i;

	puts(json_str(answer, "reply") ?: "");
	json_array_foreach (citations, i, item)
		printf("  [%zu] %s (%s)\n", i + 1, json_str(item, "title"),
		    json_str(item, "source_id"));
	json_array_foreach (guards, i, item) {
		const char *action = json_str(item, "action") ?: "";

		if (strcmp(action, "allow") != 0)
			printf("  guard %s: %s at %s\n",
			    json_str(item, "guard"), action,
			    json_str(item, "stage"));
	}
	fflush(stdout);
}

static enum err_code
say(const char *line)
{
	json_auto json_t *answer = NULL;
	json_auto json_t *body = json_pack("{s:s, s:{s:s}, s:s, s:s?}",
	    "message", line, "user", "id", chat.user, "channel", "cli",
	    "conversation_id", chat.conversation[0] ? chat.conversation : NULL);
	char path[128];

	if (body == NULL)
		return err_set(ERR_INVALID, "the line is not valid UTF-8");
	snprintf(path, sizeof(path), "/v1/brands/%.63s/turns", chat.brand);
	TRY(client_json("POST", path, body, &answer));
	str_copy(chat.conversation, sizeof(chat.conversation),
	    json_str(answer, "conversation_id") ?: "");
	show(answer);
	return OK;
}

static enum err_code
run(void *arg)
{
	char *line;

	(void)arg;
	for (;;) {
		enum err_code rc = OK;

		TRY(pool_run(read_line, &line));
		if (line == NULL)
			return OK;
		if (line[0] != '\0')
			rc = say(line);
		mem_free(line);
		if (rc != OK && !isatty(STDIN_FILENO))
			return rc;
		if (rc != OK)
			command_fail(rc);
	}
}

int
command_chat(int argc, char **argv)
{
	struct option_spec specs[] = { { "brand", &chat.brand, NULL },
		{ "user", &chat.user, NULL }, { 0 } };
	int count;

	chat.brand = "default";
	chat.user = "terminal";
	if (!command_options(argc, argv, specs, &count) || count != 0) {
		fputs("usage: xin chat [--brand BRAND] [--user ID]\n", stderr);
		return 2;
	}
	return command_setup() ? client_run(run, NULL) : 1;
}
