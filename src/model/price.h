/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MODEL_PRICE_H
#define XIN_MODEL_PRICE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

/*
 * What models cost: XIN_MODEL_PRICES is "model=input/output, ...", prices of a
 * million prompt and completion tokens in XIN_MODEL_CURRENCY (ISO 4217), as
 * providers list them. Amounts are billionths of it: a token may cost less
 * than a millionth.
 */
#define PRICE_UNIT 1e9

struct price_list;
/* "" is an empty list. ERR_CONFIG names the entry and what it should be. */
enum err_code price_list_read(
    const char *prices, const char *currency, struct price_list **list_out);
void price_list_free(struct price_list *list);
const char *price_currency(const struct price_list *list);

struct price_cost {
	uint64_t prompt, completion; /* billionths of the currency's unit */
};
/* What a call cost, by the name that the provider answered with or else the one
 * that it was asked for (a provider answers "m-2026-01-31" for "m"). False when
 * neither has a price. Token counts below 0 are 0. */
bool price_of(const struct price_list *list, const char *answered,
    const char *asked, int64_t prompt_tokens, int64_t completion_tokens,
    struct price_cost *cost_out);

#endif
