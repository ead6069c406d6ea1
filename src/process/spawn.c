/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a child. vfork, since fork would copy the page tables of a server
 * and make every page of it fault once afterwards. Between vfork and execve
 * the child shares our memory while our other threads run on: it makes plain
 * system calls only, with all signals blocked until their handlers are gone,
 * and never returns. Why execve failed comes back through a pipe that execve
 * closes (under TSan vfork is a fork, so memory would not do).
 */
#include "process/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FD_FLOOR      10 /* keep clear of 0 to 3 while moving descriptors */
#define DEFAULT_FILES 64
#define SIGNALS       65

struct pipes {
	int in[2], out[2], err[2], status[2];
};

struct setup {
	const char *const *argv;
	int in, out, err, extra, status;
	const struct process_limits *limits;
	pid_t parent;
};

/* ---- the child's side: async-signal-safe calls only ---- */

static int
set_limit(__rlimit_resource_t what, rlim_t soft, rlim_t hard)
{
	struct rlimit limit = { .rlim_cur = soft, .rlim_max = hard };

	return setrlimit(what, &limit);
}

static int
child_limits(const struct process_limits *limits)
{
	rlim_t cpu = (rlim_t)((limits->cpu_ms + 999) / 1000);
	rlim_t bytes = limits->file_bytes;
	rlim_t files =
	    limits->max_files != 0 ? limits->max_files : DEFAULT_FILES;

#if defined(__SANITIZE_THREAD__)
	/* A program under TSan writes a small file before main. */
	if (bytes < (1 << 20))
		bytes = 1 << 20;
#elif defined(XIN_COVERAGE)
	/* The program writes its counters when it exits. */
	if (bytes == 0)
		bytes = 1 << 20;
#endif
	if (set_limit(RLIMIT_CORE, 0, 0) != 0 ||
	    set_limit(RLIMIT_FSIZE, bytes, bytes) != 0 ||
	    set_limit(RLIMIT_NOFILE, files, files) != 0)
		return -1;
	if (cpu > 0 && set_limit(RLIMIT_CPU, cpu, cpu + 1) != 0)
		return -1;
	if (limits->memory_bytes > 0)
		return set_limit(
		    RLIMIT_AS, limits->memory_bytes, limits->memory_bytes);
	return 0;
}

static int
child_descriptors(const struct setup *setup)
{
	unsigned from = setup->extra >= 0 ? 4 : 3;

	if (dup2(setup->in, 0) < 0 || dup2(setup->out, 1) < 0 ||
	    dup2(setup->err, 2) < 0)
		return -1;
	if (setup->extra >= 0 && dup2(setup->extra, 3) < 0)
		return -1;
	/* Everything else goes at execve; nobody needs to know what it is. */
	if (syscall(SYS_close_range, from, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */) ==
	    0)
		return 0;
	for (int fd = (int)from; fd < 65536; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

static int
child_signals(void)
{
	struct sigaction plain;
	sigset_t none;

	memset(&plain, 0, sizeof(plain));
	plain.sa_handler = SIG_DFL;
	for (int sig = 1; sig < SIGNALS; sig++)
		sigaction(sig, &plain, NULL);
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL);
}

static int
child_setup(const struct setup *setup)
{
	if (setpgid(0, 0) != 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	if (getppid() != setup->parent)
		return -1; /* it died before it could signal us */
	umask(077);
	if (child_descriptors(setup) != 0 || child_signals() != 0)
		return -1;
	return child_limits(setup->limits);
}

_Noreturn static void
child_main(const struct setup *setup)
{
	static char *const environment[] = { NULL };
	int why;

	if (child_setup(setup) == 0)
		execve(setup->argv[0], (char *const *)(uintptr_t)setup->argv,
		    environment);
	why = errno;
	if (write(setup->status, &why, sizeof(why)) < 0)
		_exit(126);
	_exit(127);
}

/* ---- the parent's side ---- */

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void
close_pipes(struct pipes *pipes)
{
	int(*all[])[2] = { &pipes->in, &pipes->out, &pipes->err,
		&pipes->status };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		close_fd(&(*all[i])[0]);
		close_fd(&(*all[i])[1]);
	}
}

/* `ours` is the index of our end; the child's is moved above FD_FLOOR. */
static int
open_pipe(int fds[2], int ours, bool blocking)
{
	int moved;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return -1;
	moved = fcntl(fds[!ours], F_DUPFD_CLOEXEC, FD_FLOOR);
	if (moved < 0)
		return -1;
	close(fds[!ours]);
	fds[!ours] = moved;
	return blocking ? 0 : fcntl(fds[ours], F_SETFL, O_NONBLOCK);
}

static enum err_code
open_pipes(struct pipes *pipes)
{
	if (open_pipe(pipes->in, 1, false) == 0 &&
	    open_pipe(pipes->out, 0, false) == 0 &&
	    open_pipe(pipes->err, 0, false) == 0 &&
	    open_pipe(pipes->status, 0, true) == 0)
		return OK;
	return err_set(ERR_OVERLOADED, "no pipes for a child process: %s",
	    strerror(errno));
}

static pid_t
start(const struct setup *setup)
{
	sigset_t all, old;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	/* The analyzer forbids what the child does; it is async-signal-safe. */
	pid = vfork(); /* NOLINT(clang-analyzer-*) */
	if (pid == 0)
		child_main(setup); /* NOLINT(clang-analyzer-*) */
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return pid;
}

/* OK when execve closed the pipe without a word. */
static enum err_code
await_exec(int status, pid_t pid, const char *program)
{
	int why;
	ssize_t n;

	do
		n = read(status, &why, sizeof(why));
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return OK;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return err_set(ERR_INTERNAL, "cannot run %s: %s", program,
	    n == (ssize_t)sizeof(why) ? strerror(why) : "unknown reason");
}

enum err_code
process__spawn(const char *const argv[], int extra_fd,
    const struct process_limits *limits, struct process__child *child_out)
{
	struct pipes pipes = { { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 } };
	struct setup setup = {
		.argv = argv, .limits = limits, .extra = -1, .parent = getpid()
	};
	enum err_code rc;
	pid_t pid;

	rc = open_pipes(&pipes);
	if (rc != OK)
		goto out;
	if (extra_fd >= 0) {
		setup.extra = fcntl(extra_fd, F_DUPFD_CLOEXEC, FD_FLOOR);
		if (setup.extra < 0) {
			rc = err_set(ERR_IO, "descriptor %d: %s", extra_fd,
			    strerror(errno));
			goto out;
		}
	}
	setup.in = pipes.in[0];
	setup.out = pipes.out[1];
	setup.err = pipes.err[1];
	setup.status = pipes.status[1];
	pid = start(&setup);
	if (pid < 0) {
		rc = err_set(
		    ERR_OVERLOADED, "no child process: %s", strerror(errno));
		goto out;
	}
	close_fd(&pipes.status[1]);
	rc = await_exec(pipes.status[0], pid, argv[0]);
	if (rc != OK)
		goto out;
	*child_out = (struct process__child){ .pid = pid,
		.in = pipes.in[1],
		.out = pipes.out[0],
		.err = pipes.err[0] };
	pipes.in[1] = pipes.out[0] = pipes.err[0] = -1; /* given away */
out:
	close_fd(&setup.extra);
	close_pipes(&pipes);
	return rc;
}
