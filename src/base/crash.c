/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The crash line, built by hand in a static buffer: everything here runs in
 * signal context, maybe on the stack of a fiber that is used up. The unwinder
 * may stumble over a stack that is destroyed: a second fault of the same thread
 * comes back here, and the line is written without the rest of the frames.
 * Modules and build id are read at the start, since asking the linker takes
 * its lock.
 */
#include "base/crash.h"

#include <elf.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log_internal.h"
#include "base/task.h"

static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };

void
crash_block_signals(sigset_t *old_out)
{
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&set, faults[i]);
	pthread_sigmask(SIG_SETMASK, &set, old_out);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void
crash_install(void)
{
}

void
crash_guard_thread(void)
{
}

void
crash_describe(void (*describe)(const void *, struct crash_notes *))
{
	(void)describe;
}

bool
crash_because(const char *file, int line, const char *text)
{
	(void)file;
	(void)line;
	(void)text;
	return false;
}
#else

#define SIGNAL_STACK_BYTES ((size_t)32 << 10)
#define LINE_BYTES         4000 /* under PIPE_BUF: one write, whole or not */
#define FRAMES_MAX         24
#define MODULES_MAX        64

static const char *const fault_names[] = { "SIGSEGV", "SIGBUS", "SIGFPE",
	"SIGILL", "SIGABRT" };

#define FAULTS             (sizeof(faults) / sizeof(faults[0]))

static struct module {
	uintptr_t base, end;
	char name[32];
} modules[MODULES_MAX];
static size_t module_count;
static char build_id[2 * 32 + 1];

static atomic_bool installed;
static void (*_Atomic describe_fn)(const void *, struct crash_notes *);

/* Who panicked first, and why. */
static struct {
	atomic_bool taken, ready;
	char file[64];
	int line;
	char text[300];
} panic_note;

static struct {
	_Atomic pid_t thread; /* that crashed first */
	atomic_int step;      /* how far it came */
	void *frames[FRAMES_MAX];
	_Atomic int count;
} crash;
enum step { BEGUN, UNWINDING, UNWOUND, WRITTEN };

static _Thread_local char signal_stack[SIGNAL_STACK_BYTES];
static _Thread_local bool guarded;

/* ---- a line by hand ---- */

struct line {
	char text[LINE_BYTES];
	size_t len;
};

static void
add(struct line *line, const char *s)
{
	while (*s != '\0' && line->len < LINE_BYTES - 8)
		line->text[line->len++] = *s++;
}

static void
add_number(struct line *line, uint64_t value, unsigned base, unsigned width)
{
	char digits[24];
	size_t at = sizeof(digits) - 1;

	digits[at] = '\0';
	do {
		digits[--at] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value > 0 || sizeof(digits) - 1 - at < width);
	add(line, digits + at);
}

static void
add_hex(struct line *line, uintptr_t value)
{
	add(line, "0x");
	add_number(line, value, 16, 1);
}

static void
add_escaped(struct line *line, const char *s)
{
	for (; *s != '\0' && line->len < LINE_BYTES - 80; s++) {
		unsigned char c = (unsigned char)*s;

		if (c < ' ' || c == 0x7f) {
			add(line, "\\u00");
			add_number(line, c, 16, 2);
		} else if (c >= 0x80) {
			add(line, "?"); /* half a character were no JSON */
		} else {
			char one[3] = { (char)c, 0, 0 };

			if (c == '"' || c == '\\') {
				one[0] = '\\';
				one[1] = (char)c;
			}
			add(line, one);
		}
	}
}

static void
add_key(struct line *line, const char *key)
{
	add(line, line->len > 1 ? ",\"" : "\"");
	add(line, key);
	add(line, "\":");
}

static void
add_text(struct line *line, const char *key, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	add_key(line, key);
	add(line, "\"");
	add_escaped(line, value);
	add(line, "\"");
}

/* Days since 1970 to a date, by Howard Hinnant's civil_from_days:
 * gmtime_r takes a lock. */
static void
add_time(struct line *line)
{
	struct timespec now;
	uint64_t days, era_day, era, year_of_era, year_day, month, rest;

	clock_gettime(CLOCK_REALTIME, &now);
	rest = (uint64_t)now.tv_sec % 86400;
	days = (uint64_t)now.tv_sec / 86400 + 719468;
	era = days / 146097;
	era_day = days % 146097;
	year_of_era =
	    (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) /
	    365;
	year_day =
	    era_day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	month = (5 * year_day + 2) / 153;
	add_key(line, "timestamp");
	add(line, "\"");
	add_number(line, year_of_era + era * 400 + (month >= 10), 10, 4);
	add(line, "-");
	add_number(line, month < 10 ? month + 3 : month - 9, 10, 2);
	add(line, "-");
	add_number(line, year_day - (153 * month + 2) / 5 + 1, 10, 2);
	add(line, "T");
	add_number(line, rest / 3600, 10, 2);
	add(line, ":");
	add_number(line, rest / 60 % 60, 10, 2);
	add(line, ":");
	add_number(line, rest % 60, 10, 2);
	add(line, ".");
	add_number(line, (uint64_t)now.tv_nsec / 1000000, 10, 3);
	add(line, "Z\"");
}

static void
add_task(struct line *line)
{
	const struct task *task = task_self();

	add_text(line, "service", log__service(task));
	if (task == NULL)
		return;
	add_text(line, "correlation_id", task->request_id);
	add_text(line, "brand_id", task->brand_id);
	add_text(line, "trace_id", task->trace_id);
	add_text(line, "span_id", task->span_id);
	add_text(line, "generation", task->generation);
}

static void
add_cause(struct line *line, int number, const siginfo_t *info)
{
	void (*describe)(const void *, struct crash_notes *) =
	    atomic_load(&describe_fn);
	struct crash_notes notes = { 0 };

	for (size_t i = 0; i < FAULTS; i++)
		if (faults[i] == number)
			add_text(line, "signal", fault_names[i]);
	if (describe != NULL)
		describe(info->si_addr, &notes);
	if (atomic_load(&panic_note.ready)) {
		add_text(line, "reason", panic_note.text);
		add_text(line, "at", panic_note.file);
		add_key(line, "line");
		add_number(line, (uint64_t)panic_note.line, 10, 1);
	} else if (info->si_code <= 0 && info->si_pid == getpid()) {
		add_text(line, "reason", "the process gave itself up");
	} else if (info->si_code <= 0) { /* sent, not met */
		add_key(line, "sent_by");
		add_number(line, (uint64_t)info->si_pid, 10, 1);
	} else {
		add_text(line, "reason", notes.reason);
		add_key(line, "address");
		add(line, "\"");
		add_hex(line, (uintptr_t)info->si_addr);
		add(line, "\"");
	}
	add_text(line, "doing", notes.doing);
	add_text(line, "detail", notes.detail);
}

static void
add_frame(struct line *line, uintptr_t at)
{
	for (size_t i = 0; i < module_count; i++) {
		if (at < modules[i].base || at >= modules[i].end)
			continue;
		add_escaped(line, modules[i].name);
		add(line, "+");
		at -= modules[i].base;
		break;
	}
	add_hex(line, at);
}

static void
add_frames(struct line *line)
{
	int count = atomic_load(&crash.count);

	add_text(line, "version", XIN_VERSION);
	add_text(line, "build_id", build_id);
	add_key(line, "backtrace");
	add(line, "[");
	for (int i = 0; i < count && line->len < LINE_BYTES - 80; i++) {
		add(line, i > 0 ? ",\"" : "\"");
		add_frame(line, (uintptr_t)crash.frames[i]);
		add(line, "\"");
	}
	add(line, "]");
}

/* ---- the handler ---- */

static void
say(int number, const siginfo_t *info)
{
	static struct line line; /* one thread at most comes here, once */

	add(&line, "{");
	add_text(&line, "event", "process.crashed");
	add_text(&line, "level", "error");
	add_time(&line);
	add_task(&line);
	add_cause(&line, number, info);
	add_frames(&line);
	add(&line, "}\n");
	log_out_last(line.text, line.len);
}

/* Others that crash meanwhile wait: the first one ends them. */
static bool
is_first(void)
{
	pid_t me = (pid_t)syscall(SYS_gettid), none = 0;

	if (atomic_compare_exchange_strong(&crash.thread, &none, me) ||
	    none == me)
		return true;
	for (;;)
		pause();
}

static void
on_fault(int number, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)context;
	is_first();
	if (atomic_load(&crash.step) == BEGUN) {
		atomic_store(&crash.step, UNWINDING);
		atomic_store(&crash.count, backtrace(crash.frames, FRAMES_MAX));
	}
	if (atomic_load(&crash.step) == UNWINDING) {
		atomic_store(&crash.step, WRITTEN);
		say(number, info);
	}
	signal(number, SIG_DFL);
	if (info->si_code <= 0) /* will not come again by itself */
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
	errno = saved;
}

/* ---- at the start ---- */

static void
keep_build_id(const char *note, size_t len)
{
	const ElfW(Nhdr) *head = (const void *)note;
	size_t name, size;

	while (len >= sizeof(*head)) {
		name = ((size_t)head->n_namesz + 3) & ~(size_t)3;
		size = ((size_t)head->n_descsz + 3) & ~(size_t)3;
		if (sizeof(*head) + name + size > len)
			return;
		if (head->n_type == NT_GNU_BUILD_ID && head->n_descsz <= 32) {
			const unsigned char *id =
			    (const unsigned char *)(head + 1) + name;

			for (size_t i = 0; i < head->n_descsz; i++) {
				build_id[2 * i] =
				    "0123456789abcdef"[id[i] >> 4];
				build_id[2 * i + 1] =
				    "0123456789abcdef"[id[i] & 15];
			}
			return;
		}
		len -= sizeof(*head) + name + size;
		head = (const void *)((const char *)(head + 1) + name + size);
	}
}

static int
keep_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct module *module = &modules[module_count];
	const char *name = strrchr(info->dlpi_name, '/');

	(void)size;
	(void)arg;
	if (module_count == MODULES_MAX)
		return 1;
	module->base = info->dlpi_addr;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *head = &info->dlpi_phdr[i];
		uintptr_t from = info->dlpi_addr + head->p_vaddr;

		if (head->p_type == PT_LOAD &&
		    from + head->p_memsz > module->end)
			module->end = from + head->p_memsz;
		if (head->p_type == PT_NOTE && module_count == 0 &&
		    build_id[0] == '\0')
			keep_build_id((const char *)from, head->p_memsz);
	}
	/* The program comes first, and without a name. */
	name = name != NULL ? name + 1 : info->dlpi_name;
	strncpy(module->name,
	    module_count == 0 ? program_invocation_short_name : name,
	    sizeof(module->name) - 1);
	module_count++;
	return 0;
}

void
crash_install(void)
{
	/* A fault while handling one must come through: SA_NODEFER. */
	struct sigaction action = { .sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	void *frame[1];

	if (!atomic_exchange(&installed, true)) {
		dl_iterate_phdr(keep_module, NULL);
		backtrace(frame, 1); /* loads the unwinder now */
	}
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < FAULTS; i++)
		if (sigaction(faults[i], &action, NULL) != 0)
			panic("no handler for faults: %s", strerror(errno));
	crash_guard_thread();
}

void
crash_guard_thread(void)
{
	stack_t stack = { .ss_sp = signal_stack,
		.ss_size = sizeof(signal_stack) };

	if (guarded)
		return;
	if (sigaltstack(&stack, NULL) != 0)
		panic("no stack for faults: %s", strerror(errno));
	guarded = true;
}

void
crash_describe(void (*describe)(const void *, struct crash_notes *))
{
	atomic_store(&describe_fn, describe);
}

bool
crash_because(const char *file, int line, const char *text)
{
	if (!atomic_load(&installed))
		return false;
	if (atomic_exchange(&panic_note.taken, true))
		return true;
	strncpy(panic_note.file, file, sizeof(panic_note.file) - 1);
	strncpy(panic_note.text, text, sizeof(panic_note.text) - 1);
	panic_note.line = line;
	atomic_store(&panic_note.ready, true);
	return true;
}
#endif
