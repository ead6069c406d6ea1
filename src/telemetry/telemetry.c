/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tracing at start and stop, and the sentences that operators grep for: the
 * runbook promises each of them to the letter.
 */
#include "telemetry/telemetry.h"

#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/log.h"
#include "base/span.h"
#include "telemetry/exporter.h"
#include "telemetry/settings.h"

static struct {
	bool read;
	struct trace_settings settings;
	char shown[256];
} tracing;

static void
say_off(void)
{
	if (!tracing.settings.told_off)
		log_warn("distributed tracing disabled; no OTLP endpoint "
			 "configured");
	log_info("tracing disabled; operating without OTLP exporter");
}

/* Scheme, host, port and path: user and query may hold secrets. */
static void
show_endpoint(const char *url)
{
	const char *host = strstr(url, "://") + 3;
	size_t authority = strcspn(host, "/?"), skip = 0;

	for (size_t i = 0; i < authority; i++)
		if (host[i] == '@')
			skip = i + 1;
	snprintf(tracing.shown, sizeof(tracing.shown), "%.*s%.*s",
	    (int)(host - url), url, (int)(strcspn(host, "?") - skip),
	    host + skip);
}

/* A collector that takes it has everything right: address, path, headers. It
 * is recorded whatever the sampler says. */
static void
send_probe(void)
{
	const struct trace_headers nobody = { 0 };
	struct span *span;

	trace_enter(task_self(), &nobody);
	task_self()->trace_flags |= TRACE_SAMPLED;
	span = span_begin(SPAN_INTERNAL, "tracing.probe");
	log_info("tracing initialised", kv_str("endpoint", tracing.shown));
	span_end(span, OK);
	task_self()->trace_id[0] = task_self()->span_id[0] = '\0';
	exporter_flush();
	log_info("tracing active");
}

static enum err_code
read_settings(enum service service)
{
	if (tracing.read)
		return OK;
	TRY(settings_read(&tracing.settings));
	tracing.read = true;
	trace_setup(&tracing.settings.context);
	if (!tracing.settings.on)
		return OK;
	show_endpoint(tracing.settings.url);
	return exporter_start(&tracing.settings, service);
}

enum err_code
telemetry_init_tracing(enum service service)
{
	struct task task, *before = task_self();
	enum err_code rc;

	task_init(&task, service);
	task_enter(&task);
	rc = read_settings(service);
	if (rc == OK && tracing.settings.on)
		send_probe();
	else if (rc == OK)
		say_off();
	task_enter(before);
	if (rc != OK)
		err_restore(&task.error);
	task_done(&task);
	return rc;
}

bool
telemetry_is_tracing(void)
{
	return tracing.settings.on;
}

const char *
telemetry_endpoint(void)
{
	return tracing.settings.on ? tracing.shown : "";
}

void
telemetry_stop(uint64_t within_ms)
{
	if (tracing.settings.on)
		exporter_stop(within_ms);
	settings_done(&tracing.settings);
	tracing.read = false;
}
