/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_KV_KV_H
#define XIN_KV_KV_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

/*
 * Small shared state with expiry, token buckets, and leases. Bounded: 10,000
 * entries and 16 MiB for each brand. Embedded ("memory:"): in this process,
 * 100,000 buckets and leases, the idlest bucket dropped. "redis:" (settings
 * INGEST_REDIS_*): shared by all replicas, with Redis' clock; fails with
 * ERR_UNAVAILABLE when Redis cannot be asked. All functions but open and close
 * WAIT: call them from a fiber.
 */
struct kv;
enum err_code kv_open(const char *url, struct kv **kv_out);
void kv_close(struct kv *kv);
/* Do other processes see the same? */
bool kv_is_shared(const struct kv *kv);
/* `ttl_ms` 0 = a day. Keys to 256 bytes, values to 64 KiB. */
enum err_code kv_set(struct kv *kv, const char *brand, const char *key,
    const char *value, uint64_t ttl_ms);
/* mem_free; ERR_NOT_FOUND. */
enum err_code kv_get(
    struct kv *kv, const char *brand, const char *key, char **value_out);
enum err_code kv_delete(struct kv *kv, const char *brand, const char *key);
/* Take one token of a bucket that holds `burst` and refills `per_minute`.
 * ERR_RATE_LIMITED with *retry_after_ms_out. Fails open: when Redis cannot be
 * asked the call is let through, counted and warned about, because a limit
 * that protects the service must not be what takes it down. */
enum err_code kv_take_token(struct kv *kv, const char *key, int64_t per_minute,
    int64_t burst, uint64_t *retry_after_ms_out);

/*
 * A lease: one owner of `key` at a time, across replicas. `token` is the
 * owner's, unique to it. Taking what is free or already one's own is OK (and
 * starts its time again); ERR_CONFLICT while another has it. Renewing fails
 * with ERR_CONFLICT once it was lost. Releasing what is not one's own does
 * nothing. Keys and tokens to 256 bytes; `ttl_ms` from 1 to an hour.
 */
enum err_code kv_lease_take(
    struct kv *kv, const char *key, const char *token, uint64_t ttl_ms);
enum err_code kv_lease_renew(
    struct kv *kv, const char *key, const char *token, uint64_t ttl_ms);
enum err_code kv_lease_release(
    struct kv *kv, const char *key, const char *token);

#endif
