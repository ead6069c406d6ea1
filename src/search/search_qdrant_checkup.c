/* SPDX-License-Identifier: Apache-2.0 */
/* For `xin doctor`: who answers at the URL, and what the collection is like. */
#include <stdio.h>

#include "base/checkup.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "net/http_client.h"
#include "search/search_qdrant.h"

#define GREETING_MAX ((size_t)16 << 10)

/* GET / needs no key: {"title","version","commit"}. */
static void
read_version(const struct qdrant *qdrant, char *version, size_t size)
{
	char *url = mem_printf("%s/", qdrant->url);
	const struct http_call call = {
		.method = "GET", .url = url, .max_reply_bytes = GREETING_MAX
	};
	struct http_call_reply reply;
	json_t *greeting = NULL;

	str_copy(version, size, "?");
	if (http_call(&call, search__qdrant_deadline(QDRANT_READ_MS), &reply) ==
	    OK) {
		if (json_parse(
			buf_str(&reply.body), reply.body.len, &greeting) == OK)
			str_copy(version, size,
			    json_str(greeting, "version") ?: "?");
		json_decref(greeting);
		http_call_reply_done(&reply);
	}
	mem_free(url);
}

enum err_code
search__qdrant_checkup(struct search *search, struct checkup *checkup)
{
	struct qdrant *qdrant = (struct qdrant *)search;
	int64_t dimensions = 0;
	int major, minor;
	char version[32];
	bool there;

	TRY(search__qdrant_look(qdrant, search__qdrant_deadline(QDRANT_READ_MS),
	    &there, &dimensions));
	read_version(qdrant, version, sizeof(version));
	if (sscanf(version, "%d.%d", &major, &minor) == 2 &&
	    (major < 1 || (major == 1 && minor < 12)))
		return err_set(ERR_CONFIG,
		    "%s is Qdrant %s; Xin needs 1.12 or newer", qdrant->url,
		    version);
	snprintf(checkup->facts, sizeof(checkup->facts),
	    "Qdrant %s at %.60s, collection %.60s %s, %lld dimensions", version,
	    qdrant->url, qdrant->collection,
	    there ? "is there" : "comes with the first document",
	    (long long)dimensions);
	return OK;
}
