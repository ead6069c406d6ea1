/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pattern sets over vectorscan. The patterns match loosely; neighbours and
 * check digits are verified here, because vectorscan knows no look-around. It
 * reports every end of every match: hits are reduced to leftmost-longest. The
 * scratch space belongs to a thread and grows with the sets it meets.
 */
#include <hs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/str.h"
#include "text/match_cache.h"
#include "text/match_check.h"
#include "text/match.h"
#include "text/text_internal.h"

#define PATTERNS_MAX 1000
#define REGEX_MAX    1000
#define RAW_HITS_MAX 4096 /* reported by vectorscan in one scan */
#define SCRATCH_FITS 256  /* sets that a thread remembers */

struct match_set {
	atomic_int refs;
	uint64_t serial; /* from 1, never used again */
	hs_database_t *db;
	struct match_pattern *patterns; /* strings owned */
	size_t count;
	bool fold;
};

static _Atomic uint64_t serials;

enum err_code
match_platform_check(void)
{
	if (hs_valid_platform() != HS_SUCCESS)
		return err_set(ERR_CONFIG,
		    "the CPU lacks SSE4.2, which pattern matching needs");
	return OK;
}

static enum err_code
check_patterns(const struct match_pattern *patterns, size_t count)
{
	size_t i;

	if (count == 0 || count > PATTERNS_MAX)
		return err_set(ERR_INVALID,
		    "a pattern set has 1 to %d patterns, not %zu", PATTERNS_MAX,
		    count);
	for (i = 0; i < count; i++) {
		const struct match_pattern *p = &patterns[i];
		size_t len = strlen(p->regex);

		if (len == 0 || len > REGEX_MAX || !str_is_utf8(p->regex, len))
			return err_set(ERR_INVALID,
			    "pattern \"%s\": 1 to %d bytes of UTF-8", p->name,
			    REGEX_MAX);
		if (p->check != NULL && !match__check_known(p->check))
			return err_set(ERR_INVALID,
			    "pattern \"%s\": no check \"%s\"; there are luhn, "
			    "iban, ir_national_id",
			    p->name, p->check);
	}
	return OK;
}

static enum err_code
compile(
    const struct match_pattern *patterns, size_t count, hs_database_t **db_out)
{
	const char **regexes = mem_alloc(count * sizeof(*regexes));
	unsigned *flags = mem_alloc(count * sizeof(*flags));
	unsigned *ids = mem_alloc(count * sizeof(*ids));
	hs_compile_error_t *error = NULL;
	enum err_code rc = OK;
	size_t i;

	for (i = 0; i < count; i++) {
		regexes[i] = patterns[i].regex;
		ids[i] = (unsigned)i;
		flags[i] = HS_FLAG_UTF8 | HS_FLAG_SOM_LEFTMOST |
			   (patterns[i].caseless ? HS_FLAG_CASELESS : 0);
	}
	if (hs_compile_multi(regexes, flags, ids, (unsigned)count,
		HS_MODE_BLOCK, NULL, db_out, &error) != HS_SUCCESS) {
		bool known =
		    error->expression >= 0 && (size_t)error->expression < count;

		rc = err_set(ERR_INVALID, "pattern \"%s\": %s",
		    known ? patterns[error->expression].name : "(set)",
		    error->message);
		hs_free_compile_error(error);
	}
	mem_free(regexes);
	mem_free(flags);
	mem_free(ids);
	return rc;
}

enum err_code
match_compile(const struct match_pattern *patterns, size_t count, bool fold,
    struct match_set **set_out)
{
	struct match_cache_key key;
	struct match_set *set;
	hs_database_t *db;
	size_t i;

	TRY(match_platform_check());
	TRY(check_patterns(patterns, count));
	match_cache__key(patterns, count, &key);
	db = match_cache__load(&key);
	if (db == NULL) {
		TRY(compile(patterns, count, &db));
		match_cache__save(&key, db);
	}
	set = mem_zero(sizeof(*set));
	atomic_init(&set->refs, 1);
	set->serial = atomic_fetch_add(&serials, 1) + 1;
	set->db = db;
	set->fold = fold;
	set->count = count;
	set->patterns = mem_zero(count * sizeof(*set->patterns));
	for (i = 0; i < count; i++) {
		set->patterns[i] = patterns[i];
		set->patterns[i].name = mem_strdup(patterns[i].name);
		set->patterns[i].regex = NULL;
		set->patterns[i].check = patterns[i].check == NULL
					     ? NULL
					     : mem_strdup(patterns[i].check);
	}
	*set_out = set;
	return OK;
}

struct match_set *
match_ref(struct match_set *set)
{
	atomic_fetch_add(&set->refs, 1);
	return set;
}

void
match_unref(struct match_set *set)
{
	size_t i;

	if (set == NULL || atomic_fetch_sub(&set->refs, 1) != 1)
		return;
	hs_free_database(set->db);
	for (i = 0; i < set->count; i++) {
		mem_free(set->patterns[i].name);
		mem_free(set->patterns[i].check);
	}
	mem_free(set->patterns);
	mem_free(set);
}

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void
free_scratch(void *scratch)
{
	hs_free_scratch(scratch);
}

static void
make_scratch_key(void)
{
	must(pthread_key_create(&scratch_key, free_scratch) == 0);
}

/* A scratch only grows, so a set that it was large enough for once needs no
 * second look: vectorscan's is a checksum of the
 * whole database. Sets that share a place only look more often. */
static hs_scratch_t *
scratch_for(const struct match_set *set)
{
	static _Thread_local uint64_t fits[SCRATCH_FITS];
	uint64_t *place = &fits[set->serial % SCRATCH_FITS];
	hs_scratch_t *scratch;

	pthread_once(&scratch_once, make_scratch_key);
	scratch = pthread_getspecific(scratch_key);
	if (*place == set->serial)
		return scratch;
	must(hs_alloc_scratch(set->db, &scratch) == HS_SUCCESS);
	pthread_setspecific(scratch_key, scratch);
	*place = set->serial;
	return scratch;
}

/* What is scanned, and where each of its bytes came from. */
struct view {
	const char *text;
	size_t len;
	struct buf folded;
	uint32_t *map; /* NULL = same offsets; len + 1 entries */
};

static bool
is_skipped(int32_t cp)
{
	return cp == TEXT_ZWNJ || cp == 0x200D || cp == 0x200E ||
	       cp == 0x200F || (cp >= 0x202A && cp <= 0x202E) ||
	       (cp >= 0x2066 && cp <= 0x2069) || cp == 0xFEFF || cp == 0xAD ||
	       cp == 0x200B || cp == 0x2060;
}

static void
view_add(struct view *v, int32_t cp, const char *raw, size_t n, size_t at)
{
	struct buf digit;
	char small[4];
	size_t i;

	if (utf8proc_category(cp) == UTF8PROC_CATEGORY_ND && cp > 0x7F) {
		buf_init(&digit, 0);
		text_fold(raw, n, &digit);
		n = digit.len < 4 ? digit.len : 4;
		memcpy(small, buf_str(&digit), n);
		buf_done(&digit);
		raw = small;
	}
	for (i = 0; i < n; i++)
		v->map[v->folded.len + i] = (uint32_t)at;
	buf_add(&v->folded, raw, n);
}

static void
view_init(struct view *v, const char *text, size_t len, bool fold)
{
	size_t at = 0, n;
	int32_t cp;

	memset(v, 0, sizeof(*v));
	v->text = text;
	v->len = len;
	if (!fold)
		return;
	v->map = mem_alloc((len + 1) * sizeof(*v->map));
	buf_init(&v->folded, 0);
	buf_reserve(&v->folded, len + 1);
	while (at < len) {
		n = text__decode(text + at, len - at, &cp);
		if (!is_skipped(cp))
			view_add(v, cp, text + at, n, at);
		at += n;
	}
	v->map[v->folded.len] = (uint32_t)len;
	v->text = buf_str(&v->folded);
	v->len = v->folded.len;
}

static void
view_done(struct view *v)
{
	if (v->map == NULL)
		return;
	mem_free(v->map);
	buf_done(&v->folded);
}

/* The end in the original: past the character that the last byte came from,
 * not past invisible ones that follow it. */
static size_t
view_end(const struct view *v, const char *original, size_t len, size_t end)
{
	size_t last;
	int32_t cp;

	if (v->map == NULL || end == 0)
		return end;
	last = v->map[end - 1];
	/* A character of several bytes maps all of them to its first. */
	return last + text__decode(original + last, len - last, &cp);
}

static bool
is_word_cp(int32_t cp)
{
	switch (utf8proc_category(cp)) {
	case UTF8PROC_CATEGORY_LU:
	case UTF8PROC_CATEGORY_LL:
	case UTF8PROC_CATEGORY_LT:
	case UTF8PROC_CATEGORY_LM:
	case UTF8PROC_CATEGORY_LO:
	case UTF8PROC_CATEGORY_ND:
		return true;
	default:
		return false;
	}
}

static bool
edges_hold(const struct view *v, size_t start, size_t end)
{
	size_t at = start;
	int32_t cp;

	if (start > 0) {
		do
			at--;
		while (at > 0 && ((unsigned char)v->text[at] & 0xC0) == 0x80);
		text__decode(v->text + at, start - at, &cp);
		if (is_word_cp(cp))
			return false;
	}
	if (end < v->len) {
		text__decode(v->text + end, v->len - end, &cp);
		if (is_word_cp(cp))
			return false;
	}
	return true;
}

struct scan {
	const struct match_set *set;
	const struct view *view;
	struct match_hit *hits;
	size_t count, cap;
	bool first_only;
};

static bool
holds(const struct scan *scan, unsigned id, size_t start, size_t end)
{
	const struct match_pattern *p = &scan->set->patterns[id];

	if (start >= end)
		return false;
	if (p->word_edges && !edges_hold(scan->view, start, end))
		return false;
	return p->check == NULL ||
	       match__check(p->check, scan->view->text + start, end - start);
}

/* The leftmost start may lie before the real one ("12 4111 ..."): where a check
 * fails, later places are tried, each at the edge of a group. */
static bool
find_start(const struct scan *scan, unsigned id, size_t *start, size_t end)
{
	const char *text = scan->view->text;
	size_t at = *start;

	if (holds(scan, id, at, end))
		return true;
	if (scan->set->patterns[id].check == NULL)
		return false;
	while (++at < end)
		if ((text[at - 1] == ' ' || text[at - 1] == '-') &&
		    holds(scan, id, at, end)) {
			*start = at;
			return true;
		}
	return false;
}

static int
on_match(unsigned id, unsigned long long from, unsigned long long to,
    unsigned flags, void *arg)
{
	struct scan *scan = arg;
	struct match_hit *last;
	size_t start = (size_t)from;

	(void)flags;
	if (!find_start(scan, id, &start, (size_t)to))
		return 0;
	last = scan->count > 0 ? &scan->hits[scan->count - 1] : NULL;
	if (last != NULL && last->pattern == id && last->start == start) {
		last->end = (size_t)to; /* the same, longer */
		return 0;
	}
	if (scan->count == scan->cap) {
		if (scan->cap >= RAW_HITS_MAX)
			return 1;
		scan->cap = scan->cap == 0 ? 32 : scan->cap * 2;
		scan->hits =
		    mem_resize(scan->hits, scan->cap * sizeof(*scan->hits));
	}
	must(scan->hits != NULL);
	scan->hits[scan->count++] = (struct match_hit){ id,
		scan->set->patterns[id].name, start, (size_t)to };
	return scan->first_only;
}

static int
compare_hits(const void *a, const void *b)
{
	const struct match_hit *x = a, *y = b;
	int names;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->end != y->end)
		return x->end > y->end ? -1 : 1; /* the longest first */
	names = strcmp(x->name, y->name);
	return names != 0
		   ? names
		   : (x->pattern > y->pattern) - (x->pattern < y->pattern);
}

/* Whether a kept hit of the same name covers the place. */
static bool
overlaps(
    const struct match_hit *kept, size_t count, const struct match_hit *hit)
{
	while (count-- > 0)
		if (strcmp(kept[count].name, hit->name) == 0)
			return kept[count].end > hit->start;
	return false;
}

static void
run(struct scan *scan, struct match_set *set, const struct view *view)
{
	scan->set = set;
	scan->view = view;
	hs_scan(set->db, view->text, (unsigned)view->len, 0, scratch_for(set),
	    on_match, scan);
}

size_t
match_scan(struct match_set *set, const char *text, size_t len,
    struct match_hit *hits, size_t max)
{
	struct scan scan = { 0 };
	struct view view;
	size_t count = 0, i;

	view_init(&view, text, len, set->fold);
	run(&scan, set, &view);
	if (scan.count > 1)
		qsort(scan.hits, scan.count, sizeof(*scan.hits), compare_hits);
	for (i = 0; i < scan.count && count < max; i++)
		if (!overlaps(hits, count, &scan.hits[i]))
			hits[count++] = scan.hits[i];
	for (i = 0; i < count; i++) {
		hits[i].end = view_end(&view, text, len, hits[i].end);
		if (view.map != NULL)
			hits[i].start = view.map[hits[i].start];
	}
	mem_free(scan.hits);
	view_done(&view);
	return count;
}

bool
match_any(struct match_set *set, const char *text, size_t len)
{
	struct scan scan = { .first_only = true };
	struct view view;
	bool found;

	view_init(&view, text, len, set->fold);
	run(&scan, set, &view);
	found = scan.count > 0;
	mem_free(scan.hits);
	view_done(&view);
	return found;
}
