/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch over the wire and back: [Parse when new] Bind Execute for each
 * statement, one Sync. The server runs what stands before a Sync as one
 * implicit transaction and skips the rest after an error.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "base/task.h"
#include "postgres/internal.h"

/* ---- batches ---- */

void
postgres_add(
    struct postgres_batch *batch, const char *sql, const char *types, ...)
{
	struct postgres_statement *s = &batch->statement[batch->statements];
	va_list ap;

	must(batch->statements < POSTGRES_STATEMENTS_MAX);
	batch->statements++;
	s->sql = sql;
	s->result = NULL;
	s->first = batch->values;
	va_start(ap, types);
	for (const char *t = types; *t != '\0'; t++) {
		unsigned v = batch->values++;

		must(v < POSTGRES_VALUES_MAX);
		batch->format[v] = 0;
		if (*t == 'i') {
			snprintf(batch->number[v], sizeof(batch->number[v]),
			    "%" PRId64, va_arg(ap, int64_t));
			batch->value[v] = batch->number[v];
		} else {
			batch->value[v] = va_arg(ap, const char *);
		}
		if (*t == 'y') {
			batch->length[v] = (int)va_arg(ap, size_t);
			batch->format[v] = 1;
		}
	}
	va_end(ap);
	s->count = batch->values - s->first;
}

static void
clear_results(struct postgres_batch *batch)
{
	for (unsigned i = 0; i < batch->statements; i++) {
		PQclear(batch->statement[i].result);
		batch->statement[i].result = NULL;
	}
}

void
postgres_clear(struct postgres_batch *batch)
{
	clear_results(batch);
	batch->statements = batch->values = 0;
}

/* ---- sending ---- */

/* What will come back, in order. */
struct expected {
	unsigned count;
	struct {
		struct postgres__prepared prepares; /* sql NULL: nothing */
		void **result; /* where it goes; NULL: nowhere */
	} item[2 * (POSTGRES_STATEMENTS_MAX + 1)];
};

static enum err_code
lost(struct postgres__conn *conn)
{
	char why[ERR_MESSAGE_MAX];

	conn->doomed = true;
	postgres__why(conn->pg, why, sizeof(why));
	return err_set(ERR_UNAVAILABLE, "PostgreSQL: %s",
	    why[0] != '\0' ? why : "an answer out of order");
}

static const struct postgres__prepared *
find_prepared(const struct postgres__conn *conn, const char *sql)
{
	for (unsigned i = 0; i < conn->prepared_count; i++)
		if (conn->prepared[i].sql == sql)
			return &conn->prepared[i];
	return NULL;
}

static void
note_prepared(
    struct postgres__conn *conn, const struct postgres__prepared *prepared)
{
	if (conn->prepared_count == conn->prepared_room) {
		conn->prepared_room += 32;
		conn->prepared = mem_resize(conn->prepared,
		    conn->prepared_room * sizeof(*conn->prepared));
	}
	conn->prepared[conn->prepared_count++] = *prepared;
}

static bool
send_one(struct postgres__conn *conn, const struct postgres_batch *batch,
    const struct postgres_statement *s, struct expected *expected)
{
	const struct postgres__prepared *known = find_prepared(conn, s->sql);
	unsigned number = known != NULL ? known->number : conn->named++;
	char name[16];

	snprintf(name, sizeof(name), "s%u", number);
	if (known == NULL) {
		if (PQsendPrepare(conn->pg, name, s->sql, 0, NULL) != 1)
			return false;
		expected->item[expected->count++].prepares =
		    (struct postgres__prepared){ s->sql, number };
	}
	return PQsendQueryPrepared(conn->pg, name, (int)s->count,
		   batch->value + s->first, batch->length + s->first,
		   batch->format + s->first, 0) == 1;
}

static enum err_code
send_batch(struct postgres__conn *conn, struct postgres_batch *batch,
    bool begin, struct expected *expected)
{
	static const struct postgres_statement transaction = { .sql = "BEGIN" };
	bool sent = true;

	conn->in_flight = true;
	conn->flushed = false;
	if (begin) {
		sent = send_one(conn, batch, &transaction, expected);
		expected->item[expected->count++].result = NULL;
	}
	for (unsigned i = 0; i < batch->statements && sent; i++) {
		struct postgres_statement *s = &batch->statement[i];

		sent = send_one(conn, batch, s, expected);
		expected->item[expected->count++].result = &s->result;
	}
	if (!sent || PQpipelineSync(conn->pg) != 1)
		return lost(conn);
	return OK;
}

static enum err_code
flush(struct postgres__conn *conn, uint64_t deadline_ms)
{
	int rc;

	while ((rc = PQflush(conn->pg)) == 1) {
		TRY(postgres__wait(
		    conn, LOOP_READABLE | LOOP_WRITABLE, deadline_ms));
		if (PQconsumeInput(conn->pg) == 0)
			return lost(conn);
	}
	if (rc != 0)
		return lost(conn);
	conn->flushed = true;
	return OK;
}

/* ---- receiving ---- */

static enum err_code
next_result(
    struct postgres__conn *conn, uint64_t deadline_ms, PGresult **result_out)
{
	while (PQisBusy(conn->pg)) {
		TRY(postgres__wait(conn, LOOP_READABLE, deadline_ms));
		if (PQconsumeInput(conn->pg) == 0)
			return lost(conn);
	}
	*result_out = PQgetResult(conn->pg);
	return OK;
}

/* The result of one item and the NULL behind it. */
static enum err_code
receive_one(
    struct postgres__conn *conn, uint64_t deadline_ms, PGresult **result_out)
{
	PGresult *result, *end;
	enum err_code rc;

	TRY(next_result(conn, deadline_ms, &result));
	if (result == NULL || PQstatus(conn->pg) != CONNECTION_OK) {
		rc = result != NULL && PQresultErrorField(
					   result, PG_DIAG_SQLSTATE) != NULL
			 ? postgres__fail(conn, result)
			 : lost(conn);
		conn->doomed = true;
		PQclear(result);
		return rc;
	}
	rc = next_result(conn, deadline_ms, &end);
	if (rc != OK || end != NULL) {
		PQclear(result);
		PQclear(end);
		return rc != OK ? rc : lost(conn);
	}
	*result_out = result;
	return OK;
}

static enum err_code
receive_sync(struct postgres__conn *conn, uint64_t deadline_ms)
{
	PGresult *result;
	bool sync;

	TRY(next_result(conn, deadline_ms, &result));
	sync = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
	PQclear(result);
	if (!sync)
		return lost(conn);
	conn->in_flight = false;
	return OK;
}

/* The first error is the batch's; the rest was skipped by the server. */
static enum err_code
receive_batch(struct postgres__conn *conn, const struct expected *expected,
    uint64_t deadline_ms)
{
	enum err_code failed = OK;
	struct error why;
	PGresult *result = NULL;

	for (unsigned i = 0; i < expected->count; i++) {
		ExecStatusType status;

		TRY(receive_one(conn, deadline_ms, &result));
		status = PQresultStatus(result);
		if (status == PGRES_FATAL_ERROR && failed == OK) {
			failed = postgres__fail(conn, result);
			err_save(&why);
		}
		if (status == PGRES_COMMAND_OK &&
		    expected->item[i].prepares.sql != NULL)
			note_prepared(conn, &expected->item[i].prepares);
		if (expected->item[i].result != NULL)
			*expected->item[i].result = result;
		else
			PQclear(result);
	}
	TRY(receive_sync(conn, deadline_ms));
	if (failed != OK)
		err_restore(&why);
	return failed;
}

enum err_code
postgres__exec(struct postgres__conn *conn, struct postgres_batch *batch,
    bool begin, uint64_t deadline_ms)
{
	struct expected expected = { 0 };
	enum err_code rc;

	clear_results(batch);
	conn->retry = false;
	metric_count(METRIC_STORE_ROUND_TRIPS, METRIC_NO_LABELS, 1);
	rc = send_batch(conn, batch, begin, &expected);
	if (rc == OK)
		rc = flush(conn, deadline_ms);
	if (rc == OK)
		rc = receive_batch(conn, &expected, deadline_ms);
	if (rc != OK)
		clear_results(batch);
	return rc;
}

enum err_code
postgres__sync(struct postgres__conn *conn, uint64_t deadline_ms)
{
	struct postgres_batch nothing;

	nothing.statements = nothing.values = 0;
	return postgres__exec(conn, &nothing, false, deadline_ms);
}

enum err_code
postgres__drain(struct postgres__conn *conn, uint64_t deadline_ms)
{
	PGresult *result;

	while (conn->in_flight) {
		TRY(next_result(conn, deadline_ms, &result));
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
			conn->in_flight = false;
		PQclear(result);
		if (PQstatus(conn->pg) != CONNECTION_OK)
			return lost(conn);
	}
	return OK;
}

/* ---- results ---- */

int
postgres_rows(const struct postgres_batch *batch, unsigned statement)
{
	return PQntuples(batch->statement[statement].result);
}

int64_t
postgres_changes(const struct postgres_batch *batch, unsigned statement)
{
	int64_t changes;

	return str_to_i64(
		   PQcmdTuples(batch->statement[statement].result), &changes)
		   ? changes
		   : 0;
}

struct postgres_row
postgres_row(const struct postgres_batch *batch, unsigned statement, int row)
{
	return (struct postgres_row){ batch->statement[statement].result, row };
}

const char *
postgres_str(struct postgres_row row, int column)
{
	if (PQgetisnull(row.result, row.row, column))
		return NULL;
	return PQgetvalue(row.result, row.row, column);
}

char *
postgres_text(struct postgres_row row, int column)
{
	const char *text = postgres_str(row, column);

	return text != NULL ? mem_strdup(text) : NULL;
}

int64_t
postgres_int(struct postgres_row row, int column)
{
	const char *text = postgres_str(row, column);
	int64_t value;

	return text != NULL && str_to_i64(text, &value) ? value : 0;
}

bool
postgres_bool(struct postgres_row row, int column)
{
	return str_eq(postgres_str(row, column), "t");
}

char *
postgres_bytes(struct postgres_row row, int column, size_t *len_out)
{
	const char *text = postgres_str(row, column);
	unsigned char *bytes;
	char *copy;

	*len_out = 0;
	if (text == NULL)
		return NULL;
	bytes = PQunescapeBytea((const unsigned char *)text, len_out);
	must(bytes != NULL);
	copy = mem_alloc(*len_out + 1);
	memcpy(copy, bytes, *len_out);
	copy[*len_out] = '\0';
	PQfreemem(bytes);
	return copy;
}
