/* SPDX-License-Identifier: Apache-2.0 */
/* Knowledge sources in PostgreSQL: what users do with them. What workers do is
 * in store_postgres_lease.c. */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/store_postgres.h"

#define COLUMNS STORE_POSTGRES_SOURCE_COLUMNS

static void
copy_column(char *dst, size_t size, struct postgres_row r, int column)
{
	const char *text = postgres_str(r, column);

	str_copy(dst, size, text != NULL ? text : "");
}

void
store_postgres__source_row(struct postgres_row r, struct source *row)
{
	int c = 0;

	*row = (struct source){ 0 };
	copy_column(row->id, sizeof(row->id), r, c++);
	copy_column(row->brand_id, sizeof(row->brand_id), r, c++);
	row->external_id = postgres_text(r, c++);
	row->title = postgres_text(r, c++);
	row->content_type = postgres_text(r, c++);
	row->filename = postgres_text(r, c++);
	row->source_url = postgres_text(r, c++);
	row->metadata = postgres_text(r, c++);
	source_status_parse(postgres_str(r, c++), &row->status);
	row->step = postgres_text(r, c++);
	row->progress_done = postgres_int(r, c++);
	row->progress_total = postgres_int(r, c++);
	row->version = postgres_int(r, c++);
	row->live_version = postgres_int(r, c++);
	row->chunks = postgres_int(r, c++);
	row->size_bytes = postgres_int(r, c++);
	copy_column(row->sha256, sizeof(row->sha256), r, c++);
	row->object_key = postgres_text(r, c++);
	row->error_code = postgres_text(r, c++);
	row->error_message = postgres_text(r, c++);
	row->error_retryable = postgres_bool(r, c++);
	row->lease_owner = postgres_text(r, c++);
	row->lease_until = postgres_int(r, c++);
	row->attempts = postgres_int(r, c++);
	row->next_attempt_at = postgres_int(r, c++);
	row->waiting_since = postgres_int(r, c++);
	copy_column(row->correlation_id, sizeof(row->correlation_id), r, c++);
	row->steps = postgres_text(r, c++);
	row->cancel_requested = postgres_bool(r, c++);
	row->created_at = postgres_int(r, c++);
	row->updated_at = postgres_int(r, c++);
}

void
store_postgres__source_rows(const struct postgres_batch *batch,
    unsigned statement, struct source_list *list_out)
{
	struct source_list list = { 0 };
	int rows = postgres_rows(batch, statement);

	list.items = mem_zero(((size_t)rows + 1) * sizeof(*list.items));
	for (int i = 0; i < rows; i++)
		store_postgres__source_row(postgres_row(batch, statement, i),
		    &list.items[list.count++]);
	*list_out = list;
}

/* The first row of the first statement; ERR_NOT_FOUND when there is none. */
static enum err_code
run_for_row(struct store *store, struct postgres_batch *batch, const char *id,
    struct source *source_out)
{
	enum err_code rc = postgres_run(store_postgres__link(store), batch);

	if (rc == OK && postgres_rows(batch, 0) == 0)
		rc = err_set(ERR_NOT_FOUND, "document \"%s\"", id);
	if (rc == OK)
		store_postgres__source_row(
		    postgres_row(batch, 0, 0), source_out);
	postgres_clear(batch);
	return rc;
}

static enum err_code
source_get(struct store *store, const char *brand, const char *id,
    struct source *source_out)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "SELECT " COLUMNS " FROM knowledge_sources k"
	    " WHERE k.brand_id = $1 AND k.id = $2",
	    "tt", brand, id);
	return run_for_row(store, &batch, id, source_out);
}

/* ---- adding ---- */

/* Two replicas that are given the same document at once: the second waits here
 * for the first's commit, then finds its row. A unique index cannot do it,
 * since two documents may become equal later, when one is replaced. */
static void
add_lock(struct postgres_batch *batch, const struct source *given)
{
	postgres_add(batch,
	    "SELECT pg_advisory_xact_lock(hashtextextended("
	    "concat_ws('|', 'source', $1::text, coalesce('x' || $2, $3)), 0))",
	    "ttt", given->brand_id, given->external_id, given->sha256);
}

/* The row that stands for the same document: by external id when one was
 * given, else by content. */
static void
add_find_same(struct postgres_batch *batch, const struct source *given)
{
	if (given->external_id != NULL)
		postgres_add(batch,
		    "SELECT " COLUMNS " FROM knowledge_sources k"
		    " WHERE k.brand_id = $1 AND k.external_id = $2 FOR UPDATE",
		    "tt", given->brand_id, given->external_id);
	else
		postgres_add(batch,
		    "SELECT " COLUMNS " FROM knowledge_sources k"
		    " WHERE k.brand_id = $1 AND k.sha256 = $2 AND k.title = $3"
		    " AND k.metadata = $4 AND k.status <> 'cancelled'"
		    " ORDER BY k.created_at DESC, k.id DESC LIMIT 1 FOR UPDATE",
		    "tttt", given->brand_id, given->sha256, given->title,
		    given->metadata);
}

static void
add_insert(struct postgres_batch *batch, const struct source *g, const char *id)
{
	postgres_add(batch,
	    "INSERT INTO knowledge_sources AS k (id, brand_id, external_id,"
	    " title, content_type, filename, source_url, metadata, size_bytes,"
	    " sha256, object_key, correlation_id, created_at, updated_at)"
	    " VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
	    " " STORE_POSTGRES_AT("$13") ", " STORE_POSTGRES_AT(
		"$13") ")"
		       " RETURNING " COLUMNS ", NULL",
	    "ttttttttittti", id, g->brand_id, g->external_id, g->title,
	    g->content_type, g->filename, g->source_url, g->metadata,
	    g->size_bytes, g->sha256, g->object_key, g->correlation_id,
	    store_postgres__now());
}

/* What every new beginning clears. */
#define FRESH                                                                  \
	"status = 'pending', step = '', progress_done = 0,"                    \
	" progress_total = 0, error_code = '', error_message = '',"            \
	" error_retryable = false, lease_owner = '', lease_until = 0,"         \
	" attempts = 0, next_attempt_at = 0, waiting_since = 0, steps = '[]'," \
	" cancel_requested = false"

static void
add_begin_again(struct postgres_batch *batch, const char *brand, const char *id)
{
	postgres_add(batch,
	    "UPDATE knowledge_sources k SET " FRESH
	    ", updated_at = " STORE_POSTGRES_AT(
		"$3") " WHERE k.brand_id = $1 AND k.id = $2"
		      " AND (k.status IN ('failed', 'cancelled') OR"
		      "  (k.status = 'ready' AND k.version <> k.live_version))"
		      " RETURNING " COLUMNS ", NULL",
	    "tti", brand, id, store_postgres__now());
}

/* One column more: the object that nothing refers to any more. */
static void
add_new_version(
    struct postgres_batch *batch, const struct source *g, const char *id)
{
	postgres_add(batch,
	    "UPDATE knowledge_sources k SET version = k.version + 1,"
	    " title = $3, content_type = $4, filename = $5, source_url = $6,"
	    " metadata = $7, size_bytes = $8, sha256 = $9, object_key = $10,"
	    " correlation_id = $11, " FRESH ", updated_at = " STORE_POSTGRES_AT(
		"$12") " FROM (SELECT id, object_key FROM knowledge_sources"
		       "  WHERE brand_id = $1 AND id = $2 FOR UPDATE) old"
		       " WHERE k.id = old.id"
		       " RETURNING " COLUMNS
		       ", nullif(old.object_key, k.object_key)",
	    "tttttttittti", g->brand_id, id, g->title, g->content_type,
	    g->filename, g->source_url, g->metadata, g->size_bytes, g->sha256,
	    g->object_key, g->correlation_id, store_postgres__now());
}

static bool
same_content(const struct source *a, const struct source *b)
{
	return strcmp(a->sha256, b->sha256) == 0 &&
	       strcmp(a->title, b->title) == 0 &&
	       strcmp(a->metadata, b->metadata) == 0;
}

/* Failed, also when an older version is still live. */
static bool
newest_failed(const struct source *row)
{
	return row->status == SOURCE_FAILED ||
	       (row->status == SOURCE_READY &&
		   row->version != row->live_version);
}

struct adding {
	const struct source *given;
	bool force, existed;
	struct source row;
};

/* What the row that was found is followed by; false: by nothing. */
static bool
add_next(struct postgres_batch *batch, struct adding *a, const char *new_id)
{
	const struct source *same = &a->row;

	a->existed = false;
	if (same->id[0] == '\0') {
		add_insert(batch, a->given, new_id);
	} else if (a->force || same->status == SOURCE_CANCELLED ||
		   !same_content(same, a->given)) {
		add_new_version(batch, a->given, same->id);
	} else {
		a->existed = true;
		if (!newest_failed(same))
			return false;
		add_begin_again(batch, same->brand_id, same->id);
	}
	return true;
}

static enum err_code
add(struct postgres_tx *tx, void *arg)
{
	struct adding *a = arg;
	struct postgres_batch batch = { 0 };
	char id[IDENT_SIZE];
	enum err_code rc;

	source_done(&a->row); /* of an earlier try */
	add_lock(&batch, a->given);
	add_find_same(&batch, a->given);
	rc = postgres_tx_run(tx, &batch);
	if (rc == OK && postgres_rows(&batch, 1) > 0)
		store_postgres__source_row(postgres_row(&batch, 1, 0), &a->row);
	postgres_clear(&batch);
	ident_new("kn", id);
	if (rc != OK || !add_next(&batch, a, id))
		return rc;
	postgres_add(&batch, "COMMIT", "");
	rc = postgres_tx_run(tx, &batch);
	source_done(&a->row);
	if (rc == OK && postgres_rows(&batch, 0) == 0)
		rc = err_set(ERR_CONFLICT, "the document is being changed");
	if (rc == OK) {
		struct postgres_row row = postgres_row(&batch, 0, 0);

		store_postgres__source_row(row, &a->row);
		a->row.old_object_key =
		    postgres_text(row, STORE_POSTGRES_SOURCE_COUNT);
	}
	postgres_clear(&batch);
	return rc;
}

static enum err_code
source_add(
    struct store *store, struct source *source, bool force, bool *existed_out)
{
	struct adding a = { .given = source, .force = force };
	enum err_code rc =
	    postgres_transaction(store_postgres__link(store), add, &a);

	if (rc != OK) {
		source_done(&a.row);
		return rc;
	}
	source_done(source);
	*source = a.row;
	*existed_out = a.existed;
	return OK;
}

static enum err_code
source_replace(struct store *store, struct source *source)
{
	struct postgres_batch batch = { 0 };
	struct source row = { 0 };
	enum err_code rc;

	add_new_version(&batch, source, source->id);
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK && postgres_rows(&batch, 0) == 0)
		rc = err_set(ERR_NOT_FOUND, "document \"%s\"", source->id);
	if (rc == OK) {
		struct postgres_row found = postgres_row(&batch, 0, 0);

		store_postgres__source_row(found, &row);
		row.old_object_key =
		    postgres_text(found, STORE_POSTGRES_SOURCE_COUNT);
	}
	postgres_clear(&batch);
	if (rc != OK)
		return rc;
	source_done(source);
	*source = row;
	return OK;
}

/* ---- list, delete, retry, cancel ---- */

static enum err_code
source_list(struct store *store, const char *brand, int status,
    const char *external_id, const struct store_cursor *after, int limit,
    struct source_list *list_out)
{
	struct postgres_batch batch = { 0 };
	int64_t at =
	    after->at < STORE_POSTGRES_LAST ? after->at : STORE_POSTGRES_LAST;
	enum err_code rc;

	postgres_add(&batch,
	    "SELECT " COLUMNS " FROM knowledge_sources k"
	    " WHERE k.brand_id = $1"
	    " AND ($2::text IS NULL OR k.status = $2)"
	    " AND ($3::text IS NULL OR k.external_id = $3)"
	    " AND (k.created_at, k.id) < (" STORE_POSTGRES_AT(
		"$4") ", $5)"
		      " ORDER BY k.created_at DESC, k.id DESC LIMIT $6",
	    "tttiti", brand,
	    status < 0 ? NULL : source_status_name((enum source_status)status),
	    external_id, at, after->id, (int64_t)limit);
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK)
		store_postgres__source_rows(&batch, 0, list_out);
	postgres_clear(&batch);
	return rc;
}

/* "{"a","b"}", an array's text. */
static void
array_text(struct buf *out, const char *const *ids, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		buf_adds(out, i == 0 ? "{\"" : ",\"");
		for (const char *c = ids[i]; *c != '\0'; c++) {
			if (*c == '"' || *c == '\\')
				buf_addc(out, '\\');
			buf_addc(out, *c);
		}
		buf_addc(out, '"');
	}
	buf_addc(out, '}');
}

static enum err_code
live_versions(struct store *store, const char *brand, const char *const *ids,
    size_t count, int64_t *versions_out)
{
	struct postgres_batch batch = { 0 };
	struct buf array;
	enum err_code rc;

	buf_init(&array, 0);
	array_text(&array, ids, count);
	postgres_add(&batch,
	    "SELECT given.n, k.live_version"
	    " FROM unnest($2::text[]) WITH ORDINALITY AS given(id, n)"
	    " JOIN knowledge_sources k"
	    " ON k.id = given.id AND k.brand_id = $1",
	    "tt", brand, buf_str(&array));
	rc = postgres_run(store_postgres__link(store), &batch);
	if (rc == OK)
		memset(versions_out, 0, count * sizeof(*versions_out));
	for (int i = 0; rc == OK && i < postgres_rows(&batch, 0); i++) {
		struct postgres_row row = postgres_row(&batch, 0, i);

		versions_out[postgres_int(row, 0) - 1] = postgres_int(row, 1);
	}
	postgres_clear(&batch);
	buf_done(&array);
	return rc;
}

static enum err_code
source_delete(struct store *store, const char *brand, const char *id,
    struct source *source_out)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch,
	    "DELETE FROM knowledge_sources k WHERE k.brand_id = $1"
	    " AND k.id = $2 RETURNING " COLUMNS,
	    "tt", brand, id);
	return run_for_row(store, &batch, id, source_out);
}

/* Why a change that names what must hold changed nothing. */
static enum err_code
is_otherwise(
    struct store *store, const char *brand, const char *id, const char *rule)
{
	struct source row;

	TRY(source_get(store, brand, id, &row));
	err_set(ERR_CONFLICT, "document \"%s\" is %s%s", id,
	    source_status_name(row.status), rule);
	source_done(&row);
	return ERR_CONFLICT;
}

static enum err_code
source_retry(struct store *store, const char *brand, const char *id)
{
	struct postgres_batch batch = { 0 };
	bool done;

	add_begin_again(&batch, brand, id);
	TRY(postgres_run(store_postgres__link(store), &batch));
	done = postgres_rows(&batch, 0) > 0;
	postgres_clear(&batch);
	if (done)
		return OK;
	return is_otherwise(store, brand, id,
	    ": only failed or cancelled ones are tried again");
}

/* A worker that holds the lease is asked; nobody holding it, the row ends
 * here. A live version stays live, and the row goes back to it. */
static enum err_code
source_cancel(struct store *store, const char *brand, const char *id)
{
	struct postgres_batch batch = { 0 };
	int64_t now = store_postgres__now();
	bool done;

	postgres_add(&batch,
	    "UPDATE knowledge_sources SET cancel_requested = true,"
	    " updated_at = " STORE_POSTGRES_AT(
		"$3") " WHERE brand_id = $1 AND id = $2 AND status = 'processing'"
		      " AND lease_until >= $3",
	    "tti", brand, id, now);
	postgres_add(&batch,
	    "UPDATE knowledge_sources SET status = CASE WHEN live_version > 0"
	    " THEN 'ready' ELSE 'cancelled' END, error_code = 'cancelled',"
	    " error_message = 'cancelled on request', error_retryable = false,"
	    " lease_owner = '', lease_until = 0, cancel_requested = false,"
	    " updated_at = " STORE_POSTGRES_AT(
		"$3") " WHERE brand_id = $1 AND id = $2 AND (status = 'pending' OR"
		      "  (status = 'processing' AND lease_until < $3))",
	    "tti", brand, id, now);
	TRY(postgres_run(store_postgres__link(store), &batch));
	done = postgres_changes(&batch, 0) + postgres_changes(&batch, 1) > 0;
	postgres_clear(&batch);
	return done ? OK : is_otherwise(store, brand, id, " already");
}

const struct store_source_ops store_postgres__sources = {
	.add = source_add,
	.get = source_get,
	.replace = source_replace,
	.list = source_list,
	.live_versions = live_versions,
	.delete = source_delete,
	.retry = source_retry,
	.cancel = source_cancel,
};
