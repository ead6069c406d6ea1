/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main path of a document: claim, fetch, each step of the brand's pipeline
 * (Lua), switch the new version live. ingest_run is the page to read. The store
 * row is fenced by the lease's owner: whoever lost the lease changes nothing.
 */
#include "domain/ingest.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mask.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"
#include "binding/job.h"
#include "domain/brand.h"
#include "domain/knowledge_internal.h"
#include "domain/checkpoint.h"
#include "fiber/fiber.h"
#include "object/object.h"
#include "script/script.h"
#include "search/search.h"
#include "store/store.h"

#define PROGRESS_MS    200
#define KEEP_MS        20000 /* what a long step made so far */
#define PROGRESS_PUT   512 /* chunks in the index that must not be put again */
#define RETRY_FIRST_MS 1000
#define RETRY_LAST_MS  60000
#define AWAY_PACE      4 /* as the fourth attempt: 4 to 8 s */

struct ingest {
	struct product *product;
	const char *owner;
	struct source source;
	struct script_session *scripts;
	json_t *brand; /* the brand module's fields */
	json_t *metadata;
	struct binding_job job;
	char *path;    /* the object, as a local file */
	json_t *steps; /* as the row and the API show them */
	const char *step;
	size_t at;           /* its number, from 0 */
	uint64_t told_ms;    /* when progress was last written */
	int64_t told_put;    /* and the chunks put until then */
	uint64_t keep_at_ms; /* when the running step is kept again */
	char made_with[256]; /* what a checkpoint depends on */
	/* The lists as the running step found them. */
	const void *blocks_before, *chunks_before;
	const void *resumed; /* the chunks of a checkpoint */
	size_t kept;         /* the step before which it stands; 0 = none */
	int64_t kept_put;    /* and its chunks in the index */
};

/* ---- the row's view of the steps ---- */

static json_t *
now_json(void)
{
	char text[CLOCK_RFC3339_SIZE];

	clock_rfc3339(clock_wall_ms(), text);
	return json_string(text);
}

/* Chunks that the attempt before had put in this step, as the row says: a
 * worker that was killed could not say it in a checkpoint. They are the same
 * chunks as long as nobody has made others since. */
static int64_t
put_before(const struct ingest *in, size_t number)
{
	json_auto json_t *steps = NULL;

	if (in->resumed == NULL || in->resumed != in->job.chunks ||
	    in->source.steps == NULL ||
	    json_parse(in->source.steps, strlen(in->source.steps), &steps) !=
		OK)
		return 0;
	return json_int(json_array_get(steps, number), "indexed", 0);
}

static void
step_begin(struct ingest *in, size_t number, const char *name)
{
	int64_t put;

	in->step = name;
	in->at = number;
	in->job.done = in->job.total = in->job.put = 0;
	in->job.worth_keeping = false;
	in->keep_at_ms = clock_mono_ms() + KEEP_MS;
	put = put_before(in, number);
	if (put > in->job.resume_at)
		in->job.resume_at = put;
	in->blocks_before = in->job.blocks;
	in->chunks_before = in->job.chunks;
	json_array_append_new(in->steps,
	    json_pack("{s:s, s:s, s:o, s:n, s:I, s:n, s:I}", "name", name,
		"state", "running", "started_at", now_json(), "ended_at",
		"attempt", (json_int_t)in->source.attempts, "error", "from",
		(json_int_t)in->job.resume_at));
}

static void
step_end(struct ingest *in, enum err_code rc)
{
	json_t *step =
	    json_array_get(in->steps, json_array_size(in->steps) - 1);

	if (rc == OK)
		in->job.resume_at = 0;
	json_object_set_new(
	    step, "state", json_string(rc == OK ? "done" : "failed"));
	json_object_set_new(step, "ended_at", now_json());
	if (rc != OK)
		json_object_set_new(step, "error", json_string(err_message()));
}

static enum err_code
tell_progress(struct ingest *in)
{
	json_t *step =
	    json_array_get(in->steps, json_array_size(in->steps) - 1);
	enum err_code rc;
	char *steps;

	/* Where another attempt at this step may go on. */
	if (in->job.put > 0)
		json_object_set_new(step, "indexed", json_integer(in->job.put));
	steps = json_text(in->steps);
	rc = store_source_progress(in->product->store, in->source.id, in->owner,
	    in->step, in->job.done, in->job.total, steps);
	mem_free(steps);
	in->told_ms = clock_mono_ms();
	in->told_put = in->job.put;
	return rc;
}

/* ---- checkpoints ---- */

/* Keep what the first `next` steps made. */
static void
keep(struct ingest *in, size_t next)
{
	json_auto json_t *ended = json_array();
	struct checkpoint checkpoint = { .next = next, .steps = ended };

	for (size_t i = 0; i < next; i++)
		json_array_append(ended, json_array_get(in->steps, i));
	if (next == in->at)
		checkpoint.indexed = in->job.put > in->job.resume_at
					 ? in->job.put
					 : in->job.resume_at;
	/* While a back end is away a document fails often at one place. */
	if (next == in->kept && checkpoint.indexed == in->kept_put &&
	    !in->job.worth_keeping)
		return;
	if (!checkpoint_save(
		in->product, &in->source, in->made_with, &checkpoint, &in->job))
		return;
	in->kept = next;
	in->kept_put = checkpoint.indexed;
}

/* A step that is long and dear (a model makes vectors) is kept in between, so
 * that a worker that is killed loses little; seldom enough to cost little. */
static void
keep_running(struct ingest *in)
{
	uint64_t began = clock_mono_ms();

	if (!in->job.worth_keeping || began < in->keep_at_ms || in->at == 0 ||
	    in->job.blocks != in->blocks_before ||
	    in->job.chunks != in->chunks_before)
		return;
	keep(in, in->at);
	in->keep_at_ms =
	    clock_mono_ms() + KEEP_MS + 10 * (clock_mono_ms() - began);
}

/* Called from inside a step whenever its counters moved on. */
static enum err_code
job_moved(struct binding_job *job)
{
	struct ingest *in = job->owner;

	if (strcmp(in->step, "index") == 0 && job->done * 2 >= job->total)
		fault_at("ingest.half_indexed");
	keep_running(in);
	if (clock_mono_ms() - in->told_ms < PROGRESS_MS &&
	    job->put - in->told_put < PROGRESS_PUT)
		return OK;
	return tell_progress(in);
}

/* Another attempt with the same scripts would end the same way. */
static bool
is_its_own_fault(enum err_code rc)
{
	return rc == ERR_INVALID || rc == ERR_TOO_LARGE ||
	       rc == ERR_MEDIA_TYPE || rc == ERR_BLOCKED;
}

/* What a step that failed found is kept, if the step has left it alone. */
static void
keep_failed(struct ingest *in, enum err_code rc)
{
	if (is_its_own_fault(rc))
		checkpoint_drop(in->product, in->source.id, in->source.version);
	else if (in->at > 0 && in->job.blocks == in->blocks_before &&
		 in->job.chunks == in->chunks_before)
		keep(in, in->at);
}

/* From the first step. An attempt before may have put more chunks than this
 * one will: they must not become live with them. */
static enum err_code
begin_anew(struct ingest *in, bool outdated)
{
	bool first = str_eq(in->source.steps, "[]");
	enum err_code rc;

	if (first && !outdated)
		return OK;
	rc = search_drop(in->product->search, in->source.brand_id,
	    in->source.id, in->source.live_version);
	return rc == OK ? OK : err_add(rc, "search index");
}

/* The number of the step to begin with. */
static enum err_code
resume(struct ingest *in, size_t count, size_t *first_out)
{
	struct checkpoint checkpoint = { .next = 0 };

	*first_out = 0;
	snprintf(in->made_with, sizeof(in->made_with), "%s %s %s",
	    script_generation_hash(script_session_generation(in->scripts)),
	    XIN_VERSION, config_str(CFG_EMBEDDINGS_NAME));
	if (!checkpoint_load(
		in->product, &in->source, in->made_with, &in->job, &checkpoint))
		return begin_anew(in, checkpoint.outdated);
	if (checkpoint.next > count ||
	    json_array_size(checkpoint.steps) != checkpoint.next) {
		json_decref(checkpoint.steps);
		binding_job_done(&in->job);
		return begin_anew(in, true);
	}
	json_decref(in->steps);
	in->steps = checkpoint.steps;
	in->resumed = in->job.chunks;
	in->kept = checkpoint.next;
	in->kept_put = checkpoint.indexed;
	in->job.resume_at = checkpoint.indexed;
	log_info("document.resumed", kv_str("source_id", in->source.id),
	    kv_int("step", (int64_t)checkpoint.next + 1));
	*first_out = checkpoint.next;
	return OK;
}

/* ---- the steps of the flow ---- */

static enum err_code
ingest_open(struct ingest *in)
{
	struct script_budget budget = script_budget_default();
	const struct source *source = &in->source;
	enum err_code rc;

	budget.cpu_us = (uint64_t)config_int(CFG_SCRIPT_STEP_CPU_MS) * 1000;
	budget.host_calls = 100000;
	TRY(script_session_open(source->brand_id, NULL, &budget, &in->scripts));
	TRY(script_module_fields(
	    in->scripts, SCRIPT_BRAND, source->brand_id, &in->brand));
	TRY(json_parse(
	    source->metadata, strlen(source->metadata), &in->metadata));
	rc = object_local(in->product->objects, source->object_key, &in->path);
	if (rc != OK)
		return err_add(rc, "object storage");
	in->job = (struct binding_job){
		.brand = source->brand_id,
		.source_id = source->id,
		.version = source->version,
		.path = in->path,
		/* A title that is only the file's name gives way to the
		 * document's own. */
		.title = str_eq(source->title, source->filename)
			     ? ""
			     : source->title,
		.filename = source->filename,
		.content_type = source->content_type,
		.metadata = in->metadata,
		.guardrails = json_object_get(in->brand, "guardrails"),
		.search = in->product->search,
		.embedder = in->product->embedder,
		.kv = in->product->kv,
		.moved = job_moved,
		.owner = in,
	};
	script_session_set_user(in->scripts, &in->job);
	return OK;
}

static struct span *
begin_step_span(const struct ingest *in, const char *name)
{
	struct span *span = span_begin(SPAN_INTERNAL, name);
	char title[96];

	if (span == NULL)
		return NULL;
	snprintf(title, sizeof(title), "step %s", name);
	span_name(span, title);
	span_add(span, attr_str(ATTR_STEP, name),
	    attr_str(ATTR_GENERATION,
		script_generation_id(script_session_generation(in->scripts))));
	return span;
}

static enum err_code
run_step(struct ingest *in, size_t number, const char *name, json_t *settings)
{
	json_auto json_t *result = NULL;
	json_auto json_t *args =
	    json_pack("[o, O]", binding_job_view(&in->job), settings);
	uint64_t began = clock_mono_us();
	struct span *span;
	enum err_code rc;

	step_begin(in, number, name);
	TRY(tell_progress(in));
	span = begin_step_span(in, name);
	rc = script_call(in->scripts, SCRIPT_STEP, name, "run", args, &result);
	rc = binding_job_outcome(&in->job, rc);
	if (rc == OK)
		rc = binding_job_take(&in->job, result);
	step_end(in, rc);
	span_add(span, attr_int(ATTR_CHUNKS, binding_job_chunks(&in->job)));
	span_end_call(span, rc);
	metric_observe_us(
	    METRIC_INGEST_STEP, LABELS(name), clock_mono_us() - began);
	log_info("document.step", kv_str("source_id", in->source.id),
	    kv_str("step", name), kv_str("outcome", err_name(rc)),
	    kv_real("duration_ms", (double)(clock_mono_us() - began) / 1000),
	    kv_int("chunks", binding_job_chunks(&in->job)));
	return rc;
}

static enum err_code
ingest_pipeline(struct ingest *in)
{
	const char *name = json_str(in->brand, "pipeline");
	json_auto json_t *fields = NULL;
	json_auto json_t *none = json_object();
	json_t *steps, *step;
	size_t i, first;

	if (name == NULL)
		name = "standard";
	TRY(script_module_fields(in->scripts, SCRIPT_PIPELINE, name, &fields));
	steps = json_object_get(fields, "steps");
	TRY(resume(in, json_array_size(steps), &first));
	json_array_foreach (steps, i, step) {
		const char *called = json_is_string(step)
					 ? json_string_value(step)
					 : json_str(step, "name");
		json_t *settings = json_object_get(step, "settings");

		if (i < first)
			continue;
		if (called == NULL)
			return err_set(ERR_SCRIPT,
			    "pipelines/%s.lua: step %zu has no name", name,
			    i + 1);
		TRY(run_step(in, i, called, settings ? settings : none));
		if (in->job.worth_keeping)
			keep(in, i + 1);
		fault_at(i == 0 ? "ingest.extracted" : "ingest.stepped");
	}
	if (in->job.indexed == 0)
		return err_set(ERR_INVALID,
		    "nothing to index: the document has no text%s",
		    in->job.dropped > 0 ? " that a guard let through" : "");
	return OK;
}

/* The switch: one row update makes the new version what searches see. */
static enum err_code
ingest_switch(struct ingest *in)
{
	char *steps = json_text(in->steps);
	int64_t old = 0;
	enum err_code rc;

	fault_at("ingest.before_switch");
	rc = store_source_ready(in->product->store, in->source.id, in->owner,
	    in->source.version, in->job.indexed, steps, &old);
	mem_free(steps);
	if (rc != OK)
		return rc;
	fault_at("ingest.after_switch");
	checkpoint_drop(in->product, in->source.id, in->source.version);
	/* Nobody sees the old chunks any more; they are only space. */
	if (search_drop(in->product->search, in->source.brand_id, in->source.id,
		in->source.version) != OK)
		log_warn("document.left_behind",
		    kv_str("source_id", in->source.id),
		    kv_error("error", err_message()));
	return OK;
}

static void
ingest_close(struct ingest *in)
{
	script_session_close(in->scripts);
	binding_job_done(&in->job);
	if (in->path != NULL)
		object_release(in->product->objects, in->path);
	json_decref(in->brand);
	json_decref(in->metadata);
	json_decref(in->steps);
	source_done(&in->source);
}

/* ---- what went wrong, and what follows from it ---- */

static int64_t
retry_time(int64_t attempt)
{
	return (int64_t)(clock_wall_ms() + backoff_ms((unsigned)attempt,
					       RETRY_FIRST_MS, RETRY_LAST_MS));
}

/*
 * A back end that is away is not the document's fault: it waits, visibly
 * (`explain`), and goes on by itself when the back end returns. Not for ever: a
 * document that brings a back end down each time looks the same.
 */
static bool
is_away(const struct ingest *in, enum err_code rc, const char *message)
{
	int64_t since = in->source.waiting_since;

	if (rc != ERR_UNAVAILABLE && rc != ERR_OVERLOADED &&
	    rc != ERR_DISK_FULL)
		return false;
	if (knowledge__dependency_of(message) == NULL)
		return false;
	return since == 0 ||
	       (int64_t)clock_wall_ms() - since < config_int(CFG_OUTAGE_MS);
}

static void
ingest_fail(struct ingest *in, enum err_code rc, struct ingest_result *result)
{
	struct error why;
	bool again;
	char *steps;

	err_save(&why);
	keep_failed(in, rc);
	/* For the dead letters, which others read than the document's owner. */
	mask_quoted(why.message, result->reason, sizeof(result->reason));
	result->away = is_away(in, rc, why.message);
	again = result->away ||
		(err_retryable(rc) &&
		    in->source.attempts < config_int(CFG_MAX_ATTEMPTS));
	result->outcome = again ? INGEST_RETRY : INGEST_DEAD;
	result->retry_at =
	    again ? retry_time(result->away ? AWAY_PACE : in->source.attempts)
		  : 0;
	log_warn("document.failed", kv_str("source_id", in->source.id),
	    kv_str("step", in->step), kv_str("error_code", err_name(rc)),
	    kv_error("error", why.message),
	    kv_int("attempt", in->source.attempts), kv_bool("again", again));
	steps = json_text(in->steps);
	if (store_source_fail(in->product->store, in->source.id, in->owner,
		err_name(rc), why.message, err_retryable(rc), result->away,
		result->retry_at, steps) != OK)
		result->outcome = INGEST_ENDED; /* not ours any more */
	mem_free(steps);
	if (!again)
		metric_count(
		    METRIC_INGESTED, LABELS(in->source.brand_id, "failed"), 1);
}

/* The document was cancelled, the lease lost, or this process stops: in the
 * last case the lease runs out and the reaper gives the document to another. */
static void
ingest_stopped(struct ingest *in, struct ingest_result *result)
{
	enum err_code rc = store_source_cancelled(
	    in->product->store, in->source.id, in->owner);

	result->outcome = INGEST_ENDED;
	log_info("document.stopped", kv_str("source_id", in->source.id),
	    kv_str("reason", rc == OK ? "cancelled" : "lease given up"));
	if (rc == OK)
		metric_count(METRIC_INGESTED,
		    LABELS(in->source.brand_id, "cancelled"), 1);
}

static void
ingest_end(struct ingest *in, enum err_code rc, struct ingest_result *result)
{
	fiber_shield();
	if (rc == OK) {
		result->outcome = INGEST_ENDED;
		metric_count(
		    METRIC_INGESTED, LABELS(in->source.brand_id, "ready"), 1);
		log_info("document.ready", kv_str("source_id", in->source.id),
		    kv_int("version", in->source.version),
		    kv_int("chunks", in->job.indexed),
		    kv_int("dropped", in->job.dropped));
	} else if (rc == ERR_CANCELLED || rc == ERR_CONFLICT) {
		ingest_stopped(in, result);
	} else {
		ingest_fail(in, rc, result);
	}
	fiber_unshield();
}

void
ingest_run(struct product *product, const char *owner, const char *brand,
    const char *source_id, int64_t version, struct ingest_result *result)
{
	struct ingest in = { .product = product, .owner = owner, .step = "" };
	enum err_code rc;

	*result = (struct ingest_result){ .outcome = INGEST_ENDED };
	rc = store_source_claim(product->store, brand, source_id, version,
	    owner, config_int(CFG_LEASE_MS), config_int(CFG_MAX_ATTEMPTS),
	    &in.source);
	if (rc == ERR_CONFLICT || rc == ERR_NOT_FOUND)
		return; /* held, ended, deleted or overtaken by a new version */
	if (rc != OK) {
		result->outcome = INGEST_RETRY;
		result->retry_at = retry_time(1);
		return;
	}
	fault_at("ingest.claimed");
	in.steps = json_array();

	rc = ingest_open(&in);
	if (rc == OK)
		rc = ingest_pipeline(&in);
	if (rc == OK)
		rc = ingest_switch(&in);

	span_add(span_current(), attr_int(ATTR_CHUNKS, in.job.indexed),
	    attr_int(ATTR_DROPPED, in.job.dropped),
	    attr_int(ATTR_ATTEMPT, in.source.attempts),
	    attr_str(ATTR_OUTCOME, rc == OK ? "ready" : err_name(rc)));
	if (rc != OK && rc != ERR_CANCELLED && rc != ERR_CONFLICT)
		span_fail(span_current(), err_name(rc));
	ingest_end(&in, rc, result);
	ingest_close(&in);
}
