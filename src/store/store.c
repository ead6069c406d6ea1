/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front of the store: choice of back end by the URL's scheme, the
 * decorators, checks that every back end relies on, and the small tables (keys,
 * audit, scripts). Sources are in store_source.c, conversations, turns and
 * de-duplication in store_talk.c.
 */
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/store_backend.h"

#define NAME_MAX_BYTES    256
#define SCOPES_MAX_BYTES  4096
#define DETAIL_MAX_BYTES  65536
#define SCRIPTS_MAX_BYTES ((size_t)64 << 20)

static const struct store_backend *const backends[] = {
	&store_sqlite_backend,
	&store_postgres_backend,
};

struct decorators {
	int64_t fault_at;
	bool trace;
};

/* Takes "fault:<n>:" and "trace:" from the front of the URL. */
static enum err_code
take_decorators(const char **url, struct decorators *out)
{
	for (;;) {
		if (str_starts(*url, "trace:")) {
			out->trace = true;
			*url += strlen("trace:");
		} else if (str_starts(*url, "fault:")) {
			char *end;

			out->fault_at =
			    strtoll(*url + strlen("fault:"), &end, 10);
			if (*end != ':' || out->fault_at < 1)
				return err_set(ERR_CONFIG,
				    "store URL: want fault:<n>:<url>");
			*url = end + 1;
		} else {
			return OK;
		}
	}
}

enum err_code
store_open(const char *url, struct sqlite *db, struct store **store_out)
{
	struct decorators decorators = { 0 };
	struct store *store;

	TRY(take_decorators(&url, &decorators));
	if (url[0] == '\0')
		url = backends[0]->scheme; /* the embedded one */
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		if (!str_starts(url, backends[i]->scheme))
			continue;
		TRY(backends[i]->open(url, db, &store));
		store->backend = backends[i];
		store->fault_at = decorators.fault_at;
		store->trace = decorators.trace;
		*store_out = store;
		return OK;
	}
	/* The scheme alone: what follows may hold a password. */
	return err_set(ERR_CONFIG,
	    "store URL \"%.*s:...\": known are sqlite: and postgresql:",
	    (int)strcspn(url, ":/@"), url);
}

void
store_close(struct store *store)
{
	if (store != NULL)
		store->backend->close(store);
}

struct span *
store__span(const struct store *store, const char *name)
{
	struct span *span = span_begin(SPAN_CLIENT, name);

	span_add(span,
	    attr_str(ATTR_DB_SYSTEM, store->backend == &store_sqlite_backend
					 ? "sqlite"
					 : "postgresql"),
	    attr_str(ATTR_DB_OPERATION, name));
	return span;
}

enum err_code
store__enter(struct store *store, const char *name)
{
	int64_t call;

	if (store->fault_at == 0)
		return OK;
	call = atomic_fetch_add(&store->calls, 1) + 1;
	if (call == store->fault_at)
		return err_set(ERR_UNAVAILABLE,
		    "fault: call %lld of the store, %s", (long long)call, name);
	return OK;
}

void
store__leave(struct store *store, const char *name, uint64_t started_us,
    enum err_code rc)
{
	if (store->trace)
		fprintf(stderr, "store %s %s %llu us\n", name, err_name(rc),
		    (unsigned long long)(clock_mono_us() - started_us));
}

enum err_code
store__check_brand(const char *brand)
{
	if (brand == NULL || !str_is_name(brand))
		return err_set(ERR_INVALID,
		    "brand: want a name of [a-z0-9_-], at most 63 characters");
	return OK;
}

enum err_code
store__check_text(const char *field, const char *text, size_t max)
{
	if (text == NULL)
		return err_set(ERR_INVALID, "%s is missing", field);
	if (strnlen(text, max + 1) > max)
		return err_set(
		    ERR_TOO_LARGE, "%s is over %zu bytes", field, max);
	return OK;
}

enum err_code
store__check_limit(int limit)
{
	if (limit < 1 || limit > 1000)
		return err_set(ERR_INVALID, "limit: want 1 to 1000");
	return OK;
}

enum err_code
store__cursor_parse(
    const char *text, int64_t first, struct store_cursor *cursor_out)
{
	struct store_cursor cursor = { first, "" };
	char *end;

	if (text != NULL) {
		cursor.at = strtoll(text, &end, 10);
		if (end == text || *end != '.' ||
		    strnlen(end + 1, IDENT_SIZE) >= IDENT_SIZE)
			return err_set(
			    ERR_INVALID, "cursor: want one that a list gave");
		cursor.id = end + 1;
	}
	*cursor_out = cursor;
	return OK;
}

char *
store__cursor_text(int64_t at, const char *id)
{
	return mem_printf("%lld.%s", (long long)at, id);
}

char *
store__cut_page(json_t *items, int limit, const char *at_key)
{
	const json_t *last;
	const char *id;

	if (json_array_size(items) <= (size_t)limit)
		return NULL;
	json_array_remove(items, (size_t)limit);
	last = json_array_get(items, (size_t)limit - 1);
	id = json_str(last, "id");
	return store__cursor_text(
	    json_int(last, at_key, 0), id != NULL ? id : "");
}

enum err_code
store_checkup(struct store *store, struct checkup *checkup)
{
	return STORE_CALL(
	    store, "checkup", store->backend->checkup(store, checkup));
}

enum err_code
store_ping(struct store *store)
{
	enum err_code rc =
	    STORE_CALL(store, "ping", store->backend->ping(store));

	return rc == OK ? OK : err_add(ERR_UNAVAILABLE, "store");
}

enum err_code
store_sweep(struct store *store)
{
	return STORE_CALL(store, "sweep", store->backend->sweep(store));
}

void
store__add_figure(struct store_figures *figures, const char *status,
    int64_t count, int64_t oldest)
{
	enum source_status of;

	if (!source_status_parse(status, &of))
		return;
	figures->sources[of] = count;
	if ((of == SOURCE_PENDING || of == SOURCE_PROCESSING) &&
	    (figures->still_since == 0 || oldest < figures->still_since))
		figures->still_since = oldest;
}

enum err_code
store_figures(struct store *store, struct store_figures *figures_out)
{
	struct store_figures figures = { 0 };
	enum err_code rc = STORE_CALL(
	    store, "figures", store->backend->figures(store, &figures));

	if (rc == OK)
		*figures_out = figures;
	return rc;
}

/* ---- keys, audit, scripts ---- */

void
api_key_done(struct api_key *key)
{
	if (key == NULL)
		return;
	mem_free(key->name);
	mem_free(key->scopes);
	*key = (struct api_key){ 0 };
}

static enum err_code
check_sha256(const char *hex)
{
	if (hex == NULL || strspn(hex, "0123456789abcdef") != 64 ||
	    hex[64] != '\0')
		return err_set(ERR_INVALID, "sha256: want 64 hex digits");
	return OK;
}

enum err_code
store_key_add(struct store *store, const char *name, const char *scopes,
    const char *sha256_hex, char id_out[IDENT_SIZE])
{
	char id[IDENT_SIZE];

	TRY(store__check_text("name", name, NAME_MAX_BYTES));
	TRY(store__check_text("scopes", scopes, SCOPES_MAX_BYTES));
	TRY(check_sha256(sha256_hex));
	ident_new("ky", id);
	TRY(STORE_CALL(store, "key.add",
	    store->backend->admin->key_add(
		store, id, name, scopes, sha256_hex)));
	memcpy(id_out, id, IDENT_SIZE);
	return OK;
}

enum err_code
store_key_find(
    struct store *store, const char *sha256_hex, struct api_key *key_out)
{
	TRY(check_sha256(sha256_hex));
	return STORE_CALL(store, "key.find",
	    store->backend->admin->key_find(store, sha256_hex, key_out));
}

enum err_code
store_key_list(struct store *store, json_t **items_out)
{
	return STORE_CALL(store, "key.list",
	    store->backend->admin->key_list(store, items_out));
}

enum err_code
store_key_revoke(struct store *store, const char *id)
{
	return STORE_CALL(
	    store, "key.revoke", store->backend->admin->key_revoke(store, id));
}

enum err_code
store_key_count(struct store *store, int64_t *count_out)
{
	return STORE_CALL(store, "key.count",
	    store->backend->admin->key_count(store, count_out));
}

enum err_code
store_audit(struct store *store, const char *actor, const char *action,
    const char *subject, const char *detail)
{
	if (detail == NULL)
		detail = "";
	TRY(store__check_text("actor", actor, NAME_MAX_BYTES));
	TRY(store__check_text("action", action, NAME_MAX_BYTES));
	TRY(store__check_text("subject", subject, NAME_MAX_BYTES));
	TRY(store__check_text("detail", detail, DETAIL_MAX_BYTES));
	return STORE_CALL(store, "audit",
	    store->backend->admin->audit(
		store, actor, action, subject, detail));
}

enum err_code
store_audit_list(struct store *store, const char *cursor, int limit,
    json_t **items_out, char **next_out)
{
	struct store_cursor after;
	json_t *items;

	TRY(store__check_limit(limit));
	TRY(store__cursor_parse(cursor, INT64_MAX, &after));
	TRY(STORE_CALL(store, "audit.list",
	    store->backend->erase->audit_list(
		store, &after, limit + 1, &items)));
	*next_out = store__cut_page(items, limit, "seq");
	*items_out = items;
	return OK;
}

enum err_code
store_audit_forget(struct store *store, int64_t before)
{
	return STORE_CALL(store, "audit.forget",
	    store->backend->erase->audit_forget(store, before));
}

enum err_code
store_scripts_save(
    struct store *store, const char *hash, const void *packed, size_t len)
{
	TRY(store__check_text("hash", hash, NAME_MAX_BYTES));
	if (len > SCRIPTS_MAX_BYTES)
		return err_set(ERR_TOO_LARGE, "scripts are over %zu bytes",
		    SCRIPTS_MAX_BYTES);
	return STORE_CALL(store, "scripts.save",
	    store->backend->admin->scripts_save(store, hash, packed, len));
}

enum err_code
store_scripts_load(struct store *store, char **packed_out, size_t *len_out)
{
	return STORE_CALL(store, "scripts.load",
	    store->backend->admin->scripts_load(store, packed_out, len_out));
}
