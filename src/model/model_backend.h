/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MODEL_MODEL_BACKEND_H
#define XIN_MODEL_MODEL_BACKEND_H

#include "model/model.h"

/* For those who implement a back end; the front (model.c) has checked the
 * request and made the reply's buffers. */
struct model_ops {
	const char *name;
	enum err_code (*answer)(struct model *model,
	    const struct model_request *request, uint64_t deadline_ms,
	    struct model_reply *reply);
	void (*close)(struct model *model);
};

struct model {
	const struct model_ops *ops;
};

enum err_code model_extractive_open(struct model **model_out);

#endif
