/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, audit rows and script generations in PostgreSQL. */
#include "base/mem.h"
#include "base/str.h"
#include "store/store_postgres.h"

static enum err_code
admin_key_add(struct store *store, const char *id, const char *name,
    const char *scopes, const char *sha256_hex)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch,
	    "INSERT INTO api_keys(id, name, scopes, sha256, created_at)"
	    " VALUES($1, $2, $3, $4, $5)",
	    "tttti", id, name, scopes, sha256_hex, store_postgres__now());
	rc = store_postgres__do(store, &batch);
	if (rc == ERR_CONFLICT)
		return err_set(ERR_CONFLICT, "this key exists already");
	return rc;
}

static enum err_code
admin_key_find(
    struct store *store, const char *sha256_hex, struct api_key *key_out)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch,
	    "SELECT id, name, scopes, created_at FROM api_keys"
	    " WHERE sha256 = $1 AND revoked_at = 0",
	    "t", sha256_hex);
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK && postgres_rows(&batch, 0) == 0)
		rc = err_set(ERR_NOT_FOUND, "no such key");
	if (rc == OK) {
		struct postgres_row row = postgres_row(&batch, 0, 0);
		struct api_key key = { .name = postgres_text(row, 1),
			.scopes = postgres_text(row, 2),
			.created_at = postgres_int(row, 3) };

		str_copy(key.id, sizeof(key.id), postgres_str(row, 0));
		*key_out = key;
	}
	postgres_clear(&batch);
	return rc;
}

static enum err_code
admin_key_list(struct store *store, json_t **items_out)
{
	struct postgres_batch batch = { 0 };
	json_t *items;

	postgres_add(&batch,
	    "SELECT id, name, scopes, created_at, revoked_at FROM api_keys"
	    " ORDER BY created_at DESC, id DESC LIMIT 10000",
	    "");
	TRY(postgres_run(store_postgres__link(store), &batch));
	items = json_array();
	for (int i = 0; i < postgres_rows(&batch, 0); i++) {
		struct postgres_row row = postgres_row(&batch, 0, i);

		json_array_append_new(items,
		    json_pack("{s:s, s:s, s:s, s:I, s:I}", "id",
			postgres_str(row, 0), "name", postgres_str(row, 1),
			"scopes", postgres_str(row, 2), "created_at",
			(json_int_t)postgres_int(row, 3), "revoked_at",
			(json_int_t)postgres_int(row, 4)));
	}
	postgres_clear(&batch);
	*items_out = items;
	return OK;
}

/* Revoking twice is OK; the first time stays. */
static enum err_code
admin_key_revoke(struct store *store, const char *id)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "UPDATE api_keys SET revoked_at = CASE WHEN revoked_at = 0"
	    " THEN $2 ELSE revoked_at END WHERE id = $1",
	    "ti", id, store_postgres__now());
	return store_postgres__must(store, &batch, "key", id);
}

static enum err_code
admin_key_count(struct store *store, int64_t *count_out)
{
	struct postgres_batch batch = { 0 };

	postgres_add(
	    &batch, "SELECT count(*) FROM api_keys WHERE revoked_at = 0", "");
	TRY(postgres_run(store_postgres__link(store), &batch));
	*count_out = postgres_int(postgres_row(&batch, 0, 0), 0);
	postgres_clear(&batch);
	return OK;
}

static enum err_code
admin_audit(struct store *store, const char *actor, const char *action,
    const char *subject, const char *detail)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "INSERT INTO audit(at, actor, action, subject, detail)"
	    " VALUES($1, $2, $3, $4, $5)",
	    "itttt", store_postgres__now(), actor, action, subject, detail);
	return store_postgres__do(store, &batch);
}

/* ---- script generations ---- */

/* A generation that becomes good again moves to the top. */
static enum err_code
admin_scripts_save(
    struct store *store, const char *hash, const void *packed, size_t len)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "INSERT INTO script_generations(hash, packed, saved_at)"
	    " VALUES($1, $2, $3) ON CONFLICT (hash) DO UPDATE SET"
	    " seq = DEFAULT, packed = excluded.packed,"
	    " saved_at = excluded.saved_at",
	    "tyi", hash, packed, len, store_postgres__now());
	postgres_add(&batch,
	    "DELETE FROM script_generations WHERE seq NOT IN"
	    " (SELECT seq FROM script_generations ORDER BY seq DESC LIMIT $1)",
	    "i", (int64_t)STORE_GENERATIONS_MAX);
	return store_postgres__do(store, &batch);
}

static enum err_code
admin_scripts_load(struct store *store, char **packed_out, size_t *len_out)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch,
	    "SELECT packed FROM script_generations ORDER BY seq DESC LIMIT 1",
	    "");
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK && postgres_rows(&batch, 0) == 0)
		rc = err_set(ERR_NOT_FOUND, "no script generation is saved");
	if (rc == OK)
		*packed_out =
		    postgres_bytes(postgres_row(&batch, 0, 0), 0, len_out);
	postgres_clear(&batch);
	return rc;
}

const struct store_admin_ops store_postgres__admin = {
	.key_add = admin_key_add,
	.key_find = admin_key_find,
	.key_list = admin_key_list,
	.key_revoke = admin_key_revoke,
	.key_count = admin_key_count,
	.audit = admin_audit,
	.scripts_save = admin_scripts_save,
	.scripts_load = admin_scripts_load,
};
