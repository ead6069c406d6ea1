/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call's place in the running trace: its CLIENT span and the header lines
 * that tell the other side. Each try of a call is a span of its own.
 */
#include "net/http_trace.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/span.h"
#include "base/str.h"

void
http__site(const char *url, char site[HTTP_SITE_SIZE])
{
	const char *host = strstr(url, "://");
	size_t len, at = 0;

	host = host == NULL ? url : host + 3;
	len = strcspn(host, "/?#");
	for (size_t i = 0; i < len; i++)
		if (host[i] == '@')
			at = i + 1;
	str_copy_n(site, HTTP_SITE_SIZE, host + at, len - at);
}

struct span *
http__trace_begin(const struct http_call *call)
{
	struct span *span;
	char host[HTTP_SITE_SIZE], url[512], *colon;
	size_t path;
	uint64_t port = 0;

	if (call->trace == HTTP_TRACE_NONE)
		return NULL;
	span = span_begin(SPAN_CLIENT, call->method);
	if (span == NULL)
		return NULL;
	http__site(call->url, host);
	path = strcspn(call->url, ":") + 3; /* no user, query or fragment */
	path += strcspn(call->url + path, "/?#");
	snprintf(url, sizeof(url), "%.*s://%s%.*s",
	    (int)strcspn(call->url, ":"), call->url, host,
	    (int)strcspn(call->url + path, "?#"), call->url + path);
	colon = strrchr(host, ':');
	if (colon != NULL && strchr(colon, ']') == NULL &&
	    str_to_u64(colon + 1, &port))
		*colon = '\0';
	if (port == 0)
		port = strncasecmp(call->url, "https", 5) == 0 ? 443 : 80;
	span_add(span, attr_str(ATTR_HTTP_METHOD, call->method),
	    attr_str(ATTR_URL_FULL, url), attr_str(ATTR_SERVER_ADDRESS, host),
	    attr_int(ATTR_SERVER_PORT, (int64_t)port));
	return span;
}

void
http__trace_end(struct span *span, enum err_code rc, int status)
{
	char type[16];

	if (span == NULL)
		return;
	if (rc == OK)
		span_add(span, attr_int(ATTR_HTTP_STATUS, status));
	if (rc == OK && status >= 400) {
		snprintf(type, sizeof(type), "%d", status);
		span_fail(span, type);
	}
	span_end(span, rc);
}

void
http__trace_lines(enum http_trace how, char *lines[HTTP_TRACE_LINES])
{
	const struct task *task = task_self();
	char parent[TRACE_PARENT_SIZE];

	if (how == HTTP_TRACE_NONE || !trace_parent(task, parent))
		return;
	*lines++ = mem_printf("traceparent: %s", parent);
	if (how != HTTP_TRACE_OURS)
		return;
	if (trace_state(task) != NULL)
		*lines++ = mem_printf("tracestate: %s", trace_state(task));
	if (trace_baggage(task) != NULL)
		*lines++ = mem_printf("baggage: %s", trace_baggage(task));
}
