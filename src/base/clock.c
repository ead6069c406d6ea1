/* SPDX-License-Identifier: Apache-2.0 */
/* Time, real or moved by a test. */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/crypto.h"

static atomic_bool faked;
static _Atomic uint64_t fake_wall_us;
static _Atomic uint64_t fake_mono_us;

static uint64_t
read_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t
clock_mono_ns(void)
{
	if (atomic_load_explicit(&faked, memory_order_relaxed))
		return atomic_load(&fake_mono_us) * 1000u;
	return read_ns(CLOCK_MONOTONIC);
}

uint64_t
clock_mono_us(void)
{
	return clock_mono_ns() / 1000u;
}

uint64_t
clock_mono_ms(void)
{
	return clock_mono_ns() / 1000000u;
}

uint64_t
clock_wall_us(void)
{
	if (atomic_load_explicit(&faked, memory_order_relaxed))
		return atomic_load(&fake_wall_us);
	return read_ns(CLOCK_REALTIME) / 1000u;
}

uint64_t
clock_wall_ms(void)
{
	return clock_wall_us() / 1000u;
}

uint64_t
clock_thread_cpu_us(void)
{
	return read_ns(CLOCK_THREAD_CPUTIME_ID) / 1000u;
}

void
clock_rfc3339(uint64_t wall_ms, char out[CLOCK_RFC3339_SIZE])
{
	static _Thread_local char text[24]; /* of `second` */
	static _Thread_local time_t second = -1;
	const time_t now = (time_t)(wall_ms / 1000u);
	const unsigned ms = (unsigned)(wall_ms % 1000u);
	struct tm tm;

	if (now != second) {
		gmtime_r(&now, &tm);
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
		second = now;
	}
	memcpy(out, text, 19);
	out[19] = '.';
	out[20] = (char)('0' + ms / 100);
	out[21] = (char)('0' + ms / 10 % 10);
	out[22] = (char)('0' + ms % 10);
	memcpy(out + 23, "Z", 2);
}

void
clock_fake_start(uint64_t wall_ms)
{
	atomic_store(&fake_wall_us, wall_ms * 1000u);
	atomic_store(&fake_mono_us, 1000000000u);
	atomic_store(&faked, true);
}

void
clock_fake_advance(uint64_t ms)
{
	atomic_fetch_add(&fake_wall_us, ms * 1000u);
	atomic_fetch_add(&fake_mono_us, ms * 1000u);
}

void
clock_fake_stop(void)
{
	atomic_store(&faked, false);
}

bool
clock_is_fake(void)
{
	return atomic_load_explicit(&faked, memory_order_relaxed);
}

uint64_t
backoff_ms(unsigned failures, uint64_t first_ms, uint64_t last_ms)
{
	uint64_t most = first_ms;
	uint32_t dice;

	for (unsigned i = 1; i < failures && most < last_ms; i++)
		most *= 2;
	if (most > last_ms)
		most = last_ms;
	crypto_random(&dice, sizeof(dice));
	return most / 2 + dice % (most / 2 + 1);
}
