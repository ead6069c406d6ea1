/* SPDX-License-Identifier: Apache-2.0 */
/* Knowledge sources in SQLite: what users do with them. What workers do is in
 * store_sqlite_lease.c. */
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "store/store_sqlite.h"

#define COLUMNS STORE_SQLITE_SOURCE_COLUMNS

struct call {
	const char *brand, *id;
	struct source *given;
	bool force, existed;
	int status;
	const char *external_id;
	const struct store_cursor *after;
	int limit;
	struct source row;
	struct source_list list;
};

static void
copy_column(char *dst, size_t size, sqlite3_stmt *s, int column)
{
	const char *text = (const char *)sqlite3_column_text(s, column);

	str_copy(dst, size, text != NULL ? text : "");
}

void
store_sqlite__source_row(sqlite3_stmt *s, struct source *row)
{
	int c = 0;

	*row = (struct source){ 0 };
	copy_column(row->id, sizeof(row->id), s, c++);
	copy_column(row->brand_id, sizeof(row->brand_id), s, c++);
	row->external_id = sqlite_text(s, c++);
	row->title = sqlite_text(s, c++);
	row->content_type = sqlite_text(s, c++);
	row->filename = sqlite_text(s, c++);
	row->source_url = sqlite_text(s, c++);
	row->metadata = sqlite_text(s, c++);
	source_status_parse(
	    (const char *)sqlite3_column_text(s, c++), &row->status);
	row->step = sqlite_text(s, c++);
	row->progress_done = sqlite3_column_int64(s, c++);
	row->progress_total = sqlite3_column_int64(s, c++);
	row->version = sqlite3_column_int64(s, c++);
	row->live_version = sqlite3_column_int64(s, c++);
	row->chunks = sqlite3_column_int64(s, c++);
	row->size_bytes = sqlite3_column_int64(s, c++);
	copy_column(row->sha256, sizeof(row->sha256), s, c++);
	row->object_key = sqlite_text(s, c++);
	row->error_code = sqlite_text(s, c++);
	row->error_message = sqlite_text(s, c++);
	row->error_retryable = sqlite3_column_int64(s, c++) != 0;
	row->lease_owner = sqlite_text(s, c++);
	row->lease_until = sqlite3_column_int64(s, c++);
	row->attempts = sqlite3_column_int64(s, c++);
	row->next_attempt_at = sqlite3_column_int64(s, c++);
	row->waiting_since = sqlite3_column_int64(s, c++);
	copy_column(row->correlation_id, sizeof(row->correlation_id), s, c++);
	row->steps = sqlite_text(s, c++);
	row->cancel_requested = sqlite3_column_int64(s, c++) != 0;
	row->created_at = sqlite3_column_int64(s, c++);
	row->updated_at = sqlite3_column_int64(s, c++);
}

enum err_code
store_sqlite__source_rows(
    sqlite3 *db, sqlite3_stmt *s, struct source_list *list_out)
{
	struct source_list list = { 0 };
	size_t room = 0;
	enum err_code rc;
	bool row;

	while ((rc = sqlite_step(db, s, &row)) == OK && row) {
		if (list.count == room) {
			room = room == 0 ? 16 : room * 2;
			list.items =
			    mem_resize(list.items, room * sizeof(*list.items));
		}
		store_sqlite__source_row(s, &list.items[list.count++]);
	}
	if (rc != OK) {
		source_list_done(&list);
		return rc;
	}
	*list_out = list;
	return OK;
}

/* One row of a statement into *row, ERR_NOT_FOUND when there is none. */
static enum err_code
one_row(sqlite3 *db, sqlite3_stmt *s, const char *id, struct source *row)
{
	bool found;

	TRY(sqlite_step(db, s, &found));
	if (!found)
		return err_set(ERR_NOT_FOUND, "document \"%s\"", id);
	store_sqlite__source_row(s, row);
	return OK;
}

static enum err_code
get(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;

	TRY(sqlite_query(db, &s,
	    "SELECT " COLUMNS " FROM knowledge_sources"
	    " WHERE brand_id = ? AND id = ?",
	    "tt", c->brand, c->id));
	return one_row(db, s, c->id, &c->row);
}

/* Hand the row over when the call went well, else forget it. */
static enum err_code
give_row(struct call *c, enum err_code rc, struct source *source_out)
{
	if (rc == OK)
		*source_out = c->row;
	else
		source_done(&c->row);
	return rc;
}

static enum err_code
source_get(struct store *store, const char *brand, const char *id,
    struct source *source_out)
{
	struct call c = { .brand = brand, .id = id };

	return give_row(
	    &c, sqlite_read(store_sqlite__db(store), get, &c), source_out);
}

/* ---- adding ---- */

/* The row that stands for the same document: by external id when one was
 * given, else by content. */
static enum err_code
find_same(sqlite3 *db, const struct source *given, struct source *row,
    bool *found_out)
{
	sqlite3_stmt *s;

	if (given->external_id != NULL)
		TRY(sqlite_query(db, &s,
		    "SELECT " COLUMNS " FROM knowledge_sources"
		    " WHERE brand_id = ? AND external_id = ?",
		    "tt", given->brand_id, given->external_id));
	else
		TRY(sqlite_query(db, &s,
		    "SELECT " COLUMNS " FROM knowledge_sources"
		    " WHERE brand_id = ? AND sha256 = ? AND title = ?"
		    " AND metadata = ? AND status <> 'cancelled'"
		    " ORDER BY created_at DESC, id DESC LIMIT 1",
		    "tttt", given->brand_id, given->sha256, given->title,
		    given->metadata));
	TRY(sqlite_step(db, s, found_out));
	if (*found_out)
		store_sqlite__source_row(s, row);
	return OK;
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

static enum err_code
insert(sqlite3 *db, struct call *c)
{
	const struct source *g = c->given;
	int64_t now = store_sqlite__now();
	char id[IDENT_SIZE];
	sqlite3_stmt *s;

	ident_new("kn", id);
	TRY(sqlite_query(db, &s,
	    "INSERT INTO knowledge_sources(id, brand_id, external_id, title,"
	    " content_type, filename, source_url, metadata, size_bytes, sha256,"
	    " object_key, correlation_id, created_at, updated_at)"
	    " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	    " RETURNING " COLUMNS,
	    "ttttttttitttii", id, g->brand_id, g->external_id, g->title,
	    g->content_type, g->filename, g->source_url, g->metadata,
	    g->size_bytes, g->sha256, g->object_key, g->correlation_id, now,
	    now));
	return one_row(db, s, id, &c->row);
}

/* What every new beginning clears. */
#define FRESH                                                                  \
	"status = 'pending', step = '', progress_done = 0,"                    \
	" progress_total = 0, error_code = '', error_message = '',"            \
	" error_retryable = 0, lease_owner = '', lease_until = 0,"             \
	" attempts = 0, next_attempt_at = 0, waiting_since = 0, steps = '[]'," \
	" cancel_requested = 0"

static enum err_code
begin_again(sqlite3 *db, const char *brand, const char *id, struct source *row)
{
	sqlite3_stmt *s;

	TRY(sqlite_query(db, &s,
	    "UPDATE knowledge_sources SET " FRESH ", updated_at = ?"
	    " WHERE brand_id = ? AND id = ? RETURNING " COLUMNS,
	    "itt", store_sqlite__now(), brand, id));
	return one_row(db, s, id, row);
}

/* The object that nothing refers to any more; NULL when it stays. */
static enum err_code
replaced_object(
    sqlite3 *db, const struct source *g, const char *id, char **key_out)
{
	sqlite3_stmt *s;
	bool found;

	TRY(sqlite_query(db, &s,
	    "SELECT object_key FROM knowledge_sources"
	    " WHERE brand_id = ? AND id = ? AND object_key <> ?",
	    "ttt", g->brand_id, id, g->object_key));
	TRY(sqlite_step(db, s, &found));
	*key_out = found ? sqlite_text(s, 0) : NULL;
	sqlite3_reset(s);
	return OK;
}

static enum err_code
new_version(
    sqlite3 *db, const struct source *g, const char *id, struct source *row)
{
	char *replaced;
	sqlite3_stmt *s;
	enum err_code rc;

	TRY(replaced_object(db, g, id, &replaced));
	rc = sqlite_query(db, &s,
	    "UPDATE knowledge_sources SET version = version + 1, title = ?,"
	    " content_type = ?, filename = ?, source_url = ?, metadata = ?,"
	    " size_bytes = ?, sha256 = ?, object_key = ?, correlation_id = ?,"
	    " " FRESH ", updated_at = ?"
	    " WHERE brand_id = ? AND id = ? RETURNING " COLUMNS,
	    "tttttitttitt", g->title, g->content_type, g->filename,
	    g->source_url, g->metadata, g->size_bytes, g->sha256, g->object_key,
	    g->correlation_id, store_sqlite__now(), g->brand_id, id);
	if (rc == OK)
		rc = one_row(db, s, id, row);
	if (rc == OK)
		row->old_object_key = replaced;
	else
		mem_free(replaced);
	return rc;
}

static enum err_code
add(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	struct source same = { 0 };
	enum err_code rc = OK;
	bool found;

	c->existed = false;
	TRY(find_same(db, c->given, &same, &found));
	if (!found)
		return insert(db, c);
	if (c->force || same.status == SOURCE_CANCELLED ||
	    !same_content(&same, c->given)) {
		rc = new_version(db, c->given, same.id, &c->row);
	} else if (newest_failed(&same)) {
		c->existed = true;
		rc = begin_again(db, same.brand_id, same.id, &c->row);
	} else {
		c->existed = true;
		c->row = same;
		return OK;
	}
	source_done(&same);
	return rc;
}

static enum err_code
source_add(
    struct store *store, struct source *source, bool force, bool *existed_out)
{
	struct call c = { .given = source, .force = force };
	enum err_code rc = sqlite_write(store_sqlite__db(store), add, &c);

	if (rc != OK) {
		source_done(&c.row);
		return rc;
	}
	source_done(source);
	*source = c.row;
	*existed_out = c.existed;
	return OK;
}

static enum err_code
replace(sqlite3 *db, void *arg)
{
	struct call *c = arg;

	return new_version(db, c->given, c->given->id, &c->row);
}

static enum err_code
source_replace(struct store *store, struct source *source)
{
	struct call c = { .given = source };
	enum err_code rc = sqlite_write(store_sqlite__db(store), replace, &c);

	if (rc != OK) {
		source_done(&c.row);
		return rc;
	}
	source_done(source);
	*source = c.row;
	return OK;
}

/* ---- list, delete, retry, cancel ---- */

static enum err_code
list(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;

	TRY(sqlite_query(db, &s,
	    "SELECT " COLUMNS " FROM knowledge_sources WHERE brand_id = ?1"
	    " AND (?2 IS NULL OR status = ?2)"
	    " AND (?3 IS NULL OR external_id = ?3)"
	    " AND (created_at, id) < (?4, ?5)"
	    " ORDER BY created_at DESC, id DESC LIMIT ?6",
	    "tttiti", c->brand,
	    c->status < 0 ? NULL
			  : source_status_name((enum source_status)c->status),
	    c->external_id, c->after->at, c->after->id, (int64_t)c->limit));
	return store_sqlite__source_rows(db, s, &c->list);
}

static enum err_code
source_list(struct store *store, const char *brand, int status,
    const char *external_id, const struct store_cursor *after, int limit,
    struct source_list *list_out)
{
	struct call c = { .brand = brand,
		.status = status,
		.external_id = external_id,
		.after = after,
		.limit = limit };

	TRY(sqlite_read(store_sqlite__db(store), list, &c));
	*list_out = c.list;
	return OK;
}

struct versions_call {
	const char *brand;
	const char *const *ids;
	size_t count;
	int64_t *live;
};

static enum err_code
live_rows(sqlite3 *db, void *arg)
{
	struct versions_call *c = arg;

	for (size_t i = 0; i < c->count; i++) {
		sqlite3_stmt *s;
		bool row;

		TRY(sqlite_query(db, &s,
		    "SELECT live_version FROM knowledge_sources"
		    " WHERE brand_id = ? AND id = ?",
		    "tt", c->brand, c->ids[i]));
		TRY(sqlite_step(db, s, &row));
		c->live[i] = row ? sqlite3_column_int64(s, 0) : 0;
		sqlite3_reset(s);
	}
	return OK;
}

static enum err_code
live_versions(struct store *store, const char *brand, const char *const *ids,
    size_t count, int64_t *versions_out)
{
	struct versions_call c = {
		.brand = brand, .ids = ids, .count = count, .live = versions_out
	};

	return sqlite_read(store_sqlite__db(store), live_rows, &c);
}

static enum err_code delete (sqlite3 *db, void *arg) {
	struct call *c = arg; sqlite3_stmt * s;

	TRY(sqlite_query(db, &s,
	    "DELETE FROM knowledge_sources WHERE brand_id = ? AND id = ?"
	    " RETURNING " COLUMNS,
	    "tt", c->brand, c->id));
	return one_row(db, s, c->id, &c->row);
}

static enum err_code
source_delete(struct store *store, const char *brand, const char *id,
    struct source *source_out)
{
	struct call c = { .brand = brand, .id = id };

	return give_row(
	    &c, sqlite_write(store_sqlite__db(store), delete, &c), source_out);
}

static enum err_code
retry(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	struct source row = { 0 }, again = { 0 };
	enum err_code rc;

	TRY(get(db, c));
	row = c->row;
	c->row = (struct source){ 0 };
	if (newest_failed(&row) || row.status == SOURCE_CANCELLED)
		rc = begin_again(db, c->brand, c->id, &again);
	else
		rc = err_set(ERR_CONFLICT,
		    "document \"%s\" is %s: only failed or cancelled ones are "
		    "tried again",
		    c->id, source_status_name(row.status));
	source_done(&row);
	source_done(&again);
	return rc;
}

static enum err_code
source_retry(struct store *store, const char *brand, const char *id)
{
	struct call c = { .brand = brand, .id = id };

	return sqlite_write(store_sqlite__db(store), retry, &c);
}

/* A worker that holds the lease is asked; nobody holding it, the row ends
 * here. A live version stays live, and the row goes back to it. */
static enum err_code
cancel(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int64_t now = store_sqlite__now();
	int changes;

	TRY(sqlite_run(db, &changes,
	    "UPDATE knowledge_sources SET cancel_requested = 1, updated_at = ?"
	    " WHERE brand_id = ? AND id = ? AND status = 'processing'"
	    " AND lease_until >= ?",
	    "itti", now, c->brand, c->id, now));
	if (changes > 0)
		return OK;
	TRY(sqlite_run(db, &changes,
	    "UPDATE knowledge_sources SET status = CASE WHEN live_version > 0"
	    " THEN 'ready' ELSE 'cancelled' END, error_code = 'cancelled',"
	    " error_message = 'cancelled on request', error_retryable = 0,"
	    " lease_owner = '', lease_until = 0, cancel_requested = 0,"
	    " updated_at = ? WHERE brand_id = ? AND id = ?"
	    " AND status IN ('pending', 'processing')",
	    "itt", now, c->brand, c->id));
	if (changes > 0)
		return OK;
	TRY(get(db, c));
	err_set(ERR_CONFLICT, "document \"%s\" is %s already", c->id,
	    source_status_name(c->row.status));
	source_done(&c->row);
	return ERR_CONFLICT;
}

static enum err_code
source_cancel(struct store *store, const char *brand, const char *id)
{
	struct call c = { .brand = brand, .id = id };

	return sqlite_write(store_sqlite__db(store), cancel, &c);
}

const struct store_source_ops store_sqlite__sources = {
	.add = source_add,
	.get = source_get,
	.replace = source_replace,
	.list = source_list,
	.live_versions = live_versions,
	.delete = source_delete,
	.retry = source_retry,
	.cancel = source_cancel,
};
