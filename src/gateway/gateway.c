/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's routes and its listener. */
#include "gateway/gateway.h"

#include "base/mem.h"
#include "domain/service_api.h"
#include "gateway/webhook.h"

const struct http_route gateway_routes[] = {
	{ HTTP_M_GET, "/health", HTTP_BODY_NONE, service_health },
	{ HTTP_M_GET, "/health/live", HTTP_BODY_NONE, service_live },
	{ HTTP_M_GET, "/metrics", HTTP_BODY_NONE, service_metrics },
	{ HTTP_M_POST, "/webchat/webhook", HTTP_BODY_SMALL, webhook_receive },
	{ HTTP_M_POST, "/webchat/{brand}/webhook", HTTP_BODY_SMALL,
	    webhook_receive },
	{ 0 },
};

/* Of the one gateway that a process has; lives as long as the process. */
static struct http_route *table;

static size_t
count(const struct http_route *routes)
{
	size_t n = 0;

	while (routes[n].template != NULL)
		n++;
	return n;
}

enum err_code
gateway_open(struct product *product, const char *listen,
    const struct http_route *more,
    enum err_code (*before)(struct http_request *req, void *arg),
    struct http_server **server_out)
{
	size_t own = count(gateway_routes), n = own;
	struct http_options options = {
		.listen = listen,
		.service = SERVICE_GATEWAY,
		.arg = product,
		.before = before,
	};

	mem_free(table);
	table = mem_zero((own + (more ? count(more) : 0) + 1) * sizeof(*table));
	memcpy(table, gateway_routes, own * sizeof(*table));
	for (; more != NULL && more->template != NULL; more++)
		if (strncmp(more->template, "/v1/", 4) == 0)
			table[n++] = *more;
	options.routes = table;
	return http_server_open(&options, server_out);
}
