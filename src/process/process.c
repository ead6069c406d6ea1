/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running a child: its three pipes and its end (a pidfd) wake one fiber, which
 * writes what the child takes, reads what it says, and kills the whole group
 * when time or output is over. Its end is always waited for, so that no zombie
 * stays and the pid in our hand is never somebody else's.
 */
#include "process/process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "process/spawn.h"

#define ERR_KEEP_BYTES ((size_t)16 << 10)
#define PIECE_BYTES    ((size_t)64 << 10)
#define NO_PIDFD_MS    5    /* how often to look where pidfds are missing */
#define KILLED_MS      5000 /* for a killed group to be gone */
#define REAP_MS        60000

struct run {
	struct process__child child;
	struct fiber *fiber;
	int pidfd;
	struct loop_poll *polls[4];
	const char *input;
	size_t input_left;
	size_t max_output;
	char *piece; /* PIECE_BYTES */
	struct process_result result;
};

struct spawn_work {
	const char *const *argv;
	int extra_fd;
	const struct process_limits *limits;
	struct process__child child;
};

static enum err_code
spawn_in_pool(void *arg)
{
	struct spawn_work *work = arg;

	return process__spawn(
	    work->argv, work->extra_fd, work->limits, &work->child);
}

static void
wake_runner(void *arg)
{
	struct run *run = arg;

	fiber_wake(run->fiber);
}

/* ---- pipes ---- */

enum { ENDS_IN, ENDS_OUT, ENDS_ERR, ENDS_PID };

static void
close_pipe(struct run *run, int which, int *fd)
{
	loop_poll_close(run->polls[which]);
	run->polls[which] = NULL;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A child that does not want its input is no error: it may know enough. */
static void
feed(struct run *run)
{
	while (run->child.in >= 0 && run->input_left > 0) {
		ssize_t n = write(run->child.in, run->input, run->input_left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			break;
		run->input += n;
		run->input_left -= (size_t)n;
	}
	close_pipe(run, ENDS_IN, &run->child.in);
}

/* Read one piece; false when there is nothing more now. */
static bool
take(struct run *run, int which, int *fd, struct buf *into, size_t keep)
{
	ssize_t n;

	if (*fd < 0)
		return false;
	do
		n = read(*fd, run->piece, PIECE_BYTES);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		close_pipe(run, which, fd);
		return false;
	}
	if (into->len + (size_t)n > keep)
		n = keep > into->len ? (ssize_t)(keep - into->len) : 0;
	buf_add(into, run->piece, (size_t)n);
	return true;
}

/* One byte over the ceiling is kept, to see that there was more. */
static enum err_code
exchange(struct run *run)
{
	bool more;

	do {
		if (run->child.in >= 0)
			feed(run);
		more = take(run, ENDS_OUT, &run->child.out, &run->result.out,
		    run->max_output + 1);
		more |= take(run, ENDS_ERR, &run->child.err, &run->result.err,
		    ERR_KEEP_BYTES);
		if (run->result.out.len > run->max_output)
			return err_set(ERR_TOO_LARGE,
			    "a child process wrote more than %zu bytes",
			    run->max_output);
		if (more)
			TRY(fiber_breathe());
	} while (more);
	return OK;
}

/* ---- its end ---- */

static bool
has_ended(const struct run *run)
{
	siginfo_t info = { .si_pid = 0 };

	/* Not reaped yet: the group's number stays ours while we kill it. */
	return waitid(P_PID, (id_t)run->child.pid, &info,
		   WEXITED | WNOHANG | WNOWAIT) != 0 ||
	       info.si_pid != 0;
}

static uint64_t
next_look(const struct run *run, uint64_t deadline_ms)
{
	if (run->pidfd >= 0)
		return deadline_ms;
	return deadline_min(deadline_ms, deadline_in_ms(NO_PIDFD_MS));
}

static enum err_code
converse(struct run *run, uint64_t deadline_ms)
{
	while (!has_ended(run)) {
		enum err_code rc = exchange(run);

		if (rc == OK)
			rc = fiber_park(next_look(run, deadline_ms));
		if (rc == ERR_DEADLINE && deadline_left_ms(deadline_ms) > 0)
			rc = OK; /* only time to look */
		if (rc == ERR_DEADLINE)
			return err_set(rc, "a child process was killed at its "
					   "deadline");
		if (rc != OK)
			return rc;
	}
	return OK;
}

static void
reap_later(void *arg)
{
	pid_t pid = (pid_t)(intptr_t)arg;
	uint64_t until = deadline_in_ms(REAP_MS);

	fiber_shield();
	while (waitpid(pid, NULL, WNOHANG) == 0 && deadline_left_ms(until) > 0)
		fiber_sleep(100);
	fiber_unshield();
}

/* Kill what is left of the group and reap the child. */
static void
finish(struct run *run)
{
	uint64_t until = deadline_in_ms(KILLED_MS);
	pid_t pid = run->child.pid;
	int status = 0;
	struct error saved;

	err_save(&saved);
	kill(-pid, SIGKILL);
	fiber_shield();
	while (!has_ended(run) && deadline_left_ms(until) > 0)
		fiber_park(next_look(run, until));
	fiber_unshield();
	if (waitpid(pid, &status, WNOHANG) != pid) {
		log_error("process.unkillable", kv_int("pid", pid));
		fiber_start(reap_later, (void *)(intptr_t)pid);
	}
	run->result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	run->result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	err_restore(&saved);
}

static enum err_code
open_polls(struct run *run)
{
	const int fds[] = { run->child.in, run->child.out, run->child.err,
		run->pidfd };

	for (int i = ENDS_IN; i <= ENDS_PID; i++) {
		if (fds[i] < 0)
			continue;
		TRY(loop_poll_open(fds[i], wake_runner, run, &run->polls[i]));
		loop_poll_set(run->polls[i],
		    i == ENDS_IN ? LOOP_WRITABLE : LOOP_READABLE);
	}
	return OK;
}

static void
run_done(struct run *run)
{
	close_pipe(run, ENDS_IN, &run->child.in);
	close_pipe(run, ENDS_OUT, &run->child.out);
	close_pipe(run, ENDS_ERR, &run->child.err);
	close_pipe(run, ENDS_PID, &run->pidfd);
	mem_free(run->piece);
}

enum err_code
process_run(const char *const argv[], const void *input, size_t input_len,
    int extra_fd, const struct process_limits *limits, uint64_t deadline_ms,
    struct process_result *result_out)
{
	struct spawn_work work = {
		.argv = argv, .extra_fd = extra_fd, .limits = limits
	};
	struct run run = { .fiber = fiber_self(),
		.input = input,
		.input_left = input_len,
		.max_output = limits->max_output_bytes };
	enum err_code rc;

	deadline_ms = deadline_min(deadline_ms, task_self()->deadline_ms);
	TRY(pool_run(spawn_in_pool, &work));
	run.child = work.child;
	run.piece = mem_alloc(PIECE_BYTES);
	run.pidfd = (int)syscall(SYS_pidfd_open, run.child.pid, 0);
	rc = open_polls(&run);
	if (rc == OK)
		rc = converse(&run, deadline_ms);
	finish(&run);
	if (rc == OK) { /* what it said last */
		fiber_shield();
		rc = exchange(&run);
		fiber_unshield();
	}
	run_done(&run);
	if (rc != OK) {
		process_result_done(&run.result);
		return rc;
	}
	*result_out = run.result;
	return OK;
}

void
process_result_done(struct process_result *result)
{
	if (result == NULL)
		return;
	buf_done(&result->out);
	buf_done(&result->err);
}

/* ---- ourselves ---- */

static char self_path[4096];

static void
read_self_path(void)
{
	ssize_t n =
	    readlink("/proc/self/exe", self_path, sizeof(self_path) - 1);

	if (n <= 0 || access(self_path, X_OK) != 0)
		/* Replaced or deleted since the start: the link still leads
		 * to the program that runs. */
		strcpy(self_path, "/proc/self/exe");
}

const char *
process_self_path(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, read_self_path);
	return self_path;
}
