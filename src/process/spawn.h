/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_PROCESS_SPAWN_H
#define XIN_PROCESS_SPAWN_H

#include <sys/types.h>
#include "process/process.h"

/* A child and our ends of its pipes, non-blocking; -1 = closed. */
struct process__child {
	pid_t pid;
	int in;
	int out;
	int err;
};

/* Start it. Blocks until the child has executed its program (or failed to):
 * call on a pool thread. */
enum err_code process__spawn(const char *const argv[], int extra_fd,
    const struct process_limits *limits, struct process__child *child_out);

#endif
