/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stacks of fibers: mapped, with an inaccessible page below, so that running
 * over the end is a fault at once and never another fiber's memory. Sanitizers
 * make frames several times larger and get 1 MiB.
 *
 * A guarded stack is two memory maps: with the kernel's default of 65,530 maps
 * a process has room for about 32,000 fibers, above the ceilings on
 * connections and turns that the floors above enforce.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fiber/internal.h"

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(from, to) 0
#define VALGRIND_STACK_DEREGISTER(id)     ((void)(id))
#endif

#if defined(FIBER_ASAN) || defined(FIBER_TSAN)
#define STACK_BYTES ((size_t)1 << 20)
#else
#define STACK_BYTES FIBER_STACK_BYTES
#endif

void
fiber__stack_map(struct fiber *fiber)
{
	size_t guard = (size_t)sysconf(_SC_PAGESIZE);
	char *map = mmap(NULL, guard + STACK_BYTES, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (map == MAP_FAILED)
		panic("no memory for a fiber's stack: %s", strerror(errno));
	if (mprotect(map, guard, PROT_NONE) != 0)
		panic("no guard page for a fiber's stack: %s", strerror(errno));
	fiber->stack = map + guard;
	fiber->stack_size = STACK_BYTES;
	fiber->valgrind =
	    VALGRIND_STACK_REGISTER(fiber->stack, fiber->stack + STACK_BYTES);
}

void
fiber__stack_unmap(struct fiber *fiber)
{
	size_t guard = (size_t)sysconf(_SC_PAGESIZE);

	VALGRIND_STACK_DEREGISTER(fiber->valgrind);
	if (munmap(fiber->stack - guard, guard + fiber->stack_size) != 0)
		panic("cannot unmap a stack: %s", strerror(errno));
}

/* ---- saying that a stack was too small ---- */

#if defined(FIBER_ASAN) || defined(FIBER_TSAN)
void
fiber__guard_thread(struct loop *loop)
{
	loop->signal_stack = NULL; /* they report faults themselves */
}
#else
#define SIGNAL_STACK_BYTES ((size_t)32 << 10)

/* A fault in the running fiber's guard page gets a sentence; then, as for any
 * other fault, the default action ends the process with a core. */
static void
on_fault(int signal_number, siginfo_t *info, void *context)
{
	static const char sentence[] =
	    "{\"event\":\"process.panic\",\"level\":\"error\","
	    "\"message\":\"a fiber's stack overflowed\"}\n";
	struct fiber *fiber = fiber_self();
	const char *at = info->si_addr;

	(void)context;
	if (fiber != NULL && at < fiber->stack &&
	    at >= fiber->stack - sysconf(_SC_PAGESIZE) &&
	    write(STDOUT_FILENO, sentence, sizeof(sentence) - 1) < 0)
		abort();
	signal(signal_number, SIG_DFL);
}

/* The handler needs a stack of its own: the fiber's is used up. */
void
fiber__guard_thread(struct loop *loop)
{
	struct sigaction action = { .sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t stack = { .ss_size = SIGNAL_STACK_BYTES };

	loop->signal_stack = mem_alloc(SIGNAL_STACK_BYTES);
	stack.ss_sp = loop->signal_stack;
	sigemptyset(&action.sa_mask);
	if (sigaltstack(&stack, NULL) != 0 ||
	    sigaction(SIGSEGV, &action, NULL) != 0)
		panic("no stack for faults: %s", strerror(errno));
}
#endif
