/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases of the embedded back end: with one process there is nobody to hide
 * them from, so a table under one lock does. Expired ones are freed when they
 * are met, and swept when the table is full.
 */
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/mem.h"
#include "kv/kv_backend.h"

#define TABLE_SIZE 4096

struct lease {
	struct lease *next;
	uint64_t until_ms; /* monotonic */
	char *token;       /* behind the key, in the same allocation */
	char key[];
};

struct kv_leases {
	pthread_mutex_t lock;
	size_t count, max;
	struct lease *table[TABLE_SIZE];
};

struct kv_leases *
kv__leases_new(size_t max)
{
	struct kv_leases *leases = mem_zero(sizeof(*leases));

	leases->max = max;
	pthread_mutex_init(&leases->lock, NULL);
	return leases;
}

static void
drop(struct kv_leases *leases, struct lease **at)
{
	struct lease *lease = *at;

	*at = lease->next;
	leases->count--;
	mem_free(lease);
}

/* Those of one chain that are over. */
static void
sweep(struct kv_leases *leases, struct lease **at, uint64_t now)
{
	while (*at != NULL) {
		if ((*at)->until_ms <= now)
			drop(leases, at);
		else
			at = &(*at)->next;
	}
}

void
kv__leases_free(struct kv_leases *leases)
{
	if (leases == NULL)
		return;
	for (size_t i = 0; i < TABLE_SIZE; i++)
		sweep(leases, &leases->table[i], UINT64_MAX);
	pthread_mutex_destroy(&leases->lock);
	mem_free(leases);
}

static struct lease **
find(struct kv_leases *leases, const char *key)
{
	uint64_t hash = crypto_fnv1a(key, strlen(key));
	struct lease **at = &leases->table[hash % TABLE_SIZE];

	sweep(leases, at, clock_mono_ms());
	while (*at != NULL && strcmp((*at)->key, key) != 0)
		at = &(*at)->next;
	return at;
}

static bool
add(struct kv_leases *leases, const char *key, const char *token,
    uint64_t until_ms)
{
	size_t key_size = strlen(key) + 1, token_size = strlen(token) + 1;
	struct lease *lease, **at;

	for (size_t i = 0; i < TABLE_SIZE && leases->count >= leases->max; i++)
		sweep(leases, &leases->table[i], clock_mono_ms());
	if (leases->count >= leases->max)
		return false;
	at = find(leases, key); /* the chain may have been swept */
	lease = mem_alloc(sizeof(*lease) + key_size + token_size);
	lease->next = NULL;
	lease->until_ms = until_ms;
	memcpy(lease->key, key, key_size);
	lease->token = lease->key + key_size;
	memcpy(lease->token, token, token_size);
	*at = lease;
	leases->count++;
	return true;
}

enum err_code
kv__leases_take(struct kv_leases *leases, const char *key, const char *token,
    uint64_t ttl_ms, bool fresh)
{
	uint64_t until_ms = clock_mono_ms() + ttl_ms;
	enum { HELD, FREE, FULL, OTHERS } state = FREE;
	struct lease *lease;

	pthread_mutex_lock(&leases->lock);
	lease = *find(leases, key);
	if (lease != NULL)
		state = strcmp(lease->token, token) == 0 ? HELD : OTHERS;
	if (state == HELD)
		lease->until_ms = until_ms;
	else if (state == FREE && fresh)
		state = add(leases, key, token, until_ms) ? HELD : FULL;
	pthread_mutex_unlock(&leases->lock);
	if (state == FULL)
		return err_set(
		    ERR_OVERLOADED, "%zu leases are held", leases->max);
	if (state != HELD)
		return err_set(ERR_CONFLICT,
		    fresh ? "another has the lease %s"
			  : "the lease %s was lost",
		    key);
	return OK;
}

void
kv__leases_release(struct kv_leases *leases, const char *key, const char *token)
{
	struct lease **at;

	pthread_mutex_lock(&leases->lock);
	at = find(leases, key);
	if (*at != NULL && strcmp((*at)->token, token) == 0)
		drop(leases, at);
	pthread_mutex_unlock(&leases->lock);
}
