/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns and de-duplication in PostgreSQL. The turn, its messages and the answer
 * that duplicates will get are one statement: one round trip, and after a crash
 * either all of it happened or nothing.
 */
#include "base/mem.h"
#include "base/str.h"
#include "store/store_postgres.h"

/* ---- turns ---- */

/* `grown` numbers the messages; when the conversation is not the brand's it is
 * empty, and so is everything that selects from it. The first answer of a key
 * stays: a claim that outlived its lease does not replace what another gave
 * meanwhile. */
#define KEEP_ANSWER                                                            \
	" ON CONFLICT (key) DO UPDATE SET answer = excluded.answer,"           \
	" lease_until = 0 WHERE dedup.answer IS NULL"

static const char add_sql[] =
    "WITH grown AS (UPDATE conversations"
    "  SET messages = messages + $14::bigint, last_message_at = $15::bigint,"
    "   updated_at = $15::bigint WHERE brand_id = $2::text AND id = $3::text"
    "  RETURNING messages - $14::bigint AS before),"
    " turned AS (INSERT INTO turns(id, brand_id, conversation_id, channel,"
    "   user_id, message, reply, outcome, body, capsule, generation,"
    "   started_at, ended_at)"
    "  SELECT $1::text, $2::text, $3::text, $4::text, $5::text, $6::text,"
    "   $7::text, $8::text, $9::text, $10::text, $11::text, $12::bigint,"
    "   $13::bigint FROM grown),"
    " asked AS (INSERT INTO messages(conversation_id, seq, id, brand_id,"
    "   turn_id, role, text, at)"
    "  SELECT $3::text, before + 1, $16::text, $2::text, $1::text, 'user',"
    "   $6::text, $12::bigint FROM grown),"
    " answered AS (INSERT INTO messages(conversation_id, seq, id, brand_id,"
    "   turn_id, role, text, citations, at)"
    "  SELECT $3::text, before + 2, $17::text, $2::text, $1::text,"
    "   'assistant', $7::text, $18::text, $13::bigint FROM grown"
    "   WHERE $7::text <> ''),"
    " kept AS (INSERT INTO dedup(key, answer, lease_until, expires_at)"
    "  SELECT $19::text, $9::text, 0, $20::bigint FROM grown"
    "   WHERE $19::text IS NOT NULL" KEEP_ANSWER ")"
    " SELECT before FROM grown";

static enum err_code
turn_add(struct store *store, const struct turn_row *t, const char *citations)
{
	struct postgres_batch batch = { 0 };
	bool replied = t->reply != NULL && t->reply[0] != '\0';
	int64_t now = store_postgres__now();
	char asked[IDENT_SIZE], answered[IDENT_SIZE];

	ident_new("ms", asked);
	ident_new("ms", answered);
	postgres_add(&batch, add_sql, "tttttttttttiiiitttti", t->id,
	    t->brand_id, t->conversation_id, t->channel, t->user_id, t->message,
	    replied ? t->reply : "", t->outcome, t->body,
	    t->capsule != NULL ? t->capsule : "{}",
	    t->generation != NULL ? t->generation : "", t->started_at,
	    t->ended_at, (int64_t)(replied ? 2 : 1), now, asked, answered,
	    citations, t->dedup_key, now + STORE_DEDUP_MS);
	return store_postgres__must(
	    store, &batch, "conversation", t->conversation_id);
}

static enum err_code
turn_get(struct store *store, const char *brand, const char *id,
    char **body_out, char **capsule_out)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch,
	    "SELECT body, capsule FROM turns WHERE brand_id = $1 AND id = $2",
	    "tt", brand, id);
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK && postgres_rows(&batch, 0) == 0)
		rc = err_set(ERR_NOT_FOUND, "turn \"%s\"", id);
	if (rc == OK) {
		*body_out = postgres_text(postgres_row(&batch, 0, 0), 0);
		*capsule_out = postgres_text(postgres_row(&batch, 0, 0), 1);
	}
	postgres_clear(&batch);
	return rc;
}

static enum err_code
turn_feedback(struct store *store, const char *brand, const char *id,
    const char *rating, const char *comment)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "UPDATE turns SET feedback_rating = $3, feedback_comment = $4,"
	    " feedback_at = $5 WHERE brand_id = $1 AND id = $2",
	    "tttti", brand, id, rating, comment, store_postgres__now());
	return store_postgres__must(store, &batch, "turn", id);
}

/* ---- de-duplication ---- */

/* Claim, and the row as it is then, in one round trip: an INSERT that meets the
 * key locks its row even when the WHERE forbids the update, so the second
 * statement sees what the first has decided on. */
static void
add_claim(struct postgres_batch *batch, const char *key,
    const char *fingerprint, int64_t now, int64_t lease_ms)
{
	postgres_add(batch,
	    "INSERT INTO dedup(key, fingerprint, answer, lease_until,"
	    " expires_at) VALUES($1, $2, NULL, $4, $5)"
	    " ON CONFLICT (key) DO UPDATE SET fingerprint ="
	    " excluded.fingerprint, answer = NULL, lease_until ="
	    " excluded.lease_until, expires_at = excluded.expires_at"
	    " WHERE dedup.expires_at <= $3 OR (dedup.answer IS NULL"
	    "  AND dedup.lease_until <= $3"
	    "  AND dedup.fingerprint = excluded.fingerprint)",
	    "ttiii", key, fingerprint, now, now + lease_ms,
	    now + STORE_DEDUP_MS);
	postgres_add(batch,
	    "SELECT fingerprint, answer FROM dedup WHERE key = $1", "t", key);
}

static enum err_code
dedup_begin(struct store *store, const char *key, const char *fingerprint,
    int64_t lease_ms, char **answer_out)
{
	struct postgres_batch batch = { 0 };
	struct postgres_row row;
	char *answer = NULL;
	enum err_code rc;

	add_claim(&batch, key, fingerprint, store_postgres__now(), lease_ms);
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK && postgres_changes(&batch, 0) == 0) {
		row = postgres_row(&batch, 1, 0);
		if (!str_eq(postgres_str(row, 0), fingerprint))
			rc = err_set(ERR_IDEMPOTENCY,
			    "the same key came before with other content");
		else if ((answer = postgres_text(row, 1)) == NULL)
			rc = err_set(
			    ERR_CONFLICT, "the first request still runs");
	}
	postgres_clear(&batch);
	if (rc == OK)
		*answer_out = answer;
	return rc;
}

static enum err_code
dedup_finish(struct store *store, const char *key, const char *answer)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "INSERT INTO dedup(key, answer, lease_until, expires_at)"
	    " VALUES($1, $2, 0, $3)" KEEP_ANSWER,
	    "tti", key, answer, store_postgres__now() + STORE_DEDUP_MS);
	return store_postgres__do(store, &batch);
}

static enum err_code
dedup_drop(struct store *store, const char *key)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "DELETE FROM dedup WHERE key = $1 AND answer IS NULL", "t", key);
	return store_postgres__do(store, &batch);
}

const struct store_turn_ops store_postgres__turns = {
	.add = turn_add,
	.get = turn_get,
	.feedback = turn_feedback,
	.dedup_begin = dedup_begin,
	.dedup_finish = dedup_finish,
	.dedup_drop = dedup_drop,
};
