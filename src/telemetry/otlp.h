/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TELEMETRY_OTLP_H
#define XIN_TELEMETRY_OTLP_H

#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "telemetry/span_queue.h"

/*
 * Messages of OTLP 1.x (opentelemetry-proto, docs/specification.md), and gzip.
 */

/* ExportTraceServiceRequest: one ResourceSpans for each service that has spans;
 * `resources` hold the fields of their Resource messages. */
void otlp_request(const struct span_batch *batch,
    const struct buf resources[SERVICE_COUNT], struct buf *out);

struct otlp_answer {
	int64_t rejected;
	char message[200]; /* printable ASCII; "" = none */
};
/* ExportTraceServiceResponse; what cannot be read counts as full success, as
 * does an empty body. */
void otlp_answer(const void *data, size_t len, struct otlp_answer *out);

/* RFC 1952; *out is replaced. */
void otlp_gzip(const void *data, size_t len, struct buf *out);

#endif
