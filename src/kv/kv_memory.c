/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded kv: hash tables in this process. Shards are chosen by brand, not
 * by key, so that a brand's ceilings are exact under one short lock; loops that
 * serve different brands rarely meet. An entry that expired is invisible at
 * once and is freed when it is met: by a get, by a growing table, or when its
 * brand reaches a ceiling.
 */
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/mem.h"
#include "kv/kv_backend.h"

#define SHARDS        16
#define BUCKETS_FIRST 16

struct entry {
	struct entry *next;
	uint64_t hash;
	uint64_t expires_ms; /* monotonic */
	size_t bytes;
	char *value; /* behind the key, in the same allocation */
	char key[];
};

struct brand {
	struct brand *next;
	struct entry **table; /* power of two */
	size_t table_size, count, bytes;
	uint64_t sweep_at_ms; /* nothing expires before */
	char name[];
};

struct shard {
	pthread_mutex_t lock;
	struct brand *brands;
};

struct memory {
	struct kv kv; /* first */
	struct shard shards[SHARDS];
	struct kv_buckets *buckets;
	struct kv_leases *leases;
};

static struct shard *
shard_of(struct kv *kv, const char *brand)
{
	uint64_t hash = crypto_fnv1a(brand, strlen(brand));

	return &((struct memory *)kv)->shards[hash % SHARDS];
}

static struct brand *
find_brand(struct shard *shard, const char *name)
{
	for (struct brand *b = shard->brands; b != NULL; b = b->next)
		if (strcmp(b->name, name) == 0)
			return b;
	return NULL;
}

static struct brand *
add_brand(struct shard *shard, const char *name)
{
	size_t len = strlen(name);
	struct brand *b = mem_zero(sizeof(*b) + len + 1);

	memcpy(b->name, name, len + 1);
	b->table_size = BUCKETS_FIRST;
	b->table = mem_zero(b->table_size * sizeof(struct entry *));
	b->sweep_at_ms = UINT64_MAX;
	b->next = shard->brands;
	shard->brands = b;
	return b;
}

/* The link that points to the entry, or to the end of its chain. */
static struct entry **
find(struct brand *b, const char *key, uint64_t hash)
{
	struct entry **at = &b->table[hash & (b->table_size - 1)];

	while (*at != NULL &&
	       ((*at)->hash != hash || strcmp((*at)->key, key) != 0))
		at = &(*at)->next;
	return at;
}

static void
unlink_entry(struct brand *b, struct entry **at)
{
	struct entry *e = *at;

	*at = e->next;
	b->count--;
	b->bytes -= e->bytes;
	mem_free(e);
}

static void
sweep(struct brand *b, uint64_t now)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < b->table_size; i++) {
		struct entry **at = &b->table[i];

		while (*at != NULL) {
			if ((*at)->expires_ms <= now) {
				unlink_entry(b, at);
				continue;
			}
			if ((*at)->expires_ms < next)
				next = (*at)->expires_ms;
			at = &(*at)->next;
		}
	}
	b->sweep_at_ms = next;
}

static void
grow(struct brand *b)
{
	size_t size = b->table_size * 2;
	struct entry **table = mem_zero(size * sizeof(struct entry *));

	for (size_t i = 0; i < b->table_size; i++) {
		struct entry *e = b->table[i];

		while (e != NULL) {
			struct entry *next = e->next;
			struct entry **at = &table[e->hash & (size - 1)];

			e->next = *at;
			*at = e;
			e = next;
		}
	}
	mem_free(b->table);
	b->table = table;
	b->table_size = size;
}

static bool
has_room(const struct brand *b, const struct entry *old, size_t bytes)
{
	size_t count = b->count - (old != NULL ? 1 : 0);
	size_t used = b->bytes - (old != NULL ? old->bytes : 0);

	return count < KV_BRAND_ENTRIES_MAX &&
	       used + bytes <= KV_BRAND_BYTES_MAX;
}

static struct entry *
new_entry(
    const char *key, uint64_t hash, const char *value, uint64_t expires_ms)
{
	size_t key_size = strlen(key) + 1, value_size = strlen(value) + 1;
	size_t bytes = sizeof(struct entry) + key_size + value_size;
	struct entry *e = mem_alloc(bytes);

	*e = (struct entry){
		.hash = hash, .expires_ms = expires_ms, .bytes = bytes
	};
	memcpy(e->key, key, key_size);
	e->value = e->key + key_size;
	memcpy(e->value, value, value_size);
	return e;
}

/* Under the lock. Takes `e` when it returns OK. */
static enum err_code
put_entry(struct brand *b, struct entry *e)
{
	struct entry **at = find(b, e->key, e->hash);
	uint64_t now = clock_mono_ms();

	if (!has_room(b, *at, e->bytes) && b->sweep_at_ms <= now) {
		sweep(b, now);
		at = find(b, e->key, e->hash);
	}
	if (!has_room(b, *at, e->bytes))
		return err_set(ERR_TOO_LARGE,
		    "kv of brand %s is full: %zu entries, %zu bytes", b->name,
		    b->count, b->bytes);
	if (*at != NULL)
		unlink_entry(b, at);
	e->next = *at;
	*at = e;
	b->count++;
	b->bytes += e->bytes;
	if (e->expires_ms < b->sweep_at_ms)
		b->sweep_at_ms = e->expires_ms;
	if (b->count > b->table_size && b->sweep_at_ms <= now)
		sweep(b, now);
	if (b->count > b->table_size)
		grow(b);
	return OK;
}

static enum err_code
memory_set(struct kv *kv, const char *brand, const char *key, const char *value,
    uint64_t ttl_ms)
{
	struct shard *shard = shard_of(kv, brand);
	struct entry *e = new_entry(key, crypto_fnv1a(key, strlen(key)), value,
	    clock_mono_ms() + ttl_ms);
	struct brand *b;
	enum err_code rc;

	pthread_mutex_lock(&shard->lock);
	b = find_brand(shard, brand);
	if (b == NULL)
		b = add_brand(shard, brand);
	rc = put_entry(b, e);
	pthread_mutex_unlock(&shard->lock);
	if (rc != OK)
		mem_free(e);
	return rc;
}

static enum err_code
memory_get(struct kv *kv, const char *brand, const char *key, char **value_out)
{
	struct shard *shard = shard_of(kv, brand);
	uint64_t hash = crypto_fnv1a(key, strlen(key));
	struct entry **at = NULL;
	struct brand *b;
	char *value = NULL;

	pthread_mutex_lock(&shard->lock);
	b = find_brand(shard, brand);
	if (b != NULL)
		at = find(b, key, hash);
	if (at != NULL && *at != NULL) {
		if ((*at)->expires_ms > clock_mono_ms())
			value = mem_strdup((*at)->value);
		else
			unlink_entry(b, at);
	}
	pthread_mutex_unlock(&shard->lock);
	if (value == NULL)
		return err_set(ERR_NOT_FOUND, "kv: no %s", key);
	*value_out = value;
	return OK;
}

static enum err_code
memory_delete(struct kv *kv, const char *brand, const char *key)
{
	struct shard *shard = shard_of(kv, brand);
	struct brand *b;

	pthread_mutex_lock(&shard->lock);
	b = find_brand(shard, brand);
	if (b != NULL) {
		struct entry **at =
		    find(b, key, crypto_fnv1a(key, strlen(key)));

		if (*at != NULL)
			unlink_entry(b, at);
	}
	pthread_mutex_unlock(&shard->lock);
	return OK;
}

static enum err_code
memory_take_token(struct kv *kv, const char *key, int64_t per_minute,
    int64_t burst, uint64_t *retry_after_ms_out)
{
	return kv__buckets_take(((struct memory *)kv)->buckets, key, per_minute,
	    burst, retry_after_ms_out);
}

static enum err_code
memory_lease(struct kv *kv, const char *key, const char *token, uint64_t ttl_ms,
    bool fresh)
{
	return kv__leases_take(
	    ((struct memory *)kv)->leases, key, token, ttl_ms, fresh);
}

static enum err_code
memory_release(struct kv *kv, const char *key, const char *token)
{
	kv__leases_release(((struct memory *)kv)->leases, key, token);
	return OK;
}

static enum err_code
memory_open(const char *url, struct kv **kv_out)
{
	struct memory *m = mem_zero(sizeof(*m));

	(void)url;
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_init(&m->shards[i].lock, NULL);
	m->buckets = kv__buckets_new(KV_BUCKETS_MAX);
	m->leases = kv__leases_new(KV_LEASES_MAX);
	*kv_out = &m->kv;
	return OK;
}

static void
free_brand(struct brand *b)
{
	for (size_t i = 0; i < b->table_size; i++)
		while (b->table[i] != NULL)
			unlink_entry(b, &b->table[i]);
	mem_free(b->table);
	mem_free(b);
}

static void
memory_close(struct kv *kv)
{
	struct memory *m = (struct memory *)kv;

	for (int i = 0; i < SHARDS; i++) {
		struct brand *b;

		while ((b = m->shards[i].brands) != NULL) {
			m->shards[i].brands = b->next;
			free_brand(b);
		}
		pthread_mutex_destroy(&m->shards[i].lock);
	}
	kv__buckets_free(m->buckets);
	kv__leases_free(m->leases);
	mem_free(m);
}

const struct kv_backend kv_memory_backend = {
	.scheme = "memory:",
	.open = memory_open,
	.close = memory_close,
	.set = memory_set,
	.get = memory_get,
	.delete = memory_delete,
	.take_token = memory_take_token,
	.lease = memory_lease,
	.release = memory_release,
};
