/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_STORE_STORE_H
#define XIN_STORE_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/ident.h"
#include "base/task.h"

/*
 * The store: the rows of the product. Every row has a brand, every query names
 * it; a row of another brand is ERR_NOT_FOUND. Wall times in milliseconds.
 * All functions WAIT; what returned OK is durable. Structures returned are
 * freed by their *_done or *_free; char pointers in them are owned by them.
 */
struct store;
struct sqlite;
/* `url`: "sqlite:" uses `db`; "postgresql:" (or "postgres:") opens a link of
 * its own, see postgres/postgres.h for the URL and the errors that every
 * function may then give. ERR_CONFIG, ERR_UNAVAILABLE, ERR_CONFLICT (not this
 * program's schema: run `xin migrate`). */
enum err_code store_open(
    const char *url, struct sqlite *db, struct store **store_out);
void store_close(struct store *store);
/* ERR_UNAVAILABLE when it cannot be written now; for /health. */
enum err_code store_ping(struct store *store);
struct checkup;
enum err_code store_checkup(struct store *store, struct checkup *checkup);

/* ---- knowledge sources: the truth of ingestion ---- */
enum source_status {
	SOURCE_PENDING,
	SOURCE_PROCESSING,
	SOURCE_READY,
	SOURCE_FAILED,
	SOURCE_CANCELLED
};
const char *source_status_name(enum source_status status);
bool source_status_parse(const char *name, enum source_status *status_out);

struct source {
	char id[IDENT_SIZE];
	char brand_id[BRAND_ID_SIZE];
	char *external_id; /* NULL when none */
	char *title;
	char *content_type;
	char *filename;   /* NULL when none */
	char *source_url; /* NULL when none */
	char *metadata;   /* JSON object text */
	enum source_status status;
	char *step; /* "" before the first */
	int64_t progress_done, progress_total;
	int64_t version;      /* the newest, being made or live */
	int64_t live_version; /* what searches see; 0 = none yet */
	int64_t chunks;       /* of the live version */
	int64_t size_bytes;
	char sha256[65];
	char *object_key;
	/* From add and replace alone: the object of the version that this one
	 * takes the place of, to be deleted; NULL when there is none. */
	char *old_object_key;
	char *error_code; /* "" when none */
	char *error_message;
	bool error_retryable;
	char *lease_owner; /* "" when none */
	int64_t lease_until;
	int64_t attempts;
	int64_t next_attempt_at; /* 0 = now */
	int64_t waiting_since;   /* a back end is away since; 0 = none is */
	char correlation_id[REQUEST_ID_SIZE];
	char *steps; /* JSON array: name, state, started_at, ended_at,
		      * attempt, error */
	bool cancel_requested;
	int64_t created_at, updated_at;
};
void source_done(struct source *source);

/* Insert a pending source. When a source of the brand has the same sha256,
 * title and metadata and is not cancelled or deleted, and !force: returns that
 * one and *existed_out = true (a failed one is made pending again, attempts 0).
 * With `external_id` of an existing source: a new version of it. In one
 * transaction. `source` needs brand_id, title, content_type, metadata, sha256,
 * object_key, size_bytes; gets everything else. */
enum err_code store_source_add(
    struct store *store, struct source *source, bool force, bool *existed_out);
enum err_code store_source_get(struct store *store, const char *brand,
    const char *id, struct source *source_out);
/* New content for a source: version + 1, pending; live_version stays. */
enum err_code store_source_replace(struct store *store, struct source *source);
struct source_list {
	struct source *items;
	size_t count;
	char *next_cursor; /* NULL at the end */
};
void source_list_done(struct source_list *list);
/* Newest first. status -1 = all; external_id, cursor may be NULL. */
enum err_code store_source_list(struct store *store, const char *brand,
    int status, const char *external_id, const char *cursor, int limit,
    struct source_list *list_out);
/* The live version of each source; 0 = none, or no such source. At most 1000
 * ids. For a search index that lives elsewhere: the row is the switch. */
enum err_code store_live_versions(struct store *store, const char *brand,
    const char *const *ids, size_t count, int64_t *versions_out);
/* Delete the row; returns it (for its object and chunks). */
enum err_code store_source_delete(struct store *store, const char *brand,
    const char *id, struct source *source_out);
/* failed or cancelled -> pending; ERR_CONFLICT otherwise. */
enum err_code store_source_retry(
    struct store *store, const char *brand, const char *id);
/* pending -> cancelled; processing -> cancel_requested; else ERR_CONFLICT. */
enum err_code store_source_cancel(
    struct store *store, const char *brand, const char *id);

/* Claim for the worker `owner`: pending, or processing with an expired lease,
 * and version matches -> processing, lease, attempts + 1. ERR_CONFLICT when
 * somebody holds it or it has ended or its version has moved on. Attempts over
 * `max_attempts`: it becomes failed here and ERR_CONFLICT is returned. */
enum err_code store_source_claim(struct store *store, const char *brand,
    const char *id, int64_t version, const char *owner, int64_t lease_ms,
    int64_t max_attempts, struct source *source_out);
/* All of these fail with ERR_CONFLICT when the lease is not `owner`'s (fencing)
 * and ERR_CANCELLED when cancel_requested. */
enum err_code store_source_renew(
    struct store *store, const char *id, const char *owner, int64_t lease_ms);
/* step, progress and the steps array. */
enum err_code store_source_progress(struct store *store, const char *id,
    const char *owner, const char *step, int64_t done, int64_t total,
    const char *steps_json);
/* The switch: live_version = version, ready, chunks, lease cleared; one row
 * update. *old_version_out = what was live before (0 = none). */
enum err_code store_source_ready(struct store *store, const char *id,
    const char *owner, int64_t version, int64_t chunks, const char *steps_json,
    int64_t *old_version_out);
/* Ends this attempt: `retry_at` 0 = failed for good, else pending again with
 * next_attempt_at. With a live version the status goes back to ready and the
 * error is kept. An attempt that failed because a back end is away (`away`)
 * does not count, and waiting_since keeps the time of the first such one. */
enum err_code store_source_fail(struct store *store, const char *id,
    const char *owner, const char *code, const char *message, bool retryable,
    bool away, int64_t retry_at, const char *steps_json);
enum err_code store_source_cancelled(
    struct store *store, const char *id, const char *owner);
/* Sources that need a job: pending and due, or processing with an expired
 * lease, oldest first. For the reaper. */
enum err_code store_source_stuck(
    struct store *store, int limit, struct source_list *list_out);

/* ---- conversations and turns ---- */
struct conversation {
	char id[IDENT_SIZE];
	char brand_id[BRAND_ID_SIZE];
	char *channel;
	char *user_id;
	char *status; /* open, handoff, closed */
	int64_t messages;
	int64_t created_at, updated_at;
	char *slots; /* JSON object */
};
void conversation_done(struct conversation *conversation);
/* `id` given: that one (ERR_NOT_FOUND unless the brand's and the user's).
 * NULL: the user's open one on that channel with its last message under
 * `idle_ms` ago, else a new one. */
enum err_code store_conversation_open(struct store *store, const char *brand,
    const char *channel, const char *user_id, const char *id, int64_t idle_ms,
    struct conversation *conversation_out);
enum err_code store_conversation_get(struct store *store, const char *brand,
    const char *id, struct conversation *conversation_out);
/* JSON array of conversations / of messages {id, role, text, at, turn_id,
 * citations}, and the next cursor (NULL = end; mem_free). */
enum err_code store_conversation_list(struct store *store, const char *brand,
    const char *user_id, const char *cursor, int limit, json_t **items_out,
    char **next_out);
enum err_code store_messages(struct store *store, const char *brand,
    const char *conversation_id, const char *cursor, int limit,
    json_t **items_out, char **next_out);
/* The last `limit` messages, oldest first. */
enum err_code store_history(struct store *store, const char *brand,
    const char *conversation_id, int limit, json_t **messages_out);
/* status: open, handoff or closed. Reset = closed. */
enum err_code store_conversation_status(
    struct store *store, const char *brand, const char *id, const char *status);
enum err_code store_conversation_slots(struct store *store, const char *brand,
    const char *id, const char *slots_json);

struct turn_row {
	char id[IDENT_SIZE];
	char brand_id[BRAND_ID_SIZE];
	char conversation_id[IDENT_SIZE];
	const char *channel, *user_id;
	const char *message, *reply; /* as guarded */
	const char *outcome;         /* done, blocked, error */
	const char *body;            /* the whole answer, JSON text */
	const char *capsule;         /* what happened, JSON text */
	const char *generation;
	int64_t started_at, ended_at;
	/* De-duplication and idempotency: the finished answer is stored with
	 * the turn in one transaction. NULL = none. */
	const char *dedup_key;
};
/* Turn, both messages and the finished dedup entry, in one transaction. */
enum err_code store_turn_add(struct store *store, const struct turn_row *turn);
/* JSON: the stored body / capsule. New references. */
enum err_code store_turn_get(struct store *store, const char *brand,
    const char *id, json_t **body_out, json_t **capsule_out);
enum err_code store_turn_feedback(struct store *store, const char *brand,
    const char *id, const char *rating, const char *comment);

/* ---- de-duplication ---- */
/* Begin: OK and *answer_out NULL = ours now (a claim with a lease of
 * `lease_ms`); *answer_out set = the stored answer (mem_free); ERR_CONFLICT =
 * somebody else's claim runs; ERR_IDEMPOTENCY = same key, other fingerprint.
 * Entries live 24 h. `key` is made by the caller: "brand|channel|message id".
 */
enum err_code store_dedup_begin(struct store *store, const char *key,
    const char *fingerprint, int64_t lease_ms, char **answer_out);
/* For answers that are stored without a turn (uploads). */
enum err_code store_dedup_finish(
    struct store *store, const char *key, const char *answer);
/* Give a claim back after a failure that a retry may mend. */
enum err_code store_dedup_drop(struct store *store, const char *key);

/* ---- erasure and retention ---- */
/* Which conversations: one of a brand, all of one user of a brand, or, with
 * `brand` NULL, all whose last message is older than `before`. */
struct store_erasure {
	const char *brand;
	const char *conversation_id, *user_id; /* one of them, with a brand */
	int64_t before;                        /* without a brand */
};
/* Deletes at most STORE_ERASE_MAX of them with their messages, their turns and
 * capsules and the answers kept for their duplicates; their pages are
 * overwritten where the database can (SQLite). To be called until *erased_out
 * is 0. A turn that still runs in one ends with ERR_NOT_FOUND and stores
 * nothing. */
#define STORE_ERASE_MAX 100
enum err_code store_erase(struct store *store,
    const struct store_erasure *erasure, int64_t *erased_out);

/* ---- keys and audit ---- */
struct api_key {
	char id[IDENT_SIZE];
	char *name;
	char *scopes; /* separated by spaces */
	int64_t created_at, revoked_at;
};
void api_key_done(struct api_key *key);
enum err_code store_key_add(struct store *store, const char *name,
    const char *scopes, const char *sha256_hex, char id_out[IDENT_SIZE]);
enum err_code store_key_find(struct store *store, const char *sha256_hex,
    struct api_key *key_out); /* ERR_NOT_FOUND also when revoked */
enum err_code store_key_list(struct store *store, json_t **items_out);
enum err_code store_key_revoke(struct store *store, const char *id);
enum err_code store_key_count(struct store *store, int64_t *count_out);
enum err_code store_audit(struct store *store, const char *actor,
    const char *action, const char *subject, const char *detail);
/* Newest first: {seq, at, actor, action, subject, detail}. */
enum err_code store_audit_list(struct store *store, const char *cursor,
    int limit, json_t **items_out, char **next_out);
/* Forgets at most STORE_SWEEP_MAX rows older than `before`. */
enum err_code store_audit_forget(struct store *store, int64_t before);

/* ---- scripts: last good generation, pins ---- */
enum err_code store_scripts_save(
    struct store *store, const char *hash, const void *packed, size_t len);
enum err_code store_scripts_load(struct store *store, char **packed_out,
    size_t *len_out); /* ERR_NOT_FOUND */

/* ---- figures, for metrics ---- */
struct store_figures {
	int64_t sources[SOURCE_CANCELLED + 1]; /* by status */
	/* updated_at of the pending or processing one that has stood still
	 * longest; 0 = none is unfinished. */
	int64_t still_since;
};
enum err_code store_figures(
    struct store *store, struct store_figures *figures_out);

/* ---- housekeeping: expired dedup entries; bounded work, called regularly */
enum err_code store_sweep(struct store *store);

#endif
