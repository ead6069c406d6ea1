/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON lines, and lines for people. A line is built here, in one buffer; where
 * it goes is log_out.c's matter. User text never comes here, only its length.
 */
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log_internal.h"
#include "base/mask.h"
#include "base/metric.h"
#include "base/task.h"

/* Set at start; the watchdog and other threads of C may write already. */
static _Atomic int log_least = LOG_LEVEL_INFO;
static _Atomic bool log_pretty, log_coloured;
static _Atomic int log_service = SERVICE_NONE;
static void (*_Atomic tap_fn)(const struct log_line *line);

static const char *const level_names[] = { "debug", "info", "warning",
	"error" };

void
log_setup(int fd, enum log_level level, bool pretty)
{
	const char *no_colour = getenv("NO_COLOR"); /* no-color.org */

	log_out__descriptor(fd);
	log_least = (int)level;
	log_pretty = pretty;
	log_coloured =
	    pretty && (no_colour == NULL || no_colour[0] == '\0') && isatty(fd);
}

void
log_owner(enum service service)
{
	log_service = (int)service;
}

const char *
log__service(const struct task *task)
{
	return service_name(task != NULL && task->service != SERVICE_NONE
				? task->service
				: (enum service)log_service);
}

bool
log_level_parse(const char *name, enum log_level *level_out)
{
	for (size_t i = 0; i < 4; i++) {
		if (strcmp(name, level_names[i]) != 0)
			continue;
		*level_out = (enum log_level)i;
		return true;
	}
	if (strcmp(name, "warn") != 0)
		return false;
	*level_out = LOG_LEVEL_WARN;
	return true;
}

bool
log_enabled(enum log_level level)
{
	return (int)level >= log_least ||
	       (level >= LOG_LEVEL_INFO &&
		   atomic_load_explicit(&tap_fn, memory_order_relaxed) != NULL);
}

void
log_tap(void (*tap)(const struct log_line *line))
{
	atomic_store(&tap_fn, tap);
}

/* As %.6g does. Durations are thousandths below a thousand, which have at most
 * six digits: those need no printf. */
static void
add_real(struct buf *line, double real)
{
	unsigned n =
	    real >= 0 && real < 1000 ? (unsigned)(real * 1000 + 0.5) : 0;
	char fraction[4] = { '.', (char)('0' + n / 100 % 10),
		(char)('0' + n / 10 % 10), (char)('0' + n % 10) };

	if (n == 0 || n > 999999 || n / 1000.0 != real) {
		buf_addf(line, "%.6g", real);
		return;
	}
	buf_addi(line, n / 1000);
	if (n % 1000 != 0)
		buf_add(line, fraction, n % 10 != 0 ? 4 : n % 100 != 0 ? 3 : 2);
}

static void
add_masked(struct buf *line, const char *sentence)
{
	char text[ERR_MESSAGE_MAX + 32];

	if (sentence == NULL) {
		buf_adds(line, "null");
		return;
	}
	mask_quoted(sentence, text, sizeof(text));
	buf_add_json(line, text, strlen(text));
}

static void
add_value(struct buf *line, const struct log_kv *kv)
{
	switch (kv->type) {
	case KV_STR:
		if (kv->value.str == NULL)
			buf_adds(line, "null");
		else
			buf_add_json(
			    line, kv->value.str, strnlen(kv->value.str, 4096));
		break;
	case KV_INT:
		buf_addi(line, kv->value.num);
		break;
	case KV_REAL:
		if (isfinite(kv->value.real))
			add_real(line, kv->value.real);
		else
			buf_adds(line, "null");
		break;
	case KV_BOOL:
		buf_adds(line, kv->value.num ? "true" : "false");
		break;
	case KV_JSON:
		buf_adds(line, kv->value.str);
		break;
	case KV_ERROR:
		add_masked(line, kv->value.str);
		break;
	case KV_END:
		break;
	}
}

static void
add_key(struct buf *line, const char *key)
{
	buf_add(line, ",\"", 2);
	buf_adds(line, key);
	buf_add(line, "\":", 2);
}

static void
add_field(struct buf *line, const char *key, const char *value)
{
	if (value[0] == '\0')
		return;
	add_key(line, key);
	buf_add_json(line, value, strlen(value));
}

static void
format_json(struct buf *line, enum log_level level, const char *event,
    const struct log_kv *pairs, uint64_t suppressed)
{
	const struct task *task = task_self();
	char now[CLOCK_RFC3339_SIZE];

	clock_rfc3339(clock_wall_ms(), now);
	buf_adds(line, "{\"event\":");
	buf_add_json(line, event, strlen(event));
	add_field(line, "level", level_names[level]);
	add_field(line, "timestamp", now);
	add_field(line, "service", log__service(task));
	if (task != NULL) {
		add_field(line, "correlation_id", task->request_id);
		add_field(line, "brand_id", task->brand_id);
		add_field(line, "trace_id", task->trace_id);
		add_field(line, "span_id", task->span_id);
	}
	for (; pairs->type != KV_END; pairs++) {
		add_key(line, pairs->key);
		add_value(line, pairs);
	}
	if (suppressed > 0) {
		add_key(line, "suppressed");
		buf_addi(line, (int64_t)suppressed);
	}
	buf_adds(line, "}\n");
}

static const char *const colours[] = { "\033[2m", "\033[32m", "\033[33m",
	"\033[31m" };

/* "xin-ingestion-worker" is "worker" to people. */
static const char *
short_name(const char *service)
{
	const char *last = strrchr(service, '-');

	return last != NULL ? last + 1 : service;
}

static void
format_pretty(struct buf *line, enum log_level level, const char *event,
    const struct log_kv *pairs, uint64_t suppressed)
{
	const struct task *task = task_self();
	char now[CLOCK_RFC3339_SIZE];

	clock_rfc3339(clock_wall_ms(), now);
	buf_addf(line, "%.12s %s%-7s%s %-13s %-24s", now + 11,
	    log_coloured ? colours[level] : "", level_names[level],
	    log_coloured ? "\033[0m" : "", short_name(log__service(task)),
	    event);
	for (; pairs->type != KV_END; pairs++) {
		buf_addf(line, " %s=", pairs->key);
		add_value(line, pairs);
	}
	if (suppressed > 0)
		buf_addf(
		    line, " suppressed=%llu", (unsigned long long)suppressed);
	if (task != NULL && task->request_id[0] != '\0')
		buf_addf(line, " (%s)", task->request_id);
	buf_addc(line, '\n');
}

static void
write_line(enum log_level level, const char *event, const struct log_kv *pairs,
    uint64_t suppressed)
{
	void (*tap)(const struct log_line *) = atomic_load(&tap_fn);
	int saved = errno;
	struct buf line;

	buf_init(&line, 0);
	buf_reserve(&line, 512);
	if (!log_pretty || tap != NULL)
		format_json(&line, level, event, pairs, suppressed);
	if (tap != NULL)
		tap(&(struct log_line){
		    event, task_self(), line.data, line.len });
	if (log_pretty && (int)level >= log_least) {
		buf_clear(&line);
		format_pretty(&line, level, event, pairs, suppressed);
	}
	if ((int)level >= log_least)
		log_out__line(line.data, line.len);
	buf_done(&line);
	metric_count(METRIC_LOG_LINES, LABELS(level_names[level]), 1);
	errno = saved;
}

void
log_write(enum log_level level, const char *event, const struct log_kv *pairs)
{
	uint64_t suppressed = 0;

	if (level < LOG_LEVEL_WARN ||
	    log_limit__pass(level, event, &suppressed))
		write_line(level, event, pairs, suppressed);
}

void
log_write_limited(
    enum log_level level, const char *event, const struct log_kv *pairs)
{
	uint64_t suppressed;

	if (log_limit__pass(level, event, &suppressed))
		write_line(level, event, pairs, suppressed);
}
