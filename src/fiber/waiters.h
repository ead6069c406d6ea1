/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_FIBER_WAITERS_H
#define XIN_FIBER_WAITERS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

/*
 * Fibers of any loop that wait for news: for what one loop alone knows there is
 * struct fiber_cond. Register, look, wait, look again, remove:
 *
 *	waiter = waiter_add(waiters);
 *	while (!there_is_news() && rc == OK)
 *		rc = waiter_wait(waiter, deadline_ms);
 *	waiter_remove(waiters, waiter);
 *
 * A wake-up is spent once: after OK remove the waiter and add a new one.
 */
struct waiters;
struct waiter;

struct waiters *waiters_new(void);
void waiters_free(struct waiters *waiters); /* nobody waits any more */
/* Register the running fiber BEFORE it looks, so that no news is missed. */
struct waiter *waiter_add(struct waiters *waiters);
/* WAITS until woken or the deadline: OK when woken. */
enum err_code waiter_wait(struct waiter *waiter, uint64_t deadline_ms);
/* Unregister and free. True when a wake-up was spent on this one, which the
 * caller passes on if it leaves without having used it. */
bool waiter_remove(struct waiters *waiters, struct waiter *waiter);
/* Any thread. */
void waiters_wake_one(struct waiters *waiters);
void waiters_wake_all(struct waiters *waiters);

#endif
