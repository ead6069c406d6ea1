/* SPDX-License-Identifier: Apache-2.0 */
/* Which back end each front stands on: one place reads those settings. */
#include "main/back_ends.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/config.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "domain/live.h"
#include "fiber/loop.h"
#include "kv/kv.h"
#include "model/embed.h"
#include "model/model.h"
#include "object/object.h"
#include "queue/queue.h"
#include "search/search.h"
#include "sqlite/sqlite.h"
#include "store/store.h"

static struct sqlite *db; /* NULL when nothing is embedded */

static bool
is_postgres(const char *url)
{
	return str_starts(url, "postgres://") ||
	       str_starts(url, "postgresql://");
}

static bool
storage_is_set(void)
{
	return config_is_set(CFG_STORAGE_ENDPOINT) ||
	       config_is_set(CFG_STORAGE_ACCESS_KEY) ||
	       config_is_set(CFG_STORAGE_SECRET_KEY) ||
	       config_is_set(CFG_STORAGE_BUCKET);
}

static const char *
search_url(void)
{
	return config_str(
	    config_is_set(CFG_SEARCH_URL) ? CFG_SEARCH_URL : CFG_QDRANT_URL);
}

enum err_code
back_ends_shared(const char *role)
{
	const struct {
		bool there;
		const char *what;
	} needs[] = {
		{ is_postgres(config_str(CFG_STORE_URL)),
		    "XIN_STORE_URL (postgres://...)" },
		{ config_is_set(CFG_REDIS_HOST), "INGEST_REDIS_HOST" },
		{ storage_is_set() || config_is_set(CFG_OBJECTS_URL),
		    "STORAGE_ENDPOINT_URL and its keys (or XIN_OBJECTS_URL)" },
		{ search_url()[0] != '\0', "XIN_SEARCH_URL" },
	};
	char missing[256] = "";
	size_t len = 0;

	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		if (!needs[i].there)
			len += (size_t)snprintf(missing + len,
			    sizeof(missing) - len, "%s%s", len ? ", " : "",
			    needs[i].what);
	if (len == 0)
		return OK;
	return err_set(ERR_CONFIG,
	    "`xin %s` shares its back ends with other processes: set %s; on "
	    "one machine run `xin serve`",
	    role, missing);
}

enum err_code
back_ends_folder(void)
{
	const char *path = config_str(CFG_DATA_DIR);

	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return OK;
	return err_set(ERR_IO, "cannot make %s: %s", path, strerror(errno));
}

static enum err_code
open_database(const char *store_url)
{
	char *path;
	enum err_code rc;

	TRY(back_ends_folder());
	if (str_starts(store_url, "sqlite:") && store_url[7] != '\0')
		path = mem_strdup(store_url + 7);
	else
		path = mem_printf("%s/xin.db", config_str(CFG_DATA_DIR));
	rc = sqlite_open(path, &db);
	mem_free(path);
	return rc;
}

static enum err_code
open_objects(struct object_store **objects_out)
{
	char *folder;
	enum err_code rc;

	if (config_is_set(CFG_OBJECTS_URL))
		return object_open(config_str(CFG_OBJECTS_URL), objects_out);
	if (storage_is_set())
		return object_open("s3:", objects_out);
	folder = mem_printf("file:%s/objects", config_str(CFG_DATA_DIR));
	rc = object_open(folder, objects_out);
	mem_free(folder);
	return rc;
}

/* Only where vectors are searched: making them costs time and money. */
static enum err_code
open_embedder(struct product *product)
{
	const char *url = config_str(CFG_EMBEDDINGS_URL);

	if (url[0] != '\0' && !search_takes_vectors(product->search)) {
		log_warn("embeddings.unused");
		url = "";
	}
	return embed_open(url, &product->embedder);
}

static enum err_code
open_fronts(void *arg)
{
	struct product *product = arg;
	const char *store = config_str(CFG_STORE_URL);
	const char *search = search_url();
	const char *shared = config_is_set(CFG_REDIS_HOST) ? "redis:" : NULL;

	TRY(open_objects(&product->objects));
	TRY(store_open(
	    is_postgres(store) ? store : "sqlite:", db, &product->store));
	TRY(queue_open(shared ?: "sqlite:", db, &product->queue));
	TRY(search_open(search, db, &product->search));
	live_wire(product->search, product->store);
	TRY(model_open(config_str(CFG_MODEL_URL), &product->model));
	TRY(open_embedder(product));
	return kv_open(shared ?: "", &product->kv);
}

enum err_code
back_ends_open(struct product *product, bool migrate)
{
	const char *store = config_str(CFG_STORE_URL);
	bool postgres = is_postgres(store);

	if (store[0] != '\0' && !postgres && !str_starts(store, "sqlite:"))
		return err_set(ERR_CONFIG,
		    "XIN_STORE_URL must begin with postgres:// or sqlite:");
	if (postgres && search_url()[0] == '\0')
		return err_set(ERR_CONFIG,
		    "with PostgreSQL set XIN_SEARCH_URL too: the embedded "
		    "search lives in the embedded database");
	(void)migrate;
	if (!postgres || !config_is_set(CFG_REDIS_HOST))
		TRY(open_database(store));
	return loop_call(loop_at(0), open_fronts, product);
}

void
back_ends_close(struct product *product)
{
	kv_close(product->kv);
	embed_close(product->embedder);
	model_close(product->model);
	search_close(product->search);
	queue_close(product->queue);
	store_close(product->store);
	object_close(product->objects);
	sqlite_close(db);
}
