/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent's side: which formats can be read, running the child under its
 * limits, and saying in words why a document could not be read.
 */
#include "extract/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "extract/internal.h"
#include "fiber/fiber.h"
#include "process/process.h"

static const char *program; /* set by tests */

/* A program of our code that links next to nothing, beside our own: loading
 * all of xin's libraries takes 12 ms of CPU, most documents take one. */
#define SMALL_PROGRAM "xin-extract"

#define HEAD_BYTES    1024 /* what tells the format */

void
extract_set_program(const char *path)
{
	program = path;
}

static char small_path[4096]; /* "" = not there */

static void
find_small_program(void)
{
	const char *self = process_self_path();
	const char *slash = strrchr(self, '/');

	if (slash == NULL ||
	    !str_copy_n(small_path, sizeof(small_path) - sizeof(SMALL_PROGRAM),
		self, (size_t)(slash + 1 - self))) {
		small_path[0] = '\0';
		return;
	}
	strcat(small_path, SMALL_PROGRAM);
	if (access(small_path, X_OK) != 0)
		small_path[0] = '\0';
}

static const char *
child_program(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (program != NULL)
		return program;
	pthread_once(&once, find_small_program);
	return small_path[0] != '\0' ? small_path : process_self_path();
}

enum err_code
extract_check(const char *content_type, const char *filename, const void *head,
    size_t len)
{
	enum extract__format format;

	return extract__format_of(content_type, filename, head, len, &format);
}

/* ---- the child's answer ---- */

struct answer {
	const struct process_result *result;
	struct extracted *out;
};

static enum err_code
take_error(const json_t *object)
{
	const char *name = json_str(object, "error");
	const char *message = json_str(object, "message");

	if (name == NULL || message == NULL)
		return err_set(ERR_INTERNAL, "the extractor said nothing");
	return err_set(err_from_name(name), "%s", message);
}

static enum err_code
take_document(const json_t *object, struct extracted *out)
{
	json_t *blocks = json_object_get(object, "blocks");
	const char *title = json_str(object, "title");
	const char *charset = json_str(object, "charset");

	if (!json_is_array(blocks) || charset == NULL)
		return err_set(ERR_INTERNAL, "the extractor sent no blocks");
	*out = (struct extracted){ .title =
				       title == NULL ? NULL : mem_strdup(title),
		.charset = mem_strdup(charset),
		.blocks = json_incref(blocks) };
	return OK;
}

/* On a pool thread: a long document is a long parse. */
static enum err_code
read_answer(void *arg)
{
	const struct answer *answer = arg;
	bool good = answer->result->exit_code == 0;
	const struct buf *text =
	    good ? &answer->result->out : &answer->result->err;
	json_t *object = NULL;
	enum err_code rc;

	if (json_parse(buf_str(text), text->len, &object) != OK)
		return err_add(ERR_INTERNAL, "the extractor's answer");
	rc = good ? take_document(object, answer->out) : take_error(object);
	json_decref(object);
	return rc;
}

static enum err_code
explain_death(
    const struct process_result *result, const struct process_limits *limits)
{
	switch (result->signal) {
	case SIGXCPU:
	case SIGKILL:
		return err_set(ERR_TOO_LARGE,
		    "reading the document took more than %llu ms of CPU",
		    (unsigned long long)limits->cpu_ms);
	case SIGABRT: /* how base ends when memory is out */
		return err_set(ERR_TOO_LARGE,
		    "reading the document needs more than %llu MiB of memory",
		    (unsigned long long)(limits->memory_bytes >> 20));
	case 0:
		return err_set(ERR_INTERNAL, "the extractor ended with code %d",
		    result->exit_code);
	default:
		return err_set(ERR_INVALID,
		    "the parser fell over this document (%s)",
		    strsignal(result->signal));
	}
}

/* ---- the call ---- */

static struct process_limits
child_limits(size_t max_text)
{
	struct process_limits limits = {
		.cpu_ms = (uint64_t)config_int(CFG_EXTRACT_CPU_MS),
		.memory_bytes = (uint64_t)config_int(CFG_EXTRACT_HEAP_BYTES),
		.max_files = 16,
		/* quotes and line breaks double, names of blocks add up */
		.max_output_bytes = 3 * max_text + 4096,
	};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	limits.memory_bytes = 0; /* their shadow is terabytes of it */
#endif
	return limits;
}

static enum err_code
run_child(int fd, enum extract__format format, uint64_t deadline_ms,
    struct extracted *out)
{
	size_t max_text = (size_t)config_int(CFG_MAX_TEXT_BYTES);
	struct process_limits limits = child_limits(max_text);
	struct process_result result = { 0 };
	struct answer answer = { .result = &result, .out = out };
	const char *argv[] = { child_program(), "extract-child",
		extract__format_name(format), NULL, NULL };
	char max[24];
	enum err_code rc;

	snprintf(max, sizeof(max), "%zu", max_text);
	argv[3] = max;
	TRY(process_run(argv, NULL, 0, fd, &limits, deadline_ms, &result));
	if (result.signal == 0 && result.exit_code <= 1)
		rc = pool_run(read_answer, &answer);
	else
		rc = explain_death(&result, &limits);
	process_result_done(&result);
	return rc;
}

enum err_code
extract_file(const char *path, const char *content_type, const char *filename,
    uint64_t deadline_ms, struct extracted *out)
{
	enum extract__format format = EXTRACT_NONE;
	char head[HEAD_BYTES];
	enum err_code rc;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_set(errno == ENOENT ? ERR_NOT_FOUND : ERR_IO,
		    "cannot open the document: %s", strerror(errno));
	n = pread(fd, head, sizeof(head), 0);
	if (n < 0)
		rc = err_set(
		    ERR_IO, "cannot read the document: %s", strerror(errno));
	else
		rc = extract__format_of(
		    content_type, filename, head, (size_t)n, &format);
	if (rc == OK)
		rc = run_child(fd, format, deadline_ms, out);
	close(fd);
	return rc;
}

void
extracted_done(struct extracted *extracted)
{
	if (extracted == NULL)
		return;
	mem_free(extracted->title);
	mem_free(extracted->charset);
	json_decref(extracted->blocks);
	*extracted = (struct extracted){ NULL, NULL, NULL };
}
