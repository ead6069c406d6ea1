/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_GATEWAY_SIGNATURE_H
#define XIN_GATEWAY_SIGNATURE_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/*
 * Web chat signatures: HMAC-SHA256, hex, as "sha256=<hex>", over the raw body,
 * or over "<timestamp>.<body>" when a timestamp (Unix seconds) is given, which
 * must be within 300 s of now. `secrets`: one, or two separated by a comma
 * while rotating. ERR_UNAUTHORIZED. Compared in constant time.
 */
enum err_code signature_verify(const char *secrets, const char *header,
    const char *timestamp, const char *body, size_t len, uint64_t now_ms);

#endif
