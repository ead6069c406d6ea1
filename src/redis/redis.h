/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_REDIS_REDIS_H
#define XIN_REDIS_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/*
 * A client of one Redis (RESP2; a single server or the primary behind one
 * name, no cluster). Each loop has one connection, made at the first call; the
 * commands of all its fibers share it, one write for each loop turn, answers
 * in order. A lost connection is made again by the next call, after a failure
 * with growing pauses; meanwhile calls fail at once.
 *
 * Failures, each with a sentence that names host and port:
 * ERR_UNAVAILABLE  no connection, no answer in time, wrong password, loading,
 *                  a read-only replica, out of memory: Redis cannot serve now
 * ERR_OVERLOADED   too many commands wait on this loop's connection
 * ERR_UPSTREAM     Redis answered with another error
 * ERR_DEADLINE, ERR_CANCELLED of the caller: whether the command ran is open.
 */
struct redis;

/* 0 and NULL stand for the defaults. Strings are copied. */
struct redis_options {
	const char *host;       /* name, IPv4 or IPv6 address */
	int port;               /* 6379 */
	int db;                 /* SELECT */
	const char *password;   /* AUTH as user "default"; never logged */
	uint64_t connect_ms;    /* 3000, the greeting counted in */
	uint64_t command_ms;    /* 5000; a later answer ends the connection */
	size_t max_outstanding; /* 10000 commands without answer */
	size_t max_reply_bytes; /* 64 MiB; more ends the connection */
};

/* INGEST_REDIS_HOST, _PORT, _DB, _PASSWORD. */
struct redis_options redis_options_from_config(void);
/* Checks the options, connects nothing. ERR_CONFIG. */
enum err_code redis_open(
    const struct redis_options *options, struct redis **redis_out);
/* Calls must have ended. From a fiber it WAITS, else it blocks. NULL is fine.
 */
void redis_close(struct redis *redis);
/* "Redis 127.0.0.1:6379" */
const char *redis_name(const struct redis *redis);

/* ---- replies: a tree owned by whoever asked ---- */
struct redis_reply;
void redis_reply_free(struct redis_reply *reply);
bool redis_is_nil(const struct redis_reply *reply);
/* An integer, or a string that holds one; else `fallback`. */
int64_t redis_int(const struct redis_reply *reply, int64_t fallback);
/* NULL unless a string; it may hold NUL bytes, one more stands at its end. */
const char *redis_str(const struct redis_reply *reply, size_t *len_out);
/* Elements of an array, 0 for all else; NULL past the end. */
size_t redis_count(const struct redis_reply *reply);
const struct redis_reply *redis_at(const struct redis_reply *reply, size_t i);

/*
 * Ask. `types` has a letter for each word that follows: t text, b bytes
 * (const void *, size_t), i int64_t. At most REDIS_WORDS_MAX words. The
 * deadline is the earliest of `deadline_ms` (0 = none), the task's and
 * command_ms. `reply_out` may be NULL. WAITS.
 *
 *   redis_call(redis, 0, &reply, "ttb", "SET", key, data, len)
 */
#define REDIS_WORDS_MAX 32
enum err_code redis_call(struct redis *redis, uint64_t deadline_ms,
    struct redis_reply **reply_out, const char *types, ...);

/* A Lua script: EVALSHA, and EVAL where the server does not know it yet. The
 * first `keys` words are KEYS, the rest ARGV. A static variable with the text
 * set; the hash is filled in at the first use. WAITS. */
struct redis_script {
	const char *text;
	char sha1[41];
};
enum err_code redis_eval(struct redis *redis, struct redis_script *script,
    uint64_t deadline_ms, struct redis_reply **reply_out, int keys,
    const char *types, ...);

/* Is Redis there, and does it let us in? WAITS. */
enum err_code redis_ping(struct redis *redis, uint64_t deadline_ms);

/* Hear a channel on a connection of its own, which belongs to the loop of the
 * first call: `heard` runs there, on the loop's stack, for each message and
 * after each (re)connect, since messages may have been missed. One channel for
 * each client. Does not wait. Call it again from time to time: a call on that
 * loop makes a lost connection again. */
void redis_listen(struct redis *redis, const char *channel,
    void (*heard)(void *arg), void *arg);

#endif
