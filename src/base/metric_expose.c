/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exposition of what metric.c recorded: all threads' shards and the gauges that
 * are read, added up, as Prometheus text 0.0.4 or as OpenMetrics 1.0.0. The two
 * differ in the names of counters' families, in exemplars and in the end mark:
 *   https://prometheus.io/docs/instrumenting/exposition_formats/
 *   https://prometheus.io/docs/specs/om/open_metrics_spec/
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/metric_internal.h"
#include "base/str.h"

struct seen_exemplar {
	char trace_id[33];
	uint64_t us, at_ms; /* 0 = none */
};

struct sum {
	const char *labels;
	size_t labels_len;
	double value;
	uint64_t counts[BUCKETS], sum_us;
	struct seen_exemplar exemplars[BUCKETS];
};

struct sums {
	struct sum *items;
	size_t count, cap;
};

struct view {
	enum service service;
	bool process_wide, openmetrics;
	struct buf *out;
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
shown(enum service of, const struct view *view)
{
	if (view->service == SERVICE_COUNT)
		return true;
	return of == view->service ||
	       (of == SERVICE_NONE && view->process_wide);
}

/* The newest of all threads' exemplars stays. */
static void
see_exemplar(struct exemplar *exemplar, struct seen_exemplar *seen)
{
	struct seen_exemplar now = { 0 };
	unsigned seq =
	    atomic_load_explicit(&exemplar->seq, memory_order_acquire);
	uint64_t word;

	if (seq == 0 || (seq & 1))
		return;
	for (size_t i = 0; i < 4; i++) {
		word = atomic_load_explicit(
		    &exemplar->trace_id[i], memory_order_acquire);
		memcpy(now.trace_id + 8 * i, &word, 8);
	}
	now.us = atomic_load_explicit(&exemplar->us, memory_order_acquire);
	now.at_ms =
	    atomic_load_explicit(&exemplar->at_ms, memory_order_acquire);
	if (atomic_load_explicit(&exemplar->seq, memory_order_relaxed) == seq &&
	    now.at_ms > seen->at_ms)
		*seen = now;
}

/* Counters of time are whole microseconds inside, of money billionths. */
static double
unit_of(enum metric metric)
{
	if (metric == METRIC_MODEL_COST)
		return 1e9;
	return metric__table[metric].type == METRIC_COUNTER &&
		       str_ends(metric__table[metric].name, "_seconds_total")
		   ? 1e6
		   : 1;
}

static void
add_series(struct sums *sums, const struct series *series)
{
	struct sum *sum = sum_of(sums, series->labels, series->labels_len);
	struct histogram *h = series->histogram;

	sum->value +=
	    (double)atomic_load_explicit(&series->value, memory_order_relaxed) /
	    unit_of(series->metric);
	if (h == NULL)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		sum->counts[i] +=
		    atomic_load_explicit(&h->counts[i], memory_order_relaxed);
		see_exemplar(&h->exemplars[i], &sum->exemplars[i]);
	}
	sum->sum_us += atomic_load_explicit(&h->sum_us, memory_order_relaxed);
}

/* All series of one metric; the lock is held. */
static void
collect(enum metric metric, const struct view *view, struct sums *sums)
{
	struct shard *shard;
	struct reader *r;
	struct series *s;

	for (shard = metric__shards; shard != NULL; shard = shard->next) {
		for (size_t i = 0; i < SLOTS && shard->per_metric[metric] > 0;
		     i++) {
			s = atomic_load_explicit(
			    &shard->slots[i], memory_order_acquire);
			if (s != NULL && s->metric == metric &&
			    shown(s->service, view))
				add_series(sums, s);
		}
	}
	for (r = metric__readers; r != NULL; r = r->next)
		if (r->metric == metric && shown(r->service, view))
			sum_of(sums, r->labels, r->labels_len)->value +=
			    r->read(r->arg);
}

/* Escaped as both formats want it. */
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

/* {method="GET",le="5.0"}: names from the table, values from the packed form.
 */
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

/* "0.005", "1.0", "+Inf": canonical numbers, the same in both formats, so that
 * a bucket is one series however it was asked for. */
static const char *
bound_text(enum metric metric, size_t bucket, char text[32])
{
	if (bucket == BUCKETS - 1)
		return "+Inf";
	snprintf(
	    text, 32, "%.15g", (double)metric__bound_us(metric, bucket) / 1e6);
	if (strchr(text, '.') == NULL && strchr(text, 'e') == NULL)
		strcat(text, ".0");
	return text;
}

static void
add_exemplar(struct buf *out, const struct seen_exemplar *seen)
{
	if (seen->at_ms != 0)
		buf_addf(out, " # {trace_id=\"%s\"} %.6f %.3f", seen->trace_id,
		    (double)seen->us / 1e6, (double)seen->at_ms / 1e3);
}

static void
expose_histogram(
    const struct view *view, enum metric metric, const struct sum *sum)
{
	const struct metric_entry *entry = &metric__table[metric];
	struct buf *out = view->out;
	uint64_t total = 0;
	char text[32];

	for (size_t i = 0; i < BUCKETS; i++) {
		total += sum->counts[i];
		buf_addf(out, "%s_bucket", entry->name);
		add_labels(
		    out, entry->labels, sum, bound_text(metric, i, text));
		buf_addf(out, " %llu", (unsigned long long)total);
		if (view->openmetrics)
			add_exemplar(out, &sum->exemplars[i]);
		buf_addc(out, '\n');
	}
	buf_addf(out, "%s_sum", entry->name);
	add_labels(out, entry->labels, sum, NULL);
	buf_addf(
	    out, " %.6f\n%s_count", (double)sum->sum_us / 1e6, entry->name);
	add_labels(out, entry->labels, sum, NULL);
	buf_addf(out, " %llu\n", (unsigned long long)total);
}

/* The family of a counter has no _total in OpenMetrics; _info is a type there.
 */
static void
expose_head(const struct view *view, const struct metric_entry *entry)
{
	static const char *const types[] = { "counter", "gauge", "histogram",
		"histogram", "histogram" };
	const char *type = types[entry->type], *suffix = "";
	int len = (int)strlen(entry->name);

	if (view->openmetrics && entry->type == METRIC_COUNTER)
		suffix = "_total";
	if (view->openmetrics && str_ends(entry->name, "_info")) {
		suffix = "_info";
		type = "info";
	}
	len -= (int)strlen(suffix);
	buf_addf(view->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", len,
	    entry->name, entry->help, len, entry->name, type);
}

static void
expose_metric(const struct view *view, enum metric metric)
{
	const struct metric_entry *entry = &metric__table[metric];
	struct sums sums = { 0 };

	collect(metric, view, &sums);
	if (sums.count > 0)
		expose_head(view, entry);
	for (size_t i = 0; i < sums.count; i++) {
		const struct sum *sum = &sums.items[i];

		if (metric__is_histogram(metric)) {
			expose_histogram(view, metric, sum);
			continue;
		}
		/* An info is 1 or is not there. */
		if (str_ends(entry->name, "_info") && sum->value == 0)
			continue;
		buf_adds(view->out, entry->name);
		add_labels(view->out, entry->labels, sum, NULL);
		buf_addf(view->out, " %.15g\n", sum->value);
	}
	mem_free(sums.items);
}

void
metric_expose(
    enum service service, bool process_wide, bool openmetrics, struct buf *out)
{
	struct view view = { service, process_wide, openmetrics, out };

	pthread_mutex_lock(&metric__lock);
	for (int m = 0; m < METRIC_COUNT; m++)
		expose_metric(&view, (enum metric)m);
	pthread_mutex_unlock(&metric__lock);
	if (openmetrics)
		buf_adds(out, "# EOF\n");
}

double
metric_value(enum metric metric, struct metric_labels labels)
{
	char packed[METRIC_LABELS_MAX * 65];
	size_t len = metric__pack(labels, packed);
	struct view view = { .service = SERVICE_COUNT };
	struct sums sums = { 0 };
	double value = 0;

	pthread_mutex_lock(&metric__lock);
	collect(metric, &view, &sums);
	for (size_t i = 0; i < sums.count; i++) {
		if (len != 0 && (sums.items[i].labels_len != len ||
				    memcmp(sums.items[i].labels, packed, len)))
			continue;
		value += sums.items[i].value;
		for (size_t k = 0; k < BUCKETS; k++)
			value += (double)sums.items[i].counts[k];
	}
	pthread_mutex_unlock(&metric__lock);
	mem_free(sums.items);
	return value;
}
