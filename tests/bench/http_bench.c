/* SPDX-License-Identifier: Apache-2.0 */
/* The server alone with one plain route, to be driven by wrk:
 * http_bench [loops [seconds]] prints its address and serves. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "fiber/loop.h"
#include "net/http_server.h"

static enum err_code
live(struct http_request *req, void *arg)
{
	(void)arg;
	return http_reply(
	    req, 200, "application/json", "{\"status\":\"ok\"}", 15);
}

static const struct http_route routes[] = {
	{ HTTP_M_GET, "/health/live", HTTP_BODY_NONE, live },
	{ 0, NULL, 0, NULL },
};

int
main(int argc, char **argv)
{
	struct http_server *server;
	unsigned loops = argc > 1 ? (unsigned)atoi(argv[1]) : 1;

	log_setup(STDERR_FILENO, LOG_LEVEL_INFO, false);
	if (loops_start(loops) != OK ||
	    http_server_open(&(struct http_options){ .listen = "127.0.0.1:0",
				 .routes = routes },
		&server) != OK)
		panic("%s", err_message());
	printf("http://127.0.0.1:%d/health/live\n", http_server_port(server));
	fflush(stdout);
	sleep(argc > 2 ? (unsigned)atoi(argv[2]) : 10);
	http_server_close(server, 1000);
	http_server_free(server);
	loops_stop(1000);
	return 0;
}
