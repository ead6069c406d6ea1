/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns and de-duplication in SQLite. The turn, its messages and the answer
 * that duplicates will get become durable in one transaction: after a crash
 * either all of it happened or nothing.
 */
#include "base/mem.h"
#include "base/str.h"
#include "store/store_sqlite.h"

struct call {
	const struct turn_row *turn;
	const char *citations;
	const char *brand, *id, *rating, *comment;
	const char *key, *fingerprint;
	int64_t lease_ms;
	const char *given_answer;
	char *body, *capsule, *answer;
};

/* ---- turns ---- */

/* Reserves the numbers of `count` messages; *seq_out is the first. */
static enum err_code
grow_conversation(
    sqlite3 *db, const struct turn_row *t, int64_t count, int64_t *seq_out)
{
	int64_t now = store_sqlite__now();
	sqlite3_stmt *s;
	bool found;

	TRY(sqlite_query(db, &s,
	    "UPDATE conversations SET messages = messages + ?,"
	    " last_message_at = ?, updated_at = ?"
	    " WHERE brand_id = ? AND id = ? RETURNING messages",
	    "iiitt", count, now, now, t->brand_id, t->conversation_id));
	TRY(sqlite_step(db, s, &found));
	if (!found)
		return err_set(
		    ERR_NOT_FOUND, "conversation \"%s\"", t->conversation_id);
	*seq_out = sqlite3_column_int64(s, 0) - count + 1;
	sqlite3_reset(s);
	return OK;
}

static enum err_code
add_message(sqlite3 *db, const struct turn_row *t, int64_t seq,
    const char *role, const char *text, const char *citations, int64_t at)
{
	char id[IDENT_SIZE];

	ident_new("ms", id);
	return sqlite_run(db, NULL,
	    "INSERT INTO messages(conversation_id, seq, id, brand_id, turn_id,"
	    " role, text, citations, at) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
	    "titttttti", t->conversation_id, seq, id, t->brand_id, t->id, role,
	    text, citations, at);
}

/* The first answer stays: a claim that outlived its lease does not replace
 * what another gave meanwhile. */
static enum err_code
keep_answer(sqlite3 *db, const char *key, const char *answer)
{
	int64_t now = store_sqlite__now();

	return sqlite_run(db, NULL,
	    "INSERT INTO dedup(key, answer, lease_until, expires_at)"
	    " VALUES(?1, ?2, 0, ?3) ON CONFLICT(key) DO UPDATE SET"
	    " answer = excluded.answer, lease_until = 0"
	    " WHERE dedup.answer IS NULL",
	    "tti", key, answer, now + STORE_DEDUP_MS);
}

static enum err_code
add(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	const struct turn_row *t = c->turn;
	bool replied = t->reply != NULL && t->reply[0] != '\0';
	int64_t seq;

	TRY(grow_conversation(db, t, replied ? 2 : 1, &seq));
	TRY(sqlite_run(db, NULL,
	    "INSERT INTO turns(id, brand_id, conversation_id, channel, user_id,"
	    " message, reply, outcome, body, capsule, generation, started_at,"
	    " ended_at) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	    "tttttttttttii", t->id, t->brand_id, t->conversation_id, t->channel,
	    t->user_id, t->message, replied ? t->reply : "", t->outcome,
	    t->body, t->capsule != NULL ? t->capsule : "{}",
	    t->generation != NULL ? t->generation : "", t->started_at,
	    t->ended_at));
	TRY(add_message(db, t, seq, "user", t->message, "[]", t->started_at));
	if (replied)
		TRY(add_message(db, t, seq + 1, "assistant", t->reply,
		    c->citations, t->ended_at));
	if (t->dedup_key != NULL)
		TRY(keep_answer(db, t->dedup_key, t->body));
	return OK;
}

static enum err_code
turn_add(
    struct store *store, const struct turn_row *turn, const char *citations)
{
	struct call c = { .turn = turn, .citations = citations };

	return sqlite_write(store_sqlite__db(store), add, &c);
}

static enum err_code
get(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;
	bool found;

	TRY(sqlite_query(db, &s,
	    "SELECT body, capsule FROM turns WHERE brand_id = ? AND id = ?",
	    "tt", c->brand, c->id));
	TRY(sqlite_step(db, s, &found));
	if (!found)
		return err_set(ERR_NOT_FOUND, "turn \"%s\"", c->id);
	c->body = sqlite_text(s, 0);
	c->capsule = sqlite_text(s, 1);
	return OK;
}

static enum err_code
turn_get(struct store *store, const char *brand, const char *id,
    char **body_out, char **capsule_out)
{
	struct call c = { .brand = brand, .id = id };

	TRY(sqlite_read(store_sqlite__db(store), get, &c));
	*body_out = c.body;
	*capsule_out = c.capsule;
	return OK;
}

static enum err_code
feedback(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(sqlite_run(db, &changes,
	    "UPDATE turns SET feedback_rating = ?, feedback_comment = ?,"
	    " feedback_at = ? WHERE brand_id = ? AND id = ?",
	    "ttitt", c->rating, c->comment, store_sqlite__now(), c->brand,
	    c->id));
	return changes > 0 ? OK : err_set(ERR_NOT_FOUND, "turn \"%s\"", c->id);
}

static enum err_code
turn_feedback(struct store *store, const char *brand, const char *id,
    const char *rating, const char *comment)
{
	struct call c = {
		.brand = brand, .id = id, .rating = rating, .comment = comment
	};

	return sqlite_write(store_sqlite__db(store), feedback, &c);
}

/* ---- de-duplication ---- */

static enum err_code
claim_key(sqlite3 *db, const struct call *c, int64_t now)
{
	return sqlite_run(db, NULL,
	    "INSERT OR REPLACE INTO dedup(key, fingerprint, answer,"
	    " lease_until, expires_at) VALUES(?, ?, NULL, ?, ?)",
	    "ttii", c->key, c->fingerprint, now + c->lease_ms,
	    now + STORE_DEDUP_MS);
}

static enum err_code
begin(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int64_t now = store_sqlite__now();
	sqlite3_stmt *s;
	bool found;

	TRY(sqlite_query(db, &s,
	    "SELECT fingerprint, answer, lease_until FROM dedup"
	    " WHERE key = ? AND expires_at > ?",
	    "ti", c->key, now));
	TRY(sqlite_step(db, s, &found));
	if (!found)
		return claim_key(db, c, now);
	if (!str_eq((const char *)sqlite3_column_text(s, 0), c->fingerprint))
		return err_set(ERR_IDEMPOTENCY,
		    "the same key came before with other content");
	c->answer = sqlite_text(s, 1);
	if (c->answer != NULL)
		return OK;
	if (sqlite3_column_int64(s, 2) > now)
		return err_set(ERR_CONFLICT, "the first request still runs");
	sqlite3_reset(s);
	return claim_key(db, c, now);
}

static enum err_code
dedup_begin(struct store *store, const char *key, const char *fingerprint,
    int64_t lease_ms, char **answer_out)
{
	struct call c = {
		.key = key, .fingerprint = fingerprint, .lease_ms = lease_ms
	};
	enum err_code rc = sqlite_write(store_sqlite__db(store), begin, &c);

	if (rc != OK) {
		mem_free(c.answer);
		return rc;
	}
	*answer_out = c.answer;
	return OK;
}

static enum err_code
finish(sqlite3 *db, void *arg)
{
	struct call *c = arg;

	return keep_answer(db, c->key, c->given_answer);
}

static enum err_code
dedup_finish(struct store *store, const char *key, const char *answer)
{
	struct call c = { .key = key, .given_answer = answer };

	return sqlite_write(store_sqlite__db(store), finish, &c);
}

static enum err_code
drop(sqlite3 *db, void *arg)
{
	struct call *c = arg;

	return sqlite_run(db, NULL,
	    "DELETE FROM dedup WHERE key = ? AND answer IS NULL", "t", c->key);
}

static enum err_code
dedup_drop(struct store *store, const char *key)
{
	struct call c = { .key = key };

	return sqlite_write(store_sqlite__db(store), drop, &c);
}

const struct store_turn_ops store_sqlite__turns = {
	.add = turn_add,
	.get = turn_get,
	.feedback = turn_feedback,
	.dedup_begin = dedup_begin,
	.dedup_finish = dedup_finish,
	.dedup_drop = dedup_drop,
};
