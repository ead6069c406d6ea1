/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client: options, words to commands, scripts by their hash, and which
 * connection is whose. The connections themselves are in redis_conn.c.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/config.h"
#include "base/crypto.h"
#include "base/mem.h"
#include "base/span.h"
#include "base/str.h"
#include "redis/redis_internal.h"

#define CONNECT_MS      3000
#define COMMAND_MS      5000
#define OUTSTANDING_MAX 10000
#define REPLY_MAX_BYTES ((size_t)64 << 20)

/* ---- opening and closing ---- */

struct redis_options
redis_options_from_config(void)
{
	return (struct redis_options){
		.host = config_str(CFG_REDIS_HOST),
		.port = (int)config_int(CFG_REDIS_PORT),
		.db = (int)config_int(CFG_REDIS_DB),
		.password = config_str(CFG_REDIS_PASSWORD),
	};
}

enum err_code
redis_open(const struct redis_options *options, struct redis **redis_out)
{
	struct redis *redis;

	if (options->host == NULL || options->host[0] == '\0')
		return err_set(ERR_CONFIG,
		    "Redis: no host is named; set INGEST_REDIS_HOST");
	if (options->port < 0 || options->port > 65535 || options->db < 0)
		return err_set(ERR_CONFIG,
		    "Redis: INGEST_REDIS_PORT or INGEST_REDIS_DB is no number "
		    "in range");
	redis = mem_zero(sizeof(*redis));
	redis->host = mem_strdup(options->host);
	redis->port = options->port != 0 ? options->port : 6379;
	redis->db = options->db;
	if (options->password != NULL && options->password[0] != '\0')
		redis->password = mem_strdup(options->password);
	redis->name = mem_printf(
	    strchr(redis->host, ':') != NULL ? "Redis [%s]:%d" : "Redis %s:%d",
	    redis->host, redis->port);
	redis->connect_ms =
	    options->connect_ms != 0 ? options->connect_ms : CONNECT_MS;
	redis->command_ms =
	    options->command_ms != 0 ? options->command_ms : COMMAND_MS;
	redis->max_outstanding = options->max_outstanding != 0
				     ? options->max_outstanding
				     : OUTSTANDING_MAX;
	redis->max_reply_bytes = options->max_reply_bytes != 0
				     ? options->max_reply_bytes
				     : REPLY_MAX_BYTES;
	pthread_mutex_init(&redis->lock, NULL);
	*redis_out = redis;
	return OK;
}

struct close_call {
	struct redis *redis;
	struct loop *loop;
};

static enum err_code
close_here(void *arg)
{
	struct close_call *call = arg;
	struct redis *redis = call->redis;
	unsigned index = loop_index(call->loop);

	if (redis->conns[index] != NULL)
		redis__conn_close(redis->conns[index]);
	redis->conns[index] = NULL;
	if (redis->ear_loop == call->loop && redis->ear != NULL)
		redis__conn_close(redis->ear);
	if (redis->ear_loop == call->loop)
		redis->ear = NULL;
	return OK;
}

/* Loops that ended have closed what was theirs. */
void
redis_close(struct redis *redis)
{
	if (redis == NULL)
		return;
	for (unsigned i = 0; i < loops_count(); i++) {
		struct close_call call = { redis, loop_at(i) };

		if (call.loop == loop_self())
			close_here(&call);
		else
			loop_call(call.loop, close_here, &call);
	}
	pthread_mutex_destroy(&redis->lock);
	mem_free(redis->channel);
	mem_free(redis->host);
	mem_free(redis->password);
	mem_free(redis->name);
	mem_free(redis);
}

const char *
redis_name(const struct redis *redis)
{
	return redis->name;
}

/* ---- words ---- */

struct words {
	const char *word[REDIS_WORDS_MAX];
	size_t len[REDIS_WORDS_MAX];
	int count;
	char number[REDIS_WORDS_MAX][24];
};

static void
add_bytes(struct words *words, const void *data, size_t len)
{
	must(words->count < REDIS_WORDS_MAX);
	words->word[words->count] = data != NULL ? data : "";
	words->len[words->count++] = len;
}

static void
add_text(struct words *words, const char *text)
{
	add_bytes(words, text, text != NULL ? strlen(text) : 0);
}

static void
add_int(struct words *words, int64_t value)
{
	char *text = words->number[words->count];

	snprintf(text, sizeof(words->number[0]), "%lld", (long long)value);
	add_text(words, text);
}

static void
add_all(struct words *words, const char *types, va_list ap)
{
	for (; *types != '\0'; types++) {
		const void *data;

		switch (*types) {
		case 't':
			add_text(words, va_arg(ap, const char *));
			break;
		case 'i':
			add_int(words, va_arg(ap, int64_t));
			break;
		case 'b':
			data = va_arg(ap, const void *);
			add_bytes(words, data, va_arg(ap, size_t));
			break;
		default:
			panic("redis: unknown type letter '%c'", *types);
		}
	}
}

/* ---- asking ---- */

static struct redis_conn *
conn_here(struct redis *redis)
{
	unsigned index = loop_index(loop_self());

	must(index < REDIS_LOOPS_MAX);
	if (redis->conns[index] == NULL)
		redis->conns[index] = redis__conn_new(redis, false);
	return redis->conns[index];
}

/* A slow resolver may take longer than connect_ms: it cannot be interrupted,
 * but nobody waits for it. */
static enum err_code
connected(struct redis_conn *conn, uint64_t deadline_ms)
{
	uint64_t own_ms = deadline_in_ms(conn->redis->connect_ms);
	enum err_code rc =
	    redis__conn_ready(conn, deadline_min(deadline_ms, own_ms));

	if (rc == ERR_DEADLINE && deadline_left_ms(own_ms) == 0)
		return err_set(ERR_UNAVAILABLE,
		    "%s: no connection within %llu ms", conn->redis->name,
		    (unsigned long long)conn->redis->connect_ms);
	if (rc == ERR_DEADLINE)
		return err_set(rc, "%s: no connection before the deadline",
		    conn->redis->name);
	return rc;
}

static struct span *
begin_span(const struct redis *redis, const char *command)
{
	struct span *span = span_begin(SPAN_CLIENT, command);
	char db[24];

	if (span == NULL)
		return NULL;
	snprintf(db, sizeof(db), "%d", redis->db);
	span_add(span, attr_str(ATTR_DB_SYSTEM, "redis"),
	    attr_str(ATTR_DB_OPERATION, command),
	    attr_str(ATTR_DB_NAMESPACE, db),
	    attr_str(ATTR_SERVER_ADDRESS, redis->host),
	    attr_int(ATTR_SERVER_PORT, redis->port));
	return span;
}

/* error.type of a refusal is its first word: WRONGTYPE, OOM. */
static void
end_span(struct span *span, enum err_code rc, const redisReply *reply)
{
	char word[24];

	if (span == NULL)
		return;
	if (rc == OK && reply->type == REDIS_REPLY_ERROR &&
	    !str_starts(reply->str, "NOSCRIPT")) { /* asked again with it */
		str_copy_n(
		    word, sizeof(word), reply->str, strcspn(reply->str, " "));
		span_fail(span, word);
	}
	span_end_call(span, rc);
}

static enum err_code
ask_untraced(struct redis *redis, struct words *words, uint64_t deadline_ms,
    redisReply **reply_out)
{
	struct redis_conn *conn = conn_here(redis);
	enum err_code rc;
	char *command;
	long long len;

	TRY(connected(conn, deadline_ms));
	len = redisFormatCommandArgv(
	    &command, words->count, words->word, words->len);
	must(len > 0);
	rc =
	    redis__conn_ask(conn, command, (size_t)len, deadline_ms, reply_out);
	redisFreeCommand(command);
	return rc;
}

/* *reply_out may be an error reply. */
static enum err_code
ask(struct redis *redis, struct words *words, uint64_t deadline_ms,
    redisReply **reply_out)
{
	struct span *span = begin_span(redis, words->word[0]);
	enum err_code rc = ask_untraced(redis, words, deadline_ms, reply_out);

	end_span(span, rc, rc == OK ? *reply_out : NULL);
	return rc;
}

static enum err_code
hand_out(const struct redis *redis, redisReply *reply,
    struct redis_reply **reply_out)
{
	enum err_code rc = OK;

	if (reply->type == REDIS_REPLY_ERROR)
		rc = redis__refused(redis, reply->str);
	if (rc != OK || reply_out == NULL)
		freeReplyObject(reply);
	else
		*reply_out = (struct redis_reply *)(void *)reply;
	return rc;
}

enum err_code
redis_call(struct redis *redis, uint64_t deadline_ms,
    struct redis_reply **reply_out, const char *types, ...)
{
	struct words words = { .count = 0 };
	redisReply *reply;
	va_list ap;

	va_start(ap, types);
	add_all(&words, types, ap);
	va_end(ap);
	TRY(ask(redis, &words, deadline_ms, &reply));
	return hand_out(redis, reply, reply_out);
}

/* Several threads may come first, also of several clients. */
static void
hash_script(struct redis_script *script)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uint8_t digest[SHA1_SIZE];

	pthread_mutex_lock(&lock);
	if (script->sha1[0] == '\0') {
		crypto_sha1(script->text, strlen(script->text), digest);
		crypto_hex(digest, sizeof(digest), script->sha1);
	}
	pthread_mutex_unlock(&lock);
}

enum err_code
redis_eval(struct redis *redis, struct redis_script *script,
    uint64_t deadline_ms, struct redis_reply **reply_out, int keys,
    const char *types, ...)
{
	struct words words = { .count = 0 };
	redisReply *reply;
	va_list ap;

	hash_script(script);
	add_text(&words, "EVALSHA");
	add_text(&words, script->sha1);
	add_int(&words, keys);
	va_start(ap, types);
	add_all(&words, types, ap);
	va_end(ap);
	TRY(ask(redis, &words, deadline_ms, &reply));
	if (reply->type == REDIS_REPLY_ERROR &&
	    str_starts(reply->str, "NOSCRIPT")) {
		freeReplyObject(reply);
		words.word[0] = "EVAL";
		words.len[0] = 4;
		words.word[1] = script->text;
		words.len[1] = strlen(script->text);
		TRY(ask(redis, &words, deadline_ms, &reply));
	}
	return hand_out(redis, reply, reply_out);
}

enum err_code
redis_ping(struct redis *redis, uint64_t deadline_ms)
{
	return redis_call(redis, deadline_ms, NULL, "t", "PING");
}

/* ---- the channel ---- */

void
redis_listen(struct redis *redis, const char *channel, void (*heard)(void *arg),
    void *arg)
{
	bool mine;

	pthread_mutex_lock(&redis->lock);
	if (redis->ear_loop == NULL) {
		redis->ear_loop = loop_self();
		redis->channel = mem_strdup(channel);
		redis->heard = heard;
		redis->heard_arg = arg;
		redis->ear = redis__conn_new(redis, true);
	}
	mine = redis->ear_loop == loop_self();
	pthread_mutex_unlock(&redis->lock);
	if (mine && redis->ear != NULL)
		redis__conn_start(redis->ear);
}
