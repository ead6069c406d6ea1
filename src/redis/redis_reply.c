/* SPDX-License-Identifier: Apache-2.0 */
/* Replies: readers of the tree, and what error replies mean to an operator. */
#include "base/str.h"
#include "redis/redis_internal.h"

static const redisReply *
of(const struct redis_reply *reply)
{
	return (const redisReply *)(const void *)reply;
}

void
redis_reply_free(struct redis_reply *reply)
{
	if (reply != NULL)
		freeReplyObject(reply);
}

bool
redis_is_nil(const struct redis_reply *reply)
{
	return reply == NULL || of(reply)->type == REDIS_REPLY_NIL;
}

const char *
redis_str(const struct redis_reply *reply, size_t *len_out)
{
	const redisReply *r = of(reply);

	if (r == NULL ||
	    (r->type != REDIS_REPLY_STRING && r->type != REDIS_REPLY_STATUS))
		return NULL;
	if (len_out != NULL)
		*len_out = (size_t)r->len;
	return r->str;
}

int64_t
redis_int(const struct redis_reply *reply, int64_t fallback)
{
	const char *text = redis_str(reply, NULL);
	int64_t value;

	if (reply != NULL && of(reply)->type == REDIS_REPLY_INTEGER)
		return of(reply)->integer;
	if (text != NULL && str_to_i64(text, &value))
		return value;
	return fallback;
}

size_t
redis_count(const struct redis_reply *reply)
{
	if (reply == NULL || of(reply)->type != REDIS_REPLY_ARRAY)
		return 0;
	return of(reply)->elements;
}

const struct redis_reply *
redis_at(const struct redis_reply *reply, size_t i)
{
	if (i >= redis_count(reply))
		return NULL;
	return (const struct redis_reply *)(const void *)of(reply)->element[i];
}

/* The first word of an error reply is its kind; inside scripts of Redis before
 * 7 it stands after a prefix, with a dash. */
static const struct meaning {
	const char *kind;
	const char *sentence;
} meanings[] = {
	{ "NOAUTH", "wants a password: set INGEST_REDIS_PASSWORD" },
	{ "WRONGPASS", "refuses the password: check INGEST_REDIS_PASSWORD" },
	{ "NOPERM",
	    "does not permit a command that is needed: check the ACL of "
	    "its default user" },
	{ "LOADING", "is loading its data set; it serves again soon" },
	{ "READONLY", "is a read-only replica: point INGEST_REDIS_HOST at the "
		      "primary" },
	{ "MASTERDOWN", "is a replica that lost its primary" },
	{ "OOM", "is out of memory (maxmemory) and refuses to write" },
	{ "MISCONF", "cannot save to its disk and refuses to write" },
	{ "NOREPLICAS", "has too few replicas and refuses to write" },
	{ "BUSY", "is busy with a script" },
	{ "CLUSTERDOWN", "is a cluster that is down" },
	{ "MOVED", "is a cluster: ARQ's keys need a single server" },
	{ "CROSSSLOT", "is a cluster: ARQ's keys need a single server" },
};

static bool
is_kind(const char *error, const char *kind)
{
	size_t len = strlen(kind);
	const char *at;

	if (strncmp(error, kind, len) == 0 && error[len] == ' ')
		return true;
	at = strstr(error, kind);
	return at != NULL && at > error && at[-1] == '-' && at[len] == ' ';
}

enum err_code
redis__refused(const struct redis *redis, const char *error)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (is_kind(error, meanings[i].kind))
			return err_set(ERR_UNAVAILABLE, "%s %s", redis->name,
			    meanings[i].sentence);
	return err_set(ERR_UPSTREAM, "%s answered: %.200s", redis->name, error);
}

/* "ERR unknown command `AUTH`, with args beginning with: `the password`" is a
 * possible answer, so nothing is quoted here. */
enum err_code
redis__auth_refused(const struct redis *redis, const char *error)
{
	if (is_kind(error, "LOADING"))
		return redis__refused(redis, error);
	if (strstr(error, "without any password") != NULL ||
	    strstr(error, "no password is set") != NULL)
		return err_set(ERR_UNAVAILABLE,
		    "%s has no password: unset INGEST_REDIS_PASSWORD, or set "
		    "requirepass there",
		    redis->name);
	return err_set(ERR_UNAVAILABLE,
	    "%s refuses the password: check INGEST_REDIS_PASSWORD",
	    redis->name);
}
