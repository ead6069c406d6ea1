/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_OBJECT_OBJECT_S3_H
#define XIN_OBJECT_OBJECT_S3_H

#include <stdatomic.h>
#include "net/http_client.h"
#include "object/object_backend.h"
#include "object/object_spool.h"
#include "object/sigv4.h"

/*
 * What the files of the S3 back end share. Needs a fiber: every call is HTTP.
 * docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html
 */
#define S3_CODE_SIZE 64
#define S3_XML_MAX   ((size_t)64 << 10)
#define S3_PATIENT   4 /* attempts of a call that somebody waits for */
#define S3_EMPTY_SHA256                                                        \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct object__s3 {
	struct object_store objects; /* first */
	struct sigv4_keys keys;
	const char *bucket;
	bool https;
	bool virtual_host;
	char *host; /* as it is signed and sent, the bucket in it if virtual */
	char *prefix; /* of all paths, the bucket in it unless virtual */
	struct object__spool *spool;
	_Atomic int64_t skew_ms; /* the storage's clock minus ours */
};

/* One operation. Zeroed fields mean none. */
struct object__s3_call {
	const char *method;
	const char *key; /* NULL = the bucket itself */
	const struct sigv4_pair *query;
	size_t query_count;
	const char *content_type;
	const void *body;
	size_t body_len;
	const struct http_file *file;
	const char *payload_sha256; /* hex; NULL = of the empty body */
	size_t max_reply_bytes;     /* of a 2xx answer; 0 = 64 KiB */
	enum err_code (*on_data)(void *arg, const char *data, size_t len);
	enum err_code (*restart)(void *arg); /* before on_data begins anew */
	void *arg;
	bool error_in_200;  /* such an answer may carry an <Error> after all */
	unsigned attempts;  /* 0 = S3_PATIENT */
	uint32_t within_ms; /* of each attempt; 0 = by the bytes to move */
};

/* How a call failed, for those to whom it makes a difference. */
struct object__s3_failure {
	int status; /* 0 = no answer */
	bool head;  /* of a HEAD, whose answers have no body */
	char code[S3_CODE_SIZE];
};

/* OK for 2xx only. Signs, retries what may pass by itself, corrects the clock
 * once. ERR_NOT_FOUND for 404; ERR_UNAVAILABLE, ERR_UPSTREAM and others with a
 * sentence that names storage and, where one is to blame, the setting. WAITS */
enum err_code object__s3_call(struct object__s3 *s3,
    const struct object__s3_call *call, struct object__s3_failure *failure,
    struct http_call_reply *reply_out);

/* The same for objects: makes the bucket when it turns out to be missing. */
enum err_code object__s3_call_in_bucket(struct object__s3 *s3,
    const struct object__s3_call *call, struct object__s3_failure *failure,
    struct http_call_reply *reply_out);

/* The text of the first such element, with the five entities replaced. Only
 * for S3's flat answers, cut at S3_XML_MAX: no parser, no recursion. */
bool object__s3_xml(
    const struct buf *xml, const char *tag, char *out, size_t size);
/* The sentence for an answer that was not 2xx. */
enum err_code object__s3_explain(const struct object__s3 *s3,
    const struct object__s3_call *call, const struct object__s3_failure *why,
    const struct http_call_reply *reply);

/* The clock of storage minus ours, in whole seconds' precision; false when
 * the answer tells no time. */
bool object__s3_clock(const struct http_call_reply *reply, int64_t *ms_out);

enum err_code object__s3_put_begin(
    struct object_store *objects, struct object_writer **writer_out);
enum err_code object__s3_put_write(
    struct object_writer *writer, const void *data, size_t len);
enum err_code object__s3_put_commit(
    struct object_writer *writer, const char *key);
void object__s3_put_abort(struct object_writer *writer);

#endif
