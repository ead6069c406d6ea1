/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What S3 answered, in words. Its XML is flat where we read it (an <Error>, an
 * UploadId), so a bounded search for one element is all the parser there is;
 * libxml2 stays inside the child that extracts.
 */
#include <string.h>

#include "base/str.h"
#include "object/object_s3.h"

#define MESSAGE_SIZE 160

/* ---- elements ---- */

static const char *
find(const char *text, const char *end, const char *what)
{
	return memmem(text, (size_t)(end - text), what, strlen(what));
}

/* One character of text; `*at` moves past it. */
static char
take_char(const char **at, const char *end)
{
	static const struct {
		const char *name;
		char c;
	} entities[] = { { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' },
		{ "&quot;", '"' }, { "&apos;", '\'' }, { "&#34;", '"' },
		{ "&#39;", '\'' } };

	for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++) {
		size_t len = strlen(entities[i].name);

		if ((size_t)(end - *at) >= len &&
		    memcmp(*at, entities[i].name, len) == 0) {
			*at += len;
			return entities[i].c;
		}
	}
	return *(*at)++;
}

bool
object__s3_xml(const struct buf *xml, const char *tag, char *out, size_t size)
{
	const char *text = buf_str(xml), *from, *to;
	const char *end =
	    text + (xml->len < S3_XML_MAX ? xml->len : S3_XML_MAX);
	char mark[S3_CODE_SIZE + 4];
	size_t len = 0;

	must(strlen(tag) < S3_CODE_SIZE);
	strcat(strcat(strcpy(mark, "<"), tag), ">");
	from = find(text, end, mark);
	if (from == NULL)
		return false;
	from += strlen(mark);
	strcat(strcat(strcpy(mark, "</"), tag), ">");
	to = find(from, end, mark);
	if (to == NULL)
		return false;
	while (from < to) {
		char c = take_char(&from, to);

		if (len + 1 == size)
			return false;
		out[len++] = (unsigned char)c < ' ' ? ' ' : c;
	}
	out[len] = '\0';
	return true;
}

/* ---- sentences ---- */

/* Where a region differs, the answer tells the right one in one of these. */
static enum err_code
wrong_region(const struct object__s3 *s3, const struct http_call_reply *reply,
    int status)
{
	char right[S3_CODE_SIZE] = "";

	if (!http_call_header(
		reply, "x-amz-bucket-region", right, sizeof(right)) &&
	    !object__s3_xml(&reply->body, "Region", right, sizeof(right)))
		right[0] = '\0';
	return err_set(ERR_UNAVAILABLE,
	    "storage %s does not take STORAGE_REGION=%s for the bucket %s "
	    "(HTTP %d)%s%s",
	    s3->host, s3->keys.region, s3->bucket, status,
	    right[0] != '\0' ? "; it says " : "", right);
}

static bool
is(const struct object__s3_failure *why, const char *code)
{
	return strcmp(why->code, code) == 0;
}

/* HEAD has no body; any other 404 that S3 did not word is somebody else's, who
 * knows nothing of our objects. */
static bool
is_absence(const struct object__s3_failure *why)
{
	return why->head || is(why, "NoSuchKey") || is(why, "NoSuchBucket") ||
	       is(why, "NoSuchUpload");
}

/* By their codes where there are some, since the status varies and HEAD has no
 * body. */
static bool
is_refusal(const struct object__s3_failure *why)
{
	return why->status == 401 || why->status == 403 ||
	       is(why, "SignatureDoesNotMatch") ||
	       is(why, "InvalidAccessKeyId");
}

static enum err_code
refused(const struct object__s3 *s3, const struct object__s3_failure *why)
{
	if (is(why, "SignatureDoesNotMatch"))
		return err_set(ERR_UNAVAILABLE,
		    "storage %s refuses our signature: check "
		    "STORAGE_SECRET_KEY",
		    s3->host);
	if (is(why, "InvalidAccessKeyId"))
		return err_set(ERR_UNAVAILABLE,
		    "storage %s does not know the key: check "
		    "STORAGE_ACCESS_KEY",
		    s3->host);
	return err_set(ERR_UNAVAILABLE,
	    "storage %s denies access to the bucket %s (HTTP %d %s): check "
	    "STORAGE_ACCESS_KEY, STORAGE_SECRET_KEY and the rights of the key",
	    s3->host, s3->bucket, why->status, why->code);
}

static bool
is_region(const struct object__s3_failure *why)
{
	return why->status / 100 == 3 || is(why, "PermanentRedirect") ||
	       is(why, "AuthorizationHeaderMalformed") ||
	       is(why, "IllegalLocationConstraintException") ||
	       is(why, "InvalidLocationConstraint");
}

enum err_code
object__s3_explain(const struct object__s3 *s3,
    const struct object__s3_call *call, const struct object__s3_failure *why,
    const struct http_call_reply *reply)
{
	char message[MESSAGE_SIZE] = "", id[S3_CODE_SIZE] = "";
	int status = why->status;

	if (is_region(why))
		return wrong_region(s3, reply, status);
	if (is_refusal(why))
		return refused(s3, why);
	if (status == 404 && is_absence(why))
		return call->key != NULL
			   ? err_set(ERR_NOT_FOUND, "no object %s", call->key)
			   : err_set(ERR_NOT_FOUND,
				 "storage %s has no bucket %s", s3->host,
				 s3->bucket);
	if (status == 507)
		return err_set(ERR_DISK_FULL, "storage %s is full", s3->host);
	if (!object__s3_xml(&reply->body, "Message", message, sizeof(message)))
		message[0] = '\0';
	http_call_header(reply, "x-amz-request-id", id, sizeof(id));
	if (status == 404)
		return err_set(ERR_UNAVAILABLE,
		    "storage %s answered %s with HTTP 404 %s: %s; check "
		    "STORAGE_ENDPOINT_URL and STORAGE_ACCESS_KEY",
		    s3->host, call->method, why->code, message);
	return err_set(status >= 500 || status == 429 || status == 408
			   ? ERR_UNAVAILABLE
			   : ERR_UPSTREAM,
	    "storage %s answered %s with HTTP %d %s: %s (request id %s)",
	    s3->host, call->method, status, why->code, message,
	    id[0] != '\0' ? id : "unknown");
}
