/* SPDX-License-Identifier: Apache-2.0 */
/* The route table of the API, and what all its handlers share. */
#include "orchestrator/orchestrator.h"

#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "domain/brand.h"
#include "domain/service_api.h"
#include "orchestrator/api.h"

#define B "/v1/brands/{brand_id}"
#define K B "/knowledge"
#define C B "/conversations"

const struct http_route orchestrator_routes[] = {
	{ HTTP_M_GET, "/health", HTTP_BODY_NONE, service_health },
	{ HTTP_M_GET, "/health/live", HTTP_BODY_NONE, service_live },
	{ HTTP_M_GET, "/metrics", HTTP_BODY_NONE, service_metrics },
	{ HTTP_M_GET, "/v1/brands", HTTP_BODY_NONE, api__brands },
	{ HTTP_M_POST, K, HTTP_BODY_STREAM, api__knowledge_post },
	{ HTTP_M_GET, K, HTTP_BODY_NONE, api__knowledge_list },
	{ HTTP_M_POST, K ":retry", HTTP_BODY_SMALL, api__knowledge_retry_all },
	{ HTTP_M_GET, K "/{id}", HTTP_BODY_NONE, api__knowledge_get },
	{ HTTP_M_PUT, K "/{id}", HTTP_BODY_STREAM, api__knowledge_put },
	{ HTTP_M_DELETE, K "/{id}", HTTP_BODY_NONE, api__knowledge_delete },
	{ HTTP_M_GET, K "/{id}/events", HTTP_BODY_NONE, api__knowledge_events },
	{ HTTP_M_GET, K "/{id}/explain", HTTP_BODY_NONE,
	    api__knowledge_explain },
	{ HTTP_M_POST, K "/{id}/retry", HTTP_BODY_SMALL, api__knowledge_retry },
	{ HTTP_M_POST, K "/{id}/cancel", HTTP_BODY_SMALL,
	    api__knowledge_cancel },
	{ HTTP_M_POST, K "/{id}/reindex", HTTP_BODY_SMALL,
	    api__knowledge_reindex },
	{ HTTP_M_GET, "/v1/events", HTTP_BODY_NONE, api__events },
	{ HTTP_M_POST, B "/search", HTTP_BODY_SMALL, api__search },
	{ HTTP_M_POST, B "/turns", HTTP_BODY_SMALL, api__turns_post },
	{ HTTP_M_GET, B "/turns/{id}", HTTP_BODY_NONE, api__turn_get },
	{ HTTP_M_GET, B "/turns/{id}/events", HTTP_BODY_NONE,
	    api__turn_events },
	{ HTTP_M_POST, B "/turns/{id}/cancel", HTTP_BODY_SMALL,
	    api__turn_cancel },
	{ HTTP_M_POST, B "/turns/{id}/feedback", HTTP_BODY_SMALL,
	    api__turn_feedback },
	{ HTTP_M_GET, B "/turns/{id}/capsule", HTTP_BODY_NONE,
	    api__turn_capsule },
	{ HTTP_M_POST, B "/playground", HTTP_BODY_SMALL, api__playground },
	{ HTTP_M_GET, C, HTTP_BODY_NONE, api__conversations },
	{ HTTP_M_GET, C "/{id}", HTTP_BODY_NONE, api__conversation_get },
	{ HTTP_M_GET, C "/{id}/messages", HTTP_BODY_NONE,
	    api__conversation_messages },
	{ HTTP_M_POST, C "/{id}/reset", HTTP_BODY_SMALL,
	    api__conversation_reset },
	{ HTTP_M_POST, C "/{id}/handoff", HTTP_BODY_SMALL,
	    api__conversation_handoff },
	{ HTTP_M_DELETE, C "/{id}", HTTP_BODY_NONE, api__conversation_erase },
	{ HTTP_M_DELETE, B "/users/{id}", HTTP_BODY_NONE, api__user_erase },
	{ HTTP_M_GET, "/v1/keys", HTTP_BODY_NONE, api__keys_list },
	{ HTTP_M_POST, "/v1/keys", HTTP_BODY_SMALL, api__keys_add },
	{ HTTP_M_DELETE, "/v1/keys/{id}", HTTP_BODY_NONE, api__keys_revoke },
	{ HTTP_M_GET, "/v1/audit", HTTP_BODY_NONE, api__audit },
	{ HTTP_M_GET, "/v1/scripts", HTTP_BODY_NONE, api__scripts_get },
	{ HTTP_M_POST, "/v1/scripts/check", HTTP_BODY_SMALL,
	    api__scripts_check },
	{ HTTP_M_POST, "/v1/scripts/reload", HTTP_BODY_SMALL,
	    api__scripts_reload },
	{ HTTP_M_POST, "/v1/scripts/rollback", HTTP_BODY_SMALL,
	    api__scripts_rollback },
	{ HTTP_M_POST, "/v1/scripts/pin", HTTP_BODY_SMALL, api__scripts_pin },
	{ HTTP_M_GET, "/v1/limits", HTTP_BODY_NONE, api__limits },
	{ HTTP_M_GET, "/v1/queue/dead", HTTP_BODY_NONE, api__dead_letters },
	{ HTTP_M_GET, "/openapi.json", HTTP_BODY_NONE, api__openapi },
	{ HTTP_M_GET, "/docs", HTTP_BODY_NONE, api__docs },
	{ HTTP_M_GET, "/", HTTP_BODY_NONE, api__console },
	{ HTTP_M_GET, "/console/{file}", HTTP_BODY_NONE, api__console_file },
	{ 0 },
};

enum err_code
orchestrator_before(struct http_request *req, void *arg)
{
	struct principal *who;

	if (!str_starts(http_path(req), "/v1/"))
		return OK;
	who = arena_zero(http_arena(req), sizeof(*who));
	if (who == NULL)
		return ERR_TOO_LARGE;
	TRY(auth_identify(arg, http_header(req, "authorization"), who));
	http_set_user(req, who);
	return OK;
}

const struct principal *
api__who(const struct http_request *req)
{
	return http_user(req);
}

enum err_code
api__brand(
    struct http_request *req, enum auth_need need, const char **brand_out)
{
	const char *brand = http_param(req, "brand_id");

	TRY(brand_exists(brand));
	TRY(auth_allow(api__who(req), need, brand));
	str_copy(task_self()->brand_id, BRAND_ID_SIZE, brand);
	*brand_out = brand;
	return OK;
}

enum err_code
api__last_event_id(const struct http_request *req, int64_t *number_out)
{
	const char *text = http_header(req, "last-event-id");

	if (text == NULL || text[0] == '\0')
		return OK;
	if (!str_to_i64(text, number_out) || *number_out < 0)
		return err_set(ERR_INVALID,
		    "Last-Event-ID must be the number of an event");
	return OK;
}

enum err_code
api__limit(const struct http_request *req, int *limit_out)
{
	const char *text = http_query(req, "limit");
	uint64_t limit = 50;

	if (text != NULL &&
	    (!str_to_u64(text, &limit) || limit < 1 || limit > 200))
		return err_set(ERR_INVALID, "limit must be from 1 to 200");
	*limit_out = (int)limit;
	return OK;
}

enum err_code
api__reply_page(struct http_request *req, json_t *items, const char *next)
{
	json_auto json_t *page =
	    json_pack("{s:o, s:s?}", "items", items, "next_cursor", next);

	return http_reply_json(req, 200, page);
}

enum err_code
orchestrator_open(struct product *product, const char *listen,
    struct http_server **server_out)
{
	struct http_options options = {
		.listen = listen,
		.service = SERVICE_ORCHESTRATOR,
		.routes = orchestrator_routes,
		.arg = product,
		.before = orchestrator_before,
		.check_host = product->open_access &&
			      strcmp(config_str(CFG_AUTH), "open") != 0,
	};

	return http_server_open(&options, server_out);
}
