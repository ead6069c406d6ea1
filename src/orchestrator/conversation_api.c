/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations: list, read, reset, hand over to a person, erase. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
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

HANDLER(api__conversation_erase)
{
	struct product *product = arg;
	const char *id = http_param(req, "id");
	struct store_erasure which = { .conversation_id = id };
	int64_t erased;

	TRY(api__brand(req, AUTH_BRAND, &which.brand));
	TRY(store_erase(product->store, &which, &erased));
	if (erased == 0)
		return err_set(ERR_NOT_FOUND, "conversation \"%s\"", id);
	TRY(store_audit(product->store, api__who(req)->key_id,
	    "conversation.erase", id, which.brand));
	return http_reply(req, 204, NULL, NULL, 0);
}

/* The audit keeps a hash: whoever knows the id can find the row, and the row
 * tells nobody the id. */
static enum err_code
audit_user(struct http_request *req, struct product *product,
    const struct store_erasure *which, int64_t erased)
{
	char hex[SHA256_HEX_SIZE], detail[BRAND_ID_SIZE + 64];

	crypto_sha256_hex(which->user_id, strlen(which->user_id), hex);
	snprintf(detail, sizeof(detail), "%s, %lld conversations", which->brand,
	    (long long)erased);
	return store_audit(
	    product->store, api__who(req)->key_id, "user.erase", hex, detail);
}

HANDLER(api__user_erase)
{
	struct product *product = arg;
	struct store_erasure which = { .user_id = http_param(req, "id") };
	json_auto json_t *answer = NULL;
	int64_t erased, total = 0;

	TRY(api__brand(req, AUTH_BRAND, &which.brand));
	do {
		TRY(store_erase(product->store, &which, &erased));
		total += erased;
	} while (erased > 0);
	TRY(audit_user(req, product, &which, total));
	answer = json_pack("{s:I}", "conversations", (json_int_t)total);
	return http_reply_json(req, 200, answer);
}
