/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_POSTGRES_POSTGRES_H
#define XIN_POSTGRES_POSTGRES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/*
 * The link to PostgreSQL (12 or newer): libpq without blocking, a pool of
 * connections for each loop, statements prepared once for each connection.
 * Everything is sent in pipeline mode, so that a batch of statements is one
 * round trip and, ended by one Sync, one implicit transaction.
 * https://www.postgresql.org/docs/15/libpq-pipeline-mode.html
 *
 * Errors common to all that WAIT:
 *   ERR_UNAVAILABLE  no server, or it went away (what was sent may be done)
 *   ERR_OVERLOADED   no connection became free in XIN_STORE_STATEMENT_MS, or
 *                    the transaction met others too often
 *   ERR_DEADLINE     the task's deadline or XIN_STORE_STATEMENT_MS; the
 *                    statement is cancelled on the server
 *   ERR_CANCELLED    the fiber was; the same
 *   ERR_CONFLICT     a constraint; ERR_DISK_FULL; ERR_INVALID (bytes that are
 *                    not UTF-8); ERR_CONFIG (rights, or the schema: the
 *                    sentence says to run `xin migrate`)
 * No sentence contains the URL's password.
 */
struct postgres;

/* Reads the URL (libpq's: several hosts, sslmode, ...; target_session_attrs is
 * read-write unless it says otherwise) and looks whether a server answers and
 * has this program's schema, or a newer one that says that this program may
 * serve on it. ERR_CONFIG, ERR_UNAVAILABLE, ERR_CONFLICT (schema; says to run
 * `xin migrate`). WAITS in a fiber, blocks outside. */
enum err_code postgres_open(const char *url, struct postgres **postgres_out);
/* Nobody may be using it. WAITS in a fiber, blocks outside. */
void postgres_close(struct postgres *postgres);

/* Bring the database to this program's schema: the embedded files
 * schemas/postgres/NNNN_name.sql, each in a transaction, under an advisory
 * lock, so that several processes may try at once, and with short waits for the
 * locks of tables, so that traffic goes on. The number of files applied and the
 * version found or reached. A newer schema that this program may serve on is
 * left as it is (a roll-back runs this too), another is ERR_CONFLICT. Blocks:
 * not on a loop. */
enum err_code postgres_migrate(
    const char *url, int *applied_out, int *version_out);

/* ---- statements ---- */
#define POSTGRES_STATEMENTS_MAX 4  /* in a batch */
#define POSTGRES_VALUES_MAX     48 /* in a batch */

/* Statements with their values, then their results. Zeroed to begin with; what
 * the values point to must live until postgres_run has returned. */
struct postgres_batch {
	unsigned statements, values;
	struct postgres_statement {
		const char *sql;
		unsigned first, count; /* of the values */
		void *result;
	} statement[POSTGRES_STATEMENTS_MAX];
	const char *value[POSTGRES_VALUES_MAX];
	int length[POSTGRES_VALUES_MAX];
	int format[POSTGRES_VALUES_MAX];
	char number[POSTGRES_VALUES_MAX][21];
};
/* `sql` must be a string literal (prepared once, known by its address), with
 * $1... One letter for each value: `t` text (NULL = null), `i` int64_t, `y`
 * bytes (const void *, size_t). */
void postgres_add(
    struct postgres_batch *batch, const char *sql, const char *types, ...);
/* Drops the results; the batch may be filled anew. */
void postgres_clear(struct postgres_batch *batch);

/* All of it or nothing, in one round trip. Deadlocks and serialization
 * failures are tried again a few times. WAITS. */
enum err_code postgres_run(
    struct postgres *postgres, struct postgres_batch *batch);

/* Several batches on one connection between BEGIN (sent with the first) and
 * COMMIT; an fn that ends its last batch with the statement "COMMIT" saves a
 * round trip. fn is run again after a deadlock or serialization failure: it
 * must not keep what an earlier run found. An error of fn rolls back. WAITS. */
struct postgres_tx;
typedef enum err_code (*postgres_fn)(struct postgres_tx *tx, void *arg);
enum err_code postgres_transaction(
    struct postgres *postgres, postgres_fn fn, void *arg);
enum err_code postgres_tx_run(
    struct postgres_tx *tx, struct postgres_batch *batch);

/* ---- results, by the statement's number in the batch ---- */
/* Rows that came back. */
int postgres_rows(const struct postgres_batch *batch, unsigned statement);
/* Rows that were changed (INSERT, UPDATE, DELETE) or came back. */
int64_t postgres_changes(
    const struct postgres_batch *batch, unsigned statement);
struct postgres_row {
	const void *result;
	int row;
};
struct postgres_row postgres_row(
    const struct postgres_batch *batch, unsigned statement, int row);
/* NULL for null; owned by the batch. */
const char *postgres_str(struct postgres_row row, int column);
/* A copy (mem_free), NULL for null. */
char *postgres_text(struct postgres_row row, int column);
int64_t postgres_int(struct postgres_row row, int column);
bool postgres_bool(struct postgres_row row, int column);
/* A bytea, mem_free; a NUL follows the bytes. */
char *postgres_bytes(struct postgres_row row, int column, size_t *len_out);

#endif
