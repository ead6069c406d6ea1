/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_ORCHESTRATOR_ORCHESTRATOR_H
#define XIN_ORCHESTRATOR_ORCHESTRATOR_H

#include "domain/product.h"
#include "net/http_server.h"

/* The API and the console, port 8000. The routes' `arg` is the product. */
extern const struct http_route orchestrator_routes[];
/* Names the caller before each handler of /v1. */
enum err_code orchestrator_before(struct http_request *req, void *arg);
enum err_code orchestrator_open(struct product *product, const char *listen,
    struct http_server **server_out);

#endif
