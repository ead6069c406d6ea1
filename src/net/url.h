/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_NET_URL_H
#define XIN_NET_URL_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/error.h"

/* Percent-decode in place into out (size >= len+1); false on bad escapes or
 * NUL. '+' stays. */
bool url_decode(const char *in, size_t len, char *out, size_t *len_out);
/* Append percent-encoded (RFC 3986 unreserved kept). */
void url_encode(struct buf *out, const char *text);
/* "host:port" into its parts; [v6]:port too. ERR_INVALID. */
enum err_code url_host_port(
    const char *text, char *host, size_t host_size, int *port_out);

#endif
