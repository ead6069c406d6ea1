/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_STORE_STORE_POSTGRES_H
#define XIN_STORE_STORE_POSTGRES_H

#include "postgres/postgres.h"
#include "store/store_backend.h"

/* Shared between the files store_postgres*.c only. */

struct store_postgres {
	struct store store; /* first */
	struct postgres *link;
};

static inline struct postgres *
store_postgres__link(struct store *store)
{
	return ((struct store_postgres *)store)->link;
}

/* The clock of this process, as in the embedded store. Leases are compared
 * with the clocks of other replicas: those may differ by less than a lease is
 * renewed early (20 s), which any time service holds. */
int64_t store_postgres__now(void);

/* Runs the batch and forgets its results. */
enum err_code store_postgres__do(
    struct store *store, struct postgres_batch *batch);
/* The same, and ERR_NOT_FOUND ("<what> <id>") when its last statement neither
 * changed nor found a row. */
enum err_code store_postgres__must(struct store *store,
    struct postgres_batch *batch, const char *what, const char *id);

/* The columns of knowledge_sources, alias k, in the order that
 * store_postgres__source_row reads. */
#define STORE_POSTGRES_MS(column)                                              \
	" (extract(epoch FROM k." column ") * 1000)::bigint"
#define STORE_POSTGRES_SOURCE_COLUMNS                                          \
	"k.id, k.brand_id, k.external_id, k.title, k.content_type,"            \
	" k.filename, k.source_url, k.metadata, k.status, k.step,"             \
	" k.progress_done, k.progress_total, k.version, k.live_version,"       \
	" k.chunks, k.size_bytes, k.sha256, k.object_key, k.error_code,"       \
	" k.error_message, k.error_retryable, k.lease_owner, k.lease_until,"   \
	" k.attempts, k.next_attempt_at, k.waiting_since, k.correlation_id,"   \
	" k.steps,"                                                            \
	" k.cancel_requested," STORE_POSTGRES_MS(                              \
	    "created_at") "," STORE_POSTGRES_MS("updated_at")
/* How many; a column that a query adds has this number. */
#define STORE_POSTGRES_SOURCE_COUNT 31
/* Milliseconds as a timestamptz. */
#define STORE_POSTGRES_AT(n) "to_timestamp(" n "::bigint / 1000.0)"
/* The latest that a timestamptz can be compared with: year 9999. */
#define STORE_POSTGRES_LAST INT64_C(253402300799000)

void store_postgres__source_row(struct postgres_row r, struct source *row);
/* All rows of a statement with those columns. */
void store_postgres__source_rows(const struct postgres_batch *batch,
    unsigned statement, struct source_list *list_out);

extern const struct store_source_ops store_postgres__sources;
extern const struct store_lease_ops store_postgres__leases;
extern const struct store_talk_ops store_postgres__talk;
extern const struct store_turn_ops store_postgres__turns;
extern const struct store_admin_ops store_postgres__admin;
extern const struct store_erase_ops store_postgres__erase;

#endif
