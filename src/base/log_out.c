/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where lines go. Until log_start() a line is written by whoever has it. From
 * then on it is copied to one of two buffers, and a thread of its own writes
 * them in turn: a reader that stops holds up that thread and nobody else.
 * Setting O_NONBLOCK instead would be no way out: the flag belongs to the open
 * file, which shells and other processes share, and a poll before each write
 * is a race with them.
 *
 * Full lines go out together, at most PIPE_BUF bytes at once, which a pipe
 * takes whole or not at all (pipe(7)): no line is torn by another process or
 * by kill -9. The first line after a pause is written at once, the ones after
 * it within PAUSE_NS, so that a busy process pays for few system calls.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/error.h"
#include "base/log_internal.h"
#include "base/metric.h"

#define HALF_BYTES ((size_t)512 << 10)
#define PAUSE_NS   10000000
#define SETTLE_MS  1000
#define LAST_MS    1000 /* what a crash waits for its reader */

enum state { DIRECT, QUEUED, ENDING, CLOSED };

/* `len` and `done` are read by a crash, on whatever thread. */
static struct half {
	char data[HALF_BYTES];
	_Atomic size_t len, done;
} halves[2];

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_cond_t ended;
	pthread_t thread;
	bool waiting, finished;
	uint64_t lost; /* lines that found no room, not yet told */
} out = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local bool is_writer; /* its own lines find room always */
static _Atomic int fd_out = STDOUT_FILENO;
static _Atomic int state = DIRECT;
static _Atomic unsigned filling; /* index of the half that takes lines */
static atomic_bool crashed;

void
log_out__descriptor(int fd)
{
	atomic_store(&fd_out, fd);
}

/* ---- to the descriptor ---- */

/* The descriptor may be non-blocking because another process made it so. */
static bool
write_all(const char *data, size_t len)
{
	int fd = atomic_load(&fd_out);

	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){ fd, POLLOUT, 0 }, 1, -1);
		else if (n < 0 && errno != EINTR)
			return false;
		if (n <= 0)
			continue;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* Whole lines, as many as fit PIPE_BUF, at least one. */
static size_t
some_lines(const char *data, size_t len)
{
	const char *end = NULL;

	if (len <= PIPE_BUF)
		return len;
	end = memrchr(data, '\n', PIPE_BUF);
	if (end == NULL)
		end = memchr(data, '\n', len);
	return end != NULL ? (size_t)(end - data) + 1 : len;
}

static uint64_t
count_lines(const char *data, size_t len)
{
	uint64_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += data[i] == '\n';
	return count;
}

static void
write_half(struct half *half)
{
	size_t len = atomic_load(&half->len), done = 0;

	while (done < len && !atomic_load(&crashed)) {
		size_t n = some_lines(half->data + done, len - done);

		if (!write_all(half->data + done, n))
			metric_count(METRIC_LOG_DROPPED, LABELS("failed"),
			    count_lines(half->data + done, n));
		done += n;
		atomic_store(&half->done, done);
	}
	while (atomic_load(&crashed)) /* log_out_last writes the rest */
		pause();
}

/* ---- the writer ---- */

static struct timespec
from_now(uint64_t ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += (time_t)(ms / 1000);
	at.tv_nsec += (long)(ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

/* Holds the lock. */
static void
wait_for_lines(void)
{
	struct timespec at = from_now(SETTLE_MS);
	const struct half *half = &halves[atomic_load(&filling)];
	int rc = 0;

	while (atomic_load(&half->len) == 0 && rc == 0 &&
	       atomic_load(&state) == QUEUED) {
		out.waiting = true;
		rc = log_limit__owes()
			 ? pthread_cond_timedwait(&out.more, &out.lock, &at)
			 : pthread_cond_wait(&out.more, &out.lock);
		out.waiting = false;
	}
}

static void
say_lost(uint64_t lost)
{
	if (lost > 0)
		log_warn("log.dropped", kv_str("reason", "stalled"),
		    kv_int("lines", (int64_t)lost));
}

/* One round: false when there is nothing left to write. */
static bool
write_round(void)
{
	struct half *half;
	uint64_t lost;

	pthread_mutex_lock(&out.lock);
	wait_for_lines();
	half = &halves[atomic_load(&filling)];
	atomic_fetch_xor(&filling, 1u);
	lost = out.lost;
	out.lost = 0;
	pthread_mutex_unlock(&out.lock);
	write_half(half);
	pthread_mutex_lock(&out.lock);
	atomic_store(&half->len, 0);
	atomic_store(&half->done, 0);
	pthread_mutex_unlock(&out.lock);
	say_lost(lost);
	if (log_limit__owes())
		log_limit__settle(atomic_load(&state) != QUEUED);
	return atomic_load(&state) == QUEUED ||
	       atomic_load(&halves[atomic_load(&filling)].len) > 0;
}

static void *
writer_main(void *arg)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };

	(void)arg;
	is_writer = true;
	crash_guard_thread();
	pthread_setname_np(pthread_self(), "log");
	while (write_round())
		if (atomic_load(&state) == QUEUED)
			nanosleep(&pause, NULL);
	pthread_mutex_lock(&out.lock);
	out.finished = true;
	pthread_cond_signal(&out.ended);
	pthread_mutex_unlock(&out.lock);
	return NULL;
}

void
log_out__line(const char *line, size_t len)
{
	struct half *half;
	bool wake = false;
	size_t used;

	if (is_writer ||
	    atomic_load_explicit(&state, memory_order_relaxed) == DIRECT) {
		write_all(line, len);
		return;
	}
	pthread_mutex_lock(&out.lock);
	half = &halves[atomic_load_explicit(&filling, memory_order_relaxed)];
	used = atomic_load_explicit(&half->len, memory_order_relaxed);
	if (atomic_load(&state) == CLOSED || len > HALF_BYTES - used) {
		out.lost++;
	} else {
		memcpy(half->data + used, line, len);
		atomic_store_explicit(
		    &half->len, used + len, memory_order_release);
		wake = out.waiting;
		out.waiting = false;
		len = 0;
	}
	pthread_mutex_unlock(&out.lock);
	if (wake)
		pthread_cond_signal(&out.more);
	if (len > 0)
		metric_count(METRIC_LOG_DROPPED, LABELS("stalled"), 1);
}

/* ---- start and stop ---- */

void
log_start(void)
{
	pthread_condattr_t attr;
	sigset_t old;
	int rc;

	must(atomic_load(&state) == DIRECT);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&out.more, &attr);
	pthread_cond_init(&out.ended, &attr);
	pthread_condattr_destroy(&attr);
	out.finished = false;
	atomic_store(&state, QUEUED);
	crash_block_signals(&old);
	rc = pthread_create(&out.thread, NULL, writer_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		panic("no thread for the log: %s", strerror(rc));
}

bool
log_stop(uint64_t ms)
{
	struct timespec at = from_now(ms);
	int rc = 0;

	if (atomic_load(&state) != QUEUED)
		return atomic_load(&state) == DIRECT;
	pthread_mutex_lock(&out.lock);
	atomic_store(&state, ENDING);
	pthread_cond_signal(&out.more);
	while (!out.finished && rc == 0)
		rc = pthread_cond_timedwait(&out.ended, &out.lock, &at);
	if (!out.finished)
		atomic_store(&state, CLOSED);
	pthread_mutex_unlock(&out.lock);
	if (!out.finished) {
		pthread_detach(out.thread);
		return false;
	}
	pthread_join(out.thread, NULL);
	atomic_store(&state, DIRECT);
	return true;
}

/* ---- the last line ---- */

static uint64_t
real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static void
write_until(const char *data, size_t len, uint64_t until)
{
	int fd = atomic_load(&fd_out);

	while (len > 0) {
		size_t n = some_lines(data, len);
		struct pollfd ready = { fd, POLLOUT, 0 };
		uint64_t now = real_ms();
		ssize_t rc;

		if (now >= until || poll(&ready, 1, (int)(until - now)) <= 0)
			return;
		rc = write(fd, data, n);
		if (rc < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (rc > 0) {
			data += rc;
			len -= (size_t)rc;
		}
	}
}

/* The writer is in the middle of a write, or not: it gets a moment to end it,
 * then whatever it left goes out here. */
void
log_out_last(const char *line, size_t len)
{
	const struct timespec moment = { .tv_nsec = 10000000 };
	uint64_t until = real_ms() + LAST_MS;
	unsigned now;

	if (atomic_load(&state) != DIRECT) {
		atomic_store(&crashed, true);
		nanosleep(&moment, NULL);
		now = atomic_load(&filling);
		for (unsigned i = 0; i < 2; i++) {
			struct half *half = &halves[(now + 1 + i) % 2];
			size_t done = atomic_load(&half->done);
			size_t end = atomic_load_explicit(
			    &half->len, memory_order_acquire);

			if (end > done)
				write_until(
				    half->data + done, end - done, until);
		}
	}
	write_until(line, len, until > real_ms() + 50 ? until : real_ms() + 50);
}
