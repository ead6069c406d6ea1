/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a brand's live chunks weigh: how many, how long on average, and how many
 * have a term. Qdrant counts exactly over indexed payload. The answers are kept
 * as long as the view (search_qdrant_view.c) and the parts that it leaves out
 * stay the same. They order hits; which chunks are shown never comes from here.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "search/search_qdrant.h"

#define BRANDS_MAX   128   /* then the oldest one is forgotten */
#define TERMS_SLOTS  4096  /* for each brand; half full is full */
#define SIDE_BY_SIDE 8     /* count requests of one search at the same time */
#define LENGTHS_MAX  65536 /* different lengths of chunks */

struct kept_term {
	char *term;
	double count;
};
struct qdrant_brand {
	char brand[BRAND_ID_SIZE];
	struct qdrant_view *view; /* NULL = to be made again */
	uint64_t used_ms;
	/* Below: with these parts left out (a hash of the filter). */
	uint64_t stamp;
	double total, mean;
	struct kept_term *terms; /* open addressing; NULL = nothing counted */
	size_t used;
};

/* ---- what is kept; the caller has the lock ---- */

static void
counts_clear(struct qdrant_brand *kept)
{
	for (size_t i = 0; kept->terms != NULL && i < TERMS_SLOTS; i++)
		mem_free(kept->terms[i].term);
	mem_free(kept->terms);
	kept->terms = NULL;
	kept->used = 0;
}

static void
view_set(struct qdrant_brand *kept, struct qdrant_view *view)
{
	search__qdrant_view_unref(kept->view);
	kept->view = view;
	counts_clear(kept);
}

static struct qdrant_brand *
brand_find(struct qdrant *qdrant, const char *brand)
{
	for (size_t i = 0; i < qdrant->brand_count; i++)
		if (strcmp(qdrant->brands[i].brand, brand) == 0)
			return &qdrant->brands[i];
	return NULL;
}

/* A slot for the brand: its own, a free one, or the one not used longest. */
static struct qdrant_brand *
brand_slot(struct qdrant *qdrant, const char *brand)
{
	struct qdrant_brand *slot = brand_find(qdrant, brand);

	if (qdrant->brands == NULL)
		qdrant->brands = mem_zero(BRANDS_MAX * sizeof(*slot));
	must(qdrant->brands != NULL);
	if (slot == NULL && qdrant->brand_count < BRANDS_MAX)
		slot = &qdrant->brands[qdrant->brand_count++];
	if (slot == NULL) {
		slot = qdrant->brands;
		for (size_t i = 1; i < BRANDS_MAX; i++)
			if (qdrant->brands[i].used_ms < slot->used_ms)
				slot = &qdrant->brands[i];
	}
	str_copy(slot->brand, sizeof(slot->brand), brand);
	return slot;
}

static struct kept_term *
term_place(struct qdrant_brand *kept, const char *term)
{
	size_t i = (size_t)crypto_fnv1a(term, strlen(term)) % TERMS_SLOTS;

	while (kept->terms[i].term != NULL &&
	       strcmp(kept->terms[i].term, term) != 0)
		i = (i + 1) % TERMS_SLOTS;
	return &kept->terms[i];
}

static void
term_keep(struct qdrant_brand *kept, const char *term, double count)
{
	struct kept_term *at = term_place(kept, term);

	if (at->term != NULL) {
		at->count = count;
		return;
	}
	if (kept->used * 2 >= TERMS_SLOTS)
		return; /* counted each time until the others are forgotten */
	at->term = mem_strdup(term);
	at->count = count;
	kept->used++;
}

void
search__qdrant_changed(struct qdrant *qdrant, const char *brand)
{
	struct qdrant_brand *kept;

	pthread_mutex_lock(&qdrant->lock);
	qdrant->changes++;
	kept = brand_find(qdrant, brand);
	if (kept != NULL)
		view_set(kept, NULL);
	pthread_mutex_unlock(&qdrant->lock);
}

void
search__qdrant_learn(struct qdrant *qdrant, const char *brand,
    const char *source_id, int64_t version, int64_t live_version)
{
	struct qdrant_brand *kept;
	enum qdrant_fit fit;

	pthread_mutex_lock(&qdrant->lock);
	kept = brand_find(qdrant, brand);
	if (kept != NULL && kept->view != NULL) {
		fit = search__qdrant_view_fit(
		    kept->view, source_id, version, live_version);
		if (fit == QDRANT_NEW || fit == QDRANT_ASIDE)
			view_set(
			    kept, search__qdrant_view_with(kept->view,
				      source_id, version, fit == QDRANT_NEW));
	}
	pthread_mutex_unlock(&qdrant->lock);
}

void
search__qdrant_counts_close(struct qdrant *qdrant)
{
	for (size_t i = 0; i < qdrant->brand_count; i++)
		view_set(&qdrant->brands[i], NULL);
	mem_free(qdrant->brands);
}

/* ---- one count ---- */

struct counting {
	struct qdrant *qdrant;
	const char *brand;
	const char *const *terms;
	size_t count;
	uint64_t deadline_ms;
	struct qdrant_counts *counts;
	uint64_t stamp;
	bool kept; /* total and mean are known */
	/* Work of the fibers: the terms still to be counted. */
	size_t *missing, missing_count, next, running;
	struct fiber *helpers[SIDE_BY_SIDE]; /* NULL = ended */
	struct fiber_cond done;
	enum err_code rc;
	struct error error;
};

/* The kept view, or a new one. It is kept unless chunks changed meanwhile. */
static enum err_code
take_view(struct counting *counting)
{
	struct qdrant *qdrant = counting->qdrant;
	struct qdrant_view **view = &counting->counts->view;
	struct qdrant_brand *kept;
	uint64_t changes;

	pthread_mutex_lock(&qdrant->lock);
	changes = qdrant->changes;
	kept = brand_find(qdrant, counting->brand);
	if (kept != NULL && kept->view != NULL &&
	    search__qdrant_view_fresh(kept->view))
		*view = search__qdrant_view_ref(kept->view);
	pthread_mutex_unlock(&qdrant->lock);
	if (*view != NULL)
		return OK;
	TRY(search__qdrant_view_new(
	    qdrant, counting->brand, counting->deadline_ms, view));
	pthread_mutex_lock(&qdrant->lock);
	if (qdrant->changes == changes) {
		kept = brand_slot(qdrant, counting->brand);
		view_set(kept, search__qdrant_view_ref(*view));
	}
	pthread_mutex_unlock(&qdrant->lock);
	return OK;
}

/* What is known already; the rest goes to `missing`. */
static void
recall(struct counting *counting)
{
	struct qdrant *qdrant = counting->qdrant;
	struct qdrant_brand *kept;

	pthread_mutex_lock(&qdrant->lock);
	kept = brand_find(qdrant, counting->brand);
	if (kept != NULL &&
	    (kept->view != counting->counts->view || kept->terms == NULL ||
		kept->stamp != counting->stamp))
		kept = NULL;
	counting->kept = kept != NULL;
	if (kept != NULL) {
		kept->used_ms = clock_mono_ms();
		counting->counts->total = kept->total;
		counting->counts->mean = kept->mean;
	}
	for (size_t i = 0; i < counting->count; i++) {
		const struct kept_term *at =
		    kept != NULL ? term_place(kept, counting->terms[i]) : NULL;

		if (at != NULL && at->term != NULL)
			counting->counts->with_term[i] = at->count;
		else
			counting->missing[counting->missing_count++] = i;
	}
	pthread_mutex_unlock(&qdrant->lock);
}

static void
keep(struct counting *counting)
{
	struct qdrant *qdrant = counting->qdrant;
	struct qdrant_brand *kept;

	pthread_mutex_lock(&qdrant->lock);
	kept = brand_find(qdrant, counting->brand);
	if (kept != NULL && kept->view == counting->counts->view) {
		if (kept->terms == NULL || kept->stamp != counting->stamp) {
			counts_clear(kept);
			kept->terms =
			    mem_zero(TERMS_SLOTS * sizeof(*kept->terms));
			kept->stamp = counting->stamp;
			kept->total = counting->counts->total;
			kept->mean = counting->counts->mean;
		}
		kept->used_ms = clock_mono_ms();
		for (size_t i = 0; i < counting->missing_count; i++) {
			size_t term = counting->missing[i];

			term_keep(kept, counting->terms[term],
			    counting->counts->with_term[term]);
		}
	}
	pthread_mutex_unlock(&qdrant->lock);
}

/* The histogram of lengths: N is its sum, the mean follows exactly. */
static enum err_code
count_lengths(struct counting *counting)
{
	json_auto json_t *result = NULL;
	double total = 0, tokens = 0;
	uint64_t length;
	struct buf body;
	enum err_code rc;
	json_t *hit;
	size_t i;

	buf_init(&body, 0);
	buf_addf(&body,
	    "{\"key\":\"tokens\",\"exact\":true,\"limit\":%d,"
	    "\"filter\":{%s]}}",
	    LENGTHS_MAX, buf_str(&counting->counts->filter));
	rc = search__qdrant_read(
	    counting->qdrant, "/facet", &body, counting->deadline_ms, &result);
	buf_done(&body);
	if (rc != OK)
		return rc;
	json_array_foreach (json_object_get(result, "hits"), i, hit) {
		const char *text = json_str(hit, "value");
		double count = (double)json_int(hit, "count", 0);

		if (text == NULL || !str_to_u64(text, &length))
			continue;
		total += count;
		tokens += count * (double)length;
	}
	counting->counts->total = total;
	counting->counts->mean = total > 0 ? tokens / total : 0;
	return OK;
}

static enum err_code
count_term(struct counting *counting, size_t term)
{
	json_auto json_t *result = NULL;
	const char *text = counting->terms[term];
	struct buf body;
	enum err_code rc;

	buf_init(&body, 0);
	buf_addf(&body,
	    "{\"exact\":true,\"filter\":{%s,"
	    "{\"key\":\"terms\",\"match\":{\"value\":",
	    buf_str(&counting->counts->filter));
	buf_add_json(&body, text, strlen(text));
	buf_adds(&body, "}}]}}");
	rc = search__qdrant_read(counting->qdrant, "/points/count", &body,
	    counting->deadline_ms, &result);
	buf_done(&body);
	if (rc != OK)
		return rc;
	/* The chunks may have become more since they were counted. */
	counting->counts->with_term[term] =
	    fmin((double)json_int(result, "count", 0), counting->counts->total);
	return OK;
}

static void
count_some(struct counting *counting)
{
	while (counting->rc == OK && counting->next < counting->missing_count) {
		enum err_code rc =
		    count_term(counting, counting->missing[counting->next++]);

		if (rc != OK && counting->rc == OK) {
			counting->rc = rc;
			err_save(&counting->error);
		}
	}
}

static void
count_in_fiber(void *arg)
{
	struct counting *counting = arg;

	count_some(counting);
	for (size_t i = 0; i < SIDE_BY_SIDE; i++)
		if (counting->helpers[i] == fiber_self())
			counting->helpers[i] = NULL;
	counting->running--;
	fiber_cond_signal(&counting->done);
}

static void
cancel_helpers(struct counting *counting)
{
	for (size_t i = 0; i < SIDE_BY_SIDE; i++)
		if (counting->helpers[i] != NULL)
			fiber_cancel(counting->helpers[i]);
}

/* Several counts at the same time: a question has a dozen terms, and each is a
 * round trip. The fibers work on our stack, so we wait for all of them, also
 * when one failed or we are cancelled; then they are cancelled too. */
static enum err_code
count_missing(struct counting *counting)
{
	size_t wanted = counting->missing_count;

	for (size_t i = 0; i + 1 < wanted && i + 1 < SIDE_BY_SIDE; i++) {
		counting->helpers[i] = fiber_start(count_in_fiber, counting);
		counting->running++;
	}
	count_some(counting);
	if (counting->rc != OK)
		cancel_helpers(counting);
	fiber_shield();
	while (counting->running > 0)
		fiber_cond_wait(&counting->done, deadline_in_ms(1000));
	fiber_unshield();
	if (counting->rc != OK)
		err_restore(&counting->error);
	return counting->rc;
}

enum err_code
search__qdrant_count(struct qdrant *qdrant, const char *brand,
    const char *const *terms, size_t count, uint64_t deadline_ms,
    struct qdrant_counts *counts)
{
	struct counting counting = {
		.qdrant = qdrant,
		.brand = brand,
		.terms = terms,
		.count = count,
		.deadline_ms = deadline_ms,
		.counts = counts,
	};
	enum err_code rc = OK;

	buf_init(&counts->filter, 0);
	counts->view = NULL;
	TRY(take_view(&counting));
	TRY(search__qdrant_view_filter(
	    qdrant, brand, counts->view, &counts->filter));
	counting.stamp = crypto_fnv1a(counts->filter.data, counts->filter.len);
	counting.missing = mem_zero((count + 1) * sizeof(*counting.missing));
	recall(&counting);
	if (count > 0) /* without words there is nothing to weigh */
		rc = counting.kept ? OK : count_lengths(&counting);
	if (rc == OK)
		rc = count_missing(&counting);
	if (rc == OK && count > 0)
		keep(&counting);
	mem_free(counting.missing);
	return rc;
}

void
search__qdrant_counts_done(struct qdrant_counts *counts)
{
	buf_done(&counts->filter);
	search__qdrant_view_unref(counts->view);
	counts->view = NULL;
}
