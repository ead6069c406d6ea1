/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Search and store stand on one floor and know nothing of each other. A search
 * index outside of the store's database asks through these functions which
 * versions of documents are live.
 */
#include "domain/live.h"

#include "search/search.h"
#include "store/store.h"

static enum err_code
live_versions(void *arg, const char *brand, const char *const *ids,
    size_t count, int64_t *versions_out)
{
	return store_live_versions(arg, brand, ids, count, versions_out);
}

static enum err_code
live_describe(void *arg, const char *brand, const char *id, char **metadata_out,
    char **source_url_out)
{
	struct source source;

	TRY(store_source_get(arg, brand, id, &source));
	*metadata_out = source.metadata;
	*source_url_out = source.source_url;
	source.metadata = NULL;
	source.source_url = NULL;
	source_done(&source);
	return OK;
}

void
live_wire(struct search *search, struct store *store)
{
	const struct search_live live = {
		.arg = store,
		.versions = live_versions,
		.describe = live_describe,
	};

	search_set_live(search, &live);
}
