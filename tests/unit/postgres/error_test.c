/* SPDX-License-Identifier: Apache-2.0 */
/* What each class of the server's errors becomes for our callers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "postgres/internal.h"

static void
a_state_becomes_the_error_that_tells_what_to_do(void **state)
{
	static const struct {
		const char *state;
		enum err_code code;
	} cases[] = {
		{ NULL, ERR_UNAVAILABLE },    /* the connection went */
		{ "08006", ERR_UNAVAILABLE }, /* connection_failure */
		{ "0A000", ERR_UNAVAILABLE }, /* cached plan ... result type */
		{ "22021", ERR_INVALID },     /* not in repertoire: bad UTF-8 */
		{ "23505", ERR_CONFLICT },    /* unique_violation */
		{ "23514", ERR_CONFLICT },    /* check_violation */
		{ "25006", ERR_UNAVAILABLE }, /* read_only_sql_transaction */
		{ "26000", ERR_UNAVAILABLE }, /* no such prepared statement */
		{ "28P01", ERR_UNAVAILABLE }, /* invalid_password */
		{ "40001", ERR_OVERLOADED },  /* serialization_failure */
		{ "40P01", ERR_OVERLOADED },  /* deadlock_detected */
		{ "42501", ERR_CONFIG },      /* insufficient_privilege */
		{ "42P01", ERR_CONFIG },      /* undefined_table */
		{ "42601", ERR_INTERNAL },    /* syntax_error: ours */
		{ "53100", ERR_DISK_FULL },
		{ "53200", ERR_OVERLOADED },  /* out_of_memory */
		{ "53300", ERR_UNAVAILABLE }, /* too_many_connections */
		{ "54000", ERR_TOO_LARGE },   /* program_limit_exceeded */
		{ "55P03", ERR_OVERLOADED },  /* lock_not_available */
		{ "57014", ERR_DEADLINE },    /* query_canceled */
		{ "57P01", ERR_UNAVAILABLE }, /* admin_shutdown */
		{ "57P03", ERR_UNAVAILABLE }, /* cannot_connect_now */
		{ "58030", ERR_IO },
		{ "XX000", ERR_INTERNAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum err_code code = postgres__sqlstate(cases[i].state);

		if (code != cases[i].code)
			print_error("%s\n", cases[i].state);
		assert_int_equal(code, cases[i].code);
	}
}

int
main(void)
{
	const struct CMUnitTest error[] = {
		cmocka_unit_test(
		    a_state_becomes_the_error_that_tells_what_to_do),
	};

	return cmocka_run_group_tests(error, NULL, NULL);
}
