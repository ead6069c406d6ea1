/* SPDX-License-Identifier: Apache-2.0 */
/* The front for conversations, messages, turns and de-duplication. */
#include "store/store.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/store_backend.h"

#define NAME_MAX_BYTES    256
#define TEXT_MAX_BYTES    ((size_t)4 << 20)
#define SLOTS_MAX_BYTES   65536
#define COMMENT_MAX_BYTES 4096
#define KEY_MAX_BYTES     1024

void
conversation_done(struct conversation *conversation)
{
	if (conversation == NULL)
		return;
	mem_free(conversation->channel);
	mem_free(conversation->user_id);
	mem_free(conversation->status);
	mem_free(conversation->slots);
	*conversation = (struct conversation){ 0 };
}

enum err_code
store_conversation_open(struct store *store, const char *brand,
    const char *channel, const char *user_id, const char *id, int64_t idle_ms,
    struct conversation *conversation_out)
{
	TRY(store__check_brand(brand));
	TRY(store__check_text("channel", channel, NAME_MAX_BYTES));
	TRY(store__check_text("user.id", user_id, NAME_MAX_BYTES));
	return STORE_CALL(store, "conversation.open",
	    store->backend->talk->open(
		store, brand, channel, user_id, id, idle_ms, conversation_out));
}

enum err_code
store_conversation_get(struct store *store, const char *brand, const char *id,
    struct conversation *conversation_out)
{
	TRY(store__check_brand(brand));
	return STORE_CALL(store, "conversation.get",
	    store->backend->talk->get(store, brand, id, conversation_out));
}

enum err_code
store_conversation_list(struct store *store, const char *brand,
    const char *user_id, const char *cursor, int limit, json_t **items_out,
    char **next_out)
{
	struct store_cursor after;
	json_t *items;

	TRY(store__check_brand(brand));
	TRY(store__check_limit(limit));
	TRY(store__cursor_parse(cursor, INT64_MAX, &after));
	TRY(STORE_CALL(store, "conversation.list",
	    store->backend->talk->list(
		store, brand, user_id, &after, limit + 1, &items)));
	*next_out = store__cut_page(items, limit, "created_at");
	*items_out = items;
	return OK;
}

enum err_code
store_messages(struct store *store, const char *brand,
    const char *conversation_id, const char *cursor, int limit,
    json_t **items_out, char **next_out)
{
	struct store_cursor after;
	json_t *items, *item;
	size_t i;

	TRY(store__check_brand(brand));
	TRY(store__check_limit(limit));
	TRY(store__cursor_parse(cursor, 0, &after));
	TRY(STORE_CALL(store, "messages",
	    store->backend->talk->messages(
		store, brand, conversation_id, &after, limit + 1, &items)));
	*next_out = store__cut_page(items, limit, "seq");
	json_array_foreach (items, i, item)
		json_object_del(item, "seq");
	*items_out = items;
	return OK;
}

enum err_code
store_history(struct store *store, const char *brand,
    const char *conversation_id, int limit, json_t **messages_out)
{
	TRY(store__check_brand(brand));
	TRY(store__check_limit(limit));
	return STORE_CALL(store, "history",
	    store->backend->talk->history(
		store, brand, conversation_id, limit, messages_out));
}

enum err_code
store_conversation_status(
    struct store *store, const char *brand, const char *id, const char *status)
{
	TRY(store__check_brand(brand));
	if (!str_eq(status, "open") && !str_eq(status, "handoff") &&
	    !str_eq(status, "closed"))
		return err_set(
		    ERR_INVALID, "status: want open, handoff or closed");
	return STORE_CALL(store, "conversation.status",
	    store->backend->talk->status(store, brand, id, status));
}

enum err_code
store_conversation_slots(struct store *store, const char *brand, const char *id,
    const char *slots_json)
{
	json_t *slots;
	bool object;

	TRY(store__check_brand(brand));
	TRY(store__check_text("slots", slots_json, SLOTS_MAX_BYTES));
	TRY(json_parse(slots_json, strlen(slots_json), &slots));
	object = json_is_object(slots);
	json_decref(slots);
	if (!object)
		return err_set(ERR_INVALID, "slots: want a JSON object");
	return STORE_CALL(store, "conversation.slots",
	    store->backend->talk->slots(store, brand, id, slots_json));
}

enum err_code
store_erase(struct store *store, const struct store_erasure *erasure,
    int64_t *erased_out)
{
	if (erasure->brand != NULL) {
		TRY(store__check_brand(erasure->brand));
		if (erasure->conversation_id == NULL)
			TRY(store__check_text(
			    "user.id", erasure->user_id, NAME_MAX_BYTES));
	}
	return STORE_CALL(store, "erase",
	    store->backend->erase->erase(store, erasure, erased_out));
}

/* ---- turns ---- */

/* The answer carries its citations; the assistant's message keeps a copy. */
static char *
citations_of(const json_t *body)
{
	json_t *citations = json_object_get(body, "citations");

	if (!json_is_array(citations))
		return mem_strdup("[]");
	return json_text(citations);
}

static enum err_code
check_turn(const struct turn_row *turn)
{
	TRY(store__check_brand(turn->brand_id));
	TRY(store__check_text("channel", turn->channel, NAME_MAX_BYTES));
	TRY(store__check_text("user.id", turn->user_id, NAME_MAX_BYTES));
	TRY(store__check_text("message", turn->message, TEXT_MAX_BYTES));
	if (!str_eq(turn->outcome, "done") &&
	    !str_eq(turn->outcome, "blocked") &&
	    !str_eq(turn->outcome, "error"))
		return err_set(
		    ERR_INVALID, "outcome: want done, blocked or error");
	TRY(store__check_text("body", turn->body, TEXT_MAX_BYTES));
	if (turn->dedup_key != NULL)
		TRY(store__check_text(
		    "dedup key", turn->dedup_key, KEY_MAX_BYTES));
	if (turn->capsule != NULL)
		TRY(store__check_text(
		    "capsule", turn->capsule, TEXT_MAX_BYTES));
	return OK;
}

enum err_code
store_turn_add(struct store *store, const struct turn_row *turn)
{
	json_t *body;
	char *citations;
	enum err_code rc;

	TRY(check_turn(turn));
	rc = json_parse(turn->body, strlen(turn->body), &body);
	if (rc != OK)
		return err_add(rc, "turn body");
	citations = citations_of(body);
	json_decref(body);
	rc = STORE_CALL(store, "turn.add",
	    store->backend->turns->add(store, turn, citations));
	mem_free(citations);
	return rc;
}

static enum err_code
parse_to(const char *text, json_t **value_out)
{
	if (value_out == NULL)
		return OK;
	return json_parse(text, strlen(text), value_out);
}

enum err_code
store_turn_get(struct store *store, const char *brand, const char *id,
    json_t **body_out, json_t **capsule_out)
{
	char *body, *capsule;
	json_t *body_value = NULL;
	enum err_code rc;

	TRY(store__check_brand(brand));
	TRY(STORE_CALL(store, "turn.get",
	    store->backend->turns->get(store, brand, id, &body, &capsule)));
	rc = parse_to(body, body_out == NULL ? NULL : &body_value);
	if (rc == OK)
		rc = parse_to(capsule, capsule_out);
	if (rc == OK && body_out != NULL)
		*body_out = body_value;
	else
		json_decref(body_value);
	mem_free(body);
	mem_free(capsule);
	return rc;
}

enum err_code
store_turn_feedback(struct store *store, const char *brand, const char *id,
    const char *rating, const char *comment)
{
	TRY(store__check_brand(brand));
	if (!str_eq(rating, "up") && !str_eq(rating, "down"))
		return err_set(ERR_INVALID, "rating: want up or down");
	if (comment != NULL)
		TRY(store__check_text("comment", comment, COMMENT_MAX_BYTES));
	return STORE_CALL(store, "turn.feedback",
	    store->backend->turns->feedback(store, brand, id, rating, comment));
}

/* ---- de-duplication ---- */

enum err_code
store_dedup_begin(struct store *store, const char *key, const char *fingerprint,
    int64_t lease_ms, char **answer_out)
{
	if (fingerprint == NULL)
		fingerprint = "";
	TRY(store__check_text("dedup key", key, KEY_MAX_BYTES));
	TRY(store__check_text("fingerprint", fingerprint, NAME_MAX_BYTES));
	return STORE_CALL(store, "dedup.begin",
	    store->backend->turns->dedup_begin(
		store, key, fingerprint, lease_ms, answer_out));
}

enum err_code
store_dedup_finish(struct store *store, const char *key, const char *answer)
{
	TRY(store__check_text("dedup key", key, KEY_MAX_BYTES));
	TRY(store__check_text("answer", answer, TEXT_MAX_BYTES));
	return STORE_CALL(store, "dedup.finish",
	    store->backend->turns->dedup_finish(store, key, answer));
}

enum err_code
store_dedup_drop(struct store *store, const char *key)
{
	TRY(store__check_text("dedup key", key, KEY_MAX_BYTES));
	return STORE_CALL(
	    store, "dedup.drop", store->backend->turns->dedup_drop(store, key));
}
