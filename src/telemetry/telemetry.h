/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TELEMETRY_TELEMETRY_H
#define XIN_TELEMETRY_TELEMETRY_H

#include "base/error.h"
#include "base/task.h"

/* Called once for each service at start (the runbook's
 * chatbot.core.telemetry.init_tracing). Says in the log whether spans leave
 * the process. ERR_CONFIG when the endpoint is malformed. */
enum err_code telemetry_init_tracing(enum service service);

#endif
