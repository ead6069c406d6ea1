/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_KNOWLEDGE_WATCH_H
#define XIN_DOMAIN_KNOWLEDGE_WATCH_H

#include "base/error.h"
#include "domain/product.h"

/* Told by a worker each time it looks for jobs; leaves a sign that other
 * processes see. WAITS now and then. */
void knowledge_worker_seen(struct product *product);

/* Has a worker, of any process, looked for jobs within the last 45 seconds?
 * UNKNOWN when that cannot be asked. WAITS now and then. */
enum knowledge_readers { KNOWLEDGE_READ, KNOWLEDGE_UNREAD, KNOWLEDGE_UNKNOWN };
enum knowledge_readers knowledge_readers(struct product *product);

/* The orchestrator's watch over it: a gauge and a line in the log. Both are
 * called from outside the loops, stop before the loops end. */
enum err_code knowledge_watch_start(struct product *product);
void knowledge_watch_stop(void);

#endif
