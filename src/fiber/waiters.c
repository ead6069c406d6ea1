/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waking fibers, whatever loop they live on. A waiter is on the heap and is
 * shared by its fiber and by a wake-up that may still be on its way through the
 * mailbox of the fiber's loop: `fiber` and `woken` belong to that loop alone,
 * `listed` and `posted` to the lock. Who comes last frees it.
 */
#include "fiber/waiters.h"

#include <pthread.h>

#include "base/mem.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"

struct waiters {
	pthread_mutex_t lock;
	struct waiter *first, **last;
};

struct waiter {
	struct waiter *next;
	struct loop *loop;
	struct fiber *fiber; /* NULL: it left, the wake-up frees */
	bool woken;
	bool listed, posted;
};

struct waiters *
waiters_new(void)
{
	struct waiters *waiters = mem_zero(sizeof(*waiters));

	pthread_mutex_init(&waiters->lock, NULL);
	waiters->last = &waiters->first;
	return waiters;
}

void
waiters_free(struct waiters *waiters)
{
	if (waiters == NULL)
		return;
	must(waiters->first == NULL);
	pthread_mutex_destroy(&waiters->lock);
	mem_free(waiters);
}

struct waiter *
waiter_add(struct waiters *waiters)
{
	struct waiter *waiter = mem_zero(sizeof(*waiter));

	waiter->loop = loop_self();
	waiter->fiber = fiber_self();
	must(waiter->fiber != NULL);
	waiter->listed = true;
	pthread_mutex_lock(&waiters->lock);
	*waiters->last = waiter;
	waiters->last = &waiter->next;
	pthread_mutex_unlock(&waiters->lock);
	return waiter;
}

enum err_code
waiter_wait(struct waiter *waiter, uint64_t deadline_ms)
{
	enum err_code rc = OK;

	while (!waiter->woken && rc == OK)
		rc = fiber_park(deadline_ms);
	/* One that is to end must not take what it was woken for. */
	if (rc == ERR_CANCELLED || fiber_cancelled())
		return err_set(ERR_CANCELLED, "cancelled");
	return waiter->woken ? OK : rc;
}

/* On the waiter's loop. */
static void
deliver(void *arg)
{
	struct waiter *waiter = arg;

	if (waiter->fiber == NULL) {
		mem_free(waiter);
		return;
	}
	waiter->woken = true;
	fiber_wake(waiter->fiber);
}

bool
waiter_remove(struct waiters *waiters, struct waiter *waiter)
{
	struct waiter **at;
	bool posted;

	pthread_mutex_lock(&waiters->lock);
	if (waiter->listed) {
		for (at = &waiters->first; *at != waiter; at = &(*at)->next)
			;
		*at = waiter->next;
		if (waiter->next == NULL)
			waiters->last = at;
	}
	posted = waiter->posted;
	pthread_mutex_unlock(&waiters->lock);
	if (posted && !waiter->woken)
		waiter->fiber = NULL; /* deliver() comes later */
	else
		mem_free(waiter);
	return posted;
}

/* loop_post stands inside the lock, so that `posted` is settled before the
 * waiter can look at it; it only queues. */
static void
wake(struct waiters *waiters, bool all)
{
	struct waiter *waiter;

	pthread_mutex_lock(&waiters->lock);
	while ((waiter = waiters->first) != NULL) {
		waiters->first = waiter->next;
		if (waiters->first == NULL)
			waiters->last = &waiters->first;
		waiter->next = NULL;
		waiter->listed = false;
		waiter->posted = loop_post(waiter->loop, deliver, waiter);
		if (waiter->posted && !all)
			break;
	}
	pthread_mutex_unlock(&waiters->lock);
}

void
waiters_wake_one(struct waiters *waiters)
{
	wake(waiters, false);
}

void
waiters_wake_all(struct waiters *waiters)
{
	wake(waiters, true);
}
