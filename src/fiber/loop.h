/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_FIBER_LOOP_H
#define XIN_FIBER_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "fiber/fiber.h"

/*
 * Loops: one thread each with its own libuv loop, an 8 MiB stack, a ready
 * list of fibers and a mailbox. Threads share nothing else.
 */
struct uv_loop_s;

/* Start `count` loops (0 = one for each core). All are running, with mailboxes
 * ready, when this returns. Ignores SIGPIPE for the process. */
enum err_code loops_start(unsigned count);
unsigned loops_count(void);
struct loop *loop_at(unsigned index);
/* Stop accepting mail, run until no handle is left or `drain_ms` passed, join.
 * Fibers still alive at the deadline are cancelled, then unwound. */
void loops_stop(uint64_t drain_ms);

/* A loop aside of these, for work that must not slow them: not counted, found
 * neither by loop_at nor loop_of, and nothing is spread over it. Stop it after
 * the others, from the main thread; `drain_ms` as above. `name` is a literal of
 * at most 15 bytes. */
enum err_code loop_aside_start(const char *name, struct loop **loop_out);
void loop_aside_stop(struct loop *loop, uint64_t drain_ms);

/* The calling thread's loop, NULL on others. */
struct loop *loop_self(void);
unsigned loop_index(const struct loop *loop);
struct uv_loop_s *loop_uv(struct loop *loop);

/* Any thread: run fn(arg) on that loop's stack, in order of posting. Returns
 * false (and does not call) once the loop is stopping. */
bool loop_post(struct loop *loop, loop_fn fn, void *arg);
/* The same, in a fiber of its own (fiber_start_service). */
bool loop_spawn(
    struct loop *loop, enum service service, fiber_fn fn, void *arg);
/* Run fn(arg) in a fiber on that loop and wait for its end. From a fiber
 * (WAITS) or from a thread outside all loops (blocks). */
enum err_code loop_call(
    struct loop *loop, enum err_code (*fn)(void *arg), void *arg);

/* From a loop's thread: run fn(arg) on this loop's stack once its fibers have
 * ended, last registered first. For what lives as long as the loop (states,
 * connection caches). fn may start nothing that waits. */
void loop_at_exit(loop_fn fn, void *arg);

/* The owner of a key: stable hash over the loops. */
struct loop *loop_of(const void *key, size_t len);

/* Work to do at the end of each loop turn (flush buffered answers). Called on
 * the loop's stack, in prepare. `hook` stays linked until removed. */
struct loop_hook {
	struct loop_hook *next;
	void (*fn)(struct loop_hook *hook);
	bool linked;
};
void loop_defer(struct loop_hook *hook); /* once, at the end of this turn */

/* A one-shot timer on the loop's stack. Cheap to rearm; embed it. */
struct loop_timer;
struct loop_timer *loop_timer_new(loop_fn fn, void *arg);
void loop_timer_set(struct loop_timer *timer, uint64_t in_ms); /* rearms */
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);

/* Readiness of a descriptor, level-triggered, for floors that own no vendor
 * loop handles: `ready` is called on the loop's stack while an event of the set
 * holds (or the other side is gone). One poll for each descriptor; close the
 * poll before the descriptor. Created stopped. */
#define LOOP_READABLE 1
#define LOOP_WRITABLE 2
struct loop_poll;
enum err_code loop_poll_open(
    int fd, loop_fn ready, void *arg, struct loop_poll **poll_out);
void loop_poll_set(struct loop_poll *poll, int events); /* 0 stops */
/* An idle descriptor (true) does not keep a stopping loop alive. */
void loop_poll_background(struct loop_poll *poll, bool background);
void loop_poll_close(struct loop_poll *poll);

/* A folder watch: `changed` is called on the loop's stack after events in the
 * folder itself (not below). Losing events is possible; poll as well. */
struct watch;
enum err_code watch_open(
    const char *folder, loop_fn changed, void *arg, struct watch **watch_out);
void watch_close(struct watch *watch);

/*
 * The watchdog: one thread that sees each loop's progress. It logs whoever
 * held a loop over 50 ms (`loop.held` with the label set by loop_label), and
 * sends SIGUSR1-like ticks to loops whose armed section outlasts a tick; the
 * script floor arms sections around resumes.
 *
 * arm: from the loop's thread, before a resume. `tick` is called in SIGNAL
 * CONTEXT on the loop's thread, with the sequence number that arm returned,
 * every tick_ms while armed. Late ticks of an older section are not delivered.
 */
typedef void (*watchdog_tick_fn)(void *arg);
uint64_t watchdog_arm(watchdog_tick_fn tick, void *arg);
void watchdog_disarm(uint64_t sequence);
#define WATCHDOG_TICK_MS 1

/* What this loop is busy with, for loop.held; a static or owned string that
 * outlives the label; NULL clears. */
void loop_label(const char *what, const char *detail);

#endif
