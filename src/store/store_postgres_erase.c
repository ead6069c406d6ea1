/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is deleted for good in PostgreSQL: conversations with all that was said
 * in them, and old rows of the audit. The first statement locks the
 * conversations, so that a turn that is just being stored in one commits before
 * the second looks, or finds its conversation gone.
 */
#include "store/store_postgres.h"

#define OLD         "last_message_at < $1 ORDER BY last_message_at, id LIMIT $2"
#define ONE         "brand_id = $1 AND id = $2 LIMIT 1"
#define USER        "brand_id = $1 AND user_id = $2 ORDER BY id LIMIT $3"

#define LOCK(which) "SELECT id FROM conversations WHERE " which " FOR UPDATE"
/* Keys of answers to messages and to idempotent requests name the brand (made
 * in domain/turn_accept.c); what they hold names the conversation. Equality
 * with what is cut out of them joins by hash: one pass for all, not one each.
 */
#define ERASE(which)                                                           \
	"WITH gone AS (SELECT id, brand_id FROM conversations WHERE " which    \
	" FOR UPDATE),"                                                        \
	" answers AS (DELETE FROM dedup USING gone"                            \
	"  WHERE (starts_with(key, 'turn|' || gone.brand_id || '|') OR"        \
	"   starts_with(key, 'idem|turn|' || gone.brand_id || '|'))"           \
	"  AND substring(answer"                                               \
	"   from '\"conversation_id\": ?\"([^\"]+)\"') = gone.id),"            \
	" said AS (DELETE FROM messages USING gone"                            \
	"  WHERE conversation_id = gone.id),"                                  \
	" run AS (DELETE FROM turns USING gone"                                \
	"  WHERE conversation_id = gone.id)"                                   \
	" DELETE FROM conversations USING gone"                                \
	"  WHERE conversations.id = gone.id"

static enum err_code
erase_conversations(
    struct store *store, const struct store_erasure *e, int64_t *erased_out)
{
	struct postgres_batch batch = { 0 };
	int64_t limit = STORE_ERASE_MAX;
	enum err_code rc;

	if (e->brand == NULL) {
		postgres_add(&batch, LOCK(OLD), "ii", e->before, limit);
		postgres_add(&batch, ERASE(OLD), "ii", e->before, limit);
	} else if (e->conversation_id != NULL) {
		postgres_add(
		    &batch, LOCK(ONE), "tt", e->brand, e->conversation_id);
		postgres_add(
		    &batch, ERASE(ONE), "tt", e->brand, e->conversation_id);
	} else {
		postgres_add(
		    &batch, LOCK(USER), "tti", e->brand, e->user_id, limit);
		postgres_add(
		    &batch, ERASE(USER), "tti", e->brand, e->user_id, limit);
	}
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK)
		*erased_out = postgres_changes(&batch, 1);
	postgres_clear(&batch);
	return rc;
}

static enum err_code
audit_list(struct store *store, const struct store_cursor *after, int limit,
    json_t **items_out)
{
	struct postgres_batch batch = { 0 };
	json_t *items;

	postgres_add(&batch,
	    "SELECT id, at, actor, action, subject, detail FROM audit"
	    " WHERE id < $1 ORDER BY id DESC LIMIT $2",
	    "ii", after->at, (int64_t)limit);
	TRY(postgres_run(store_postgres__link(store), &batch));
	items = json_array();
	for (int i = 0; i < postgres_rows(&batch, 0); i++) {
		struct postgres_row row = postgres_row(&batch, 0, i);

		json_array_append_new(items,
		    json_pack("{s:I, s:I, s:s, s:s, s:s, s:s}", "seq",
			(json_int_t)postgres_int(row, 0), "at",
			(json_int_t)postgres_int(row, 1), "actor",
			postgres_str(row, 2), "action", postgres_str(row, 3),
			"subject", postgres_str(row, 4), "detail",
			postgres_str(row, 5)));
	}
	postgres_clear(&batch);
	*items_out = items;
	return OK;
}

static enum err_code
audit_forget(struct store *store, int64_t before)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "DELETE FROM audit WHERE id IN (SELECT id FROM audit"
	    " WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)",
	    "ii", before, (int64_t)STORE_SWEEP_MAX);
	return store_postgres__do(store, &batch);
}

const struct store_erase_ops store_postgres__erase = {
	.erase = erase_conversations,
	.audit_list = audit_list,
	.audit_forget = audit_forget,
};
