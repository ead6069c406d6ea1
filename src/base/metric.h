/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_METRIC_H
#define XIN_BASE_METRIC_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/task.h"

/*
 * Metric recording. The table metrics.def has every metric; a series is a
 * metric with its label values and the service it belongs to. Recording takes
 * no lock: each thread writes its own shard, and the exposition adds them up.
 * A thread's first use of a series allocates it. METRIC_SERIES_MAX series for
 * each metric and thread; further label values are counted under "other".
 */
#define METRIC_LABELS_MAX 4
#define METRIC_SERIES_MAX 512

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

enum metric {
#define METRIC(sym, type, name, labels, help) sym,
#include "base/metrics.def"
#undef METRIC
	METRIC_COUNT
};

/* Label values in the order of the table's label names. Unused ones NULL. The
 * service is the running task's. */
struct metric_labels {
	const char *value[METRIC_LABELS_MAX];
};
#define METRIC_NO_LABELS ((struct metric_labels){ { NULL } })
#define LABELS(...)      ((struct metric_labels){ { __VA_ARGS__ } })

void metric_count(enum metric metric, struct metric_labels labels, uint64_t n);
/* Histograms are in seconds; the bounds are those of Prometheus' defaults. */
void metric_observe_us(
    enum metric metric, struct metric_labels labels, uint64_t microseconds);
/* A gauge moves by differences, so that shards add up. */
void metric_move(enum metric metric, struct metric_labels labels, int64_t by);
/* Gauges whose value is read at exposition time. `read` runs on any thread. */
typedef double (*metric_read_fn)(void *arg);
void metric_gauge_read(enum metric metric, enum service service,
    struct metric_labels labels, metric_read_fn read, void *arg);

/* Prometheus text exposition 0.0.4 of one service (SERVICE_COUNT = all).
 * Series without a service are shown when `process_wide`. */
void metric_expose(enum service service, bool process_wide, struct buf *out);
/* Sum over all threads and services; for tests and health. */
double metric_value(enum metric metric, struct metric_labels labels);

/* "2xx" ... "5xx" for an HTTP status. */
const char *metric_status_class(int status);

#endif
