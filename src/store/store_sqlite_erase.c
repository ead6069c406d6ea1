/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is deleted for good in SQLite: conversations with all that was said in
 * them, and old rows of the audit. While it runs, the pages that become free
 * are overwritten (secure_delete); elsewhere that would only cost.
 * https://www.sqlite.org/pragma.html#pragma_secure_delete
 */
#include <stdio.h>

#include "base/json.h"
#include "base/mem.h"
#include "store/store_sqlite.h"

struct call {
	const struct store_erasure *erasure;
	char *ids[STORE_ERASE_MAX];
	int count;
	const struct store_cursor *after;
	int limit;
	int64_t before;
	json_t *items;
};

static enum err_code
query(sqlite3 *db, const struct store_erasure *e, sqlite3_stmt **s)
{
	if (e->brand == NULL)
		return sqlite_query(db, s,
		    "SELECT id FROM conversations"
		    " WHERE last_message_at < ?"
		    " ORDER BY last_message_at LIMIT ?",
		    "ii", e->before, (int64_t)STORE_ERASE_MAX);
	if (e->conversation_id != NULL)
		return sqlite_query(db, s,
		    "SELECT id FROM conversations"
		    " WHERE brand_id = ? AND id = ?",
		    "tt", e->brand, e->conversation_id);
	return sqlite_query(db, s,
	    "SELECT id FROM conversations"
	    " WHERE brand_id = ? AND user_id = ? LIMIT ?",
	    "tti", e->brand, e->user_id, (int64_t)STORE_ERASE_MAX);
}

static enum err_code
find(sqlite3 *db, struct call *c)
{
	sqlite3_stmt *s;
	bool row;

	TRY(query(db, c->erasure, &s));
	for (;;) {
		TRY(sqlite_step(db, s, &row));
		if (!row || c->count == STORE_ERASE_MAX)
			break;
		c->ids[c->count++] = sqlite_text(s, 0);
	}
	sqlite3_reset(s);
	return OK;
}

/* Keys of answers to messages and to idempotent requests name the brand (made
 * in domain/turn_accept.c); what they hold names the conversation. There is no
 * index over that: one pass for all, since the writer is held meanwhile. */
static enum err_code
erase_answers(sqlite3 *db, const struct call *c)
{
	const char *brand = c->erasure->brand;
	json_t *ids = json_array();
	enum err_code rc;
	char *text, scope[BRAND_ID_SIZE + 1] = "";

	if (brand != NULL)
		snprintf(scope, sizeof(scope), "|%s", brand);
	for (int i = 0; i < c->count; i++)
		json_array_append_new(ids, json_string(c->ids[i]));
	text = json_text(ids);
	json_decref(ids);
	rc = sqlite_run(db, NULL,
	    "DELETE FROM dedup WHERE (key BETWEEN 'turn' || ?1 || '|'"
	    " AND 'turn' || ?1 || '}' OR key BETWEEN 'idem|turn' || ?1 || '|'"
	    " AND 'idem|turn' || ?1 || '}') AND CASE WHEN json_valid(answer)"
	    " THEN json_extract(answer, '$.conversation_id') END"
	    " IN (SELECT value FROM json_each(?2))",
	    "tt", scope, text);
	mem_free(text);
	return rc;
}

static enum err_code
erase_one(sqlite3 *db, const char *id)
{
	TRY(sqlite_run(db, NULL,
	    "DELETE FROM messages WHERE conversation_id = ?", "t", id));
	TRY(sqlite_run(
	    db, NULL, "DELETE FROM turns WHERE conversation_id = ?", "t", id));
	return sqlite_run(
	    db, NULL, "DELETE FROM conversations WHERE id = ?", "t", id);
}

static enum err_code
set_secure(sqlite3 *db, const char *pragma)
{
	return sqlite3_exec(db, pragma, NULL, NULL, NULL) == SQLITE_OK
		   ? OK
		   : sqlite_fail(db, "secure_delete");
}

static enum err_code
erase(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	enum err_code rc;

	TRY(find(db, c));
	if (c->count == 0)
		return OK;
	TRY(set_secure(db, "PRAGMA secure_delete = ON"));
	rc = erase_answers(db, c);
	for (int i = 0; rc == OK && i < c->count; i++)
		rc = erase_one(db, c->ids[i]);
	set_secure(db, "PRAGMA secure_delete = OFF");
	return rc;
}

static enum err_code
erase_conversations(struct store *store, const struct store_erasure *erasure,
    int64_t *erased_out)
{
	struct call c = { .erasure = erasure };
	enum err_code rc = sqlite_write(store_sqlite__db(store), erase, &c);

	for (int i = 0; i < c.count; i++)
		mem_free(c.ids[i]);
	if (rc == OK)
		*erased_out = c.count;
	return rc;
}

static enum err_code
list(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	enum err_code rc;
	sqlite3_stmt *s;
	bool row;

	TRY(sqlite_query(db, &s,
	    "SELECT id, at, actor, action, subject, detail FROM audit"
	    " WHERE id < ? ORDER BY id DESC LIMIT ?",
	    "ii", c->after->at, (int64_t)c->limit));
	c->items = json_array();
	while ((rc = sqlite_step(db, s, &row)) == OK && row)
		json_array_append_new(
		    c->items, json_pack("{s:I, s:I, s:s, s:s, s:s, s:s}", "seq",
				  (json_int_t)sqlite3_column_int64(s, 0), "at",
				  (json_int_t)sqlite3_column_int64(s, 1),
				  "actor", sqlite3_column_text(s, 2), "action",
				  sqlite3_column_text(s, 3), "subject",
				  sqlite3_column_text(s, 4), "detail",
				  sqlite3_column_text(s, 5)));
	return rc;
}

static enum err_code
audit_list(struct store *store, const struct store_cursor *after, int limit,
    json_t **items_out)
{
	struct call c = { .after = after, .limit = limit };
	enum err_code rc = sqlite_read(store_sqlite__db(store), list, &c);

	if (rc != OK) {
		json_decref(c.items);
		return rc;
	}
	*items_out = c.items;
	return OK;
}

static enum err_code
forget(sqlite3 *db, void *arg)
{
	struct call *c = arg;

	return sqlite_run(db, NULL,
	    "DELETE FROM audit WHERE id IN (SELECT id FROM audit"
	    " WHERE at < ? ORDER BY at LIMIT ?)",
	    "ii", c->before, (int64_t)STORE_SWEEP_MAX);
}

static enum err_code
audit_forget(struct store *store, int64_t before)
{
	struct call c = { .before = before };

	return sqlite_write(store_sqlite__db(store), forget, &c);
}

const struct store_erase_ops store_sqlite__erase = {
	.erase = erase_conversations,
	.audit_list = audit_list,
	.audit_forget = audit_forget,
};
