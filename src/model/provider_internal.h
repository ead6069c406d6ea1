/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MODEL_PROVIDER_INTERNAL_H
#define XIN_MODEL_PROVIDER_INTERNAL_H

#include "base/buf.h"
#include "model/provider.h"

/* Shared by provider.c and provider_error.c. */
struct model_bucket;
struct provider {
	struct provider_names names;
	char *url;  /* without a slash at its end */
	char *auth; /* the whole header line; NULL = no key */
	struct model_bucket *bucket;
};
/* What a status other than 200 means; *again_out: another attempt may help. */
enum err_code model__provider_status(const struct provider *provider,
    const char *model, int status, const struct buf *body, bool *again_out);

#endif
