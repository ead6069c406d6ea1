/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knowledge sources in PostgreSQL: what workers do. A claim and every write
 * under a lease are one UPDATE whose WHERE says what must hold, so that of
 * several replicas one wins and one that lost its lease changes nothing
 * (fencing); only when nothing changed is it asked why.
 */
#include <string.h>

#include "base/mem.h"
#include "store/store_postgres.h"

#define COLUMNS STORE_POSTGRES_SOURCE_COLUMNS

/* ---- claim ---- */

/* Nobody works on it: $4 is now. */
#define FREE                                                                   \
	" (k.status = 'pending' OR"                                            \
	"  (k.status = 'processing' AND k.lease_until < $4))"

static void
add_take(struct postgres_batch *batch, const char *brand, const char *id,
    int64_t version, const char *owner, int64_t lease_ms, int64_t max_attempts)
{
	int64_t now = store_postgres__now();

	postgres_add(batch,
	    "UPDATE knowledge_sources k SET status = 'processing',"
	    " lease_owner = $5, lease_until = $6, attempts = k.attempts + 1,"
	    " next_attempt_at = 0, updated_at = " STORE_POSTGRES_AT(
		"$4") " WHERE k.brand_id = $1 AND k.id = $2 AND k.version = $3 AND" FREE
		      " AND NOT k.cancel_requested AND k.attempts < $7"
		      " RETURNING " COLUMNS,
	    "ttiitii", brand, id, version, now, owner, now + lease_ms,
	    max_attempts);
}

/* Ends a row that nobody may work on any more. */
static void
add_end_unclaimed(struct postgres_batch *batch, const char *brand,
    const char *id, int64_t version, int64_t max_attempts)
{
	postgres_add(batch,
	    "UPDATE knowledge_sources k SET status = CASE"
	    " WHEN k.live_version > 0 THEN 'ready'"
	    " WHEN k.cancel_requested THEN 'cancelled' ELSE 'failed' END,"
	    " error_code = CASE WHEN k.cancel_requested THEN 'cancelled'"
	    "  WHEN k.error_code = '' THEN 'attempts_exhausted'"
	    "  ELSE k.error_code END,"
	    " error_message = CASE WHEN k.cancel_requested"
	    "  THEN 'cancelled on request' ELSE"
	    "  'gave up after ' || k.attempts || ' attempts' ||"
	    "  CASE WHEN k.error_message = '' THEN ''"
	    "   ELSE '; the last error: ' || k.error_message END END,"
	    " error_retryable = NOT k.cancel_requested, lease_owner = '',"
	    " lease_until = 0, cancel_requested = false,"
	    " updated_at = " STORE_POSTGRES_AT(
		"$4") " WHERE k.brand_id = $1 AND k.id = $2 AND k.version = $3 AND" FREE
		      " AND (k.cancel_requested OR k.attempts >= $5)",
	    "ttiii", brand, id, version, store_postgres__now(), max_attempts);
}

static enum err_code
why_not_claimed(const struct source *row, int64_t version, bool ended)
{
	if (ended)
		return err_set(ERR_CONFLICT,
		    "document \"%s\" has ended: cancelled, or out of attempts",
		    row->id);
	if (row->version != version)
		return err_set(ERR_CONFLICT,
		    "document \"%s\" is at version %lld, the job is for %lld",
		    row->id, (long long)row->version, (long long)version);
	if (row->status == SOURCE_PROCESSING)
		return err_set(ERR_CONFLICT, "document \"%s\" is held by %s",
		    row->id, row->lease_owner);
	return err_set(ERR_CONFLICT, "document \"%s\" is %s", row->id,
	    source_status_name(row->status));
}

static enum err_code
not_taken(struct store *store, const char *brand, const char *id,
    int64_t version, int64_t max_attempts)
{
	struct postgres_batch batch = { 0 };
	struct source row;
	enum err_code rc;

	add_end_unclaimed(&batch, brand, id, version, max_attempts);
	postgres_add(&batch,
	    "SELECT " COLUMNS " FROM knowledge_sources k"
	    " WHERE k.brand_id = $1 AND k.id = $2",
	    "tt", brand, id);
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK && postgres_rows(&batch, 1) == 0) {
		rc = err_set(ERR_NOT_FOUND, "document \"%s\"", id);
	} else if (rc == OK) {
		store_postgres__source_row(postgres_row(&batch, 1, 0), &row);
		rc = why_not_claimed(
		    &row, version, postgres_changes(&batch, 0) > 0);
		source_done(&row);
	}
	postgres_clear(&batch);
	return rc;
}

static enum err_code
lease_claim(struct store *store, const char *brand, const char *id,
    int64_t version, const char *owner, int64_t lease_ms, int64_t max_attempts,
    struct source *source_out)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;
	bool taken;

	add_take(&batch, brand, id, version, owner, lease_ms, max_attempts);
	rc = postgres_run(store_postgres__link(store), &batch);
	taken = rc == OK && postgres_rows(&batch, 0) > 0;
	if (taken)
		store_postgres__source_row(
		    postgres_row(&batch, 0, 0), source_out);
	postgres_clear(&batch);
	if (rc != OK || taken)
		return rc;
	return not_taken(store, brand, id, version, max_attempts);
}

/* ---- under the lease ---- */

/* $1 is the document, $2 the owner. */
#define FENCE                                                                  \
	" WHERE k.id = $1 AND k.lease_owner = $2"                              \
	" AND k.status = 'processing' AND NOT k.cancel_requested"

/* Why a fenced update changed nothing. */
static enum err_code
why_not(struct store *store, const char *id, const char *owner)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch,
	    "SELECT 1 FROM knowledge_sources WHERE id = $1"
	    " AND lease_owner = $2 AND status = 'processing'"
	    " AND cancel_requested",
	    "tt", id, owner);
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK)
		rc = postgres_rows(&batch, 0) > 0
			 ? err_set(ERR_CANCELLED,
			       "document \"%s\": cancel requested", id)
			 : err_set(ERR_CONFLICT,
			       "document \"%s\": the lease of %s is gone", id,
			       owner);
	postgres_clear(&batch);
	return rc;
}

/* A fenced update; its first row's first column, when asked for. */
static enum err_code
fenced(struct store *store, struct postgres_batch *batch, const char *id,
    const char *owner, int64_t *value_out)
{
	enum err_code rc = postgres_run(store_postgres__link(store), batch);
	bool changed = rc == OK && postgres_changes(batch, 0) > 0;

	if (changed && value_out != NULL)
		*value_out = postgres_int(postgres_row(batch, 0, 0), 0);
	postgres_clear(batch);
	if (rc != OK || changed)
		return rc;
	return why_not(store, id, owner);
}

static enum err_code
lease_renew(
    struct store *store, const char *id, const char *owner, int64_t lease_ms)
{
	struct postgres_batch batch = { 0 };
	int64_t now = store_postgres__now();

	postgres_add(&batch,
	    "UPDATE knowledge_sources k SET lease_until = $3,"
	    " updated_at = " STORE_POSTGRES_AT("$4") FENCE,
	    "ttii", id, owner, now + lease_ms, now);
	return fenced(store, &batch, id, owner, NULL);
}

static enum err_code
lease_progress(struct store *store, const char *id, const char *owner,
    const char *step, int64_t done, int64_t total, const char *steps_json)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "UPDATE knowledge_sources k SET step = $3, progress_done = $4,"
	    " progress_total = $5, steps = $6,"
	    " updated_at = " STORE_POSTGRES_AT("$7") FENCE,
	    "tttiiti", id, owner, step, done, total, steps_json,
	    store_postgres__now());
	return fenced(store, &batch, id, owner, NULL);
}

static enum err_code
lease_ready(struct store *store, const char *id, const char *owner,
    int64_t version, int64_t chunks, const char *steps_json,
    int64_t *old_version_out)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "UPDATE knowledge_sources k SET live_version = k.version,"
	    " status = 'ready', chunks = $4, steps = $5, error_code = '',"
	    " error_message = '', error_retryable = false, lease_owner = '',"
	    " lease_until = 0, next_attempt_at = 0, waiting_since = 0,"
	    " updated_at = " STORE_POSTGRES_AT(
		"$6") " FROM (SELECT id, live_version FROM knowledge_sources"
		      "  WHERE id = $1 FOR UPDATE) old" FENCE
		      " AND k.id = old.id AND k.version = $3"
		      " RETURNING old.live_version",
	    "ttiiti", id, owner, version, chunks, steps_json,
	    store_postgres__now());
	return fenced(store, &batch, id, owner, old_version_out);
}

static enum err_code
lease_fail(struct store *store, const char *id, const char *owner,
    const char *code, const char *message, bool retryable, bool away,
    int64_t retry_at, const char *steps_json)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "UPDATE knowledge_sources k SET status = CASE"
	    " WHEN $3::bigint > 0 THEN 'pending'"
	    " WHEN k.live_version > 0 THEN 'ready' ELSE 'failed' END,"
	    " next_attempt_at = $3, error_code = $4, error_message = $5,"
	    " error_retryable = $6, steps = $7, lease_owner = '',"
	    " lease_until = 0, updated_at = " STORE_POSTGRES_AT(
		"$8") ", attempts = k.attempts - $9::bigint, waiting_since = CASE"
		      " WHEN $9::bigint = 0 THEN 0 WHEN k.waiting_since = 0 THEN"
		      " $8::bigint ELSE k.waiting_since END" FENCE,
	    "ttittttii", id, owner, retry_at, code, message,
	    retryable ? "true" : "false", steps_json, store_postgres__now(),
	    (int64_t)away);
	return fenced(store, &batch, id, owner, NULL);
}

static enum err_code
lease_cancelled(struct store *store, const char *id, const char *owner)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "UPDATE knowledge_sources k SET status = CASE"
	    " WHEN k.live_version > 0 THEN 'ready' ELSE 'cancelled' END,"
	    " error_code = 'cancelled',"
	    " error_message = 'cancelled on request', error_retryable = false,"
	    " lease_owner = '', lease_until = 0, cancel_requested = false,"
	    " updated_at = " STORE_POSTGRES_AT(
		"$3") " WHERE k.id = $1 AND k.lease_owner = $2"
		      " AND k.status = 'processing'",
	    "tti", id, owner, store_postgres__now());
	return fenced(store, &batch, id, owner, NULL);
}

/* Two walks of the index (status, updated_at), each ended by the limit: a long
 * queue of pending rows is not sorted as a whole. */
static enum err_code
lease_stuck(struct store *store, int limit, struct source_list *list_out)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch,
	    "SELECT " COLUMNS " FROM knowledge_sources k WHERE k.id IN"
	    " ((SELECT id FROM knowledge_sources"
	    "  WHERE status = 'pending' AND next_attempt_at <= $1"
	    "  ORDER BY updated_at LIMIT $2)"
	    " UNION ALL (SELECT id FROM knowledge_sources"
	    "  WHERE status = 'processing' AND lease_until < $1"
	    "  ORDER BY updated_at LIMIT $2))"
	    " ORDER BY k.updated_at, k.id LIMIT $2",
	    "ii", store_postgres__now(), (int64_t)limit);
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK)
		store_postgres__source_rows(&batch, 0, list_out);
	postgres_clear(&batch);
	return rc;
}

const struct store_lease_ops store_postgres__leases = {
	.claim = lease_claim,
	.renew = lease_renew,
	.progress = lease_progress,
	.ready = lease_ready,
	.fail = lease_fail,
	.cancelled = lease_cancelled,
	.stuck = lease_stuck,
};
