/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TELEMETRY_EXPORTER_H
#define XIN_TELEMETRY_EXPORTER_H

#include <stdint.h>
#include "base/error.h"
#include "telemetry/settings.h"

/*
 * Ships spans over OTLP/HTTP, protobuf, on a loop of its own. One request at a
 * time. Batches go when OTEL_BSP_SCHEDULE_DELAY has passed or as many spans as
 * a batch takes wait. Tried again, with jitter and Retry-After obeyed, on 429,
 * 502, 503, 504 and lost connections until OTEL_BSP_EXPORT_TIMEOUT; everything
 * else is dropped at once. Failing is said in one ERROR line, recovery in one
 * INFO line, and the rest is counted.
 */

/* `settings` stay the caller's, until exporter_stop. Spans are recorded from
 * here on. `service` is whose log lines and series they are. */
enum err_code exporter_start(
    const struct trace_settings *settings, enum service service);
/* Send what waits soon. */
void exporter_flush(void);
/* Once no thread records any more: ship what waits within that time, end. */
void exporter_stop(uint64_t within_ms);

#endif
