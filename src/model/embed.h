/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MODEL_EMBED_H
#define XIN_MODEL_EMBED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/*
 * Embeddings of texts from an OpenAI-compatible service (XIN_EMBEDDINGS_URL,
 * _KEY, _NAME). Vectors have unit length. Those of texts seen before come from
 * memory (XIN_EMBEDDINGS_CACHE_BYTES). An embedder serves every loop.
 */
struct embedder;

/*
 * With url "" *embedder_out is NULL and all is well: searches are lexical. The
 * service is asked for one vector, which tells the dimensions; ERR_CONFIG when
 * XIN_EMBEDDINGS_DIMENSIONS says others. A service that cannot be reached is
 * an error only where that setting is missing. WAITS.
 */
enum err_code embed_open(const char *url, struct embedder **embedder_out);
void embed_close(struct embedder *embedder);
size_t embed_dimensions(const struct embedder *embedder);
/* Whether the last call came through; true before the first. */
bool embed_is_up(const struct embedder *embedder);
/* The model's name. */
const char *embed_name(const struct embedder *embedder);

/*
 * The vectors of `count` texts (not empty, UTF-8) in their order: `vectors_out`
 * has room for count * dimensions floats, and holds no promise on failure. Of a
 * text, the first EMBED_TEXT_MAX bytes count: models take about 8,000 tokens.
 * Errors of a service as in model.h. WAITS.
 */
#define EMBED_TEXT_MAX ((size_t)16 << 10)
enum err_code embed_texts(struct embedder *embedder, const char *const *texts,
    const size_t *lens, size_t count, uint64_t deadline_ms, float *vectors_out);

/*
 * The vector of a question that somebody waits with: in EMBED_QUESTION_MS or
 * not at all. When the service is down the next question tries it EMBED_REST_MS
 * later and those between fail at once, so that a turn is hardly slower.
 */
#define EMBED_QUESTION_MS 3000
#define EMBED_REST_MS     5000
enum err_code embed_question(
    struct embedder *embedder, const char *text, size_t len, float *vector_out);

#endif
