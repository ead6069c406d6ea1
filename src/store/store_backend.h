/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_STORE_STORE_BACKEND_H
#define XIN_STORE_STORE_BACKEND_H

#include <stdatomic.h>
#include "base/span.h"
#include "store/store.h"

/*
 * For those who implement a back end, and for the contract tests. The front
 * (store.c, store_source.c, store_talk.c) has checked arguments, parsed
 * cursors and counted the call before an op runs; the back end translates to
 * its database and keeps the laws of store.h. Every op is required. An op sets
 * its outputs only on success. tests/contract/store_*test.c are the law.
 */

/* Where the next page begins: behind (at, id). The front asks for one item
 * more than the caller wants and makes the next cursor itself. */
struct store_cursor {
	int64_t at; /* created_at, or seq for messages */
	const char *id;
};

struct store_source_ops {
	/* `source` was checked; replaced by the row on success. */
	enum err_code (*add)(struct store *store, struct source *source,
	    bool force, bool *existed_out);
	enum err_code (*get)(struct store *store, const char *brand,
	    const char *id, struct source *source_out);
	enum err_code (*replace)(struct store *store, struct source *source);
	/* after->at INT64_MAX, id "" = from the newest. */
	enum err_code (*list)(struct store *store, const char *brand,
	    int status, const char *external_id,
	    const struct store_cursor *after, int limit,
	    struct source_list *list_out);
	enum err_code (*live_versions)(struct store *store, const char *brand,
	    const char *const *ids, size_t count, int64_t *versions_out);
	enum err_code (*delete)(struct store *store, const char *brand,
	    const char *id, struct source *source_out);
	enum err_code (*retry)(
	    struct store *store, const char *brand, const char *id);
	enum err_code (*cancel)(
	    struct store *store, const char *brand, const char *id);
};

struct store_lease_ops {
	enum err_code (*claim)(struct store *store, const char *brand,
	    const char *id, int64_t version, const char *owner,
	    int64_t lease_ms, int64_t max_attempts, struct source *source_out);
	enum err_code (*renew)(struct store *store, const char *id,
	    const char *owner, int64_t lease_ms);
	enum err_code (*progress)(struct store *store, const char *id,
	    const char *owner, const char *step, int64_t done, int64_t total,
	    const char *steps_json);
	enum err_code (*ready)(struct store *store, const char *id,
	    const char *owner, int64_t version, int64_t chunks,
	    const char *steps_json, int64_t *old_version_out);
	enum err_code (*fail)(struct store *store, const char *id,
	    const char *owner, const char *code, const char *message,
	    bool retryable, bool away, int64_t retry_at,
	    const char *steps_json);
	enum err_code (*cancelled)(
	    struct store *store, const char *id, const char *owner);
	enum err_code (*stuck)(
	    struct store *store, int limit, struct source_list *list_out);
};

struct store_talk_ops {
	enum err_code (*open)(struct store *store, const char *brand,
	    const char *channel, const char *user_id, const char *id,
	    int64_t idle_ms, struct conversation *conversation_out);
	enum err_code (*get)(struct store *store, const char *brand,
	    const char *id, struct conversation *conversation_out);
	/* Objects with created_at and id, newest first. */
	enum err_code (*list)(struct store *store, const char *brand,
	    const char *user_id, const struct store_cursor *after, int limit,
	    json_t **items_out);
	/* Objects with seq and id; seq > after->at, in order. */
	enum err_code (*messages)(struct store *store, const char *brand,
	    const char *conversation_id, const struct store_cursor *after,
	    int limit, json_t **items_out);
	enum err_code (*history)(struct store *store, const char *brand,
	    const char *conversation_id, int limit, json_t **messages_out);
	enum err_code (*status)(struct store *store, const char *brand,
	    const char *id, const char *status);
	enum err_code (*slots)(struct store *store, const char *brand,
	    const char *id, const char *slots_json);
};

struct store_turn_ops {
	/* `citations`: JSON array text, taken from the body by the front. */
	enum err_code (*add)(struct store *store, const struct turn_row *turn,
	    const char *citations);
	enum err_code (*get)(struct store *store, const char *brand,
	    const char *id, char **body_out, char **capsule_out);
	enum err_code (*feedback)(struct store *store, const char *brand,
	    const char *id, const char *rating, const char *comment);
	enum err_code (*dedup_begin)(struct store *store, const char *key,
	    const char *fingerprint, int64_t lease_ms, char **answer_out);
	enum err_code (*dedup_finish)(
	    struct store *store, const char *key, const char *answer);
	enum err_code (*dedup_drop)(struct store *store, const char *key);
};

struct store_erase_ops {
	/* `erasure` was checked. */
	enum err_code (*erase)(struct store *store,
	    const struct store_erasure *erasure, int64_t *erased_out);
	/* Objects with seq; seq < after->at, newest first. */
	enum err_code (*audit_list)(struct store *store,
	    const struct store_cursor *after, int limit, json_t **items_out);
	enum err_code (*audit_forget)(struct store *store, int64_t before);
};

struct store_admin_ops {
	enum err_code (*key_add)(struct store *store, const char *id,
	    const char *name, const char *scopes, const char *sha256_hex);
	enum err_code (*key_find)(struct store *store, const char *sha256_hex,
	    struct api_key *key_out);
	enum err_code (*key_list)(struct store *store, json_t **items_out);
	enum err_code (*key_revoke)(struct store *store, const char *id);
	enum err_code (*key_count)(struct store *store, int64_t *count_out);
	enum err_code (*audit)(struct store *store, const char *actor,
	    const char *action, const char *subject, const char *detail);
	enum err_code (*scripts_save)(struct store *store, const char *hash,
	    const void *packed, size_t len);
	enum err_code (*scripts_load)(
	    struct store *store, char **packed_out, size_t *len_out);
};

struct store_backend {
	const char *scheme; /* the URL's beginning: "sqlite:" */
	enum err_code (*open)(
	    const char *url, struct sqlite *db, struct store **store_out);
	void (*close)(struct store *store);
	enum err_code (*ping)(struct store *store);
	enum err_code (*checkup)(struct store *store, struct checkup *checkup);
	enum err_code (*sweep)(struct store *store);
	enum err_code (*figures)(
	    struct store *store, struct store_figures *figures_out);
	const struct store_source_ops *sources;
	const struct store_lease_ops *leases;
	const struct store_talk_ops *talk;
	const struct store_turn_ops *turns;
	const struct store_admin_ops *admin;
	const struct store_erase_ops *erase;
};

/* A back end's own structure begins with this one, zeroed. */
struct store {
	const struct store_backend *backend;
	/* The decorators "fault:<n>:" (the n-th call fails, once) and
	 * "trace:" (each call is a line on stderr). They stand in the front,
	 * because every call passes there anyway. */
	int64_t fault_at;
	bool trace;
	_Atomic int64_t calls;
};

extern const struct store_backend store_sqlite_backend;
extern const struct store_backend store_postgres_backend;

/* Time that entries of de-duplication live. */
#define STORE_DEDUP_MS ((int64_t)24 * 3600 * 1000)
/* Script generations kept. */
#define STORE_GENERATIONS_MAX 10
/* Rows that one sweep deletes. */
#define STORE_SWEEP_MAX 1000

/* ---- inside the folder ---- */
/* Sources of one status: how many, and the oldest updated_at among them. */
void store__add_figure(struct store_figures *figures, const char *status,
    int64_t count, int64_t oldest);
struct span *store__span(const struct store *store, const char *name);
enum err_code store__enter(struct store *store, const char *name);
void store__leave(struct store *store, const char *name, uint64_t started_us,
    enum err_code rc);
#define STORE_CALL(store, name, call)                                          \
	({                                                                     \
		uint64_t started_ = clock_mono_us();                           \
		struct span *span_ = store__span(store, name);                 \
		enum err_code rc_ = store__enter(store, name);                 \
		if (rc_ == OK)                                                 \
			rc_ = (call);                                          \
		store__leave(store, name, started_, rc_);                      \
		span_end_call(span_, rc_);                                     \
		rc_;                                                           \
	})

/* Checks of arguments: ERR_INVALID with the field's name. */
enum err_code store__check_brand(const char *brand);
enum err_code store__check_text(
    const char *field, const char *text, size_t max);
enum err_code store__check_limit(int limit);
/* "<at>.<id>"; NULL gives `first`. `id` of the cursor points into `text`. */
enum err_code store__cursor_parse(
    const char *text, int64_t first, struct store_cursor *cursor_out);
char *store__cursor_text(int64_t at, const char *id);
/* Of limit + 1 items the last is only a sign that there are more: it is taken
 * away, and the cursor behind the one before it returned (NULL = the end). */
char *store__cut_page(json_t *items, int limit, const char *at_key);

#endif
