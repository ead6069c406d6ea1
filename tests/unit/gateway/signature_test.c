/* SPDX-License-Identifier: Apache-2.0 */
/* Webhook signatures: both forms, rotation, the window. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/signature.h"

#define BODY   "{\"text\":\"سلام\"}"
#define NOW_MS UINT64_C(1700000000000)
#define PLAIN                                                                  \
	"sha256=7cfe67f7d69f158ab14333e16fb4bce7a794a5b0cb7646c4b8dcf1ca327fa3ae"
#define TIMED                                                                  \
	"sha256=1b72320ed988acd89f7b748c2009f90b6871924ab8bab16ac0efa5ce16fdea80"

static enum err_code
verify(const char *secrets, const char *header, const char *timestamp,
    const char *body)
{
	return signature_verify(
	    secrets, header, timestamp, body, strlen(body), NOW_MS);
}

static void
the_right_signature_is_accepted(void **state)
{
	(void)state;
	assert_int_equal(verify("topsecret", PLAIN, NULL, BODY), OK);
	assert_int_equal(verify("topsecret", TIMED, "1700000000", BODY), OK);
}

static void
wrong_missing_and_changed_are_refused(void **state)
{
	(void)state;
	assert_int_equal(verify("other", PLAIN, NULL, BODY), ERR_UNAUTHORIZED);
	assert_int_equal(
	    verify("topsecret", NULL, NULL, BODY), ERR_UNAUTHORIZED);
	assert_int_equal(
	    verify("topsecret", PLAIN, NULL, BODY " "), ERR_UNAUTHORIZED);
	assert_int_equal(
	    verify("topsecret", PLAIN + 7, NULL, BODY), ERR_UNAUTHORIZED);
	assert_int_equal(
	    verify("topsecret", "sha256=zz", NULL, BODY), ERR_UNAUTHORIZED);
	assert_int_equal(verify("", PLAIN, NULL, BODY), ERR_UNAUTHORIZED);
	assert_int_equal(verify(",", PLAIN, NULL, BODY), ERR_UNAUTHORIZED);
}

static void
two_secrets_are_accepted_while_rotating(void **state)
{
	(void)state;
	assert_int_equal(verify("new,topsecret", PLAIN, NULL, BODY), OK);
	assert_int_equal(verify("topsecret,new", PLAIN, NULL, BODY), OK);
}

static void
an_old_timestamp_is_refused(void **state)
{
	(void)state;
	assert_int_equal(signature_verify("topsecret", TIMED, "1700000000",
			     BODY, strlen(BODY), NOW_MS + 301000),
	    ERR_UNAUTHORIZED);
	assert_int_equal(signature_verify("topsecret", TIMED, "1700000000",
			     BODY, strlen(BODY), NOW_MS - 301000),
	    ERR_UNAUTHORIZED);
	assert_int_equal(
	    verify("topsecret", TIMED, "yesterday", BODY), ERR_UNAUTHORIZED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_right_signature_is_accepted),
		cmocka_unit_test(wrong_missing_and_changed_are_refused),
		cmocka_unit_test(two_secrets_are_accepted_while_rotating),
		cmocka_unit_test(an_old_timestamp_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
