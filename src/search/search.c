/* SPDX-License-Identifier: Apache-2.0 */
/* The front of search: checks, splits the query, counts, times. */
#include "search/search.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"
#include "search/search_backend.h"
#include "text/text.h"

#define K1 1.2
#define B  0.75

double
search_lucene_idf(double total, double with_term)
{
	return log(1 + (total - with_term + 0.5) / (with_term + 0.5));
}

double
search_lucene_norm(double length, double mean)
{
	return K1 * (1 - B + B * (mean > 0 ? length / mean : 1));
}

double
search_lucene_tf(double frequency, double length, double mean)
{
	return frequency / (frequency + search_lucene_norm(length, mean));
}

double
search_rrf(size_t rank)
{
	return rank == 0 ? 0 : 1 / (60 + (double)rank);
}

enum err_code
search_open(const char *url, struct sqlite *db, struct search **search_out)
{
	if (url[0] == '\0' || str_starts(url, "sqlite:"))
		return search_sqlite_open(db, search_out);
	if (str_starts(url, "http://") || str_starts(url, "https://"))
		return search_qdrant_open(url, search_out);
	return err_set(ERR_CONFIG,
	    "XIN_SEARCH_URL is \"%s\"; want http(s)://host:port of Qdrant, or "
	    "nothing for the embedded search",
	    url);
}

void
search_set_live(struct search *search, const struct search_live *live)
{
	search->live = *live;
}

void
search_close(struct search *search)
{
	if (search != NULL)
		search->ops->close(search);
}

enum err_code
search_checkup(struct search *search, struct checkup *checkup)
{
	return search->ops->checkup(search, checkup);
}

static bool
is_finite(const float *vector, size_t dimensions)
{
	for (size_t i = 0; vector != NULL && i < dimensions; i++)
		if (!isfinite(vector[i]))
			return false;
	return true;
}

static enum err_code
check_chunk(const struct chunk *chunk)
{
	if (!str_is_utf8(chunk->text, chunk->len))
		return err_set(ERR_INVALID, "chunk %lld is not valid UTF-8",
		    (long long)chunk->number);
	if (!is_finite(chunk->vector, chunk->dimensions))
		return err_set(ERR_INVALID,
		    "chunk %lld: the vector holds what is no number",
		    (long long)chunk->number);
	return OK;
}

static struct span *
begin_span(const struct search *search, const char *operation)
{
	const char *collection = config_str(CFG_SEARCH_COLLECTION);
	struct span *span = span_begin(SPAN_CLIENT, operation);
	char name[128];

	if (span == NULL)
		return NULL;
	snprintf(name, sizeof(name), "%s %s", operation, collection);
	span_name(span, name);
	span_add(span, attr_str(ATTR_DB_SYSTEM, search->ops->name),
	    attr_str(ATTR_DB_OPERATION, operation),
	    attr_str(ATTR_DB_COLLECTION, collection));
	return span;
}

enum err_code
search_put(struct search *search, const char *brand, const char *source_id,
    int64_t version, const char *title, const struct chunk *chunks,
    size_t count)
{
	struct span *span;
	enum err_code rc;

	if (version < 1)
		return err_set(ERR_INVALID, "a version begins at 1");
	for (size_t i = 0; i < count; i++)
		TRY(check_chunk(&chunks[i]));
	if (count == 0)
		return OK;
	span = begin_span(search, "upsert");
	span_add(span, attr_int(ATTR_DB_BATCH, (int64_t)count));
	rc = search->ops->put(
	    search, brand, source_id, version, title, chunks, count);
	span_end_call(span, rc);
	return rc;
}

enum err_code
search_drop(struct search *search, const char *brand, const char *source_id,
    int64_t keep)
{
	struct span *span = begin_span(search, "delete");
	enum err_code rc = search->ops->drop(search, brand, source_id, keep);

	span_end_call(span, rc);
	return rc;
}

struct splitter {
	struct search_query *query;
	bool keep_stop;
};

static bool
add_term(void *arg, const struct text_token *token)
{
	struct splitter *splitter = arg;
	struct search_query *query = splitter->query;

	if (!splitter->keep_stop && text_is_stop(token->text, token->len))
		return true;
	for (size_t i = 0; i < query->count; i++)
		if (strcmp(query->terms[i], token->text) == 0)
			return true;
	query->terms[query->count++] = mem_strndup(token->text, token->len);
	return query->count < SEARCH_TERMS_MAX;
}

static enum err_code
find(struct search *search, const struct search_query *query,
    struct search_hits *hits_out)
{
	struct span *span = begin_span(search, "query");
	enum err_code rc = search->ops->find(search, query, hits_out);

	if (rc == OK)
		span_add(
		    span, attr_int(ATTR_DB_ROWS, (int64_t)hits_out->count));
	span_end_call(span, rc);
	return rc;
}

enum err_code
search_find(struct search *search, const struct search_ask *ask,
    struct search_hits *hits_out)
{
	struct search_query query = {
		.brand = ask->brand,
		.top_k = ask->top_k,
		.filter = ask->filter,
		.vector = ask->vector,
		.dimensions = ask->dimensions,
	};
	struct splitter splitter = { &query, false };
	uint64_t began = clock_mono_us();
	enum err_code rc = OK;

	if (ask->top_k < 1 || ask->top_k > 200)
		return err_set(ERR_INVALID, "top_k must be from 1 to 200");
	if (!str_is_utf8(ask->query, ask->query_len))
		return err_set(ERR_INVALID, "the query is not valid UTF-8");
	if (!is_finite(ask->vector, ask->dimensions))
		return err_set(
		    ERR_INVALID, "the query's vector holds what is no number");
	text_tokens(ask->query, ask->query_len, add_term, &splitter);
	splitter.keep_stop = true;
	if (query.count == 0) /* nothing but function words: take those */
		text_tokens(ask->query, ask->query_len, add_term, &splitter);
	*hits_out = (struct search_hits){ 0 };
	if (query.count > 0 || query.vector != NULL)
		rc = find(search, &query, hits_out);
	for (size_t i = 0; i < query.count; i++)
		mem_free(query.terms[i]);
	metric_count(METRIC_SEARCHES, LABELS(ask->brand, err_name(rc)), 1);
	metric_observe_us(
	    METRIC_SEARCH_LATENCY, METRIC_NO_LABELS, clock_mono_us() - began);
	return rc;
}

enum err_code
search_idf(struct search *search, const char *brand, const char *const *tokens,
    size_t count, double *idf_out)
{
	return count == 0
		   ? OK
		   : search->ops->idf(search, brand, tokens, count, idf_out);
}

void
search_hits_done(struct search_hits *hits)
{
	for (size_t i = 0; i < hits->count; i++) {
		struct search_hit *hit = &hits->items[i];

		mem_free(hit->title);
		mem_free(hit->text);
		mem_free(hit->heading);
		mem_free(hit->metadata);
		mem_free(hit->source_url);
	}
	mem_free(hits->items);
	*hits = (struct search_hits){ 0 };
}
