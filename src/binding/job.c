/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The document between two steps: what scripts see of it as a small table, and
 * what they may change of it by returning that table.
 */
#include "binding/job.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "binding/internal.h"

#define TITLE_MAX    1000
#define METADATA_MAX ((size_t)64 << 10)

static const char *
or_empty(const char *text)
{
	return text != NULL ? text : "";
}

static const json_t *
metadata_of(const struct binding_job *job)
{
	return job->made_metadata != NULL ? job->made_metadata : job->metadata;
}

json_t *
binding_job_view(const struct binding_job *job)
{
	const json_t *metadata = metadata_of(job);
	json_t *view = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:s}", "id",
	    or_empty(job->source_id), "brand", or_empty(job->brand), "version",
	    (json_int_t)job->version, "title",
	    job->made_title != NULL ? job->made_title : or_empty(job->title),
	    "content_type", or_empty(job->content_type), "filename",
	    or_empty(job->filename), "language",
	    job->made_language != NULL ? job->made_language : "und");

	must(view != NULL);
	json_object_set_new(view, "metadata",
	    metadata != NULL ? json_deep_copy(metadata) : json_object());
	return view;
}

static void
replace(char **field, const char *text, size_t max)
{
	char *copy = mem_strndup(text, strnlen(text, max));

	mem_free(*field);
	*field = copy;
}

static enum err_code
take_metadata(struct binding_job *job, json_t *metadata)
{
	struct buf text;
	bool fits;

	if (!json_is_object(metadata))
		return OK; /* an empty table, or not touched */
	if (json_equal(metadata, metadata_of(job)))
		return OK;
	buf_init(&text, METADATA_MAX);
	json_write(metadata, &text);
	fits = !text.full;
	buf_done(&text);
	if (!fits)
		return err_set(ERR_TOO_LARGE,
		    "the document's metadata is over %zu bytes", METADATA_MAX);
	json_decref(job->made_metadata);
	job->made_metadata = json_incref(metadata);
	return OK;
}

enum err_code
binding_job_take(struct binding_job *job, const json_t *document)
{
	const char *title, *language;

	if (!json_is_object(document))
		return err_set(ERR_SCRIPT,
		    "a step must return the document, or nil and an error");
	title = json_str(document, "title");
	language = json_str(document, "language");
	if (title != NULL && title[0] != '\0')
		replace(&job->made_title, title, TITLE_MAX);
	if (language != NULL && language[0] != '\0')
		replace(&job->made_language, language, 35);
	return take_metadata(job, json_object_get(document, "metadata"));
}

enum err_code
binding__job_failed(struct binding_job *job, enum err_code rc)
{
	err_save(&job->failure);
	job->failure.code = rc;
	return rc;
}

enum err_code
binding_job_outcome(struct binding_job *job, enum err_code rc)
{
	struct error failure = job->failure;

	job->failure = (struct error){ 0 };
	/* Only where the script handed it on: the sentence tells. */
	if (rc != ERR_SCRIPT || failure.code == OK ||
	    strstr(err_message(), failure.message) == NULL)
		return rc;
	err_restore(&failure);
	return failure.code;
}

enum err_code
binding__job_moved(struct binding_job *job)
{
	return job->moved != NULL ? job->moved(job) : OK;
}

int64_t
binding_job_chunks(const struct binding_job *job)
{
	return job->chunks != NULL ? (int64_t)job->chunks->count : 0;
}

int64_t
binding_job_blocks(const struct binding_job *job)
{
	return job->blocks != NULL
		   ? (int64_t)json_array_size(job->blocks->items)
		   : 0;
}

void
binding_job_done(struct binding_job *job)
{
	mem_free(job->made_title);
	mem_free(job->made_language);
	json_decref(job->made_metadata);
	binding__blocks_unref(job->blocks);
	binding__chunks_unref(job->chunks);
	json_decref(job->ledger);
	job->made_title = NULL;
	job->made_language = NULL;
	job->made_metadata = NULL;
	job->blocks = NULL;
	job->chunks = NULL;
	job->ledger = NULL;
}
