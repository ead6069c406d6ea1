/* SPDX-License-Identifier: Apache-2.0 */
/* Health and metrics, the same on every port. */
#include "domain/service_api.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/task.h"
#include "object/object.h"
#include "script/script.h"
#include "store/store.h"

static atomic_bool draining;
static enum service process_owner = SERVICE_ORCHESTRATOR;

void
service_drain(void)
{
	atomic_store(&draining, true);
}

void
service_process_owner(enum service service)
{
	process_owner = service;
}

static void
add_check(json_t *checks, const char *name, enum err_code rc, bool *ready)
{
	json_object_set_new(checks, name,
	    rc == OK ? json_string("ok") : json_string(err_message()));
	if (rc != OK)
		*ready = false;
}

enum err_code
service_health(struct http_request *req, void *arg)
{
	struct product *product = arg;
	json_t *checks = json_object();
	struct script_generation *gen;
	json_auto json_t *body = NULL;
	bool ready = !atomic_load(&draining);

	if (!ready)
		json_object_set_new(checks, "process", json_string("draining"));
	if (product != NULL) {
		add_check(checks, "store", store_ping(product->store), &ready);
		add_check(
		    checks, "objects", object_ping(product->objects), &ready);
		gen = script_active();
		add_check(checks, "scripts",
		    gen != NULL ? OK
				: err_set(ERR_UNAVAILABLE, "none are active"),
		    &ready);
		script_generation_unref(gen);
	}
	body = json_pack("{s:s, s:s, s:s, s:o}", "status",
	    ready ? "ok" : "unavailable", "service",
	    service_name(task_self()->service), "version", XIN_VERSION,
	    "checks", checks);
	return http_reply_json(req, ready ? 200 : 503, body);
}

enum err_code
service_live(struct http_request *req, void *arg)
{
	static const char body[] = "{\"status\":\"ok\"}";

	(void)arg;
	return http_reply(req, 200, "application/json", body, sizeof(body) - 1);
}

/* Prometheus' Accept is a list with weights; it puts OpenMetrics first when it
 * understands it, and no other client names it. */
static bool
wants_openmetrics(const struct http_request *req)
{
	const char *accept = http_header(req, "accept");

	return accept != NULL &&
	       strstr(accept, "application/openmetrics-text") != NULL;
}

enum err_code
service_metrics(struct http_request *req, void *arg)
{
	enum service service = task_self()->service;
	bool openmetrics = wants_openmetrics(req);
	struct buf out;
	enum err_code rc;

	(void)arg;
	if (!metric_is_on())
		return err_set(
		    ERR_NOT_FOUND, "metrics are off here (XIN_METRICS=off)");
	buf_init(&out, 0);
	metric_expose(service, service == process_owner, openmetrics, &out);
	rc = http_reply(req, 200,
	    openmetrics ? "application/openmetrics-text; version=1.0.0; "
			  "charset=utf-8"
			: "text/plain; version=0.0.4; charset=utf-8",
	    buf_str(&out), out.len);
	buf_done(&out);
	return rc;
}

enum err_code
service_exporter_open(struct product *product, enum service service,
    const char *host, int port, struct http_server **server_out)
{
	static const struct http_route routes[] = {
		{ HTTP_M_GET, "/health", HTTP_BODY_NONE, service_health },
		{ HTTP_M_GET, "/health/live", HTTP_BODY_NONE, service_live },
		{ HTTP_M_GET, "/metrics", HTTP_BODY_NONE, service_metrics },
		{ 0 },
	};
	char listen[300];
	struct http_options options = {
		.listen = listen,
		.service = service,
		.routes = routes,
		.arg = product,
		.single = true,
	};
	enum err_code rc;

	snprintf(listen, sizeof(listen), "%s:%d", host, port);
	rc = http_server_open(&options, server_out);
	if (rc == ERR_CONFLICT) {
		log_warn("metrics exporter disabled; port in use",
		    kv_str("address", listen),
		    kv_str("exporter", service_name(service)));
		*server_out = NULL;
		return OK;
	}
	return rc;
}
