/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_MASK_H
#define XIN_BASE_MASK_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The rule of all sentences of errors: what came from outside (a user, a
 * script's value, another service's answer) stands in double quotes. Who may
 * see it, the caller or a brand's operator, gets the sentence as it is; logs,
 * spans and lists for others get it from here, without what is quoted.
 */

/* `sentence` with "(n bytes)" for all from its first quote to its last, since
 * the quoted text may hold quotes itself; to its end when that cannot be told:
 * a quote is open, or ERR_MESSAGE_MAX may have cut it. Identifiers of ours are
 * left in. NULL gives "". */
void mask_quoted(const char *sentence, char *out, size_t size);

/* An identifier of ours (base/ident.h): two letters, "_", 26 more. */
bool mask_is_id(const char *text, size_t len);

/* A word as programs use them ([A-Za-z0-9_.:-], at most 64) as it is, anything
 * else as "(n bytes)". */
void mask_unless_word(const char *text, char *out, size_t size);

/* `text` with double quotes around what does not stand in `known` (a script's
 * source; 6 bytes in a row at least), from the first such byte to the last: a
 * sentence for mask_quoted. */
void mask_quote_foreign(const char *text, const char *known, size_t known_len,
    char *out, size_t size);

#endif
