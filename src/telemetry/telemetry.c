/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tracing at start: the sentences that operators grep for. Spans are given ids
 * and go into log lines and headers; shipping them is not part of this version,
 * and the log says so when an endpoint is set.
 */
#include "telemetry/telemetry.h"

#include "base/config.h"
#include "base/log.h"
#include "base/str.h"

enum err_code
telemetry_init_tracing(enum service service)
{
	const char *endpoint = config_str(CFG_OTEL_ENDPOINT);
	struct task task, *before = task_self();

	if (endpoint[0] != '\0' && !str_starts(endpoint, "http://") &&
	    !str_starts(endpoint, "https://"))
		return err_set(ERR_CONFIG,
		    "OTEL_EXPORTER_ENDPOINT is \"%s\"; it must be a URL such as "
		    "http://otel-collector:4318/v1/traces",
		    endpoint);
	task_init(&task, service);
	task_enter(&task);
	if (endpoint[0] == '\0')
		log_warn("distributed tracing disabled; no OTLP endpoint "
			 "configured");
	else
		log_warn("telemetry.exporter_missing",
		    kv_str("reason", "this version ships no OTLP exporter; "
				     "OTEL_EXPORTER_ENDPOINT is not used"));
	log_info("tracing disabled; operating without OTLP exporter");
	task_enter(before);
	task_done(&task);
	return OK;
}
