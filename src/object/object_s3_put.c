/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A put waits in the spool until its key is known, and goes up from there: in
 * one request up to PART_BYTES, else in parts of that size, one after the
 * other, each read from the file while it is sent. The hash that each request
 * is signed with is taken while the bytes come in, so they are not read twice;
 * storage compares it with what arrived, which is why no Content-MD5 is sent.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "object/object_s3.h"

#define PART_BYTES    ((uint64_t)16 << 20) /* 10,000 of them hold 156 GiB */
#define PARTS_MAX     10000
#define UPLOAD_ID_MAX 2048
#define ETAG_MAX      128
#define ABORT_TRIES   2

struct s3_writer {
	struct object_writer writer; /* first */
	int fd;
	uint64_t size;
	struct crypto_hash *hash; /* of the part that comes in */
	uint64_t hashed;          /* bytes of it */
	struct buf hashes;        /* SHA256_HEX_SIZE for each whole part */
};

static struct object__s3 *
s3_of(const struct s3_writer *w)
{
	return (struct object__s3 *)w->writer.objects;
}

/* ---- bytes come in ---- */

struct piece {
	struct object__spool *spool;
	struct s3_writer *w;
	const char *data;
	size_t len;
};

static void
end_part(struct s3_writer *w)
{
	uint8_t digest[SHA256_SIZE];
	char hex[SHA256_HEX_SIZE];

	crypto_hash_end(w->hash, digest);
	crypto_hash_free(w->hash);
	crypto_hex(digest, sizeof(digest), hex);
	buf_add(&w->hashes, hex, sizeof(hex));
	w->hash = crypto_hash_new();
	w->hashed = 0;
}

static void
add_to_hashes(struct s3_writer *w, const char *data, size_t len)
{
	while (len > 0) {
		uint64_t room = PART_BYTES - w->hashed;
		size_t n = len < room ? len : (size_t)room;

		crypto_hash_add(w->hash, data, n);
		w->hashed += n;
		data += n;
		len -= n;
		if (w->hashed == PART_BYTES)
			end_part(w);
	}
}

static enum err_code
begin_in_pool(void *arg)
{
	struct piece *p = arg;

	return object__spool_file(p->spool, &p->w->fd);
}

static enum err_code
add_in_pool(void *arg)
{
	struct piece *p = arg;

	TRY(object__spool_add(p->spool, p->w->fd, p->data, p->len));
	add_to_hashes(p->w, p->data, p->len);
	p->w->size += p->len;
	return OK;
}

static enum err_code
close_in_pool(void *arg)
{
	struct piece *p = arg;

	object__spool_close(p->spool, p->w->fd);
	return OK;
}

static void
writer_free(struct object__spool *spool, struct s3_writer *w)
{
	struct piece p = { .spool = spool, .w = w };
	struct error kept;

	err_save(&kept);
	(void)pool_run(close_in_pool, &p);
	err_restore(&kept);
	crypto_hash_free(w->hash);
	buf_done(&w->hashes);
	mem_free(w);
}

enum err_code
object__s3_put_begin(
    struct object_store *objects, struct object_writer **writer_out)
{
	struct s3_writer *w = mem_zero(sizeof(*w));
	struct piece p = { .spool = ((struct object__s3 *)objects)->spool,
		.w = w };
	enum err_code rc;

	w->fd = -1;
	w->hash = crypto_hash_new();
	buf_init(&w->hashes, 0);
	rc = pool_run(begin_in_pool, &p);
	if (rc != OK) {
		writer_free(p.spool, w);
		return rc;
	}
	*writer_out = &w->writer;
	return OK;
}

enum err_code
object__s3_put_write(struct object_writer *writer, const void *data, size_t len)
{
	struct s3_writer *w = (struct s3_writer *)writer;
	struct piece p = {
		.spool = s3_of(w)->spool, .w = w, .data = data, .len = len
	};

	return pool_run(add_in_pool, &p);
}

void
object__s3_put_abort(struct object_writer *writer)
{
	struct s3_writer *w = (struct s3_writer *)writer;

	writer_free(s3_of(w)->spool, w);
}

/* ---- and go up ---- */

static const char *
hash_of_part(const struct s3_writer *w, size_t i)
{
	return w->hashes.data + i * SHA256_HEX_SIZE;
}

static enum err_code
put_whole(struct s3_writer *w, const char *key)
{
	struct http_file file = { w->fd, 0, w->size };
	struct object__s3_call call = { .method = "PUT",
		.key = key,
		.content_type = "application/octet-stream",
		.file = &file,
		.payload_sha256 = hash_of_part(w, 0) };

	return object__s3_call_in_bucket(s3_of(w), &call, NULL, NULL);
}

struct parts {
	struct s3_writer *w;
	const char *key;
	char id[UPLOAD_ID_MAX];
	struct buf list; /* the body of the completion */
};

static enum err_code
parts_begin(struct parts *parts)
{
	static const struct sigv4_pair uploads = { "uploads", "" };
	struct object__s3 *s3 = s3_of(parts->w);
	struct object__s3_call call = { .method = "POST",
		.key = parts->key,
		.query = &uploads,
		.query_count = 1,
		.content_type = "application/octet-stream" };
	struct http_call_reply reply;
	bool found;

	TRY(object__s3_call_in_bucket(s3, &call, NULL, &reply));
	found = object__s3_xml(
	    &reply.body, "UploadId", parts->id, sizeof(parts->id));
	http_call_reply_done(&reply);
	return found ? OK
		     : err_set(ERR_UPSTREAM,
			   "storage %s began an upload without an UploadId",
			   s3->host);
}

/* Its ETag goes into the list as it came, quotes and all. */
static enum err_code
list_part(
    struct parts *parts, unsigned number, const struct http_call_reply *reply)
{
	char etag[ETAG_MAX];

	if (!http_call_header(reply, "etag", etag, sizeof(etag)) ||
	    strpbrk(etag, "<>&") != NULL)
		return err_set(ERR_UPSTREAM,
		    "storage %s took part %u without a usable ETag",
		    s3_of(parts->w)->host, number);
	buf_addf(&parts->list,
	    "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", number,
	    etag);
	return OK;
}

static enum err_code
forgotten(const struct parts *parts)
{
	return err_set(ERR_UNAVAILABLE,
	    "storage %s forgot an upload before its end",
	    s3_of(parts->w)->host);
}

static enum err_code
put_part(struct parts *parts, unsigned number)
{
	struct s3_writer *w = parts->w;
	uint64_t from = (uint64_t)(number - 1) * PART_BYTES;
	uint64_t left = w->size - from;
	struct http_file file = { w->fd, from,
		left < PART_BYTES ? left : PART_BYTES };
	char digits[12];
	const struct sigv4_pair query[] = { { "partNumber", digits },
		{ "uploadId", parts->id } };
	struct object__s3_call call = { .method = "PUT",
		.key = parts->key,
		.query = query,
		.query_count = 2,
		.file = &file,
		.payload_sha256 = hash_of_part(w, number - 1) };
	struct http_call_reply reply;
	enum err_code rc;

	snprintf(digits, sizeof(digits), "%u", number);
	rc = object__s3_call(s3_of(w), &call, NULL, &reply);
	if (rc == ERR_NOT_FOUND)
		return forgotten(parts);
	if (rc != OK)
		return rc;
	rc = list_part(parts, number, &reply);
	http_call_reply_done(&reply);
	return rc;
}

/* The answer to a completion was lost, and the second one finds no upload: the
 * object is there, then. */
static bool
is_there(struct parts *parts)
{
	struct object__s3_call call = { .method = "HEAD", .key = parts->key };
	struct http_call_reply reply;
	char length[24] = "";
	uint64_t size = 0;

	if (object__s3_call(s3_of(parts->w), &call, NULL, &reply) != OK)
		return false;
	http_call_header(&reply, "content-length", length, sizeof(length));
	http_call_reply_done(&reply);
	return str_to_u64(length, &size) && size == parts->w->size;
}

static enum err_code
parts_complete(struct parts *parts)
{
	const struct sigv4_pair id = { "uploadId", parts->id };
	char hash[SHA256_HEX_SIZE];
	struct object__s3_call call = { .method = "POST",
		.key = parts->key,
		.query = &id,
		.query_count = 1,
		.content_type = "application/xml",
		.payload_sha256 = hash,
		.error_in_200 = true };
	struct object__s3_failure why;
	enum err_code rc;

	buf_adds(&parts->list, "</CompleteMultipartUpload>");
	call.body = parts->list.data;
	call.body_len = parts->list.len;
	crypto_sha256_hex(call.body, call.body_len, hash);
	rc = object__s3_call(s3_of(parts->w), &call, &why, NULL);
	if (rc != ERR_NOT_FOUND)
		return rc;
	return is_there(parts) ? OK : forgotten(parts);
}

/* Parts that nobody completes are kept, and billed, for ever. */
static void
parts_abort(struct parts *parts)
{
	const struct sigv4_pair id = { "uploadId", parts->id };
	struct object__s3_call call = { .method = "DELETE",
		.key = parts->key,
		.query = &id,
		.query_count = 1,
		.attempts = ABORT_TRIES };
	struct error kept;
	enum err_code rc;

	err_save(&kept);
	fiber_shield();
	rc = object__s3_call(s3_of(parts->w), &call, NULL, NULL);
	fiber_unshield();
	if (rc != OK && rc != ERR_NOT_FOUND)
		log_warn("object.left_behind", kv_str("object", parts->key),
		    kv_str("upload_id", parts->id),
		    kv_error("error", err_message()));
	err_restore(&kept);
}

static enum err_code
put_in_parts(struct s3_writer *w, const char *key)
{
	unsigned count = (unsigned)((w->size + PART_BYTES - 1) / PART_BYTES);
	struct parts *parts = mem_zero(sizeof(*parts));
	enum err_code rc;

	parts->w = w;
	parts->key = key;
	buf_adds(&parts->list, "<CompleteMultipartUpload>");
	rc = parts_begin(parts);
	for (unsigned i = 1; rc == OK && i <= count; i++)
		rc = put_part(parts, i);
	if (rc == OK)
		rc = parts_complete(parts);
	if (rc != OK && parts->id[0] != '\0')
		parts_abort(parts);
	buf_done(&parts->list);
	mem_free(parts);
	return rc;
}

enum err_code
object__s3_put_commit(struct object_writer *writer, const char *key)
{
	struct s3_writer *w = (struct s3_writer *)writer;
	enum err_code rc;

	if (w->hashed > 0 || w->size == 0)
		end_part(w);
	if (w->size <= PART_BYTES)
		rc = put_whole(w, key);
	else if (w->size <= PART_BYTES * PARTS_MAX)
		rc = put_in_parts(w, key);
	else
		rc = err_set(
		    ERR_TOO_LARGE, "an object is at most %d parts", PARTS_MAX);
	writer_free(s3_of(w)->spool, w);
	return rc;
}
