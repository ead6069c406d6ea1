/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MODEL_BUCKET_H
#define XIN_MODEL_BUCKET_H

#include <stdint.h>
#include "base/error.h"

/*
 * The pace of calls with one provider key: one bucket for each (provider, key)
 * in the process, shared by models and embeddings and by all loops. Calls are
 * spread evenly, ten seconds' worth may come at once.
 */
struct model_bucket;
/* Counted; the first caller's pace stands. */
struct model_bucket *model__bucket_ref(
    const char *site, const char *key, int64_t per_minute);
void model__bucket_unref(struct model_bucket *bucket);
/* Reserve a place: *wait_ms_out is how long to sleep before the call. Nothing
 * is reserved, and ERR_OVERLOADED said, when that is over `max_wait_ms`. */
enum err_code model__bucket_take(
    struct model_bucket *bucket, uint64_t max_wait_ms, uint64_t *wait_ms_out);
/* The provider said "not before": nobody calls for so long. */
void model__bucket_hold(struct model_bucket *bucket, uint64_t ms);

#endif
