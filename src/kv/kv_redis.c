/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv on Redis, shared by all replicas. Each function is one script, so one
 * round trip. Times are the server's, so that replicas agree.
 *
 * xin:kv:<brand>:<key>  a value, with its expiry
 * xin:kvx:<brand>       zset of the brand's keys by when they expire, ms
 * xin:kvs:<brand>       hash of key to bytes; field "" is their sum
 * xin:bucket:<key>      hash: t tokens, at microseconds
 * xin:lease:<key>       the owner's token
 *
 * The two indexes are the ceilings of a brand: without them one brand's script
 * could fill the Redis of all.
 */
#include <stdatomic.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/task.h"
#include "kv/kv_backend.h"
#include "redis/redis.h"

#define ENTRY_BYTES   64  /* beside key and value, as embedded */
#define TOKEN_MS      500 /* every turn waits for it */
#define WARN_EVERY_MS UINT64_C(10000)

struct kv_redis {
	struct kv kv; /* first */
	struct redis *redis;
	_Atomic uint64_t warn_at_ms; /* monotonic */
};

static struct redis *
redis_of(struct kv *kv)
{
	return ((struct kv_redis *)kv)->redis;
}

/* Microseconds for a script, 0 = the server's clock. Tests that replace the
 * clock replace it there too. */
static int64_t
script_now(void)
{
	return clock_is_fake() ? (int64_t)clock_wall_us() : 0;
}

#define LUA_NOW                                                                \
	"local now = tonumber(ARGV[1])\n"                                      \
	"if now == 0 then\n"                                                   \
	"  local t = redis.call('TIME')\n"                                     \
	"  now = t[1] * 1000000 + t[2]\n"                                      \
	"end\n"

/* ---- values ---- */

struct names {
	char *value, *expiry, *sizes;
};

static struct names
names_of(const char *brand, const char *key)
{
	return (struct names){
		.value = mem_printf("xin:kv:%s:%s", brand, key),
		.expiry = mem_printf("xin:kvx:%s", brand),
		.sizes = mem_printf("xin:kvs:%s", brand),
	};
}

static void
names_done(struct names *names)
{
	mem_free(names->value);
	mem_free(names->expiry);
	mem_free(names->sizes);
}

/* Forgets what expired, at most 1,000 entries in one call. Answers 1, or 0 and
 * what the brand holds: it is full. */
static struct redis_script set_script = {
	.text = LUA_NOW
	"local value, expiry, sizes = unpack(KEYS)\n"
	"local key, data, ttl = ARGV[2], ARGV[3], tonumber(ARGV[4])\n"
	"local ms, bytes = now / 1000, #key + #data + tonumber(ARGV[7])\n"
	"local function drop(k)\n"
	"  redis.call('HINCRBY', sizes, '',"
	" -(tonumber(redis.call('HGET', sizes, k)) or 0))\n"
	"  redis.call('HDEL', sizes, k)\n"
	"  redis.call('ZREM', expiry, k)\n"
	"end\n"
	"for _, k in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', ms,"
	" 'LIMIT', 0, 1000)) do drop(k) end\n"
	"local old = tonumber(redis.call('HGET', sizes, key)) or 0\n"
	"local count = redis.call('ZCARD', expiry) - (old > 0 and 1 or 0)\n"
	"local sum = (tonumber(redis.call('HGET', sizes, '')) or 0) - old\n"
	"if count >= tonumber(ARGV[5]) or sum + bytes > tonumber(ARGV[6]) then\n"
	"  return { 0, count, sum }\n"
	"end\n"
	"redis.call('SET', value, data, 'PX', ttl)\n"
	"redis.call('ZADD', expiry, math.floor(ms) + ttl, key)\n"
	"redis.call('HSET', sizes, key, bytes, '', sum + bytes)\n"
	"for _, k in ipairs({ expiry, sizes }) do\n"
	"  if redis.call('PTTL', k) < ttl then redis.call('PEXPIRE', k, ttl) end\n"
	"end\n"
	"return { 1 }\n"
};

static enum err_code
set_answer(struct redis_reply *reply, const char *brand)
{
	int64_t stored = redis_int(redis_at(reply, 0), 0);
	int64_t count = redis_int(redis_at(reply, 1), 0);
	int64_t bytes = redis_int(redis_at(reply, 2), 0);

	redis_reply_free(reply);
	if (stored == 1)
		return OK;
	return err_set(ERR_TOO_LARGE,
	    "kv of brand %s is full: %lld entries, %lld bytes", brand,
	    (long long)count, (long long)bytes);
}

static enum err_code
kv_redis_set(struct kv *kv, const char *brand, const char *key,
    const char *value, uint64_t ttl_ms)
{
	struct names names = names_of(brand, key);
	struct redis_reply *reply;
	enum err_code rc = redis_eval(redis_of(kv), &set_script, 0, &reply, 3,
	    "tttitt"
	    "iiii",
	    names.value, names.expiry, names.sizes, script_now(), key, value,
	    (int64_t)ttl_ms, (int64_t)KV_BRAND_ENTRIES_MAX,
	    (int64_t)KV_BRAND_BYTES_MAX, (int64_t)ENTRY_BYTES);

	names_done(&names);
	return rc == OK ? set_answer(reply, brand) : rc;
}

static enum err_code
kv_redis_get(
    struct kv *kv, const char *brand, const char *key, char **value_out)
{
	char *name = mem_printf("xin:kv:%s:%s", brand, key);
	struct redis_reply *reply;
	enum err_code rc =
	    redis_call(redis_of(kv), 0, &reply, "tt", "GET", name);
	const char *text;

	mem_free(name);
	if (rc != OK)
		return rc;
	text = redis_str(reply, NULL);
	if (text != NULL)
		*value_out = mem_strdup(text);
	redis_reply_free(reply);
	if (text == NULL)
		return err_set(ERR_NOT_FOUND, "kv: no %s", key);
	return OK;
}

static struct redis_script delete_script = {
	.text = "local value, expiry, sizes = unpack(KEYS)\n"
		"redis.call('DEL', value)\n"
		"local bytes = tonumber(redis.call('HGET', sizes, ARGV[1]))\n"
		"if not bytes then return 0 end\n"
		"redis.call('HINCRBY', sizes, '', -bytes)\n"
		"redis.call('HDEL', sizes, ARGV[1])\n"
		"return redis.call('ZREM', expiry, ARGV[1])\n"
};

static enum err_code
kv_redis_delete(struct kv *kv, const char *brand, const char *key)
{
	struct names names = names_of(brand, key);
	enum err_code rc = redis_eval(redis_of(kv), &delete_script, 0, NULL, 3,
	    "tttt", names.value, names.expiry, names.sizes, key);

	names_done(&names);
	return rc;
}

/* ---- token buckets ---- */

/* As kv_bucket.c: refilled by arithmetic, forgotten once it would be full.
 * Answers 0, or the milliseconds until there is a token. */
static struct redis_script token_script = {
	.text = LUA_NOW
	"local per_us, burst = ARGV[2] / 60e6, tonumber(ARGV[3])\n"
	"local had = redis.call('HMGET', KEYS[1], 't', 'at')\n"
	"local tokens, at = tonumber(had[1]) or burst, tonumber(had[2]) or now\n"
	"tokens = math.min(burst, tokens + math.max(0, now - at) * per_us)\n"
	"local wait = 0\n"
	"if tokens >= 1 - 1e-6 then tokens = math.max(0, tokens - 1)\n"
	"else wait = math.ceil((1 - 5e-7 - tokens) / per_us / 1000) end\n"
	"redis.call('HSET', KEYS[1], 't', string.format('%.17g', tokens),"
	" 'at', string.format('%.0f', now))\n"
	"redis.call('PEXPIRE', KEYS[1],"
	" math.ceil((burst - tokens) / per_us / 1000) + 1000)\n"
	"return wait\n"
};

static enum err_code
let_through(struct kv_redis *k)
{
	uint64_t now = clock_mono_ms(), due = atomic_load(&k->warn_at_ms);

	metric_count(METRIC_RATE_OPEN, METRIC_NO_LABELS, 1);
	if (now >= due && atomic_compare_exchange_strong(
			      &k->warn_at_ms, &due, now + WARN_EVERY_MS))
		log_warn(
		    "kv.rate_limit_open", kv_error("error", err_message()));
	return OK;
}

static enum err_code
kv_redis_take_token(struct kv *kv, const char *key, int64_t per_minute,
    int64_t burst, uint64_t *retry_after_ms_out)
{
	char *name = mem_printf("xin:bucket:%s", key);
	struct redis_reply *reply;
	enum err_code rc =
	    redis_eval(redis_of(kv), &token_script, deadline_in_ms(TOKEN_MS),
		&reply, 1, "tiii", name, script_now(), per_minute, burst);
	int64_t wait_ms;

	mem_free(name);
	if (rc == ERR_CANCELLED)
		return rc;
	if (rc != OK)
		return let_through((struct kv_redis *)kv);
	wait_ms = redis_int(reply, 0);
	redis_reply_free(reply);
	if (wait_ms <= 0)
		return OK;
	*retry_after_ms_out = (uint64_t)wait_ms;
	return err_set(ERR_RATE_LIMITED, "over %lld a minute; again in %lld ms",
	    (long long)per_minute, (long long)wait_ms);
}

/* ---- leases ---- */

static struct redis_script lease_script = {
	.text = "local owner = redis.call('GET', KEYS[1])\n"
		"if owner == ARGV[1] or (not owner and ARGV[3] == '1') then\n"
		"  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n"
		"  return 1\n"
		"end\n"
		"return 0\n"
};

static enum err_code
kv_redis_lease(struct kv *kv, const char *key, const char *token,
    uint64_t ttl_ms, bool fresh)
{
	char *name = mem_printf("xin:lease:%s", key);
	struct redis_reply *reply;
	enum err_code rc = redis_eval(redis_of(kv), &lease_script, 0, &reply, 1,
	    "ttii", name, token, (int64_t)ttl_ms, (int64_t)fresh);
	int64_t held;

	mem_free(name);
	if (rc != OK)
		return rc;
	held = redis_int(reply, 0);
	redis_reply_free(reply);
	if (held == 0)
		return err_set(ERR_CONFLICT,
		    fresh ? "another has the lease %s"
			  : "the lease %s was lost",
		    key);
	return OK;
}

static struct redis_script release_script = {
	.text = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
		"return redis.call('DEL', KEYS[1])\n"
};

static enum err_code
kv_redis_release(struct kv *kv, const char *key, const char *token)
{
	char *name = mem_printf("xin:lease:%s", key);
	enum err_code rc = redis_eval(
	    redis_of(kv), &release_script, 0, NULL, 1, "tt", name, token);

	mem_free(name);
	return rc;
}

/* ---- opening ---- */

static enum err_code
kv_redis_open(const char *url, struct kv **kv_out)
{
	const struct redis_options options = redis_options_from_config();
	struct redis *redis;
	struct kv_redis *k;

	(void)url;
	TRY(redis_open(&options, &redis));
	k = mem_zero(sizeof(*k));
	k->redis = redis;
	*kv_out = &k->kv;
	return OK;
}

static void
kv_redis_close(struct kv *kv)
{
	redis_close(redis_of(kv));
	mem_free(kv);
}

const struct kv_backend kv_redis_backend = {
	.scheme = "redis:",
	.open = kv_redis_open,
	.close = kv_redis_close,
	.set = kv_redis_set,
	.get = kv_redis_get,
	.delete = kv_redis_delete,
	.take_token = kv_redis_take_token,
	.lease = kv_redis_lease,
	.release = kv_redis_release,
};
