/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SUPPORT_HTTP_DOUBLE_H
#define XIN_SUPPORT_HTTP_DOUBLE_H

#include <stddef.h>

/*
 * A server that misbehaves as told: one thread, one connection at a time, and a
 * list of answers, one for each request. Answers are sent as they are; with
 * "close" at the end of one (after the bytes) the connection is closed. Special
 * answers: HTTP_DOUBLE_HANG keeps silent until the client goes away.
 */
#define HTTP_DOUBLE_HANG  "hang"
#define HTTP_DOUBLE_CLOSE "close"
#define HTTP_DOUBLE_MAX   16

/* Before loops start. Port of 127.0.0.1. */
int http_double_start(void);
/* What to answer from now on; forgets what was seen. What comes after the last
 * one gets 500. */
void http_double_answers(const char *const answers[], size_t count);
size_t http_double_seen(void);
/* The head of the i-th request since then. */
const char *http_double_head(size_t i);
void http_double_stop(void);

#endif
