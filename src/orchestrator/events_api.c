/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/events: what happens in this process, as it happens. */
#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "domain/brand.h"
#include "domain/feed.h"
#include "orchestrator/api.h"

#define PING_MS 10000
/* Browsers and xin tail come back by themselves. */
#define WATCH_MS (3600 * 1000)

/* Administrators watch everything, others a brand of theirs. */
static enum err_code
whose(struct http_request *req, const char **brand_out)
{
	const char *brand = http_query(req, "brand");

	*brand_out = brand;
	if (brand == NULL)
		return auth_admin(api__who(req));
	TRY(brand_exists(brand));
	return auth_allow(api__who(req), AUTH_BRAND, brand);
}

static enum err_code
send_event(struct http_request *req, const struct feed_event *event)
{
	char id[24], dropped[48];

	if (event->dropped > 0) {
		snprintf(dropped, sizeof(dropped), "{\"count\":%lld}",
		    (long long)event->dropped);
		TRY(http_sse_send(req, "dropped", NULL, dropped));
	}
	snprintf(id, sizeof(id), "%lld", (long long)event->number);
	return http_sse_send(req, event->name, id, event->data);
}

HANDLER(api__events)
{
	const char *brand, *kind = http_query(req, "kind");
	int64_t after = feed_now();
	struct feed_event event;
	enum err_code rc;

	TRY(whose(req, &brand));
	if (kind != NULL && !str_is_name(kind))
		return err_set(ERR_INVALID, "kind is not a name");
	TRY(api__last_event_id(req, &after));
	task_self()->deadline_ms = deadline_in_ms(WATCH_MS);
	rc = http_sse_begin(req);
	if (rc == OK)
		rc = http_sse_ping(req); /* it watches from now on */
	while (rc == OK) {
		rc = feed_next(
		    brand, kind, after, deadline_in_ms(PING_MS), &event);
		if (rc == OK) {
			after = event.number;
			rc = send_event(req, &event);
			mem_free(event.data);
		} else if (rc == ERR_DEADLINE &&
			   deadline_left_ms(task_self()->deadline_ms) > 0) {
			rc = http_sse_ping(req);
		}
	}
	return rc == ERR_DEADLINE || rc == ERR_CLOSED ? http_stream_end(req)
						      : rc;
}
