/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations and their messages in SQLite. */
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/store_sqlite.h"

#define COLUMNS                                                                \
	"id, brand_id, channel, user_id, status, messages, slots,"             \
	" created_at, updated_at"

struct call {
	const char *brand, *id, *channel, *user_id;
	int64_t idle_ms;
	const char *value; /* a status, or slots */
	const struct store_cursor *after;
	int limit;
	bool found;
	struct conversation row;
	json_t *items;
};

static void
read_row(sqlite3_stmt *s, struct conversation *row)
{
	*row = (struct conversation){ 0 };
	str_copy(
	    row->id, sizeof(row->id), (const char *)sqlite3_column_text(s, 0));
	str_copy(row->brand_id, sizeof(row->brand_id),
	    (const char *)sqlite3_column_text(s, 1));
	row->channel = sqlite_text(s, 2);
	row->user_id = sqlite_text(s, 3);
	row->status = sqlite_text(s, 4);
	row->messages = sqlite3_column_int64(s, 5);
	row->slots = sqlite_text(s, 6);
	row->created_at = sqlite3_column_int64(s, 7);
	row->updated_at = sqlite3_column_int64(s, 8);
}

static enum err_code
maybe_row(sqlite3 *db, sqlite3_stmt *s, struct call *c)
{
	TRY(sqlite_step(db, s, &c->found));
	if (c->found)
		read_row(s, &c->row);
	return OK;
}

static enum err_code
get(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;

	TRY(sqlite_query(db, &s,
	    "SELECT " COLUMNS " FROM conversations"
	    " WHERE brand_id = ?1 AND id = ?2"
	    " AND (?3 IS NULL OR user_id = ?3)",
	    "ttt", c->brand, c->id, c->user_id));
	TRY(maybe_row(db, s, c));
	if (!c->found)
		return err_set(ERR_NOT_FOUND, "conversation \"%s\"", c->id);
	return OK;
}

static enum err_code
talk_get(struct store *store, const char *brand, const char *id,
    struct conversation *conversation_out)
{
	struct call c = { .brand = brand, .id = id };

	TRY(sqlite_read(store_sqlite__db(store), get, &c));
	*conversation_out = c.row;
	return OK;
}

/* A conversation that a person has taken over goes on until it is closed. */
static enum err_code
find_open(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;

	TRY(sqlite_query(db, &s,
	    "SELECT " COLUMNS " FROM conversations"
	    " WHERE brand_id = ? AND user_id = ? AND channel = ?"
	    " AND last_message_at > ? AND status <> 'closed'"
	    " ORDER BY last_message_at DESC, id DESC LIMIT 1",
	    "ttti", c->brand, c->user_id, c->channel,
	    store_sqlite__now() - c->idle_ms));
	return maybe_row(db, s, c);
}

static enum err_code
open_or_new(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int64_t now = store_sqlite__now();
	char id[IDENT_SIZE];
	sqlite3_stmt *s;

	TRY(find_open(db, c));
	if (c->found)
		return OK;
	ident_new("cv", id);
	TRY(sqlite_query(db, &s,
	    "INSERT INTO conversations(id, brand_id, channel, user_id,"
	    " last_message_at, created_at, updated_at)"
	    " VALUES(?, ?, ?, ?, ?, ?, ?) RETURNING " COLUMNS,
	    "ttttiii", id, c->brand, c->channel, c->user_id, now, now, now));
	return maybe_row(db, s, c);
}

/* Most messages continue a conversation: look before writing. */
static enum err_code
talk_open(struct store *store, const char *brand, const char *channel,
    const char *user_id, const char *id, int64_t idle_ms,
    struct conversation *conversation_out)
{
	struct call c = { .brand = brand,
		.id = id,
		.channel = channel,
		.user_id = user_id,
		.idle_ms = idle_ms };
	enum err_code rc;

	rc = sqlite_read(
	    store_sqlite__db(store), id != NULL ? get : find_open, &c);
	if (rc == OK && !c.found)
		rc = sqlite_write(store_sqlite__db(store), open_or_new, &c);
	if (rc != OK) {
		conversation_done(&c.row);
		return rc;
	}
	*conversation_out = c.row;
	return OK;
}

static void
set_text(json_t *object, const char *key, sqlite3_stmt *s, int column)
{
	const char *text = (const char *)sqlite3_column_text(s, column);

	json_object_set_new(
	    object, key, text == NULL ? json_null() : json_string(text));
}

/* Columns that hold JSON; one that cannot be read becomes null. */
static void
set_json(json_t *object, const char *key, sqlite3_stmt *s, int column)
{
	const char *text = (const char *)sqlite3_column_text(s, column);
	json_t *value = NULL;

	if (text == NULL || json_parse(text, strlen(text), &value) != OK)
		value = json_null();
	json_object_set_new(object, key, value);
}

static void
set_int(json_t *object, const char *key, sqlite3_stmt *s, int column)
{
	json_object_set_new(
	    object, key, json_integer(sqlite3_column_int64(s, column)));
}

static json_t *
conversation_json(sqlite3_stmt *s)
{
	json_t *item = json_object();

	set_text(item, "id", s, 0);
	set_text(item, "channel", s, 2);
	set_text(item, "user_id", s, 3);
	set_text(item, "status", s, 4);
	set_int(item, "messages", s, 5);
	set_json(item, "slots", s, 6);
	set_int(item, "created_at", s, 7);
	set_int(item, "updated_at", s, 8);
	return item;
}

static json_t *
message_json(sqlite3_stmt *s)
{
	json_t *item = json_object();

	set_text(item, "id", s, 0);
	set_text(item, "role", s, 1);
	set_text(item, "text", s, 2);
	set_int(item, "at", s, 3);
	set_text(item, "turn_id", s, 4);
	set_json(item, "citations", s, 5);
	set_int(item, "seq", s, 6);
	return item;
}

static enum err_code
collect(sqlite3 *db, sqlite3_stmt *s, json_t *(*item_of)(sqlite3_stmt *s),
    json_t **items_out)
{
	json_t *items = json_array();
	enum err_code rc;
	bool row;

	while ((rc = sqlite_step(db, s, &row)) == OK && row)
		json_array_append_new(items, item_of(s));
	if (rc != OK) {
		json_decref(items);
		return rc;
	}
	*items_out = items;
	return OK;
}

static enum err_code
list(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;

	TRY(sqlite_query(db, &s,
	    "SELECT " COLUMNS " FROM conversations WHERE brand_id = ?1"
	    " AND (?2 IS NULL OR user_id = ?2)"
	    " AND (created_at, id) < (?3, ?4)"
	    " ORDER BY created_at DESC, id DESC LIMIT ?5",
	    "ttiti", c->brand, c->user_id, c->after->at, c->after->id,
	    (int64_t)c->limit));
	return collect(db, s, conversation_json, &c->items);
}

static enum err_code
talk_list(struct store *store, const char *brand, const char *user_id,
    const struct store_cursor *after, int limit, json_t **items_out)
{
	struct call c = { .brand = brand,
		.user_id = user_id,
		.after = after,
		.limit = limit };

	TRY(sqlite_read(store_sqlite__db(store), list, &c));
	*items_out = c.items;
	return OK;
}

#define MESSAGE "id, role, text, at, turn_id, citations, seq"

/* That the conversation is the brand's. */
static enum err_code
check_exists(sqlite3 *db, struct call *c)
{
	TRY(get(db, c));
	conversation_done(&c->row);
	return OK;
}

static enum err_code
messages(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;

	TRY(check_exists(db, c));
	TRY(sqlite_query(db, &s,
	    "SELECT " MESSAGE " FROM messages WHERE conversation_id = ?"
	    " AND brand_id = ? AND seq > ? ORDER BY seq LIMIT ?",
	    "ttii", c->id, c->brand, c->after->at, (int64_t)c->limit));
	return collect(db, s, message_json, &c->items);
}

static enum err_code
talk_messages(struct store *store, const char *brand,
    const char *conversation_id, const struct store_cursor *after, int limit,
    json_t **items_out)
{
	struct call c = { .brand = brand,
		.id = conversation_id,
		.after = after,
		.limit = limit };

	TRY(sqlite_read(store_sqlite__db(store), messages, &c));
	*items_out = c.items;
	return OK;
}

static enum err_code
history(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;

	TRY(check_exists(db, c));
	TRY(sqlite_query(db, &s,
	    "SELECT * FROM (SELECT " MESSAGE " FROM messages"
	    " WHERE conversation_id = ? AND brand_id = ?"
	    " ORDER BY seq DESC LIMIT ?) ORDER BY seq",
	    "tti", c->id, c->brand, (int64_t)c->limit));
	return collect(db, s, message_json, &c->items);
}

static enum err_code
talk_history(struct store *store, const char *brand,
    const char *conversation_id, int limit, json_t **messages_out)
{
	struct call c = {
		.brand = brand, .id = conversation_id, .limit = limit
	};
	json_t *item;
	size_t i;

	TRY(sqlite_read(store_sqlite__db(store), history, &c));
	json_array_foreach (c.items, i, item)
		json_object_del(item, "seq");
	*messages_out = c.items;
	return OK;
}

static enum err_code
set_status(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(sqlite_run(db, &changes,
	    "UPDATE conversations SET status = ?, updated_at = ?"
	    " WHERE brand_id = ? AND id = ?",
	    "titt", c->value, store_sqlite__now(), c->brand, c->id));
	return changes > 0
		   ? OK
		   : err_set(ERR_NOT_FOUND, "conversation \"%s\"", c->id);
}

static enum err_code
talk_status(
    struct store *store, const char *brand, const char *id, const char *status)
{
	struct call c = { .brand = brand, .id = id, .value = status };

	return sqlite_write(store_sqlite__db(store), set_status, &c);
}

static enum err_code
set_slots(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int changes;

	TRY(sqlite_run(db, &changes,
	    "UPDATE conversations SET slots = ?, updated_at = ?"
	    " WHERE brand_id = ? AND id = ?",
	    "titt", c->value, store_sqlite__now(), c->brand, c->id));
	return changes > 0
		   ? OK
		   : err_set(ERR_NOT_FOUND, "conversation \"%s\"", c->id);
}

static enum err_code
talk_slots(struct store *store, const char *brand, const char *id,
    const char *slots_json)
{
	struct call c = { .brand = brand, .id = id, .value = slots_json };

	return sqlite_write(store_sqlite__db(store), set_slots, &c);
}

const struct store_talk_ops store_sqlite__talk = {
	.open = talk_open,
	.get = talk_get,
	.list = talk_list,
	.messages = talk_messages,
	.history = talk_history,
	.status = talk_status,
	.slots = talk_slots,
};
