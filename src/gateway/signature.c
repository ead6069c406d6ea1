/* SPDX-License-Identifier: Apache-2.0 */
/* Webhook signatures of web chat; see signature.h for the two forms. */
#include "gateway/signature.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/str.h"

#define WINDOW_S 300

static bool
matches(const char *secret, size_t secret_len, const struct buf *signed_text,
    const uint8_t given[SHA256_SIZE])
{
	uint8_t want[SHA256_SIZE];

	if (secret_len == 0)
		return false;
	crypto_hmac_sha256(
	    secret, secret_len, buf_str(signed_text), signed_text->len, want);
	return crypto_equal(want, given, sizeof(want));
}

static enum err_code
check_window(const char *timestamp, uint64_t now_ms)
{
	uint64_t then, now = now_ms / 1000;

	if (!str_to_u64(timestamp, &then))
		return err_set(
		    ERR_UNAUTHORIZED, "the timestamp is not in Unix seconds");
	if (then > now + WINDOW_S || then + WINDOW_S < now)
		return err_set(ERR_UNAUTHORIZED,
		    "the timestamp is more than %d s away", WINDOW_S);
	return OK;
}

enum err_code
signature_verify(const char *secrets, const char *header, const char *timestamp,
    const char *body, size_t len, uint64_t now_ms)
{
	uint8_t given[SHA256_SIZE];
	const char *comma = strchr(secrets, ',');
	size_t first = comma ? (size_t)(comma - secrets) : strlen(secrets);
	struct buf text;
	bool good;

	if (header == NULL)
		return err_set(ERR_UNAUTHORIZED, "the signature is missing");
	if (!str_starts(header, "sha256=") ||
	    !crypto_unhex(header + 7, strlen(header + 7), given, sizeof(given)))
		return err_set(ERR_UNAUTHORIZED,
		    "the signature must be sha256= and 64 hex digits");
	if (timestamp != NULL)
		TRY(check_window(timestamp, now_ms));
	buf_init(&text, 0);
	if (timestamp != NULL)
		buf_addf(&text, "%s.", timestamp);
	buf_add(&text, body, len);
	good = matches(secrets, first, &text, given);
	if (!good && comma != NULL)
		good = matches(comma + 1, strlen(comma + 1), &text, given);
	buf_done(&text);
	if (!good)
		return err_set(ERR_UNAUTHORIZED, "the signature is wrong");
	return OK;
}
