/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matching a path against the route table. Tables are short (some forty
 * routes) and compared segment by segment; the first match wins.
 */
#include <string.h>

#include "base/mem.h"
#include "net/http_internal.h"
#include "net/url.h"

static const char *const method_names[] = { "GET", "HEAD", "POST", "PUT",
	"DELETE", "OPTIONS", "PATCH" };

struct match {
	struct http_request *req;
	size_t count;
	struct {
		const char *name, *value;
		size_t name_len, value_len;
	} params[HTTP_PARAMS_MAX];
};

/* `{name}` takes one non-empty segment, `{name...}` the rest. */
static bool
match_param(const char **at, const char **path, struct match *match)
{
	const char *end = strchr(*at, '}');
	size_t name_len = (size_t)(end - *at) - 1;
	size_t len = strcspn(*path, "/");

	if (name_len > 3 && memcmp(end - 3, "...", 3) == 0) {
		name_len -= 3;
		len = strlen(*path);
	}
	if (len == 0 || match->count == HTTP_PARAMS_MAX)
		return false;
	match->params[match->count].name = *at + 1;
	match->params[match->count].name_len = name_len;
	match->params[match->count].value = *path;
	match->params[match->count++].value_len = len;
	*at = end + 1;
	*path += len;
	return true;
}

/* Matched on the path as sent: an encoded slash is no slash. */
static bool
matches(const char *template, const char *path, struct match *match)
{
	match->count = 0;
	while (*template != '\0') {
		if (*template == '{') {
			if (!match_param(&template, &path, match))
				return false;
		} else if (*template ++ != *path++) {
			return false;
		}
	}
	return *path == '\0';
}

static bool
keep_params(struct http_request *req, const struct match *match)
{
	for (size_t i = 0; i < match->count; i++) {
		size_t len = match->params[i].value_len;
		char *value = arena_alloc(&req->arena, len + 1);

		if (value == NULL ||
		    !url_decode(match->params[i].value, len, value, &len))
			return false;
		req->params[i].name = arena_strndup(&req->arena,
		    match->params[i].name, match->params[i].name_len);
		req->params[i].value = value;
	}
	req->param_count = match->count;
	return true;
}

static bool
serves(const struct http_route *route, const struct http_request *req)
{
	if (req->foreign)
		return false;
	return route->method == req->method ||
	       (route->method == HTTP_M_GET && req->method == HTTP_M_HEAD);
}

static void
add_allow(char *allow, size_t size, const char *name)
{
	size_t len = strlen(allow);

	if (strstr(allow, name) == NULL && len + strlen(name) + 3 < size) {
		if (len > 0)
			strcat(allow, ", ");
		strcat(allow, name);
	}
}

enum err_code
http__route(struct http_request *req, const struct http_route *routes,
    char *allow, size_t allow_size)
{
	struct match match = { .req = req };
	size_t len = strcspn(req->target, "?");
	char *raw = arena_strndup(&req->arena, req->target, len);

	allow[0] = '\0';
	if (raw == NULL)
		return ERR_TOO_LARGE;
	for (const struct http_route *r = routes; r->template != NULL; r++) {
		if (!matches(r->template, raw, &match))
			continue;
		if (serves(r, req)) {
			if (!keep_params(req, &match))
				return err_set(ERR_INVALID,
				    "the path has a bad percent code");
			req->route = r;
			return OK;
		}
		add_allow(allow, allow_size, method_names[r->method]);
		if (r->method == HTTP_M_GET)
			add_allow(allow, allow_size, "HEAD");
	}
	if (allow[0] != '\0')
		return err_set(
		    ERR_METHOD, "\"%.200s\" allows %s", req->path, allow);
	return err_set(ERR_NOT_FOUND, "no such path: \"%.200s\"", req->path);
}
