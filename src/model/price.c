/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prices of models: read once when the model is opened, asked after each call
 * (model.c), which counts xin_model_cost_total. Read only after that, so every
 * loop may ask.
 */
#include "model/price.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define PRICE_MODELS_MAX 64
#define PRICE_MAX        1e6 /* of a million tokens */
#define PRICE_HOW                                                              \
	"write model=input/output, prices of a million tokens, separated by "  \
	"commas: small=0.15/0.60,large=2.5/10"

struct price {
	char model[64];
	double prompt, completion; /* of one token, in billionths */
};

struct price_list {
	char currency[4];
	size_t count;
	struct price prices[PRICE_MODELS_MAX];
};

/* Digits with at most one point: no sign, exponent, "inf" or blanks. */
static bool
read_amount(const char *text, size_t len, double *out)
{
	char digits[24], *end;

	if (len == 0 || len >= sizeof(digits))
		return false;
	str_copy_n(digits, sizeof(digits), text, len);
	if (strspn(digits, "0123456789.") != len ||
	    strcspn(digits, "0123456789") == len)
		return false;
	*out = strtod(digits, &end);
	return *end == '\0' && *out <= PRICE_MAX;
}

/* A model's name may hold "/" and "=": the last "=" ends it. */
static bool
read_entry(const char *text, size_t len, struct price *out)
{
	char entry[128], *equals, *slash;
	double prompt, completion;

	if (!str_copy_n(entry, sizeof(entry), text, len))
		return false;
	equals = strrchr(entry, '=');
	slash = equals != NULL ? strchr(equals, '/') : NULL;
	if (slash == NULL || equals == entry)
		return false;
	*equals = '\0';
	if (!str_copy(out->model, sizeof(out->model), entry) ||
	    !read_amount(equals + 1, (size_t)(slash - equals - 1), &prompt) ||
	    !read_amount(slash + 1, strlen(slash + 1), &completion))
		return false;
	out->prompt = prompt * PRICE_UNIT / 1e6;
	out->completion = completion * PRICE_UNIT / 1e6;
	return true;
}

static const struct price *
find(const struct price_list *list, const char *model)
{
	for (size_t i = 0; model != NULL && i < list->count; i++)
		if (str_eq(list->prices[i].model, model))
			return &list->prices[i];
	return NULL;
}

static enum err_code
read_all(const char *text, struct price_list *list)
{
	for (size_t len; *text != '\0'; text += len + (text[len] == ',')) {
		struct price *next = &list->prices[list->count];

		text += strspn(text, " ");
		len = strcspn(text, ",");
		if (list->count == PRICE_MODELS_MAX)
			return err_set(ERR_CONFIG,
			    "XIN_MODEL_PRICES has over %d models",
			    PRICE_MODELS_MAX);
		if (!read_entry(text, len, next))
			return err_set(ERR_CONFIG,
			    "XIN_MODEL_PRICES has \"%.*s\"; " PRICE_HOW,
			    (int)(len < 80 ? len : 80), text);
		if (find(list, next->model) != NULL)
			return err_set(ERR_CONFIG,
			    "XIN_MODEL_PRICES names %s twice", next->model);
		list->count++;
	}
	return OK;
}

enum err_code
price_list_read(
    const char *prices, const char *currency, struct price_list **list_out)
{
	struct price_list *list;
	enum err_code rc;

	if (strlen(currency) != 3 ||
	    strspn(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3)
		return err_set(ERR_CONFIG,
		    "XIN_MODEL_CURRENCY is \"%s\"; it must be an ISO 4217 "
		    "code such as USD",
		    currency);
	list = mem_zero(sizeof(*list));
	str_copy(list->currency, sizeof(list->currency), currency);
	rc = read_all(prices, list);
	if (rc != OK) {
		mem_free(list);
		return rc;
	}
	*list_out = list;
	return OK;
}

void
price_list_free(struct price_list *list)
{
	mem_free(list);
}

const char *
price_currency(const struct price_list *list)
{
	return list->currency;
}

static uint64_t
amount(double price, int64_t tokens)
{
	return tokens > 0 ? (uint64_t)llround(price * (double)tokens) : 0;
}

bool
price_of(const struct price_list *list, const char *answered, const char *asked,
    int64_t prompt_tokens, int64_t completion_tokens,
    struct price_cost *cost_out)
{
	const struct price *price = find(list, answered);

	if (price == NULL)
		price = find(list, asked);
	if (price == NULL)
		return false;
	cost_out->prompt = amount(price->prompt, prompt_tokens);
	cost_out->completion = amount(price->completion, completion_tokens);
	return true;
}
