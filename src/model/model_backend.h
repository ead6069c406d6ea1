/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MODEL_MODEL_BACKEND_H
#define XIN_MODEL_MODEL_BACKEND_H

#include <stdatomic.h>
#include "model/model.h"

/* For those who implement a back end; the front (model.c) has checked the
 * request and made the reply's buffers. What a back end does not know (tokens,
 * the model's name) the front fills in. */
struct model_ops {
	const char *name;
	bool terms; /* answer looks at the request's terms and their idf */
	enum err_code (*answer)(struct model *model,
	    const struct model_request *request, uint64_t deadline_ms,
	    struct model_reply *reply);
	enum err_code (*chat)(struct model *model,
	    const struct model_chat *chat, uint64_t deadline_ms,
	    struct model_completion *completion);
	enum err_code (*checkup)(struct model *model, struct checkup *checkup);
	void (*close)(struct model *model);
};

struct model {
	const struct model_ops *ops;
	struct price_list *prices; /* the front's */
	atomic_bool down;          /* the last call found it away */
};

enum err_code model_extractive_open(struct model **model_out);
enum err_code model_openai_open(const char *url, struct model **model_out);

/* ---- inside the folder: from a request to messages, and back ---- */
/* [{role, content}] with numbered passages; new reference. */
json_t *model__prompt(const struct model_request *request, size_t max_bytes);
/* What the model said, as the reply that struct model_reply promises. */
void model__cite(const struct model_request *request, const char *text,
    size_t len, struct model_reply *reply);
#define MODEL_NO_ANSWER                                                        \
	"NO_ANSWER" /* what the prompt asks the model to say                   \
		     */

#endif
