/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error table and the record of the running task. A thread outside a task
 * (start-up, pool threads) has a record of its own.
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/str.h"
#include "base/task.h"

static const struct {
	const char *name;
	int status;
	bool retry;
	const char *help;
} table[ERR_COUNT] = {
	[OK] = { "ok", 200, false, "" },
#define ERROR(sym, name, status, retry, help)                                  \
	[sym] = { name, status, retry, help },
#include "base/errors.def"
#undef ERROR
};

static _Thread_local struct error thread_error;

static struct error *
record(void)
{
	struct task *task = task_self();

	return task != NULL ? &task->error : &thread_error;
}

#undef err_set
enum err_code
err_set(enum err_code code, const char *fmt, ...)
{
	struct error *err = record();
	char text[ERR_MESSAGE_MAX];
	va_list ap;

	/* The arguments may point into the old record. */
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(err->message, text, sizeof(text));
	err->code = code;
	return code;
}

enum err_code
err_add(enum err_code code, const char *fmt, ...)
{
	struct error *err = record();
	char text[ERR_MESSAGE_MAX];
	size_t len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	len = n < 0 ? 0 : (size_t)n;
	if (len + 3 < sizeof(text)) {
		memcpy(text + len, ": ", 2);
		str_copy(text + len + 2, sizeof(text) - len - 2, err->message);
	}
	memcpy(err->message, text, sizeof(text));
	err->code = code;
	return code;
}

const char *
err_message(void)
{
	return record()->message;
}

void
err_save(struct error *saved_out)
{
	*saved_out = *record();
}

void
err_restore(const struct error *saved)
{
	*record() = *saved;
}

const char *
err_name(enum err_code code)
{
	return (unsigned)code < ERR_COUNT ? table[code].name : "internal";
}

int
err_status(enum err_code code)
{
	return (unsigned)code < ERR_COUNT ? table[code].status : 500;
}

bool
err_retryable(enum err_code code)
{
	return (unsigned)code < ERR_COUNT && table[code].retry;
}

const char *
err_help(enum err_code code)
{
	return (unsigned)code < ERR_COUNT ? table[code].help : "";
}

enum err_code
err_from_name(const char *name)
{
	for (int code = 0; code < ERR_COUNT; code++)
		if (strcmp(table[code].name, name) == 0)
			return (enum err_code)code;
	return ERR_INTERNAL;
}

void
panic_at(const char *file, int line, const char *fmt, ...)
{
	char text[1024];
	char out[1400];
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (crash_because(file, line, text))
		abort();
	for (char *p = text; *p != '\0'; p++)
		if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
			*p = '\'';
	n = snprintf(out, sizeof(out),
	    "{\"event\":\"process.panic\",\"level\":\"error\",\"at\":\"%s:%d\","
	    "\"message\":\"%s\"}\n",
	    file, line, text);
	if (n > 0 && write(STDOUT_FILENO, out, (size_t)n) < 0)
		_exit(134);
	abort();
}
