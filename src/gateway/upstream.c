/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the orchestrator: in this process, or over HTTP. */
#include "gateway/upstream.h"

#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "net/http_client.h"
#include "net/url.h"

#define REPLY_MAX ((size_t)1 << 20)

static json_t *
request_body(const struct turn_request *request)
{
	json_t *body = json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:{s:s, s:s?}}",
	    "message", request->message, "channel", request->channel,
	    "conversation_id", request->conversation_id, "message_id",
	    request->message_id, "locale", request->locale, "user", "id",
	    request->user_id, "name", request->user_name);

	if (request->context != NULL)
		json_object_set(
		    body, "context", (json_t *)(uintptr_t)request->context);
	return body;
}

/* An error answer of the orchestrator is ours too: same code, same words. */
static enum err_code
read_error(const struct http_call_reply *reply, const json_t *body,
    uint64_t *retry_after_ms_out)
{
	const json_t *error = json_object_get(body, "error");
	const char *code = json_str(error, "code");
	const char *message = json_str(error, "message");
	char retry_after[16];
	uint64_t seconds;

	if (http_call_header(
		reply, "retry-after", retry_after, sizeof(retry_after)) &&
	    str_to_u64(retry_after, &seconds))
		*retry_after_ms_out = seconds * 1000;
	if (code == NULL || reply->status == 401 || reply->status == 403)
		return err_set(ERR_UPSTREAM, "the orchestrator answered %d: %s",
		    reply->status, message ? message : "no reason");
	return err_set(err_from_name(code), "%s", message ? message : code);
}

static enum err_code
call(const char *url, const char *const *headers, const json_t *body,
    json_t **answer_out, bool *duplicate_out, uint64_t *retry_after_ms_out)
{
	struct http_call_reply reply;
	json_t *answer = NULL;
	char *text = json_text(body), replayed[8];
	struct http_call http = {
		.method = "POST",
		.url = url,
		.headers = headers,
		.body = text,
		.body_len = strlen(text),
		.max_reply_bytes = REPLY_MAX,
		.trace = HTTP_TRACE_OURS,
	};
	enum err_code rc = http_call(&http, 0, &reply);

	mem_free(text);
	if (rc != OK)
		return err_add(rc, "orchestrator");
	rc = json_parse(buf_str(&reply.body), reply.body.len, &answer);
	if (reply.status != 200)
		rc = read_error(&reply, answer, retry_after_ms_out);
	else if (rc != OK)
		rc = err_set(ERR_UPSTREAM, "the orchestrator sent no JSON");
	*duplicate_out = http_call_header(
	    &reply, "idempotency-replayed", replayed, sizeof(replayed));
	http_call_reply_done(&reply);
	if (rc == OK)
		*answer_out = answer;
	else
		json_decref(answer);
	return rc;
}

static enum err_code
ask_http(const struct turn_request *request, json_t **answer_out,
    bool *duplicate_out, uint64_t *retry_after_ms_out)
{
	const struct task *task = task_self();
	const char *key = config_str(CFG_SERVICE_KEY);
	char id[REQUEST_ID_SIZE + 16], auth[512];
	const char *headers[] = { "Content-Type: application/json", id,
		key[0] ? auth : NULL, NULL };
	json_auto json_t *body = request_body(request);
	char *url;
	enum err_code rc;

	snprintf(id, sizeof(id), "X-Request-ID: %s", task->request_id);
	snprintf(auth, sizeof(auth), "Authorization: Bearer %.400s", key);
	url = mem_printf("%s/v1/brands/%s/turns",
	    config_str(CFG_ORCHESTRATOR_URL), request->brand);
	rc = call(
	    url, headers, body, answer_out, duplicate_out, retry_after_ms_out);
	mem_free(url);
	return rc;
}

enum err_code
upstream_turn(struct product *product, const struct turn_request *request,
    json_t **answer_out, bool *duplicate_out, uint64_t *retry_after_ms_out)
{
	/* The webhook's signature has proved who asks. */
	const struct principal gateway = { .admin = true };

	*retry_after_ms_out = 0;
	if (product == NULL)
		return ask_http(
		    request, answer_out, duplicate_out, retry_after_ms_out);
	return turn_accept(product, &gateway, request, NULL, answer_out,
	    duplicate_out, retry_after_ms_out);
}
