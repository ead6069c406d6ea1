/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL's errors as ours. Only the primary sentence is kept: the detail
 * quotes the values of rows, which may be the text of users.
 * https://www.postgresql.org/docs/15/errcodes-appendix.html
 */
#include <string.h>

#include "base/str.h"
#include "postgres/internal.h"

static const struct {
	const char *prefix; /* of the SQLSTATE; the first that fits */
	enum err_code code;
} table[] = {
	{ "08", ERR_UNAVAILABLE },    /* connection exceptions */
	{ "0A000", ERR_UNAVAILABLE }, /* a plan outlived the schema */
	{ "21", ERR_INTERNAL },
	{ "22021", ERR_INVALID }, /* not UTF-8 */
	{ "22", ERR_INVALID },
	{ "23", ERR_CONFLICT },
	{ "25006", ERR_UNAVAILABLE }, /* read only: no longer the primary */
	{ "26000", ERR_UNAVAILABLE }, /* our prepared statement is gone */
	{ "28", ERR_UNAVAILABLE },    /* the rights to connect were taken */
	{ "40", ERR_OVERLOADED },     /* deadlock, serialization */
	{ "42501", ERR_CONFIG },      /* no privilege */
	{ "42P01", ERR_CONFIG },      /* no such table */
	{ "42703", ERR_CONFIG },      /* no such column */
	{ "53100", ERR_DISK_FULL },
	{ "53300", ERR_UNAVAILABLE }, /* too many connections */
	{ "53", ERR_OVERLOADED },
	{ "54", ERR_TOO_LARGE },
	{ "55P03", ERR_OVERLOADED }, /* lock not available */
	{ "57014", ERR_DEADLINE },   /* cancelled, or its statement_timeout */
	{ "57", ERR_UNAVAILABLE },   /* shutting down, starting up */
	{ "58", ERR_IO },
};

enum err_code
postgres__sqlstate(const char *state)
{
	if (state == NULL)
		return ERR_UNAVAILABLE; /* libpq's own: the connection */
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (str_starts(state, table[i].prefix))
			return table[i].code;
	return ERR_INTERNAL;
}

/* After these the connection is of no use, or leads to the wrong server. */
static bool
ends_connection(const char *state)
{
	return state == NULL || str_starts(state, "08") ||
	       str_starts(state, "0A") || str_starts(state, "26") ||
	       str_eq(state, "25006") || str_eq(state, "25P03") ||
	       str_starts(state, "57P");
}

void
postgres__why(const PGconn *pg, char *out, size_t size)
{
	str_copy(out, size, PQerrorMessage(pg));
	for (char *c = out; *c != '\0'; c++)
		if (*c == '\n' || *c == '\t')
			*c = ' ';
	for (size_t len = strlen(out); len > 0 && out[len - 1] == ' ';)
		out[--len] = '\0';
}

enum err_code
postgres__fail(struct postgres__conn *conn, const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	enum err_code code = postgres__sqlstate(state);
	char why[ERR_MESSAGE_MAX];

	conn->doomed |= ends_connection(state);
	conn->retry =
	    state != NULL && (str_eq(state, "40001") || str_eq(state, "40P01"));
	if (text == NULL) {
		postgres__why(conn->pg, why, sizeof(why));
		text = why;
	}
	if (code == ERR_CONFIG)
		return err_set(code,
		    "PostgreSQL: %s; was the schema changed? run `xin migrate`",
		    text);
	return err_set(code, "PostgreSQL: %s (%s)", text,
	    state != NULL ? state : "connection lost");
}
