/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared queue: ARQ's wire format on Redis, with what ARQ lacks: leases
 * that have an owner and are renewed, ends that only the owner can write,
 * looking past jobs that others hold, fair turns, dead letters, and a hint on
 * a channel for each put. Each op is one Lua script, so one round trip, and
 * nobody sees half of it.
 *
 * A claim or an end whose answer is not read would leave the job behind until
 * its lease is over, so these are shielded from cancellation; the client's own
 * deadline bounds them.
 */
#include "queue/queue_redis.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/waiters.h"

#define POLL_MS   250
#define BEAT_MS   1000 /* as ARQ, an abort is heard within a second */
#define LOOKS_MAX 64   /* unreadable jobs buried in one take */

int64_t
queue_redis__now(void)
{
	return clock_is_fake() ? (int64_t)clock_wall_ms() : 0;
}

int64_t
queue_redis__wall(int64_t wait_ms)
{
	return (int64_t)clock_wall_ms() + wait_ms;
}

void
queue_redis__keys(const char *id, struct queue_redis_keys *keys_out)
{
	snprintf(keys_out->job, sizeof(keys_out->job), "arq:job:%s", id);
	snprintf(
	    keys_out->lock, sizeof(keys_out->lock), "arq:in-progress:%s", id);
	snprintf(keys_out->retry, sizeof(keys_out->retry), "arq:retry:%s", id);
	snprintf(
	    keys_out->result, sizeof(keys_out->result), "arq:result:%s", id);
}

/* ---- put ---- */

/* ARQ refuses an id while its result is kept; ours is free once it ended, so
 * the old result goes. 1 = new, 0 = waits or runs already, -1 = full. */
static struct redis_script put_script = {
	.text = LUA_NOW
	"local job, result, retry, lock, queue, dead, letters ="
	" unpack(KEYS)\n"
	"local id, payload, ttl = ARGV[2], ARGV[3], tonumber(ARGV[5])\n"
	"local t = now(ARGV[1])\n"
	"local due = tonumber(ARGV[4])\n"
	"if due <= 0 then due = t end\n"
	"local score = redis.call('ZSCORE', queue, id)\n"
	"if score and redis.call('EXISTS', job) == 1 then\n"
	"  if due < tonumber(score) and redis.call('EXISTS', lock) == 0 then\n"
	"    redis.call('ZADD', queue, due, id)\n"
	"    redis.call('PUBLISH', ARGV[7], id)\n"
	"  end\n"
	"  return 0\n"
	"end\n"
	"if redis.call('ZCARD', queue) >= tonumber(ARGV[6]) then return -1 end\n"
	"redis.call('DEL', result, retry)\n"
	"redis.call('ZREM', 'arq:abort', id)\n"
	"if redis.call('ZREM', dead, id) == 1 then\n"
	"  redis.call('HDEL', letters, id)\n"
	"end\n"
	"redis.call('PSETEX', job, math.max(due - t, 0) + ttl, payload)\n"
	"redis.call('ZADD', queue, due, id)\n"
	"redis.call('PUBLISH', ARGV[7], id)\n"
	"return 1\n"
};

static enum err_code
put_answer(struct redis_reply *reply, enum queue_put_result *result_out)
{
	int64_t answer = redis_int(reply, -2);

	redis_reply_free(reply);
	if (answer == -1)
		return err_set(ERR_OVERLOADED,
		    "the queue is full: %lld jobs wait",
		    (long long)config_int(CFG_MAX_QUEUE));
	*result_out = answer == 1 ? QUEUE_PUT_NEW : QUEUE_PUT_KNOWN;
	return OK;
}

static enum err_code
queue_redis_put(struct queue *queue, const char *id, const char *brand,
    const char *function, const char *kwargs, int64_t run_at,
    enum queue_put_result *result_out)
{
	struct queue_redis *q = queue_redis__of(queue);
	struct queue_redis_keys keys;
	struct redis_reply *reply;
	struct buf record;
	enum err_code rc;

	(void)brand; /* readers find it in kwargs.brand_id */
	buf_init(&record, 0);
	rc = queue_arq__write(
	    q->format, function, kwargs, (int64_t)clock_wall_ms(), &record);
	queue_redis__keys(id, &keys);
	if (rc == OK)
		rc = redis_eval(q->redis, &put_script, 0, &reply, 7,
		    "ttttttt"
		    "itbiiit",
		    keys.job, keys.result, keys.retry, keys.lock, q->name,
		    q->dead_key, q->letters_key, queue_redis__now(), id,
		    record.data, record.len, run_at, QUEUE_JOB_TTL_MS,
		    config_int(CFG_MAX_QUEUE), q->wake_channel);
	buf_done(&record);
	return rc == OK ? put_answer(reply, result_out) : rc;
}

/* ---- take ---- */

/*
 * Looks at the 16 oldest due jobs that are free, paging past held ones, at the
 * 8 newest, and at 8 somewhere between: so a small brand's job is seen at once
 * behind ten thousand of another, and the step costs the same however long the
 * queue is. The first brand after the one served last wins, and of it the
 * oldest job seen. Answers {id, payload, starts, aborted}, with the function
 * for one too large, or {ms until the next}.
 */
static struct redis_script take_script = {
	.text = LUA_NOW LUA_BRAND LUA_FREE LUA_PAYLOADS
	"local queue, turn, pass = unpack(KEYS)\n"
	"local token, lease = ARGV[2], ARGV[3]\n"
	"local t = now(ARGV[1])\n"
	"redis.call('ZREMRANGEBYSCORE', pass, '-inf', t)\n"
	"local window, seen = {}, {}\n"
	"local function look(ids, most)\n"
	"  for _, id in ipairs(free(ids, pass)) do\n"
	"    if #window < most and not seen[id] then\n"
	"      window[#window + 1], seen[id] = id, true\n"
	"    end\n"
	"  end\n"
	"end\n"
	"local off, page = 0, 32\n"
	"repeat\n"
	"  local ids = redis.call('ZRANGEBYSCORE', queue, '-inf', t, 'LIMIT',"
	" off, page)\n"
	"  look(ids, 16)\n"
	"  off = off + #ids\n"
	"  local last = #ids < page\n"
	"  page = 100\n"
	"until last or #window == 16 or off >= 5000\n"
	"if #window == 16 then\n"
	"  local due = redis.call('ZCOUNT', queue, '-inf', t)\n"
	"  local at = t % due\n"
	"  look(redis.call('ZRANGE', queue, at, math.min(at + 7, due - 1)), 24)\n"
	"  look(redis.call('ZRANGE', queue, math.max(0, due - 8), due - 1), 32)\n"
	"end\n"
	"if #window == 0 then\n"
	"  local next = redis.call('ZRANGEBYSCORE', queue, '(' .. t, '+inf',"
	" 'WITHSCORES', 'LIMIT', 0, 1)\n"
	"  return { next[2] and math.ceil(tonumber(next[2]) - t) or -1 }\n"
	"end\n"
	"local records = payloads(window)\n"
	"local last = redis.call('GET', turn) or ''\n"
	"local best, first, best_at, first_at\n"
	"for i = 1, #window do\n"
	"  local b = brand(records[i])\n"
	"  if not first or b < first then first, first_at = b, i end\n"
	"  if b > last and (not best or b < best) then best, best_at = b, i end\n"
	"end\n"
	"if not best then best, best_at = first, first_at end\n"
	"local id, record = window[best_at], records[best_at]\n"
	"redis.call('SET', 'arq:in-progress:' .. id, token, 'PX', lease)\n"
	"redis.call('SET', turn, best)\n"
	"local starts = redis.call('INCR', 'arq:retry:' .. id)\n"
	"redis.call('EXPIRE', 'arq:retry:' .. id, ARGV[4])\n"
	"local ttl = redis.call('PTTL', 'arq:job:' .. id)\n"
	"if ttl >= 0 and ttl < tonumber(ARGV[5]) / 2 then\n"
	"  redis.call('PEXPIRE', 'arq:job:' .. id, ARGV[5])\n"
	"end\n"
	"local large\n"
	"if record and #record > tonumber(ARGV[6]) then\n"
	"  large, record = func(record), false\n"
	"end\n"
	"return { id, record, starts, redis.call('ZREM', 'arq:abort', id),"
	" large }\n"
};

/* The producer may have said with which try it begins; as ARQ does it. */
static void
honour_try(struct queue_redis *q, struct job *job, int64_t job_try)
{
	struct queue_redis_keys keys;

	if (job_try <= job->attempt)
		return;
	job->attempt = job_try;
	queue_redis__keys(job->id, &keys);
	redis_call(q->redis, 0, NULL, "ttiti", "SET", keys.retry, job_try, "EX",
	    QUEUE_RETRY_TTL_S);
}

static void
read_claim(
    struct queue_redis *q, const struct redis_reply *reply, struct job *job)
{
	const char *record, *large;
	size_t len;

	str_copy(job->id, sizeof(job->id), redis_str(redis_at(reply, 0), NULL));
	job->attempt = redis_int(redis_at(reply, 2), 1);
	job->aborted = redis_int(redis_at(reply, 3), 0) > 0;
	job->taken_at = (int64_t)clock_wall_ms();
	record = redis_str(redis_at(reply, 1), &len);
	if (record != NULL) {
		honour_try(q, job, queue_arq__read(record, len, job));
		return;
	}
	large = redis_str(redis_at(reply, 4), NULL);
	job->function = mem_strdup(large != NULL ? large : "");
	job->args = mem_strdup("[]");
	job->kwargs = mem_strdup("{}");
	job->fault =
	    mem_strdup(large != NULL ? "its record is over 1 MiB: pass large "
				       "data by reference"
				     : "job expired: its record is gone");
}

static enum err_code
claim(struct queue_redis *q, int64_t lease_ms, struct queue_look *look,
    struct job *job)
{
	struct redis_reply *reply;
	int64_t wait_ms;

	ident_new("jb", job->token);
	TRY(redis_eval(q->redis, &take_script, 0, &reply, 3, "tttitiiii",
	    q->name, q->turn_key, q->pass_key, queue_redis__now(), job->token,
	    lease_ms, QUEUE_RETRY_TTL_S, QUEUE_JOB_TTL_MS, QUEUE_RECORD_MAX));
	if (redis_count(reply) == 1) {
		wait_ms = redis_int(redis_at(reply, 0), -1);
		redis_reply_free(reply);
		if (wait_ms >= 0)
			look->next_at = queue_redis__wall(wait_ms);
		return err_set(ERR_NOT_FOUND, "no job is due");
	}
	read_claim(q, reply, job);
	redis_reply_free(reply);
	return OK;
}

static bool
is_ours(const struct queue_redis *q, const struct job *job)
{
	const char *const *name = q->queue.functions;

	if (name == NULL || job->function[0] == '\0')
		return true;
	while (*name != NULL && strcmp(*name, job->function) != 0)
		name++;
	return *name != NULL;
}

/* One that nobody ends: it kills its workers. One start more than the ceiling
 * is handed out: the worker then says so in the document's row. */
static void
check_starts(struct job *job)
{
	if (job->fault == NULL &&
	    job->attempt > config_int(CFG_MAX_ATTEMPTS) + 1)
		job->fault = mem_printf("started %lld times and never ended",
		    (long long)job->attempt - 1);
}

/* Looks until there is one to hand out. */
static enum err_code
take(struct queue_redis *q, int64_t lease_ms, struct queue_look *look,
    struct job *job_out)
{
	for (int i = 0; i < LOOKS_MAX; i++) {
		struct job job = { .id = "" };
		enum err_code rc;

		TRY(claim(q, lease_ms, look, &job));
		if (!is_ours(q, &job)) {
			rc = queue_redis__pass(q, &job);
			look->passed++;
		} else {
			check_starts(&job);
			if (job.fault == NULL) {
				*job_out = job;
				return OK;
			}
			rc = queue_redis__bury(&q->queue, &job, job.fault);
			look->buried++;
		}
		job_done(&job);
		if (rc != OK && rc != ERR_CONFLICT)
			return rc;
	}
	look->next_at = queue_redis__wall(0); /* go on, after a breath */
	return err_set(ERR_NOT_FOUND, "no job of ours among those looked at");
}

static void
heard(void *arg)
{
	struct queue_redis *q = arg;

	waiters_wake_one(q->queue.waiters);
}

static enum err_code
queue_redis_take(struct queue *queue, int64_t lease_ms,
    struct queue_look *look_out, struct job *job_out)
{
	struct queue_redis *q = queue_redis__of(queue);
	enum err_code rc;

	redis_listen(q->redis, q->wake_channel, heard, q);
	queue_redis__health(q);
	fiber_shield();
	rc = take(q, lease_ms, look_out, job_out);
	fiber_unshield();
	if (rc == OK)
		atomic_fetch_add(&q->ongoing, 1);
	return rc;
}

/* ---- opening ---- */

static void
queue_redis_close(struct queue *queue)
{
	struct queue_redis *q = queue_redis__of(queue);

	redis_close(q->redis);
	mem_free(q->name);
	mem_free(q->turn_key);
	mem_free(q->dead_key);
	mem_free(q->letters_key);
	mem_free(q->health_key);
	mem_free(q->pass_key);
	mem_free(q->wake_channel);
	mem_free(q);
}

/* All is in the settings: INGEST_REDIS_*, XIN_QUEUE_FORMAT. Connects at the
 * first call. */
static enum err_code
queue_redis_open(const char *url, struct sqlite *db, struct queue **queue_out)
{
	const struct redis_options options = redis_options_from_config();
	const char *format = config_str(CFG_QUEUE_FORMAT);
	const char *name = config_str(CFG_REDIS_QUEUE);
	struct queue_redis *q;
	struct redis *redis;

	(void)url;
	(void)db;
	if (strcmp(format, "json") != 0 && strcmp(format, "pickle") != 0)
		return err_set(ERR_CONFIG,
		    "XIN_QUEUE_FORMAT is \"%.32s\": want json or pickle",
		    format);
	if (!str_is_utf8(name, strlen(name)))
		return err_set(
		    ERR_CONFIG, "INGEST_REDIS_QUEUE_NAME: want UTF-8 text");
	TRY(redis_open(&options, &redis));
	q = mem_zero(sizeof(*q));
	q->redis = redis;
	q->format = format[0] == 'j' ? QUEUE_ARQ_JSON : QUEUE_ARQ_PICKLE;
	q->name = mem_strdup(name);
	q->turn_key = mem_printf("xin:%s:turn", name);
	q->dead_key = mem_printf("xin:%s:dead", name);
	q->letters_key = mem_printf("xin:%s:letters", name);
	q->pass_key = mem_printf("xin:%s:pass", name);
	q->wake_channel = mem_printf("xin:%s:wake", name);
	q->health_key = mem_printf("%s:health-check", name);
	*queue_out = &q->queue;
	return OK;
}

const struct queue_backend queue_redis_backend = {
	.scheme = "redis:",
	.open = queue_redis_open,
	.close = queue_redis_close,
	.checkup = queue_redis__checkup,
	.put = queue_redis_put,
	.take = queue_redis_take,
	.renew = queue_redis__renew,
	.finish = queue_redis__finish,
	.retry = queue_redis__retry,
	.bury = queue_redis__bury,
	.abort = queue_redis__abort,
	.position = queue_redis__position,
	.depth = queue_redis__depth,
	.dead = queue_redis__dead,
	.poll_ms = POLL_MS,
	.beat_ms = BEAT_MS,
};
