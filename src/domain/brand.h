/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_BRAND_H
#define XIN_DOMAIN_BRAND_H

#include <jansson.h>
#include "base/error.h"
#include "domain/auth.h"
#include "script/script.h"

/* A brand is a module of the active script generation: brands/<id>.lua. */

/* ERR_NOT_FOUND unless the active generation has it. */
enum err_code brand_exists(const char *brand);
/* {"brands":[{"id","title","languages","channels","direction"}]} of those that
 * the principal may see. WAITS. */
enum err_code brand_list(const struct principal *who, json_t **list_out);
/* A string that may be a table by language: field, field[language],
 * field.en, any. NULL when absent. */
const char *brand_sentence(
    const json_t *fields, const char *key, const char *language);

#endif
