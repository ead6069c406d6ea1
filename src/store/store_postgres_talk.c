/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations and their messages in PostgreSQL. */
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/store_postgres.h"

#define COLUMNS                                                                \
	"id, brand_id, channel, user_id, status, messages, slots,"             \
	" created_at, updated_at"

static void
read_row(struct postgres_row r, struct conversation *row)
{
	*row = (struct conversation){ 0 };
	str_copy(row->id, sizeof(row->id), postgres_str(r, 0));
	str_copy(row->brand_id, sizeof(row->brand_id), postgres_str(r, 1));
	row->channel = postgres_text(r, 2);
	row->user_id = postgres_text(r, 3);
	row->status = postgres_text(r, 4);
	row->messages = postgres_int(r, 5);
	row->slots = postgres_text(r, 6);
	row->created_at = postgres_int(r, 7);
	row->updated_at = postgres_int(r, 8);
}

/* The row of the last statement. */
static enum err_code
run_for_row(struct store *store, struct postgres_batch *batch, const char *id,
    struct conversation *row)
{
	enum err_code rc = postgres_run(store_postgres__link(store), batch);
	unsigned last = batch->statements - 1;

	if (rc == OK && postgres_rows(batch, last) == 0)
		rc = err_set(ERR_NOT_FOUND, "conversation \"%s\"", id);
	if (rc == OK)
		read_row(postgres_row(batch, last, 0), row);
	postgres_clear(batch);
	return rc;
}

static enum err_code
get(struct store *store, const char *brand, const char *id, const char *user_id,
    struct conversation *conversation_out)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "SELECT " COLUMNS " FROM conversations"
	    " WHERE brand_id = $1 AND id = $2"
	    " AND ($3::text IS NULL OR user_id = $3)",
	    "ttt", brand, id, user_id);
	return run_for_row(store, &batch, id, conversation_out);
}

static enum err_code
talk_get(struct store *store, const char *brand, const char *id,
    struct conversation *conversation_out)
{
	return get(store, brand, id, NULL, conversation_out);
}

/* Found or made in one round trip. Two replicas that hear the user's first
 * messages at once: the lock lets the second look only after the first has
 * committed. It is the user's alone, so nobody else waits; the second statement
 * sees what was committed before it began. A conversation that a person has
 * taken over goes on until it is closed. */
static enum err_code
talk_open(struct store *store, const char *brand, const char *channel,
    const char *user_id, const char *id, int64_t idle_ms,
    struct conversation *conversation_out)
{
	struct postgres_batch batch = { 0 };
	int64_t now = store_postgres__now();
	char new_id[IDENT_SIZE];

	if (id != NULL)
		return get(store, brand, id, user_id, conversation_out);
	ident_new("cv", new_id);
	postgres_add(&batch,
	    "SELECT pg_advisory_xact_lock(hashtextextended("
	    "concat_ws('|', 'talk', $1::text, $2::text, $3::text), 0))",
	    "ttt", brand, channel, user_id);
	postgres_add(&batch,
	    "WITH found AS (SELECT " COLUMNS " FROM conversations"
	    "  WHERE brand_id = $1 AND user_id = $2 AND channel = $3"
	    "  AND last_message_at > $4 AND status <> 'closed'"
	    "  ORDER BY last_message_at DESC, id DESC LIMIT 1),"
	    " made AS (INSERT INTO conversations(id, brand_id, channel,"
	    "   user_id, last_message_at, created_at, updated_at)"
	    "  SELECT $6::text, $1::text, $3::text, $2::text, $5::bigint,"
	    "   $5::bigint, $5::bigint WHERE NOT EXISTS (SELECT 1 FROM found)"
	    "  RETURNING " COLUMNS ")"
	    " SELECT * FROM found UNION ALL SELECT * FROM made",
	    "tttiit", brand, user_id, channel, now - idle_ms, now, new_id);
	return run_for_row(store, &batch, new_id, conversation_out);
}

/* ---- lists ---- */

static void
set_text(json_t *object, const char *key, struct postgres_row r, int column)
{
	const char *text = postgres_str(r, column);

	json_object_set_new(
	    object, key, text == NULL ? json_null() : json_string(text));
}

/* Columns that hold JSON; one that cannot be read becomes null. */
static void
set_json(json_t *object, const char *key, struct postgres_row r, int column)
{
	const char *text = postgres_str(r, column);
	json_t *value = NULL;

	if (text == NULL || json_parse(text, strlen(text), &value) != OK)
		value = json_null();
	json_object_set_new(object, key, value);
}

static void
set_int(json_t *object, const char *key, struct postgres_row r, int column)
{
	json_object_set_new(object, key, json_integer(postgres_int(r, column)));
}

static json_t *
conversation_json(struct postgres_row r)
{
	json_t *item = json_object();

	set_text(item, "id", r, 0);
	set_text(item, "channel", r, 2);
	set_text(item, "user_id", r, 3);
	set_text(item, "status", r, 4);
	set_int(item, "messages", r, 5);
	set_json(item, "slots", r, 6);
	set_int(item, "created_at", r, 7);
	set_int(item, "updated_at", r, 8);
	return item;
}

static json_t *
message_json(struct postgres_row r)
{
	json_t *item = json_object();

	set_text(item, "id", r, 0);
	set_text(item, "role", r, 1);
	set_text(item, "text", r, 2);
	set_int(item, "at", r, 3);
	set_text(item, "turn_id", r, 4);
	set_json(item, "citations", r, 5);
	set_int(item, "seq", r, 6);
	return item;
}

static json_t *
collect(const struct postgres_batch *batch, unsigned statement,
    json_t *(*item_of)(struct postgres_row row))
{
	json_t *items = json_array();

	for (int i = 0; i < postgres_rows(batch, statement); i++)
		json_array_append_new(
		    items, item_of(postgres_row(batch, statement, i)));
	return items;
}

static enum err_code
talk_list(struct store *store, const char *brand, const char *user_id,
    const struct store_cursor *after, int limit, json_t **items_out)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch,
	    "SELECT " COLUMNS " FROM conversations WHERE brand_id = $1"
	    " AND ($2::text IS NULL OR user_id = $2)"
	    " AND (created_at, id) < ($3::bigint, $4)"
	    " ORDER BY created_at DESC, id DESC LIMIT $5",
	    "ttiti", brand, user_id, after->at, after->id, (int64_t)limit);
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK)
		*items_out = collect(&batch, 0, conversation_json);
	postgres_clear(&batch);
	return rc;
}

#define MESSAGE "id, role, text, at, turn_id, citations, seq"

/* That the conversation is the brand's is asked in the same round trip. */
static void
add_exists(
    struct postgres_batch *batch, const char *brand, const char *conversation)
{
	postgres_add(batch,
	    "SELECT 1 FROM conversations WHERE brand_id = $1 AND id = $2", "tt",
	    brand, conversation);
}

static enum err_code
run_for_messages(struct store *store, struct postgres_batch *batch,
    const char *conversation, json_t **items_out)
{
	enum err_code rc = postgres_run(store_postgres__link(store), batch);

	if (rc == OK && postgres_rows(batch, 0) == 0)
		rc =
		    err_set(ERR_NOT_FOUND, "conversation \"%s\"", conversation);
	if (rc == OK)
		*items_out = collect(batch, 1, message_json);
	postgres_clear(batch);
	return rc;
}

static enum err_code
talk_messages(struct store *store, const char *brand,
    const char *conversation_id, const struct store_cursor *after, int limit,
    json_t **items_out)
{
	struct postgres_batch batch = { 0 };

	add_exists(&batch, brand, conversation_id);
	postgres_add(&batch,
	    "SELECT " MESSAGE " FROM messages WHERE conversation_id = $1"
	    " AND brand_id = $2 AND seq > $3 ORDER BY seq LIMIT $4",
	    "ttii", conversation_id, brand, after->at, (int64_t)limit);
	return run_for_messages(store, &batch, conversation_id, items_out);
}

static enum err_code
talk_history(struct store *store, const char *brand,
    const char *conversation_id, int limit, json_t **messages_out)
{
	struct postgres_batch batch = { 0 };
	json_t *items, *item;
	size_t i;

	add_exists(&batch, brand, conversation_id);
	postgres_add(&batch,
	    "SELECT * FROM (SELECT " MESSAGE " FROM messages"
	    " WHERE conversation_id = $1 AND brand_id = $2"
	    " ORDER BY seq DESC LIMIT $3) latest ORDER BY seq",
	    "tti", conversation_id, brand, (int64_t)limit);
	TRY(run_for_messages(store, &batch, conversation_id, &items));
	json_array_foreach (items, i, item)
		json_object_del(item, "seq");
	*messages_out = items;
	return OK;
}

static enum err_code
talk_status(
    struct store *store, const char *brand, const char *id, const char *status)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "UPDATE conversations SET status = $3, updated_at = $4"
	    " WHERE brand_id = $1 AND id = $2",
	    "ttti", brand, id, status, store_postgres__now());
	return store_postgres__must(store, &batch, "conversation", id);
}

static enum err_code
talk_slots(struct store *store, const char *brand, const char *id,
    const char *slots_json)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "UPDATE conversations SET slots = $3, updated_at = $4"
	    " WHERE brand_id = $1 AND id = $2",
	    "ttti", brand, id, slots_json, store_postgres__now());
	return store_postgres__must(store, &batch, "conversation", id);
}

const struct store_talk_ops store_postgres__talk = {
	.open = talk_open,
	.get = talk_get,
	.list = talk_list,
	.messages = talk_messages,
	.history = talk_history,
	.status = talk_status,
	.slots = talk_slots,
};
