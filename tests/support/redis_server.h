/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SUPPORT_REDIS_SERVER_H
#define XIN_SUPPORT_REDIS_SERVER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A real redis-server for a test: on a free loopback port, in a folder of its
 * own, nothing saved, dead at the latest with the test. For the main thread,
 * before loops start.
 */
struct redis_server;

/* False, with a line that says so, when redis-server cannot be had: the caller
 * skips by name. */
bool redis_server_have(void);
/* `password` NULL = none. Ends the test when the server does not start. */
struct redis_server *redis_server_start(const char *password);
int redis_server_port(const struct redis_server *server);
/* SIGKILL, and the same port again, empty. */
void redis_server_kill(struct redis_server *server);
void redis_server_restart(struct redis_server *server);
/* SIGSTOP: a server that is there and says nothing; and SIGCONT. */
void redis_server_freeze(struct redis_server *server, bool frozen);
void redis_server_stop(struct redis_server *server);

/* From a fiber: everything in Redis that expires is older by `ms`; for tests
 * that move a replaced clock. And an empty Redis. */
void redis_server_pass_time(const struct redis_server *server, int64_t ms);
void redis_server_flush(const struct redis_server *server);

/* INGEST_REDIS_* point to it. */
void redis_server_configure(const struct redis_server *server);

#endif
