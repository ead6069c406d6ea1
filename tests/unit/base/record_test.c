/* SPDX-License-Identifier: Apache-2.0 */
/* What base records: settings, JSON, log lines, metrics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/config.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "base/task.h"
#include "base/trace.h"

static char *
write_env(const char *text)
{
	char *path = mem_strdup("/tmp/xin-env-XXXXXX");
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return path;
}

static enum err_code
load(const char *text)
{
	char *path = write_env(text);
	enum err_code rc = config_load(path);

	unlink(path);
	mem_free(path);
	return rc;
}

static void
an_env_file_is_read_and_the_environment_wins(void **state)
{
	(void)state;
	setenv("XIN_LOG_LEVEL", "debug", 1);
	assert_int_equal(load("# a comment\nXIN_LOG_LEVEL=error\n"
			      "XIN_DATA_DIR=\"/tmp/a b\"\n\n"),
	    OK);
	assert_string_equal(config_str(CFG_DATA_DIR), "/tmp/a b");
	assert_string_equal(config_str(CFG_LOG_LEVEL), "debug");
	unsetenv("XIN_LOG_LEVEL");
}

static void
an_unknown_setting_names_the_nearest(void **state)
{
	(void)state;
	assert_int_equal(load("XIN_DATA_DRI=/tmp\n"), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "did you mean XIN_DATA_DIR?"));
}

static void
a_bad_port_is_a_clear_error(void **state)
{
	(void)state;
	assert_int_equal(load("GATEWAY_METRICS_PORT=ninety\n"), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "GATEWAY_METRICS_PORT"));
	assert_int_equal(load("INGEST_METRICS_PORT=70000\n"), ERR_CONFIG);
	assert_int_equal(
	    load("GATEWAY_METRICS_PORT=tcp://10.0.0.1:9102\n"), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "Kubernetes service link"));
}

static void
service_links_are_ignored(void **state)
{
	(void)state;
	log_setup(open("/dev/null", 1), LOG_LEVEL_INFO, false);
	assert_int_equal(
	    load("XIN_PLATFORM_ORCHESTRATOR_PORT=tcp://1.2.3.4\n"), OK);
	log_setup(STDOUT_FILENO, LOG_LEVEL_INFO, false);
}

static void
a_brand_has_its_own_webhook_secret(void **state)
{
	(void)state;
	assert_int_equal(load("GATEWAY_WEBHOOK_SECRET_MY_SHOP=s3\n"), OK);
	assert_string_equal(config_brand_secret("my-shop"), "s3");
	assert_null(config_brand_secret("my-sho"));
}

static enum err_code
parse(const char *text)
{
	json_t *value = NULL;
	enum err_code rc = json_parse(text, strlen(text), &value);

	json_decref(value);
	return rc;
}

static void
json_is_strict(void **state)
{
	char deep[200];

	(void)state;
	assert_int_equal(parse("{\"a\":[1,2.5,null,true]}"), OK);
	assert_int_equal(parse("{\"a\":1,\"a\":2}"), ERR_INVALID);
	assert_int_equal(parse("9223372036854775808"), ERR_INVALID);
	assert_int_equal(parse("\"\xff\""), ERR_INVALID);
	assert_int_equal(parse("NaN"), ERR_INVALID);
	assert_int_equal(parse("[1,]"), ERR_INVALID);
	memset(deep, '[', 65);
	memset(deep + 65, ']', 65);
	deep[130] = '\0';
	assert_int_equal(parse(deep), ERR_INVALID);
	deep[129] = '\0';
	assert_int_equal(parse(deep + 1), OK);
}

static void
a_log_line_is_one_json_object(void **state)
{
	char line[2048] = { 0 };
	json_t *value = NULL;
	struct task task;
	int pipes[2];
	ssize_t n;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	log_setup(pipes[1], LOG_LEVEL_INFO, false);
	task_init(&task, SERVICE_GATEWAY);
	str_copy(task.request_id, sizeof(task.request_id), "rq-\"1");
	task_enter(&task);
	log_debug("test.hidden");
	log_warn("test.event", kv_str("text", "a\nb"), kv_int("n", -3),
	    kv_bool("yes", true), kv_str("none", NULL));
	task_enter(NULL);
	task_done(&task);
	log_setup(STDOUT_FILENO, LOG_LEVEL_INFO, false);
	n = read(pipes[0], line, sizeof(line) - 1);
	assert_true(n > 0);
	assert_ptr_equal(strchr(line, '\n'), line + n - 1);
	assert_int_equal(json_parse(line, (size_t)n, &value), OK);
	assert_string_equal(json_str(value, "event"), "test.event");
	assert_string_equal(json_str(value, "level"), "warning");
	assert_string_equal(json_str(value, "service"), "xin-channel-gateway");
	assert_string_equal(json_str(value, "correlation_id"), "rq-\"1");
	assert_string_equal(json_str(value, "text"), "a\nb");
	assert_int_equal(json_int(value, "n", 0), -3);
	assert_non_null(json_str(value, "timestamp"));
	json_decref(value);
	close(pipes[0]);
	close(pipes[1]);
}

/* The line has its own way for thousandths below a thousand. */
static void
reals_in_a_line_are_as_printf_writes_them(void **state)
{
	static const double odd[] = { 0, -1.5, 0.0001, 1e-9, 999.9994, 999.9996,
		999.9999, 1000, 1234.567, 1e20, 0.1 + 0.2, 64.66700001 };
	const size_t odds = sizeof(odd) / sizeof(odd[0]);
	char line[512], wanted[64];
	int pipes[2];

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	log_setup(pipes[1], LOG_LEVEL_INFO, false);
	for (size_t i = 0; i < odds + 1000000; i += i < odds + 2000 ? 1 : 97) {
		double real = i < odds ? odd[i] : (double)(i - odds) / 1000.0;
		ssize_t n;

		log_info("test.event", kv_real("r", real));
		n = read(pipes[0], line, sizeof(line) - 1);
		assert_true(n > 0);
		line[n] = '\0';
		snprintf(wanted, sizeof(wanted), "\"r\":%.6g}", real);
		assert_non_null(strstr(line, wanted));
	}
	log_setup(STDOUT_FILENO, LOG_LEVEL_INFO, false);
	close(pipes[0]);
	close(pipes[1]);
}

static void
metrics_add_up_and_are_shown_by_service(void **state)
{
	struct task task;
	struct buf out;

	(void)state;
	task_init(&task, SERVICE_GATEWAY);
	task_enter(&task);
	metric_count(METRIC_HTTP_REQUESTS, LABELS("GET", "/a", "2xx"), 2);
	metric_count(METRIC_HTTP_REQUESTS, LABELS("GET", "/a", "2xx"), 1);
	metric_observe_us(METRIC_HTTP_LATENCY, LABELS("GET", "/a"), 20000);
	task_enter(NULL);
	task_done(&task);
	buf_init(&out, 0);
	metric_expose(SERVICE_GATEWAY, false, false, &out);
	assert_non_null(strstr(buf_str(&out),
	    "http_requests_total{method=\"GET\",route=\"/a\","
	    "status_code=\"2xx\"} 3\n"));
	assert_non_null(strstr(buf_str(&out),
	    "http_request_latency_seconds_bucket{method=\"GET\",route=\"/a\","
	    "le=\"0.01\"} 0\n"));
	assert_non_null(strstr(buf_str(&out), "le=\"0.025\"} 1\n"));
	buf_clear(&out);
	metric_expose(SERVICE_WORKER, false, false, &out);
	assert_null(strstr(buf_str(&out), "route=\"/a\""));
	buf_done(&out);
}

static void
expect(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("no %s in:\n%s", part, text);
}

/* A traced answer leaves its trace in its bucket, an untraced one nothing. */
static void
openmetrics_has_exemplars_and_an_end(void **state)
{
	struct task task;
	struct buf out;

	(void)state;
	task_init(&task, SERVICE_GATEWAY);
	task_enter(&task);
	metric_observe_us(METRIC_SEARCH_LATENCY, METRIC_NO_LABELS, 400000);
	memcpy(task.trace_id, "0af7651916cd43dd8448eb211c80319c", 33);
	task.trace_flags = TRACE_SAMPLED;
	metric_observe_us(METRIC_SEARCH_LATENCY, METRIC_NO_LABELS, 20000);
	metric_count(METRIC_DUPLICATES, LABELS("a \"b\" \\ c\nd"), 1);
	task_enter(NULL);
	task_done(&task);
	buf_init(&out, 0);
	metric_expose(SERVICE_GATEWAY, false, true, &out);
	expect(buf_str(&out), "xin_search_seconds_bucket{le=\"0.025\"} 1 # "
			      "{trace_id=\"0af7651916cd43dd8448eb211c80319c\"}"
			      " 0.020000 1");
	expect(buf_str(&out), "xin_search_seconds_bucket{le=\"0.5\"} 2\n");
	expect(buf_str(&out), "xin_search_seconds_bucket{le=\"1.0\"} 2\n");
	expect(buf_str(&out), "# TYPE xin_duplicates counter\n");
	expect(buf_str(&out), "xin_duplicates_total{channel="
			      "\"a \\\"b\\\" \\\\ c\\nd\"} 1\n");
	assert_string_equal(buf_str(&out) + out.len - 7, "\n# EOF\n");
	buf_clear(&out);
	metric_expose(SERVICE_GATEWAY, false, false, &out);
	assert_null(strstr(buf_str(&out), "trace_id"));
	assert_null(strstr(buf_str(&out), "# EOF"));
	buf_done(&out);
}

static void
a_series_is_shown_before_it_counts(void **state)
{
	struct buf out;

	(void)state;
	metric_show(METRIC_TURNS, SERVICE_WORKER, LABELS("default", "error"));
	buf_init(&out, 0);
	metric_expose(SERVICE_WORKER, false, false, &out);
	expect(buf_str(&out), "xin_turns_total{brand=\"default\","
			      "outcome=\"error\"} 0\n");
	buf_done(&out);
}

static void
label_values_over_the_ceiling_become_other(void **state)
{
	char name[32];

	(void)state;
	for (int i = 0; i < METRIC_SERIES_MAX + 50; i++) {
		snprintf(name, sizeof(name), "reason%d", i);
		metric_count(METRIC_HTTP_REFUSED, LABELS(name), 1);
	}
	assert_true(metric_value(METRIC_HTTP_REFUSED, LABELS("other")) >= 50);
	assert_true(metric_value(METRIC_HTTP_REFUSED, METRIC_NO_LABELS) ==
		    METRIC_SERIES_MAX + 50);
}

static void
record_while_off(void)
{
	struct buf before, after;

	buf_init(&before, 0);
	buf_init(&after, 0);
	metric_expose(SERVICE_COUNT, true, false, &before);
	metric_switch_off();
	metric_count(METRIC_DUPLICATES, METRIC_NO_LABELS, 1);
	metric_move_process(METRIC_QUEUE_DEPTH, LABELS("waiting"), 1);
	metric_observe_us(METRIC_SEARCH_LATENCY, METRIC_NO_LABELS, 1);
	metric_show(METRIC_TURNS, SERVICE_WORKER, LABELS("off", "error"));
	metric_expose(SERVICE_COUNT, true, false, &after);
	_exit(!metric_is_on() && strcmp(buf_str(&before), buf_str(&after)) == 0
		  ? 0
		  : 1);
}

/* In a child: the switch is for good. */
static void
metrics_switched_off_record_nothing(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	assert_true(metric_is_on());
	if (child == 0)
		record_while_off();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_env_file_is_read_and_the_environment_wins),
		cmocka_unit_test(an_unknown_setting_names_the_nearest),
		cmocka_unit_test(a_bad_port_is_a_clear_error),
		cmocka_unit_test(service_links_are_ignored),
		cmocka_unit_test(a_brand_has_its_own_webhook_secret),
		cmocka_unit_test(json_is_strict),
		cmocka_unit_test(a_log_line_is_one_json_object),
		cmocka_unit_test(reals_in_a_line_are_as_printf_writes_them),
		cmocka_unit_test(metrics_switched_off_record_nothing),
		cmocka_unit_test(metrics_add_up_and_are_shown_by_service),
		cmocka_unit_test(openmetrics_has_exemplars_and_an_end),
		cmocka_unit_test(a_series_is_shown_before_it_counts),
		cmocka_unit_test(label_values_over_the_ceiling_become_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
