/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knowledge sources in SQLite: what workers do. Every write names the owner of
 * the lease in its WHERE, so a worker that lost it changes nothing (fencing);
 * why nothing changed is asked afterwards, in the same transaction.
 */
#include <string.h>

#include "base/mem.h"
#include "store/store_sqlite.h"

#define COLUMNS STORE_SQLITE_SOURCE_COLUMNS

struct call {
	const char *brand, *id, *owner;
	int64_t version, lease_ms, max_attempts;
	const char *step, *steps;
	int64_t done, total, chunks;
	const char *code, *message;
	bool retryable;
	int64_t retry_at;
	bool away;
	int limit;
	int64_t old_version;
	struct source row;
	struct source_list list;
	/* Claim found that the row must end: the write is kept, the caller
	 * gets this refusal. */
	bool refused;
};

/* ---- claim ---- */

/* Ends a row that nobody may work on any more. */
static enum err_code
end_unclaimed(sqlite3 *db, const char *id, bool cancelled, int64_t attempts)
{
	char *message = cancelled ? mem_strdup("cancelled on request")
				  : mem_printf("gave up after %lld attempts",
					(long long)attempts);
	enum err_code rc;

	rc = sqlite_run(db, NULL,
	    "UPDATE knowledge_sources SET status = CASE"
	    " WHEN live_version > 0 THEN 'ready' ELSE ?1 END,"
	    " error_code = CASE WHEN ?1 = 'cancelled' OR error_code = ''"
	    "  THEN ?2 ELSE error_code END,"
	    " error_message = CASE WHEN ?1 = 'cancelled' OR error_message = ''"
	    "  THEN ?3 ELSE ?3 || '; the last error: ' || error_message END,"
	    " error_retryable = ?1 <> 'cancelled', lease_owner = '',"
	    " lease_until = 0, cancel_requested = 0, updated_at = ?4"
	    " WHERE id = ?5",
	    "tttit", cancelled ? "cancelled" : "failed",
	    cancelled ? "cancelled" : "attempts_exhausted", message,
	    store_sqlite__now(), id);
	mem_free(message);
	return rc;
}

static enum err_code
take(sqlite3 *db, struct call *c, int64_t now)
{
	sqlite3_stmt *s;
	bool row;

	TRY(sqlite_query(db, &s,
	    "UPDATE knowledge_sources SET status = 'processing',"
	    " lease_owner = ?, lease_until = ?, attempts = attempts + 1,"
	    " next_attempt_at = 0, cancel_requested = 0, updated_at = ?"
	    " WHERE id = ? RETURNING " COLUMNS,
	    "tiit", c->owner, now + c->lease_ms, now, c->id));
	TRY(sqlite_step(db, s, &row));
	if (!row)
		return err_set(ERR_NOT_FOUND, "document \"%s\"", c->id);
	store_sqlite__source_row(s, &c->row);
	return OK;
}

static enum err_code
claim_row(sqlite3 *db, struct call *c, const struct source *row)
{
	int64_t now = store_sqlite__now();

	if (row->version != c->version)
		return err_set(ERR_CONFLICT,
		    "document \"%s\" is at version %lld, the job is for %lld",
		    c->id, (long long)row->version, (long long)c->version);
	if (row->status == SOURCE_PROCESSING && row->lease_until >= now)
		return err_set(ERR_CONFLICT, "document \"%s\" is held by %s",
		    c->id, row->lease_owner);
	if (row->status != SOURCE_PENDING && row->status != SOURCE_PROCESSING)
		return err_set(ERR_CONFLICT, "document \"%s\" is %s", c->id,
		    source_status_name(row->status));
	if (!row->cancel_requested && row->attempts < c->max_attempts)
		return take(db, c, now);
	c->refused = true;
	return end_unclaimed(db, c->id, row->cancel_requested, row->attempts);
}

static enum err_code
claim(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	struct source row;
	sqlite3_stmt *s;
	enum err_code rc;
	bool found;

	TRY(sqlite_query(db, &s,
	    "SELECT " COLUMNS " FROM knowledge_sources"
	    " WHERE brand_id = ? AND id = ?",
	    "tt", c->brand, c->id));
	TRY(sqlite_step(db, s, &found));
	if (!found)
		return err_set(ERR_NOT_FOUND, "document \"%s\"", c->id);
	store_sqlite__source_row(s, &row);
	sqlite3_reset(s);
	rc = claim_row(db, c, &row);
	source_done(&row);
	return rc;
}

static enum err_code
lease_claim(struct store *store, const char *brand, const char *id,
    int64_t version, const char *owner, int64_t lease_ms, int64_t max_attempts,
    struct source *source_out)
{
	struct call c = { .brand = brand,
		.id = id,
		.version = version,
		.owner = owner,
		.lease_ms = lease_ms,
		.max_attempts = max_attempts };
	enum err_code rc = sqlite_write(store_sqlite__db(store), claim, &c);

	if (rc == OK && c.refused)
		rc = err_set(ERR_CONFLICT,
		    "document \"%s\" has ended: cancelled, or out of attempts",
		    id);
	if (rc == OK)
		*source_out = c.row;
	else
		source_done(&c.row);
	return rc;
}

/* ---- under the lease ---- */

/* Why a fenced update changed nothing. */
static enum err_code
why_not(sqlite3 *db, const struct call *c)
{
	sqlite3_stmt *s;
	bool found;

	TRY(sqlite_query(db, &s,
	    "SELECT cancel_requested FROM knowledge_sources WHERE id = ?"
	    " AND lease_owner = ? AND status = 'processing'",
	    "tt", c->id, c->owner));
	TRY(sqlite_step(db, s, &found));
	if (found && sqlite3_column_int(s, 0) != 0)
		return err_set(
		    ERR_CANCELLED, "document \"%s\": cancel requested", c->id);
	return err_set(ERR_CONFLICT, "document \"%s\" is not leased to %s",
	    c->id, c->owner);
}

/* Placeholders after the others: id, owner. */
#define FENCE                                                                  \
	" WHERE id = ? AND lease_owner = ? AND status = 'processing'"          \
	" AND cancel_requested = 0"

static enum err_code
renew(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int64_t now = store_sqlite__now();
	int changes;

	TRY(sqlite_run(db, &changes,
	    "UPDATE knowledge_sources SET lease_until = ?,"
	    " updated_at = ?" FENCE,
	    "iitt", now + c->lease_ms, now, c->id, c->owner));
	return changes > 0 ? OK : why_not(db, c);
}

static enum err_code
lease_renew(
    struct store *store, const char *id, const char *owner, int64_t lease_ms)
{
	struct call c = { .id = id, .owner = owner, .lease_ms = lease_ms };

	return sqlite_write(store_sqlite__db(store), renew, &c);
}

static enum err_code
progress(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(sqlite_run(db, &changes,
	    "UPDATE knowledge_sources SET step = ?, progress_done = ?,"
	    " progress_total = ?, steps = ?, updated_at = ?" FENCE,
	    "tiititt", c->step, c->done, c->total, c->steps,
	    store_sqlite__now(), c->id, c->owner));
	return changes > 0 ? OK : why_not(db, c);
}

static enum err_code
lease_progress(struct store *store, const char *id, const char *owner,
    const char *step, int64_t done, int64_t total, const char *steps_json)
{
	struct call c = { .id = id,
		.owner = owner,
		.step = step,
		.done = done,
		.total = total,
		.steps = steps_json };

	return sqlite_write(store_sqlite__db(store), progress, &c);
}

static enum err_code
live_version_of(sqlite3 *db, const char *id, int64_t *version_out)
{
	sqlite3_stmt *s;
	bool found;

	TRY(sqlite_query(db, &s,
	    "SELECT live_version FROM knowledge_sources WHERE id = ?", "t",
	    id));
	TRY(sqlite_step(db, s, &found));
	*version_out = found ? sqlite3_column_int64(s, 0) : 0;
	sqlite3_reset(s);
	return OK;
}

static enum err_code
ready(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(live_version_of(db, c->id, &c->old_version));
	TRY(sqlite_run(db, &changes,
	    "UPDATE knowledge_sources SET live_version = version,"
	    " status = 'ready', chunks = ?, steps = ?, error_code = '',"
	    " error_message = '', error_retryable = 0, lease_owner = '',"
	    " lease_until = 0, next_attempt_at = 0, waiting_since = 0,"
	    " updated_at = ?" FENCE " AND version = ?",
	    "ititti", c->chunks, c->steps, store_sqlite__now(), c->id, c->owner,
	    c->version));
	return changes > 0 ? OK : why_not(db, c);
}

static enum err_code
lease_ready(struct store *store, const char *id, const char *owner,
    int64_t version, int64_t chunks, const char *steps_json,
    int64_t *old_version_out)
{
	struct call c = { .id = id,
		.owner = owner,
		.version = version,
		.chunks = chunks,
		.steps = steps_json };

	TRY(sqlite_write(store_sqlite__db(store), ready, &c));
	*old_version_out = c.old_version;
	return OK;
}

static enum err_code
fail(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(sqlite_run(db, &changes,
	    "UPDATE knowledge_sources SET status = CASE WHEN ?1 > 0"
	    " THEN 'pending' WHEN live_version > 0 THEN 'ready'"
	    " ELSE 'failed' END, next_attempt_at = ?1, error_code = ?2,"
	    " error_message = ?3, error_retryable = ?4, steps = ?5,"
	    " lease_owner = '', lease_until = 0, updated_at = ?6,"
	    " attempts = attempts - ?9, waiting_since = CASE WHEN ?9 = 0"
	    " THEN 0 WHEN waiting_since = 0 THEN ?6 ELSE waiting_since END"
	    " WHERE id = ?7 AND lease_owner = ?8 AND status = 'processing'"
	    " AND cancel_requested = 0",
	    "ittititti", c->retry_at, c->code, c->message,
	    (int64_t)c->retryable, c->steps, store_sqlite__now(), c->id,
	    c->owner, (int64_t)c->away));
	return changes > 0 ? OK : why_not(db, c);
}

static enum err_code
lease_fail(struct store *store, const char *id, const char *owner,
    const char *code, const char *message, bool retryable, bool away,
    int64_t retry_at, const char *steps_json)
{
	struct call c = { .id = id,
		.owner = owner,
		.code = code,
		.message = message,
		.retryable = retryable,
		.away = away,
		.retry_at = retry_at,
		.steps = steps_json };

	return sqlite_write(store_sqlite__db(store), fail, &c);
}

static enum err_code
cancelled(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(sqlite_run(db, &changes,
	    "UPDATE knowledge_sources SET status = CASE WHEN live_version > 0"
	    " THEN 'ready' ELSE 'cancelled' END, error_code = 'cancelled',"
	    " error_message = 'cancelled on request', error_retryable = 0,"
	    " lease_owner = '', lease_until = 0, cancel_requested = 0,"
	    " updated_at = ? WHERE id = ? AND lease_owner = ?"
	    " AND status = 'processing'",
	    "itt", store_sqlite__now(), c->id, c->owner));
	return changes > 0 ? OK : why_not(db, c);
}

static enum err_code
lease_cancelled(struct store *store, const char *id, const char *owner)
{
	struct call c = { .id = id, .owner = owner };

	return sqlite_write(store_sqlite__db(store), cancelled, &c);
}

/* Two walks of the index (status, updated_at), each ended by the limit: a long
 * queue of pending rows is not sorted as a whole. */
static enum err_code
stuck(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int64_t now = store_sqlite__now();
	sqlite3_stmt *s;

	TRY(sqlite_query(db, &s,
	    "SELECT " COLUMNS " FROM knowledge_sources WHERE id IN"
	    " (SELECT id FROM (SELECT id FROM knowledge_sources"
	    "  WHERE status = 'pending' AND next_attempt_at <= ?1"
	    "  ORDER BY updated_at LIMIT ?2)"
	    " UNION ALL SELECT id FROM (SELECT id FROM knowledge_sources"
	    "  WHERE status = 'processing' AND lease_until < ?1"
	    "  ORDER BY updated_at LIMIT ?2))"
	    " ORDER BY updated_at, id LIMIT ?2",
	    "ii", now, (int64_t)c->limit));
	return store_sqlite__source_rows(db, s, &c->list);
}

static enum err_code
lease_stuck(struct store *store, int limit, struct source_list *list_out)
{
	struct call c = { .limit = limit };

	TRY(sqlite_read(store_sqlite__db(store), stuck, &c));
	*list_out = c.list;
	return OK;
}

const struct store_lease_ops store_sqlite__leases = {
	.claim = lease_claim,
	.renew = lease_renew,
	.progress = lease_progress,
	.ready = lease_ready,
	.fail = lease_fail,
	.cancelled = lease_cancelled,
	.stuck = lease_stuck,
};
