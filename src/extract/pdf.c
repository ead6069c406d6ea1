/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PDF through poppler's pdftotext, a child of this child (poppler is GPL: run,
 * never linked). It inherits our limits, reads the document from descriptor 3
 * and writes text whose pages end with form feeds; they become paragraphs with
 * their page's number. What it says on stderr becomes the reason.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "extract/internal.h"

#define PIECE_BYTES ((size_t)64 << 10)
#define SAID_BYTES  ((size_t)4 << 10)

static const char *const programs[] = { "/usr/bin/pdftotext",
	"/usr/local/bin/pdftotext", "/opt/homebrew/bin/pdftotext" };

struct pdf {
	struct extract__blocks *blocks;
	pid_t pid;
	int out, err;
	struct buf page;
	struct buf said;
};

static const char *
find_program(void)
{
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (access(programs[i], X_OK) == 0)
			return programs[i];
	return NULL;
}

_Noreturn static void
run_program(const char *program, int fd, int out, int err)
{
	char path[32];
	char *const argv[] = { (char *)(uintptr_t) "pdftotext",
		(char *)(uintptr_t) "-enc", (char *)(uintptr_t) "UTF-8", path,
		(char *)(uintptr_t) "-", NULL };
	char *const environment[] = { NULL };

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0)
		execve(program, argv, environment);
	_exit(127);
}

static enum err_code
start(struct pdf *pdf, int fd)
{
	const char *program = find_program();
	int out[2], err[2];

	if (program == NULL)
		return err_set(ERR_MEDIA_TYPE,
		    "PDF cannot be read on this machine: install pdftotext "
		    "(package poppler-utils) where the worker runs");
	if (pipe(out) != 0 || pipe(err) != 0)
		return err_set(ERR_IO, "no pipe: %s", strerror(errno));
	pdf->pid = fork();
	if (pdf->pid < 0)
		return err_set(
		    ERR_OVERLOADED, "no child process: %s", strerror(errno));
	if (pdf->pid == 0) {
		close(out[0]);
		close(err[0]);
		run_program(program, fd, out[1], err[1]);
	}
	close(out[1]);
	close(err[1]);
	pdf->out = out[0];
	pdf->err = err[0];
	return OK;
}

static void
end_page(struct pdf *pdf)
{
	extract__plain(buf_str(&pdf->page), pdf->page.len, pdf->blocks);
	buf_clear(&pdf->page);
	pdf->blocks->page++;
}

static void
take_text(struct pdf *pdf, const char *text, size_t len)
{
	const char *feed;

	while ((feed = memchr(text, '\f', len)) != NULL) {
		size_t n = (size_t)(feed - text);

		buf_add(&pdf->page, text, n);
		end_page(pdf);
		text += n + 1;
		len -= n + 1;
	}
	buf_add(&pdf->page, text, len);
	if (pdf->page.len > pdf->blocks->max_bytes)
		pdf->blocks->full = true;
}

/* One read; false at its end. */
static bool
take(struct pdf *pdf, int *fd)
{
	static char piece[PIECE_BYTES];
	ssize_t n;

	do
		n = read(*fd, piece, sizeof(piece));
	while (n < 0 && errno == EINTR);
	if (n <= 0) {
		close(*fd);
		*fd = -1;
		return false;
	}
	if (fd == &pdf->out)
		take_text(pdf, piece, (size_t)n);
	else if (pdf->said.len < SAID_BYTES)
		buf_add(&pdf->said, piece, (size_t)n);
	return true;
}

static void
converse(struct pdf *pdf)
{
	while ((pdf->out >= 0 || pdf->err >= 0) && !pdf->blocks->full) {
		struct pollfd ends[] = { { .fd = pdf->out, .events = POLLIN },
			{ .fd = pdf->err, .events = POLLIN } };

		if (poll(ends, 2, -1) < 0 && errno != EINTR)
			break;
		if (ends[0].revents != 0)
			take(pdf, &pdf->out);
		if (ends[1].revents != 0)
			take(pdf, &pdf->err);
	}
	if (pdf->page.len > 0)
		end_page(pdf);
	if (pdf->out >= 0)
		close(pdf->out);
	if (pdf->err >= 0)
		close(pdf->err);
}

static bool
said(const struct pdf *pdf, const char *words)
{
	return strstr(buf_str(&pdf->said), words) != NULL;
}

/* The first sentence it said, without its place in the file. */
static enum err_code
other_reason(const struct pdf *pdf, int code)
{
	const char *line = buf_str(&pdf->said);

	return err_set(ERR_INVALID,
	    "pdftotext cannot read this PDF (code %d): %.*s", code,
	    (int)strcspn(line, "\n"), line[0] != '\0' ? line : "no reason");
}

static enum err_code
explain(const struct pdf *pdf, int status)
{
	if (WIFSIGNALED(status)) {
		int sig = WTERMSIG(status);

		if (sig == SIGXCPU || sig == SIGKILL)
			return err_set(ERR_TOO_LARGE,
			    "reading the PDF took more CPU than "
			    "XIN_EXTRACT_CPU_MS allows");
		if (sig == SIGABRT || said(pdf, "Out of memory"))
			return err_set(ERR_TOO_LARGE,
			    "reading the PDF needs more memory than "
			    "XIN_EXTRACT_HEAP_BYTES allows");
		return err_set(ERR_INVALID, "pdftotext fell over this PDF (%s)",
		    strsignal(sig));
	}
	if (said(pdf, "Out of memory") || said(pdf, "bad_alloc"))
		return err_set(ERR_TOO_LARGE,
		    "reading the PDF needs more memory than "
		    "XIN_EXTRACT_HEAP_BYTES allows");
	if (WEXITSTATUS(status) == 0)
		return OK;
	if (said(pdf, "Incorrect password"))
		return err_set(ERR_INVALID,
		    "the PDF is encrypted with a password: upload one without");
	if (WEXITSTATUS(status) == 3)
		return err_set(ERR_INVALID,
		    "the PDF forbids copying of its text: upload one that "
		    "allows it");
	if (said(pdf, "Couldn't find trailer") ||
	    said(pdf, "Couldn't read xref table"))
		return err_set(ERR_INVALID,
		    "the PDF is damaged or cut off: its table of contents "
		    "(xref) cannot be found");
	return other_reason(pdf, WEXITSTATUS(status));
}

/* It says what is wrong, and goes on as if nothing was. */
static enum err_code
without_text(const struct pdf *pdf)
{
	const char *why = strstr(buf_str(&pdf->said), "Error");

	if (why != NULL)
		return err_set(ERR_INVALID,
		    "the PDF is damaged, no text could be read: %.*s",
		    (int)strcspn(why, "\n"), why);
	return err_set(ERR_INVALID,
	    "the PDF has no text: its pages are pictures; run text "
	    "recognition (OCR) over it before");
}

enum err_code
extract__pdf(int fd, struct extract__blocks *blocks)
{
	struct pdf pdf = { .blocks = blocks, .out = -1, .err = -1 };
	int status = 0;
	enum err_code rc;

	TRY(start(&pdf, fd));
	blocks->page = 1;
	buf_init(&pdf.page, 0);
	buf_init(&pdf.said, 0);
	converse(&pdf);
	if (blocks->full)
		kill(pdf.pid, SIGKILL);
	while (waitpid(pdf.pid, &status, 0) < 0 && errno == EINTR)
		;
	rc = blocks->full ? OK : explain(&pdf, status);
	if (rc == OK && !blocks->full && blocks->count == 0)
		rc = without_text(&pdf);
	buf_done(&pdf.page);
	buf_done(&pdf.said);
	return rc;
}
