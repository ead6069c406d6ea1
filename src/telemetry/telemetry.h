/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TELEMETRY_TELEMETRY_H
#define XIN_TELEMETRY_TELEMETRY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/task.h"

/*
 * Tracing of the process (the runbook's chatbot.core.telemetry.init_tracing).
 * Called once for each service at start, from the main thread; the first call
 * starts the exporter. With an endpoint: a probe span of the service is sent at
 * once, and the log says `tracing initialised` and `tracing active`; without
 * one, that tracing is disabled. Never both.
 * ERR_CONFIG when a setting is malformed; a collector that cannot be reached is
 * no error here.
 */
enum err_code telemetry_init_tracing(enum service service);
/* Do spans leave the process? */
bool telemetry_is_tracing(void);
/* The endpoint without user and query; "" when tracing is off. */
const char *telemetry_endpoint(void);
/* After the loops have ended: ship what waits within that time. */
void telemetry_stop(uint64_t within_ms);

#endif
