/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a document is where it is, in sentences for a person and in facts for a
 * machine: for every state what it waits for, who works on it, what failed and
 * what to do.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "domain/knowledge.h"
#include "domain/knowledge_internal.h"
#include "queue/queue.h"

static const struct {
	const char *code, *advice;
} advices[] = {
	{ "unsupported_media_type",
	    "Save it as one of the types that can be read and upload it "
	    "again." },
	{ "invalid_request", "Mend the document and upload it again." },
	{ "too_large",
	    "Split the document, or raise the ceiling that the error names." },
	{ "blocked", "The brand's guardrails refused it; change the document, "
		     "or the guardrails and retry." },
	{ "script_failed", "Mend the script that the error names (or the "
			   "document, if the script refuses it), then retry." },
	{ "script_limit", "Make the script cheaper or raise its limit, then "
			  "retry." },
	{ "disk_full", "Make room on the disk, then retry." },
	{ "attempts_exhausted",
	    "Each worker that took it went away; see their logs for its "
	    "correlation id, then retry." },
	{ "not_found", "Its stored bytes are gone: upload it again." },
	{ "internal",
	    "The log has more under its correlation id; then retry." },
};

/* What a person can do about a failure. */
static const char *
advice_for(const struct source *source)
{
	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
		if (str_eq(source->error_code, advices[i].code))
			return advices[i].advice;
	if (knowledge__dependency(source) != NULL)
		return "Retry it when that service is back.";
	return "Retry it when the cause is gone.";
}

static const char *
or_nothing(const char *text)
{
	return text != NULL ? text : "";
}

static void
add_time(struct buf *out, int64_t wall_ms)
{
	char text[CLOCK_RFC3339_SIZE];

	clock_rfc3339((uint64_t)wall_ms, text);
	buf_adds(out, text);
}

static void
tell_processing(
    const struct source *source, const char *reason, struct buf *out)
{
	if (reason != NULL) {
		buf_addf(out,
		    "Its worker %s went away at step \"%s\", %lld of %lld; "
		    "its lease has expired",
		    source->lease_owner, or_nothing(source->step),
		    (long long)source->progress_done,
		    (long long)source->progress_total);
		buf_adds(out, str_eq(reason, "no_worker")
				  ? ", and no worker is there to go on."
				  : " and another one goes on.");
		return;
	}
	buf_addf(out, "Worker %s is at step \"%s\"", source->lease_owner,
	    or_nothing(source->step));
	if (source->progress_total > 0)
		buf_addf(out, ", chunk %lld of %lld",
		    (long long)source->progress_done,
		    (long long)source->progress_total);
	buf_addf(out, ", attempt %lld; its lease holds until ",
	    (long long)source->attempts);
	add_time(out, source->lease_until);
	buf_addc(out, '.');
	if (source->cancel_requested)
		buf_adds(out, " It was asked to stop and will.");
}

static void
tell_retry(const struct source *source, const char *dependency, struct buf *out)
{
	if (dependency != NULL)
		buf_addf(out, "Waits for %s", dependency);
	else
		buf_adds(out, "Waits");
	if (source->waiting_since > 0) {
		buf_adds(out, " since ");
		add_time(out, source->waiting_since);
		buf_addf(out, " (%s); looks again at ",
		    or_nothing(source->error_message));
		add_time(out, source->next_attempt_at);
		buf_addc(out, '.');
		return;
	}
	buf_addf(out,
	    ": attempt %lld of %lld failed (%s) and the next begins "
	    "at ",
	    (long long)source->attempts,
	    (long long)config_int(CFG_MAX_ATTEMPTS),
	    or_nothing(source->error_message));
	add_time(out, source->next_attempt_at);
	buf_addc(out, '.');
}

static void
tell_pending(
    const struct source *source, const json_t *waiting, struct buf *out)
{
	const char *reason = json_str(waiting, "reason");
	const char *dependency = json_str(waiting, "dependency");
	int64_t place = json_int(waiting, "queue_position", -1);

	if (str_eq(dependency, "queue"))
		buf_adds(out, "The queue cannot be asked; the document is "
			      "safe and goes on when it is back.");
	else if (str_eq(reason, "retry_delay") || str_eq(reason, "dependency"))
		tell_retry(source, dependency, out);
	else if (str_eq(reason, "no_worker"))
		buf_adds(out, "Nobody reads the queue: no worker has asked for "
			      "a job for 45 seconds. Start `xin worker`, or "
			      "see why it is not there.");
	else if (place >= 0)
		buf_addf(out, "Waits in the queue, %lld jobs before it.",
		    (long long)place);
	else
		buf_adds(out, "A worker takes it now, or its queue message is "
			      "being renewed.");
}

static void
tell_failure(const struct source *source, struct buf *out)
{
	buf_adds(out, "Failed");
	if (or_nothing(source->step)[0] != '\0')
		buf_addf(out, " in step \"%s\"", source->step);
	buf_addf(out, " after %lld attempt%s: %s. %s",
	    (long long)source->attempts, source->attempts == 1 ? "" : "s",
	    or_nothing(source->error_message), advice_for(source));
}

/* A version that failed beside one that serves. */
static bool
newest_failed(const struct source *source)
{
	return source->status == SOURCE_READY &&
	       source->live_version < source->version &&
	       or_nothing(source->error_code)[0] != '\0';
}

static void
summarise(const struct source *source, const json_t *waiting, struct buf *out)
{
	switch (source->status) {
	case SOURCE_READY:
		buf_addf(out, "Ready: version %lld with %lld chunks is live.",
		    (long long)source->live_version, (long long)source->chunks);
		if (!newest_failed(source))
			return;
		buf_addf(out, " Version %lld: ", (long long)source->version);
		tell_failure(source, out);
		return;
	case SOURCE_FAILED:
		tell_failure(source, out);
		break;
	case SOURCE_CANCELLED:
		buf_adds(out, "Cancelled. Retry it to start again.");
		break;
	case SOURCE_PROCESSING:
		tell_processing(source, json_str(waiting, "reason"), out);
		break;
	case SOURCE_PENDING:
		tell_pending(source, waiting, out);
		break;
	}
	if (source->live_version != 0 && source->live_version < source->version)
		buf_addf(out, " Version %lld stays live meanwhile.",
		    (long long)source->live_version);
}

static void
fact(json_t *facts, const char *name, json_t *value)
{
	json_array_append_new(
	    facts, json_pack("{s:s, s:o}", "name", name, "value", value));
}

static json_t *
facts_of(struct product *product, const struct source *source)
{
	json_t *facts = json_array();
	struct queue_depth depth;

	fact(facts, "step", knowledge__text(source->step));
	fact(facts, "progress_done", json_integer(source->progress_done));
	fact(facts, "progress_total", json_integer(source->progress_total));
	fact(facts, "attempts", json_integer(source->attempts));
	fact(facts, "max_attempts", json_integer(config_int(CFG_MAX_ATTEMPTS)));
	fact(facts, "lease_owner", knowledge__text(source->lease_owner));
	fact(facts, "lease_until", knowledge__time(source->lease_until));
	fact(facts, "updated_at", knowledge__time(source->updated_at));
	fact(facts, "correlation_id", knowledge__text(source->correlation_id));
	if (queue_depth(product->queue, &depth) == OK) {
		fact(facts, "queue_waiting", json_integer(depth.waiting));
		fact(facts, "queue_running", json_integer(depth.running));
		fact(facts, "queue_dead", json_integer(depth.dead));
	}
	return facts;
}

enum err_code
knowledge_explain(struct product *product, const struct source *source,
    json_t **explanation_out)
{
	json_t *waiting = knowledge__waiting_on(product, source);
	bool failed = source->status == SOURCE_FAILED || newest_failed(source);
	struct buf summary;

	buf_init(&summary, 0);
	summarise(source, waiting, &summary);
	*explanation_out =
	    json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:s?}", "id",
		source->id, "status", source_status_name(source->status),
		"summary", buf_str(&summary), "waiting_on", waiting, "facts",
		facts_of(product, source), "error", knowledge__error(source),
		"next_attempt_at", knowledge__time(source->next_attempt_at),
		"advice", failed ? advice_for(source) : NULL);
	must(*explanation_out != NULL);
	buf_done(&summary);
	return OK;
}
