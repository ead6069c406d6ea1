/* SPDX-License-Identifier: Apache-2.0 */
/* Percent codes and host:port (RFC 3986). */
#include "net/url.h"

#include <string.h>

#include "base/str.h"

bool
url_decode(const char *in, size_t len, char *out, size_t *len_out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = in[i];

		if (c == '%') {
			if (len - i < 3 || str_hex_value(in[i + 1]) < 0 ||
			    str_hex_value(in[i + 2]) < 0)
				return false;
			c = (char)(str_hex_value(in[i + 1]) << 4 |
				   str_hex_value(in[i + 2]));
			i += 2;
		}
		if (c == '\0')
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	*len_out = n;
	return true;
}

void
url_encode(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
		    (c >= 'A' && c <= 'Z') || strchr("-._~", c) != NULL)
			buf_addc(out, (char)c);
		else
			buf_addf(out, "%%%02X", c);
	}
}

enum err_code
url_host_port(const char *text, char *host, size_t host_size, int *port_out)
{
	const char *colon = strrchr(text, ':'), *from = text;
	uint64_t port;
	size_t len;

	if (colon == NULL || !str_to_u64(colon + 1, &port) || port > 65535)
		return err_set(ERR_INVALID, "\"%s\" is not host:port", text);
	len = (size_t)(colon - text);
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		from++;
		len -= 2;
	} else if (memchr(text, ':', len) != NULL) {
		return err_set(ERR_INVALID,
		    "\"%s\": an IPv6 address needs brackets", text);
	}
	if (len == 0 || !str_copy_n(host, host_size, from, len))
		return err_set(ERR_INVALID, "\"%s\" is not host:port", text);
	*port_out = (int)port;
	return OK;
}
