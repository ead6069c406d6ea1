/* SPDX-License-Identifier: Apache-2.0 */
/* Which back end each front stands on: one place reads those settings. */
#include "main/back_ends.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checkup.h"
#include "base/config.h"
#include "base/mem.h"
#include "base/str.h"
#include "domain/live.h"
#include "fiber/loop.h"
#include "kv/kv.h"
#include "model/embed.h"
#include "model/model.h"
#include "object/object.h"
#include "postgres/postgres.h"
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

static char *
database_path(void)
{
	const char *url = config_str(CFG_STORE_URL);

	if (str_starts(url, "sqlite:") && url[7] != '\0')
		return mem_strdup(url + 7);
	return mem_printf("%s/xin.db", config_str(CFG_DATA_DIR));
}

static enum err_code
open_database(void)
{
	enum err_code rc;
	char *path;

	TRY(back_ends_folder());
	path = database_path();
	rc = sqlite_open(path, &db);
	mem_free(path);
	return rc;
}

/* NULL = a service has them. */
static char *
objects_url(void)
{
	if (config_is_set(CFG_OBJECTS_URL))
		return mem_strdup(config_str(CFG_OBJECTS_URL));
	if (storage_is_set())
		return NULL;
	return mem_printf("file:%s/objects", config_str(CFG_DATA_DIR));
}

static enum err_code
open_objects(struct product *product)
{
	char *url = objects_url();
	enum err_code rc =
	    object_open(url != NULL ? url : "s3:", &product->objects);

	mem_free(url);
	return rc;
}

enum err_code
back_ends_files(char **database_out, char **objects_out)
{
	char *url;

	if (is_postgres(config_str(CFG_STORE_URL)))
		return err_set(ERR_CONFIG,
		    "the store is PostgreSQL: back it up with pg_dump, and the "
		    "objects where they are (docs/backup-restore.md)");
	url = objects_url();
	*database_out = database_path();
	*objects_out = url != NULL && str_starts(url, "file:")
			   ? mem_strdup(url + strlen("file:"))
			   : NULL;
	mem_free(url);
	return OK;
}

static enum err_code
open_embedder(struct product *product)
{
	return embed_open(config_str(CFG_EMBEDDINGS_URL), &product->embedder);
}

static enum err_code
open_store(struct product *product)
{
	const char *url = config_str(CFG_STORE_URL);

	if (url[0] != '\0' && !is_postgres(url) && !str_starts(url, "sqlite:"))
		return err_set(ERR_CONFIG,
		    "XIN_STORE_URL must begin with postgres:// or sqlite:");
	return store_open(
	    is_postgres(url) ? url : "sqlite:", db, &product->store);
}

/* "redis:" when a Redis is set. */
static const char *
shared_or(const char *embedded)
{
	return config_is_set(CFG_REDIS_HOST) ? "redis:" : embedded;
}

static enum err_code
open_queue(struct product *product)
{
	return queue_open(shared_or("sqlite:"), db, &product->queue);
}

static enum err_code
open_kv(struct product *product)
{
	return kv_open(shared_or(""), &product->kv);
}

static enum err_code
open_search(struct product *product)
{
	const char *url = search_url();

	if (is_postgres(config_str(CFG_STORE_URL)) && url[0] == '\0')
		return err_set(ERR_CONFIG,
		    "with PostgreSQL set XIN_SEARCH_URL too: the embedded "
		    "search lives in the embedded database");
	TRY(search_open(url, db, &product->search));
	live_wire(product->search, product->store);
	return OK;
}

static enum err_code
open_model(struct product *product)
{
	return model_open(config_str(CFG_MODEL_URL), &product->model);
}

static enum err_code
check_store(struct product *product, struct checkup *checkup)
{
	return store_checkup(product->store, checkup);
}

static enum err_code
check_queue(struct product *product, struct checkup *checkup)
{
	return queue_checkup(product->queue, checkup);
}

static enum err_code
check_objects(struct product *product, struct checkup *checkup)
{
	return object_checkup(product->objects, checkup);
}

static enum err_code
check_search(struct product *product, struct checkup *checkup)
{
	return search_checkup(product->search, checkup);
}

static enum err_code
check_model(struct product *product, struct checkup *checkup)
{
	return model_checkup(product->model, checkup);
}

static enum err_code
check_embedder(struct product *product, struct checkup *checkup)
{
	const struct embedder *embedder = product->embedder;

	if (embedder == NULL)
		snprintf(checkup->facts, sizeof(checkup->facts),
		    "none: searches are lexical");
	else
		snprintf(checkup->facts, sizeof(checkup->facts),
		    "%.150s, %zu dimensions", embed_name(embedder),
		    embed_dimensions(embedder));
	return OK;
}

/* In the order in which they are opened. */
const struct back_end back_ends[] = {
	{ "store", "XIN_STORE_URL", open_store, check_store },
	{ "queue", "INGEST_REDIS_HOST, _PORT, _PASSWORD", open_queue,
	    check_queue },
	{ "objects", "STORAGE_ENDPOINT_URL and its keys", open_objects,
	    check_objects },
	{ "search", "XIN_SEARCH_URL, QDRANT_API_KEY", open_search,
	    check_search },
	{ "model", "XIN_MODEL_URL, _KEY, _NAME", open_model, check_model },
	{ "embeddings", "XIN_EMBEDDINGS_URL, _KEY, _NAME", open_embedder,
	    check_embedder },
	{ "kv", "INGEST_REDIS_HOST", open_kv,
	    NULL }, /* Redis, as the queue; or nothing */
	{ 0 },
};

static enum err_code
open_fronts(void *arg)
{
	for (const struct back_end *b = back_ends; b->name != NULL; b++)
		TRY(b->open(arg));
	return OK;
}

enum err_code
back_ends_database(void)
{
	const char *url = config_str(CFG_STORE_URL);

	if (is_postgres(url) && config_is_set(CFG_REDIS_HOST))
		return OK;
	return open_database();
}

enum err_code
back_ends_migrate(int *applied_out, int *version_out)
{
	const char *url = config_str(CFG_STORE_URL);

	*applied_out = *version_out = 0;
	return is_postgres(url)
		   ? postgres_migrate(url, applied_out, version_out)
		   : OK;
}

enum err_code
back_ends_open(struct product *product)
{
	TRY(back_ends_database());
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
	db = NULL;
}
