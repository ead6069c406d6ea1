/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SCRIPT_SCRIPT_H
#define XIN_SCRIPT_SCRIPT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/*
 * The script host: Lua 5.4 under limits that cannot be caught. It knows
 * nothing of the product; the binding floor registers what scripts may call.
 *
 * A generation is an immutable, counted set of files, named by its content
 * hash. A state is one lua_State for (loop, brand, generation), made lazily.
 * A call runs one function of one module in a coroutine on the loop's stack,
 * driven by the calling fiber, which does the waiting for it.
 */

/* ---- generations ---- */
struct script_file {
	char *name; /* "brands/alpha.lua": relative, '/' separated */
	char *text;
	size_t len;
};
struct script_generation;

struct script_generation *script_generation_ref(struct script_generation *gen);
void script_generation_unref(struct script_generation *gen);
/* First 12 hex digits of the hash; and all 64. */
const char *script_generation_id(const struct script_generation *gen);
const char *script_generation_hash(const struct script_generation *gen);
size_t script_generation_files(
    const struct script_generation *gen, const struct script_file **files_out);
const struct script_file *script_generation_file(
    const struct script_generation *gen, const char *name);
uint64_t script_generation_since_ms(const struct script_generation *gen);

/* Read a folder once through one descriptor (follows a ConfigMap's ..data
 * link, ignores dot names), start over when it changes underneath. Only *.lua;
 * ceilings: 2,000 files, 1 MiB each, 64 MiB in all. ERR_NOT_FOUND when the
 * folder is gone or has no brands/. Blocks: call on a pool thread. */
enum err_code script_snapshot(
    const char *folder, struct script_generation **gen_out);
/* The same set as one blob and back, for the child that checks and the store
 * that keeps the last good one. */
void script_generation_pack(
    const struct script_generation *gen, struct buf *out);
enum err_code script_generation_unpack(
    const void *data, size_t len, struct script_generation **gen_out);

/* A copy of `base` with some files replaced or added (their texts are copied):
 * what an edit would be. ERR_INVALID for a name that no script folder holds. */
enum err_code script_generation_edit(const struct script_generation *base,
    const struct script_file *edits, size_t count,
    struct script_generation **gen_out);

/* ---- the host ---- */
/* What the binding floor gives: called in a protected environment with a fresh
 * state, to add the `xin` table. `lua` is the lua_State. */
struct lua_State;
typedef void (*script_open_fn)(struct lua_State *lua);
void script_setup(script_open_fn open_bindings);

/* Make `gen` the active one on every loop, or on none: prepares a state for
 * each brand module on each loop first. From a fiber. WAITS. Turns that hold
 * an older reference end on it. */
enum err_code script_activate(struct script_generation *gen);
/* The active generation, a new reference; NULL before the first. Any loop. */
struct script_generation *script_active(void);
/* At the end of the process, before loops_stop: no generation is active any
 * more and every loop closes its idle states. From a fiber, or from a thread
 * outside all loops (blocks). WAITS. */
void script_teardown(void);

/* ---- calls ---- */
enum script_kind {
	SCRIPT_BRAND,
	SCRIPT_GUARDRAIL,
	SCRIPT_PIPELINE,
	SCRIPT_STEP,
	SCRIPT_CHANNEL,
	SCRIPT_KINDS
};
/* "brands", "guardrails", "pipelines", "pipelines/steps", "channels". */
const char *script_kind_folder(enum script_kind kind);

struct script_budget {
	uint64_t cpu_us;  /* thread CPU in scripts */
	uint64_t wall_ms; /* 0 = the task's deadline */
	unsigned host_calls;
	size_t result_bytes;
};
struct script_budget script_budget_default(void);

/* A session is a turn's or job's hold on one brand's scripts: it pins the
 * generation and carries the budget that all its calls share. */
struct script_session;
/* `gen` NULL = the active one. ERR_NOT_FOUND when the brand has no module,
 * ERR_SCRIPT with file:line when its state cannot be made. WAITS. */
enum err_code script_session_open(const char *brand,
    struct script_generation *gen, const struct script_budget *budget,
    struct script_session **session_out);
void script_session_close(struct script_session *session);
struct script_generation *script_session_generation(
    struct script_session *session); /* borrowed */
const char *script_session_brand(const struct script_session *session);
/* For bindings: what the running call's domain attached (capabilities). */
void script_session_set_user(struct script_session *session, void *user);
void *script_session_user(const struct script_session *session);
uint64_t script_session_cpu_us(const struct script_session *session);

/* Call module.hook(args...) of `kind`/`name`. `args` is an array (borrowed),
 * *result_out a new reference: the first result, json_null for nil.
 * `nil, err` from a script: ERR_SCRIPT with err.reason, *result_out unset; from
 * a channel with err.code invalid_request or too_large: that code.
 * ERR_NOT_FOUND: no such module or hook. ERR_SCRIPT: raised (file:line in the
 * sentence). ERR_SCRIPT_LIMIT: killed, the sentence names brand, hook, limit.
 * WAITS when the script's host calls wait. */
enum err_code script_call(struct script_session *session, enum script_kind kind,
    const char *name, const char *hook, json_t *args, json_t **result_out);
/* A declared field of a module (name, stages, settings ...) as JSON; functions
 * are left out. Kept by the host: a new reference to a value that must not be
 * changed. WAITS. */
enum err_code script_module_fields(struct script_session *session,
    enum script_kind kind, const char *name, json_t **fields_out);
bool script_module_has(struct script_session *session, enum script_kind kind,
    const char *name, const char *hook);

/* ---- checking (the child process of `xin check`) ---- */
struct script_problem {
	char *file; /* relative to the script folder */
	int line;
	char *message;
};
struct script_report {
	struct script_problem *problems;
	size_t count;
};
void script_report_add(struct script_report *report, const char *file, int line,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void script_report_json(const struct script_report *report, struct buf *out);
enum err_code script_report_parse(
    const char *json, size_t len, struct script_report *report_out);
void script_report_done(struct script_report *report);

/* Compile every file, run every module's top level, hold it against its kind's
 * contract, run its `examples`. In this process: callers are `xin check` and
 * the child. From a fiber. WAITS. */
enum err_code script_check(
    struct script_generation *gen, struct script_report *report_out);
/* The same in a child process under rlimits (re-executes this program as
 * `xin check --packed -`). A child that dies or overruns is a problem too.
 * WAITS. */
enum err_code script_check_in_child(struct script_generation *gen,
    uint64_t deadline_ms, struct script_report *report_out);

#endif
