/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BINDING_JOB_H
#define XIN_BINDING_JOB_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/*
 * What pipeline steps work on: one document on its way into the index. The
 * domain fills the first part, gives it to the session with
 * script_session_set_user, calls each step's run(document, settings) with the
 * fields of binding_job_view, and reads the counters. Blocks and chunks never
 * pass through Lua values between steps: they live here, steps reach them
 * through xin.document, and hand over lists that stay native.
 *
 *	struct binding_job job = { .brand = ..., .path = ..., ... };
 *	script_session_set_user(session, &job);
 *	for each step:
 *		args = [binding_job_view(&job), settings]
 *		rc = script_call(session, SCRIPT_STEP, step, "run", args, &doc);
 *		rc = binding_job_outcome(&job, rc);
 *		if (rc == OK)
 *			rc = binding_job_take(&job, doc);
 *	binding_job_done(&job);
 */
struct search;
struct embedder;
struct kv;
struct binding_blocks;
struct binding_chunks;

struct binding_job {
	/* ---- the owner fills these; borrowed ---- */
	const char *brand;
	const char *source_id;
	int64_t version;
	const char *path;         /* local file with the bytes: object_local */
	const char *title;        /* as uploaded; may be NULL */
	const char *filename;     /* may be NULL */
	const char *content_type; /* may be NULL */
	const json_t *metadata;   /* object, may be NULL */
	const json_t *guardrails; /* the brand module's list, may be NULL */
	struct search *search;
	struct embedder *embedder; /* NULL = no vectors are made */
	struct kv *kv;
	uint64_t deadline_ms; /* of the whole job; 0 = the task's */
	/* Called on the fiber whenever the counters moved on; may be NULL. An
	 * error (lease lost, cancelled) ends the running host call. */
	enum err_code (*moved)(struct binding_job *job);
	void *owner; /* for `moved` */

	/* ---- what steps made; binding_job_done frees ---- */
	char *made_title;      /* NULL = the uploaded one stands */
	char *made_language;   /* "fa", NULL = not known yet */
	json_t *made_metadata; /* NULL = as uploaded */
	struct binding_blocks *blocks;
	struct binding_chunks *chunks;
	json_t *ledger; /* guard verdicts that were not "allow"; capped */

	/* ---- where to go on; see checkpoint.c ---- */
	int64_t resume_at;  /* chunks that are in the index already */
	int64_t put;        /* chunks in the index by the running step */
	bool worth_keeping; /* what the running step made was dear to make */

	/* ---- counters ---- */
	int64_t done, total; /* of the running step */
	int64_t indexed;     /* chunks put into the index */
	int64_t dropped;     /* chunks that a guard blocked */
	int64_t rewritten;   /* chunks that a guard changed */

	/* The failure behind a step's `nil, err`, with its own code. */
	struct error failure;
};

/* The document as a step sees it: {id, brand, version, title, content_type,
 * filename, metadata, language}. New reference. */
json_t *binding_job_view(const struct binding_job *job);
/* Keep what a step returned: title, language and metadata may change, the rest
 * is ignored. ERR_SCRIPT when the value is not such a table. */
enum err_code binding_job_take(struct binding_job *job, const json_t *document);
/* The code to report for script_call's `rc`: where a step only passed on the
 * failure of a host call, that failure (ERR_MEDIA_TYPE, ERR_UNAVAILABLE ...)
 * instead of ERR_SCRIPT. Clears the record for the next step. */
enum err_code binding_job_outcome(struct binding_job *job, enum err_code rc);
/* The job between two steps as JSON text, for another attempt to go on from;
 * pure, fit for a pool thread. `out->full` tells that it is over its ceiling.
 */
void binding_job_save(const struct binding_job *job, struct buf *out);
/* What binding_job_save wrote takes the place of what steps made. */
void binding_job_load(struct binding_job *job, const json_t *saved);
/* Chunks there are now. */
int64_t binding_job_chunks(const struct binding_job *job);
int64_t binding_job_blocks(const struct binding_job *job);
void binding_job_done(struct binding_job *job);

#endif
