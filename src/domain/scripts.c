/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of script generations in a running process. A small state behind a
 * mutex (read by status from every loop), one fiber on loop 0 that changes it.
 * A changed folder is seen by file events and, because those can be lost, by a
 * regular comparison of hashes.
 */
#include "domain/scripts.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "script/script.h"
#include "store/store.h"

#define CHECK_MS 30000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	struct script_generation *previous;
	char tried[65]; /* the last hash that was looked at; "" = no folder */
	enum err_code gone; /* why there was none */
	uint64_t tried_at;  /* wall ms */
	const char *result;
	json_t *errors; /* of the last attempt */
	bool pinned;
	bool degraded;
} state;

static struct product *product;
static struct fiber_cond changed;
static struct fiber *keeper;
static struct watch *watch;
static bool stopping;
/* One reload at a time; only touched on loop 0. */
static bool busy;
static struct fiber_cond idle;

struct snapshot {
	struct script_generation *gen;
};

static enum err_code
take_snapshot(void *arg)
{
	struct snapshot *snapshot = arg;

	return script_snapshot(config_str(CFG_LUA_DIR), &snapshot->gen);
}

static void
remember(const char *hash, const char *result, json_t *errors)
{
	pthread_mutex_lock(&lock);
	str_copy(state.tried, sizeof(state.tried), hash);
	state.tried_at = clock_wall_ms();
	state.result = result;
	json_decref(state.errors);
	state.errors = errors;
	pthread_mutex_unlock(&lock);
	metric_count(METRIC_SCRIPT_RELOADS, LABELS(result), 1);
}

static double
read_reload_ok(void *arg)
{
	double ok;

	(void)arg;
	pthread_mutex_lock(&lock);
	ok = state.result == NULL || strcmp(state.result, "rejected") != 0;
	pthread_mutex_unlock(&lock);
	return ok;
}

static json_t *
one_problem(const char *file, int line, const char *message)
{
	return json_pack(
	    "{s:s, s:i, s:s}", "file", file, "line", line, "message", message);
}

static json_t *
problems_json(const struct script_report *report)
{
	json_t *list = json_array();

	for (size_t i = 0; i < report->count; i++)
		json_array_append_new(list,
		    one_problem(report->problems[i].file,
			report->problems[i].line, report->problems[i].message));
	return list;
}

static void
reject(const char *hash, json_t *errors)
{
	const json_t *first = json_array_get(errors, 0);
	const char *file = json_str(first, "file");

	log_error("scripts.rejected", kv_str("hash", hash),
	    kv_int("errors", (int64_t)json_array_size(errors)),
	    kv_str("file", file), kv_int("line", json_int(first, "line", 0)),
	    kv_str("message", json_str(first, "message")));
	remember(hash, "rejected", errors);
}

static void
save_last_good(const struct script_generation *gen)
{
	struct buf packed;

	if (product == NULL)
		return; /* the gateway alone keeps no state */
	buf_init(&packed, 0);
	script_generation_pack(gen, &packed);
	if (store_scripts_save(product->store, script_generation_hash(gen),
		packed.data, packed.len) != OK)
		log_warn("scripts.not_saved", kv_error("error", err_message()));
	buf_done(&packed);
}

/* Check, switch, save. The old one keeps answering when anything fails. */
static enum err_code
try_generation(struct script_generation *gen, const char *result)
{
	struct script_generation *before;
	struct script_report report = { 0 };
	enum err_code rc;

	rc = script_check_in_child(gen, deadline_in_ms(CHECK_MS), &report);
	if (rc == OK && report.count > 0) {
		reject(script_generation_hash(gen), problems_json(&report));
		script_report_done(&report);
		return ERR_SCRIPT;
	}
	script_report_done(&report);
	before = script_active();
	if (rc == OK)
		rc = script_activate(gen);
	if (rc != OK) {
		json_t *errors = json_array();

		json_array_append_new(
		    errors, one_problem("", 0, err_message()));
		reject(script_generation_hash(gen), errors);
		script_generation_unref(before);
		return rc;
	}
	save_last_good(gen);
	pthread_mutex_lock(&lock);
	if (before != NULL) {
		script_generation_unref(state.previous);
		state.previous = before;
	}
	state.degraded = false;
	pthread_mutex_unlock(&lock);
	log_info("scripts.activated",
	    kv_str("generation", script_generation_id(gen)),
	    kv_str("previous", before ? script_generation_id(before) : ""));
	remember(script_generation_hash(gen), result, json_array());
	return OK;
}

static bool
already_tried(const struct script_generation *gen)
{
	bool same;

	pthread_mutex_lock(&lock);
	same = strcmp(state.tried, script_generation_hash(gen)) == 0;
	pthread_mutex_unlock(&lock);
	return same;
}

/* A folder that is gone or empty: keep what runs, and say so once. */
static void
folder_gone(enum err_code rc)
{
	json_t *errors;

	pthread_mutex_lock(&lock);
	bool said = state.tried[0] == '\0' && state.gone == rc;
	state.gone = rc;
	pthread_mutex_unlock(&lock);
	if (said)
		return;
	errors = json_array();
	json_array_append_new(errors, one_problem("", 0, err_message()));
	reject("", errors);
}

static enum err_code
look(bool forced, bool *accepted_out)
{
	struct snapshot snapshot = { 0 };
	enum err_code rc = pool_run(take_snapshot, &snapshot);

	*accepted_out = false;
	if (rc == ERR_CANCELLED)
		return rc;
	if (rc != OK) {
		folder_gone(rc);
		return OK;
	}
	if (already_tried(snapshot.gen) && !forced) {
		pthread_mutex_lock(&lock);
		*accepted_out = state.result != NULL &&
				strcmp(state.result, "rejected") != 0;
		pthread_mutex_unlock(&lock);
	} else {
		struct script_generation *active = script_active();

		if (active != NULL &&
		    strcmp(script_generation_hash(active),
			script_generation_hash(snapshot.gen)) == 0) {
			remember(script_generation_hash(active), "unchanged",
			    json_array());
			*accepted_out = true;
		} else {
			*accepted_out =
			    try_generation(snapshot.gen, "activated") == OK;
		}
		script_generation_unref(active);
	}
	script_generation_unref(snapshot.gen);
	return OK;
}

/* Loop 0 only: one at a time. */
static enum err_code
look_alone(bool forced, bool *accepted_out)
{
	enum err_code rc;

	while (busy)
		TRY(fiber_cond_wait(&idle, 0));
	busy = true;
	rc = look(forced, accepted_out);
	busy = false;
	fiber_cond_signal(&idle);
	return rc;
}

static void
folder_event(void *arg)
{
	(void)arg;
	fiber_cond_signal(&changed);
}

static bool
is_pinned(void)
{
	bool pinned;

	pthread_mutex_lock(&lock);
	pinned = state.pinned;
	pthread_mutex_unlock(&lock);
	return pinned;
}

static void
keeper_run(void *arg)
{
	uint64_t poll_ms = (uint64_t)config_int(CFG_SCRIPT_POLL_MS);
	bool accepted;

	(void)arg;
	while (!stopping) {
		enum err_code rc =
		    fiber_cond_wait(&changed, deadline_in_ms(poll_ms));

		if (rc == ERR_CANCELLED || stopping)
			break;
		if (rc == OK && fiber_sleep(50) != OK)
			break; /* let a burst of writes settle */
		if (!is_pinned() && look_alone(false, &accepted) != OK)
			break;
	}
	keeper = NULL;
}

static enum err_code
boot_last_good(void)
{
	struct script_generation *gen;
	enum err_code rc;
	size_t len;
	char *packed;

	rc = product != NULL ? store_scripts_load(product->store, &packed, &len)
			     : ERR_NOT_FOUND;
	if (rc == ERR_NOT_FOUND)
		return err_set(ERR_SCRIPT,
		    "the scripts in %s are not usable and no last good "
		    "generation is stored; `xin check %s` says why",
		    config_str(CFG_LUA_DIR), config_str(CFG_LUA_DIR));
	if (rc != OK)
		return rc;
	rc = script_generation_unpack(packed, len, &gen);
	mem_free(packed);
	if (rc != OK)
		return rc;
	rc = script_activate(gen);
	if (rc == OK) {
		pthread_mutex_lock(&lock);
		state.degraded = true;
		pthread_mutex_unlock(&lock);
		log_warn("scripts.last_good_active",
		    kv_str("generation", script_generation_id(gen)));
	}
	script_generation_unref(gen);
	return rc;
}

static enum err_code
start_on_loop(void *arg)
{
	struct script_generation *active;
	bool accepted;

	(void)arg;
	TRY(look_alone(true, &accepted));
	active = script_active();
	if (active == NULL)
		TRY(boot_last_good());
	script_generation_unref(active);
	if (watch_open(config_str(CFG_LUA_DIR), folder_event, NULL, &watch) !=
	    OK)
		log_warn(
		    "scripts.not_watched", kv_error("error", err_message()));
	keeper = fiber_start(keeper_run, NULL);
	return OK;
}

enum err_code
scripts_start(struct product *with)
{
	product = with;
	stopping = false;
	metric_gauge_read(METRIC_SCRIPT_RELOAD_OK, SERVICE_NONE,
	    METRIC_NO_LABELS, read_reload_ok, NULL);
	return loop_call(loop_at(0), start_on_loop, NULL);
}

static enum err_code
stop_on_loop(void *arg)
{
	(void)arg;
	stopping = true;
	fiber_cond_broadcast(&changed);
	if (watch != NULL)
		watch_close(watch);
	watch = NULL;
	while (keeper != NULL)
		TRY(fiber_sleep(5));
	return OK;
}

void
scripts_stop(void)
{
	loop_call(loop_at(0), stop_on_loop, NULL);
	script_generation_unref(state.previous);
	state.previous = NULL;
	json_decref(state.errors);
	state.errors = NULL;
}

static enum err_code
reload_on_loop(void *arg)
{
	return look_alone(true, arg);
}

enum err_code
scripts_reload(bool *accepted_out)
{
	if (is_pinned())
		return err_set(ERR_CONFLICT,
		    "the active generation is pinned; unpin it first");
	return loop_call(loop_at(0), reload_on_loop, accepted_out);
}

static enum err_code
rollback_on_loop(void *arg)
{
	struct script_generation *target;
	enum err_code rc;

	(void)arg;
	pthread_mutex_lock(&lock);
	target = state.previous ? script_generation_ref(state.previous) : NULL;
	pthread_mutex_unlock(&lock);
	if (target == NULL)
		return err_set(ERR_CONFLICT,
		    "there is no generation before the active one");
	rc = try_generation(target, "rolled_back");
	if (rc == OK) {
		/* What the folder holds now is not tried again by itself. */
		struct snapshot snapshot = { 0 };

		if (pool_run(take_snapshot, &snapshot) == OK) {
			pthread_mutex_lock(&lock);
			str_copy(state.tried, sizeof(state.tried),
			    script_generation_hash(snapshot.gen));
			pthread_mutex_unlock(&lock);
			script_generation_unref(snapshot.gen);
		}
	}
	script_generation_unref(target);
	return rc;
}

enum err_code
scripts_rollback(void)
{
	return loop_call(loop_at(0), rollback_on_loop, NULL);
}

enum err_code
scripts_pin(bool pinned)
{
	pthread_mutex_lock(&lock);
	state.pinned = pinned;
	pthread_mutex_unlock(&lock);
	log_info("scripts.pin", kv_bool("pinned", pinned));
	return OK;
}

enum err_code
scripts_check_folder(json_t **report_out)
{
	struct script_report report = { 0 };
	struct snapshot snapshot = { 0 };
	enum err_code rc;

	TRY(pool_run(take_snapshot, &snapshot));
	rc = script_check_in_child(
	    snapshot.gen, deadline_in_ms(CHECK_MS), &report);
	if (rc == OK)
		*report_out = json_pack("{s:s, s:b, s:o}", "hash",
		    script_generation_hash(snapshot.gen), "ok",
		    report.count == 0, "errors", problems_json(&report));
	script_report_done(&report);
	script_generation_unref(snapshot.gen);
	return rc;
}

static json_t *
generation_json(const struct script_generation *gen)
{
	char since[CLOCK_RFC3339_SIZE];

	if (gen == NULL)
		return json_null();
	clock_rfc3339(script_generation_since_ms(gen), since);
	return json_pack("{s:s, s:s, s:s}", "generation",
	    script_generation_id(gen), "hash", script_generation_hash(gen),
	    "since", since);
}

static json_t *
brand_names(const struct script_generation *gen)
{
	const struct script_file *files;
	size_t count = gen ? script_generation_files(gen, &files) : 0;
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		const char *name = files[i].name;

		if (str_starts(name, "brands/") && !str_ends(name, "_spec.lua"))
			json_array_append_new(
			    list, json_stringn(name + 7, strlen(name) - 11));
	}
	return list;
}

enum err_code
scripts_status(json_t **status_out)
{
	struct script_generation *active = script_active();
	char at[CLOCK_RFC3339_SIZE];

	pthread_mutex_lock(&lock);
	clock_rfc3339(state.tried_at, at);
	*status_out = json_pack("{s:o, s:o, s:{s:s, s:s, s:s, s:O?}, s:o, s:i, "
				"s:b, s:b}",
	    "active", generation_json(active), "previous",
	    generation_json(state.previous), "last_attempt", "hash",
	    state.tried, "at", at, "result", state.result ? state.result : "",
	    "errors", state.errors, "brands", brand_names(active), "loops",
	    (int)loops_count(), "pinned", state.pinned, "degraded",
	    state.degraded);
	pthread_mutex_unlock(&lock);
	script_generation_unref(active);
	return OK;
}
