/* SPDX-License-Identifier: Apache-2.0 */
/* The shared queue: questions that change nothing, and the health text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checkup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "queue/queue_redis.h"

#define HEALTH_MS     UINT64_C(60000)
#define HEALTH_TTL_MS ((int64_t)61000)

/* ---- position ---- */

/*
 * The turns before this one, as in queue_sqlite_read.c: of its own brand those
 * that stand before it, of each other brand as many turns as come in that
 * time. Behind the first 300 jobs its rank is the answer.
 */
static struct redis_script position_script = {
	.text = LUA_NOW LUA_BRAND LUA_FREE LUA_PAYLOADS
	"local queue, turn, lock, pass = unpack(KEYS)\n"
	"local id = ARGV[2]\n"
	"if redis.call('EXISTS', lock) == 1 then return -1 end\n"
	"local rank = redis.call('ZRANK', queue, id)\n"
	"if not rank then return -1 end\n"
	"if rank >= 300 then return rank end\n"
	"local ids = free(redis.call('ZRANGEBYSCORE', queue, '-inf',"
	" now(ARGV[1]), 'LIMIT', 0, 300), pass)\n"
	"local records = payloads(ids)\n"
	"local mine, before, count = nil, 0, {}\n"
	"for i, other in ipairs(ids) do\n"
	"  if other == id then mine = brand(records[i]) end\n"
	"end\n"
	"if not mine then return rank end\n"
	"local met = false\n"
	"for i, other in ipairs(ids) do\n"
	"  local b = brand(records[i])\n"
	"  if other == id then met = true end\n"
	"  if b ~= mine then count[b] = (count[b] or 0) + 1\n"
	"  elseif not met then before = before + 1 end\n"
	"end\n"
	"local last = redis.call('GET', turn) or ''\n"
	"local position, wraps = before, mine <= last\n"
	"for b, n in pairs(count) do\n"
	"  local turns, earlier = before, wraps\n"
	"  if (b <= last) == wraps then earlier = b < mine end\n"
	"  if earlier then turns = turns + 1 end\n"
	"  position = position + math.min(n, turns)\n"
	"end\n"
	"return position\n"
};

enum err_code
queue_redis__position(
    struct queue *queue, const char *id, int64_t *position_out)
{
	struct queue_redis *q = queue_redis__of(queue);
	struct queue_redis_keys keys;
	struct redis_reply *reply;

	queue_redis__keys(id, &keys);
	TRY(redis_eval(q->redis, &position_script, 0, &reply, 4, "ttttit",
	    q->name, q->turn_key, keys.lock, q->pass_key, queue_redis__now(),
	    id));
	*position_out = redis_int(reply, -1);
	redis_reply_free(reply);
	return OK;
}

/* ---- depth ---- */

/* Running jobs stay in the queue with the score they were due at, so they
 * stand in front. Also ages ARQ's abort set, which ARQ itself never does. */
static struct redis_script depth_script = {
	.text = LUA_NOW
	"local queue, dead = KEYS[1], KEYS[2]\n"
	"local t = now(ARGV[1])\n"
	"redis.call('ZREMRANGEBYSCORE', 'arq:abort', '-inf',"
	" t - tonumber(ARGV[2]))\n"
	"local due = redis.call('ZCOUNT', queue, '-inf', t)\n"
	"local all = redis.call('ZCARD', queue)\n"
	"local ids = redis.call('ZRANGEBYSCORE', queue, '-inf', t,"
	" 'WITHSCORES', 'LIMIT', 0, 1000)\n"
	"local running, oldest, keys = 0, 0, {}\n"
	"for i = 1, #ids, 2 do\n"
	"  keys[#keys + 1] = 'arq:in-progress:' .. ids[i]\n"
	"end\n"
	"local held = #keys > 0 and redis.call('MGET', unpack(keys)) or {}\n"
	"for i = 1, #keys do\n"
	"  if held[i] then running = running + 1\n"
	"  elseif oldest == 0 then oldest = t - tonumber(ids[2 * i]) end\n"
	"end\n"
	"return { due - running, all - due, running,"
	" redis.call('ZCARD', dead), math.floor(oldest) }\n"
};

enum err_code
queue_redis__depth(struct queue *queue, struct queue_depth *depth_out)
{
	struct queue_redis *q = queue_redis__of(queue);
	struct redis_reply *reply;

	TRY(redis_eval(q->redis, &depth_script, 0, &reply, 2, "ttii", q->name,
	    q->dead_key, queue_redis__now(), QUEUE_JOB_TTL_MS));
	*depth_out = (struct queue_depth){
		.waiting = redis_int(redis_at(reply, 0), 0),
		.delayed = redis_int(redis_at(reply, 1), 0),
		.running = redis_int(redis_at(reply, 2), 0),
		.dead = redis_int(redis_at(reply, 3), 0),
		.oldest_wait_ms = redis_int(redis_at(reply, 4), 0),
	};
	redis_reply_free(reply);
	return OK;
}

/* ---- dead letters ---- */

static struct redis_script dead_script = {
	.text = "local ids = redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1)\n"
		"if #ids == 0 then return {} end\n"
		"return redis.call('HMGET', KEYS[2], unpack(ids))\n"
};

enum err_code
queue_redis__dead(struct queue *queue, int limit, json_t **items_out)
{
	struct queue_redis *q = queue_redis__of(queue);
	struct redis_reply *reply;
	json_t *items;

	TRY(redis_eval(q->redis, &dead_script, 0, &reply, 2, "tti", q->dead_key,
	    q->letters_key, (int64_t)limit));
	items = json_array();
	for (size_t i = 0; i < redis_count(reply); i++) {
		size_t len;
		const char *text = redis_str(redis_at(reply, i), &len);
		json_t *letter;

		if (text != NULL && json_parse(text, len, &letter) == OK)
			json_array_append_new(items, letter);
	}
	redis_reply_free(reply);
	*items_out = items;
	return OK;
}

/* ---- health ---- */

static struct redis_script health_script = {
	.text = "redis.call('PSETEX', KEYS[1], ARGV[1],"
		" ARGV[2] .. redis.call('ZCARD', KEYS[2]))\n"
		"return 1\n"
};

/* The key is the queue's, not the worker's (as in ARQ): it says that somebody
 * serves it. Renewed each half of its life; never deleted, it expires. */
void
queue_redis__health(struct queue_redis *q)
{
	uint64_t now = clock_mono_ms(), due = atomic_load(&q->health_at_ms);
	time_t seconds = (time_t)(clock_wall_ms() / 1000);
	char when[32], text[160];
	struct tm local;

	if (now < due || !atomic_compare_exchange_strong(
			     &q->health_at_ms, &due, now + HEALTH_MS / 2))
		return;
	localtime_r(&seconds, &local);
	strftime(when, sizeof(when), "%b-%d %H:%M:%S", &local);
	snprintf(text, sizeof(text),
	    "%s j_complete=%lld j_failed=%lld j_retried=%lld j_ongoing=%lld "
	    "queued=",
	    when, (long long)q->complete, (long long)q->failed,
	    (long long)q->retried, (long long)q->ongoing);
	redis_eval(q->redis, &health_script, 0, NULL, 2, "ttit", q->health_key,
	    q->name, HEALTH_TTL_MS, text);
}

/* ---- checkup ---- */

/* A field of INFO, "?" when it is absent. */
static void
info_field(const char *info, const char *name, char *out, size_t size)
{
	const char *at = strstr(info, name);

	snprintf(out, size, "?");
	if (at != NULL && at[strlen(name)] == ':') {
		at += strlen(name) + 1;
		snprintf(out, size, "%.*s", (int)strcspn(at, "\r\n"), at);
	}
}

static enum err_code
server_skew(struct queue_redis *q, int64_t *skew_ms_out)
{
	struct redis_reply *reply;

	TRY(redis_call(q->redis, 0, &reply, "t", "TIME"));
	*skew_ms_out = redis_int(redis_at(reply, 0), 0) * 1000 +
		       redis_int(redis_at(reply, 1), 0) / 1000 -
		       (int64_t)clock_wall_ms();
	redis_reply_free(reply);
	return OK;
}

enum err_code
queue_redis__checkup(struct queue *queue, struct checkup *checkup)
{
	struct queue_redis *q = queue_redis__of(queue);
	char version[32], policy[32], aof[8];
	struct redis_reply *reply;
	const char *info;
	int64_t skew_ms;

	TRY(server_skew(q, &skew_ms));
	TRY(redis_call(q->redis, 0, &reply, "t", "INFO"));
	info = redis_str(reply, NULL);
	info = info != NULL ? info : "";
	info_field(info, "redis_version", version, sizeof(version));
	info_field(info, "maxmemory_policy", policy, sizeof(policy));
	info_field(info, "aof_enabled", aof, sizeof(aof));
	redis_reply_free(reply);
	snprintf(checkup->facts, sizeof(checkup->facts),
	    "%.80s (%s), queue %.60s in %s, clock %+lld s",
	    redis_name(q->redis), version, q->name,
	    q->format == QUEUE_ARQ_JSON ? "json" : "pickle",
	    (long long)skew_ms / 1000);
	if (strncmp(policy, "allkeys", 7) == 0 ||
	    strncmp(policy, "volatile", 8) == 0)
		snprintf(checkup->advice, sizeof(checkup->advice),
		    "maxmemory-policy is %s: when memory is short Redis throws "
		    "jobs away; set noeviction",
		    policy);
	else if (llabs(skew_ms) > CHECKUP_SKEW_MS)
		snprintf(checkup->advice, sizeof(checkup->advice),
		    "the clock of Redis differs by %lld s: jobs of Python "
		    "producers start that much too late or too early; set the "
		    "clock",
		    llabs(skew_ms) / 1000);
	else if (strcmp(aof, "0") == 0)
		snprintf(checkup->advice, sizeof(checkup->advice),
		    "appendonly is off: a restart of Redis forgets jobs until "
		    "the reaper puts them again; set appendonly yes");
	return OK;
}
