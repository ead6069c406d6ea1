/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MODEL_EMBED_INTERNAL_H
#define XIN_MODEL_EMBED_INTERNAL_H

#include <stdbool.h>
#include "base/crypto.h"
#include "model/embed.h"

#define EMBED_DIMENSIONS_MAX 16384

/* ---- the cache: least recently used texts go first ---- */
struct embed_cache;
struct embed_cache *embed__cache_new(size_t max_bytes, size_t dimensions);
void embed__cache_free(struct embed_cache *cache);
/* Any thread. False when it is not there. */
bool embed__cache_get(struct embed_cache *cache, const uint8_t key[SHA256_SIZE],
    float *vector_out);
void embed__cache_put(struct embed_cache *cache, const uint8_t key[SHA256_SIZE],
    const float *vector);

/* ---- the answer ---- */
/*
 * The vectors of an answer {"data":[{"index","embedding"}]}, each an array of
 * numbers or base64 of little-endian float32, in the order of the indices;
 * brought to unit length. *dimensions 0 = take those of the first. *vectors_out
 * is to be freed. ERR_UPSTREAM when one is missing, has another length, or is
 * no direction (zero, not finite).
 */
enum err_code embed__read(const char *text, size_t len, size_t count,
    size_t *dimensions, float **vectors_out);

#endif
