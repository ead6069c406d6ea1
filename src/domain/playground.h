/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_PLAYGROUND_H
#define XIN_DOMAIN_PLAYGROUND_H

#include <jansson.h>
#include "base/error.h"
#include "domain/product.h"

/*
 * Scripts that are not live, tried by their authors: a message through a whole
 * turn, or a text through one guardrail, every step shown, nothing stored.
 * `body`: {"message", "user"?} or {"guard", "text", "stage"?, "settings"?}, and
 * "files"? ({"brands/alpha.lua": text}) over the active generation.
 * *answer_out: {"generation","ok","errors","steps":[{"step","data"}],"turn"?,
 * "text"?}. Edits are checked first; `ok` is false when they would be refused.
 * WAITS.
 */
enum err_code playground_run(struct product *product, const char *brand,
    const json_t *body, json_t **answer_out);

#endif
