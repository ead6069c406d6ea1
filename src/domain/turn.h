/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_TURN_H
#define XIN_DOMAIN_TURN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "domain/auth.h"
#include "domain/product.h"

/*
 * A turn: one message of a user, and the answer to it. Every way in (API,
 * webhook, direct or over HTTP) comes through turn_accept, which owns
 * authentication, limits, idempotency and de-duplication, so that a laptop
 * checks what a cluster checks.
 */
struct turn_request {
	const char *brand;
	const char *channel; /* "api", "webchat", ... */
	const char *message;
	const char *user_id;         /* "" = anonymous */
	const char *user_name;       /* may be NULL */
	const char *conversation_id; /* NULL = find or make one */
	const char *message_id; /* the channel's; NULL = no de-duplication */
	const char *idempotency_key; /* NULL = none */
	const char *locale;          /* may be NULL */
	const json_t *context;       /* object or NULL */
};

/* Where a turn's events go: turn.started, retrieval, guard, delta, usage, then
 * exactly one of done, blocked, error. Called on the conversation's loop, which
 * need not be the caller's; `data` is borrowed. */
struct turn_sink {
	void (*event)(
	    struct turn_sink *sink, const char *name, const json_t *data);
};

/*
 * Answer a message. *answer_out (new reference) is the turn:
 * {"id","conversation_id","reply","citations","route","guards","usage",
 *  "generation","outcome","answered"}; a copy of an earlier message gets the
 * first answer and *duplicate_out. `sink` may be NULL. The task's deadline
 * holds. ERR_RATE_LIMITED and ERR_OVERLOADED set *retry_after_ms_out. WAITS.
 */
enum err_code turn_accept(struct product *product,
    const struct principal *principal, const struct turn_request *request,
    struct turn_sink *sink, json_t **answer_out, bool *duplicate_out,
    uint64_t *retry_after_ms_out);

/* The same turn with scripts that are not live, for their authors: nothing is
 * stored, no limit is taken, every step goes to `sink` (with one more event,
 * `route`). The message starts a conversation of its own. WAITS. */
struct script_generation;
enum err_code turn_try(struct product *product,
    const struct turn_request *request, struct script_generation *gen,
    struct turn_sink *sink, json_t **answer_out);

/* Stop a turn that runs in this process; OK also when it has ended,
 * ERR_NOT_FOUND when neither is known. WAITS. */
enum err_code turn_cancel(
    struct product *product, const char *brand, const char *turn_id);

/* Turns in flight now, in the process. */
unsigned turn_in_flight(void);

/* ---- inside the domain ---- */
struct conversation;
/* The main path: one page in turn.c. Runs on the conversation's loop, with the
 * conversation held. WAITS. */
enum err_code turn_run(struct product *product,
    const struct turn_request *request, const struct conversation *conversation,
    const char *turn_id, struct turn_sink *sink, const char *dedup_key,
    json_t **answer_out);

#endif
