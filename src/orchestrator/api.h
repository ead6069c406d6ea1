/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_ORCHESTRATOR_API_H
#define XIN_ORCHESTRATOR_API_H

#include "domain/auth.h"
#include "domain/product.h"
#include "net/http_server.h"

/* What the handlers of this folder share. */

/* The caller, set by orchestrator_before. */
const struct principal *api__who(const struct http_request *req);
/* The path's brand, which exists and which the caller may use so. */
enum err_code api__brand(
    struct http_request *req, enum auth_need need, const char **brand_out);
/* The number that a reader of events saw last; *number_out stays when it says
 * none. */
enum err_code api__last_event_id(
    const struct http_request *req, int64_t *number_out);
/* ?limit= (1..200, default 50). */
enum err_code api__limit(const struct http_request *req, int *limit_out);
/* {"items":[...],"next_cursor":...}; takes over `items`. */
enum err_code api__reply_page(
    struct http_request *req, json_t *items, const char *next);

#define HANDLER(name)                                                          \
	enum err_code name(                                                    \
	    struct http_request *req, __attribute__((unused)) void *arg)
HANDLER(api__knowledge_post);
HANDLER(api__knowledge_put);
HANDLER(api__knowledge_list);
HANDLER(api__knowledge_get);
HANDLER(api__knowledge_events);
HANDLER(api__knowledge_explain);
HANDLER(api__knowledge_retry);
HANDLER(api__knowledge_cancel);
HANDLER(api__knowledge_reindex);
HANDLER(api__knowledge_retry_all);
HANDLER(api__knowledge_delete);
HANDLER(api__search);
HANDLER(api__events);
HANDLER(api__turns_post);
HANDLER(api__turn_cancel);
HANDLER(api__turn_feedback);
HANDLER(api__turn_get);
HANDLER(api__turn_capsule);
HANDLER(api__turn_events);
HANDLER(api__conversations);
HANDLER(api__conversation_get);
HANDLER(api__conversation_messages);
HANDLER(api__conversation_reset);
HANDLER(api__conversation_handoff);
HANDLER(api__conversation_erase);
HANDLER(api__user_erase);
HANDLER(api__brands);
HANDLER(api__keys_list);
HANDLER(api__keys_add);
HANDLER(api__keys_revoke);
HANDLER(api__audit);
HANDLER(api__scripts_get);
HANDLER(api__scripts_check);
HANDLER(api__scripts_reload);
HANDLER(api__scripts_rollback);
HANDLER(api__scripts_pin);
HANDLER(api__playground);
HANDLER(api__limits);
HANDLER(api__dead_letters);
HANDLER(api__openapi);
HANDLER(api__docs);
HANDLER(api__console);
HANDLER(api__console_file);

/* POST turns with "stream": answers by events. */
struct turn_request;
enum err_code api__turn_stream(struct http_request *req,
    struct product *product, const struct turn_request *request);

#endif
