/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SEARCH_SEARCH_QDRANT_H
#define XIN_SEARCH_SEARCH_QDRANT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/buf.h"
#include "search/search_backend.h"

/*
 * Search on Qdrant over its REST interface (api.qdrant.tech, 1.12 or newer: the
 * facet endpoint). One collection holds the chunks of all brands; a point is a
 * chunk with a sparse vector `bm25`, a dense one `dense` when the chunk has an
 * embedding, and this payload:
 *
 *   brand, source_id, version, number   whose it is
 *   part    "source_id@version"; indexed, a facet over it says what there is
 *   words   {term: count} for the exact score
 *   terms   the distinct terms; indexed, for document frequencies
 *   tokens  the length as text; indexed, since a facet over it is the
 *           histogram of lengths, which gives N and the exact mean
 *   facts   metadata as "key=<JSON>"; indexed, equality is one match for each
 *   title, text, heading, metadata (JSON text), source_url, start, end
 *
 * Qdrant's own scores only choose candidates: their mean length is a constant.
 * The order comes from Lucene's formula in search_qdrant_find.c, with the
 * frequencies of the brand's live chunks (search_qdrant_count.c), so that a
 * laptop and a cluster rank alike.
 */
#define QDRANT_READ_MS  10000 /* a whole search, with all its requests */
#define QDRANT_WRITE_MS 60000 /* one write, with its tries */
/* A turn fails soon, a document has time. */
#define QDRANT_READ_TRIES  3
#define QDRANT_WRITE_TRIES 6
#define QDRANT_REPLY_MAX   ((size_t)64 << 20)
/* Mean length in the stored weights, the one of Qdrant's own BM25. */
#define QDRANT_MEAN 256.0
struct qdrant_brand;
struct qdrant {
	struct search base;
	char *url;        /* without a slash at its end */
	char *collection; /* escaped for a path */
	char *key_header; /* "api-key: ..." or NULL */
	/* Below: under `lock`, which is never held over a wait. */
	pthread_mutex_t lock;
	bool known;         /* the collection is there, with its indexes */
	int64_t dimensions; /* of its `dense`, 0 = it has none */
	struct qdrant_brand *brands;
	size_t brand_count;
	uint64_t changes; /* counts put and drop of this process */
};

/* ---- search_qdrant_http.c ---- */
/* One request on the collection; `path` stands behind /collections/{name}, a
 * read without a body is a GET, else a POST. Tried again on 429, 5xx and lost
 * connections. *result_out (may be NULL) is the answer's `result`, a new
 * reference. ERR_NOT_FOUND for 404, ERR_CONFLICT for 409, ERR_CONFIG for a
 * refused key, ERR_UNAVAILABLE when there is no server, ERR_DEADLINE,
 * ERR_UPSTREAM with the server's sentence for anything else. They WAIT. */
enum err_code search__qdrant_read(struct qdrant *qdrant, const char *path,
    const struct buf *body, uint64_t deadline_ms, json_t **result_out);
enum err_code search__qdrant_write(struct qdrant *qdrant, const char *method,
    const char *path, const struct buf *body);
/* In `ms`, but never behind the task's own deadline, so that it holds for
 * helping fibers as well. */
uint64_t search__qdrant_deadline(uint64_t ms);

/* ---- search_qdrant_collection.c ---- */
/* Look once whether the collection is there; *dimensions_out of `dense`. WAITS.
 */
enum err_code search__qdrant_look(struct qdrant *qdrant, uint64_t deadline_ms,
    bool *there_out, int64_t *dimensions_out);
/* ERR_NOT_FOUND while somebody makes it: indexes come after it and before the
 * first point, so nothing is in it yet. WAITS. */
enum err_code search__qdrant_complete(
    struct qdrant *qdrant, uint64_t deadline_ms);
/* Make what is missing of it: `dimensions` of the chunks to come, 0 = without
 * vectors. ERR_CONFIG when the collection has others. WAITS. */
enum err_code search__qdrant_ensure(struct qdrant *qdrant, size_t dimensions);
/* Forget that it is there (somebody deleted it). */
void search__qdrant_forget(struct qdrant *qdrant);
/* ERR_CONFIG naming both numbers. */
enum err_code search__qdrant_mismatch(
    const struct qdrant *qdrant, int64_t there, size_t given);

/* ---- search_qdrant_point.c ---- */
/* One point as JSON, appended. `metadata`, `source_url`: of the chunk or its
 * source, may be NULL. ERR_INVALID when the metadata is no object. */
struct qdrant_place {
	const char *brand, *source_id, *title, *metadata, *source_url;
	int64_t version;
};
enum err_code search__qdrant_point(const struct qdrant_place *place,
    const struct chunk *chunk, struct buf *out);
/* UUID version 5 (RFC 9562) of brand, source, version and number. */
void search__qdrant_id(
    const struct qdrant_place *place, int64_t number, char out[37]);
/* |int32(murmur3_x86_32(term, 0))|, the index of Qdrant's own BM25. */
uint32_t search__qdrant_term_id(const char *term);
struct qdrant_weight {
	uint32_t id;
	double value;
};
/* {"indices":[..],"values":[..]}: sorted, each index once, since two terms may
 * share one: their values are added, or the larger one stays. */
void search__qdrant_sparse(
    struct buf *out, struct qdrant_weight *weights, size_t count, bool add);
/* "key=<JSON>" as a quoted string: what `facts` holds of one member. */
void search__qdrant_fact(struct buf *out, const char *key, const json_t *value);

/* ---- search_qdrant_view.c ---- */
/* Counted references; immutable. */
struct qdrant_view;
enum err_code search__qdrant_view_new(struct qdrant *qdrant, const char *brand,
    uint64_t deadline_ms, struct qdrant_view **view_out);
struct qdrant_view *search__qdrant_view_ref(struct qdrant_view *view);
void search__qdrant_view_unref(struct qdrant_view *view);
bool search__qdrant_view_fresh(const struct qdrant_view *view);
/* A filter's members for the brand's live chunks, the list of `must` left open:
 * "]" closes it. WAITS. */
enum err_code search__qdrant_view_filter(struct qdrant *qdrant,
    const char *brand, const struct qdrant_view *view, struct buf *filter);
/* How a candidate fits. Of those that the view does not know, one is new when
 * it is live (it may have been half put when it was found), else aside. Gone is
 * one that the view took for live; a newer version may be there. */
enum qdrant_fit {
	QDRANT_LIVE,
	QDRANT_DEAD,
	QDRANT_ASIDE,
	QDRANT_NEW,
	QDRANT_GONE
};
enum qdrant_fit search__qdrant_view_fit(const struct qdrant_view *view,
    const char *source_id, int64_t version, int64_t live_version);
/* The same view which knows one more part. */
struct qdrant_view *search__qdrant_view_with(const struct qdrant_view *view,
    const char *source_id, int64_t version, bool live);

/* ---- search_qdrant_count.c ---- */
/* What a brand's live chunks weigh. */
struct qdrant_counts {
	/* A filter's members: the brand, without chunks known not to be live.
	 * Owned. */
	struct buf filter;
	struct qdrant_view *view; /* what that was made from; owned */
	double total, mean;
	double *with_term; /* one for each term asked; the caller's */
};
/* WAITS. search__qdrant_counts_done also after failure. */
enum err_code search__qdrant_count(struct qdrant *qdrant, const char *brand,
    const char *const *terms, size_t count, uint64_t deadline_ms,
    struct qdrant_counts *counts);
void search__qdrant_counts_done(struct qdrant_counts *counts);
/* Learn of a part that the kept view does not know. Cheaper than a new view: a
 * brand that takes in many documents meets many of them. */
void search__qdrant_learn(struct qdrant *qdrant, const char *brand,
    const char *source_id, int64_t version, int64_t live_version);
/* The brand's chunks changed: look and count again. */
void search__qdrant_changed(struct qdrant *qdrant, const char *brand);
void search__qdrant_counts_close(struct qdrant *qdrant);

/* ---- search_qdrant_checkup.c ---- */
struct checkup;
enum err_code search__qdrant_checkup(
    struct search *search, struct checkup *checkup);

/* ---- search_qdrant_find.c ---- */
enum err_code search__qdrant_find(struct search *search,
    const struct search_query *query, struct search_hits *hits_out);

#endif
