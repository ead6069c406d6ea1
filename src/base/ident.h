/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_IDENT_H
#define XIN_BASE_IDENT_H

#include <stdbool.h>

/*
 * Identifiers: a prefix, "_", and 26 characters of Crockford base 32 (48 bits
 * of milliseconds, 80 of randomness: the ULID layout), so that they sort by
 * time. Prefixes: kn document, cv conversation, tn turn, ms message, jb job,
 * ky key, rq request.
 */
#define IDENT_SIZE 32

void ident_new(const char *prefix, char out[IDENT_SIZE]);
bool ident_valid(const char *id, const char *prefix);

#endif
