/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TELEMETRY_SETTINGS_H
#define XIN_TELEMETRY_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/task.h"
#include "base/trace.h"
#include "net/http_client.h"

/*
 * What the OTEL_* settings say about traces. The runbook's own two come first:
 * OTEL_EXPORTER_ENDPOINT (a full URL, used as it is) and OTEL_EXPORTER_HEADERS;
 * then the standard ones, the traces' own before the general:
 * https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 * and https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
 */
#define SETTINGS_HEADERS_MAX 32

struct trace_settings {
	bool on;
	bool told_off; /* by a setting, not for want of an endpoint */
	char *url;
	char *headers[SETTINGS_HEADERS_MAX + 1]; /* "name: value", NULL-ended */
	struct http_tls tls;
	bool gzip;
	uint64_t timeout_ms;           /* of one request */
	uint64_t export_ms;            /* of one batch, retries counted in */
	uint64_t schedule_ms;          /* between two batches */
	uint64_t queue_max, batch_max; /* spans */
	struct trace_options context;
};

/* ERR_CONFIG names the setting and says what it must be. Malformed header pairs
 * are left out with a WARN each, as the runbook promises. */
enum err_code settings_read(struct trace_settings *settings_out);
void settings_done(struct trace_settings *settings);

/* The KeyValue fields (number 1) of a service's Resource message; each service
 * keeps its own service.name whatever the settings say. */
enum err_code settings_resource(enum service service, struct buf *out);

/* `key=value,...`: splits at the first "=", trims blanks, decodes %XX of the
 * value. `pair` gets each; a malformed pair calls it with value NULL and the
 * pair's place, from 1. Stops at the first error. */
typedef enum err_code (*settings_pair_fn)(
    void *arg, unsigned place, const char *key, const char *value);
enum err_code settings_pairs(
    const char *text, settings_pair_fn pair, void *arg);

#endif
