/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, audit rows and script generations in SQLite. */
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "store/store_sqlite.h"

struct call {
	const char *id, *name, *scopes, *sha256;
	const char *actor, *action, *subject, *detail;
	const char *hash;
	const void *packed;
	size_t len;
	struct api_key key;
	json_t *items;
	int64_t count;
	char *loaded;
};

static enum err_code
key_insert(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	enum err_code rc;

	rc = sqlite_run(db, NULL,
	    "INSERT INTO api_keys(id, name, scopes, sha256, created_at)"
	    " VALUES(?, ?, ?, ?, ?)",
	    "tttti", c->id, c->name, c->scopes, c->sha256, store_sqlite__now());
	if (rc == ERR_CONFLICT)
		return err_set(ERR_CONFLICT, "this key exists already");
	return rc;
}

static enum err_code
admin_key_add(struct store *store, const char *id, const char *name,
    const char *scopes, const char *sha256_hex)
{
	struct call c = {
		.id = id, .name = name, .scopes = scopes, .sha256 = sha256_hex
	};

	return sqlite_write(store_sqlite__db(store), key_insert, &c);
}

static enum err_code
key_select(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;
	bool found;

	TRY(sqlite_query(db, &s,
	    "SELECT id, name, scopes, created_at FROM api_keys"
	    " WHERE sha256 = ? AND revoked_at = 0",
	    "t", c->sha256));
	TRY(sqlite_step(db, s, &found));
	if (!found)
		return err_set(ERR_NOT_FOUND, "no such key");
	str_copy(c->key.id, sizeof(c->key.id),
	    (const char *)sqlite3_column_text(s, 0));
	c->key.name = sqlite_text(s, 1);
	c->key.scopes = sqlite_text(s, 2);
	c->key.created_at = sqlite3_column_int64(s, 3);
	return OK;
}

static enum err_code
admin_key_find(
    struct store *store, const char *sha256_hex, struct api_key *key_out)
{
	struct call c = { .sha256 = sha256_hex };

	TRY(sqlite_read(store_sqlite__db(store), key_select, &c));
	*key_out = c.key;
	return OK;
}

static enum err_code
key_select_all(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;
	enum err_code rc;
	bool row;

	TRY(sqlite_query(db, &s,
	    "SELECT id, name, scopes, created_at, revoked_at FROM api_keys"
	    " ORDER BY created_at DESC, id DESC LIMIT 10000",
	    ""));
	c->items = json_array();
	while ((rc = sqlite_step(db, s, &row)) == OK && row)
		json_array_append_new(c->items,
		    json_pack("{s:s, s:s, s:s, s:I, s:I}", "id",
			sqlite3_column_text(s, 0), "name",
			sqlite3_column_text(s, 1), "scopes",
			sqlite3_column_text(s, 2), "created_at",
			(json_int_t)sqlite3_column_int64(s, 3), "revoked_at",
			(json_int_t)sqlite3_column_int64(s, 4)));
	return rc;
}

static enum err_code
admin_key_list(struct store *store, json_t **items_out)
{
	struct call c = { 0 };
	enum err_code rc =
	    sqlite_read(store_sqlite__db(store), key_select_all, &c);

	if (rc != OK) {
		json_decref(c.items);
		return rc;
	}
	*items_out = c.items;
	return OK;
}

/* Revoking twice is OK; the first time stays. */
static enum err_code
key_revoke(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(sqlite_run(db, &changes,
	    "UPDATE api_keys SET revoked_at = CASE WHEN revoked_at = 0"
	    " THEN ? ELSE revoked_at END WHERE id = ?",
	    "it", store_sqlite__now(), c->id));
	return changes > 0 ? OK : err_set(ERR_NOT_FOUND, "key \"%s\"", c->id);
}

static enum err_code
admin_key_revoke(struct store *store, const char *id)
{
	struct call c = { .id = id };

	return sqlite_write(store_sqlite__db(store), key_revoke, &c);
}

static enum err_code
key_count(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;
	bool row;

	TRY(sqlite_query(
	    db, &s, "SELECT count(*) FROM api_keys WHERE revoked_at = 0", ""));
	TRY(sqlite_step(db, s, &row));
	c->count = sqlite3_column_int64(s, 0);
	return OK;
}

static enum err_code
admin_key_count(struct store *store, int64_t *count_out)
{
	struct call c = { 0 };

	TRY(sqlite_read(store_sqlite__db(store), key_count, &c));
	*count_out = c.count;
	return OK;
}

static enum err_code
audit(sqlite3 *db, void *arg)
{
	struct call *c = arg;

	return sqlite_run(db, NULL,
	    "INSERT INTO audit(at, actor, action, subject, detail)"
	    " VALUES(?, ?, ?, ?, ?)",
	    "itttt", store_sqlite__now(), c->actor, c->action, c->subject,
	    c->detail);
}

static enum err_code
admin_audit(struct store *store, const char *actor, const char *action,
    const char *subject, const char *detail)
{
	struct call c = { .actor = actor,
		.action = action,
		.subject = subject,
		.detail = detail };

	return sqlite_write(store_sqlite__db(store), audit, &c);
}

/* ---- script generations ---- */

static enum err_code
scripts_save(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;

	/* A generation that becomes good again moves to the top. */
	TRY(sqlite_query(db, &s,
	    "INSERT OR REPLACE INTO script_generations(hash, packed, saved_at)"
	    " VALUES(?1, ?3, ?2)",
	    "ti", c->hash, store_sqlite__now()));
	sqlite3_bind_blob64(s, 3, c->packed, c->len, SQLITE_TRANSIENT);
	TRY(sqlite_done(db, s));
	return sqlite_run(db, NULL,
	    "DELETE FROM script_generations WHERE seq NOT IN"
	    " (SELECT seq FROM script_generations ORDER BY seq DESC LIMIT ?)",
	    "i", (int64_t)STORE_GENERATIONS_MAX);
}

static enum err_code
admin_scripts_save(
    struct store *store, const char *hash, const void *packed, size_t len)
{
	struct call c = { .hash = hash, .packed = packed, .len = len };

	return sqlite_write(store_sqlite__db(store), scripts_save, &c);
}

static enum err_code
scripts_load(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;
	bool found;

	TRY(sqlite_query(db, &s,
	    "SELECT packed FROM script_generations ORDER BY seq DESC LIMIT 1",
	    ""));
	TRY(sqlite_step(db, s, &found));
	if (!found)
		return err_set(ERR_NOT_FOUND, "no script generation is saved");
	c->len = (size_t)sqlite3_column_bytes(s, 0);
	c->loaded = mem_alloc(c->len + 1);
	if (c->len > 0)
		memcpy(c->loaded, sqlite3_column_blob(s, 0), c->len);
	c->loaded[c->len] = '\0';
	return OK;
}

static enum err_code
admin_scripts_load(struct store *store, char **packed_out, size_t *len_out)
{
	struct call c = { 0 };

	TRY(sqlite_read(store_sqlite__db(store), scripts_load, &c));
	*packed_out = c.loaded;
	*len_out = c.len;
	return OK;
}

const struct store_admin_ops store_sqlite__admin = {
	.key_add = admin_key_add,
	.key_find = admin_key_find,
	.key_list = admin_key_list,
	.key_revoke = admin_key_revoke,
	.key_count = admin_key_count,
	.audit = admin_audit,
	.scripts_save = admin_scripts_save,
	.scripts_load = admin_scripts_load,
};
