/* SPDX-License-Identifier: Apache-2.0 */
/* Who is in a conversation now: a small table for each loop. */
#include "domain/conversation.h"

#include <stdbool.h>
#include <string.h>

#include "base/crypto.h"
#include "base/ident.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"

#define BUCKETS     256u
#define WAITING_MAX 32u

struct seat {
	struct seat *next;
	char id[IDENT_SIZE];
	bool taken;
	unsigned waiting;
	struct fiber_cond free;
};

static _Thread_local struct seat *seats[BUCKETS];

static struct seat **
place(const char *id)
{
	struct seat **at = &seats[crypto_fnv1a(id, strlen(id)) % BUCKETS];

	while (*at != NULL && strcmp((*at)->id, id) != 0)
		at = &(*at)->next;
	return at;
}

static void
drop_if_empty(struct seat **at)
{
	struct seat *seat = *at;

	if (seat->taken || seat->waiting > 0)
		return;
	*at = seat->next;
	mem_free(seat);
}

enum err_code
conversation_enter(const char *id, uint64_t deadline_ms)
{
	struct seat **at = place(id);
	struct seat *seat = *at;
	enum err_code rc = OK;
	bool woken = false;

	if (seat == NULL) {
		seat = mem_zero(sizeof(*seat));
		str_copy(seat->id, sizeof(seat->id), id);
		*at = seat;
	}
	if (seat->waiting >= WAITING_MAX)
		return err_set(ERR_OVERLOADED,
		    "too many messages wait in this conversation");
	seat->waiting++;
	/* Behind those who wait already, even when the seat is free just now.
	 */
	while (rc == OK && (seat->taken || (!woken && seat->waiting > 1))) {
		rc = fiber_cond_wait(&seat->free, deadline_ms);
		woken = true;
	}
	seat->waiting--;
	if (rc == OK) {
		seat->taken = true;
		return OK;
	}
	if (!seat->taken)
		fiber_cond_signal(&seat->free); /* pass a lost wake on */
	drop_if_empty(place(id));
	return rc;
}

void
conversation_leave(const char *id)
{
	struct seat **at = place(id);
	struct seat *seat = *at;

	must(seat != NULL && seat->taken);
	seat->taken = false;
	fiber_cond_signal(&seat->free);
	drop_if_empty(at);
}
