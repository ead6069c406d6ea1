/* SPDX-License-Identifier: Apache-2.0 */
/* The report of a check: a list of problems with file and line, as JSON. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "script/script.h"

#define PROBLEMS_MAX 500

void
script_report_add(struct script_report *report, const char *file, int line,
    const char *fmt, ...)
{
	struct script_problem *problem;
	char text[1024];
	va_list ap;

	if (report->count >= PROBLEMS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	report->problems = mem_resize(
	    report->problems, (report->count + 1) * sizeof(*report->problems));
	problem = &report->problems[report->count++];
	problem->file = mem_strdup(file);
	problem->line = line;
	problem->message = mem_strdup(text);
}

void
script_report_json(const struct script_report *report, struct buf *out)
{
	buf_adds(out, "{\"problems\":[");
	for (size_t i = 0; i < report->count; i++) {
		const struct script_problem *problem = &report->problems[i];

		buf_adds(out, i == 0 ? "{\"file\":" : ",{\"file\":");
		buf_add_json(out, problem->file, strlen(problem->file));
		buf_addf(out, ",\"line\":%d,\"message\":", problem->line);
		buf_add_json(out, problem->message, strlen(problem->message));
		buf_addc(out, '}');
	}
	buf_adds(out, "]}");
}

enum err_code
script_report_parse(
    const char *json, size_t len, struct script_report *report_out)
{
	json_auto json_t *root = NULL;
	json_t *problems;
	json_t *problem;
	size_t i;

	TRY(json_parse(json, len, &root));
	problems = json_object_get(root, "problems");
	if (!json_is_array(problems))
		return err_set(ERR_INVALID, "no report of a script check");
	memset(report_out, 0, sizeof(*report_out));
	json_array_foreach (problems, i, problem) {
		const char *file = json_str(problem, "file");
		const char *message = json_str(problem, "message");

		script_report_add(report_out, file == NULL ? "" : file,
		    (int)json_int(problem, "line", 1), "%s",
		    message == NULL ? "" : message);
	}
	return OK;
}

void
script_report_done(struct script_report *report)
{
	for (size_t i = 0; i < report->count; i++) {
		mem_free(report->problems[i].file);
		mem_free(report->problems[i].message);
	}
	mem_free(report->problems);
	memset(report, 0, sizeof(*report));
}
