/* SPDX-License-Identifier: Apache-2.0 */
/* Rings between those who end spans and the exporter: bounds, order, threads;
 * and the envelope and answers of OTLP. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/mem.h"
#include "telemetry/otlp.h"
#include "telemetry/settings.h"
#include "telemetry/span_queue.h"

static atomic_int full_calls;

static void
full(void)
{
	atomic_fetch_add(&full_calls, 1);
}

static void
push(const char *text)
{
	span_queue_push(SERVICE_WORKER, text, strlen(text));
}

static void
spans_come_out_in_order_and_by_service(void **state)
{
	struct span_batch batch;

	(void)state;
	span_queue_open(100, 50, full);
	push("one");
	push("two");
	span_queue_push(SERVICE_GATEWAY, "three", 5);
	span_batch_init(&batch);
	assert_int_equal(span_queue_drain(&batch, 2), 2);
	assert_int_equal(span_queue_len(), 1);
	assert_int_equal(span_queue_drain(&batch, 10), 1);
	assert_int_equal(batch.count, 3);
	assert_memory_equal(batch.spans[SERVICE_WORKER].data, "onetwo", 6);
	assert_memory_equal(batch.spans[SERVICE_GATEWAY].data, "three", 5);
	span_batch_done(&batch);
	span_queue_close();
}

static void
a_full_queue_drops_the_new_ones(void **state)
{
	struct span_batch batch;

	(void)state;
	span_queue_open(5, 5, full);
	for (int i = 0; i < 9; i++)
		push(i < 5 ? "old" : "new");
	assert_int_equal(span_queue_len(), 5);
	span_batch_init(&batch);
	assert_int_equal(span_queue_drain(&batch, 100), 5);
	assert_int_equal(batch.spans[SERVICE_WORKER].len, 15);
	push("again");
	assert_int_equal(span_queue_drain(&batch, 100), 1);
	span_batch_done(&batch);
	span_queue_close();
}

static void
a_ring_is_bounded_in_bytes_too_and_wraps(void **state)
{
	static char big[4000];
	struct span_batch batch;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	span_queue_open(60, 1000, full); /* 64 KiB for each ring */
	span_batch_init(&batch);
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 30; i++)
			push(big);
		assert_int_equal(span_queue_drain(&batch, 1000), 16);
	}
	for (size_t i = 0; i < batch.spans[SERVICE_WORKER].len; i++)
		if (batch.spans[SERVICE_WORKER].data[i] != 'x')
			fail_msg("byte %zu", i);
	span_batch_done(&batch);
	span_queue_close();
}

static void
the_exporter_is_told_once_for_each_batch(void **state)
{
	struct span_batch batch;

	(void)state;
	full_calls = 0;
	span_queue_open(100, 3, full);
	span_batch_init(&batch);
	for (int i = 0; i < 10; i++)
		push("x");
	assert_int_equal(full_calls, 1);
	span_queue_drain(&batch, 100);
	for (int i = 0; i < 10; i++)
		push("x");
	assert_int_equal(full_calls, 2);
	span_batch_done(&batch);
	span_queue_close();
}

static void *
pusher(void *arg)
{
	char text[32];

	for (int i = 0; i < 20000; i++) {
		snprintf(text, sizeof(text), "%c%05d;", *(char *)arg, i);
		span_queue_push(SERVICE_WORKER, text, 7);
	}
	return NULL;
}

static void
many_threads_push_while_one_drains(void **state)
{
	char names[] = "abc";
	pthread_t threads[3];
	struct span_batch batch;
	int next[3] = { -1, -1, -1 };

	(void)state;
	span_queue_open(100000, 512, full);
	span_batch_init(&batch);
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, pusher, &names[i]);
	for (int i = 0; i < 200; i++)
		span_queue_drain(&batch, 512);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	while (span_queue_drain(&batch, 512) > 0)
		;
	for (const char *p = batch.spans[SERVICE_WORKER].data,
			*end = p + batch.spans[SERVICE_WORKER].len;
	     p < end; p += 7) {
		int number, who = p[0] - 'a';

		assert_int_equal(sscanf(p + 1, "%5d;", &number), 1);
		assert_true(number > next[who]); /* each thread's order holds */
		next[who] = number;
	}
	assert_int_equal(span_queue_len(), 0);
	span_batch_done(&batch);
	span_queue_close();
}

/* ---- OTLP ---- */

static void
the_envelope_is_bit_for_bit_what_the_protocol_says(void **state)
{
	struct buf resources[SERVICE_COUNT], out;
	struct span_batch batch;
	static const char head[] = "\x0a";

	(void)state;
	for (int s = 0; s < SERVICE_COUNT; s++)
		buf_init(&resources[s], 0);
	buf_adds(&resources[SERVICE_WORKER], "R");
	span_batch_init(&batch);
	buf_init(&out, 0);
	otlp_request(&batch, resources, &out);
	assert_int_equal(out.len, 0); /* no empty envelopes */
	buf_adds(&batch.spans[SERVICE_WORKER], "\x12\x01S");
	batch.counts[SERVICE_WORKER] = 1;
	otlp_request(&batch, resources, &out);
	assert_memory_equal(out.data, head, 1);
	assert_int_equal((uint8_t)out.data[1], out.len - 2);
	assert_memory_equal(out.data + 2, "\x0a\x01R\x12", 4);
	assert_non_null(memmem(out.data, out.len,
	    "\x0a\x0c\x0a\x03xin\x12\x05" XIN_VERSION "\x12\x01S\x1a", 18));
	for (int s = 0; s < SERVICE_COUNT; s++)
		buf_done(&resources[s]);
	span_batch_done(&batch);
	buf_done(&out);
}

static void
answers_are_read_and_nonsense_is_a_success(void **state)
{
	struct otlp_answer answer;

	(void)state;
	otlp_answer("", 0, &answer);
	assert_int_equal(answer.rejected, 0);
	otlp_answer("\x0a\x07\x08\x81\x01\x12\x02no", 9, &answer);
	assert_int_equal(answer.rejected, 129);
	assert_string_equal(answer.message, "no");
	otlp_answer("\x0a\x7f\x08\x81", 4, &answer);
	assert_int_equal(answer.rejected, 0);
	otlp_answer("<html>", 6, &answer);
	assert_int_equal(answer.rejected, 0);
	otlp_answer(
	    "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, &answer);
	assert_int_equal(answer.rejected, 0);
}

static void
gzip_can_be_undone(void **state)
{
	static char in[100000], back[100000];
	struct buf out;
	z_stream z = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (char)(i * i >> 7);
	buf_init(&out, 0);
	otlp_gzip(in, sizeof(in), &out);
	assert_int_equal(inflateInit2(&z, 31), Z_OK);
	z.next_in = (Bytef *)out.data;
	z.avail_in = (uInt)out.len;
	z.next_out = (Bytef *)back;
	z.avail_out = sizeof(back);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_memory_equal(in, back, sizeof(in));
	inflateEnd(&z);
	buf_done(&out);
}

/* ---- pairs of settings ---- */

static enum err_code
note(void *arg, unsigned place, const char *key, const char *value)
{
	buf_addf(arg, "%u:%s>%s;", place, key, value ? value : "(bad)");
	return OK;
}

static void
pairs_split_at_the_first_equals_and_decode_5(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 0);
	settings_pairs("authorization=Basic%20YTpi==,x=1", note, &out);
	assert_string_equal(
	    buf_str(&out), "1:authorization>Basic YTpi==;2:x>1;");
	buf_clear(&out);
	settings_pairs(" a = b , ,broken,=v,c=%zz,d=%00,e=", note, &out);
	assert_string_equal(
	    buf_str(&out), "1:a>b;3:>(bad);4:>(bad);5:c>(bad);6:d>(bad);7:e>;");
	buf_done(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_come_out_in_order_and_by_service),
		cmocka_unit_test(a_full_queue_drops_the_new_ones),
		cmocka_unit_test(a_ring_is_bounded_in_bytes_too_and_wraps),
		cmocka_unit_test(the_exporter_is_told_once_for_each_batch),
		cmocka_unit_test(many_threads_push_while_one_drains),
		cmocka_unit_test(
		    the_envelope_is_bit_for_bit_what_the_protocol_says),
		cmocka_unit_test(answers_are_read_and_nonsense_is_a_success),
		cmocka_unit_test(gzip_can_be_undone),
		cmocka_unit_test(pairs_split_at_the_first_equals_and_decode_5),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
