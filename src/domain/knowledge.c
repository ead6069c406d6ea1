/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads and the lifecycle verbs of a document. */
#include "domain/knowledge.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/span.h"
#include "base/str.h"
#include "base/task.h"
#include "domain/checkpoint.h"
#include "extract/extract.h"
#include "queue/queue.h"
#include "search/search.h"

#define REAP_BATCH 100

enum err_code
knowledge_check_type(const char *content_type, const char *filename,
    const void *head, size_t len)
{
	return extract_check(content_type, filename, head, len);
}

static const char *
upload_title(const struct knowledge_upload *upload)
{
	if (upload->title != NULL && upload->title[0] != '\0')
		return upload->title;
	return upload->filename != NULL ? upload->filename : "untitled";
}

static char *
copy_or_null(const char *text)
{
	return text != NULL ? mem_strdup(text) : NULL;
}

static void
source_fill(struct source *source, const struct knowledge_upload *upload)
{
	char object[IDENT_SIZE];

	memset(source, 0, sizeof(*source));
	str_copy(source->brand_id, sizeof(source->brand_id), upload->brand);
	if (upload->replace_id != NULL)
		str_copy(source->id, sizeof(source->id), upload->replace_id);
	source->title = mem_strdup(upload_title(upload));
	source->content_type = mem_strdup(upload->content_type);
	source->filename = copy_or_null(upload->filename);
	source->external_id = copy_or_null(upload->external_id);
	source->source_url = copy_or_null(upload->source_url);
	source->metadata =
	    mem_strdup(upload->metadata ? upload->metadata : "{}");
	memcpy(source->sha256, upload->sha256, sizeof(source->sha256));
	source->size_bytes = upload->size_bytes;
	ident_new("ob", object);
	source->object_key = mem_printf("%s/%s", upload->brand, object);
	str_copy(source->correlation_id, sizeof(source->correlation_id),
	    task_self()->request_id);
}

/* An object belongs to one source and version. What fails here costs space
 * only, and is logged. */
static void
object_drop(struct product *product, const char *key)
{
	struct error why;

	err_save(&why);
	if (key != NULL && object_delete(product->objects, key) != OK)
		log_warn("object.left_behind", kv_str("key", key),
		    kv_error("error", err_message()));
	err_restore(&why);
}

/* After these the store may have kept what it could not confirm: the row's
 * object must be there then. */
static bool
may_be_kept(enum err_code rc)
{
	return rc == ERR_UNAVAILABLE || rc == ERR_DEADLINE ||
	       rc == ERR_CANCELLED;
}

static enum err_code
add_row(struct product *product, const struct knowledge_upload *upload,
    struct source *source, bool *existed_out)
{
	if (upload->replace_id != NULL)
		return store_source_replace(product->store, source);
	return store_source_add(
	    product->store, source, upload->force, existed_out);
}

enum err_code
knowledge_add(struct product *product, const struct knowledge_upload *upload,
    struct object_writer *writer, struct source *source_out, bool *existed_out)
{
	struct source source;
	char *key = NULL;
	enum err_code rc;

	*existed_out = false;
	source_fill(&source, upload);
	key = mem_strdup(source.object_key);
	rc = object_put_commit(writer, key);
	if (rc != OK) {
		rc = err_add(rc, "object storage");
		goto out;
	}
	rc = add_row(product, upload, &source, existed_out);
	if (rc == OK ? *existed_out : !may_be_kept(rc))
		object_drop(product, key); /* the row knows another one */
	else if (rc == OK)
		object_drop(product, source.old_object_key);
	if (rc == OK && !*existed_out && source.version > 1)
		checkpoint_drop(product, source.id, source.version - 1);
	if (rc == OK && source.status == SOURCE_PENDING)
		rc = knowledge_queue(product, &source);
out:
	mem_free(key);
	if (rc != OK) {
		source_done(&source);
		return rc;
	}
	log_info("document.uploaded", kv_str("source_id", source.id),
	    kv_int("version", source.version),
	    kv_int("bytes", source.size_bytes),
	    kv_bool("existed", *existed_out));
	*source_out = source;
	return OK;
}

static void
job_id(const struct source *source, char *out, size_t size)
{
	snprintf(out, size, "ingest:%s:%lld", source->id,
	    (long long)source->version);
}

/* The trace goes along with the job; the job's attempts are its children. */
static void
add_trace(json_t *kwargs)
{
	const struct task *task = task_self();
	char parent[TRACE_PARENT_SIZE];

	if (!trace_parent(task, parent))
		return;
	json_object_set_new(kwargs, "traceparent", json_string(parent));
	if (trace_state(task) != NULL)
		json_object_set_new(
		    kwargs, "tracestate", json_string(trace_state(task)));
	if (trace_baggage(task) != NULL)
		json_object_set_new(
		    kwargs, "baggage", json_string(trace_baggage(task)));
}

static struct span *
begin_send(const struct source *source, const char *job)
{
	bool redis = config_is_set(CFG_REDIS_HOST);
	const char *queue = config_str(CFG_REDIS_QUEUE);
	struct span *span = span_begin(SPAN_PRODUCER, "send");
	char name[128];

	if (span == NULL)
		return NULL;
	snprintf(name, sizeof(name), "send %s", queue);
	span_name(span, name);
	span_add(span, attr_str(ATTR_MSG_SYSTEM, redis ? "arq" : "xin"),
	    attr_str(ATTR_MSG_OPERATION, "send"),
	    attr_str(ATTR_MSG_TYPE, "send"),
	    attr_str(ATTR_MSG_DESTINATION, queue), attr_str(ATTR_MSG_ID, job),
	    attr_str(ATTR_SOURCE, source->id),
	    attr_int(ATTR_SOURCE_VERSION, source->version));
	return span;
}

enum err_code
knowledge_queue(struct product *product, const struct source *source)
{
	char id[96];
	json_auto json_t *kwargs = json_pack("{s:s, s:s, s:I, s:s, s:s}",
	    "source_id", source->id, "brand_id", source->brand_id, "version",
	    (json_int_t)source->version, "correlation_id",
	    source->correlation_id, "traceparent", "");
	struct span *span;
	enum err_code rc;
	char *text;

	job_id(source, id, sizeof(id));
	span = begin_send(source, id);
	add_trace(kwargs);
	text = json_text(kwargs);
	rc = queue_put(product->queue, id, source->brand_id, "ingest_source",
	    text, source->next_attempt_at);
	mem_free(text);
	span_end(span, rc);
	return rc == OK ? OK : err_add(rc, "queue");
}

static enum err_code
queue_again(struct product *product, const char *brand, const char *id)
{
	struct source source;
	enum err_code rc;

	TRY(store_source_get(product->store, brand, id, &source));
	rc = knowledge_queue(product, &source);
	source_done(&source);
	return rc;
}

enum err_code
knowledge_retry(struct product *product, const char *brand, const char *id)
{
	TRY(store_source_retry(product->store, brand, id));
	return queue_again(product, brand, id);
}

enum err_code
knowledge_retry_failed(
    struct product *product, const char *brand, int64_t *count_out)
{
	struct source_list list;
	enum err_code rc;

	*count_out = 0;
	do { /* each retried one leaves the list of failed ones */
		TRY(store_source_list(product->store, brand, SOURCE_FAILED,
		    NULL, NULL, REAP_BATCH, &list));
		rc = OK;
		for (size_t i = 0; i < list.count && rc == OK; i++) {
			rc = knowledge_retry(product, brand, list.items[i].id);
			if (rc == ERR_CONFLICT || rc == ERR_NOT_FOUND)
				rc = OK; /* somebody was faster */
			else if (rc == OK)
				(*count_out)++;
		}
		if (list.count < REAP_BATCH || rc != OK) {
			source_list_done(&list);
			return rc;
		}
		source_list_done(&list);
	} while (*count_out < 100000);
	return OK;
}

enum err_code
knowledge_reindex(struct product *product, const char *brand, const char *id)
{
	struct source source;
	enum err_code rc;

	TRY(store_source_get(product->store, brand, id, &source));
	rc = store_source_replace(product->store, &source);
	if (rc == OK)
		checkpoint_drop(product, source.id, source.version - 1);
	if (rc == OK)
		rc = knowledge_queue(product, &source);
	source_done(&source);
	return rc;
}

enum err_code
knowledge_cancel(struct product *product, const char *brand, const char *id)
{
	struct source source;
	char job[96];
	enum err_code rc;

	TRY(store_source_cancel(product->store, brand, id));
	TRY(store_source_get(product->store, brand, id, &source));
	job_id(&source, job, sizeof(job));
	rc = source.status == SOURCE_CANCELLED
		 ? queue_abort(product->queue, job)
		 : OK;
	source_done(&source);
	return rc;
}

enum err_code
knowledge_delete(struct product *product, const char *brand, const char *id)
{
	struct source source;
	char job[96];
	enum err_code rc;

	TRY(store_source_delete(product->store, brand, id, &source));
	job_id(&source, job, sizeof(job));
	/* The row is gone, so nobody sees the rest. */
	object_drop(product, source.object_key);
	checkpoint_drop(product, source.id, source.version);
	rc = queue_abort(product->queue, job);
	if (rc == OK)
		rc = search_drop(product->search, brand, id, 0);
	if (rc != OK)
		log_warn("document.left_behind", kv_str("source_id", id),
		    kv_error("error", err_message()));
	store_audit(
	    product->store, "api", "knowledge.delete", id, source.title);
	source_done(&source);
	return OK;
}

enum err_code
knowledge_reap(struct product *product, int64_t *count_out)
{
	struct source_list list;
	enum err_code rc = OK;

	*count_out = 0;
	TRY(store_source_stuck(product->store, REAP_BATCH, &list));
	for (size_t i = 0; i < list.count && rc == OK; i++) {
		int64_t place = -1;
		char job[96];

		job_id(&list.items[i], job, sizeof(job));
		rc = queue_position(product->queue, job, &place);
		if (rc != OK || place >= 0)
			continue; /* it waits for its turn */
		rc = knowledge_queue(product, &list.items[i]);
		if (rc == OK)
			(*count_out)++;
	}
	source_list_done(&list);
	return rc;
}
