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
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric_internal.h"
#include "base/trace.h"

const struct metric_entry metric__table[METRIC_COUNT] = {
#define METRIC(sym, type, name, labels, help)                                  \
	[sym] = { name, type, labels, help },
#include "base/metrics.def"
#undef METRIC
};

/* Upper bounds in microseconds; the last bucket is +Inf. */
#define MS *1000u
#define S  *1000000u
static const uint64_t bounds_us[][BUCKETS - 1] = {
	[METRIC_HISTOGRAM] = { 1 MS, 2500, 5 MS, 10 MS, 25 MS, 50 MS, 100 MS,
	    250 MS, 500 MS, 1 S, 2500 MS, 5 S, 10 S, 30 S, 60 S },
	[METRIC_HISTOGRAM_QUICK] = { 100, 250, 500, 1 MS, 2500, 5 MS, 10 MS,
	    25 MS, 50 MS, 100 MS, 250 MS, 500 MS, 1 S, 2500 MS, 5 S },
	[METRIC_HISTOGRAM_SLOW] = { 10 MS, 50 MS, 100 MS, 250 MS, 500 MS, 1 S,
	    2500 MS, 5 S, 10 S, 30 S, 60 S, 120 S, 300 S, 600 S, 1800 S },
};
#undef MS
#undef S

uint64_t
metric__bound_us(enum metric metric, size_t bucket)
{
	return bounds_us[metric__table[metric].type][bucket];
}

pthread_mutex_t metric__lock = PTHREAD_MUTEX_INITIALIZER;
struct shard *metric__shards;
struct reader *metric__readers;
static _Thread_local struct shard *own;
static atomic_bool off;

void
metric_switch_off(void)
{
	atomic_store(&off, true);
}

bool
metric_is_on(void)
{
	return !atomic_load_explicit(&off, memory_order_relaxed);
}

static struct shard *
my_shard(void)
{
	if (own == NULL) {
		own = mem_zero(sizeof(*own));
		pthread_mutex_lock(&metric__lock);
		own->next = metric__shards;
		metric__shards = own;
		pthread_mutex_unlock(&metric__lock);
	}
	return own;
}

/* Pack the label values; at most 64 bytes are kept of each. */
size_t
metric__pack(struct metric_labels labels, char *out)
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

static uint64_t
mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 32;
}

/* Eight bytes a step: this is most of what a record costs. */
static uint64_t
hash_of(const char *labels, size_t len)
{
	uint64_t hash = len, word;

	for (; len >= sizeof(word); len -= sizeof(word)) {
		memcpy(&word, labels, sizeof(word));
		hash = mix(hash, word);
		labels += sizeof(word);
	}
	word = 0;
	memcpy(&word, labels, len);
	return mix(hash, word);
}

static struct series *
find(enum metric metric, enum service service, const char *labels, size_t len,
    unsigned ceiling)
{
	struct shard *shard = my_shard();
	uint64_t hash = hash_of(labels, len) ^
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
		if (metric__is_histogram(metric))
			series->histogram =
			    mem_zero(sizeof(*series->histogram));
		atomic_store_explicit(slot, series, memory_order_release);
		return series;
	}
	return NULL;
}

static struct series *
lookup(enum metric metric, enum service service, struct metric_labels labels)
{
	char packed[METRIC_LABELS_MAX * 65];
	size_t len = metric__pack(labels, packed);
	struct series *series =
	    find(metric, service, packed, len, METRIC_SERIES_MAX);

	if (series != NULL)
		return series;
	for (size_t i = 0; i < METRIC_LABELS_MAX && labels.value[i]; i++)
		labels.value[i] = "other";
	len = metric__pack(labels, packed);
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

static enum service
own_service(void)
{
	const struct task *task = task_self();

	return task != NULL ? task->service : SERVICE_NONE;
}

static void
move(enum metric metric, enum service service, struct metric_labels labels,
    int64_t by)
{
	struct series *series;

	if (!metric_is_on())
		return;
	series = lookup(metric, service, labels);
	if (series != NULL)
		atomic_store_explicit(&series->value,
		    atomic_load_explicit(&series->value, memory_order_relaxed) +
			by,
		    memory_order_relaxed);
}

void
metric_move(enum metric metric, struct metric_labels labels, int64_t by)
{
	move(metric, own_service(), labels, by);
}

void
metric_move_process(enum metric metric, struct metric_labels labels, int64_t by)
{
	move(metric, SERVICE_NONE, labels, by);
}

/* One writer, many readers: `seq` is odd while the fields change, and a reader
 * that saw it change takes nothing. Release on each field keeps the odd value
 * before it. */
static void
keep_exemplar(struct exemplar *exemplar, const char trace_id[33], uint64_t us)
{
	unsigned seq =
	    atomic_load_explicit(&exemplar->seq, memory_order_relaxed);
	uint64_t word;

	atomic_store_explicit(&exemplar->seq, seq + 1, memory_order_relaxed);
	for (size_t i = 0; i < 4; i++) {
		memcpy(&word, trace_id + 8 * i, 8);
		atomic_store_explicit(
		    &exemplar->trace_id[i], word, memory_order_release);
	}
	atomic_store_explicit(&exemplar->us, us, memory_order_release);
	atomic_store_explicit(
	    &exemplar->at_ms, clock_wall_ms(), memory_order_release);
	atomic_store_explicit(&exemplar->seq, seq + 2, memory_order_release);
}

void
metric_observe_us(enum metric metric, struct metric_labels labels, uint64_t us)
{
	const struct task *task = task_self();
	struct series *series;
	size_t i = 0;

	if (!metric_is_on())
		return;
	series = lookup(metric, own_service(), labels);
	if (series == NULL || series->histogram == NULL)
		return;
	while (i < BUCKETS - 1 && us > metric__bound_us(metric, i))
		i++;
	add(&series->histogram->counts[i], 1);
	add(&series->histogram->sum_us, us);
	if (task != NULL && (task->trace_flags & TRACE_SAMPLED) &&
	    task->trace_id[0] != '\0')
		keep_exemplar(
		    &series->histogram->exemplars[i], task->trace_id, us);
}

void
metric_show(
    enum metric metric, enum service service, struct metric_labels labels)
{
	char packed[METRIC_LABELS_MAX * 65];
	size_t len = metric__pack(labels, packed);

	if (!metric_is_on())
		return;
	(void)find(metric, service, packed, len, METRIC_SERIES_MAX);
}

void
metric_gauge_read(enum metric metric, enum service service,
    struct metric_labels labels, metric_read_fn read, void *arg)
{
	struct reader *reader = mem_zero(sizeof(*reader));
	char packed[METRIC_LABELS_MAX * 65];

	reader->metric = metric;
	reader->service = service;
	reader->labels_len = metric__pack(labels, packed);
	reader->labels = mem_alloc(reader->labels_len + 1);
	memcpy(reader->labels, packed, reader->labels_len);
	reader->read = read;
	reader->arg = arg;
	pthread_mutex_lock(&metric__lock);
	reader->next = metric__readers;
	metric__readers = reader;
	pthread_mutex_unlock(&metric__lock);
}

const char *
metric_status_class(int status)
{
	static const char *const classes[] = { "1xx", "2xx", "3xx", "4xx",
		"5xx" };

	return status >= 100 && status < 600 ? classes[status / 100 - 1]
					     : "other";
}
