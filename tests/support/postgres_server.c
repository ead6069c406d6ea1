/* SPDX-License-Identifier: Apache-2.0 */
/* The C end of postgres_server.py: words down one pipe, "ok" up the other. */
#include "postgres_server.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"

static FILE *to, *from;
static pid_t helper;
static char url[512];

static void
spawn(void)
{
	int down[2], up[2];

	if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0)
		panic("pipe");
	helper = fork();
	if (helper == 0) {
		dup2(down[0], 0);
		dup2(up[1], 1);
		execlp("python3", "python3", "tests/support/postgres_server.py",
		    "serve", (char *)NULL);
		_exit(127);
	}
	close(down[0]);
	close(up[1]);
	to = fdopen(down[1], "w");
	from = fdopen(up[0], "r");
}

const char *
postgres_server_url(void)
{
	if (helper == 0) {
		spawn();
		if (fgets(url, sizeof(url), from) == NULL)
			strcpy(url, "python3 cannot run postgres_server.py");
		url[strcspn(url, "\n")] = '\0';
	}
	if (strncmp(url, "postgresql://", 13) == 0)
		return url;
	fprintf(stderr, "PostgreSQL is skipped: %s\n", url);
	return NULL;
}

static void
say(const char *word)
{
	char answer[16];

	fprintf(to, "%s\n", word);
	fflush(to);
	if (fgets(answer, sizeof(answer), from) == NULL)
		panic("postgres_server.py ended at %s", word);
}

void
postgres_server_kill(void)
{
	say("kill");
}

void
postgres_server_start(void)
{
	say("start");
}

void
postgres_server_stop(void)
{
	say("stop");
}

void
postgres_server_freeze(void)
{
	say("freeze");
}

void
postgres_server_thaw(void)
{
	say("thaw");
}

char *
postgres_server_fresh(void)
{
	const char *host = strchr(strchr(url, '@'), '?');
	int login = (int)(strchr(url, '@') - url);

	say("create");
	return mem_printf("%.*s@/fresh%s", login, url, host);
}

void
postgres_server_done(void)
{
	if (helper == 0)
		return;
	fclose(to);
	fclose(from);
	waitpid(helper, NULL, 0);
	helper = 0;
}
