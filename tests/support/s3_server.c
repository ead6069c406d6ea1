/* SPDX-License-Identifier: Apache-2.0 */
/* Versity's S3 gateway as a child process. */
#include "s3_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/config.h"
#include "base/error.h"
#include "base/mem.h"

static char program[4096], *root, *sidecar;
static char address[32], url[64];
static struct sockaddr_in where;
static pid_t pid;

static bool
find_program(void)
{
	FILE *out = popen("tests/support/s3_server_get", "r");
	bool found =
	    out != NULL && fgets(program, sizeof(program), out) != NULL;

	program[strcspn(program, "\n")] = '\0';
	return (out != NULL && pclose(out) == 0) && found;
}

static void
take_port(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(where);

	where.sin_family = AF_INET;
	where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&where, size) != 0 ||
	    getsockname(fd, (struct sockaddr *)&where, &size) != 0)
		panic("no free port for the S3 server");
	close(fd);
	snprintf(
	    address, sizeof(address), "127.0.0.1:%d", ntohs(where.sin_port));
	snprintf(url, sizeof(url), "http://%s", address);
}

static bool
answers(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool open = connect(fd, (struct sockaddr *)&where, sizeof(where)) == 0;

	close(fd);
	return open;
}

_Noreturn static void
be_server(pid_t parent)
{
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	dup2(null, 0);
	dup2(null, 1);
	if (getenv("S3_SERVER_LOG") == NULL)
		dup2(null, 2);
	execl(program, program, "--port", address, "--access", S3_SERVER_KEY,
	    "--secret", S3_SERVER_SECRET, "--region", S3_SERVER_REGION,
	    "--keep-alive", "--quiet", "posix", "--sidecar", sidecar, root,
	    (char *)NULL);
	_exit(1);
}

void
s3_server_again(void)
{
	pid_t parent = getpid();

	pid = fork();
	if (pid == 0)
		be_server(parent);
	for (int i = 0; i < 1000 && !answers(); i++)
		usleep(10000);
	if (!answers())
		panic("the S3 server does not listen on %s", address);
}

bool
s3_server_start(const char *folder)
{
	char *data = mem_printf("%s/data", folder);

	if (!find_program()) {
		fprintf(stderr, "SKIPPED: s3: the S3 server for tests cannot "
				"be had (tests/support/s3_server_get)\n");
		mem_free(data);
		return false;
	}
	root = mem_printf("%s/s3", folder);
	sidecar = mem_printf("%s/meta", folder);
	mkdir(root, 0700);
	mkdir(sidecar, 0700);
	take_port();
	s3_server_again();
	config_override(CFG_DATA_DIR, data);
	config_override(CFG_STORAGE_ENDPOINT, url);
	config_override(CFG_STORAGE_ACCESS_KEY, S3_SERVER_KEY);
	config_override(CFG_STORAGE_SECRET_KEY, S3_SERVER_SECRET);
	config_override(CFG_STORAGE_REGION, S3_SERVER_REGION);
	config_override(CFG_STORAGE_BUCKET, "xin-test");
	mem_free(data);
	return true;
}

void
s3_server_kill(void)
{
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	pid = 0;
}

void
s3_server_stop(void)
{
	s3_server_kill();
	mem_free(root);
	mem_free(sidecar);
	root = sidecar = NULL;
}

void
s3_server_freeze(bool frozen)
{
	kill(pid, frozen ? SIGSTOP : SIGCONT);
	if (frozen)
		waitpid(pid, NULL, WUNTRACED);
}

const char *
s3_server_url(void)
{
	return url;
}
