/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared queue under a lease: renew, and the ways a job ends. Each script
 * first compares the lease's value with the owner's token, so a worker that
 * lost it (it was stopped for longer than the lease) changes nothing. The
 * result is written in the step that takes the id off the queue: a waiting
 * Python client never sees neither.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "queue/queue_redis.h"

#define RESULT_MS   ((int64_t)3600000) /* as ARQ */
#define PASS_MS     ((int64_t)60000)
#define KWARGS_KEEP 65536 /* of a dead letter */

static enum err_code
answered(struct redis_reply *reply, const struct job *job)
{
	int64_t answer = redis_int(reply, 0);

	redis_reply_free(reply);
	if (answer == 0)
		return err_set(
		    ERR_CONFLICT, "the lease of job %s was lost", job->id);
	return OK;
}

/* ---- renew ---- */

/* The record lives on too, and the count of starts. 2 = asked to end. */
static struct redis_script renew_script = {
	.text =
	    "local lock, job, retry = unpack(KEYS)\n"
	    "if redis.call('GET', lock) ~= ARGV[1] then return 0 end\n"
	    "redis.call('PEXPIRE', lock, ARGV[2])\n"
	    "local ttl = redis.call('PTTL', job)\n"
	    "if ttl >= 0 and ttl < tonumber(ARGV[3]) / 2 then\n"
	    "  redis.call('PEXPIRE', job, ARGV[3])\n"
	    "end\n"
	    "redis.call('EXPIRE', retry, ARGV[4])\n"
	    "if redis.call('ZSCORE', 'arq:abort', ARGV[5]) then return 2 end\n"
	    "return 1\n"
};

enum err_code
queue_redis__renew(struct queue *queue, struct job *job, int64_t lease_ms)
{
	struct queue_redis *q = queue_redis__of(queue);
	struct queue_redis_keys keys;
	struct redis_reply *reply;

	queue_redis__keys(job->id, &keys);
	TRY(redis_eval(q->redis, &renew_script, 0, &reply, 3, "ttttiiit",
	    keys.lock, keys.job, keys.retry, job->token, lease_ms,
	    QUEUE_JOB_TTL_MS, QUEUE_RETRY_TTL_S, job->id));
	job->aborted = job->aborted || redis_int(reply, 0) == 2;
	TRY(answered(reply, job));
	if (job->aborted)
		return err_set(
		    ERR_CANCELLED, "a client aborted job %s", job->id);
	return OK;
}

/* ---- finish ---- */

static struct redis_script finish_script = {
	.text = "local lock, result, retry, job, queue = unpack(KEYS)\n"
		"if redis.call('GET', lock) ~= ARGV[1] then return 0 end\n"
		"redis.call('SET', result, ARGV[2], 'PX', ARGV[3])\n"
		"redis.call('DEL', lock, retry, job)\n"
		"redis.call('ZREM', queue, ARGV[4])\n"
		"redis.call('ZREM', 'arq:abort', ARGV[4])\n"
		"return 1\n"
};

/* An end must be written even by a worker that is told to stop. */
static enum err_code
finish(struct queue_redis *q, const struct job *job, enum queue_arq_end end)
{
	struct queue_redis_keys keys;
	struct redis_reply *reply;
	struct buf result;
	enum err_code rc;

	buf_init(&result, 0);
	queue_arq__result(job, q->format, q->name, end, NULL, &result);
	queue_redis__keys(job->id, &keys);
	fiber_shield();
	rc = redis_eval(q->redis, &finish_script, 0, &reply, 5,
	    "tttttt"
	    "bit",
	    keys.lock, keys.result, keys.retry, keys.job, q->name, job->token,
	    result.data, result.len, RESULT_MS, job->id);
	fiber_unshield();
	buf_done(&result);
	return rc == OK ? answered(reply, job) : rc;
}

enum err_code
queue_redis__finish(struct queue *queue, const struct job *job)
{
	struct queue_redis *q = queue_redis__of(queue);

	TRY(finish(
	    q, job, job->aborted ? QUEUE_ARQ_CANCELLED : QUEUE_ARQ_DONE));
	atomic_fetch_sub(&q->ongoing, 1);
	atomic_fetch_add(job->aborted ? &q->failed : &q->complete, 1);
	return OK;
}

/* ---- retry ---- */

/* XX: a job that was flushed away meanwhile does not come back half. */
static struct redis_script retry_script = {
	.text = LUA_NOW
	"local lock, job, retry, queue = unpack(KEYS)\n"
	"local id, t, due = ARGV[3], now(ARGV[1]), tonumber(ARGV[4])\n"
	"if redis.call('GET', lock) ~= ARGV[2] then return 0 end\n"
	"if due <= 0 then due = t end\n"
	"redis.call('ZADD', queue, 'XX', due, id)\n"
	"redis.call('PEXPIRE', job, math.max(due - t, 0) + tonumber(ARGV[5]))\n"
	"redis.call('EXPIRE', retry, ARGV[6])\n"
	"if ARGV[8] == '0' then redis.call('DECR', retry) end\n"
	"redis.call('DEL', lock)\n"
	"redis.call('PUBLISH', ARGV[7], id)\n"
	"return 1\n"
};

enum err_code
queue_redis__retry(
    struct queue *queue, const struct job *job, int64_t run_at, bool counts)
{
	struct queue_redis *q = queue_redis__of(queue);
	struct queue_redis_keys keys;
	struct redis_reply *reply;
	enum err_code rc;

	queue_redis__keys(job->id, &keys);
	fiber_shield();
	rc = redis_eval(q->redis, &retry_script, 0, &reply, 4,
	    "tttt"
	    "ittiiiti",
	    keys.lock, keys.job, keys.retry, q->name, queue_redis__now(),
	    job->token, job->id, run_at, QUEUE_JOB_TTL_MS, QUEUE_RETRY_TTL_S,
	    q->wake_channel, (int64_t)counts);
	fiber_unshield();
	if (rc == OK)
		rc = answered(reply, job);
	if (rc != OK)
		return rc;
	atomic_fetch_sub(&q->ongoing, 1);
	atomic_fetch_add(&q->retried, 1);
	return OK;
}

/* ---- bury ---- */

/* What does not fit the ceiling falls out at the old end. */
static struct redis_script bury_script = {
	.text = LUA_NOW
	"local lock, result, retry, job, queue, dead, letters ="
	" unpack(KEYS)\n"
	"local id = ARGV[3]\n"
	"if redis.call('GET', lock) ~= ARGV[2] then return 0 end\n"
	"redis.call('SET', result, ARGV[4], 'PX', ARGV[5])\n"
	"redis.call('DEL', lock, retry, job)\n"
	"redis.call('ZREM', queue, id)\n"
	"redis.call('ZREM', 'arq:abort', id)\n"
	"redis.call('ZADD', dead, now(ARGV[1]), id)\n"
	"redis.call('HSET', letters, id, ARGV[6])\n"
	"local over = redis.call('ZCARD', dead) - tonumber(ARGV[7])\n"
	"if over > 0 then\n"
	"  over = math.min(over, 1000)\n"
	"  local old = redis.call('ZRANGE', dead, 0, over - 1)\n"
	"  redis.call('HDEL', letters, unpack(old))\n"
	"  redis.call('ZREMRANGEBYRANK', dead, 0, over - 1)\n"
	"end\n"
	"return 1\n"
};

static void
add_field(struct buf *out, const char *name, const char *text, size_t max)
{
	buf_addf(out, "\"%s\":", name);
	buf_add_json(out, text, strnlen(text, max));
	buf_addc(out, ',');
}

static void
write_letter(const struct job *job, const char *reason, struct buf *out)
{
	buf_addc(out, '{');
	add_field(out, "id", job->id, sizeof(job->id));
	add_field(out, "brand_id", job->brand_id, sizeof(job->brand_id));
	add_field(out, "function", job->function, KWARGS_KEEP);
	add_field(out, "kwargs", job->kwargs, KWARGS_KEEP);
	add_field(out, "reason", reason, KWARGS_KEEP);
	buf_addf(out, "\"attempt\":%lld,\"put_at\":%lld,\"ended_at\":%lld}",
	    (long long)job->attempt, (long long)job->put_at,
	    (long long)clock_wall_ms());
}

enum err_code
queue_redis__bury(
    struct queue *queue, const struct job *job, const char *reason)
{
	struct queue_redis *q = queue_redis__of(queue);
	struct queue_redis_keys keys;
	struct redis_reply *reply;
	struct buf result, letter;
	enum err_code rc;

	buf_init(&result, 0);
	buf_init(&letter, 0);
	queue_arq__result(
	    job, q->format, q->name, QUEUE_ARQ_FAILED, reason, &result);
	write_letter(job, reason, &letter);
	queue_redis__keys(job->id, &keys);
	fiber_shield();
	rc = redis_eval(q->redis, &bury_script, 0, &reply, 7,
	    "ttttttt"
	    "ittbibi",
	    keys.lock, keys.result, keys.retry, keys.job, q->name, q->dead_key,
	    q->letters_key, queue_redis__now(), job->token, job->id,
	    result.data, result.len, RESULT_MS, letter.data, letter.len,
	    (int64_t)QUEUE_DEAD_MAX);
	fiber_unshield();
	buf_done(&result);
	buf_done(&letter);
	if (rc == OK)
		rc = answered(reply, job);
	if (rc != OK)
		return rc;
	if (job->fault == NULL) /* it had been handed out */
		atomic_fetch_sub(&q->ongoing, 1);
	atomic_fetch_add(&q->failed, 1);
	return OK;
}

/* ---- pass ---- */

static struct redis_script pass_script = {
	.text = LUA_NOW
	"local lock, retry, pass = unpack(KEYS)\n"
	"if redis.call('GET', lock) ~= ARGV[2] then return 0 end\n"
	"if redis.call('DECR', retry) <= 0 then\n"
	"  redis.call('DEL', retry)\n"
	"end\n"
	"redis.call('ZADD', pass, now(ARGV[1]) + tonumber(ARGV[3]), ARGV[4])\n"
	"redis.call('DEL', lock)\n"
	"return 1\n"
};

/* Once for each process is enough: it is one misunderstanding, not many. */
static void
tell_once(const struct job *job)
{
	static atomic_bool told;

	if (!atomic_exchange(&told, true))
		log_warn("job.not_ours", kv_str("function", job->function),
		    kv_str("job_id", job->id));
}

enum err_code
queue_redis__pass(struct queue_redis *q, const struct job *job)
{
	struct queue_redis_keys keys;
	struct redis_reply *reply;

	tell_once(job);
	queue_redis__keys(job->id, &keys);
	TRY(redis_eval(q->redis, &pass_script, 0, &reply, 3, "tttitit",
	    keys.lock, keys.retry, q->pass_key, queue_redis__now(), job->token,
	    PASS_MS, job->id));
	return answered(reply, job);
}

/* ---- abort ---- */

/* {} = it is not here, {1} = it runs and is asked to end (ARQ's own way, for
 * Python workers too), {1, record} = it waited and is ours to end now. */
static struct redis_script abort_script = {
	.text = LUA_NOW
	"local queue, lock, job = unpack(KEYS)\n"
	"local id, token, lease = ARGV[2], ARGV[3], ARGV[4]\n"
	"if not redis.call('ZSCORE', queue, id) then return {} end\n"
	"if redis.call('SET', lock, token, 'NX', 'PX', lease) then\n"
	"  return { 1, redis.call('GET', job) }\n"
	"end\n"
	"redis.call('ZADD', 'arq:abort', now(ARGV[1]), id)\n"
	"return { 1 }\n"
};

static enum err_code
end_waiting(
    struct queue_redis *q, const struct redis_reply *record, struct job *job)
{
	const char *data;
	size_t len;

	data = redis_str(record, &len);
	if (data != NULL)
		queue_arq__read(data, len, job);
	job->taken_at = (int64_t)clock_wall_ms();
	return finish(q, job, QUEUE_ARQ_CANCELLED);
}

enum err_code
queue_redis__abort(struct queue *queue, const char *id)
{
	struct queue_redis *q = queue_redis__of(queue);
	struct queue_redis_keys keys;
	struct redis_reply *reply;
	struct job job = { .aborted = true };
	enum err_code rc;

	if (strlen(id) >= sizeof(job.id))
		return OK; /* never put */
	snprintf(job.id, sizeof(job.id), "%s", id);
	ident_new("jb", job.token);
	queue_redis__keys(id, &keys);
	TRY(redis_eval(q->redis, &abort_script, 0, &reply, 3, "tttitti",
	    q->name, keys.lock, keys.job, queue_redis__now(), id, job.token,
	    (int64_t)30000));
	rc = redis_count(reply) == 2 ? end_waiting(q, redis_at(reply, 1), &job)
				     : OK;
	redis_reply_free(reply);
	job_done(&job);
	return rc;
}
