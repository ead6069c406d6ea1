/* SPDX-License-Identifier: Apache-2.0 */
/* How a document looks from outside: its status, and why it is where it is. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "domain/knowledge.h"
#include "queue/queue.h"

#define NOBODY_READS_MS 60000

static _Atomic uint64_t worker_seen_ms;

void
knowledge_worker_seen(void)
{
	atomic_store(&worker_seen_ms, clock_mono_ms());
}

static bool
nobody_reads(void)
{
	uint64_t seen = atomic_load(&worker_seen_ms);

	return seen == 0 || clock_mono_ms() - seen > NOBODY_READS_MS;
}

static json_t *
time_or_null(int64_t wall_ms)
{
	char text[CLOCK_RFC3339_SIZE];

	if (wall_ms <= 0)
		return json_null();
	clock_rfc3339((uint64_t)wall_ms, text);
	return json_string(text);
}

static json_t *
text_or_null(const char *text)
{
	return text != NULL && text[0] != '\0' ? json_string(text)
					       : json_null();
}

static json_t *
parse_or(const char *text, json_t *fallback)
{
	json_t *value;

	if (text == NULL || json_parse(text, strlen(text), &value) != OK)
		return fallback;
	json_decref(fallback);
	return value;
}

static int64_t
queue_place(struct product *product, const struct source *source)
{
	int64_t position = -1;
	char id[96];

	snprintf(id, sizeof(id), "ingest:%s:%lld", source->id,
	    (long long)source->version);
	if (queue_position(product->queue, id, &position) != OK)
		return -1;
	return position;
}

/* {"reason","queue_position","next_attempt_at"} or null. */
static json_t *
waiting_on(struct product *product, const struct source *source)
{
	int64_t now = (int64_t)clock_wall_ms();
	const char *reason;
	int64_t place = -1;

	if (source->status == SOURCE_PROCESSING) {
		if (source->lease_until >= now)
			return json_null();
		reason = "lease_expired";
	} else if (source->status != SOURCE_PENDING) {
		return json_null();
	} else if (source->next_attempt_at > now) {
		reason = "retry_delay";
	} else {
		place = queue_place(product, source);
		reason = nobody_reads() ? "no_worker"
			 : place >= 0   ? "queue"
					: "queue_message_lost";
	}
	return json_pack("{s:s, s:o, s:o}", "reason", reason, "queue_position",
	    place >= 0 ? json_integer(place) : json_null(), "next_attempt_at",
	    time_or_null(source->next_attempt_at));
}

static json_t *
error_of(const struct source *source)
{
	if (source->error_code == NULL || source->error_code[0] == '\0')
		return json_null();
	return json_pack("{s:s, s:s, s:b}", "code", source->error_code,
	    "message", source->error_message ? source->error_message : "",
	    "retryable", source->error_retryable);
}

json_t *
knowledge_view(struct product *product, const struct source *source)
{
	char self[160], events[176];
	json_t *view;

	snprintf(self, sizeof(self), "/v1/brands/%s/knowledge/%s",
	    source->brand_id, source->id);
	snprintf(events, sizeof(events), "%s/events", self);
	view = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:I, "
			 "s:o, s:{s:I, s:I}, s:o, s:o, s:I, s:I, s:I, s:o, "
			 "s:I, s:o, s:o, s:s, s:{s:s, s:s}}",
	    "id", source->id, "brand_id", source->brand_id, "title",
	    source->title, "content_type", source->content_type, "external_id",
	    text_or_null(source->external_id), "source_url",
	    text_or_null(source->source_url), "metadata",
	    parse_or(source->metadata, json_object()), "sha256", source->sha256,
	    "status", source_status_name(source->status), "size_bytes",
	    (json_int_t)source->size_bytes, "step", text_or_null(source->step),
	    "progress", "done", (json_int_t)source->progress_done, "total",
	    (json_int_t)source->progress_total, "steps",
	    parse_or(source->steps, json_array()), "waiting_on",
	    waiting_on(product, source), "chunks", (json_int_t)source->chunks,
	    "version", (json_int_t)source->version, "live_version",
	    (json_int_t)source->live_version, "pending_version",
	    source->live_version != 0 && source->live_version < source->version
		? json_integer(source->version)
		: json_null(),
	    "attempts", (json_int_t)source->attempts, "created_at",
	    time_or_null(source->created_at), "updated_at",
	    time_or_null(source->updated_at), "correlation_id",
	    source->correlation_id, "links", "self", self, "events", events);
	must(view != NULL);
	json_object_set_new(view, "error", error_of(source));
	return view;
}

static void
summarise(const struct source *source, const json_t *waiting, struct buf *out)
{
	const char *reason = json_str(waiting, "reason");
	int64_t place = json_int(waiting, "queue_position", -1);

	switch (source->status) {
	case SOURCE_READY:
		buf_addf(out, "Ready: version %lld with %lld chunks is live.",
		    (long long)source->live_version, (long long)source->chunks);
		break;
	case SOURCE_FAILED:
		buf_addf(out, "Failed in step \"%s\" after %lld attempts: %s.",
		    source->step, (long long)source->attempts,
		    source->error_message);
		if (source->error_retryable)
			buf_adds(out, " Retry it when the cause is gone.");
		break;
	case SOURCE_CANCELLED:
		buf_adds(out, "Cancelled. Retry it to start again.");
		break;
	case SOURCE_PROCESSING:
		if (reason != NULL)
			buf_adds(out,
			    "Its worker went away; the lease has "
			    "expired and it is given to another one.");
		else
			buf_addf(out,
			    "A worker is at step \"%s\", %lld of %lld.",
			    source->step, (long long)source->progress_done,
			    (long long)source->progress_total);
		break;
	case SOURCE_PENDING:
		if (strcmp(reason, "no_worker") == 0)
			buf_adds(out, "Nobody reads the queue: no worker has "
				      "asked for a job for 60 seconds.");
		else if (strcmp(reason, "retry_delay") == 0)
			buf_addf(out, "Waits for its next attempt after: %s.",
			    source->error_message);
		else if (place >= 0)
			buf_addf(out,
			    "Waits in the queue, %lld jobs before it.",
			    (long long)place);
		else
			buf_adds(out, "Its queue message is being renewed.");
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

enum err_code
knowledge_explain(struct product *product, const struct source *source,
    json_t **explanation_out)
{
	json_t *waiting = waiting_on(product, source);
	json_t *facts = json_array();
	struct queue_depth depth;
	struct buf summary;

	buf_init(&summary, 0);
	summarise(source, waiting, &summary);
	fact(facts, "attempts", json_integer(source->attempts));
	fact(facts, "max_attempts", json_integer(config_int(CFG_MAX_ATTEMPTS)));
	fact(facts, "lease_owner", text_or_null(source->lease_owner));
	fact(facts, "lease_until", time_or_null(source->lease_until));
	fact(facts, "updated_at", time_or_null(source->updated_at));
	if (queue_depth(product->queue, &depth) == OK) {
		fact(facts, "queue_waiting", json_integer(depth.waiting));
		fact(facts, "queue_running", json_integer(depth.running));
		fact(facts, "queue_dead", json_integer(depth.dead));
	}
	*explanation_out = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o}",
	    "id", source->id, "status", source_status_name(source->status),
	    "summary", buf_str(&summary), "waiting_on", waiting, "facts", facts,
	    "error", error_of(source), "next_attempt_at",
	    time_or_null(source->next_attempt_at));
	buf_done(&summary);
	return OK;
}
