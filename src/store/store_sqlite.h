/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_STORE_STORE_SQLITE_H
#define XIN_STORE_STORE_SQLITE_H

#include "sqlite/sqlite.h"
#include "store/store_backend.h"

/* Shared between the files store_sqlite*.c only. */

struct store_sqlite {
	struct store store; /* first */
	struct sqlite *db;
};

static inline struct sqlite *
store_sqlite__db(struct store *store)
{
	return ((struct store_sqlite *)store)->db;
}

int64_t store_sqlite__now(void);

/* The columns of knowledge_sources in the order that source_row reads. */
#define STORE_SQLITE_SOURCE_COLUMNS                                            \
	"id, brand_id, external_id, title, content_type, filename,"            \
	" source_url, metadata, status, step, progress_done, progress_total,"  \
	" version, live_version, chunks, size_bytes, sha256, object_key,"      \
	" error_code, error_message, error_retryable, lease_owner,"            \
	" lease_until, attempts, next_attempt_at, waiting_since,"              \
	" correlation_id, steps,"                                              \
	" cancel_requested, created_at, updated_at"
void store_sqlite__source_row(
    sqlite3_stmt *statement, struct source *source_out);
/* All rows of a statement with those columns. */
enum err_code store_sqlite__source_rows(
    sqlite3 *db, sqlite3_stmt *statement, struct source_list *list_out);

extern const struct store_source_ops store_sqlite__sources;
extern const struct store_lease_ops store_sqlite__leases;
extern const struct store_talk_ops store_sqlite__talk;
extern const struct store_turn_ops store_sqlite__turns;
extern const struct store_admin_ops store_sqlite__admin;
extern const struct store_erase_ops store_sqlite__erase;

#endif
