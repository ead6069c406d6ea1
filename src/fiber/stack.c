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

/* In signal context. */
void
fiber__describe_fault(const void *address, struct crash_notes *notes_out)
{
	const struct fiber *fiber = fiber_self();
	const struct loop *loop = loop_self();
	const char *at = address;
	uint64_t words[LOOP_LABEL_WORDS];

	_Static_assert(sizeof(words) <= sizeof(notes_out->detail), "no room");
	if (fiber != NULL && at < fiber->stack &&
	    at >= fiber->stack - sysconf(_SC_PAGESIZE))
		notes_out->reason = "a fiber's stack overflowed";
	if (loop == NULL)
		return;
	notes_out->doing = atomic_load(&loop->label);
	for (size_t i = 0; i < LOOP_LABEL_WORDS; i++)
		words[i] = atomic_load(&loop->detail[i]);
	memcpy(notes_out->detail, words, sizeof(words) - 1);
}
