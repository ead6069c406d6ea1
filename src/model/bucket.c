/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One token bucket for each provider key, as the time at which the next call
 * would be on schedule (GCRA): taking a place is adding the interval to it.
 * Keys are kept as hashes.
 */
#include "model/bucket.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/mem.h"

#define MINUTE_NS UINT64_C(60000000000)
#define BURST_NS  (MINUTE_NS / 6)
#define MS_NS     UINT64_C(1000000)

struct model_bucket {
	struct model_bucket *next;
	unsigned refs;
	uint8_t id[SHA256_SIZE];
	uint64_t interval_ns;
	uint64_t due_ns;  /* when the next call is on schedule */
	uint64_t held_ns; /* not before */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct model_bucket *buckets;

struct model_bucket *
model__bucket_ref(const char *site, const char *key, int64_t per_minute)
{
	struct crypto_hash *hash = crypto_hash_new();
	struct model_bucket *b;
	uint8_t id[SHA256_SIZE];

	crypto_hash_add(hash, site, strlen(site) + 1);
	crypto_hash_add(hash, key, strlen(key));
	crypto_hash_end(hash, id);
	crypto_hash_free(hash);
	pthread_mutex_lock(&lock);
	for (b = buckets; b != NULL; b = b->next)
		if (memcmp(b->id, id, sizeof(id)) == 0)
			break;
	if (b == NULL) {
		b = mem_zero(sizeof(*b));
		memcpy(b->id, id, sizeof(id));
		b->interval_ns = MINUTE_NS / (uint64_t)per_minute;
		b->next = buckets;
		buckets = b;
	}
	b->refs++;
	pthread_mutex_unlock(&lock);
	return b;
}

void
model__bucket_unref(struct model_bucket *bucket)
{
	if (bucket == NULL)
		return;
	pthread_mutex_lock(&lock);
	if (--bucket->refs == 0) {
		struct model_bucket **at = &buckets;

		while (*at != bucket)
			at = &(*at)->next;
		*at = bucket->next;
		mem_free(bucket);
	}
	pthread_mutex_unlock(&lock);
}

enum err_code
model__bucket_take(
    struct model_bucket *b, uint64_t max_wait_ms, uint64_t *wait_ms_out)
{
	/* A slow pace has no burst, but its first call is always free. */
	uint64_t burst =
	    BURST_NS > b->interval_ns ? BURST_NS - b->interval_ns : 0;
	uint64_t now = clock_mono_ns(), due, at, wait_ms;
	bool taken;

	pthread_mutex_lock(&lock);
	due = b->due_ns > now ? b->due_ns : now;
	at = due - now > burst ? due - burst : now;
	if (b->held_ns > at)
		at = b->held_ns;
	wait_ms = (at - now + MS_NS - 1) / MS_NS;
	taken = wait_ms <= max_wait_ms;
	if (taken)
		b->due_ns = due + b->interval_ns;
	pthread_mutex_unlock(&lock);
	if (!taken)
		return err_set(ERR_OVERLOADED,
		    "the provider's pace allows the next call in %llu ms "
		    "(XIN_MODEL_CALLS_PER_MINUTE, or its Retry-After)",
		    (unsigned long long)wait_ms);
	*wait_ms_out = wait_ms;
	return OK;
}

void
model__bucket_hold(struct model_bucket *b, uint64_t ms)
{
	uint64_t until = clock_mono_ns() + ms * MS_NS;

	pthread_mutex_lock(&lock);
	if (until > b->held_ns)
		b->held_ns = until;
	pthread_mutex_unlock(&lock);
}
