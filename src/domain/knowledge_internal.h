/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_KNOWLEDGE_INTERNAL_H
#define XIN_DOMAIN_KNOWLEDGE_INTERNAL_H

#include <jansson.h>
#include <stdint.h>

#include "domain/product.h"
#include "store/store.h"

/* Shared by knowledge_view.c, knowledge_explain.c and ingest.c. New references.
 */
json_t *knowledge__time(int64_t wall_ms);  /* RFC 3339, or null for 0 */
json_t *knowledge__text(const char *text); /* null for "" and NULL */
json_t *knowledge__error(const struct source *source);
/* {"reason","queue_position","next_attempt_at","dependency"} or null. WAITS. */
json_t *knowledge__waiting_on(
    struct product *product, const struct source *source);
/* The service whose failure the row tells of, or NULL. */
const char *knowledge__dependency(const struct source *source);
/* The same of an error's sentence. */
const char *knowledge__dependency_of(const char *message);

#endif
