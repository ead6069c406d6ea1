/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_OBJECT_SIGV4_H
#define XIN_OBJECT_SIGV4_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/crypto.h"

/*
 * AWS Signature Version 4 in the Authorization header, as S3 wants it: the path
 * is encoded once and not normalised.
 * docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 *
 * Ours, because libcurl 7.88 signs queries without putting them into the
 * canonical form. Pure functions; nothing here waits or fails.
 */
struct sigv4_pair {
	const char *name;
	const char *value;
};

struct sigv4_keys {
	const char *access_key;
	const char *secret_key;
	const char *region;
	const char *service; /* "s3" */
};

struct sigv4_request {
	const char *method;
	const char *path;  /* as it is sent, see sigv4_path */
	const char *query; /* as it is sent, see sigv4_query; "" = none */
	/* Every header to be signed, in any order: host, x-amz-* and what else
	 * is sent with a meaning. The same name twice is joined by a comma. */
	const struct sigv4_pair *headers;
	size_t header_count;
	const char *payload_sha256; /* hex, or UNSIGNED-PAYLOAD */
	const char *timestamp;      /* of sigv4_timestamp */
};

/* "20130524T000000Z" */
#define SIGV4_TIMESTAMP_SIZE 17
void sigv4_timestamp(uint64_t wall_ms, char out[SIGV4_TIMESTAMP_SIZE]);
/* Append `path` percent-encoded: all but A-Z a-z 0-9 - . _ ~ and "/". */
void sigv4_path(struct buf *out, const char *path);
/* Append the pairs encoded and sorted: "a=1&b=". At most 16. */
void sigv4_query(struct buf *out, const struct sigv4_pair *pairs, size_t count);
/* The canonical request, for the signature and for tests. */
void sigv4_canonical(const struct sigv4_request *request, struct buf *out);
/* Append the value of the Authorization header. */
void sigv4_authorization(const struct sigv4_request *request,
    const struct sigv4_keys *keys, struct buf *out);

#endif
