/* SPDX-License-Identifier: Apache-2.0 */
/* Documents after their upload: status, events, explain and the verbs. */
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "binding/retrieve.h"
#include "domain/knowledge.h"
#include "fiber/fiber.h"
#include "orchestrator/api.h"
#include "search/search.h"

#define EVENTS_POLL_MS 200
#define PING_MS        10000
#define EVENTS_MAX_MS  (30 * 60 * 1000)

static enum err_code
reply_source(struct http_request *req, struct product *product,
    const char *brand, const char *id, int status)
{
	json_auto json_t *view = NULL;
	struct source source;

	TRY(store_source_get(product->store, brand, id, &source));
	view = knowledge_view(product, &source);
	source_done(&source);
	return http_reply_json(req, status, view);
}

HANDLER(api__knowledge_get)
{
	struct product *product = arg;
	json_auto json_t *view = NULL;
	struct source source;
	const char *brand;
	int status = 200;

	TRY(api__brand(req, AUTH_KNOWLEDGE, &brand));
	TRY(store_source_get(
	    product->store, brand, http_param(req, "id"), &source));
	view = knowledge_view(product, &source);
	if (str_eq(http_query(req, "require"), "ready") &&
	    source.status != SOURCE_READY)
		status = 409;
	source_done(&source);
	return http_reply_json(req, status, view);
}

HANDLER(api__knowledge_list)
{
	struct product *product = arg;
	const char *status_text = http_query(req, "status");
	enum source_status status;
	struct source_list list;
	const char *brand;
	json_t *items;
	enum err_code rc;
	int limit, wanted = -1;

	TRY(api__brand(req, AUTH_KNOWLEDGE, &brand));
	TRY(api__limit(req, &limit));
	if (status_text != NULL) {
		if (!source_status_parse(status_text, &status))
			return err_set(ERR_INVALID,
			    "status must be pending, processing, ready, failed "
			    "or cancelled");
		wanted = (int)status;
	}
	TRY(store_source_list(product->store, brand, wanted,
	    http_query(req, "external_id"), http_query(req, "cursor"), limit,
	    &list));
	items = json_array();
	for (size_t i = 0; i < list.count; i++)
		json_array_append_new(
		    items, knowledge_view(product, &list.items[i]));
	rc = api__reply_page(req, items, list.next_cursor);
	source_list_done(&list);
	return rc;
}

static bool
has_ended(const struct source *source)
{
	return source->status == SOURCE_READY ||
	       source->status == SOURCE_FAILED ||
	       source->status == SOURCE_CANCELLED;
}

/* One look: an event when something changed; *ended_out after the last. */
static enum err_code
send_change(struct http_request *req, struct product *product,
    const char *brand, const char *id, char **last, bool *ended_out)
{
	struct source source;
	json_auto json_t *view = NULL;
	enum err_code rc = OK;
	char *text;
	bool ended;

	TRY(store_source_get(product->store, brand, id, &source));
	view = knowledge_view(product, &source);
	ended = has_ended(&source);
	text = json_text(view);
	if (*last == NULL || strcmp(*last, text) != 0) {
		rc = http_sse_send(req, "status", NULL, text);
		if (rc == OK && source.status == SOURCE_PROCESSING) {
			json_auto json_t *progress =
			    json_pack("{s:s, s:I, s:I}", "step", source.step,
				"done", (json_int_t)source.progress_done,
				"total", (json_int_t)source.progress_total);
			char *step = json_text(progress);

			rc = http_sse_send(req, "progress", NULL, step);
			mem_free(step);
		}
		if (rc == OK && ended)
			rc = http_sse_send(req,
			    source.status == SOURCE_READY ? "done" : "error",
			    NULL, text);
	}
	source_done(&source);
	mem_free(*last);
	*last = text;
	*ended_out = ended;
	return rc;
}

HANDLER(api__knowledge_events)
{
	struct product *product = arg;
	const char *id = http_param(req, "id");
	uint64_t until = deadline_in_ms(EVENTS_MAX_MS);
	uint64_t ping_at = deadline_in_ms(PING_MS);
	struct source source;
	const char *brand;
	char *last = NULL;
	bool ended = false;
	enum err_code rc;

	TRY(api__brand(req, AUTH_KNOWLEDGE, &brand));
	TRY(store_source_get(product->store, brand, id, &source));
	source_done(&source);
	task_self()->deadline_ms = until;
	TRY(http_sse_begin(req));
	for (;;) {
		rc = send_change(req, product, brand, id, &last, &ended);
		if (rc != OK || ended)
			break;
		if (deadline_left_ms(ping_at) == 0) {
			rc = http_sse_ping(req);
			ping_at = deadline_in_ms(PING_MS);
		}
		if (rc == OK)
			rc = fiber_sleep(EVENTS_POLL_MS);
		if (rc != OK)
			break;
	}
	mem_free(last);
	if (rc == ERR_NOT_FOUND) /* deleted while we looked */
		rc = http_sse_send(
		    req, "error", NULL, "{\"status\":\"deleted\"}");
	return rc == OK ? http_stream_end(req) : rc;
}

HANDLER(api__knowledge_explain)
{
	struct product *product = arg;
	json_auto json_t *explanation = NULL;
	struct source source;
	const char *brand;
	enum err_code rc;

	TRY(api__brand(req, AUTH_KNOWLEDGE, &brand));
	TRY(store_source_get(
	    product->store, brand, http_param(req, "id"), &source));
	rc = knowledge_explain(product, &source, &explanation);
	source_done(&source);
	if (rc != OK)
		return rc;
	return http_reply_json(req, 200, explanation);
}

typedef enum err_code (*verb_fn)(
    struct product *product, const char *brand, const char *id);

static enum err_code
do_verb(struct http_request *req, struct product *product, verb_fn verb)
{
	const char *id = http_param(req, "id");
	const char *brand;

	TRY(api__brand(req, AUTH_KNOWLEDGE, &brand));
	TRY(verb(product, brand, id));
	return reply_source(req, product, brand, id, 202);
}

HANDLER(api__knowledge_retry)
{
	return do_verb(req, arg, knowledge_retry);
}

HANDLER(api__knowledge_cancel)
{
	return do_verb(req, arg, knowledge_cancel);
}

HANDLER(api__knowledge_reindex)
{
	return do_verb(req, arg, knowledge_reindex);
}

HANDLER(api__knowledge_retry_all)
{
	json_auto json_t *body = NULL;
	const char *brand;
	int64_t count;

	TRY(api__brand(req, AUTH_KNOWLEDGE, &brand));
	if (!str_eq(http_query(req, "status"), "failed"))
		return err_set(ERR_INVALID, "say ?status=failed");
	TRY(knowledge_retry_failed(arg, brand, &count));
	body = json_pack("{s:I}", "queued", (json_int_t)count);
	return http_reply_json(req, 202, body);
}

HANDLER(api__knowledge_delete)
{
	const char *brand;

	TRY(api__brand(req, AUTH_KNOWLEDGE, &brand));
	TRY(knowledge_delete(arg, brand, http_param(req, "id")));
	return http_reply(req, 204, NULL, NULL, 0);
}

static json_t *
hit_json(const struct search_hit *hit)
{
	json_error_t error;
	json_t *metadata =
	    hit->metadata ? json_loads(hit->metadata, 0, &error) : NULL;

	return json_pack("{s:o, s:s, s:I, s:f, s:f, s:s, s:s, s:s, s:I, s:I, "
			 "s:s?, s:o}",
	    "id",
	    json_sprintf("%s:%lld", hit->source_id, (long long)hit->number),
	    "source_id", hit->source_id, "chunk", (json_int_t)hit->number,
	    "score", hit->score, "coverage", hit->coverage, "title", hit->title,
	    "text", hit->text, "heading", hit->heading ? hit->heading : "",
	    "start", (json_int_t)hit->start, "end", (json_int_t)hit->end, "url",
	    hit->source_url, "metadata", metadata ? metadata : json_object());
}

HANDLER(api__search)
{
	static const char *const known[] = { "query", "top_k", "filter", "mode",
		NULL };
	struct product *product = arg;
	json_auto json_t *body = NULL;
	json_auto json_t *answer = NULL;
	const char *brand, *query, *mode_name;
	enum retrieve_mode mode;
	struct retrieval how;
	const json_t *filter;
	struct search_hits hits;
	json_t *list;
	struct search_ask ask;
	int64_t top_k;

	TRY(api__brand(req, AUTH_TURNS, &brand));
	TRY(http_body_json(req, &body));
	TRY(json_only_keys(body, known));
	TRY(json_field_str(body, "query", true, 16384, &query));
	TRY(json_field_int(body, "top_k", 1, 200, 10, &top_k));
	TRY(json_field_str(body, "mode", false, 16, &mode_name));
	TRY(retrieve_mode_parse(mode_name, &mode));
	filter = json_object_get(body, "filter");
	if (filter != NULL && !json_is_object(filter))
		return err_set(ERR_INVALID, "'filter' must be an object");
	ask = (struct search_ask){ .brand = brand,
		.query = query,
		.query_len = strlen(query),
		.top_k = (int)top_k,
		.filter = filter };
	TRY(retrieve_find(
	    product->search, product->embedder, mode, &ask, &hits, &how));
	list = json_array();
	for (size_t i = 0; i < hits.count; i++)
		json_array_append_new(list, hit_json(&hits.items[i]));
	search_hits_done(&hits);
	answer = json_pack("{s:o, s:s, s:b}", "hits", list, "mode", how.mode,
	    "degraded", how.degraded);
	return http_reply_json(req, 200, answer);
}
