/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_KV_KV_H
#define XIN_KV_KV_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

/*
 * Small shared state with expiry, and token buckets. Embedded: in this
 * process, sharded by brand, bounded (kv: 10,000 entries and 16 MiB for
 * each brand; buckets: 100,000, the idlest dropped). Does not wait.
 */
struct kv;
enum err_code kv_open(const char *url, struct kv **kv_out);
void kv_close(struct kv *kv);
/* `ttl_ms` 0 = a day. Keys to 256 bytes, values to 64 KiB. */
enum err_code kv_set(struct kv *kv, const char *brand, const char *key,
    const char *value, uint64_t ttl_ms);
/* mem_free; ERR_NOT_FOUND. */
enum err_code kv_get(
    struct kv *kv, const char *brand, const char *key, char **value_out);
enum err_code kv_delete(struct kv *kv, const char *brand, const char *key);
/* Take one token of a bucket that holds `burst` and refills `per_minute`.
 * ERR_RATE_LIMITED with *retry_after_ms_out. */
enum err_code kv_take_token(struct kv *kv, const char *key, int64_t per_minute,
    int64_t burst, uint64_t *retry_after_ms_out);

#endif
