/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_GATEWAY_GATEWAY_H
#define XIN_GATEWAY_GATEWAY_H

#include "domain/product.h"
#include "net/http_server.h"

/*
 * The channel gateway, port 8080: verifies, parses and answers webhooks. It
 * asks the orchestrator through one front with two back ends: a direct call
 * (product given) or HTTP (XIN_ORCHESTRATOR_URL).
 */
extern const struct http_route gateway_routes[];
/* `more` (may be NULL): routes of the API that this port forwards to in
 * `xin serve`, with `before` for them. */
enum err_code gateway_open(struct product *product, const char *listen,
    const struct http_route *more,
    enum err_code (*before)(struct http_request *req, void *arg),
    struct http_server **server_out);

#endif
