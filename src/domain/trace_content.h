/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_TRACE_CONTENT_H
#define XIN_DOMAIN_TRACE_CONTENT_H

#include "base/span.h"

/* Text of users in spans: none, unless XIN_TRACE_CONTENT=masked; then every
 * letter and digit but the first of each word is "*". `text` may be NULL. */
void trace_content(struct span *span, enum attribute key, const char *text);
/* The mask alone; `out` holds at most `size` bytes with its NUL. */
void trace_content_mask(const char *text, char *out, size_t size);
/* ERR_CONFIG for another word than none or masked. */
enum err_code trace_content_check(void);

#endif
