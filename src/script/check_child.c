/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check in a child: this program again, under rlimits, the packed
 * generation on its stdin and the report on its stdout. Whatever a script does
 * to the checker (endless, huge, a crash) is a problem of that generation.
 */
#include <string.h>

#include "process/process.h"
#include "script/script.h"
#include "text/match.h"

#define CHILD_CPU_MS 20000
#define CHILD_HEAP   ((uint64_t)2 << 30)
#define CHILD_FILE   ((uint64_t)64 << 20) /* one compiled pattern set */
#define CHILD_OUTPUT ((size_t)4 << 20)

static enum err_code
run_child(const struct buf *packed, uint64_t deadline_ms,
    struct process_result *result_out)
{
	const char *patterns = match_cache_path();
	const char *const argv[] = { process_self_path(), "check", "--packed",
		"-", patterns != NULL ? "--patterns" : NULL, patterns, NULL };
	struct process_limits limits = {
		.cpu_ms = CHILD_CPU_MS,
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
		/* Sanitizers reserve terabytes of address space. */
		.memory_bytes = CHILD_HEAP,
#endif
		.file_bytes = patterns != NULL ? CHILD_FILE : 0,
		.max_output_bytes = CHILD_OUTPUT,
	};

	return process_run(argv, packed->data, packed->len, -1, &limits,
	    deadline_ms, result_out);
}

/* The report is the last line: sanitizers and libraries may print before. */
static enum err_code
read_report(
    const struct process_result *result, struct script_report *report_out)
{
	const char *text = buf_str(&result->out);
	size_t len = result->out.len;
	const char *start;

	while (len > 0 && text[len - 1] == '\n')
		len--;
	start = len == 0 ? NULL : memrchr(text, '\n', len);
	start = start == NULL ? text : start + 1;
	return script_report_parse(
	    start, len - (size_t)(start - text), report_out);
}

enum err_code
script_check_in_child(struct script_generation *gen, uint64_t deadline_ms,
    struct script_report *report_out)
{
	struct process_result result;
	struct buf packed = { 0 };
	enum err_code rc;

	memset(&result, 0, sizeof(result));
	script_generation_pack(gen, &packed);
	rc = run_child(&packed, deadline_ms, &result);
	buf_done(&packed);
	if (rc == ERR_DEADLINE || rc == ERR_TOO_LARGE) {
		script_report_add(report_out, "brands", 1,
		    "the check did not end: %s", err_message());
		process_result_done(&result);
		return OK;
	}
	if (rc != OK)
		return rc;
	if (result.signal != 0)
		script_report_add(report_out, "brands", 1,
		    "the check was ended by signal %d: a script crashed it or "
		    "used up its limits",
		    result.signal);
	else
		rc = read_report(&result, report_out);
	if (rc != OK) {
		script_report_add(report_out, "brands", 1,
		    "the check failed (exit code %d): %.300s", result.exit_code,
		    buf_str(&result.err));
		rc = OK;
	}
	process_result_done(&result);
	return rc;
}
