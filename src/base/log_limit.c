/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ceiling on repeated lines: of one event on one level so many in a second
 * are written, the rest is counted, and the next line of that event (or one
 * `log.suppressed` when the second is over and none came) says how many there
 * were. One word of a table's slot holds the second and its count, so that
 * recording is one compare-and-swap and no lock. Events are few and come from
 * a table of this program: a slot is never given up, and a table that is full
 * lets every line pass.
 */
#include <stdatomic.h>

#include "base/clock.h"
#include "base/log_internal.h"
#include "base/metric.h"

#define SLOTS 512u /* a power of two, over twice the events there are */

static struct slot {
	_Atomic uint64_t key; /* hash of event and level; 0 = free */
	const char *_Atomic event;
	_Atomic uint64_t window;  /* second << 32 | lines in it */
	_Atomic uint64_t dropped; /* not yet told */
} slots[SLOTS];

static _Atomic unsigned ceiling; /* 0 = none */
static _Atomic uint64_t owed;    /* sum of `dropped` */

void
log_limit(unsigned lines_per_second)
{
	atomic_store(&ceiling, lines_per_second);
}

/* FNV-1a; the level is the last byte. */
static uint64_t
hash(enum log_level level, const char *event)
{
	uint64_t h = 14695981039346656037u;

	for (; *event != '\0'; event++)
		h = (h ^ (unsigned char)*event) * 1099511628211u;
	h = (h ^ (unsigned)level) * 1099511628211u;
	return (h & ~(uint64_t)3) + 4 + (unsigned)level; /* see level_of() */
}

static enum log_level
level_of(const struct slot *slot)
{
	return (enum log_level)(atomic_load(&slot->key) & 3);
}

static struct slot *
find(enum log_level level, const char *event)
{
	uint64_t key = hash(level, event);

	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *slot = &slots[((key >> 20) + i) % SLOTS];
		uint64_t held = atomic_load(&slot->key);

		if (held == 0 &&
		    atomic_compare_exchange_strong(&slot->key, &held, key)) {
			atomic_store(&slot->event, event);
			return slot;
		}
		if (held == key)
			return slot;
	}
	return NULL;
}

static bool
take_place(struct slot *slot, unsigned most)
{
	uint64_t now = clock_mono_ms() / 1000u << 32;
	uint64_t old = atomic_load(&slot->window), next;

	do {
		if ((old & ~(uint64_t)UINT32_MAX) != now)
			next = now | 1u;
		else if ((uint32_t)old >= most)
			return false;
		else
			next = old + 1;
	} while (!atomic_compare_exchange_weak(&slot->window, &old, next));
	return true;
}

bool
log_limit__pass(
    enum log_level level, const char *event, uint64_t *suppressed_out)
{
	unsigned most = atomic_load_explicit(&ceiling, memory_order_relaxed);
	struct slot *slot = most > 0 ? find(level, event) : NULL;

	*suppressed_out = 0;
	if (slot == NULL)
		return true;
	if (!take_place(slot, most)) {
		atomic_fetch_add(&slot->dropped, 1);
		atomic_fetch_add(&owed, 1);
		metric_count(METRIC_LOG_DROPPED, LABELS("repeated"), 1);
		return false;
	}
	if (atomic_load_explicit(&slot->dropped, memory_order_relaxed) > 0) {
		*suppressed_out = atomic_exchange(&slot->dropped, 0);
		atomic_fetch_sub(&owed, *suppressed_out);
	}
	return true;
}

bool
log_limit__owes(void)
{
	return atomic_load(&owed) > 0;
}

void
log_limit__settle(bool all)
{
	uint64_t second = clock_mono_ms() / 1000u;

	for (unsigned i = 0; i < SLOTS && log_limit__owes(); i++) {
		struct slot *slot = &slots[i];
		const char *event = atomic_load(&slot->event);
		uint64_t count;

		if (event == NULL || atomic_load(&slot->dropped) == 0 ||
		    (!all && atomic_load(&slot->window) >> 32 == second))
			continue;
		count = atomic_exchange(&slot->dropped, 0);
		atomic_fetch_sub(&owed, count);
		log_at_(level_of(slot), "log.suppressed", kv_str("of", event),
		    kv_int("suppressed", (int64_t)count), );
	}
}
