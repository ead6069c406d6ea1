/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of span records: an OTLP Span inside ScopeSpans.spans. A reader of
 * the test's own walks the fields; the integration suite decodes them with the
 * official classes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/span.h"

static uint8_t taken[16][8192];
static size_t lens[16];
static enum service services[16];
static size_t count;

static void
take(enum service service, const void *bytes, size_t len)
{
	assert_true(count < 16 && len <= sizeof(taken[0]));
	memcpy(taken[count], bytes, len);
	services[count] = service;
	lens[count++] = len;
}

struct reader {
	const uint8_t *at, *end;
};

static uint64_t
varint(struct reader *in)
{
	uint64_t value = 0;

	for (int shift = 0;; shift += 7) {
		uint8_t byte;

		assert_true(in->at < in->end && shift < 64);
		byte = *in->at++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
}

/* The n-th field of that number: its varint or fixed value, or its bytes. */
static bool
field(struct reader in, unsigned number, unsigned nth, uint64_t *value_out,
    struct reader *bytes_out)
{
	while (in.at < in.end) {
		uint64_t tag = varint(&in), value = 0, len = 0;
		struct reader bytes = in;

		switch (tag & 7) {
		case 0:
			value = varint(&in);
			break;
		case 2:
			len = varint(&in);
			bytes = (struct reader){ in.at, in.at + len };
			break;
		default:
			len = (tag & 7) == 1 ? 8 : 4;
			memcpy(&value, in.at, len);
		}
		assert_true((tag & 7) == 0 || in.at + len <= in.end);
		in.at += len;
		if (tag >> 3 != number || nth-- > 0)
			continue;
		*value_out = value;
		*bytes_out = bytes;
		return true;
	}
	return false;
}

static struct reader
sub(struct reader in, unsigned number, unsigned nth)
{
	struct reader bytes = { 0 };
	uint64_t value;

	assert_true(field(in, number, nth, &value, &bytes));
	return bytes;
}

static uint64_t
num(struct reader in, unsigned number)
{
	struct reader bytes;
	uint64_t value = 0;

	field(in, number, 0, &value, &bytes);
	return value;
}

static bool
is_text(struct reader in, const char *text)
{
	return (size_t)(in.end - in.at) == strlen(text) &&
	       memcmp(in.at, text, strlen(text)) == 0;
}

/* The whole is one field 2 of ScopeSpans. */
static struct reader
span_at(size_t i)
{
	struct reader all = { taken[i], taken[i] + lens[i] }, span;

	assert_true(i < count);
	span = sub(all, 2, 0);
	assert_ptr_equal(span.end, all.end);
	return span;
}

/* The AnyValue under that key. */
static bool
find(struct reader in, unsigned list, const char *key, struct reader *any_out)
{
	struct reader pair;
	uint64_t value;

	for (unsigned i = 0; field(in, list, i, &value, &pair); i++)
		if (is_text(sub(pair, 1, 0), key)) {
			*any_out = sub(pair, 2, 0);
			return true;
		}
	return false;
}

static struct reader
value_of(struct reader in, unsigned list, const char *key)
{
	struct reader any = { 0 };

	if (!find(in, list, key, &any))
		fail_msg("no %s", key);
	return any;
}

static struct task task;

static int
begin(void **state)
{
	const struct trace_headers from = {
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"a=1", NULL
	};

	(void)state;
	count = 0;
	clock_fake_start(1700000000000);
	span_sink(take);
	task_init(&task, SERVICE_GATEWAY);
	task_enter(&task);
	strcpy(task.request_id, "rq-1");
	trace_enter(&task, &from);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	span_sink(NULL);
	task_enter(NULL);
	task_done(&task);
	clock_fake_stop();
	return 0;
}

static void
a_span_is_the_message_that_the_protocol_names(void **state)
{
	struct span *span = span_begin(SPAN_CLIENT, "GET");
	struct reader in;
	char hex[33];

	(void)state;
	assert_non_null(span);
	span_add(span, attr_str(ATTR_HTTP_METHOD, "GET"),
	    attr_int(ATTR_HTTP_STATUS, -5), attr_real(ATTR_AI_TEMPERATURE, 0.5),
	    attr_bool(ATTR_AI_STREAM, false), attr_str(ATTR_AI_FINISH, "stop"),
	    attr_str(ATTR_OUTCOME, NULL), attr_str(ATTR_ROUTE, ""));
	clock_fake_advance(7);
	span_event(span, "guard.verdict", attr_str(ATTR_GUARD, "cards"));
	clock_fake_advance(3);
	span_end(span, OK);

	in = span_at(0);
	assert_int_equal(services[0], SERVICE_GATEWAY);
	crypto_hex(sub(in, 1, 0).at, 16, hex);
	assert_string_equal(hex, "0af7651916cd43dd8448eb211c80319c");
	crypto_hex(sub(in, 4, 0).at, 8, hex);
	assert_string_equal(hex, "b7ad6b7169203331");
	assert_true(is_text(sub(in, 3, 0), "a=1"));
	assert_true(is_text(sub(in, 5, 0), "GET"));
	assert_int_equal(num(in, 6), SPAN_CLIENT);
	assert_int_equal(num(in, 7), 1700000000000000000);
	assert_int_equal(num(in, 8), 1700000000010000000);
	assert_int_equal(num(in, 16), 0x101);
	assert_true(
	    is_text(sub(value_of(in, 9, "http.request.method"), 1, 0), "GET"));
	assert_int_equal(
	    (int64_t)num(value_of(in, 9, "http.response.status_code"), 3), -5);
	assert_int_equal(num(value_of(in, 9, "gen_ai.request.temperature"), 4),
	    0x3fe0000000000000);
	assert_memory_equal(/* false is written, since it is chosen */
	    value_of(in, 9, "gen_ai.request.stream").at, "\x10\x00", 2);
	assert_true(is_text(
	    sub(sub(sub(value_of(in, 9, "gen_ai.response.finish_reasons"), 5,
			0),
		    1, 0),
		1, 0),
	    "stop"));
	assert_true(
	    is_text(sub(value_of(in, 9, "xin.correlation_id"), 1, 0), "rq-1"));
	assert_false(find(in, 9, "xin.outcome", &in));
	in = sub(span_at(0), 11, 0);
	assert_int_equal(num(in, 1), 1700000000007000000);
	assert_true(is_text(sub(in, 2, 0), "guard.verdict"));
	assert_true(
	    is_text(sub(value_of(in, 3, "xin.guard.name"), 1, 0), "cards"));
	assert_int_equal(num(span_at(0), 15), 0);
}

static void
children_have_their_parent_and_the_task_is_left_as_it_was(void **state)
{
	char before[17], parent[17], hex[17];
	struct span *outer, *inner;

	(void)state;
	strcpy(before, task.span_id);
	outer = span_begin(SPAN_INTERNAL, "outer");
	strcpy(parent, task.span_id);
	inner = span_begin(SPAN_INTERNAL, "inner");
	assert_ptr_equal(span_current(), inner);
	span_end(inner, OK);
	assert_ptr_equal(span_current(), outer);
	assert_string_equal(task.span_id, parent);
	span_end(outer, OK);
	assert_null(span_current());
	assert_string_equal(task.span_id, before);
	crypto_hex(sub(span_at(0), 4, 0).at, 8, hex);
	assert_string_equal(hex, parent);
	crypto_hex(sub(span_at(1), 2, 0).at, 8, hex);
	assert_string_equal(hex, parent);
}

static void
an_error_is_a_status_and_a_type_and_no_sentence(void **state)
{
	struct span *span = span_begin(SPAN_INTERNAL, "x");

	(void)state;
	span_end(span, err_set(ERR_UPSTREAM, "what a user wrote"));
	assert_int_equal(num(sub(span_at(0), 15, 0), 3), 2);
	assert_true(is_text(sub(value_of(span_at(0), 9, "error.type"), 1, 0),
	    err_name(ERR_UPSTREAM)));
	assert_null(memmem(taken[0], lens[0], "wrote", 5));
	span = span_begin(SPAN_CLIENT, "y");
	span_end_call(span, err_set(ERR_NOT_FOUND, "nothing"));
	assert_int_equal(num(span_at(1), 15), 0);
}

static void
what_is_over_the_bounds_is_counted_and_the_identity_stays(void **state)
{
	struct span *span = span_begin(SPAN_INTERNAL, "big");
	static char text[3000];
	struct reader any;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	memcpy(text + 1023, "\xc3\xa4", 2); /* would be cut in two */
	for (int i = 0; i < 200; i++)
		span_add(span, attr_int(ATTR_BYTES, i));
	for (int i = 0; i < 200; i++)
		span_event(span, "e", attr_str(ATTR_GUARD, text));
	span_end(span, OK);
	any = span_at(0);
	assert_int_equal(num(any, 10), 200 - 125);
	assert_true(num(any, 12) > 190);
	assert_true(
	    is_text(sub(value_of(any, 9, "xin.correlation_id"), 1, 0), "rq-1"));
	any = sub(value_of(sub(any, 11, 0), 3, "xin.guard.name"), 1, 0);
	assert_int_equal(any.end - any.at, 1023);
}

static void
bytes_that_are_no_text_do_not_spoil_the_message(void **state)
{
	struct span *span = span_begin(SPAN_INTERNAL, "n\xff");

	(void)state;
	span_add(span, attr_str(ATTR_BRAND, "a\xc3(b"));
	span_end(span, OK);
	assert_true(is_text(sub(span_at(0), 5, 0), "n?"));
	assert_true(is_text(
	    sub(value_of(span_at(0), 9, "xin.brand_id"), 1, 0), "a?(b"));
}

static bool evaluated;

static const char *
costly(void)
{
	evaluated = true;
	return "x";
}

static void
nothing_is_recorded_or_evaluated_when_it_is_off(void **state)
{
	struct span *span;

	(void)state;
	evaluated = false;
	task.trace_flags = 0;
	span = span_begin(SPAN_INTERNAL, "unsampled");
	assert_null(span);
	span_add(span, attr_str(ATTR_BRAND, costly()));
	span_event(span, "e", attr_str(ATTR_BRAND, costly()));
	span_end(span, OK);
	task.trace_flags = TRACE_SAMPLED;
	span_sink(NULL);
	assert_null(span_begin(SPAN_INTERNAL, "off"));
	assert_false(evaluated);
	assert_int_equal(count, 0);
}

static void
a_link_names_the_other_span(void **state)
{
	struct span *span = span_begin(SPAN_CONSUMER, "process q");
	struct reader link;
	char hex[33];

	(void)state;
	span_link(span, "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331",
	    TRACE_SAMPLED);
	span_end(span, OK);
	link = sub(span_at(0), 13, 0);
	crypto_hex(sub(link, 1, 0).at, 16, hex);
	assert_string_equal(hex, "0af7651916cd43dd8448eb211c80319c");
	crypto_hex(sub(link, 2, 0).at, 8, hex);
	assert_string_equal(hex, "b7ad6b7169203331");
	assert_int_equal(num(link, 6), 0x301);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(a_span_is_the_message_that_the_protocol_names),
		TEST(children_have_their_parent_and_the_task_is_left_as_it_was),
		TEST(an_error_is_a_status_and_a_type_and_no_sentence),
		TEST(what_is_over_the_bounds_is_counted_and_the_identity_stays),
		TEST(bytes_that_are_no_text_do_not_spoil_the_message),
		TEST(nothing_is_recorded_or_evaluated_when_it_is_off),
		TEST(a_link_names_the_other_span),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
