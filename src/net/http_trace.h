/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_NET_HTTP_TRACE_H
#define XIN_NET_HTTP_TRACE_H

#include "base/error.h"
#include "net/http_client.h"

/* Inside this folder: what http_call does for the running trace. */
#define HTTP_TRACE_LINES 3
#define HTTP_SITE_SIZE   128

struct span;
struct span *http__trace_begin(const struct http_call *call);
/* `status` is looked at when rc is OK. */
void http__trace_end(struct span *span, enum err_code rc, int status);
/* "name: value", to be freed; the rest stays NULL. */
void http__trace_lines(enum http_trace how, char *lines[HTTP_TRACE_LINES]);

/* Host and port, for sentences and spans: paths and queries may hold secrets,
 * and so may what stands before an "@". */
void http__site(const char *url, char site[HTTP_SITE_SIZE]);

#endif
