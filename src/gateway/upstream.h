/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_GATEWAY_UPSTREAM_H
#define XIN_GATEWAY_UPSTREAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "domain/product.h"
#include "domain/turn.h"

/* The gateway's front to the orchestrator: a direct call of turn_accept when
 * there is a product, else HTTP to XIN_ORCHESTRATOR_URL. Same meaning as
 * turn_accept; both end in it. WAITS. */
enum err_code upstream_turn(struct product *product,
    const struct turn_request *request, json_t **answer_out,
    bool *duplicate_out, uint64_t *retry_after_ms_out);

#endif
