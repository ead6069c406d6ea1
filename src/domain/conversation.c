/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is in a conversation now: a small table for each loop, and, where several
 * replicas share a kv, a lease on the conversation. The lease is short and
 * renewed while the turn runs, so that a replica that died holds nobody up for
 * long. Without the kv messages are answered all the same, in order within each
 * replica: better than silence.
 */
#include "domain/conversation.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "base/ident.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "kv/kv.h"

#define BUCKETS       256u
#define WAITING_MAX   32u
#define LEASE_MS      10000
#define RENEW_MS      3000
#define LEASE_LOOK_MS 10
#define LEASE_SLOW_MS 200
#define KEY_SIZE      (IDENT_SIZE + 16)

struct seat {
	struct seat *next;
	char id[IDENT_SIZE];
	char token[IDENT_SIZE]; /* of the lease, "" = none */
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

	if (seat == NULL || seat->taken || seat->waiting > 0)
		return;
	*at = seat->next;
	mem_free(seat);
}

/* ---- the lease ---- */

static void
lease_key(const char *id, char key[KEY_SIZE])
{
	snprintf(key, KEY_SIZE, "conversation|%s", id);
}

static enum err_code
lease_take(struct kv *kv, struct seat *seat, uint64_t deadline_ms)
{
	uint64_t pause = LEASE_LOOK_MS;
	char key[KEY_SIZE];
	enum err_code rc;

	lease_key(seat->id, key);
	ident_new("ls", seat->token);
	deadline_ms = deadline_min(deadline_ms, task_self()->deadline_ms);
	while ((rc = kv_lease_take(kv, key, seat->token, LEASE_MS)) ==
	       ERR_CONFLICT) {
		if (deadline_left_ms(deadline_ms) == 0)
			return err_set(ERR_DEADLINE,
			    "another replica answers in this conversation");
		TRY(fiber_sleep(pause));
		pause = pause < LEASE_SLOW_MS ? pause * 2 : pause;
	}
	if (rc == ERR_UNAVAILABLE || rc == ERR_UPSTREAM) {
		log_warn("conversation.unordered",
		    kv_str("conversation_id", seat->id),
		    kv_error("error", err_message()));
		seat->token[0] = '\0';
		return OK;
	}
	return rc;
}

static void
lease_release(struct kv *kv, struct seat *seat)
{
	struct error kept;
	char key[KEY_SIZE];

	if (seat == NULL || seat->token[0] == '\0')
		return;
	lease_key(seat->id, key);
	err_save(&kept);
	fiber_shield();
	kv_lease_release(kv, key, seat->token); /* else it ends by itself */
	fiber_unshield();
	err_restore(&kept);
	seat->token[0] = '\0';
}

/* One fiber for each loop renews what the loop's seats hold, as long as one
 * does. */
static _Thread_local struct {
	struct kv *kv;
	struct fiber *fiber; /* NULL = none runs */
	size_t held;
} keeper;

struct held {
	char id[IDENT_SIZE];
	char token[IDENT_SIZE];
};

/* Copies: seats come and go while the renewing waits. */
static struct held *
list_held(size_t *count_out)
{
	struct held *held = NULL;
	size_t count = 0;

	for (size_t i = 0; i < BUCKETS; i++)
		for (struct seat *seat = seats[i]; seat; seat = seat->next) {
			if (seat->token[0] == '\0')
				continue;
			held = mem_resize(held, (count + 1) * sizeof(*held));
			memcpy(held[count].id, seat->id, sizeof(seat->id));
			memcpy(held[count].token, seat->token,
			    sizeof(seat->token));
			count++;
		}
	*count_out = count;
	return held;
}

/* A lease that was lost is nobody's to mend: the turn goes on. */
static void
renew_all(struct kv *kv)
{
	size_t count;
	struct held *held = list_held(&count);
	char key[KEY_SIZE];

	for (size_t i = 0; i < count; i++) {
		lease_key(held[i].id, key);
		kv_lease_renew(kv, key, held[i].token, LEASE_MS);
	}
	mem_free(held);
}

static void
keeper_run(void *arg)
{
	(void)arg;
	while (fiber_sleep(RENEW_MS) == OK)
		renew_all(keeper.kv);
}

static void
keeper_need(struct kv *kv)
{
	keeper.kv = kv;
	if (keeper.held++ == 0)
		keeper.fiber =
		    fiber_start_service(SERVICE_ORCHESTRATOR, keeper_run, NULL);
}

static void
keeper_done(void)
{
	if (--keeper.held == 0)
		fiber_cancel(keeper.fiber);
}

/* ---- seats ---- */

static enum err_code
seat_take(const char *id, uint64_t deadline_ms)
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

static void
seat_leave(const char *id)
{
	struct seat **at = place(id);
	struct seat *seat = *at;

	must(seat != NULL && seat->taken);
	seat->taken = false;
	fiber_cond_signal(&seat->free);
	drop_if_empty(at);
}

enum err_code
conversation_enter(struct kv *kv, const char *id, uint64_t deadline_ms)
{
	enum err_code rc;

	TRY(seat_take(id, deadline_ms));
	if (!kv_is_shared(kv))
		return OK;
	rc = lease_take(kv, *place(id), deadline_ms);
	if (rc == OK)
		keeper_need(kv);
	else
		seat_leave(id);
	return rc;
}

void
conversation_leave(struct kv *kv, const char *id)
{
	if (kv_is_shared(kv)) {
		keeper_done();
		lease_release(kv, *place(id));
	}
	seat_leave(id);
}
