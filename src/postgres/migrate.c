/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema: what the database has, what this program knows, and the way from
 * one to the other. Apart from serving (`xin migrate`), with a blocking
 * connection of its own, because a migration may take long and must be run once
 * however many replicas start.
 */
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/embed.h"
#include "base/mem.h"
#include "base/str.h"
#include "postgres/internal.h"

#define FOLDER "schemas/postgres/"
/* pg_advisory_lock's key: "xin" and a number, the same in all versions. */
#define LOCK_KEY "7890286"
/* A migration may rewrite tables, and wait for another process to do so. */
#define LIMITS                                                                 \
	"SET statement_timeout = '30min'; SET client_min_messages = warning"

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

/* 0 = there is no schema. */
static enum err_code
found_version(PGconn *pg, int *version_out)
{
	PGresult *result = PQexec(
	    pg, "SELECT coalesce(max(version), 0) FROM schema_migrations");
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	enum err_code rc = OK;
	int64_t version = 0;

	if (PQresultStatus(result) == PGRES_TUPLES_OK)
		str_to_i64(PQgetvalue(result, 0, 0), &version);
	else if (!str_eq(state, "42P01"))
		rc = failed(pg, result, "schema_migrations");
	PQclear(result);
	if (rc == OK)
		*version_out = (int)version;
	return rc;
}

static enum err_code
too_new(int found, int known)
{
	return err_set(ERR_CONFLICT,
	    "the store has schema %d, this program knows %d: it was brought "
	    "there by a newer version; run that one (`xin migrate` only goes "
	    "forward)",
	    found, known);
}

enum err_code
postgres__check(struct postgres *postgres)
{
	int known = known_version(), found = 0;
	enum err_code rc;
	PGconn *pg;

	TRY(open_blocking(postgres, &pg));
	rc = found_version(pg, &found);
	PQfinish(pg);
	if (rc != OK)
		return rc;
	if (found > known)
		return too_new(found, known);
	if (found == 0)
		return err_set(ERR_CONFLICT,
		    "the store has no schema yet: run `xin migrate`");
	if (found < known)
		return err_set(ERR_CONFLICT,
		    "the store has schema %d, this program needs %d: run "
		    "`xin migrate`",
		    found, known);
	return OK;
}

static enum err_code
apply(PGconn *pg, const struct embed *file, int version)
{
	enum err_code rc;
	char *record = mem_printf(
	    "INSERT INTO schema_migrations(version, name) VALUES(%d, '%s')",
	    version, file->name + strlen(FOLDER));

	rc = execute(pg, "BEGIN", file->name);
	if (rc == OK)
		rc = execute(pg, file->data, file->name);
	if (rc == OK)
		rc = execute(pg, record, file->name);
	if (rc == OK)
		rc = execute(pg, "COMMIT", file->name);
	mem_free(record);
	return rc; /* the connection is closed: that rolls back */
}

/* The session's lock goes with the connection. */
static enum err_code
migrate(PGconn *pg, int *applied_out, int *version_out)
{
	int version, next, applied = 0;
	const struct embed *file;

	TRY(execute(pg, LIMITS, "settings"));
	TRY(execute(pg, "SELECT pg_advisory_lock(" LOCK_KEY ")", "the lock"));
	TRY(execute(pg,
	    "CREATE TABLE IF NOT EXISTS schema_migrations("
	    "version integer PRIMARY KEY, name text NOT NULL,"
	    " applied_at timestamptz NOT NULL DEFAULT now())",
	    "schema_migrations"));
	TRY(found_version(pg, &version));
	if (version > known_version())
		return too_new(version, known_version());
	while ((file = embed_migration(FOLDER, version, &next)) != NULL) {
		TRY(apply(pg, file, next));
		version = next;
		applied++;
	}
	*applied_out = applied;
	*version_out = version;
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
		rc = migrate(pg, applied_out, version_out);
		PQfinish(pg);
	}
	postgres__url_free(&postgres);
	return rc;
}
