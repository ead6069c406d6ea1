/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call to a provider: wait for its pace, post, try again where that can
 * help. What its errors mean is said in provider_error.c.
 */
#include "model/provider.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "model/bucket.h"
#include "model/provider_internal.h"
#include "net/http_client.h"

#define ATTEMPTS       4
#define RETRY_FIRST_MS 500
#define RETRY_LAST_MS  8000
/* A provider that asks for more is as good as down. */
#define RETRY_AFTER_MAX_MS 120000
#define ERROR_MAX          ((size_t)64 << 10)

/* ---- the provider ---- */

static bool
good_url(const char *url)
{
	size_t scheme = str_starts(url, "https://")  ? 8
			: str_starts(url, "http://") ? 7
						     : 0;

	return scheme > 0 && url[scheme] != '\0' && url[scheme] != '/' &&
	       strpbrk(url, " \r\n\t?#@") == NULL;
}

enum err_code
model__provider_open(const struct provider_names *names, const char *url,
    const char *key, struct provider **provider_out)
{
	/* Azure takes a resource's key under its own name. */
	bool azure = strstr(url, ".openai.azure.com/") != NULL;
	struct provider *p;
	size_t len = strlen(url);

	if (!good_url(url))
		return err_set(ERR_CONFIG,
		    "%s must be a base URL as https://host/v1, without user, "
		    "query or fragment; the key goes into %s",
		    names->url, names->key);
	if (strpbrk(key, "\r\n") != NULL)
		return err_set(ERR_CONFIG, "%s holds a line break", names->key);
	while (len > 0 && url[len - 1] == '/')
		len--;
	p = mem_zero(sizeof(*p));
	p->names = *names;
	p->url = mem_strndup(url, len);
	if (key[0] != '\0')
		p->auth = mem_printf(
		    azure ? "api-key: %s" : "Authorization: Bearer %s", key);
	p->bucket = model__bucket_ref(p->url, key, config_int(CFG_MODEL_RATE));
	*provider_out = p;
	return OK;
}

void
model__provider_close(struct provider *p)
{
	if (p == NULL)
		return;
	model__bucket_unref(p->bucket);
	mem_free(p->url);
	mem_free(p->auth);
	mem_free(p);
}

/* ---- one attempt ---- */

/* Seconds, as a number or a date (RFC 9110 10.2.3), or retry-after-ms; 0 when
 * there is none. */
static uint64_t
retry_after_ms(const struct http_call_reply *reply)
{
	struct tm tm = { 0 };
	char text[64], *end;
	double number;
	time_t at;

	if (http_call_header(reply, "retry-after-ms", text, sizeof(text))) {
		number = strtod(text, &end);
		if (end != text && number > 0)
			return (uint64_t)fmin(ceil(number), 1e9);
	}
	if (!http_call_header(reply, "retry-after", text, sizeof(text)))
		return 0;
	number = strtod(text, &end);
	if (end != text && *end == '\0')
		return number > 0 ? (uint64_t)fmin(ceil(number * 1000), 1e9)
				  : 0;
	if (strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) == NULL)
		return 0;
	at = timegm(&tm);
	number = (double)at * 1000 - (double)clock_wall_ms();
	return number > 0 ? (uint64_t)fmin(number, 1e9) : 0;
}

struct outcome {
	bool again;         /* another attempt may help */
	uint64_t after_ms;  /* not before */
	const char *reason; /* for the metric; a literal */
};

/* The provider may know better than its status whether to come again. */
static void
heed_wish(const struct http_call_reply *reply, struct outcome *outcome)
{
	char wish[8];

	if (http_call_header(reply, "x-should-retry", wish, sizeof(wish)))
		outcome->again = strcmp(wish, "true") == 0;
}

static enum err_code
try_once(struct provider *p, const struct provider_call *call,
    uint64_t deadline_ms, struct outcome *outcome)
{
	const char *headers[] = { "Content-Type: application/json",
		"Accept: application/json, text/event-stream", p->auth, NULL };
	char *url = mem_printf("%s%s", p->url, call->path);
	const struct http_call http = {
		.method = "POST",
		.url = url,
		.headers = headers,
		.body = call->body,
		.body_len = call->body_len,
		.max_reply_bytes = call->max_reply_bytes,
		.max_error_bytes = ERROR_MAX,
		.on_data = call->on_data,
		.arg = call->arg,
		.idle_ms = call->idle_ms,
	};
	struct http_call_reply reply;
	enum err_code rc;

	*outcome = (struct outcome){ .reason = "connection" };
	call->restart(call->arg);
	rc = http_call(&http, deadline_ms, &reply);
	mem_free(url);
	outcome->again = rc == ERR_UNAVAILABLE;
	if (rc != OK)
		return rc;
	outcome->after_ms = retry_after_ms(&reply);
	if (reply.status / 100 != 2) {
		rc = model__provider_status(
		    p, call->model, reply.status, &reply.body, &outcome->again);
		outcome->reason =
		    reply.status == 429 ? "rate_limited" : "status";
		heed_wish(&reply, outcome);
	}
	http_call_reply_done(&reply);
	return rc;
}

/* ---- the call ---- */

static enum err_code
pace(struct provider *p, uint64_t deadline_ms)
{
	uint64_t wait_ms;

	TRY(model__bucket_take(
	    p->bucket, deadline_left_ms(deadline_ms), &wait_ms));
	return wait_ms > 0 ? fiber_sleep(wait_ms) : OK;
}

/* Sleep before the next attempt; false when there will be none. */
static bool
may_retry(struct provider *p, const struct provider_call *call, int attempt,
    const struct outcome *outcome, uint64_t deadline_ms)
{
	uint64_t wait_ms =
	    backoff_ms((unsigned)attempt + 1, RETRY_FIRST_MS, RETRY_LAST_MS);

	if (outcome->after_ms > 0)
		model__bucket_hold(
		    p->bucket, outcome->after_ms < RETRY_AFTER_MAX_MS
				   ? outcome->after_ms
				   : RETRY_AFTER_MAX_MS);
	if (outcome->after_ms > wait_ms)
		wait_ms = outcome->after_ms;
	if (!outcome->again || attempt + 1 == ATTEMPTS ||
	    call->taken(call->arg) || wait_ms > RETRY_AFTER_MAX_MS ||
	    wait_ms >= deadline_left_ms(deadline_ms))
		return false;
	metric_count(
	    METRIC_PROVIDER_RETRIES, LABELS(p->names.api, outcome->reason), 1);
	log_warn("model.retried", kv_str("api", p->names.api),
	    kv_str("model", call->model), kv_int("attempt", attempt + 1),
	    kv_int("wait_ms", (int64_t)wait_ms),
	    kv_error("error", err_message()));
	return fiber_sleep(wait_ms) == OK;
}

enum err_code
model__provider_post(
    struct provider *p, const struct provider_call *call, uint64_t deadline_ms)
{
	const struct task *task = task_self();
	enum err_code rc;

	if (task != NULL)
		deadline_ms = deadline_min(deadline_ms, task->deadline_ms);
	deadline_ms = deadline_min(
	    deadline_ms, deadline_in_ms((uint64_t)config_int(CFG_MODEL_MS)));
	for (int attempt = 0;; attempt++) {
		struct outcome outcome;

		TRY(pace(p, deadline_ms));
		rc = try_once(p, call, deadline_ms, &outcome);
		if (rc == OK ||
		    !may_retry(p, call, attempt, &outcome, deadline_ms))
			return fiber_cancelled() ? err_set(ERR_CANCELLED,
						       "the call was cancelled")
						 : rc;
	}
}
