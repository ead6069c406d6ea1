/* SPDX-License-Identifier: Apache-2.0 */
/* What libpq is given for each of a URL's hosts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "postgres/internal.h"

static struct postgres
parsed(const char *url)
{
	struct postgres postgres = { .statement_ms = 1234 };

	assert_int_equal(postgres__url(&postgres, url), OK);
	return postgres;
}

static const char *
value(const struct postgres__params *params, const char *key)
{
	const char *found = NULL;

	for (unsigned i = 0; i < params->count; i++) {
		if (strcmp(params->keys[i], key) != 0)
			continue;
		assert_null(found); /* each once */
		found = params->values[i];
	}
	return found;
}

static void
each_host_has_its_port(void **state)
{
	struct postgres p =
	    parsed("postgresql://u:p%40@a:1,b:2,[::1]:3/db?sslmode=require");
	struct postgres__params params;

	(void)state;
	assert_int_equal(p.host_count, 3);
	assert_string_equal(p.hosts[0].name, "a");
	assert_string_equal(p.hosts[1].port, "2");
	assert_string_equal(p.hosts[2].name, "::1");
	postgres__params(&p, &p.hosts[1], &params);
	assert_string_equal(value(&params, "host"), "b");
	assert_string_equal(value(&params, "port"), "2");
	assert_string_equal(value(&params, "password"), "p@");
	assert_string_equal(value(&params, "sslmode"), "require");
	assert_string_equal(
	    value(&params, "target_session_attrs"), "read-write");
	assert_non_null(
	    strstr(value(&params, "options"), "statement_timeout=1234"));
	postgres__params_free(&params);
	postgres__url_free(&p);
}

static void
one_port_stands_for_all_hosts(void **state)
{
	struct postgres p = parsed("postgres:///db?host=a,b&port=7");

	(void)state;
	assert_int_equal(p.host_count, 2);
	assert_string_equal(p.hosts[0].port, "7");
	assert_string_equal(p.hosts[1].port, "7");
	postgres__url_free(&p);
}

static void
what_the_url_says_wins(void **state)
{
	struct postgres p = parsed("postgresql://h/db?target_session_attrs=any"
				   "&connect_timeout=9&options=-c%20jit%3Doff");
	struct postgres__params params;

	(void)state;
	assert_int_equal(p.attempt_ms, 9000);
	postgres__params(&p, &p.hosts[0], &params);
	assert_string_equal(value(&params, "target_session_attrs"), "any");
	assert_non_null(strstr(value(&params, "options"), "jit=off"));
	postgres__params_free(&params);
	postgres__url_free(&p);
}

static void
no_host_is_libpqs_own(void **state)
{
	struct postgres p = parsed("postgresql:///db");
	struct postgres__params params;

	(void)state;
	assert_int_equal(p.host_count, 1);
	postgres__params(&p, &p.hosts[0], &params);
	assert_null(value(&params, "host"));
	assert_string_equal(value(&params, "dbname"), "db");
	postgres__params_free(&params);
	postgres__url_free(&p);
}

static void
lists_that_do_not_fit_are_refused(void **state)
{
	struct postgres p = { 0 };

	(void)state;
	assert_int_equal(
	    postgres__url(&p, "postgresql:///db?host=a,b,c&port=1,2"),
	    ERR_CONFIG);
	postgres__url_free(&p);
	p = (struct postgres){ 0 };
	assert_int_equal(
	    postgres__url(&p, "postgresql:///db?host=a,b&hostaddr=127.0.0.1"),
	    ERR_CONFIG);
	postgres__url_free(&p);
	p = (struct postgres){ 0 };
	assert_int_equal(postgres__url(&p, "postgresql:///db?host="
					   "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"),
	    ERR_CONFIG);
	postgres__url_free(&p);
}

int
main(void)
{
	const struct CMUnitTest url[] = {
		cmocka_unit_test(each_host_has_its_port),
		cmocka_unit_test(one_port_stands_for_all_hosts),
		cmocka_unit_test(what_the_url_says_wins),
		cmocka_unit_test(no_host_is_libpqs_own),
		cmocka_unit_test(lists_that_do_not_fit_are_refused),
	};

	return cmocka_run_group_tests(url, NULL, NULL);
}
