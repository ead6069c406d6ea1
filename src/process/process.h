/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_PROCESS_PROCESS_H
#define XIN_PROCESS_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/*
 * Child processes under rlimits: what parses untrusted bytes or checks
 * untrusted scripts runs in one. The child gets an empty environment, no
 * inherited descriptors but 0, 1, 2 (and `extra_fd` as 3), PR_SET_NO_NEW_PRIVS,
 * PR_SET_PDEATHSIG, no core dumps, a process group of its own.
 */
struct process_limits {
	uint64_t cpu_ms;         /* rounded up to seconds for RLIMIT_CPU */
	uint64_t memory_bytes;   /* RLIMIT_AS; 0 = none (ASan needs 0) */
	uint64_t file_bytes;     /* RLIMIT_FSIZE; 0 = may write no file */
	uint32_t max_files;      /* RLIMIT_NOFILE; 0 = 64 */
	size_t max_output_bytes; /* stdout kept; more is ERR_TOO_LARGE */
};

struct process_result {
	int exit_code;  /* -1 when a signal ended it */
	int signal;     /* 0, or the signal */
	struct buf out; /* stdout */
	struct buf err; /* stderr, the first 16 KiB */
};

/* Run argv[0] (NULL-ended argv) with `input` on its stdin until it ends. At the
 * deadline, or when cancelled, the group is killed with SIGKILL. OK means that
 * it ran and ended, whatever its exit code. `extra_fd` -1 = none. WAITS. */
enum err_code process_run(const char *const argv[], const void *input,
    size_t input_len, int extra_fd, const struct process_limits *limits,
    uint64_t deadline_ms, struct process_result *result_out);
void process_result_done(struct process_result *result);

/* The path of the running program, for re-executing itself. */
const char *process_self_path(void);

#endif
