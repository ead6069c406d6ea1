/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_KNOWLEDGE_H
#define XIN_DOMAIN_KNOWLEDGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "domain/product.h"
#include "object/object.h"
#include "store/store.h"

/*
 * Documents and their way to knowledge. The store row is the truth, the queue
 * message a wake-up: a row without a message is found by knowledge_reap.
 */
struct knowledge_upload {
	const char *brand;
	const char *title;        /* NULL = the file name, or "untitled" */
	const char *filename;     /* may be NULL */
	const char *content_type; /* "" = by the file name */
	const char *external_id;  /* may be NULL */
	const char *source_url;   /* may be NULL */
	const char *metadata;     /* JSON object text */
	char sha256[65];
	int64_t size_bytes;
	bool force;
	const char *replace_id; /* PUT: a new version of this source */
};

/* Commit the written bytes as an object, add the row, queue the job. On OK the
 * writer is gone in every case. *existed_out: the same bytes, title and
 * metadata were there. WAITS. */
enum err_code knowledge_add(struct product *product,
    const struct knowledge_upload *upload, struct object_writer *writer,
    struct source *source_out, bool *existed_out);
/* Can this be read? `head` is the first bytes (KNOWLEDGE_HEAD_BYTES of them, or
 * the whole upload), which count more than type and name. ERR_MEDIA_TYPE names
 * what can be read. */
#define KNOWLEDGE_HEAD_BYTES 1024
enum err_code knowledge_check_type(const char *content_type,
    const char *filename, const void *head, size_t len);

/* The API's view of a source: see GET /v1/brands/{brand}/knowledge/{id}. New
 * reference. WAITS (queue position). */
json_t *knowledge_view(struct product *product, const struct source *source);
/* Why it is where it is. New reference. WAITS. */
enum err_code knowledge_explain(struct product *product,
    const struct source *source, json_t **explanation_out);

enum err_code knowledge_retry(
    struct product *product, const char *brand, const char *id);
/* Every failed source of the brand; *count_out of them were queued. */
enum err_code knowledge_retry_failed(
    struct product *product, const char *brand, int64_t *count_out);
/* The same bytes through the pipeline again, as a new version. */
enum err_code knowledge_reindex(
    struct product *product, const char *brand, const char *id);
enum err_code knowledge_cancel(
    struct product *product, const char *brand, const char *id);
enum err_code knowledge_delete(
    struct product *product, const char *brand, const char *id);

/* Queue a job for a source's newest version. WAITS. */
enum err_code knowledge_queue(
    struct product *product, const struct source *source);
/* Jobs for rows that have none: pending and due, or with an expired lease.
 * Called regularly by the worker. WAITS. */
enum err_code knowledge_reap(struct product *product, int64_t *count_out);

#endif
