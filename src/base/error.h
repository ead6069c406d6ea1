/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_ERROR_H
#define XIN_BASE_ERROR_H

#include <stdbool.h>
#include <stdlib.h>

/*
 * Errors: a code that is returned, and one sentence that is recorded.
 *
 * Every function that can fail returns enum err_code. Whoever detects the
 * failure records the sentence with err_set(); callers may prefix it on the
 * way up with err_add(). The record belongs to the current task (task.h), so
 * it holds across waits; outside a task each thread has one of its own.
 * Destructors never touch the record.
 */

enum err_code {
	OK = 0,
#define ERROR(sym, name, status, retry, help) sym,
#include "base/errors.def"
#undef ERROR
	ERR_COUNT
};

#define ERR_MESSAGE_MAX 512

struct error {
	enum err_code code;
	char message[ERR_MESSAGE_MAX];
};

/* Record a sentence and return `code`, so that failing is one statement. */
enum err_code err_set(enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), cold));

/* The value is known to the compiler as well, so that it sees which paths end
 * in an error. */
#define err_set(code, ...)                                                     \
	({                                                                     \
		enum err_code err_code_ = (code);                              \
		err_set(err_code_, __VA_ARGS__);                               \
		err_code_;                                                     \
	})

/* Prefix the recorded sentence ("prefix: sentence") and return `code`. */
enum err_code err_add(enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), cold));

/* The sentence recorded last; valid until the next err_set of this task. */
const char *err_message(void);

/* Replace the current record with a copy that was kept aside. */
void err_restore(const struct error *saved);
void err_save(struct error *saved_out);

/* From the table errors.def: wire name, HTTP status, whether a retry of the
 * same request can succeed, and a sentence for users. */
const char *err_name(enum err_code code);
int err_status(enum err_code code);
bool err_retryable(enum err_code code);
const char *err_help(enum err_code code);

/* The code with that wire name, ERR_INTERNAL when there is none. */
enum err_code err_from_name(const char *name);

/* Return early on failure; only while the function owns nothing. */
#define TRY(expr)                                                              \
	do {                                                                   \
		enum err_code try_rc_ = (expr);                                \
		if (try_rc_ != OK)                                             \
			return try_rc_;                                        \
	} while (0)

/* Impossible states end the process with the place and a sentence. Bad input
 * is never a panic. */
_Noreturn void panic_at(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
#define panic(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)
#define must(cond)                                                             \
	do {                                                                   \
		if (__builtin_expect(!(cond), 0))                              \
			panic("must hold: %s", #cond);                         \
	} while (0)

#endif
