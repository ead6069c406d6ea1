/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MODEL_PROVIDER_H
#define XIN_MODEL_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/*
 * One OpenAI-compatible service: its base URL, key and pace. A call is tried
 * again on 408, 409, 429, 5xx and lost connections, with full-jitter back-off
 * and at least as long as Retry-After says, while nothing of the answer was
 * taken and the deadline allows. The key is in the request's head and nowhere
 * else; sentences never repeat what the provider wrote, but for codes.
 */
struct provider_names {
	const char *api; /* for metrics and sentences: "chat", "embeddings" */
	const char *url; /* the settings, for sentences */
	const char *key;
	const char *name;
};
struct provider;
/* ERR_CONFIG when the URL is none that can be called. */
enum err_code model__provider_open(const struct provider_names *names,
    const char *url, const char *key, struct provider **provider_out);
void model__provider_close(struct provider *provider);

struct provider_call {
	const char *path; /* "/chat/completions" */
	const char *model;
	const char *body;
	size_t body_len;
	size_t max_reply_bytes;
	uint64_t idle_ms;
	/* Pieces of a good answer, on the caller's fiber. */
	enum err_code (*on_data)(void *arg, const char *data, size_t len);
	/* Before each attempt: forget the last. */
	void (*restart)(void *arg);
	/* True once something was taken: no more attempts. */
	bool (*taken)(void *arg);
	void *arg;
};
/*
 * POST. OK after a whole answer of status 200. WAITS. ERR_UPSTREAM: refused or
 * broken, the sentence says which setting to look at; ERR_UNAVAILABLE: not
 * reached; ERR_OVERLOADED: it or our own pace is full; ERR_TOO_LARGE: the
 * prompt is over the model's context; ERR_BLOCKED: its content filter;
 * ERR_DEADLINE; ERR_CANCELLED.
 */
enum err_code model__provider_post(struct provider *provider,
    const struct provider_call *call, uint64_t deadline_ms);
/* An error object inside an answer of status 200 (streams): the same
 * sentences. */
enum err_code model__provider_error(const struct provider *provider,
    const char *model, int status, const char *body, size_t len);

#endif
