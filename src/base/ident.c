/* SPDX-License-Identifier: Apache-2.0 */
/* Identifiers that sort by time (https://github.com/ulid/spec). */
#include "base/ident.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"

#define BODY 26

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

void
ident_new(const char *prefix, char out[IDENT_SIZE])
{
	uint64_t ms = clock_wall_ms();
	uint8_t noise[16];
	size_t at = (size_t)snprintf(out, IDENT_SIZE, "%.4s_", prefix);

	crypto_random(noise, sizeof(noise));
	for (int i = 9; i >= 0; i--, ms >>= 5)
		out[at + (size_t)i] = alphabet[ms & 31];
	for (size_t i = 0; i < 16; i++)
		out[at + 10 + i] = alphabet[noise[i] & 31];
	out[at + BODY] = '\0';
}

bool
ident_valid(const char *id, const char *prefix)
{
	size_t at = strlen(prefix);

	if (strncmp(id, prefix, at) != 0 || id[at] != '_')
		return false;
	if (strlen(id + at + 1) != BODY)
		return false;
	return strspn(id + at + 1, alphabet) == BODY;
}
