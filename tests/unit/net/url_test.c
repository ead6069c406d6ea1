/* SPDX-License-Identifier: Apache-2.0 */
/* Percent codes and places to listen on. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "net/url.h"

static void
decoding_undoes_encoding(void **state)
{
	static const char text[] = "a b/c?d&e=\xc3\xa4%~.-_+";
	struct buf coded;
	char out[64];
	size_t len;

	(void)state;
	buf_init(&coded, 0);
	url_encode(&coded, text);
	assert_string_equal(
	    buf_str(&coded), "a%20b%2Fc%3Fd%26e%3D%C3%A4%25~.-_%2B");
	assert_true(url_decode(coded.data, coded.len, out, &len));
	assert_string_equal(out, text);
	assert_int_equal(len, strlen(text));
	buf_done(&coded);
}

static void
bad_percent_codes_and_zero_bytes_are_refused(void **state)
{
	static const char *const bad[] = { "%", "%4", "a%zz", "%00", "%-1" };
	char out[16];
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(url_decode(bad[i], strlen(bad[i]), out, &len));
	assert_true(url_decode("a+b", 3, out, &len));
	assert_string_equal(out, "a+b");
}

static void
places_are_host_and_port(void **state)
{
	static const char *const bad[] = { "", "host", "host:", ":80",
		"host:65536", "host:-1", "host:8o", "::1:80", "[]:80" };
	char host[32];
	int port;

	(void)state;
	assert_int_equal(
	    url_host_port("127.0.0.1:0", host, sizeof(host), &port), OK);
	assert_string_equal(host, "127.0.0.1");
	assert_int_equal(port, 0);
	assert_int_equal(
	    url_host_port("[::1]:8000", host, sizeof(host), &port), OK);
	assert_string_equal(host, "::1");
	assert_int_equal(port, 8000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(
		    url_host_port(bad[i], host, sizeof(host), &port),
		    ERR_INVALID);
	assert_int_equal(
	    url_host_port("a-very-long-name:80", host, 5, &port), ERR_INVALID);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decoding_undoes_encoding),
		cmocka_unit_test(bad_percent_codes_and_zero_bytes_are_refused),
		cmocka_unit_test(places_are_host_and_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
