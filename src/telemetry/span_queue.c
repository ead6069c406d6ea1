/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings of span bytes, one writer and one reader each. `head` counts the bytes
 * ever written and belongs to the writer, `tail` those read; both only grow, so
 * head - tail is what waits. A span is its length, its service, its bytes.
 */
#include "telemetry/span_queue.h"

#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/metric.h"

#define SPAN_GUESS 1024 /* bytes of a span, to size the rings */
#define RING_MIN   ((size_t)64 << 10)
#define RING_MAX   ((size_t)8 << 20)
#define HEAD_BYTES 5 /* u32 length, u8 service */

struct ring {
	struct ring *next;
	_Atomic uint64_t head;
	_Atomic uint64_t tail;
	size_t size; /* a power of two */
	uint8_t bytes[];
};

static _Atomic(struct ring *) rings;
static _Thread_local struct ring *own;
static _Thread_local unsigned own_era;
static atomic_uint era; /* rings of an earlier open are gone */
static atomic_size_t waiting;
static atomic_bool rung;
static size_t queue_max, batch_max, ring_size;
static void (*on_full)(void);

void
span_queue_open(size_t queue, size_t batch, void (*full)(void))
{
	queue_max = queue;
	batch_max = batch;
	on_full = full;
	ring_size = RING_MIN;
	while (ring_size < RING_MAX && ring_size < queue * SPAN_GUESS)
		ring_size *= 2;
	atomic_store(&waiting, 0);
	atomic_store(&rung, false);
	atomic_fetch_add(&era, 1);
}

static struct ring *
own_ring(void)
{
	unsigned now = atomic_load_explicit(&era, memory_order_relaxed);
	struct ring *first;

	if (own != NULL && own_era == now)
		return own;
	own = mem_alloc(sizeof(*own) + ring_size);
	own_era = now;
	atomic_init(&own->head, 0);
	atomic_init(&own->tail, 0);
	own->size = ring_size;
	first = atomic_load(&rings);
	do
		own->next = first;
	while (!atomic_compare_exchange_weak(&rings, &first, own));
	return own;
}

static void
copy_in(struct ring *ring, uint64_t at, const void *data, size_t len)
{
	size_t from = at & (ring->size - 1), part = ring->size - from;

	if (part > len)
		part = len;
	memcpy(ring->bytes + from, data, part);
	memcpy(ring->bytes, (const uint8_t *)data + part, len - part);
}

static void
copy_out(const struct ring *ring, uint64_t at, void *data, size_t len)
{
	size_t from = at & (ring->size - 1), part = ring->size - from;

	if (part > len)
		part = len;
	memcpy(data, ring->bytes + from, part);
	memcpy((uint8_t *)data + part, ring->bytes, len - part);
}

static bool
has_room(struct ring *ring, size_t need)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);

	return ring->size - (size_t)(head - tail) >= need;
}

void
span_queue_push(enum service service, const void *bytes, size_t len)
{
	size_t count =
	    atomic_fetch_add_explicit(&waiting, 1, memory_order_relaxed) + 1;
	struct ring *ring = own_ring();
	uint8_t head[HEAD_BYTES];
	uint32_t size = (uint32_t)len;
	uint64_t at;

	if (count > queue_max || !has_room(ring, HEAD_BYTES + len)) {
		atomic_fetch_sub_explicit(&waiting, 1, memory_order_relaxed);
		metric_count(METRIC_TRACE_SPANS, LABELS("dropped"), 1);
		return;
	}
	memcpy(head, &size, sizeof(size));
	head[4] = (uint8_t)service;
	at = atomic_load_explicit(&ring->head, memory_order_relaxed);
	copy_in(ring, at, head, HEAD_BYTES);
	copy_in(ring, at + HEAD_BYTES, bytes, len);
	atomic_store_explicit(
	    &ring->head, at + HEAD_BYTES + len, memory_order_release);
	if (count >= batch_max &&
	    !atomic_load_explicit(&rung, memory_order_relaxed) &&
	    !atomic_exchange(&rung, true))
		on_full();
}

static size_t
drain_ring(struct ring *ring, struct span_batch *batch, size_t max)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	size_t count = 0;

	while (tail < head && count < max) {
		uint8_t prefix[HEAD_BYTES];
		struct buf *out;
		uint32_t len;

		copy_out(ring, tail, prefix, HEAD_BYTES);
		memcpy(&len, prefix, sizeof(len));
		must(prefix[4] < SERVICE_COUNT);
		out = &batch->spans[prefix[4]];
		buf_reserve(out, len);
		copy_out(ring, tail + HEAD_BYTES, out->data + out->len, len);
		out->len += len;
		batch->counts[prefix[4]]++;
		tail += HEAD_BYTES + len;
		count++;
	}
	atomic_store_explicit(&ring->tail, tail, memory_order_release);
	return count;
}

size_t
span_queue_drain(struct span_batch *batch, size_t max)
{
	size_t count = 0;

	atomic_store(&rung, false);
	for (struct ring *ring = atomic_load(&rings);
	     ring != NULL && count < max; ring = ring->next)
		count += drain_ring(ring, batch, max - count);
	batch->count += count;
	atomic_fetch_sub_explicit(&waiting, count, memory_order_relaxed);
	return count;
}

size_t
span_queue_len(void)
{
	return atomic_load_explicit(&waiting, memory_order_relaxed);
}

void
span_queue_close(void)
{
	struct ring *ring = atomic_exchange(&rings, NULL);

	atomic_fetch_add(&era, 1);
	while (ring != NULL) {
		struct ring *next = ring->next;

		mem_free(ring);
		ring = next;
	}
}

void
span_batch_init(struct span_batch *batch)
{
	memset(batch, 0, sizeof(*batch));
	for (int s = 0; s < SERVICE_COUNT; s++)
		buf_init(&batch->spans[s], 0);
}

void
span_batch_done(struct span_batch *batch)
{
	for (int s = 0; s < SERVICE_COUNT; s++)
		buf_done(&batch->spans[s]);
	batch->count = 0;
}
