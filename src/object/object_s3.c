/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects in a bucket of an S3 service. Opening only reads the settings: the
 * service may be away, and the bucket is made when a call finds it missing.
 * What is fetched for a parser waits in the spool, as what is put does.
 */
#include "object/object_s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checkup.h"
#include "base/config.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"

#define SCHEME      "s3:"
#define PING_MS     2000 /* a probe waits for it */
#define BUCKET_SAFE "abcdefghijklmnopqrstuvwxyz0123456789.-"
#define URL_SAFE                                                               \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"                 \
	"0123456789-._~"

/* ---- settings ---- */

static enum err_code
check_all_set(void)
{
	static const enum config needed[] = { CFG_STORAGE_ENDPOINT,
		CFG_STORAGE_ACCESS_KEY, CFG_STORAGE_SECRET_KEY,
		CFG_STORAGE_REGION, CFG_STORAGE_BUCKET };
	enum err_code rc = OK;
	struct buf missing;

	buf_init(&missing, 0);
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (config_str(needed[i])[0] == '\0')
			buf_addf(&missing, "%s%s", missing.len > 0 ? ", " : "",
			    config_name(needed[i]));
	if (missing.len > 0)
		rc = err_set(ERR_CONFIG,
		    "storage on S3 also needs %s (of STORAGE_ENDPOINT_URL, "
		    "_ACCESS_KEY, _SECRET_KEY, _REGION, _BUCKET)",
		    buf_str(&missing));
	buf_done(&missing);
	return rc;
}

static enum err_code
check_bucket(struct object__s3 *s3)
{
	size_t len = strlen(s3->bucket);

	if (len < 3 || len > 63 || strspn(s3->bucket, BUCKET_SAFE) != len ||
	    strchr(".-", s3->bucket[0]) != NULL)
		return err_set(ERR_CONFIG,
		    "STORAGE_BUCKET=%.80s: want 3 to 63 of [a-z0-9.-]",
		    s3->bucket);
	if (s3->virtual_host && s3->https && strchr(s3->bucket, '.') != NULL)
		return err_set(ERR_CONFIG,
		    "STORAGE_BUCKET=%s: no certificate covers a name with dots "
		    "before the host; set XIN_STORAGE_STYLE=path",
		    s3->bucket);
	return OK;
}

/* http(s)://host[:port][/prefix]. The port that the scheme implies is left
 * out, as it is in the Host header. */
static enum err_code
take_endpoint(struct object__s3 *s3)
{
	const char *url = config_str(CFG_STORAGE_ENDPOINT), *host, *path;
	const char *implied;
	size_t host_len, path_len;

	s3->https = str_starts(url, "https://");
	if (!s3->https && !str_starts(url, "http://"))
		goto bad;
	host = strstr(url, "://") + 3;
	host_len = strcspn(host, "/");
	path = host + host_len;
	path_len = strlen(path);
	while (path_len > 0 && path[path_len - 1] == '/')
		path_len--;
	implied = s3->https ? ":443" : ":80";
	if (host_len > strlen(implied) &&
	    strncmp(path - strlen(implied), implied, strlen(implied)) == 0)
		host_len -= strlen(implied);
	if (host_len == 0 || strspn(host, URL_SAFE ":[]") < host_len ||
	    strspn(path, URL_SAFE "/") < path_len)
		goto bad;
	s3->host = s3->virtual_host
		       ? mem_printf("%s.%.*s", s3->bucket, (int)host_len, host)
		       : mem_strndup(host, host_len);
	s3->prefix = s3->virtual_host ? mem_strndup(path, path_len)
				      : mem_printf("%.*s/%s", (int)path_len,
					    path, s3->bucket);
	return OK;
bad:
	return err_set(ERR_CONFIG,
	    "STORAGE_ENDPOINT_URL: want http(s)://host[:port], without a user");
}

static enum err_code
take_settings(struct object__s3 *s3)
{
	const char *style = config_str(CFG_STORAGE_STYLE);

	TRY(check_all_set());
	s3->virtual_host = strcmp(style, "virtual") == 0;
	if (!s3->virtual_host && strcmp(style, "path") != 0)
		return err_set(ERR_CONFIG,
		    "XIN_STORAGE_STYLE=%.32s: want path or virtual", style);
	s3->bucket = config_str(CFG_STORAGE_BUCKET);
	s3->keys = (struct sigv4_keys){
		.access_key = config_str(CFG_STORAGE_ACCESS_KEY),
		.secret_key = config_str(CFG_STORAGE_SECRET_KEY),
		.region = config_str(CFG_STORAGE_REGION),
		.service = "s3",
	};
	if (strpbrk(s3->keys.access_key, "\r\n/, ") != NULL ||
	    strspn(s3->keys.region, URL_SAFE) != strlen(s3->keys.region))
		return err_set(ERR_CONFIG,
		    "STORAGE_ACCESS_KEY or STORAGE_REGION has characters that "
		    "no signature can carry");
	TRY(take_endpoint(s3));
	return check_bucket(s3);
}

static void
s3_close(struct object_store *objects)
{
	struct object__s3 *s3 = (struct object__s3 *)objects;

	object__spool_free(s3->spool);
	mem_free(s3->host);
	mem_free(s3->prefix);
	mem_free(s3);
}

static enum err_code
s3_open(const char *url, struct object_store **objects_out)
{
	struct object__s3 *s3;
	enum err_code rc;
	char *folder;

	if (url[strlen(SCHEME)] != '\0')
		return err_set(ERR_CONFIG,
		    "objects URL: \"s3:\" stands alone; STORAGE_* say the "
		    "rest");
	s3 = mem_zero(sizeof(*s3));
	folder = mem_printf("%s/spool", config_str(CFG_DATA_DIR));
	rc = take_settings(s3);
	if (rc == OK)
		rc = object__spool_open(
		    folder, (uint64_t)config_int(CFG_SPOOL_BYTES), &s3->spool);
	mem_free(folder);
	if (rc != OK) {
		s3_close(&s3->objects);
		return rc;
	}
	*objects_out = &s3->objects;
	return OK;
}

/* ---- the bucket ---- */

/* Whoever makes it first: that it is there is what counts. Should it belong to
 * somebody else, the next call is told so. */
static enum err_code
make_bucket(struct object__s3 *s3)
{
	char hash[SHA256_HEX_SIZE];
	struct object__s3_call call = { .method = "PUT",
		.payload_sha256 = hash };
	struct object__s3_failure why;
	enum err_code rc;
	struct buf body;

	buf_init(&body, 0);
	if (strcmp(s3->keys.region, "us-east-1") != 0)
		buf_addf(&body,
		    "<CreateBucketConfiguration "
		    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
		    "<LocationConstraint>%s</LocationConstraint>"
		    "</CreateBucketConfiguration>",
		    s3->keys.region);
	if (body.len > 0)
		call.content_type = "application/xml";
	call.body = buf_str(&body);
	call.body_len = body.len;
	crypto_sha256_hex(call.body, call.body_len, hash);
	rc = object__s3_call(s3, &call, &why, NULL);
	if (strcmp(why.code, "BucketAlreadyOwnedByYou") == 0 ||
	    strcmp(why.code, "BucketAlreadyExists") == 0)
		rc = OK;
	buf_done(&body);
	return rc;
}

enum err_code
object__s3_call_in_bucket(struct object__s3 *s3,
    const struct object__s3_call *call, struct object__s3_failure *failure,
    struct http_call_reply *reply_out)
{
	struct object__s3_failure why;
	enum err_code rc = object__s3_call(s3, call, &why, reply_out);

	if (rc != OK && strcmp(why.code, "NoSuchBucket") == 0) {
		TRY(make_bucket(s3));
		rc = object__s3_call(s3, call, &why, reply_out);
	}
	if (failure != NULL)
		*failure = why;
	return rc;
}

/* HEAD says no more than its status; asking for the location with the same key
 * gets the reason of a refusal in words. */
static enum err_code
s3_ping(struct object_store *objects)
{
	static const struct sigv4_pair location = { "location", "" };
	struct object__s3 *s3 = (struct object__s3 *)objects;
	struct object__s3_call head = {
		.method = "HEAD", .attempts = 1, .within_ms = PING_MS
	};
	struct object__s3_call ask = { .method = "GET",
		.query = &location,
		.query_count = 1,
		.attempts = 1,
		.within_ms = PING_MS };
	struct object__s3_failure why;
	struct error kept;
	enum err_code rc = object__s3_call(s3, &head, &why, NULL);

	if (rc == OK || why.status == 0)
		return rc;
	if (why.status == 404)
		return make_bucket(s3);
	err_save(&kept);
	if (object__s3_call(s3, &ask, NULL, NULL) == OK)
		err_restore(&kept);
	return rc;
}

static enum err_code
s3_checkup(struct object_store *objects, struct checkup *checkup)
{
	struct object__s3 *s3 = (struct object__s3 *)objects;
	struct object__s3_call head = {
		.method = "HEAD", .attempts = 1, .within_ms = PING_MS
	};
	struct http_call_reply reply;
	int64_t skew_ms = 0;

	TRY(object__s3_call(s3, &head, NULL, &reply));
	object__s3_clock(&reply, &skew_ms);
	http_call_reply_done(&reply);
	snprintf(checkup->facts, sizeof(checkup->facts),
	    "S3 %.100s, bucket %.63s, region %.40s, clock %+lld s", s3->host,
	    s3->bucket, s3->keys.region, (long long)skew_ms / 1000);
	if (llabs(skew_ms) > CHECKUP_SKEW_MS)
		snprintf(checkup->advice, sizeof(checkup->advice),
		    "the clock of storage differs by %lld s: signatures fail "
		    "from 15 minutes on, set the clock",
		    llabs(skew_ms) / 1000);
	return OK;
}

/* ---- objects ---- */

static enum err_code
s3_get(struct object_store *objects, const char *key, size_t max_bytes,
    struct buf *data_out)
{
	struct object__s3_call call = {
		.method = "GET", .key = key, .max_reply_bytes = max_bytes
	};
	struct http_call_reply reply;

	TRY(object__s3_call((struct object__s3 *)objects, &call, NULL, &reply));
	*data_out = reply.body;
	buf_done(&reply.headers);
	return OK;
}

struct download {
	struct object__spool *spool;
	int fd;
	const char *data;
	size_t len;
};

static enum err_code
make_in_pool(void *arg)
{
	struct download *d = arg;

	return object__spool_file(d->spool, &d->fd);
}

static enum err_code
add_in_pool(void *arg)
{
	struct download *d = arg;

	return object__spool_add(d->spool, d->fd, d->data, d->len);
}

static enum err_code
empty_in_pool(void *arg)
{
	struct download *d = arg;

	return object__spool_empty(d->spool, d->fd);
}

static enum err_code
close_in_pool(void *arg)
{
	struct download *d = arg;

	object__spool_close(d->spool, d->fd);
	return OK;
}

static void
download_close(struct download *d)
{
	struct error kept;

	err_save(&kept);
	(void)pool_run(close_in_pool, d);
	err_restore(&kept);
}

static enum err_code
on_piece(void *arg, const char *data, size_t len)
{
	struct download *d = arg;

	d->data = data;
	d->len = len;
	return pool_run(add_in_pool, d);
}

static enum err_code
on_restart(void *arg)
{
	return pool_run(empty_in_pool, arg);
}

/* The file has no name but the one that its descriptor gives it, for us and
 * for our children. */
static enum err_code
s3_local(struct object_store *objects, const char *key, char **path_out)
{
	struct object__s3 *s3 = (struct object__s3 *)objects;
	struct download d = { .spool = s3->spool, .fd = -1 };
	struct object__s3_call call = { .method = "GET",
		.key = key,
		.max_reply_bytes = SIZE_MAX,
		.on_data = on_piece,
		.restart = on_restart,
		.arg = &d };
	enum err_code rc;

	TRY(pool_run(make_in_pool, &d));
	rc = object__s3_call(s3, &call, NULL, NULL);
	if (rc != OK) {
		download_close(&d);
		return rc;
	}
	*path_out = mem_printf("/proc/%d/fd/%d", (int)getpid(), d.fd);
	return OK;
}

static void
s3_release(struct object_store *objects, char *path)
{
	struct download d = { .spool = ((struct object__s3 *)objects)->spool };

	d.fd = (int)strtol(strrchr(path, '/') + 1, NULL, 10);
	download_close(&d);
	mem_free(path);
}

static enum err_code
s3_delete(struct object_store *objects, const char *key)
{
	struct object__s3_call call = { .method = "DELETE", .key = key };
	enum err_code rc =
	    object__s3_call((struct object__s3 *)objects, &call, NULL, NULL);

	return rc == ERR_NOT_FOUND ? OK : rc;
}

const struct object_backend object_s3_backend = {
	.scheme = SCHEME,
	.open = s3_open,
	.close = s3_close,
	.ping = s3_ping,
	.checkup = s3_checkup,
	.put_begin = object__s3_put_begin,
	.put_write = object__s3_put_write,
	.put_commit = object__s3_put_commit,
	.put_abort = object__s3_put_abort,
	.get = s3_get,
	.local = s3_local,
	.release = s3_release,
	.delete = s3_delete,
};
