/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_QUEUE_QUEUE_REDIS_H
#define XIN_QUEUE_QUEUE_REDIS_H

#include <stdatomic.h>
#include "queue/queue_arq.h"
#include "queue/queue_backend.h"
#include "redis/redis.h"

/*
 * Shared between the files queue_redis*.c only.
 *
 * ARQ's keys: the queue (zset: id, due ms), arq:job:<id>, arq:in-progress:<id>
 * (the lease; its value is our token), arq:retry:<id> (starts),
 * arq:result:<id>, arq:abort (zset), <queue>:health-check.
 * Ours, which Python peers never look at:
 *   xin:<queue>:turn          the brand served last
 *   xin:<queue>:pass          jobs of functions that are not ours: zset of ids
 *                             by when we look at them again
 *   xin:<queue>:dead          dead letters: zset of ids by when they ended
 *   xin:<queue>:letters       hash of id to JSON
 *   xin:<queue>:wake          channel: a job was put
 */
struct queue_redis {
	struct queue queue; /* first */
	struct redis *redis;
	char *name; /* "arq:queue" */
	char *turn_key, *dead_key, *letters_key, *health_key, *pass_key;
	char *wake_channel;
	enum queue_arq_format format;
	/* For the health text of ARQ, of this process. */
	_Atomic int64_t complete, failed, retried, ongoing;
	_Atomic uint64_t health_at_ms; /* monotonic; when it is due */
};

static inline struct queue_redis *
queue_redis__of(struct queue *queue)
{
	return (struct queue_redis *)queue;
}

/* The keys of one job, for its scripts. */
struct queue_redis_keys {
	char job[128], lock[128], retry[128], result[128];
};
void queue_redis__keys(const char *id, struct queue_redis_keys *keys_out);

/* Wall ms for a script: 0 = the server's own clock, which all replicas share.
 * Tests that replace the clock replace it there too. */
int64_t queue_redis__now(void);
/* From the script's answer about `wait_ms`. */
int64_t queue_redis__wall(int64_t wait_ms);

/* Keeps <queue>:health-check as `arq --check` wants it. WAITS now and then. */
void queue_redis__health(struct queue_redis *q);

/* ---- queue_redis_end.c: under the lease ---- */
enum err_code queue_redis__renew(
    struct queue *queue, struct job *job, int64_t lease_ms);
enum err_code queue_redis__finish(struct queue *queue, const struct job *job);
enum err_code queue_redis__retry(
    struct queue *queue, const struct job *job, int64_t run_at, bool counts);
enum err_code queue_redis__bury(
    struct queue *queue, const struct job *job, const char *reason);
enum err_code queue_redis__abort(struct queue *queue, const char *id);
/* Not ours: as if it had not been taken, and not seen by us for a while. */
enum err_code queue_redis__pass(struct queue_redis *q, const struct job *job);

/* ---- queue_redis_read.c ---- */
enum err_code queue_redis__position(
    struct queue *queue, const char *id, int64_t *position_out);
enum err_code queue_redis__depth(
    struct queue *queue, struct queue_depth *depth_out);
enum err_code queue_redis__checkup(
    struct queue *queue, struct checkup *checkup);
enum err_code queue_redis__dead(
    struct queue *queue, int limit, json_t **items_out);

/* A larger record is not fetched: it would end the connection, for all. */
#define QUEUE_RECORD_MAX  ((int64_t)1 << 20)
#define QUEUE_JOB_TTL_MS  ((int64_t)86400000) /* after it is due; as ARQ */
#define QUEUE_RETRY_TTL_S ((int64_t)88400)    /* as ARQ */

/* ---- Lua that several scripts share, to be pasted in front ---- */
/* now(arg): ms of the argument, or of the server when that is "0". */
#define LUA_NOW                                                                \
	"local function now(arg)\n"                                            \
	"  if arg ~= '0' then return tonumber(arg) end\n"                      \
	"  local t = redis.call('TIME')\n"                                     \
	"  return t[1] * 1000 + math.floor(t[2] / 1000)\n"                     \
	"end\n"

/* brand(payload): the brand_id of a record as a hint for fair turns, from JSON
 * or from pickle (a text after the key, with or without a memo mark between).
 * Being fooled costs a turn; what the worker uses is read properly. And func(
 * payload), its function, for records that are too large to be read. */
#define LUA_BRAND                                                              \
	"local function text_at(p, at)\n"                                      \
	"  local op = p:byte(at)\n"                                            \
	"  if op == 0x94 then at = at + 1\n"                                   \
	"  elseif op == 0x71 then at = at + 2\n"                               \
	"  elseif op == 0x72 then at = at + 5 end\n"                           \
	"  op = p:byte(at)\n"                                                  \
	"  local len = p:byte(at + 1) or 0\n"                                  \
	"  if op == 0x8c then return p:sub(at + 2, at + 1 + len) end\n"        \
	"  if op == 0x58 then return p:sub(at + 5, at + 4 + len) end\n"        \
	"  return ''\n"                                                        \
	"end\n"                                                                \
	"local function brand(p)\n"                                            \
	"  if not p then return '' end\n"                                      \
	"  if p:byte(1) == 0x7b then\n"                                        \
	"    return p:match('\"brand_id\"%s*:%s*\"([^\"]*)\"') or ''\n"        \
	"  end\n"                                                              \
	"  local _, at = p:find('brand_id', 1, true)\n"                        \
	"  return at and text_at(p, at + 1) or ''\n"                           \
	"end\n"                                                                \
	"local function func(p)\n"                                             \
	"  p = p:sub(1, 1024)\n"                                               \
	"  if p:byte(1) == 0x7b then\n"                                        \
	"    return p:match('\"f\"%s*:%s*\"([^\"]*)\"') or ''\n"               \
	"  end\n"                                                              \
	"  local _, at = p:find('\\140\\1f', 1, true)\n"                       \
	"  if not at then _, at = p:find('X\\1\\0\\0\\0f', 1, true) end\n"     \
	"  return at and text_at(p, at + 1) or ''\n"                           \
	"end\n"

/* free(ids, pass): those that nobody holds and that are not marked as another
 * worker's. An id that does not fit struct job is another's too. */
#define LUA_FREE                                                                 \
	"local function free(ids, pass)\n"                                       \
	"  local keys, out = {}, {}\n"                                           \
	"  if #ids == 0 then return out end\n"                                   \
	"  for i, id in ipairs(ids) do keys[i] = 'arq:in-progress:' .. id end\n" \
	"  local held = redis.call('MGET', unpack(keys))\n"                      \
	"  local marks = redis.call('EXISTS', pass) == 1\n"                      \
	"  for i, id in ipairs(ids) do\n"                                        \
	"    if not held[i] and #id < 96 and not id:find('%z')\n"                \
	"        and not (marks and redis.call('ZSCORE', pass, id)) then\n"      \
	"      out[#out + 1] = id\n"                                             \
	"    end\n"                                                              \
	"  end\n"                                                                \
	"  return out\n"                                                         \
	"end\n"

/* payloads(ids): their records, false where there is none. */
#define LUA_PAYLOADS                                                           \
	"local function payloads(ids)\n"                                       \
	"  local keys = {}\n"                                                  \
	"  if #ids == 0 then return keys end\n"                                \
	"  for i, id in ipairs(ids) do keys[i] = 'arq:job:' .. id end\n"       \
	"  return redis.call('MGET', unpack(keys))\n"                          \
	"end\n"

#endif
