/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_EXTRACT_MAIL_INTERNAL_H
#define XIN_EXTRACT_MAIL_INTERNAL_H

#include "base/buf.h"

/* Shared by mail.c (structure) and mail_decode.c (encodings). */

enum mail__encoding { MAIL_PLAIN, MAIL_BASE64, MAIL_QUOTED };

/* Decoding of a body, line by line. */
struct mail__decoder {
	enum mail__encoding encoding;
	unsigned bits; /* base64 that is not a whole byte yet */
	int bit_count;
};
void mail__decode_line(struct mail__decoder *decoder, const char *line,
    size_t len, struct buf *out);

/* A header's value as UTF-8: encoded words (RFC 2047) decoded, other bytes
 * guessed, white space folded. */
void mail__header_text(const char *value, size_t len, struct buf *out);
/* A parameter of a structured header (RFC 2045, 2231): `name` of
 * `text/plain; charset="utf-8"`. False when it has none. */
bool mail__parameter(
    const char *header, const char *name, char *value, size_t size);
/* "text/plain" in lower case. */
void mail__type(const char *header, char *type, size_t size);

#endif
