/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PDF through poppler's pdftotext, a child of this child (poppler is GPL: run,
 * never linked). It inherits our limits, reads the document from descriptor 3
 * and writes text whose pages end with form feeds; they become blocks with
 * their page's number. It runs twice: first with the layout kept, for pages
 * that are tables and forms (pdf_layout.c), then in reading order for the
 * others. What it says on stderr becomes the reason.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "extract/internal.h"

#define PIECE_BYTES ((size_t)64 << 10)
#define SAID_BYTES  ((size_t)4 << 10)

static const char *const programs[] = { "/usr/bin/pdftotext",
	"/usr/local/bin/pdftotext", "/opt/homebrew/bin/pdftotext" };

/* The text of a page that is a table, from the first run. */
struct kept {
	int64_t page;
	size_t at, len;
};

struct pdf {
	struct extract__blocks *blocks;
	bool layout; /* the first run */
	bool stop;   /* enough was read */
	pid_t pid;
	int out, err;
	struct buf page;
	int64_t number; /* of the open page */
	struct buf said;
	struct buf kept_text;
	struct kept *kept;
	size_t kept_count, kept_cap;
	size_t next; /* kept page to be added */
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
run_program(const char *program, bool layout, int fd, int out, int err)
{
	char path[32];
	const char *const argv[] = { "pdftotext", "-enc", "UTF-8",
		layout ? "-layout" : path, layout ? path : "-",
		layout ? "-" : NULL, NULL };
	char *const environment[] = { NULL };

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0)
		execve(program, (char *const *)(uintptr_t)argv, environment);
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
		run_program(program, pdf->layout, fd, out[1], err[1]);
	}
	close(out[1]);
	close(err[1]);
	pdf->out = out[0];
	pdf->err = err[0];
	return OK;
}

static void
keep_page(struct pdf *pdf)
{
	size_t max = pdf->blocks->max_bytes;

	if (!extract__layout_is_tabular(buf_str(&pdf->page), pdf->page.len) ||
	    pdf->kept_text.len + pdf->page.len > max)
		return;
	if (pdf->kept_count == pdf->kept_cap) {
		pdf->kept_cap = pdf->kept_cap * 2 + 16;
		pdf->kept =
		    mem_resize(pdf->kept, pdf->kept_cap * sizeof(*pdf->kept));
	}
	pdf->kept[pdf->kept_count++] =
	    (struct kept){ pdf->number, pdf->kept_text.len, pdf->page.len };
	buf_add(&pdf->kept_text, pdf->page.data, pdf->page.len);
}

static bool
is_kept(const struct pdf *pdf)
{
	return pdf->next < pdf->kept_count &&
	       pdf->kept[pdf->next].page == pdf->number;
}

static void
add_page(struct pdf *pdf)
{
	pdf->blocks->page = pdf->number;
	if (is_kept(pdf)) {
		const struct kept *kept = &pdf->kept[pdf->next++];

		extract__layout_blocks(
		    pdf->kept_text.data + kept->at, kept->len, pdf->blocks);
	} else {
		extract__plain(buf_str(&pdf->page), pdf->page.len, pdf->blocks);
	}
	pdf->stop = pdf->blocks->full;
}

static void
end_page(struct pdf *pdf)
{
	if (pdf->layout)
		keep_page(pdf);
	else
		add_page(pdf);
	buf_clear(&pdf->page);
	pdf->number++;
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
	if (pdf->page.len <= pdf->blocks->max_bytes)
		return;
	pdf->stop = true;
	pdf->blocks->full = !pdf->layout;
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
	while ((pdf->out >= 0 || pdf->err >= 0) && !pdf->stop) {
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
	    "pdftotext cannot read this PDF (code %d): \"%.*s\"", code,
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
		    "the PDF is damaged, no text could be read: \"%.*s\"",
		    (int)strcspn(why, "\n"), why);
	return err_set(ERR_INVALID,
	    "the PDF has no text: its pages are pictures; run text "
	    "recognition (OCR) over it before");
}

static enum err_code
run(struct pdf *pdf, int fd, bool layout)
{
	int status = 0;

	pdf->layout = layout;
	pdf->stop = false;
	pdf->out = pdf->err = -1;
	pdf->number = 1;
	buf_clear(&pdf->page);
	buf_clear(&pdf->said);
	TRY(start(pdf, fd));
	converse(pdf);
	if (pdf->stop)
		kill(pdf->pid, SIGKILL);
	while (waitpid(pdf->pid, &status, 0) < 0 && errno == EINTR)
		;
	return pdf->stop ? OK : explain(pdf, status);
}

/* Every page is a table: there is nothing to read in order. */
static void
add_kept(struct pdf *pdf)
{
	pdf->layout = false;
	for (pdf->number = 1; pdf->next < pdf->kept_count; pdf->number++)
		add_page(pdf);
}

enum err_code
extract__pdf(int fd, struct extract__blocks *blocks)
{
	struct pdf pdf = { .blocks = blocks };
	enum err_code rc;

	buf_init(&pdf.page, 0);
	buf_init(&pdf.said, 0);
	buf_init(&pdf.kept_text, 0);
	rc = run(&pdf, fd, true);
	if (rc == OK && !pdf.stop && (int64_t)pdf.kept_count == pdf.number - 1)
		add_kept(&pdf);
	else if (rc == OK)
		rc = run(&pdf, fd, false);
	if (rc == OK && !blocks->full && blocks->count == 0)
		rc = without_text(&pdf);
	buf_done(&pdf.page);
	buf_done(&pdf.said);
	buf_done(&pdf.kept_text);
	mem_free(pdf.kept);
	return rc;
}
