/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The published examples of AWS (S3 API reference, "Signature Calculations for
 * the Authorization Header"; the aws4 test suite that botocore carries), and a
 * few of our own whose signatures were made with another implementation.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "object/sigv4.h"

#define EMPTY       "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static const struct sigv4_keys s3_keys = { "AKIAIOSFODNN7EXAMPLE",
	"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1", "s3" };
static const struct sigv4_keys suite_keys = { "AKIDEXAMPLE",
	"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service" };
static const struct sigv4_keys own_keys = { "xinaccess", "xinsecret123",
	"us-east-1", "s3" };

static void
expect(const struct sigv4_request *request, const struct sigv4_keys *keys,
    const char *canonical_sha256, const char *signature)
{
	char hash[SHA256_HEX_SIZE];
	struct buf text;

	buf_init(&text, 0);
	sigv4_canonical(request, &text);
	crypto_sha256_hex(text.data, text.len, hash);
	if (canonical_sha256 != NULL)
		assert_string_equal(hash, canonical_sha256);
	buf_clear(&text);
	sigv4_authorization(request, keys, &text);
	assert_string_equal(
	    strstr(buf_str(&text), "Signature=") + 10, signature);
	buf_done(&text);
}

/* S3's examples: the headers of all, and at most two more. */
static void
expect_s3(const char *method, const char *path, const char *query,
    const char *payload, const struct sigv4_pair *more, size_t count,
    const char *canonical_sha256, const char *signature)
{
	struct sigv4_pair headers[5] = {
		{ "Host", "examplebucket.s3.amazonaws.com" },
		{ "x-amz-date", "20130524T000000Z" },
		{ "x-amz-content-sha256", payload },
	};
	struct sigv4_request request = { method, path, query, headers,
		3 + count, payload, "20130524T000000Z" };

	for (size_t i = 0; i < count; i++)
		headers[3 + i] = more[i];
	expect(&request, &s3_keys, canonical_sha256, signature);
}

static void
the_examples_of_s3_are_signed_as_published(void **state)
{
	static const struct sigv4_pair range[] = { { "Range", "bytes=0-9" } };
	static const struct sigv4_pair put[] = {
		{ "Date", "Fri, 24 May 2013 00:00:00 GMT" },
		{ "x-amz-storage-class", "REDUCED_REDUNDANCY" },
	};

	(void)state;
	expect_s3("GET", "/test.txt", "", EMPTY, range, 1,
	    "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
	    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
	expect_s3("PUT", "/test%24file.text", "",
	    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
	    put, 2,
	    "9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d",
	    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
	expect_s3("GET", "", "lifecycle=", EMPTY, NULL, 0,
	    "9766c798316ff2757b517bc739a67f6213b4ab36dd5da2f94eaebf79c77395ca",
	    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
	expect_s3("GET", "/", "max-keys=2&prefix=J", EMPTY, NULL, 0,
	    "df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7",
	    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void
expect_suite(const char *path, const char *query, const struct sigv4_pair *more,
    size_t count, const char *signature)
{
	struct sigv4_pair headers[4] = {
		{ "Host", "example.amazonaws.com" },
		{ "X-Amz-Date", "20150830T123600Z" },
	};
	struct sigv4_request request = { "GET", path, query, headers, 2 + count,
		EMPTY, "20150830T123600Z" };

	for (size_t i = 0; i < count; i++)
		headers[2 + i] = more[i];
	expect(&request, &suite_keys, NULL, signature);
}

static void
the_general_suite_is_signed_as_published(void **state)
{
	static const struct sigv4_pair params[] = {
		{ "Param2", "value2" },
		{ "Param1", "value1" },
	};
	static const struct sigv4_pair spaces[] = {
		{ "My-Header1", " value1" },
		{ "My-Header2", " \"a   b   c\"" },
	};
	struct buf text;

	(void)state;
	buf_init(&text, 0);
	expect_suite("/", "", NULL, 0,
	    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
	sigv4_query(&text, params, COUNT(params));
	assert_string_equal(buf_str(&text), "Param1=value1&Param2=value2");
	expect_suite("/", buf_str(&text), NULL, 0,
	    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
	buf_clear(&text);
	sigv4_path(&text, "/\xe1\x88\xb4");
	expect_suite(buf_str(&text), "", NULL, 0,
	    "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85");
	expect_suite("/", "", spaces, 2,
	    "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
	buf_done(&text);
}

static void
expect_own(const char *method, const char *path,
    const struct sigv4_pair *query_pairs, size_t query_count, const char *type,
    const char *payload, const char *canonical_sha256, const char *signature)
{
	struct sigv4_pair headers[4] = {
		{ "x-amz-date", "20260102T030405Z" },
		{ "x-amz-content-sha256", payload },
		{ "host", "127.0.0.1:9000" },
		{ "content-type", type },
	};
	struct buf encoded, query;
	struct sigv4_request request = { .method = method,
		.headers = headers,
		.header_count = type != NULL ? 4 : 3,
		.payload_sha256 = payload,
		.timestamp = "20260102T030405Z" };

	buf_init(&encoded, 0);
	buf_init(&query, 0);
	sigv4_path(&encoded, path);
	sigv4_query(&query, query_pairs, query_count);
	request.path = buf_str(&encoded);
	request.query = buf_str(&query);
	expect(&request, &own_keys, canonical_sha256, signature);
	buf_done(&encoded);
	buf_done(&query);
}

static void
keys_and_queries_of_any_bytes_are_encoded_once(void **state)
{
	static const struct sigv4_pair list[] = {
		{ "list-type", "2" },
		{ "prefix", "acme/" },
		{ "continuation-token", "1/2+3=" },
	};
	static const struct sigv4_pair uploads[] = { { "uploads", "" } };

	(void)state;
	expect_own("PUT", "/kb/acme/\xd8\xb3\xd9\x86\xd8\xaf 1+2.pdf", NULL, 0,
	    "application/pdf", "UNSIGNED-PAYLOAD",
	    "c86ff4d2ee53310d72c242a9565d2cc7b6d11be41e44306306b2bd4c40f313fc",
	    "4b838041b70e98493355e30390c9280718525ea91f02a5af585c2ba2f8f49119");
	expect_own("GET", "/kb", list, COUNT(list), NULL, EMPTY, NULL,
	    "c677a6227a50b6d48ffc7acd7f2a3c96bf05c8948d8050812edd7d5c45e976b1");
	expect_own("POST", "/kb/a.bin", uploads, COUNT(uploads), NULL, EMPTY,
	    NULL,
	    "1773a6ac39c6c638fd733c93b7895df40990d966a2fe0f621f773464eeffe4d5");
}

static void
the_head_names_key_scope_and_signed_headers(void **state)
{
	struct sigv4_pair headers[] = {
		{ "X-B", "2" },
		{ "Host", "h" },
		{ "x-b", "1" },
	};
	struct sigv4_request request = { "GET", "/", "", headers, 3, EMPTY,
		"20260102T030405Z" };
	struct buf text;

	(void)state;
	buf_init(&text, 0);
	sigv4_authorization(&request, &own_keys, &text);
	assert_memory_equal(buf_str(&text),
	    "AWS4-HMAC-SHA256 Credential=xinaccess/20260102/us-east-1/s3/"
	    "aws4_request, SignedHeaders=host;x-b, Signature=",
	    108);
	buf_clear(&text);
	sigv4_canonical(&request, &text);
	assert_string_equal(
	    buf_str(&text), "GET\n/\n\nhost:h\nx-b:2,1\n\nhost;x-b\n" EMPTY);
	buf_done(&text);
}

static void
timestamps_are_utc(void **state)
{
	char text[SIGV4_TIMESTAMP_SIZE];

	(void)state;
	sigv4_timestamp(1767323045999, text);
	assert_string_equal(text, "20260102T030405Z");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_examples_of_s3_are_signed_as_published),
		cmocka_unit_test(the_general_suite_is_signed_as_published),
		cmocka_unit_test(
		    keys_and_queries_of_any_bytes_are_encoded_once),
		cmocka_unit_test(the_head_names_key_scope_and_signed_headers),
		cmocka_unit_test(timestamps_are_utc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
