/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request to Qdrant: envelope, errors that name the server, and patience.
 * Every request of ours can be repeated: points have fixed ids, deletes go by
 * filter. So whatever may pass by itself is tried again with growing pauses.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "net/http_client.h"
#include "search/search_qdrant.h"

#define PAUSE_FIRST_MS 100
#define PAUSE_LAST_MS  5000
#define SERVER_MAX     200 /* bytes of the server's own sentence */

/* {"status":{"error":"..."}}, or the text of a proxy on the way; false when the
 * sentence is not Qdrant's. */
static bool
server_says(const struct http_call_reply *reply, char *out, size_t size)
{
	json_auto json_t *body = NULL;
	const char *said = NULL;
	struct error kept;

	err_save(&kept);
	if (json_parse(reply->body.data ? reply->body.data : "",
		reply->body.len, &body) == OK)
		said = json_str(json_object_get(body, "status"), "error");
	err_restore(&kept);
	str_copy(out, size, said != NULL ? said : buf_str(&reply->body));
	for (size_t n = strlen(out); n > 0 && !str_is_utf8(out, n);)
		out[--n] = '\0';
	return said != NULL && said[0] != '\0';
}

static enum err_code
refused(const struct qdrant *qdrant, const struct http_call_reply *reply)
{
	char said[SERVER_MAX];
	int status = reply->status;
	bool known = server_says(reply, said, sizeof(said));

	if (status == 401 || status == 403)
		return err_set(ERR_CONFIG,
		    "vector server %s refuses our key (HTTP %d): check "
		    "QDRANT_API_KEY",
		    qdrant->url, status);
	if (status == 429 || status == 408 || status >= 500)
		return err_set(ERR_UNAVAILABLE, "vector server %s: HTTP %d: %s",
		    qdrant->url, status, said);
	/* What it has not, it names; what it knows not, it does not. */
	if (status == 404 && !known)
		return err_set(ERR_CONFIG,
		    "vector server %s does not know this request: is it Qdrant "
		    "1.12 or newer, and is the URL right?",
		    qdrant->url);
	return err_set(status == 404   ? ERR_NOT_FOUND
		       : status == 409 ? ERR_CONFLICT
				       : ERR_UPSTREAM,
	    "vector server %s: HTTP %d: %s", qdrant->url, status, said);
}

static enum err_code
understood(const struct qdrant *qdrant, const struct http_call_reply *reply,
    json_t **result_out)
{
	json_auto json_t *body = NULL;
	json_t *result;

	if (reply->body.data == NULL ||
	    json_parse(reply->body.data, reply->body.len, &body) != OK ||
	    (result = json_object_get(body, "result")) == NULL)
		return err_set(ERR_UPSTREAM,
		    "vector server %s: the answer is not Qdrant's: is the URL "
		    "right?",
		    qdrant->url);
	if (result_out != NULL)
		*result_out = json_incref(result);
	return OK;
}

/* One try. *pause_out: milliseconds that the server asked for, 0 = none. */
static enum err_code
attempt(struct qdrant *qdrant, const struct http_call *call,
    uint64_t deadline_ms, uint64_t *pause_out, json_t **result_out)
{
	struct http_call_reply reply;
	char after[16];
	enum err_code rc = http_call(call, deadline_ms, &reply);
	uint64_t seconds;

	*pause_out = 0;
	if (rc != OK)
		return err_add(rc, "vector server");
	if (reply.status / 100 == 2)
		rc = understood(qdrant, &reply, result_out);
	else
		rc = refused(qdrant, &reply);
	if (reply.status == 429 &&
	    http_call_header(&reply, "retry-after", after, sizeof(after)) &&
	    str_to_u64(after, &seconds) && seconds < 3600)
		*pause_out = seconds * 1000;
	http_call_reply_done(&reply);
	return rc;
}

/* Growing pauses, with a part of chance so that replicas do not march in step;
 * false when the deadline would come first. */
static bool
rest(unsigned tries, uint64_t asked_ms, uint64_t deadline_ms)
{
	uint64_t pause = backoff_ms(tries + 1, PAUSE_FIRST_MS, PAUSE_LAST_MS);

	if (pause < asked_ms)
		pause = asked_ms;
	if (pause >= deadline_left_ms(deadline_ms))
		return false;
	return fiber_sleep(pause) == OK;
}

uint64_t
search__qdrant_deadline(uint64_t ms)
{
	return deadline_min(deadline_in_ms(ms), task_self()->deadline_ms);
}

static enum err_code
converse(struct qdrant *qdrant, const char *method, const char *path,
    const struct buf *body, unsigned tries, uint64_t deadline_ms,
    json_t **result_out)
{
	const char *headers[] = { "Content-Type: application/json",
		qdrant->key_header, NULL };
	char *url = mem_printf(
	    "%s/collections/%s%s", qdrant->url, qdrant->collection, path);
	const struct http_call call = {
		.method = method,
		.url = url,
		.headers = headers,
		.body = body != NULL ? body->data : NULL,
		.body_len = body != NULL ? body->len : 0,
		.max_reply_bytes = QDRANT_REPLY_MAX,
	};
	struct error why;
	enum err_code rc;
	uint64_t pause;

	for (unsigned tried = 0;; tried++) {
		rc = attempt(qdrant, &call, deadline_ms, &pause, result_out);
		metric_count(METRIC_VECTOR_CALLS, LABELS(err_name(rc)), 1);
		if (rc != ERR_UNAVAILABLE || tried + 1 == tries)
			break;
		err_save(&why);
		if (!rest(tried, pause, deadline_ms)) {
			err_restore(&why);
			break;
		}
	}
	mem_free(url);
	return rc;
}

enum err_code
search__qdrant_read(struct qdrant *qdrant, const char *path,
    const struct buf *body, uint64_t deadline_ms, json_t **result_out)
{
	return converse(qdrant, body != NULL ? "POST" : "GET", path, body,
	    QDRANT_READ_TRIES, deadline_ms, result_out);
}

enum err_code
search__qdrant_write(struct qdrant *qdrant, const char *method,
    const char *path, const struct buf *body)
{
	return converse(qdrant, method, path, body, QDRANT_WRITE_TRIES,
	    search__qdrant_deadline(QDRANT_WRITE_MS), NULL);
}
