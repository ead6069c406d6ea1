/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_VITALS_H
#define XIN_DOMAIN_VITALS_H

#include "base/error.h"
#include "base/task.h"
#include "domain/product.h"

/* Gauges of what stands around a process and must be asked: whether its
 * dependencies answer, how many sources there are, how deep the queue is.
 * Asked every XIN_VITALS_MS by a fiber of its own and kept, so that a scrape
 * waits for nobody. Also makes the series that alerts look at appear as 0. Of
 * one service (SERVICE_COUNT = `xin serve`, all of them); without a product
 * (the gateway alone) the dependency is the orchestrator. Blocks: not on a
 * loop. */
enum err_code vitals_start(struct product *product, enum service service);
/* Also when it was not started. */
void vitals_stop(void);

#endif
