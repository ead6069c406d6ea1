/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets in this process, sharded by key. A bucket is a number of tokens
 * at a moment; it refills by arithmetic when it is asked. Each shard keeps its
 * buckets in the order of use and drops the idlest when it is full: the idlest
 * is the fullest, so forgetting it (a new bucket begins full) gives little
 * away.
 */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/mem.h"
#include "kv/kv_backend.h"

#define SHARDS        16
#define BUCKETS_FIRST 64
/* Of a token: what adds up to one may miss it by a rounding. */
#define SLACK 1e-6

struct bucket {
	struct bucket *chain;
	struct bucket *newer, *older;
	uint64_t hash;
	uint64_t at_us; /* monotonic */
	double tokens;
	char key[];
};

struct shard {
	pthread_mutex_t lock;
	struct bucket **table; /* power of two */
	size_t table_size, count;
	struct bucket *newest, *oldest;
};

struct kv_buckets {
	size_t max; /* of each shard */
	struct shard shards[SHARDS];
};

struct kv_buckets *
kv__buckets_new(size_t max)
{
	struct kv_buckets *b = mem_zero(sizeof(*b));

	b->max = max / SHARDS > 0 ? max / SHARDS : 1;
	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &b->shards[i];

		pthread_mutex_init(&s->lock, NULL);
		s->table_size = BUCKETS_FIRST;
		s->table = mem_zero(s->table_size * sizeof(struct bucket *));
	}
	return b;
}

void
kv__buckets_free(struct kv_buckets *b)
{
	if (b == NULL)
		return;
	for (int i = 0; i < SHARDS; i++) {
		struct bucket *bucket;

		while ((bucket = b->shards[i].newest) != NULL) {
			b->shards[i].newest = bucket->older;
			mem_free(bucket);
		}
		mem_free(b->shards[i].table);
		pthread_mutex_destroy(&b->shards[i].lock);
	}
	mem_free(b);
}

static void
leave_order(struct shard *s, struct bucket *bucket)
{
	if (bucket->newer != NULL)
		bucket->newer->older = bucket->older;
	else
		s->newest = bucket->older;
	if (bucket->older != NULL)
		bucket->older->newer = bucket->newer;
	else
		s->oldest = bucket->newer;
}

static void
become_newest(struct shard *s, struct bucket *bucket)
{
	bucket->newer = NULL;
	bucket->older = s->newest;
	if (s->newest != NULL)
		s->newest->newer = bucket;
	else
		s->oldest = bucket;
	s->newest = bucket;
}

static struct bucket **
find(struct shard *s, const char *key, uint64_t hash)
{
	/* The low bits chose the shard. */
	struct bucket **at = &s->table[(hash >> 8) & (s->table_size - 1)];

	while (*at != NULL &&
	       ((*at)->hash != hash || strcmp((*at)->key, key) != 0))
		at = &(*at)->chain;
	return at;
}

static void
drop_oldest(struct shard *s)
{
	struct bucket *bucket = s->oldest;
	struct bucket **at = find(s, bucket->key, bucket->hash);

	*at = bucket->chain;
	leave_order(s, bucket);
	s->count--;
	mem_free(bucket);
}

static void
grow(struct shard *s)
{
	size_t size = s->table_size * 2;

	mem_free(s->table);
	s->table = mem_zero(size * sizeof(struct bucket *));
	s->table_size = size;
	for (struct bucket *b = s->newest; b != NULL; b = b->older) {
		struct bucket **at = &s->table[(b->hash >> 8) & (size - 1)];

		b->chain = *at;
		*at = b;
	}
}

/* The key's bucket, the newest now; a new one begins full. */
static struct bucket *
touch(struct kv_buckets *b, struct shard *s, const char *key, uint64_t hash,
    int64_t burst)
{
	struct bucket **at = find(s, key, hash);
	struct bucket *bucket = *at;
	size_t size = strlen(key) + 1;

	if (bucket != NULL) {
		leave_order(s, bucket);
		become_newest(s, bucket);
		return bucket;
	}
	if (s->count >= b->max)
		drop_oldest(s);
	if (s->count >= s->table_size)
		grow(s);
	bucket = mem_zero(sizeof(*bucket) + size);
	memcpy(bucket->key, key, size);
	bucket->hash = hash;
	bucket->at_us = clock_mono_us();
	bucket->tokens = (double)burst;
	at = find(s, key, hash);
	*at = bucket;
	become_newest(s, bucket);
	s->count++;
	return bucket;
}

/* 0 when a token was taken, else the milliseconds until there is one. */
static uint64_t
take(struct bucket *bucket, int64_t per_minute, int64_t burst)
{
	double per_us = (double)per_minute / 60e6;
	uint64_t now = clock_mono_us();

	if (now > bucket->at_us)
		bucket->tokens += (double)(now - bucket->at_us) * per_us;
	bucket->at_us = now;
	if (bucket->tokens > (double)burst)
		bucket->tokens = (double)burst;
	if (bucket->tokens >= 1.0 - SLACK) {
		bucket->tokens = fmax(0.0, bucket->tokens - 1.0);
		return 0;
	}
	return (uint64_t)ceil(
	    (1.0 - SLACK / 2 - bucket->tokens) / per_us / 1e3);
}

enum err_code
kv__buckets_take(struct kv_buckets *b, const char *key, int64_t per_minute,
    int64_t burst, uint64_t *retry_after_ms_out)
{
	uint64_t hash = crypto_fnv1a(key, strlen(key));
	struct shard *s = &b->shards[hash % SHARDS];
	uint64_t wait_ms;

	pthread_mutex_lock(&s->lock);
	wait_ms = take(touch(b, s, key, hash, burst), per_minute, burst);
	pthread_mutex_unlock(&s->lock);
	if (wait_ms == 0)
		return OK;
	*retry_after_ms_out = wait_ms;
	return err_set(ERR_RATE_LIMITED, "over %lld a minute; again in %llu ms",
	    (long long)per_minute, (unsigned long long)wait_ms);
}
