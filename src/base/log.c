/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON lines. A line is built in a buffer of the thread and written with one
 * write(2); user text never comes here, only its length.
 */
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/metric.h"
#include "base/task.h"

/* Set at start; the watchdog and other threads of C may write already. */
static _Atomic int log_fd = STDOUT_FILENO;
static _Atomic int log_least = LOG_LEVEL_INFO;
static _Atomic bool log_pretty;
static void (*_Atomic tap_fn)(const struct log_line *line);

static const char *const level_names[] = { "debug", "info", "warning",
	"error" };

void
log_setup(int fd, enum log_level level, bool pretty)
{
	log_fd = fd;
	log_least = (int)level;
	log_pretty = pretty;
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
		buf_addf(line, "%lld", (long long)kv->value.num);
		break;
	case KV_REAL:
		if (isfinite(kv->value.real))
			buf_addf(line, "%.6g", kv->value.real);
		else
			buf_adds(line, "null");
		break;
	case KV_BOOL:
		buf_adds(line, kv->value.num ? "true" : "false");
		break;
	case KV_JSON:
		buf_adds(line, kv->value.str);
		break;
	case KV_END:
		break;
	}
}

static void
add_field(struct buf *line, const char *key, const char *value)
{
	if (value[0] == '\0')
		return;
	buf_addf(line, ",\"%s\":", key);
	buf_add_json(line, value, strlen(value));
}

static void
format_json(struct buf *line, enum log_level level, const char *event,
    const struct log_kv *pairs)
{
	const struct task *task = task_self();
	char now[CLOCK_RFC3339_SIZE];

	clock_rfc3339(clock_wall_ms(), now);
	buf_adds(line, "{\"event\":");
	buf_add_json(line, event, strlen(event));
	buf_addf(line, ",\"level\":\"%s\",\"timestamp\":\"%s\"",
	    level_names[level], now);
	add_field(line, "service",
	    service_name(task != NULL ? task->service : SERVICE_NONE));
	if (task != NULL) {
		add_field(line, "correlation_id", task->request_id);
		add_field(line, "brand_id", task->brand_id);
		add_field(line, "trace_id", task->trace_id);
		add_field(line, "span_id", task->span_id);
	}
	for (; pairs->type != KV_END; pairs++) {
		buf_addf(line, ",\"%s\":", pairs->key);
		add_value(line, pairs);
	}
	buf_adds(line, "}\n");
}

static void
format_pretty(struct buf *line, enum log_level level, const char *event,
    const struct log_kv *pairs)
{
	const struct task *task = task_self();
	char now[CLOCK_RFC3339_SIZE];

	clock_rfc3339(clock_wall_ms(), now);
	buf_addf(line, "%.12s %-7s %-28s", now + 11, level_names[level], event);
	for (; pairs->type != KV_END; pairs++) {
		buf_addf(line, " %s=", pairs->key);
		add_value(line, pairs);
	}
	if (task != NULL && task->request_id[0] != '\0')
		buf_addf(line, " (%s)", task->request_id);
	buf_addc(line, '\n');
}

static void
write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* a log that cannot be written stops nobody */
		data += n;
		len -= (size_t)n;
	}
}

void
log_write(enum log_level level, const char *event, const struct log_kv *pairs)
{
	void (*tap)(const struct log_line *) = atomic_load(&tap_fn);
	int saved = errno;
	struct buf line;

	buf_init(&line, 0);
	buf_reserve(&line, 512);
	if (!log_pretty || tap != NULL)
		format_json(&line, level, event, pairs);
	if (tap != NULL)
		tap(&(struct log_line){
		    event, task_self(), line.data, line.len });
	if (log_pretty && (int)level >= log_least) {
		buf_clear(&line);
		format_pretty(&line, level, event, pairs);
	}
	if ((int)level >= log_least)
		write_all(log_fd, line.data, line.len);
	buf_done(&line);
	metric_count(METRIC_LOG_LINES, LABELS(level_names[level]), 1);
	errno = saved;
}
