/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vectors of texts seen before, by the hash of model and text: one table under
 * one lock that is held for a copy, in the order of use. Documents come again
 * with a paragraph changed, and people ask the same questions.
 */
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "model/embed_internal.h"

#define SLOTS_MAX ((size_t)1 << 16)

struct entry {
	struct entry *chain;
	struct entry *newer, *older;
	uint8_t key[SHA256_SIZE];
	float vector[];
};

struct embed_cache {
	pthread_mutex_t lock;
	size_t dimensions;
	size_t max, count; /* entries */
	size_t slots;      /* power of two */
	struct entry *newest, *oldest;
	struct entry *table[];
};

struct embed_cache *
embed__cache_new(size_t max_bytes, size_t dimensions)
{
	size_t each = sizeof(struct entry) + dimensions * sizeof(float) +
		      sizeof(struct entry *);
	size_t max = max_bytes / each, slots = 1;
	struct embed_cache *cache;

	while (slots < max && slots < SLOTS_MAX)
		slots *= 2;
	cache = mem_zero(sizeof(*cache) + slots * sizeof(struct entry *));
	pthread_mutex_init(&cache->lock, NULL);
	cache->dimensions = dimensions;
	cache->max = max;
	cache->slots = slots;
	return cache;
}

void
embed__cache_free(struct embed_cache *cache)
{
	struct entry *entry;

	if (cache == NULL)
		return;
	while ((entry = cache->newest) != NULL) {
		cache->newest = entry->older;
		mem_free(entry);
	}
	pthread_mutex_destroy(&cache->lock);
	mem_free(cache);
}

static struct entry **
slot_of(struct embed_cache *cache, const uint8_t key[SHA256_SIZE])
{
	uint64_t hash;

	memcpy(&hash, key, sizeof(hash));
	return &cache->table[hash & (cache->slots - 1)];
}

static struct entry *
find(struct embed_cache *cache, const uint8_t key[SHA256_SIZE])
{
	struct entry *entry = *slot_of(cache, key);

	while (entry != NULL && memcmp(entry->key, key, SHA256_SIZE) != 0)
		entry = entry->chain;
	return entry;
}

static void
leave_order(struct embed_cache *cache, struct entry *entry)
{
	*(entry->newer != NULL ? &entry->newer->older : &cache->newest) =
	    entry->older;
	*(entry->older != NULL ? &entry->older->newer : &cache->oldest) =
	    entry->newer;
}

static void
enter_order(struct embed_cache *cache, struct entry *entry)
{
	entry->newer = NULL;
	entry->older = cache->newest;
	*(entry->older != NULL ? &entry->older->newer : &cache->oldest) = entry;
	cache->newest = entry;
}

bool
embed__cache_get(struct embed_cache *cache, const uint8_t key[SHA256_SIZE],
    float *vector_out)
{
	struct entry *entry;

	pthread_mutex_lock(&cache->lock);
	entry = find(cache, key);
	if (entry != NULL) {
		leave_order(cache, entry);
		enter_order(cache, entry);
		memcpy(vector_out, entry->vector,
		    cache->dimensions * sizeof(float));
	}
	pthread_mutex_unlock(&cache->lock);
	return entry != NULL;
}

/* The oldest entry, out of table and order, to be used again. */
static struct entry *
take_oldest(struct embed_cache *cache)
{
	struct entry *entry = cache->oldest;
	struct entry **at = slot_of(cache, entry->key);

	while (*at != entry)
		at = &(*at)->chain;
	*at = entry->chain;
	leave_order(cache, entry);
	cache->count--;
	return entry;
}

void
embed__cache_put(struct embed_cache *cache, const uint8_t key[SHA256_SIZE],
    const float *vector)
{
	size_t size = cache->dimensions * sizeof(float);
	struct entry **slot, *entry;

	pthread_mutex_lock(&cache->lock);
	if (cache->max > 0 && find(cache, key) == NULL) {
		entry = cache->count == cache->max
			    ? take_oldest(cache)
			    : mem_alloc(sizeof(*entry) + size);
		memcpy(entry->key, key, SHA256_SIZE);
		memcpy(entry->vector, vector, size);
		slot = slot_of(cache, key);
		entry->chain = *slot;
		*slot = entry;
		enter_order(cache, entry);
		cache->count++;
	}
	pthread_mutex_unlock(&cache->lock);
}
