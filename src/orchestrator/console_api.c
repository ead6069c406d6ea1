/* SPDX-License-Identifier: Apache-2.0 */
/* The console's pages and the OpenAPI file, all inside the program. */
#include <stdio.h>
#include <string.h>

#include "base/embed.h"
#include "base/str.h"
#include "orchestrator/api.h"

#define POLICY                                                                 \
	"default-src 'none'; script-src 'self'; style-src 'self'; "            \
	"img-src 'self' data:; connect-src 'self'; base-uri 'none'; "          \
	"form-action 'none'; frame-ancestors 'none'"

static const char *
type_of(const char *name)
{
	if (str_ends(name, ".html"))
		return "text/html; charset=utf-8";
	if (str_ends(name, ".css"))
		return "text/css; charset=utf-8";
	if (str_ends(name, ".js"))
		return "text/javascript; charset=utf-8";
	if (str_ends(name, ".svg"))
		return "image/svg+xml";
	return "application/json";
}

static enum err_code
reply_embedded(struct http_request *req, const char *path)
{
	const struct embed *file = embed_find(path);

	if (file == NULL)
		return err_set(
		    ERR_NOT_FOUND, "no such file \"%.200s\"", http_path(req));
	http_set_header(req, "Content-Security-Policy", POLICY);
	http_set_header(req, "X-Content-Type-Options", "nosniff");
	http_set_header(req, "Referrer-Policy", "no-referrer");
	http_set_header(req, "Cache-Control", "no-cache");
	return http_reply(
	    req, 200, type_of(path), file->data, (size_t)file->len);
}

HANDLER(api__console)
{
	(void)arg;
	return reply_embedded(req, "src/console/index.html");
}

HANDLER(api__console_file)
{
	char path[128];

	(void)arg;
	snprintf(
	    path, sizeof(path), "src/console/%.64s", http_param(req, "file"));
	return reply_embedded(req, path);
}

HANDLER(api__openapi)
{
	(void)arg;
	return reply_embedded(req, "schemas/openapi.json");
}

HANDLER(api__docs)
{
	(void)arg;
	return reply_embedded(req, "src/console/docs.html");
}
