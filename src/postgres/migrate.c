/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema: what the database has, what this program knows, and the way from
 * one to the other. Apart from serving (`xin migrate`), with a blocking
 * connection of its own, because a migration may take long and must be run once
 * however many replicas start.
 *
 * A roll-out migrates first and replaces the replicas after, so for minutes
 * old programs serve on the new schema, and a roll-back makes that the rule.
 * Each file therefore names the oldest program that can: `-- min_reader: N`,
 * N being the last file that program knows. Without it, none can.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/config.h"
#include "base/embed.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "postgres/internal.h"

#define FOLDER "schemas/postgres/"
/* pg_advisory_lock's key: "xin" and a number, the same in all versions. */
#define LOCK_KEY "7890286"
/* A migration may rewrite tables, and wait for another process to do so. */
#define LIMITS                                                                 \
	"SET statement_timeout = '30min'; SET client_min_messages = warning"

/* What stands before us in a table's queue of locks holds up everybody who
 * comes after: give up soon, let them through, and try again. */
#define LOCK_TRIES    100
#define LOCK_PAUSE_MS 500

struct schema {
	int version;    /* 0 = there is none */
	int min_reader; /* the oldest program's version that may serve on it */
};

int
postgres__min_reader(const struct embed *file, int version)
{
	const char *mark = "-- min_reader: ";
	char *end;
	long reader;

	if (!str_starts(file->data, mark))
		return version;
	reader = strtol(file->data + strlen(mark), &end, 10);
	return *end == '\n' && reader > 0 && reader < version ? (int)reader
							      : version;
}

static int
known_version(void)
{
	int version = 0, next;

	while (embed_migration(FOLDER, version, &next) != NULL)
		version = next;
	return version;
}

/* Blocks; all hosts, in libpq's order. */
static enum err_code
open_blocking(const struct postgres *postgres, PGconn **pg_out)
{
	struct postgres__params params;
	char why[ERR_MESSAGE_MAX];
	PGconn *pg;

	postgres__params(postgres, NULL, &params);
	pg = PQconnectdbParams(params.keys, params.values, 0);
	postgres__params_free(&params);
	must(pg != NULL);
	if (PQstatus(pg) != CONNECTION_OK) {
		postgres__why(pg, why, sizeof(why));
		PQfinish(pg);
		return err_set(
		    ERR_UNAVAILABLE, "the store, PostgreSQL: %s", why);
	}
	*pg_out = pg;
	return OK;
}

static enum err_code
failed(const PGconn *pg, const PGresult *result, const char *what)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	char why[ERR_MESSAGE_MAX];

	postgres__why(pg, why, sizeof(why));
	return err_set(postgres__sqlstate(state),
	    "the store, PostgreSQL: %s: %s", what, why);
}

static enum err_code
execute(PGconn *pg, const char *sql, const char *what)
{
	PGresult *result = PQexec(pg, sql);
	ExecStatusType status = PQresultStatus(result);
	enum err_code rc = OK;

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		rc = failed(pg, result, what);
	PQclear(result);
	return rc;
}

/* A database that was last migrated before there was the column min_reader has
 * none; no statement may then name it. */
static enum err_code
found_schema(PGconn *pg, struct schema *schema_out)
{
	PGresult *result = PQexec(pg,
	    "SELECT coalesce(max(version), 0), coalesce(max(coalesce("
	    "(to_jsonb(m) ->> 'min_reader')::integer, version)), 0)"
	    " FROM schema_migrations m");
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	enum err_code rc = OK;
	int64_t version = 0, min_reader = 0;

	if (PQresultStatus(result) == PGRES_TUPLES_OK) {
		str_to_i64(PQgetvalue(result, 0, 0), &version);
		str_to_i64(PQgetvalue(result, 0, 1), &min_reader);
	} else if (!str_eq(state, "42P01")) {
		rc = failed(pg, result, "schema_migrations");
	}
	PQclear(result);
	schema_out->version = (int)version;
	schema_out->min_reader = (int)min_reader;
	return rc;
}

/* What a newer program left may still be good for this one. */
static enum err_code
check_newer(const struct schema *found, int known)
{
	if (found->version <= known || known >= found->min_reader)
		return OK;
	return err_set(ERR_CONFLICT,
	    "the store has schema %d, this program knows %d and it takes one "
	    "that knows %d at least: it was brought there by a newer version; "
	    "run that one (`xin migrate` only goes forward)",
	    found->version, known, found->min_reader);
}

enum err_code
postgres__check(struct postgres *postgres)
{
	struct schema found = { 0 };
	int known = known_version();
	enum err_code rc;
	PGconn *pg;

	TRY(open_blocking(postgres, &pg));
	rc = found_schema(pg, &found);
	PQfinish(pg);
	if (rc != OK)
		return rc;
	if (found.version == 0)
		return err_set(ERR_CONFLICT,
		    "the store has no schema yet: run `xin migrate`");
	if (found.version < known)
		return err_set(ERR_CONFLICT,
		    "the store has schema %d, this program needs %d: run "
		    "`xin migrate`",
		    found.version, known);
	TRY(check_newer(&found, known));
	if (found.version > known)
		log_info("store.schema_newer", kv_int("found", found.version),
		    kv_int("known", known));
	return OK;
}

static enum err_code
apply_once(PGconn *pg, const struct embed *file, const char *record)
{
	enum err_code rc;

	rc = execute(pg, "BEGIN", file->name);
	if (rc == OK)
		rc = execute(pg, file->data, file->name);
	if (rc == OK)
		rc = execute(pg, record, file->name);
	if (rc == OK)
		rc = execute(pg, "COMMIT", file->name);
	return rc;
}

/* Locks that are not to be had, and deadlocks with the traffic, pass. */
static enum err_code
apply(PGconn *pg, const struct embed *file, int version)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };
	char *record = mem_printf(
	    "INSERT INTO schema_migrations(version, name, min_reader)"
	    " VALUES(%d, '%s', %d)",
	    version, file->name + strlen(FOLDER),
	    postgres__min_reader(file, version));
	enum err_code rc = apply_once(pg, file, record);

	for (int i = 1; i < LOCK_TRIES && rc == ERR_OVERLOADED; i++) {
		PQclear(PQexec(pg, "ROLLBACK"));
		nanosleep(&pause, NULL);
		rc = apply_once(pg, file, record);
	}
	mem_free(record);
	return rc; /* the connection is closed: that rolls back */
}

/* Traffic that queues behind our locks must not meet its own limit. */
static enum err_code
limit_locks(PGconn *pg, uint64_t statement_ms)
{
	char *sql = mem_printf(
	    "SET lock_timeout = %llu", (unsigned long long)(statement_ms / 4));
	enum err_code rc = execute(pg, sql, "settings");

	mem_free(sql);
	return rc;
}

/* Under the session's lock, which goes with the connection. */
static enum err_code
migrate(PGconn *pg, uint64_t statement_ms, int *applied_out, int *version_out)
{
	const struct embed *file;
	struct schema found;
	int next, applied = 0;

	TRY(execute(pg, LIMITS, "settings"));
	TRY(execute(pg, "SELECT pg_advisory_lock(" LOCK_KEY ")", "the lock"));
	TRY(limit_locks(pg, statement_ms));
	TRY(execute(pg,
	    "CREATE TABLE IF NOT EXISTS schema_migrations("
	    "version integer PRIMARY KEY, name text NOT NULL,"
	    " applied_at timestamptz NOT NULL DEFAULT now())",
	    "schema_migrations"));
	TRY(execute(pg,
	    "ALTER TABLE schema_migrations"
	    " ADD COLUMN IF NOT EXISTS min_reader integer",
	    "schema_migrations"));
	TRY(found_schema(pg, &found));
	TRY(check_newer(&found, known_version()));
	while ((file = embed_migration(FOLDER, found.version, &next)) != NULL) {
		TRY(apply(pg, file, next));
		found.version = next;
		applied++;
	}
	*applied_out = applied;
	*version_out = found.version;
	return OK;
}

enum err_code
postgres_migrate(const char *url, int *applied_out, int *version_out)
{
	struct postgres postgres = { .statement_ms = (uint64_t)config_int(
					 CFG_STORE_STATEMENT_MS) };
	enum err_code rc = postgres__url(&postgres, url);
	PGconn *pg;

	if (rc == OK)
		rc = open_blocking(&postgres, &pg);
	if (rc == OK) {
		rc = migrate(
		    pg, postgres.statement_ms, applied_out, version_out);
		PQfinish(pg);
	}
	postgres__url_free(&postgres);
	return rc;
}
