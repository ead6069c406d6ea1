/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MAIN_COMMAND_H
#define XIN_MAIN_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include "base/error.h"
#include "net/http_client.h"

/* The commands of the program: each takes what stands behind its name and
 * returns the exit code (0 done, 1 failed, 2 wrong usage). */
int command_serve(int argc, char **argv);
int command_gateway(int argc, char **argv);
int command_orchestrator(int argc, char **argv);
int command_worker(int argc, char **argv);
int command_check(int argc, char **argv);
int command_scripts(int argc, char **argv);
int command_scripts_wait(int argc, char **argv);
int command_ingest(int argc, char **argv);
int command_chat(int argc, char **argv);
int command_keys(int argc, char **argv);
int command_tail(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_backup(int argc, char **argv);
int command_health(int argc, char **argv);
int command_migrate(int argc, char **argv);

/* ---- shared by the commands that talk to a running service ---- */

/* Options in `--name value` or `--name=value` form. */
struct option_spec {
	const char *name;       /* without the dashes */
	const char **value_out; /* takes a value; or */
	bool *flag_out;         /* is a flag */
};
/* Moves what is no option to argv[0..*count_out]. False after a message on
 * stderr. */
bool command_options(
    int argc, char **argv, const struct option_spec *specs, int *count_out);
/* Print the recorded error for people; returns 1. */
int command_fail(enum err_code rc);
/* Load settings and set the log to stderr, warnings only. False after a
 * message. For commands whose stdout is their answer. */
bool command_setup(void);

/* The log of a service or a job, after config_load: stdout in the configured
 * level and format, with a writer of its own; log_stop(COMMAND_LOG_MS) at the
 * end. */
#define COMMAND_LOG_MS 2000
enum err_code command_log(void);

/* One call of the API at XIN_URL with XIN_KEY; without both at
 * http://127.0.0.1:8000 with XIN_ADMIN_KEY.
 * An error answer becomes its code and sentence. *answer_out may be NULL for
 * 204. From a fiber. WAITS. */
enum err_code client_call(const char *method, const char *path,
    const char *content_type, const void *body, size_t len,
    json_t **answer_out);
enum err_code client_json(const char *method, const char *path,
    const json_t *body, json_t **answer_out);
/* GET an endless answer of the API piece by piece, until the other side or
 * on_data ends it. An error answer becomes its code and sentence. WAITS. */
enum err_code client_watch(const char *path,
    enum err_code (*on_data)(void *arg, const char *data, size_t len),
    void *arg);
/* Run fn in a fiber on one loop of its own; the exit code. */
int client_run(enum err_code (*fn)(void *arg), void *arg);

#endif
