/* SPDX-License-Identifier: Apache-2.0 */
/* How a document looks from outside: its status, and what it waits for. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "domain/knowledge.h"
#include "domain/knowledge_internal.h"
#include "domain/knowledge_watch.h"
#include "queue/queue.h"

json_t *
knowledge__time(int64_t wall_ms)
{
	char text[CLOCK_RFC3339_SIZE];

	if (wall_ms <= 0)
		return json_null();
	clock_rfc3339((uint64_t)wall_ms, text);
	return json_string(text);
}

json_t *
knowledge__text(const char *text)
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

/* ---- what it waits for ---- */

/* Failures name what failed; these are services that come back. */
static const struct {
	const char *prefix, *dependency;
} dependencies[] = {
	{ "embeddings: ", "embeddings" },
	{ "search index: ", "search" },
	{ "object storage: ", "storage" },
	{ "queue: ", "queue" },
};

const char *
knowledge__dependency_of(const char *why)
{
	for (size_t i = 0; i < sizeof(dependencies) / sizeof(*dependencies);
	     i++)
		if (str_starts(why, dependencies[i].prefix))
			return dependencies[i].dependency;
	return NULL;
}

const char *
knowledge__dependency(const struct source *source)
{
	if (!source->error_retryable || source->error_message == NULL)
		return NULL;
	return knowledge__dependency_of(source->error_message);
}

/* OK and -1: it does not stand in the queue. */
static enum err_code
queue_place(
    struct product *product, const struct source *source, int64_t *place_out)
{
	char id[96];

	snprintf(id, sizeof(id), "ingest:%s:%lld", source->id,
	    (long long)source->version);
	return queue_position(product->queue, id, place_out);
}

struct waiting {
	const char *reason;     /* NULL = it waits for nothing */
	const char *dependency; /* may be NULL */
	int64_t place;          /* in the queue; -1 = not there */
};

static struct waiting
waits_in_queue(struct product *product, const struct source *source)
{
	struct waiting waiting = { "queue", NULL, -1 };
	enum knowledge_readers readers = knowledge_readers(product);

	if (queue_place(product, source, &waiting.place) != OK ||
	    readers == KNOWLEDGE_UNKNOWN) {
		waiting.reason = "dependency";
		waiting.dependency = "queue";
		waiting.place = -1;
	} else if (readers == KNOWLEDGE_UNREAD) {
		waiting.reason = "no_worker";
	} else if (waiting.place < 0) {
		waiting.reason = "queue_message_lost";
	}
	return waiting;
}

static struct waiting
waits_for(struct product *product, const struct source *source)
{
	struct waiting waiting = { NULL, NULL, -1 };
	int64_t now = (int64_t)clock_wall_ms();

	if (source->status == SOURCE_PROCESSING) {
		if (source->lease_until < now)
			waiting.reason =
			    knowledge_readers(product) == KNOWLEDGE_UNREAD
				? "no_worker"
				: "lease_expired";
		return waiting;
	}
	if (source->status != SOURCE_PENDING)
		return waiting;
	if (source->next_attempt_at <= now)
		return waits_in_queue(product, source);
	waiting.dependency = knowledge__dependency(source);
	waiting.reason =
	    waiting.dependency != NULL ? "dependency" : "retry_delay";
	return waiting;
}

json_t *
knowledge__waiting_on(struct product *product, const struct source *source)
{
	struct waiting waiting = waits_for(product, source);

	if (waiting.reason == NULL)
		return json_null();
	return json_pack("{s:s, s:o, s:o, s:s?}", "reason", waiting.reason,
	    "queue_position",
	    waiting.place >= 0 ? json_integer(waiting.place) : json_null(),
	    "next_attempt_at", knowledge__time(source->next_attempt_at),
	    "dependency", waiting.dependency);
}

json_t *
knowledge__error(const struct source *source)
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
	    knowledge__text(source->external_id), "source_url",
	    knowledge__text(source->source_url), "metadata",
	    parse_or(source->metadata, json_object()), "sha256", source->sha256,
	    "status", source_status_name(source->status), "size_bytes",
	    (json_int_t)source->size_bytes, "step",
	    knowledge__text(source->step), "progress", "done",
	    (json_int_t)source->progress_done, "total",
	    (json_int_t)source->progress_total, "steps",
	    parse_or(source->steps, json_array()), "waiting_on",
	    knowledge__waiting_on(product, source), "chunks",
	    (json_int_t)source->chunks, "version", (json_int_t)source->version,
	    "live_version", (json_int_t)source->live_version, "pending_version",
	    source->live_version != 0 && source->live_version < source->version
		? json_integer(source->version)
		: json_null(),
	    "attempts", (json_int_t)source->attempts, "created_at",
	    knowledge__time(source->created_at), "updated_at",
	    knowledge__time(source->updated_at), "correlation_id",
	    source->correlation_id, "links", "self", self, "events", events);
	must(view != NULL);
	json_object_set_new(view, "error", knowledge__error(source));
	return view;
}
