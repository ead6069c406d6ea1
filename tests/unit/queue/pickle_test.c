/* SPDX-License-Identifier: Apache-2.0 */
/* Pickles written by CPython 3.11, read as plain values; and ours. */
#include "fiber_group.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/json.h"
#include "base/mem.h"
#include "queue/pickle.h"

#define PLAIN                                                                         \
	"{\"t\":null,\"f\":\"ingest_source\",\"a\":[],\"k\":{\"source_id\":\"kn_1\"," \
	"\"brand_id\":\"acme\",\"version\":3},\"et\":1795416939164}"
#define NESTED                                                                      \
	"{\"a\":[1,[2,3],[4,5,6],[7,8,9,10]],\"l\":[[],[1],[1,2]],\"d\":{},"        \
	"\"e\":{\"x\":{\"y\":null}},\"b\":[true,false],\"n\":[0,255,256,65535,"     \
	"65536,-1,-2147483648,2147483648,-9223372036854775808,"                     \
	"9223372036854775807],\"r\":[1.5,-0.25,2.0],\"u\":\"Grüße 😀\",\"s\":[" \
	"\"shared text\",\"shared text\"]}"

struct vector {
	const char *name;
	int protocol;
	const char *hex;
};

/* clang-format off */
static const struct vector plain_values[] = {
	{ "plain", 2,
	    "80027d71002858010000007471014e5801000000667102580d000000696e6765"
	    "73745f736f75726365710358010000006171042958010000006b71057d710628"
	    "5809000000736f757263655f6964710758040000006b6e5f3171085808000000"
	    "6272616e645f69647109580400000061636d65710a580700000076657273696f"
	    "6e710b4b037558020000006574710c8a069c5a3007a201752e" },
	{ "plain", 3,
	    "80037d71002858010000007471014e5801000000667102580d000000696e6765"
	    "73745f736f75726365710358010000006171042958010000006b71057d710628"
	    "5809000000736f757263655f6964710758040000006b6e5f3171085808000000"
	    "6272616e645f69647109580400000061636d65710a580700000076657273696f"
	    "6e710b4b037558020000006574710c8a069c5a3007a201752e" },
	{ "plain", 4,
	    "80049569000000000000007d94288c0174944e8c0166948c0d696e676573745f"
	    "736f75726365948c016194298c016b947d94288c09736f757263655f6964948c"
	    "046b6e5f31948c086272616e645f6964948c0461636d65948c0776657273696f"
	    "6e944b03758c026574948a069c5a3007a201752e" },
	{ "plain", 5,
	    "80059569000000000000007d94288c0174944e8c0166948c0d696e676573745f"
	    "736f75726365948c016194298c016b947d94288c09736f757263655f6964948c"
	    "046b6e5f31948c086272616e645f6964948c0461636d65948c0776657273696f"
	    "6e944b03758c026574948a069c5a3007a201752e" },
	{ "nested", 2,
	    "80027d7100285801000000617101284b014b024b038671024b044b054b068771"
	    "03284b074b084b094b0a74710474710558010000006c71065d7107285d71085d"
	    "71094b01615d710a284b014b026565580100000064710b7d710c580100000065"
	    "710d7d710e580100000078710f7d711058010000007971114e73735801000000"
	    "6271125d71132888896558010000006e71145d7115284b004bff4d00014dffff"
	    "4a000001004affffffff4a000000808a0500000080008a080000000000000080"
	    "8a08ffffffffffffff7f6558010000007271165d711728473ff8000000000000"
	    "47bfd0000000000000474000000000000000655801000000757118580c000000"
	    "4772c3bcc39f6520f09f98807119580100000073711a5d711b28580b00000073"
	    "68617265642074657874711c681c65752e" },
	{ "nested", 3,
	    "80037d7100285801000000617101284b014b024b038671024b044b054b068771"
	    "03284b074b084b094b0a74710474710558010000006c71065d7107285d71085d"
	    "71094b01615d710a284b014b026565580100000064710b7d710c580100000065"
	    "710d7d710e580100000078710f7d711058010000007971114e73735801000000"
	    "6271125d71132888896558010000006e71145d7115284b004bff4d00014dffff"
	    "4a000001004affffffff4a000000808a0500000080008a080000000000000080"
	    "8a08ffffffffffffff7f6558010000007271165d711728473ff8000000000000"
	    "47bfd0000000000000474000000000000000655801000000757118580c000000"
	    "4772c3bcc39f6520f09f98807119580100000073711a5d711b28580b00000073"
	    "68617265642074657874711c681c65752e" },
	{ "nested", 4,
	    "800495eb000000000000007d94288c016194284b014b024b0386944b044b054b"
	    "068794284b074b084b094b0a749474948c016c945d94285d945d944b01615d94"
	    "284b014b0265658c0164947d948c0165947d948c0178947d948c0179944e7373"
	    "8c0162945d94288889658c016e945d94284b004bff4d00014dffff4a00000100"
	    "4affffffff4a000000808a0500000080008a0800000000000000808a08ffffff"
	    "ffffffff7f658c0172945d9428473ff800000000000047bfd000000000000047"
	    "4000000000000000658c0175948c0c4772c3bcc39f6520f09f9880948c017394"
	    "5d94288c0b736861726564207465787494681c65752e" },
	{ "nested", 5,
	    "800595eb000000000000007d94288c016194284b014b024b0386944b044b054b"
	    "068794284b074b084b094b0a749474948c016c945d94285d945d944b01615d94"
	    "284b014b0265658c0164947d948c0165947d948c0178947d948c0179944e7373"
	    "8c0162945d94288889658c016e945d94284b004bff4d00014dffff4a00000100"
	    "4affffffff4a000000808a0500000080008a0800000000000000808a08ffffff"
	    "ffffffff7f658c0172945d9428473ff800000000000047bfd000000000000047"
	    "4000000000000000658c0175948c0c4772c3bcc39f6520f09f9880948c017394"
	    "5d94288c0b736861726564207465787494681c65752e" },
};

static const struct vector opaque_values[] = {
	{ "datetime.datetime", 4,
	    "80049541000000000000007d94288c0166948c0167948c016b947d948c017894"
	    "8c086461746574696d65948c086461746574696d65949394430a07ea01010000"
	    "00000000948594529473752e" },
	{ "uuid.UUID", 4,
	    "80049537000000000000007d94288c0166948c0167948c016b947d948c017894"
	    "8c0475756964948c04555549449493942981947d948c03696e74944b01736273"
	    "752e" },
	{ "int over 64 bits", 4,
	    "80049523000000000000007d94288c0166948c0167948c016b947d948c017894"
	    "8a0900000000000000004073752e" },
	{ "set", 4,
	    "80049520000000000000007d94288c0166948c0167948c016b947d948c017894"
	    "8f94284b014b029073752e" },
	{ "collections.OrderedDict", 4,
	    "80049540000000000000007d94288c0166948c0167948c016b947d948c017894"
	    "8c0b636f6c6c656374696f6e73948c0b4f726465726564446963749493942952"
	    "948c0161944b017373752e" },
	{ "bytearray", 5,
	    "80059523000000000000007d94288c0166948c0167948c016b947d948c017894"
	    "960100000000000000789473752e" },
	{ "posix.system", 4,
	    "8004953d000000000000007d94288c0166948c0167948c016b947d948c017894"
	    "8c05706f736978948c0673797374656d9493948c0b746f7563682070776e6564"
	    "948594529473752e" },
};

#define CIRCULAR "80049506000000000000005d946800612e"
/* clang-format on */

struct bytes {
	uint8_t data[2048];
	size_t len;
};

static struct bytes
unhex(const char *hex)
{
	struct bytes bytes = { .len = strlen(hex) / 2 };

	assert_true(bytes.len <= sizeof(bytes.data));
	assert_true(crypto_unhex(hex, 2 * bytes.len, bytes.data, bytes.len));
	return bytes;
}

static int
set_up(void **state)
{
	static struct arena arena;

	arena_init(&arena, 1 << 20);
	*state = &arena;
	return 0;
}

static int
tear_down(void **state)
{
	arena_done(*state);
	return 0;
}

static void
plain_values_of_every_protocol_are_read(void **state)
{
	for (size_t i = 0; i < sizeof(plain_values) / sizeof(plain_values[0]);
	     i++) {
		struct bytes in = unhex(plain_values[i].hex);
		const struct pickle_value *value;
		struct buf json;

		buf_init(&json, 65536);
		assert_int_equal(
		    pickle_read(*state, in.data, in.len, &value), OK);
		assert_int_equal(pickle_to_json(value, &json), OK);
		assert_string_equal(buf_str(&json),
		    strcmp(plain_values[i].name, "plain") == 0 ? PLAIN
							       : NESTED);
		buf_done(&json);
	}
}

static void
what_we_write_we_read(void **state)
{
	for (size_t i = 0; i < sizeof(plain_values) / sizeof(plain_values[0]);
	     i++) {
		struct bytes in = unhex(plain_values[i].hex);
		const struct pickle_value *value, *again;
		struct buf ours, json;

		buf_init(&json, 65536);
		buf_init(&ours, 65536);
		assert_int_equal(
		    pickle_read(*state, in.data, in.len, &value), OK);
		pickle_begin(&ours);
		assert_int_equal(pickle_add_value(&ours, value), OK);
		pickle_end(&ours);
		assert_int_equal(
		    pickle_read(*state, ours.data, ours.len, &again), OK);
		assert_int_equal(pickle_to_json(again, &json), OK);
		assert_string_equal(buf_str(&json),
		    strcmp(plain_values[i].name, "plain") == 0 ? PLAIN
							       : NESTED);
		buf_done(&ours);
		buf_done(&json);
	}
}

static void
classes_are_named_and_never_run(void **state)
{
	for (size_t i = 0; i < sizeof(opaque_values) / sizeof(opaque_values[0]);
	     i++) {
		struct bytes in = unhex(opaque_values[i].hex);
		const struct pickle_value *value;
		struct buf json;

		buf_init(&json, 65536);
		assert_int_equal(
		    pickle_read(*state, in.data, in.len, &value), OK);
		/* The function's name is there, its arguments are not. */
		assert_true(pickle_is_text(pickle_get(value, "f"), "g"));
		assert_int_equal(pickle_to_json(value, &json), ERR_INVALID);
		assert_non_null(strstr(err_message(), opaque_values[i].name));
		buf_clear(&json);
		assert_int_equal(pickle_add_value(&json, value), ERR_INVALID);
		buf_done(&json);
	}
	assert_int_equal(access("pwned", F_OK), -1);
}

static void
a_cut_pickle_is_refused_at_every_length(void **state)
{
	struct bytes in = unhex(plain_values[4].hex);
	const struct pickle_value *value;

	for (size_t len = 0; len < in.len; len++) {
		uint8_t *copy = mem_alloc(len + 1); /* for ASan */

		memcpy(copy, in.data, len);
		assert_int_equal(
		    pickle_read(*state, copy, len, &value), ERR_INVALID);
		mem_free(copy);
	}
}

static void
circles_and_bombs_end_at_a_ceiling(void **state)
{
	struct bytes in = unhex(CIRCULAR);
	const struct pickle_value *value;
	struct buf out, bomb;

	buf_init(&out, 65536);
	assert_int_equal(pickle_read(*state, in.data, in.len, &value), OK);
	assert_int_equal(pickle_to_json(value, &out), ERR_TOO_LARGE);
	/* [[...],[...]] doubled forty times is a terabyte unfolded. */
	buf_init(&bomb, 0);
	buf_add(&bomb, "\x80\x02", 2);
	for (int i = 0; i < 40; i++) {
		buf_adds(&bomb, "]q");
		buf_addc(&bomb, (char)i);
		buf_addc(&bomb, '(');
	}
	for (int i = 39; i >= 0; i--) { /* [x, x] around x, from the inside */
		buf_adds(&bomb, i == 39 ? "NN" : "h");
		if (i < 39)
			buf_addc(&bomb, (char)(i + 1));
		buf_addc(&bomb, 'e');
	}
	buf_addc(&bomb, '.');
	buf_clear(&out);
	out.full = false;
	assert_int_equal(pickle_read(*state, bomb.data, bomb.len, &value), OK);
	assert_int_equal(pickle_to_json(value, &out), ERR_TOO_LARGE);
	buf_done(&bomb);
	buf_done(&out);
}

static void
opcodes_of_old_and_foreign_pickles_are_refused(void **state)
{
	static const char *const bad[] = { "\x80\x02I1\n.", "\x80\x02P1\n.",
		"\x80\x02(ios\nsystem\n.", "\x80\x02\x82\x01.", "I1\n.",
		"\x80\x02u.", "\x80\x02(.", "\x80\x02NN.", "\x80\x02h\x01.",
		"\x80\x02Nb.", "\x80\x02NNR.", "\x80\x02a.", "\x80\x02}(Nu.",
		"\x80\x02}Na.", "\x80\x02(\x85.", "\x80\x02X\xff\xff\xff\xff.",
		"\x80\x02\x8b\xff\xff\xff\xff.", "\x80\x02\x94." };
	const struct pickle_value *value;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(
		    pickle_read(*state, bad[i], strlen(bad[i]), &value),
		    ERR_INVALID);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest pickle_tests[] = {
		T(plain_values_of_every_protocol_are_read),
		T(what_we_write_we_read),
		T(classes_are_named_and_never_run),
		T(a_cut_pickle_is_refused_at_every_length),
		T(circles_and_bombs_end_at_a_ceiling),
		T(opcodes_of_old_and_foreign_pickles_are_refused),
	};

	return fiber_group(pickle_tests, NULL, NULL);
}
