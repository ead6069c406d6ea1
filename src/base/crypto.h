/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_CRYPTO_H
#define XIN_BASE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/* Hashes and codes over libcrypto. Thread-safe; contexts are for each thread.
 */

#define SHA256_SIZE     32
#define SHA256_HEX_SIZE 65

void crypto_sha256(const void *data, size_t len, uint8_t out[SHA256_SIZE]);
void crypto_sha256_hex(const void *data, size_t len, char out[SHA256_HEX_SIZE]);
/* For what a protocol wants in SHA-1 (UUID version 5), nothing else. */
#define SHA1_SIZE 20
void crypto_sha1(const void *data, size_t len, uint8_t out[SHA1_SIZE]);
void crypto_hmac_sha256(const void *key, size_t key_len, const void *data,
    size_t len, uint8_t out[SHA256_SIZE]);

/* Incremental SHA-256, for bodies that stream. */
struct crypto_hash;
struct crypto_hash *crypto_hash_new(void);
void crypto_hash_add(struct crypto_hash *hash, const void *data, size_t len);
void crypto_hash_end(struct crypto_hash *hash, uint8_t out[SHA256_SIZE]);
void crypto_hash_free(struct crypto_hash *hash);

void crypto_random(void *out, size_t len);
/* Constant time in the contents; lengths are not secret. */
bool crypto_equal(const void *a, const void *b, size_t len);

void crypto_hex(const void *data, size_t len, char *out /* 2 len + 1 */);
/* False unless `hex` is exactly 2 * len hex digits. */
bool crypto_unhex(const char *hex, size_t hex_len, void *out, size_t len);
/* Unpadded base64url (RFC 4648 section 5); out holds 4 * ((len+2)/3) + 1. */
void crypto_base64url(const void *data, size_t len, char *out);

/* Fast keyed hash for tables and stable placement; not for secrets. */
uint64_t crypto_fnv1a(const void *data, size_t len);

#endif
