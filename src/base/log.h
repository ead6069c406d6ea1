/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_LOG_H
#define XIN_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/task.h"

/*
 * JSON lines on stdout: {"event","level","timestamp","service",...}. An event
 * name from events.def, then typed pairs; the identity of the running task
 * (correlation_id, brand_id, trace_id, span_id, service) is added here.
 * Text of users and secrets is never logged: its length may be, and sentences
 * that may quote it go through kv_error.
 *
 *   log_info("document.indexed", kv_str("document_id", id), kv_int("chunks",
 * n));
 *
 * Lines of several threads never mix. Of warnings and errors, and of what
 * strangers can cause at will (log_info_limited), only so many of one event are
 * written in a second: log_limit().
 */

enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARN,
	LOG_LEVEL_ERROR
};
enum log_type { KV_END, KV_STR, KV_INT, KV_REAL, KV_BOOL, KV_JSON, KV_ERROR };

struct log_kv {
	enum log_type type;
	const char *key;
	union {
		const char *str;
		int64_t num;
		double real;
	} value;
};

static inline struct log_kv
kv_str(const char *key, const char *value)
{
	return (struct log_kv){ KV_STR, key, { .str = value } };
}

static inline struct log_kv
kv_int(const char *key, int64_t value)
{
	return (struct log_kv){ KV_INT, key, { .num = value } };
}

static inline struct log_kv
kv_real(const char *key, double value)
{
	return (struct log_kv){ KV_REAL, key, { .real = value } };
}

static inline struct log_kv
kv_bool(const char *key, bool value)
{
	return (struct log_kv){ KV_BOOL, key, { .num = value } };
}

/* An error's sentence: without what it quotes (base/mask.h). */
static inline struct log_kv
kv_error(const char *key, const char *sentence)
{
	return (struct log_kv){ KV_ERROR, key, { .str = sentence } };
}

/* `value` is JSON text already. */
static inline struct log_kv
kv_json(const char *key, const char *value)
{
	return (struct log_kv){ KV_JSON, key, { .str = value } };
}

void log_write(
    enum log_level level, const char *event, const struct log_kv *pairs);
/* The same under log_limit()'s ceiling, whatever the level. */
void log_write_limited(
    enum log_level level, const char *event, const struct log_kv *pairs);
bool log_enabled(enum log_level level);

#define log_at_(level, event, ...)                                             \
	do {                                                                   \
		if (log_enabled(level))                                        \
			log_write(level, event,                                \
			    (const struct log_kv[]){                           \
				__VA_ARGS__{ KV_END, 0, { 0 } } });            \
	} while (0)
#define log_tail_(...) __VA_OPT__(__VA_ARGS__, )
#define log_debug(event, ...)                                                  \
	log_at_(LOG_LEVEL_DEBUG, event, log_tail_(__VA_ARGS__))
#define log_info(event, ...)                                                   \
	log_at_(LOG_LEVEL_INFO, event, log_tail_(__VA_ARGS__))
#define log_warn(event, ...)                                                   \
	log_at_(LOG_LEVEL_WARN, event, log_tail_(__VA_ARGS__))
#define log_error(event, ...)                                                  \
	log_at_(LOG_LEVEL_ERROR, event, log_tail_(__VA_ARGS__))

/* For lines that strangers cause at will, as refused requests are. */
#define log_info_limited(event, ...)                                           \
	do {                                                                   \
		if (log_enabled(LOG_LEVEL_INFO))                               \
			log_write_limited(LOG_LEVEL_INFO, event,               \
			    (const struct log_kv[]){                           \
				log_tail_(__VA_ARGS__){ KV_END, 0, { 0 } } }); \
	} while (0)

/* The live view: `tap` gets every line of level info and above as JSON, on the
 * writing thread, whatever level and format stdout has. It must not log. */
struct log_line {
	const char *event;       /* a literal */
	const struct task *task; /* NULL outside one */
	const char *json;        /* with its newline */
	size_t len;
};
void log_tap(void (*tap)(const struct log_line *line));

/* Set once at start, before threads. `fd` is 1 in production. */
void log_setup(int fd, enum log_level level, bool pretty);
/* Whose lines those are that no task writes; SERVICE_NONE = "xin". */
void log_owner(enum service service);

/* The most lines of one event on one level in a second, of warnings, errors and
 * limited lines; 0 (the default) = all. What is left out is counted in
 * xin_log_dropped_total and told: "suppressed" in the next line of the event,
 * or a line `log.suppressed` when none comes. */
void log_limit(unsigned lines_per_second);

/* From here on a thread of its own writes the lines, and no caller ever waits
 * for a reader. 512 KiB wait for it; a line beyond is dropped, counted, and
 * told by `log.dropped`. */
void log_start(void);
/* Back to the state before log_start: write what waits, at most for `ms`.
 * WAITS, the thread. False when the reader did not take it in time; then the
 * log is closed for good. */
bool log_stop(uint64_t ms);

/* In a fault's handler: what waits, then `line`, at most for a second. Safe in
 * signal context; the process must end after it. */
void log_out_last(const char *line, size_t len);

/* False for an unknown name. Names: debug info warning error. */
bool log_level_parse(const char *name, enum log_level *level_out);

#endif
