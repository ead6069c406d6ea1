/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding on Qdrant: its sparse search names candidates, Lucene's formula
 * orders them, the store says which of them are live.
 *
 * Why this is exact: stored weights have a constant mean length M where the
 * formula has the brand's mean m, and a term's weight changes by at most the
 * factor max(1, m / M). So what Qdrant left out scores at most its last score
 * times that factor. While the worst of the best top_k stays below that bound,
 * or too few candidates are live, we ask for more.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "search/search_qdrant.h"

#define LIMIT_MAX   3200 /* candidates of the last round */
#define LIMIT_TIMES 4
#define LIVE_BATCH  1000
#define ROUNDS_MAX  6
/* Qdrant adds in 32-bit floats; SEARCH_TERMS_MAX additions are far within. */
#define FLOAT_SLACK 1.0001

struct candidate {
	const char *id;        /* borrowed from the answer */
	const char *source_id; /* likewise */
	const json_t *words;   /* likewise: term -> count, of the query's */
	int64_t version, number;
	double length;
	double offered; /* Qdrant's score */
	double score, lexical, coverage;
	size_t rank; /* in its list, from 1 */
};
struct list {
	struct candidate *items;
	size_t count;
	size_t answered;     /* before dead ones were taken out */
	double last_offered; /* of the last one answered */
};

struct finding {
	struct qdrant *qdrant;
	const struct search_query *query;
	uint64_t deadline_ms;
	struct qdrant_counts counts;
	double idf[SEARCH_TERMS_MAX], all_idf;
	bool dense;    /* the nearest are asked for as well */
	bool outdated; /* what was found is not what there is now */
	bool gone;     /* so much that the view must be made again */
	json_t *answer;
	struct list lexical, nearest, fused;
};

/* ---- asking ---- */

static void
add_filter(struct buf *out, const struct finding *find)
{
	const char *key;
	json_t *value;

	buf_addf(out, "\"filter\":{%s", buf_str(&find->counts.filter));
	json_object_foreach (
	    (json_t *)(uintptr_t)find->query->filter, key, value) {
		buf_adds(out, ",{\"key\":\"facts\",\"match\":{\"value\":");
		search__qdrant_fact(out, key, value);
		buf_adds(out, "}}");
	}
	buf_adds(out, "]}");
}

/* Of a chunk's words only those of the query: a hundredth of the whole. A path
 * in quotes takes any key but one with a quote or a backslash. */
static void
add_words(struct buf *out, const struct search_query *query)
{
	struct buf path;

	buf_init(&path, 0);
	for (size_t i = 0; i < query->count; i++) {
		buf_clear(&path);
		if (strpbrk(query->terms[i], "\"\\") == NULL)
			buf_addf(&path, "words.\"%s\"", query->terms[i]);
		else
			buf_adds(&path, "words");
		buf_addc(out, ',');
		buf_add_json(out, buf_str(&path), path.len);
	}
	buf_done(&path);
}

static void
add_search(struct buf *out, const struct finding *find, const char *using,
    size_t limit)
{
	buf_addf(out, ",\"using\":\"%s\",\"limit\":%zu,", using, limit);
	add_filter(out, find);
	buf_adds(out, ",\"with_payload\":[\"source_id\",\"version\","
		      "\"number\",\"tokens\"");
	add_words(out, find->query);
	buf_adds(out, "]}");
}

static void
add_lexical(struct buf *out, const struct finding *find, size_t limit)
{
	struct qdrant_weight weights[SEARCH_TERMS_MAX];

	for (size_t i = 0; i < find->query->count; i++)
		weights[i] = (struct qdrant_weight){ search__qdrant_term_id(
							 find->query->terms[i]),
			find->idf[i] };
	buf_adds(out, "{\"query\":");
	/* Of two terms with one index the larger idf: an upper bound. */
	search__qdrant_sparse(out, weights, find->query->count, false);
	add_search(out, find, "bm25", limit);
}

static void
add_nearest(struct buf *out, const struct finding *find, size_t limit)
{
	buf_adds(out, "{\"query\":[");
	for (size_t i = 0; i < find->query->dimensions; i++)
		buf_addf(out, "%s%.9g", i > 0 ? "," : "",
		    (double)find->query->vector[i]);
	buf_addc(out, ']');
	/* Quantised vectors choose, whole ones order. */
	buf_adds(out, ",\"params\":{\"quantization\":{\"rescore\":true,"
		      "\"oversampling\":2.0}}");
	add_search(out, find, "dense", limit);
}

static enum err_code
ask(struct finding *find, size_t limit)
{
	struct buf body;
	enum err_code rc;

	json_decref(find->answer);
	find->answer = NULL;
	buf_init(&body, 0);
	buf_adds(&body, "{\"searches\":[");
	if (find->query->count > 0)
		add_lexical(&body, find, limit);
	if (find->query->count > 0 && find->dense)
		buf_addc(&body, ',');
	if (find->dense)
		add_nearest(&body, find, limit);
	buf_adds(&body, "]}");
	rc = search__qdrant_read(find->qdrant, "/points/query/batch", &body,
	    find->deadline_ms, &find->answer);
	buf_done(&body);
	return rc;
}

/* ---- reading ---- */

static bool
read_candidate(const json_t *point, struct candidate *item)
{
	const json_t *payload = json_object_get(point, "payload");
	const char *tokens = json_str(payload, "tokens");
	uint64_t length;

	*item = (struct candidate){
		.id = json_str(point, "id"),
		.source_id = json_str(payload, "source_id"),
		.words = json_object_get(payload, "words"),
		.version = json_int(payload, "version", 0),
		.number = json_int(payload, "number", 0),
		.offered = json_number_value(json_object_get(point, "score")),
	};
	if (item->id == NULL || strlen(item->id) != 36 ||
	    item->source_id == NULL || tokens == NULL ||
	    !str_to_u64(tokens, &length))
		return false; /* somebody else's point */
	item->length = (double)length;
	return true;
}

static void
score(const struct finding *find, struct candidate *item)
{
	const struct search_query *query = find->query;

	for (size_t i = 0; i < query->count; i++) {
		double frequency =
		    (double)json_int(item->words, query->terms[i], 0);

		if (frequency == 0)
			continue;
		item->score +=
		    find->idf[i] * search_lucene_tf(frequency, item->length,
				       find->counts.mean);
		item->coverage += find->idf[i];
	}
	item->lexical = item->score;
	item->coverage /= find->all_idf > 0 ? find->all_idf : 1;
}

/* Take out what is not live. The store is asked each time. */
static enum err_code
keep_live(struct finding *find, struct list *list)
{
	struct search_live *live = &find->qdrant->base.live;
	const char **ids = mem_zero((list->count + 1) * sizeof(*ids));
	int64_t *versions = mem_zero((list->count + 1) * sizeof(*versions));
	enum err_code rc = OK;
	size_t n = 0;

	for (size_t i = 0; i < list->count; i++)
		ids[i] = list->items[i].source_id;
	for (size_t i = 0; rc == OK && i < list->count; i += LIVE_BATCH)
		rc = live->versions(live->arg, find->query->brand, ids + i,
		    list->count - i < LIVE_BATCH ? list->count - i : LIVE_BATCH,
		    versions + i);
	for (size_t i = 0; rc == OK && i < list->count; i++) {
		enum qdrant_fit fit = search__qdrant_view_fit(find->counts.view,
		    ids[i], list->items[i].version, versions[i]);

		if (fit == QDRANT_LIVE)
			list->items[n++] = list->items[i];
		if (fit == QDRANT_NEW || fit == QDRANT_ASIDE)
			search__qdrant_learn(find->qdrant, find->query->brand,
			    ids[i], list->items[i].version, versions[i]);
		find->gone |= fit == QDRANT_GONE;
		find->outdated |= fit == QDRANT_NEW || fit == QDRANT_GONE;
	}
	list->count = n;
	mem_free(ids);
	mem_free(versions);
	return rc;
}

/* Best first; ties by place, so that the order is the same each time. */
static int
by_score(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int order;

	if (x->score != y->score)
		return x->score < y->score ? 1 : -1;
	order = strcmp(x->source_id, y->source_id);
	return order != 0 ? order
			  : (x->number > y->number) - (x->number < y->number);
}

static int
by_offer(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int order;

	if (x->offered != y->offered)
		return x->offered < y->offered ? 1 : -1;
	order = strcmp(x->source_id, y->source_id);
	return order != 0 ? order
			  : (x->number > y->number) - (x->number < y->number);
}

static enum err_code
read_list(struct finding *find, size_t which, struct list *list,
    int (*order)(const void *, const void *))
{
	const json_t *points =
	    json_object_get(json_array_get(find->answer, which), "points");
	struct candidate item;
	const json_t *point;
	size_t i;

	mem_free(list->items);
	*list = (struct list){ .answered = json_array_size(points) };
	list->items = mem_zero((list->answered + 1) * sizeof(*list->items));
	json_array_foreach (points, i, point) {
		if (!read_candidate(point, &item))
			continue;
		list->last_offered = item.offered;
		score(find, &item);
		list->items[list->count++] = item;
	}
	TRY(keep_live(find, list));
	if (list->count > 0)
		qsort(list->items, list->count, sizeof(*list->items), order);
	for (i = 0; i < list->count; i++)
		list->items[i].rank = i + 1;
	return OK;
}

/* ---- enough? ---- */

static bool
enough_nearest(const struct finding *find, size_t limit)
{
	return find->nearest.answered < limit ||
	       find->nearest.count >= (size_t)find->query->top_k;
}

/* Nothing that was left out can be among the best. */
static bool
enough_lexical(const struct finding *find, size_t limit)
{
	const struct list *list = &find->lexical;
	double factor = find->counts.mean / QDRANT_MEAN;

	if (list->answered < limit)
		return true;
	if (list->count < (size_t)find->query->top_k)
		return false;
	return list->items[find->query->top_k - 1].score >=
	       list->last_offered * (factor > 1 ? factor : 1) * FLOAT_SLACK;
}

static enum err_code
gather(struct finding *find)
{
	size_t limit = find->dense ? 2 * SEARCH_CANDIDATES : SEARCH_CANDIDATES;
	bool lexical = find->query->count > 0;

	for (;; limit *= LIMIT_TIMES) {
		TRY(ask(find, limit));
		if (lexical)
			TRY(read_list(find, 0, &find->lexical, by_score));
		if (find->dense)
			TRY(read_list(
			    find, lexical ? 1 : 0, &find->nearest, by_offer));
		if (find->outdated || limit >= LIMIT_MAX ||
		    ((!lexical || enough_lexical(find, limit)) &&
			(!find->dense || enough_nearest(find, limit))))
			return OK;
	}
}

/* ---- fusing ---- */

static int
by_id(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return strcmp(x->id, y->id);
}

/* Reciprocal ranks of both lists added up, as the embedded engine does. */
static void
fuse(struct finding *find)
{
	struct list *fused = &find->fused;
	struct list *lists[] = { &find->lexical, &find->nearest };
	size_t n = 0;

	fused->items =
	    mem_zero((find->lexical.count + find->nearest.count + 1) *
		     sizeof(*fused->items));
	for (size_t l = 0; l < 2; l++)
		for (size_t i = 0; i < lists[l]->count; i++) {
			struct candidate *item = &fused->items[fused->count];

			if (i == SEARCH_CANDIDATES)
				break;
			*item = lists[l]->items[i];
			item->score = search_rrf(item->rank);
			fused->count++;
		}
	if (fused->count > 0)
		qsort(fused->items, fused->count, sizeof(*fused->items), by_id);
	for (size_t i = 0; i < fused->count; i++) {
		if (n > 0 &&
		    strcmp(fused->items[n - 1].id, fused->items[i].id) == 0)
			fused->items[n - 1].score += fused->items[i].score;
		else
			fused->items[n++] = fused->items[i];
	}
	fused->count = n;
	if (n > 0)
		qsort(fused->items, n, sizeof(*fused->items), by_score);
}

/* ---- the hits ---- */

static char *
copy_of(const json_t *payload, const char *key)
{
	const char *text = json_str(payload, key);

	return text != NULL ? mem_strdup(text) : NULL;
}

static char *
copy_or_empty(const json_t *payload, const char *key)
{
	const char *text = json_str(payload, key);

	return mem_strdup(text != NULL ? text : "");
}

static void
add_hit(const struct candidate *item, const json_t *payload,
    struct search_hits *hits)
{
	struct search_hit *hit = &hits->items[hits->count++];

	*hit = (struct search_hit){
		.version = item->version,
		.number = item->number,
		.score = item->score,
		.lexical = item->lexical,
		.coverage = item->coverage,
		.title = copy_or_empty(payload, "title"),
		.text = copy_or_empty(payload, "text"),
		.heading = copy_or_empty(payload, "heading"),
		.metadata = copy_of(payload, "metadata"),
		.source_url = copy_of(payload, "source_url"),
		.start = json_int(payload, "start", 0),
		.end = json_int(payload, "end", 0),
	};
	str_copy(hit->source_id, sizeof(hit->source_id), item->source_id);
}

/* The texts of the best; points come in any order, and one may be gone. */
static enum err_code
read_hits(
    struct finding *find, const struct list *list, struct search_hits *hits)
{
	json_auto json_t *points = NULL;
	size_t count = list->count < (size_t)find->query->top_k
			   ? list->count
			   : (size_t)find->query->top_k;
	struct buf body;
	enum err_code rc;

	if (count == 0)
		return OK;
	buf_init(&body, 0);
	buf_adds(&body, "{\"ids\":[");
	for (size_t i = 0; i < count; i++)
		buf_addf(
		    &body, "%s\"%s\"", i > 0 ? "," : "", list->items[i].id);
	buf_adds(&body, "],\"with_payload\":[\"title\",\"text\",\"heading\","
			"\"metadata\",\"source_url\",\"start\",\"end\"]}");
	rc = search__qdrant_read(
	    find->qdrant, "/points", &body, find->deadline_ms, &points);
	buf_done(&body);
	if (rc != OK)
		return rc;
	hits->items = mem_zero(count * sizeof(*hits->items));
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < json_array_size(points); j++) {
			const json_t *point = json_array_get(points, j);

			if (!str_eq(json_str(point, "id"), list->items[i].id))
				continue;
			add_hit(&list->items[i],
			    json_object_get(point, "payload"), hits);
			break;
		}
	if (hits->count < count) /* dropped meanwhile */
		find->outdated = find->gone = true;
	return OK;
}

/* With a vector: is there something to hold it against? */
static enum err_code
look_for_dense(struct finding *find)
{
	int64_t dimensions;
	bool there;

	if (find->query->vector == NULL || find->query->dimensions == 0)
		return OK;
	TRY(search__qdrant_look(
	    find->qdrant, find->deadline_ms, &there, &dimensions));
	if (!there || dimensions == 0)
		return OK;
	if ((size_t)dimensions != find->query->dimensions)
		return search__qdrant_mismatch(
		    find->qdrant, dimensions, find->query->dimensions);
	find->dense = true;
	return OK;
}

/* What the filter left out may have become live before Qdrant was asked, and
 * what it did not may be gone: then nothing came that could show it. */
static enum err_code
check_filter(struct finding *find)
{
	struct buf now;
	enum err_code rc;

	buf_init(&now, 0);
	rc = search__qdrant_view_filter(
	    find->qdrant, find->query->brand, find->counts.view, &now);
	if (rc == OK &&
	    strcmp(buf_str(&now), buf_str(&find->counts.filter)) != 0)
		find->outdated = find->gone = true;
	buf_done(&now);
	return rc;
}

/* `last`: nothing begins anew, so take what is known to be whole. */
static enum err_code
find_once(struct finding *find, bool last, struct search_hits *hits)
{
	const struct search_query *query = find->query;
	double with_term[SEARCH_TERMS_MAX];

	find->counts.with_term = with_term;
	TRY(search__qdrant_count(find->qdrant, query->brand, query->terms,
	    query->count, find->deadline_ms, &find->counts));
	for (size_t i = 0; i < query->count; i++) {
		find->idf[i] =
		    search_lucene_idf(find->counts.total, with_term[i]);
		find->all_idf += find->idf[i];
	}
	if (query->count == 0 && !find->dense)
		return OK;
	TRY(gather(find));
	TRY(check_filter(find));
	if (find->outdated && !last)
		return OK;
	if (find->dense)
		fuse(find);
	return read_hits(
	    find, find->dense ? &find->fused : &find->lexical, hits);
}

static void
find_clear(struct finding *find)
{
	search__qdrant_counts_done(&find->counts);
	json_decref(find->answer);
	mem_free(find->lexical.items);
	mem_free(find->nearest.items);
	mem_free(find->fused.items);
}

/* A version that was switched, put or dropped while we searched: begin anew. It
 * settles, since each round knows what the one before it missed. Where
 * documents change faster than that, the last round leaves out those that
 * changed under it: a document may be missing then, never half there. */
static enum err_code
find_settled(struct finding *find, struct search_hits *hits)
{
	struct finding fresh = *find;
	enum err_code rc;

	for (unsigned round = 1;; round++) {
		rc = find_once(find, round == ROUNDS_MAX, hits);
		if (rc != OK || !find->outdated || round == ROUNDS_MAX)
			break;
		if (find->gone)
			search__qdrant_changed(
			    find->qdrant, find->query->brand);
		find_clear(find);
		search_hits_done(hits);
		*find = fresh;
	}
	if (rc != OK)
		search_hits_done(hits);
	return rc;
}

enum err_code
search__qdrant_find(struct search *search, const struct search_query *query,
    struct search_hits *hits_out)
{
	struct finding find = {
		.qdrant = (struct qdrant *)search,
		.query = query,
		.deadline_ms = search__qdrant_deadline(QDRANT_READ_MS),
	};
	struct search_hits hits = { 0 };
	enum err_code rc = look_for_dense(&find);

	if (rc == OK)
		rc = find_settled(&find, &hits);
	find_clear(&find);
	if (rc == OK)
		*hits_out = hits;
	return rc == ERR_NOT_FOUND ? OK : rc; /* no collection: no chunks */
}
