/* SPDX-License-Identifier: Apache-2.0 */
/* redis-server as a child of a test. */
#include "redis_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/config.h"
#include "base/error.h"
#include "base/mem.h"
#include "fiber_group.h"
#include "redis/redis.h"

#define START_MS 5000

struct redis_server {
	pid_t pid;
	int port;
	char *folder, *password;
};

bool
redis_server_have(void)
{
	if (system("command -v redis-server >/dev/null 2>&1") == 0)
		return true;
	printf("redis-server cannot be had here: skipped\n");
	return false;
}

static struct sockaddr_in
loopback(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int
free_port(void)
{
	struct sockaddr_in addr = loopback(0);
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&addr, len) != 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
		panic("no free port");
	close(fd);
	return ntohs(addr.sin_port);
}

static bool
answers(int port)
{
	struct sockaddr_in addr = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool up = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;

	close(fd);
	return up;
}

/* In the child. */
static void
run(const struct redis_server *server, pid_t parent)
{
	char port[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || chdir(server->folder) != 0 ||
	    freopen("redis.log", "w", stdout) == NULL)
		_exit(127);
	snprintf(port, sizeof(port), "%d", server->port);
	execlp("redis-server", "redis-server", "--port", port, "--bind",
	    "127.0.0.1", "--save", "", "--appendonly", "no", "--requirepass",
	    server->password, (char *)NULL);
	_exit(127);
}

void
redis_server_restart(struct redis_server *server)
{
	pid_t parent = getpid();

	server->pid = fork();
	if (server->pid == 0)
		run(server, parent);
	for (int waited = 0; !answers(server->port); waited += 10) {
		if (waited > START_MS)
			panic("redis-server did not start; see %s/redis.log",
			    server->folder);
		usleep(10000);
	}
}

struct redis_server *
redis_server_start(const char *password)
{
	struct redis_server *server = mem_zero(sizeof(*server));

	server->folder = test_folder_new();
	server->port = free_port();
	server->password = mem_strdup(password != NULL ? password : "");
	redis_server_restart(server);
	return server;
}

int
redis_server_port(const struct redis_server *server)
{
	return server->port;
}

void
redis_server_kill(struct redis_server *server)
{
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
}

void
redis_server_freeze(struct redis_server *server, bool frozen)
{
	kill(server->pid, frozen ? SIGSTOP : SIGCONT);
}

void
redis_server_stop(struct redis_server *server)
{
	if (server == NULL)
		return;
	redis_server_kill(server);
	test_folder_remove(server->folder);
	mem_free(server->password);
	mem_free(server);
}

void
redis_server_configure(const struct redis_server *server)
{
	char port[16];

	snprintf(port, sizeof(port), "%d", server->port);
	config_override(CFG_REDIS_HOST, "127.0.0.1");
	config_override(CFG_REDIS_PORT, port);
	config_override(CFG_REDIS_PASSWORD, server->password);
}

static struct redis *
client(const struct redis_server *server)
{
	const struct redis_options options = { .host = "127.0.0.1",
		.port = server->port,
		.password = server->password };
	struct redis *redis;

	if (redis_open(&options, &redis) != OK)
		panic("%s", err_message());
	return redis;
}

void
redis_server_pass_time(const struct redis_server *server, int64_t ms)
{
	static struct redis_script script = {
		.text = "for _, key in ipairs(redis.call('KEYS', '*')) do\n"
			"  local ttl = redis.call('PTTL', key)\n"
			"  if ttl >= 0 then\n"
			"    redis.call('PEXPIRE', key, ttl - ARGV[1])\n"
			"  end\n"
			"end\n"
	};
	struct redis *redis = client(server);

	if (redis_eval(redis, &script, 0, NULL, 0, "i", ms) != OK)
		panic("%s", err_message());
	redis_close(redis);
}

void
redis_server_flush(const struct redis_server *server)
{
	struct redis *redis = client(server);

	if (redis_call(redis, 0, NULL, "t", "FLUSHALL") != OK)
		panic("%s", err_message());
	redis_close(redis);
}
