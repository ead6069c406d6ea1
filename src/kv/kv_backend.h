/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_KV_KV_BACKEND_H
#define XIN_KV_KV_BACKEND_H

#include "kv/kv.h"

/*
 * For those who implement a back end, and for the contract tests. The front
 * (kv.c) has checked brands, keys, values and rates before an op runs.
 */
struct kv_backend {
	const char *scheme; /* "memory:" */
	enum err_code (*open)(const char *url, struct kv **kv_out);
	void (*close)(struct kv *kv);
	enum err_code (*set)(struct kv *kv, const char *brand, const char *key,
	    const char *value, uint64_t ttl_ms);
	enum err_code (*get)(struct kv *kv, const char *brand, const char *key,
	    char **value_out);
	enum err_code (*delete)(
	    struct kv *kv, const char *brand, const char *key);
	enum err_code (*take_token)(struct kv *kv, const char *key,
	    int64_t per_minute, int64_t burst, uint64_t *retry_after_ms_out);
	/* `fresh`: also when nobody has it; else only the owner's. */
	enum err_code (*lease)(struct kv *kv, const char *key,
	    const char *token, uint64_t ttl_ms, bool fresh);
	enum err_code (*release)(
	    struct kv *kv, const char *key, const char *token);
};

/* A back end's own structure begins with this one, zeroed. */
struct kv {
	const struct kv_backend *backend;
};

extern const struct kv_backend kv_memory_backend;
extern const struct kv_backend kv_redis_backend;

#define KV_BRAND_ENTRIES_MAX 10000
#define KV_BRAND_BYTES_MAX   ((size_t)16 << 20)
#define KV_BUCKETS_MAX       100000
#define KV_LEASES_MAX        100000

/* ---- token buckets of the embedded back end (kv_bucket.c) ---- */
struct kv_buckets;
struct kv_buckets *kv__buckets_new(size_t max);
void kv__buckets_free(struct kv_buckets *buckets);
enum err_code kv__buckets_take(struct kv_buckets *buckets, const char *key,
    int64_t per_minute, int64_t burst, uint64_t *retry_after_ms_out);

/* ---- leases of the embedded back end (kv_lease.c) ---- */
struct kv_leases;
struct kv_leases *kv__leases_new(size_t max);
void kv__leases_free(struct kv_leases *leases);
enum err_code kv__leases_take(struct kv_leases *leases, const char *key,
    const char *token, uint64_t ttl_ms, bool fresh);
void kv__leases_release(
    struct kv_leases *leases, const char *key, const char *token);

#endif
