/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_WORKER_WORKER_H
#define XIN_WORKER_WORKER_H

#include <stdint.h>
#include "base/error.h"
#include "domain/product.h"

/*
 * The ingestion worker: XIN_WORKER_JOBS fibers that take jobs from the queue,
 * each with a heartbeat that renews its leases, and one fiber that finds rows
 * whose job was lost.
 */
enum err_code worker_start(struct product *product);
/* Take no more jobs; cancel what runs (its leases go back). Blocks up to
 * drain_ms; main thread. */
void worker_stop(uint64_t drain_ms);

#endif
