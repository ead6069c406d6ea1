/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metric shards. Each thread owns one shard: an open-addressed table of series.
 * Only the owner inserts and adds; the exposition reads with acquire loads and
 * adds the shards up. Shards of ended threads stay (threads are few).
 */
#include "base/metric.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "base/str.h"

#define SLOTS   4096u /* of a shard; a power of two */
#define BUCKETS 12u

static const struct {
	const char *name;
	enum metric_type type;
	const char *labels;
	const char *help;
} table[METRIC_COUNT] = {
#define METRIC(sym, type, name, labels, help)                                  \
	[sym] = { name, type, labels, help },
#include "base/metrics.def"
#undef METRIC
};

/* Upper bounds in microseconds; +Inf is the last bucket. */
static const uint64_t bounds_us[BUCKETS - 1] = { 5000, 10000, 25000, 50000,
	100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000 };
static const char *const bounds_text[BUCKETS] = { "0.005", "0.01", "0.025",
	"0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf" };

struct series {
	enum metric metric;
	enum service service;
	uint64_t hash;
	char *labels; /* values, each NUL-terminated, back to back */
	size_t labels_len;
	_Atomic int64_t value;
	_Atomic uint64_t *buckets; /* histograms: BUCKETS counts, then sum */
};

struct shard {
	struct shard *next;
	_Atomic(struct series *) slots[SLOTS];
	unsigned per_metric[METRIC_COUNT];
};

struct reader {
	struct reader *next;
	enum metric metric;
	enum service service;
	char *labels;
	size_t labels_len;
	metric_read_fn read;
	void *arg;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct shard *shards;
static struct reader *readers;
static _Thread_local struct shard *own;

static struct shard *
my_shard(void)
{
	if (own == NULL) {
		own = mem_zero(sizeof(*own));
		pthread_mutex_lock(&lock);
		own->next = shards;
		shards = own;
		pthread_mutex_unlock(&lock);
	}
	return own;
}

/* Pack the label values; at most 64 bytes are kept of each. */
static size_t
pack(struct metric_labels labels, char *out)
{
	size_t len = 0;

	for (size_t i = 0; i < METRIC_LABELS_MAX && labels.value[i]; i++) {
		size_t n = strnlen(labels.value[i], 64);

		memcpy(out + len, labels.value[i], n);
		out[len + n] = '\0';
		len += n + 1;
	}
	return len;
}

static struct series *
find(enum metric metric, enum service service, const char *labels, size_t len,
    unsigned ceiling)
{
	struct shard *shard = my_shard();
	uint64_t hash = crypto_fnv1a(labels, len) ^
			((uint64_t)metric << 8 | service) * 0x9e3779b97f4a7c15u;
	struct series *series;

	for (uint64_t i = 0; i < SLOTS; i++) {
		_Atomic(struct series *) *slot =
		    &shard->slots[(hash + i) & (SLOTS - 1)];

		series = atomic_load_explicit(slot, memory_order_relaxed);
		if (series != NULL) {
			if (series->hash == hash && series->metric == metric &&
			    series->service == service &&
			    series->labels_len == len &&
			    memcmp(series->labels, labels, len) == 0)
				return series;
			continue;
		}
		if (shard->per_metric[metric] >= ceiling)
			return NULL;
		shard->per_metric[metric]++;
		series = mem_zero(sizeof(*series));
		series->metric = metric;
		series->service = service;
		series->hash = hash;
		series->labels = mem_alloc(len + 1);
		memcpy(series->labels, labels, len);
		series->labels_len = len;
		if (table[metric].type == METRIC_HISTOGRAM)
			series->buckets =
			    mem_zero((BUCKETS + 1) * sizeof(uint64_t));
		atomic_store_explicit(slot, series, memory_order_release);
		return series;
	}
	return NULL;
}

static struct series *
lookup(enum metric metric, struct metric_labels labels)
{
	const struct task *task = task_self();
	enum service service = task != NULL ? task->service : SERVICE_NONE;
	char packed[METRIC_LABELS_MAX * 65];
	size_t len = pack(labels, packed);
	struct series *series =
	    find(metric, service, packed, len, METRIC_SERIES_MAX);

	if (series != NULL)
		return series;
	for (size_t i = 0; i < METRIC_LABELS_MAX && labels.value[i]; i++)
		labels.value[i] = "other";
	len = pack(labels, packed);
	/* One more for "other", for each service. */
	return find(
	    metric, service, packed, len, METRIC_SERIES_MAX + SERVICE_COUNT);
}

static void
add(_Atomic uint64_t *value, uint64_t n)
{
	/* One writer: a plain load and store, visible to readers. */
	atomic_store_explicit(value,
	    atomic_load_explicit(value, memory_order_relaxed) + n,
	    memory_order_relaxed);
}

void
metric_count(enum metric metric, struct metric_labels labels, uint64_t n)
{
	metric_move(metric, labels, (int64_t)n);
}

void
metric_move(enum metric metric, struct metric_labels labels, int64_t by)
{
	struct series *series = lookup(metric, labels);

	if (series != NULL)
		atomic_store_explicit(&series->value,
		    atomic_load_explicit(&series->value, memory_order_relaxed) +
			by,
		    memory_order_relaxed);
}

void
metric_observe_us(enum metric metric, struct metric_labels labels, uint64_t us)
{
	struct series *series = lookup(metric, labels);
	size_t i = 0;

	if (series == NULL || series->buckets == NULL)
		return;
	while (i < BUCKETS - 1 && us > bounds_us[i])
		i++;
	add(&series->buckets[i], 1);
	add(&series->buckets[BUCKETS], us);
}

void
metric_gauge_read(enum metric metric, enum service service,
    struct metric_labels labels, metric_read_fn read, void *arg)
{
	struct reader *reader = mem_zero(sizeof(*reader));
	char packed[METRIC_LABELS_MAX * 65];

	reader->metric = metric;
	reader->service = service;
	reader->labels_len = pack(labels, packed);
	reader->labels = mem_alloc(reader->labels_len + 1);
	memcpy(reader->labels, packed, reader->labels_len);
	reader->read = read;
	reader->arg = arg;
	pthread_mutex_lock(&lock);
	reader->next = readers;
	readers = reader;
	pthread_mutex_unlock(&lock);
}

/* ---- exposition ---- */

struct sum {
	const char *labels;
	size_t labels_len;
	double value;
	uint64_t buckets[BUCKETS + 1];
};

struct sums {
	struct sum *items;
	size_t count, cap;
};

static struct sum *
sum_of(struct sums *sums, const char *labels, size_t len)
{
	struct sum *sum;

	for (size_t i = 0; i < sums->count; i++)
		if (sums->items[i].labels_len == len &&
		    memcmp(sums->items[i].labels, labels, len) == 0)
			return &sums->items[i];
	if (sums->count == sums->cap) {
		sums->cap = sums->cap * 2 + 16;
		sums->items = mem_resize(sums->items, sums->cap * sizeof(*sum));
	}
	sum = &sums->items[sums->count++];
	*sum = (struct sum){ .labels = labels, .labels_len = len };
	return sum;
}

static bool
shown(enum service of, enum service wanted, bool process_wide)
{
	if (wanted == SERVICE_COUNT)
		return true;
	return of == wanted || (of == SERVICE_NONE && process_wide);
}

static void
collect(enum metric metric, enum service service, bool process_wide,
    struct sums *sums)
{
	for (struct shard *shard = shards; shard != NULL; shard = shard->next) {
		for (size_t i = 0; i < SLOTS; i++) {
			struct series *s = atomic_load_explicit(
			    &shard->slots[i], memory_order_acquire);
			struct sum *sum;

			if (s == NULL || s->metric != metric ||
			    !shown(s->service, service, process_wide))
				continue;
			sum = sum_of(sums, s->labels, s->labels_len);
			sum->value += (double)atomic_load_explicit(
			    &s->value, memory_order_relaxed);
			for (size_t k = 0; s->buckets && k <= BUCKETS; k++)
				sum->buckets[k] += atomic_load_explicit(
				    &s->buckets[k], memory_order_relaxed);
		}
	}
	for (struct reader *r = readers; r != NULL; r = r->next)
		if (r->metric == metric &&
		    shown(r->service, service, process_wide))
			sum_of(sums, r->labels, r->labels_len)->value +=
			    r->read(r->arg);
}

static void
add_label_value(struct buf *out, const char *value)
{
	for (; *value != '\0'; value++) {
		if (*value == '\\' || *value == '"')
			buf_addc(out, '\\');
		if (*value == '\n')
			buf_adds(out, "\\n");
		else
			buf_addc(out, *value);
	}
}

/* {method="GET",le="5"}: names from the table, values from the packed form. */
static void
add_labels(
    struct buf *out, const char *names, const struct sum *sum, const char *le)
{
	const char *value = sum->labels, *end = value + sum->labels_len;
	bool first = true;

	if (sum->labels_len == 0 && le == NULL)
		return;
	buf_addc(out, '{');
	while (*names != '\0' && value < end) {
		size_t n = strcspn(names, ",");

		buf_addf(out, "%s%.*s=\"", first ? "" : ",", (int)n, names);
		add_label_value(out, value);
		buf_addc(out, '"');
		value += strlen(value) + 1;
		names += n + (names[n] == ',');
		first = false;
	}
	if (le != NULL)
		buf_addf(out, "%sle=\"%s\"", first ? "" : ",", le);
	buf_addc(out, '}');
}

static void
expose_histogram(struct buf *out, enum metric metric, const struct sum *sum)
{
	uint64_t total = 0;

	for (size_t i = 0; i < BUCKETS; i++) {
		total += sum->buckets[i];
		buf_addf(out, "%s_bucket", table[metric].name);
		add_labels(out, table[metric].labels, sum, bounds_text[i]);
		buf_addf(out, " %llu\n", (unsigned long long)total);
	}
	buf_addf(out, "%s_sum", table[metric].name);
	add_labels(out, table[metric].labels, sum, NULL);
	buf_addf(out, " %.6f\n%s_count", (double)sum->buckets[BUCKETS] / 1e6,
	    table[metric].name);
	add_labels(out, table[metric].labels, sum, NULL);
	buf_addf(out, " %llu\n", (unsigned long long)total);
}

void
metric_expose(enum service service, bool process_wide, struct buf *out)
{
	static const char *const types[] = { "counter", "gauge", "histogram" };

	pthread_mutex_lock(&lock);
	for (int m = 0; m < METRIC_COUNT; m++) {
		struct sums sums = { 0 };
		/* Counters of time are whole microseconds inside. */
		double unit =
		    str_ends(table[m].name, "_seconds_total") ? 1e6 : 1;

		collect((enum metric)m, service, process_wide, &sums);
		if (sums.count > 0)
			buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n",
			    table[m].name, table[m].help, table[m].name,
			    types[table[m].type]);
		for (size_t i = 0; i < sums.count; i++) {
			if (table[m].type == METRIC_HISTOGRAM) {
				expose_histogram(
				    out, (enum metric)m, &sums.items[i]);
				continue;
			}
			buf_adds(out, table[m].name);
			add_labels(out, table[m].labels, &sums.items[i], NULL);
			buf_addf(out, " %.15g\n", sums.items[i].value / unit);
		}
		mem_free(sums.items);
	}
	pthread_mutex_unlock(&lock);
}

double
metric_value(enum metric metric, struct metric_labels labels)
{
	char packed[METRIC_LABELS_MAX * 65];
	size_t len = pack(labels, packed);
	struct sums sums = { 0 };
	double value = 0;

	pthread_mutex_lock(&lock);
	collect(metric, SERVICE_COUNT, true, &sums);
	for (size_t i = 0; i < sums.count; i++) {
		if (len != 0 && (sums.items[i].labels_len != len ||
				    memcmp(sums.items[i].labels, packed, len)))
			continue;
		value += sums.items[i].value;
		for (size_t k = 0; k < BUCKETS; k++)
			value += (double)sums.items[i].buckets[k];
	}
	pthread_mutex_unlock(&lock);
	mem_free(sums.items);
	return value;
}

const char *
metric_status_class(int status)
{
	static const char *const classes[] = { "1xx", "2xx", "3xx", "4xx",
		"5xx" };

	return status >= 100 && status < 600 ? classes[status / 100 - 1]
					     : "other";
}
