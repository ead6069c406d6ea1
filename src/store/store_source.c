/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front for knowledge sources: checks, canonical metadata (so that the same
 * object compares equal whatever the order of its keys), cursors.
 */
#include "store/store.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/store_backend.h"

#define TITLE_MAX_BYTES    1024
#define NAME_MAX_BYTES     1024
#define URL_MAX_BYTES      8192
#define METADATA_MAX_BYTES 65536
#define MESSAGE_MAX_BYTES  65536
#define STEPS_MAX_BYTES    65536
#define LEASE_MAX_MS       ((int64_t)3600 * 1000)

static const char *const status_names[] = {
	[SOURCE_PENDING] = "pending",
	[SOURCE_PROCESSING] = "processing",
	[SOURCE_READY] = "ready",
	[SOURCE_FAILED] = "failed",
	[SOURCE_CANCELLED] = "cancelled",
};

const char *
source_status_name(enum source_status status)
{
	return (unsigned)status <= SOURCE_CANCELLED ? status_names[status]
						    : "unknown";
}

bool
source_status_parse(const char *name, enum source_status *status_out)
{
	for (int i = 0; i <= SOURCE_CANCELLED; i++) {
		if (!str_eq(name, status_names[i]))
			continue;
		*status_out = (enum source_status)i;
		return true;
	}
	return false;
}

void
source_done(struct source *source)
{
	if (source == NULL)
		return;
	mem_free(source->external_id);
	mem_free(source->title);
	mem_free(source->content_type);
	mem_free(source->filename);
	mem_free(source->source_url);
	mem_free(source->metadata);
	mem_free(source->step);
	mem_free(source->object_key);
	mem_free(source->old_object_key);
	mem_free(source->error_code);
	mem_free(source->error_message);
	mem_free(source->lease_owner);
	mem_free(source->steps);
	*source = (struct source){ 0 };
}

void
source_list_done(struct source_list *list)
{
	if (list == NULL)
		return;
	for (size_t i = 0; i < list->count; i++)
		source_done(&list->items[i]);
	mem_free(list->items);
	mem_free(list->next_cursor);
	*list = (struct source_list){ 0 };
}

/* The object's text with sorted keys takes the place of what was given. */
static enum err_code
canonical_metadata(struct source *source)
{
	const char *given = source->metadata != NULL ? source->metadata : "{}";
	json_t *object;
	char *text;

	TRY(store__check_text("metadata", given, METADATA_MAX_BYTES));
	TRY(json_parse(given, strlen(given), &object));
	if (!json_is_object(object)) {
		json_decref(object);
		return err_set(ERR_INVALID, "metadata: want a JSON object");
	}
	text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(object);
	must(text != NULL);
	mem_free(source->metadata);
	source->metadata = mem_strdup(text);
	free(text);
	return OK;
}

static enum err_code
check_optional(const char *field, const char *text, size_t max)
{
	return text == NULL ? OK : store__check_text(field, text, max);
}

static enum err_code
check_source(struct source *source)
{
	TRY(store__check_brand(source->brand_id));
	TRY(store__check_text("title", source->title, TITLE_MAX_BYTES));
	TRY(store__check_text(
	    "content_type", source->content_type, NAME_MAX_BYTES));
	TRY(store__check_text(
	    "object_key", source->object_key, NAME_MAX_BYTES));
	TRY(check_optional("external_id", source->external_id, NAME_MAX_BYTES));
	TRY(check_optional("filename", source->filename, NAME_MAX_BYTES));
	TRY(check_optional("source_url", source->source_url, URL_MAX_BYTES));
	if (strnlen(source->sha256, sizeof(source->sha256)) != 64)
		return err_set(ERR_INVALID, "sha256: want 64 hex digits");
	return canonical_metadata(source);
}

enum err_code
store_source_add(
    struct store *store, struct source *source, bool force, bool *existed_out)
{
	TRY(check_source(source));
	return STORE_CALL(store, "source.add",
	    store->backend->sources->add(store, source, force, existed_out));
}

enum err_code
store_source_get(struct store *store, const char *brand, const char *id,
    struct source *source_out)
{
	TRY(store__check_brand(brand));
	return STORE_CALL(store, "source.get",
	    store->backend->sources->get(store, brand, id, source_out));
}

enum err_code
store_source_replace(struct store *store, struct source *source)
{
	TRY(check_source(source));
	return STORE_CALL(store, "source.replace",
	    store->backend->sources->replace(store, source));
}

enum err_code
store_source_list(struct store *store, const char *brand, int status,
    const char *external_id, const char *cursor, int limit,
    struct source_list *list_out)
{
	struct source_list list = { 0 };
	struct store_cursor after;

	TRY(store__check_brand(brand));
	TRY(store__check_limit(limit));
	TRY(store__cursor_parse(cursor, INT64_MAX, &after));
	if (status < -1 || status > SOURCE_CANCELLED)
		return err_set(ERR_INVALID, "status: unknown");
	TRY(STORE_CALL(store, "source.list",
	    store->backend->sources->list(
		store, brand, status, external_id, &after, limit + 1, &list)));
	if (list.count > (size_t)limit) {
		const struct source *last = &list.items[limit - 1];

		list.next_cursor =
		    store__cursor_text(last->created_at, last->id);
		source_done(&list.items[--list.count]);
	}
	*list_out = list;
	return OK;
}

enum err_code
store_live_versions(struct store *store, const char *brand,
    const char *const *ids, size_t count, int64_t *versions_out)
{
	TRY(store__check_brand(brand));
	if (count > 1000)
		return err_set(ERR_TOO_LARGE, "at most 1000 documents at once");
	return count == 0 ? OK
			  : STORE_CALL(store, "source.live_versions",
				store->backend->sources->live_versions(
				    store, brand, ids, count, versions_out));
}

enum err_code
store_source_delete(struct store *store, const char *brand, const char *id,
    struct source *source_out)
{
	TRY(store__check_brand(brand));
	return STORE_CALL(store, "source.delete",
	    store->backend->sources->delete (store, brand, id, source_out));
}

enum err_code
store_source_retry(struct store *store, const char *brand, const char *id)
{
	TRY(store__check_brand(brand));
	return STORE_CALL(store, "source.retry",
	    store->backend->sources->retry(store, brand, id));
}

enum err_code
store_source_cancel(struct store *store, const char *brand, const char *id)
{
	TRY(store__check_brand(brand));
	return STORE_CALL(store, "source.cancel",
	    store->backend->sources->cancel(store, brand, id));
}

/* ---- leases ---- */

static enum err_code
check_lease(const char *owner, int64_t lease_ms)
{
	TRY(store__check_text("owner", owner, NAME_MAX_BYTES));
	if (owner[0] == '\0')
		return err_set(ERR_INVALID, "owner is empty");
	if (lease_ms < 1 || lease_ms > LEASE_MAX_MS)
		return err_set(ERR_INVALID, "lease: want 1 ms to 1 hour");
	return OK;
}

enum err_code
store_source_claim(struct store *store, const char *brand, const char *id,
    int64_t version, const char *owner, int64_t lease_ms, int64_t max_attempts,
    struct source *source_out)
{
	TRY(store__check_brand(brand));
	TRY(check_lease(owner, lease_ms));
	return STORE_CALL(store, "source.claim",
	    store->backend->leases->claim(store, brand, id, version, owner,
		lease_ms, max_attempts, source_out));
}

enum err_code
store_source_renew(
    struct store *store, const char *id, const char *owner, int64_t lease_ms)
{
	TRY(check_lease(owner, lease_ms));
	return STORE_CALL(store, "source.renew",
	    store->backend->leases->renew(store, id, owner, lease_ms));
}

enum err_code
store_source_progress(struct store *store, const char *id, const char *owner,
    const char *step, int64_t done, int64_t total, const char *steps_json)
{
	TRY(check_lease(owner, 1));
	TRY(store__check_text("step", step, NAME_MAX_BYTES));
	TRY(store__check_text("steps", steps_json, STEPS_MAX_BYTES));
	return STORE_CALL(store, "source.progress",
	    store->backend->leases->progress(
		store, id, owner, step, done, total, steps_json));
}

enum err_code
store_source_ready(struct store *store, const char *id, const char *owner,
    int64_t version, int64_t chunks, const char *steps_json,
    int64_t *old_version_out)
{
	TRY(check_lease(owner, 1));
	TRY(store__check_text("steps", steps_json, STEPS_MAX_BYTES));
	return STORE_CALL(store, "source.ready",
	    store->backend->leases->ready(store, id, owner, version, chunks,
		steps_json, old_version_out));
}

enum err_code
store_source_fail(struct store *store, const char *id, const char *owner,
    const char *code, const char *message, bool retryable, bool away,
    int64_t retry_at, const char *steps_json)
{
	TRY(check_lease(owner, 1));
	TRY(store__check_text("code", code, NAME_MAX_BYTES));
	TRY(store__check_text("message", message, MESSAGE_MAX_BYTES));
	TRY(store__check_text("steps", steps_json, STEPS_MAX_BYTES));
	return STORE_CALL(store, "source.fail",
	    store->backend->leases->fail(store, id, owner, code, message,
		retryable, away, retry_at, steps_json));
}

enum err_code
store_source_cancelled(struct store *store, const char *id, const char *owner)
{
	TRY(check_lease(owner, 1));
	return STORE_CALL(store, "source.cancelled",
	    store->backend->leases->cancelled(store, id, owner));
}

enum err_code
store_source_stuck(struct store *store, int limit, struct source_list *list_out)
{
	TRY(store__check_limit(limit));
	return STORE_CALL(store, "source.stuck",
	    store->backend->leases->stuck(store, limit, list_out));
}
