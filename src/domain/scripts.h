/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_SCRIPTS_H
#define XIN_DOMAIN_SCRIPTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "domain/product.h"

/*
 * Script generations in service: watch the folder, snapshot, check in a child,
 * switch all loops or none, keep the last good one. One fiber on loop 0 does
 * it; everybody else asks it.
 */

/* Activate what the folder holds; when that is bad, the last good generation
 * from the store (degraded); ERR_SCRIPT when there is neither. Starts the
 * watching fiber. `product` NULL: nothing is kept. Blocks: main thread. */
enum err_code scripts_start(struct product *product);
void scripts_stop(void);

/* Look at the folder now. *accepted_out false = the old one keeps answering;
 * scripts_status says why. ERR_CONFLICT while pinned. Safe from every loop.
 * WAITS. */
enum err_code scripts_reload(bool *accepted_out);
/* Back to the generation before the active one; the folder's hash is not tried
 * again until it changes. ERR_CONFLICT when there is none. WAITS. */
enum err_code scripts_rollback(void);
/* Hold the active generation (or let go): no reload while pinned. */
enum err_code scripts_pin(bool pinned);
/* Check the folder without activating; the report as JSON. WAITS. */
enum err_code scripts_check_folder(json_t **report_out);
/* {"active","previous","last_attempt","brands","loops","pinned","degraded"} */
enum err_code scripts_status(json_t **status_out);

#endif
