/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_GATEWAY_WEBHOOK_H
#define XIN_GATEWAY_WEBHOOK_H

#include "net/http_server.h"

/* POST /webchat/webhook and /webchat/{brand}/webhook. */
enum err_code webhook_receive(struct http_request *req, void *arg);

#endif
