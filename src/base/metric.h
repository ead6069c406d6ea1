/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_METRIC_H
#define XIN_BASE_METRIC_H

#include <stdbool.h>
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

/* Histograms are in seconds; they differ in their 15 bounds. */
enum metric_type {
	METRIC_COUNTER,
	METRIC_GAUGE,
	METRIC_HISTOGRAM,       /* 1 ms to 1 min: an answer */
	METRIC_HISTOGRAM_QUICK, /* 0.1 ms to 5 s: a step inside */
	METRIC_HISTOGRAM_SLOW   /* 10 ms to 30 min: a job, a model */
};

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

/* Recording is on until it is switched off, once at start, before threads: the
 * functions below then return at once, and there is nothing to expose. */
void metric_switch_off(void);
bool metric_is_on(void);

void metric_count(enum metric metric, struct metric_labels labels, uint64_t n);
/* The bucket keeps the trace of the last one as its exemplar, when the running
 * task's trace is recorded. */
void metric_observe_us(
    enum metric metric, struct metric_labels labels, uint64_t microseconds);
/* Show a series before anything happens, as 0: what first appears as 1 has not
 * grown in Prometheus' eyes. Call from a thread that lives on. */
void metric_show(
    enum metric metric, enum service service, struct metric_labels labels);
/* A gauge moves by differences, so that shards add up. */
void metric_move(enum metric metric, struct metric_labels labels, int64_t by);
/* The same for what belongs to the process, whoever runs. */
void metric_move_process(
    enum metric metric, struct metric_labels labels, int64_t by);
/* Gauges whose value is read at exposition time. `read` runs on any thread. */
typedef double (*metric_read_fn)(void *arg);
void metric_gauge_read(enum metric metric, enum service service,
    struct metric_labels labels, metric_read_fn read, void *arg);

/* Exposition of one service (SERVICE_COUNT = all): OpenMetrics 1.0.0 with
 * exemplars, or Prometheus text 0.0.4. Series without a service are shown when
 * `process_wide`. */
void metric_expose(
    enum service service, bool process_wide, bool openmetrics, struct buf *out);
/* Sum over all threads and services; for tests and health. */
double metric_value(enum metric metric, struct metric_labels labels);

/* "2xx" ... "5xx" for an HTTP status. */
const char *metric_status_class(int status);

#endif
