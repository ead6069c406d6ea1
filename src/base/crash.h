/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_CRASH_H
#define XIN_BASE_CRASH_H

#include <signal.h>
#include <stdbool.h>

/*
 * The last line of a process: SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT
 * (also panic) write what waits in the log, then one `process.crashed` in the
 * form of all other lines, with the running task's identity and a backtrace;
 * after that the signal does what it does by default, core dump and exit status
 * included. Nothing on the way allocates, locks or uses stdio.
 *
 * A frame is module+offset, offset from where the module was loaded:
 *   addr2line -e xin -f 0x12345     ("build_id" tells which xin)
 *
 * Under sanitizers all of this does nothing: they report faults themselves.
 */

/* Before other threads. Again, where others took the signals meanwhile. */
void crash_install(void);

/* Each thread that may use up its stack, or runs on stacks of others: gives the
 * handler a stack of its own, for as long as the thread lives. */
void crash_guard_thread(void);

/* Every signal but those of faults, before a thread is made that takes none. */
void crash_block_signals(sigset_t *old_out);

/* What the floors above know about a fault. Called in signal context. */
struct crash_notes {
	const char *reason; /* a literal; NULL = nothing is known */
	const char *doing;  /* what the loop was at; NULL = no loop */
	char detail[80];
};
void crash_describe(
    void (*describe)(const void *address, struct crash_notes *notes_out));

/* For panic: `text` will be the line's reason. False when no handler is
 * installed, so that the caller must say it. */
bool crash_because(const char *file, int line, const char *text);

#endif
