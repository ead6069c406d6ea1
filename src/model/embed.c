/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front of embeddings: texts that are in the cache are answered from there,
 * the others go out in batches, and what comes back is checked and kept.
 */
#include "model/embed.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"
#include "base/task.h"
#include "model/embed_internal.h"
#include "model/provider.h"

/* Servers refuse more: text-embeddings-inference takes 32 texts as it comes. */
#define BATCH_TEXTS 32
#define BATCH_BYTES ((size_t)128 << 10)
#define ANSWER_MAX  ((size_t)16 << 20)
#define PROBE_MS    10000

struct embedder {
	atomic_bool down; /* the last call failed */
	struct provider *provider;
	struct embed_cache *cache;
	char *model;
	size_t dimensions;
	/* The service failed: no question before (monotonic ms); 0 = well. */
	atomic_uint_fast64_t rest_until_ms;
};

static const struct provider_names names = { "embeddings", "XIN_EMBEDDINGS_URL",
	"XIN_EMBEDDINGS_KEY", "XIN_EMBEDDINGS_NAME" };

/* Texts without a vector so far: their places in the caller's lists. */
struct batch {
	size_t places[BATCH_TEXTS];
	uint8_t keys[BATCH_TEXTS][SHA256_SIZE];
	size_t count, bytes;
};

/* ---- one call ---- */

static enum err_code
collect(void *answer, const char *data, size_t len)
{
	buf_add(answer, data, len);
	return OK;
}

static void
restart(void *answer)
{
	buf_clear(answer);
}

static bool
never(void *answer)
{
	(void)answer;
	return false;
}

static void
write_body(const struct embedder *e, const char *const *texts,
    const size_t *lens, const struct batch *batch, struct buf *out)
{
	buf_adds(out, "{\"model\":");
	buf_add_json(out, e->model, strlen(e->model));
	buf_adds(out, ",\"encoding_format\":\"base64\",\"input\":[");
	for (size_t i = 0; i < batch->count; i++) {
		size_t at = batch->places[i];

		if (i > 0)
			buf_addc(out, ',');
		buf_add_json(out, texts[at], lens[at]);
	}
	buf_adds(out, "]}");
}

static struct span *
begin_span(const struct embedder *e)
{
	struct span *span = span_begin(SPAN_CLIENT, "embeddings");
	char title[96];

	if (span == NULL)
		return NULL;
	snprintf(title, sizeof(title), "embeddings %s", e->model);
	span_name(span, title);
	span_add(span, attr_str(ATTR_AI_OPERATION, "embeddings"),
	    attr_str(ATTR_AI_PROVIDER, "openai"),
	    attr_str(ATTR_AI_MODEL, e->model),
	    attr_str(ATTR_AI_FORMATS, "base64"));
	return span;
}

/* *dimensions as in embed__read; *vectors_out is to be freed. */
static enum err_code
call(struct embedder *e, const char *const *texts, const size_t *lens,
    const struct batch *batch, uint64_t deadline_ms, size_t *dimensions,
    float **vectors_out)
{
	struct provider_call post = { .path = "/embeddings",
		.model = e->model,
		.max_reply_bytes = ANSWER_MAX,
		.on_data = collect,
		.restart = restart,
		.taken = never };
	uint64_t began = clock_mono_us();
	struct buf body, answer;
	struct span *span;
	enum err_code rc;

	buf_init(&body, 0);
	buf_init(&answer, 0);
	write_body(e, texts, lens, batch, &body);
	post.body = body.data;
	post.body_len = body.len;
	post.arg = &answer;
	span = begin_span(e);
	rc = model__provider_post(e->provider, &post, deadline_ms);
	if (rc == OK)
		rc = embed__read(buf_str(&answer), answer.len, batch->count,
		    dimensions, vectors_out);
	if (rc == OK)
		span_add(
		    span, attr_int(ATTR_AI_DIMENSIONS, (int64_t)*dimensions));
	span_end_call(span, rc);
	atomic_store(&e->down, rc != OK);
	metric_count(METRIC_EMBEDDINGS, LABELS(rc == OK ? "made" : "failed"),
	    batch->count);
	metric_observe_us(
	    METRIC_EMBED_LATENCY, METRIC_NO_LABELS, clock_mono_us() - began);
	buf_done(&body);
	buf_done(&answer);
	return rc;
}

/* ---- open ---- */

/* A service that is down does not keep us from starting where its dimensions
 * are known: searches are lexical meanwhile. */
static bool
may_wait(enum err_code rc)
{
	return rc == ERR_UNAVAILABLE || rc == ERR_DEADLINE ||
	       rc == ERR_OVERLOADED;
}

static enum err_code
probe(struct embedder *e, size_t told)
{
	const char *text = "xin";
	const size_t len = 3;
	struct batch batch = { .count = 1 };
	size_t dimensions = 0;
	float *vector = NULL;
	enum err_code rc = call(e, &text, &len, &batch,
	    deadline_in_ms(PROBE_MS), &dimensions, &vector);

	mem_free(vector);
	if (may_wait(rc) && told > 0) {
		log_warn("embeddings.unreachable", kv_str("model", e->model),
		    kv_error("error", err_message()));
		dimensions = told;
	} else if (rc != OK) {
		return err_set(ERR_CONFIG, "%s%s", err_message(),
		    may_wait(rc) ? "; to start without it, set "
				   "XIN_EMBEDDINGS_DIMENSIONS"
				 : "");
	}
	if (told > 0 && told != dimensions)
		return err_set(ERR_CONFIG,
		    "XIN_EMBEDDINGS_DIMENSIONS is %zu, but model \"%s\" makes "
		    "vectors of %zu numbers: correct the one or the other",
		    told, e->model, dimensions);
	e->dimensions = dimensions;
	return OK;
}

enum err_code
embed_open(const char *url, struct embedder **embedder_out)
{
	const char *name = config_str(CFG_EMBEDDINGS_NAME);
	struct embedder *e;
	enum err_code rc;

	*embedder_out = NULL;
	if (url[0] == '\0')
		return OK;
	if (name[0] == '\0' || !str_is_utf8(name, strlen(name)))
		return err_set(ERR_CONFIG,
		    "XIN_EMBEDDINGS_URL is set: name the model in "
		    "XIN_EMBEDDINGS_NAME");
	e = mem_zero(sizeof(*e));
	e->model = mem_strdup(name);
	rc = model__provider_open(
	    &names, url, config_str(CFG_EMBEDDINGS_KEY), &e->provider);
	if (rc == OK)
		rc = probe(e, (size_t)config_int(CFG_EMBEDDINGS_DIMENSIONS));
	if (rc != OK) {
		embed_close(e);
		return rc;
	}
	e->cache = embed__cache_new(
	    (size_t)config_int(CFG_EMBEDDINGS_CACHE), e->dimensions);
	log_info("embeddings.ready", kv_str("model", e->model),
	    kv_int("dimensions", (int64_t)e->dimensions));
	*embedder_out = e;
	return OK;
}

void
embed_close(struct embedder *e)
{
	if (e == NULL)
		return;
	model__provider_close(e->provider);
	embed__cache_free(e->cache);
	mem_free(e->model);
	mem_free(e);
}

size_t
embed_dimensions(const struct embedder *e)
{
	return e->dimensions;
}

bool
embed_is_up(const struct embedder *embedder)
{
	return !atomic_load(&embedder->down);
}

const char *
embed_name(const struct embedder *e)
{
	return e->model;
}

/* ---- texts ---- */

/* The first EMBED_TEXT_MAX bytes, in whole characters. */
static size_t
cut(const char *text, size_t len)
{
	if (len <= EMBED_TEXT_MAX)
		return len;
	len = EMBED_TEXT_MAX;
	while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
		len--;
	return len;
}

static void
key_of(const struct embedder *e, const char *text, size_t len,
    uint8_t key[SHA256_SIZE])
{
	struct crypto_hash *hash = crypto_hash_new();

	crypto_hash_add(hash, e->model, strlen(e->model) + 1);
	crypto_hash_add(hash, text, len);
	crypto_hash_end(hash, key);
	crypto_hash_free(hash);
}

static enum err_code
flush(struct embedder *e, const char *const *texts, const size_t *lens,
    struct batch *batch, uint64_t deadline_ms, float *vectors_out)
{
	size_t dimensions = e->dimensions;
	float *vectors;

	if (batch->count == 0)
		return OK;
	TRY(call(e, texts, lens, batch, deadline_ms, &dimensions, &vectors));
	for (size_t i = 0; i < batch->count; i++) {
		memcpy(vectors_out + batch->places[i] * dimensions,
		    vectors + i * dimensions, dimensions * sizeof(float));
		embed__cache_put(
		    e->cache, batch->keys[i], vectors + i * dimensions);
	}
	mem_free(vectors);
	batch->count = batch->bytes = 0;
	return OK;
}

static enum err_code
embed_all(struct embedder *e, const char *const *texts, const size_t *lens,
    size_t count, uint64_t deadline_ms, float *vectors_out)
{
	struct batch batch = { .count = 0 };

	for (size_t i = 0; i < count; i++) {
		uint8_t *key = batch.keys[batch.count];

		if (lens[i] == 0)
			return err_set(ERR_INVALID,
			    "text %zu is empty: there is no vector for it",
			    i + 1);
		key_of(e, texts[i], lens[i], key);
		if (embed__cache_get(
			e->cache, key, vectors_out + i * e->dimensions)) {
			metric_count(METRIC_EMBEDDINGS, LABELS("cached"), 1);
			continue;
		}
		batch.places[batch.count++] = i;
		batch.bytes += lens[i];
		if (batch.count == BATCH_TEXTS || batch.bytes >= BATCH_BYTES)
			TRY(flush(
			    e, texts, lens, &batch, deadline_ms, vectors_out));
	}
	return flush(e, texts, lens, &batch, deadline_ms, vectors_out);
}

enum err_code
embed_texts(struct embedder *e, const char *const *texts, const size_t *lens,
    size_t count, uint64_t deadline_ms, float *vectors_out)
{
	size_t *short_lens = mem_alloc((count + 1) * sizeof(*short_lens));
	enum err_code rc;

	for (size_t i = 0; i < count; i++)
		short_lens[i] = cut(texts[i], lens[i]);
	rc = embed_all(e, texts, short_lens, count, deadline_ms, vectors_out);
	mem_free(short_lens);
	return rc;
}

/* ---- questions ---- */

/* One caller at a time finds out whether a service that failed is back. */
static bool
may_ask(struct embedder *e)
{
	uint_fast64_t until = atomic_load(&e->rest_until_ms);

	return until == 0 ||
	       (deadline_left_ms(until) == 0 &&
		   atomic_compare_exchange_strong(&e->rest_until_ms, &until,
		       deadline_in_ms(EMBED_REST_MS)));
}

enum err_code
embed_question(
    struct embedder *e, const char *text, size_t len, float *vector_out)
{
	enum err_code rc;

	if (!may_ask(e))
		return err_set(ERR_UNAVAILABLE,
		    "embeddings: the provider failed a moment ago");
	rc = embed_texts(
	    e, &text, &len, 1, deadline_in_ms(EMBED_QUESTION_MS), vector_out);
	if (may_wait(rc))
		atomic_store(&e->rest_until_ms, deadline_in_ms(EMBED_REST_MS));
	else if (rc != ERR_CANCELLED)
		atomic_store(&e->rest_until_ms, 0);
	return rc;
}
