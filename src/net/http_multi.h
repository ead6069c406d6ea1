/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_NET_HTTP_MULTI_H
#define XIN_NET_HTTP_MULTI_H

#include <curl/curl.h>
#include <stdbool.h>

/*
 * Transfers of the calling loop. All functions run on the loop's stack
 * (fiber_on_loop_stack): TLS needs more than a fiber has. Limits on connections
 * are for each loop.
 */
struct fiber;
struct http__end {
	struct fiber *fiber; /* woken when it ended */
	bool finished;
	CURLcode code;
};

/* An easy handle's first call. `end` stays until http__multi_remove. */
void http__multi_add(CURL *easy, struct http__end *end);
/* Go on with a transfer that a callback paused. */
void http__multi_resume(CURL *easy);
void http__multi_remove(CURL *easy);

#endif
