/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_METRIC_INTERNAL_H
#define XIN_BASE_METRIC_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "base/metric.h"

/* What recording (metric.c) and exposition (metric_expose.c) share. */
#define SLOTS   4096u /* of a shard; a power of two */
#define BUCKETS 16u

struct metric_entry {
	const char *name;
	enum metric_type type;
	const char *labels;
	const char *help;
};
extern const struct metric_entry metric__table[METRIC_COUNT];

/* The last traced observation of a bucket. `seq` is odd while it is written. */
struct exemplar {
	_Atomic unsigned seq;
	_Atomic uint64_t trace_id[4]; /* 32 hex digits */
	_Atomic uint64_t us;
	_Atomic uint64_t at_ms; /* wall; 0 = none yet */
};

struct histogram {
	_Atomic uint64_t counts[BUCKETS];
	_Atomic uint64_t sum_us;
	struct exemplar exemplars[BUCKETS];
};

struct series {
	enum metric metric;
	enum service service;
	uint64_t hash;
	char *labels; /* values, each NUL-terminated, back to back */
	size_t labels_len;
	_Atomic int64_t value;
	struct histogram *histogram; /* NULL of the others */
};

struct shard {
	struct shard *next;
	_Atomic(struct series *) slots[SLOTS];
	_Atomic unsigned per_metric[METRIC_COUNT]; /* the owner writes */
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

/* The lists are changed under the lock; series are read without it. */
extern pthread_mutex_t metric__lock;
extern struct shard *metric__shards;
extern struct reader *metric__readers;

static inline bool
metric__is_histogram(enum metric metric)
{
	return metric__table[metric].type >= METRIC_HISTOGRAM;
}

/* Upper bound of a bucket but the last. */
uint64_t metric__bound_us(enum metric metric, size_t bucket);
/* Pack label values; at most 64 bytes are kept of each. */
size_t metric__pack(struct metric_labels labels, char *out);

#endif
