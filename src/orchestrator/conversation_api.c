/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations: list, read, reset, hand over to a person. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "orchestrator/api.h"
#include "store/store.h"

HANDLER(api__conversations)
{
	struct product *product = arg;
	json_t *items = NULL;
	char *next = NULL;
	const char *brand;
	enum err_code rc;
	int limit;

	TRY(api__brand(req, AUTH_TURNS, &brand));
	TRY(api__limit(req, &limit));
	TRY(store_conversation_list(product->store, brand,
	    http_query(req, "user_id"), http_query(req, "cursor"), limit,
	    &items, &next));
	rc = api__reply_page(req, items, next);
	mem_free(next);
	return rc;
}

static enum err_code
reply_conversation(struct http_request *req, struct product *product,
    const char *brand, int status)
{
	struct conversation conversation;
	json_auto json_t *view = NULL;
	char created[CLOCK_RFC3339_SIZE], updated[CLOCK_RFC3339_SIZE];

	TRY(store_conversation_get(
	    product->store, brand, http_param(req, "id"), &conversation));
	clock_rfc3339((uint64_t)conversation.created_at, created);
	clock_rfc3339((uint64_t)conversation.updated_at, updated);
	view = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s}", "id",
	    conversation.id, "channel", conversation.channel, "user_id",
	    conversation.user_id, "status", conversation.status, "messages",
	    (json_int_t)conversation.messages, "created_at", created,
	    "updated_at", updated);
	conversation_done(&conversation);
	return http_reply_json(req, status, view);
}

HANDLER(api__conversation_get)
{
	const char *brand;

	TRY(api__brand(req, AUTH_TURNS, &brand));
	return reply_conversation(req, arg, brand, 200);
}

HANDLER(api__conversation_messages)
{
	struct product *product = arg;
	struct conversation conversation;
	json_t *items = NULL;
	char *next = NULL;
	const char *brand;
	enum err_code rc;
	int limit;

	TRY(api__brand(req, AUTH_TURNS, &brand));
	TRY(api__limit(req, &limit));
	TRY(store_conversation_get(
	    product->store, brand, http_param(req, "id"), &conversation));
	conversation_done(&conversation);
	TRY(store_messages(product->store, brand, http_param(req, "id"),
	    http_query(req, "cursor"), limit, &items, &next));
	rc = api__reply_page(req, items, next);
	mem_free(next);
	return rc;
}

static enum err_code
set_status(
    struct http_request *req, struct product *product, const char *status)
{
	const char *brand;

	TRY(api__brand(req, AUTH_TURNS, &brand));
	TRY(store_conversation_status(
	    product->store, brand, http_param(req, "id"), status));
	return reply_conversation(req, product, brand, 200);
}

HANDLER(api__conversation_reset)
{
	return set_status(req, arg, "closed");
}

HANDLER(api__conversation_handoff)
{
	return set_status(req, arg, "handoff");
}
