/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_CLOCK_H
#define XIN_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * All time comes from here, so that tests can replace it. Monotonic times are
 * for deadlines and durations, wall times (Unix epoch) for people and wires.
 */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
uint64_t clock_mono_ns(void);
uint64_t clock_wall_ms(void);
uint64_t clock_wall_us(void);
/* CPU time of the calling thread, in microseconds; never faked. */
uint64_t clock_thread_cpu_us(void);

/* RFC 3339 with milliseconds and Z: 24 characters and a NUL. */
#define CLOCK_RFC3339_SIZE 25
void clock_rfc3339(uint64_t wall_ms, char out[CLOCK_RFC3339_SIZE]);

/* Tests: freeze both clocks at a wall time and move them by hand. */
void clock_fake_start(uint64_t wall_ms);
void clock_fake_advance(uint64_t ms);
void clock_fake_stop(void);
/* The loops ask: a replaced clock does not wake a poll. */
bool clock_is_fake(void);

/* How long to wait after so many failures in a row (from 1): doubling from
 * first_ms to last_ms, and of that a random part of the second half, so that
 * replicas do not come back together. */
uint64_t backoff_ms(unsigned failures, uint64_t first_ms, uint64_t last_ms);

#endif
