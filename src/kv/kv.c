/* SPDX-License-Identifier: Apache-2.0 */
/* The front of kv: choice of back end and checks. */
#include "kv/kv.h"

#include <string.h>

#include "base/str.h"
#include "kv/kv_backend.h"

#define KEY_MAX_BYTES    256
#define VALUE_MAX_BYTES  ((size_t)64 << 10)
#define BUCKET_MAX_BYTES 512
#define DAY_MS           ((uint64_t)24 * 3600 * 1000)
#define LEASE_MAX_MS     UINT64_C(3600000)
#define RATE_MAX         INT64_C(1000000000)

static const struct kv_backend *const backends[] = {
	&kv_memory_backend,
	&kv_redis_backend,
};

enum err_code
kv_open(const char *url, struct kv **kv_out)
{
	if (url[0] == '\0')
		url = backends[0]->scheme; /* the embedded one */
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		struct kv *kv;

		if (!str_starts(url, backends[i]->scheme))
			continue;
		TRY(backends[i]->open(url, &kv));
		kv->backend = backends[i];
		*kv_out = kv;
		return OK;
	}
	return err_set(ERR_CONFIG,
	    "kv URL \"%.64s\": this build knows memory: and redis:", url);
}

void
kv_close(struct kv *kv)
{
	if (kv != NULL)
		kv->backend->close(kv);
}

bool
kv_is_shared(const struct kv *kv)
{
	return kv->backend != &kv_memory_backend;
}

static enum err_code
check(const char *brand, const char *key)
{
	if (brand == NULL || !str_is_name(brand))
		return err_set(ERR_INVALID, "kv: the brand is no name");
	if (key == NULL || key[0] == '\0')
		return err_set(ERR_INVALID, "kv: the key is empty");
	if (strnlen(key, KEY_MAX_BYTES + 1) > KEY_MAX_BYTES)
		return err_set(ERR_TOO_LARGE, "kv: the key is over %d bytes",
		    KEY_MAX_BYTES);
	return OK;
}

enum err_code
kv_set(struct kv *kv, const char *brand, const char *key, const char *value,
    uint64_t ttl_ms)
{
	TRY(check(brand, key));
	if (value == NULL)
		return err_set(ERR_INVALID, "kv: the value is missing");
	if (strnlen(value, VALUE_MAX_BYTES + 1) > VALUE_MAX_BYTES)
		return err_set(ERR_TOO_LARGE, "kv: the value is over %zu bytes",
		    VALUE_MAX_BYTES);
	if (ttl_ms == 0 || ttl_ms > 365 * DAY_MS)
		ttl_ms = ttl_ms == 0 ? DAY_MS : 365 * DAY_MS;
	return kv->backend->set(kv, brand, key, value, ttl_ms);
}

enum err_code
kv_get(struct kv *kv, const char *brand, const char *key, char **value_out)
{
	TRY(check(brand, key));
	return kv->backend->get(kv, brand, key, value_out);
}

enum err_code
kv_delete(struct kv *kv, const char *brand, const char *key)
{
	TRY(check(brand, key));
	return kv->backend->delete (kv, brand, key);
}

enum err_code
kv_take_token(struct kv *kv, const char *key, int64_t per_minute, int64_t burst,
    uint64_t *retry_after_ms_out)
{
	if (key == NULL || key[0] == '\0' ||
	    strnlen(key, BUCKET_MAX_BYTES + 1) > BUCKET_MAX_BYTES)
		return err_set(ERR_INVALID,
		    "bucket: want a key of 1 to %d bytes", BUCKET_MAX_BYTES);
	if (per_minute < 1 || per_minute > RATE_MAX || burst < 1 ||
	    burst > RATE_MAX)
		return err_set(ERR_INVALID, "bucket: the rate is out of range");
	return kv->backend->take_token(
	    kv, key, per_minute, burst, retry_after_ms_out);
}

static enum err_code
check_lease(const char *key, const char *token, uint64_t ttl_ms)
{
	if (key == NULL || key[0] == '\0' ||
	    strnlen(key, KEY_MAX_BYTES + 1) > KEY_MAX_BYTES)
		return err_set(ERR_INVALID,
		    "lease: want a key of 1 to %d bytes", KEY_MAX_BYTES);
	if (token == NULL || token[0] == '\0' ||
	    strnlen(token, KEY_MAX_BYTES + 1) > KEY_MAX_BYTES)
		return err_set(ERR_INVALID,
		    "lease: want a token of 1 to %d bytes", KEY_MAX_BYTES);
	if (ttl_ms < 1 || ttl_ms > LEASE_MAX_MS)
		return err_set(ERR_INVALID, "lease: want 1 ms to 1 hour");
	return OK;
}

enum err_code
kv_lease_take(
    struct kv *kv, const char *key, const char *token, uint64_t ttl_ms)
{
	TRY(check_lease(key, token, ttl_ms));
	return kv->backend->lease(kv, key, token, ttl_ms, true);
}

enum err_code
kv_lease_renew(
    struct kv *kv, const char *key, const char *token, uint64_t ttl_ms)
{
	TRY(check_lease(key, token, ttl_ms));
	return kv->backend->lease(kv, key, token, ttl_ms, false);
}

enum err_code
kv_lease_release(struct kv *kv, const char *key, const char *token)
{
	TRY(check_lease(key, token, 1));
	return kv->backend->release(kv, key, token);
}
