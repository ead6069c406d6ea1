/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_SERVICE_API_H
#define XIN_DOMAIN_SERVICE_API_H

#include <stdbool.h>
#include "domain/product.h"
#include "net/http_server.h"

/* What every service and exporter answers: /health (readiness, 503 with the
 * reasons when not), /health/live, /metrics (of the service that the server
 * belongs to). The server's `arg` is the product, or NULL (no back ends). */
enum err_code service_health(struct http_request *req, void *arg);
enum err_code service_live(struct http_request *req, void *arg);
enum err_code service_metrics(struct http_request *req, void *arg);

/* From the moment on that SIGTERM came: /health is 503 "draining". */
void service_drain(void);
/* The service whose port also shows the process-wide series. */
void service_process_owner(enum service service);
/* An exporter: the three routes on an own port, bound exclusively. A taken
 * port is logged once (`metrics exporter disabled; port in use`) and OK is
 * returned with *server_out NULL. */
enum err_code service_exporter_open(struct product *product,
    enum service service, const char *host, int port,
    struct http_server **server_out);

#endif
