/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front of the object store: choice of back end, keys, and the gathering of
 * small pieces, so that a body that comes in packets is written in blocks.
 */
#include "object/object.h"

#include <string.h>

#include "base/mem.h"
#include "base/span.h"
#include "base/str.h"
#include "object/object_backend.h"

#define KEY_MAX_BYTES 512
#define BLOCK_BYTES   ((size_t)256 << 10)

static const struct object_backend *const backends[] = {
	&object_file_backend,
	&object_s3_backend,
};

enum err_code
object_open(const char *url, struct object_store **objects_out)
{
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		struct object_store *objects;

		if (!str_starts(url, backends[i]->scheme))
			continue;
		TRY(backends[i]->open(url, &objects));
		objects->backend = backends[i];
		*objects_out = objects;
		return OK;
	}
	return err_set(
	    ERR_CONFIG, "objects URL \"%.64s\": want file:/path or s3:", url);
}

void
object_close(struct object_store *objects)
{
	if (objects != NULL)
		objects->backend->close(objects);
}

enum err_code
object_checkup(struct object_store *objects, struct checkup *checkup)
{
	TRY(object_ping(objects));
	return objects->backend->checkup(objects, checkup);
}

enum err_code
object_ping(struct object_store *objects)
{
	enum err_code rc = objects->backend->ping(objects);

	return rc == OK ? OK : err_add(ERR_UNAVAILABLE, "objects");
}

/* Parts of [A-Za-z0-9._-] between slashes; none is empty or begins with a dot,
 * so neither ".." nor the folder of temporary files can be named. */
static enum err_code
check_key(const char *key)
{
	static const char allowed[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	    "0123456789._-/";
	size_t len = key == NULL ? 0 : strnlen(key, KEY_MAX_BYTES + 1);
	char before = '/';

	if (len == 0 || len > KEY_MAX_BYTES)
		return err_set(ERR_INVALID, "object key: want 1 to %d bytes",
		    KEY_MAX_BYTES);
	if (strspn(key, allowed) != len || key[len - 1] == '/')
		return err_set(ERR_INVALID,
		    "object key: want parts of [A-Za-z0-9._-] between slashes");
	for (size_t i = 0; i < len; before = key[i++])
		if (before == '/' && (key[i] == '/' || key[i] == '.'))
			return err_set(ERR_INVALID,
			    "object key: a part is empty or begins with a dot");
	return OK;
}

enum err_code
object_put_begin(
    struct object_store *objects, struct object_writer **writer_out)
{
	struct object_writer *writer;

	TRY(objects->backend->put_begin(objects, &writer));
	writer->objects = objects;
	buf_init(&writer->pending, 0);
	*writer_out = writer;
	return OK;
}

static enum err_code
flush(struct object_writer *writer)
{
	const struct object_backend *backend = writer->objects->backend;

	if (writer->pending.len == 0)
		return OK;
	TRY(backend->put_write(
	    writer, writer->pending.data, writer->pending.len));
	buf_clear(&writer->pending);
	return OK;
}

enum err_code
object_put_write(struct object_writer *writer, const void *data, size_t len)
{
	if (writer->pending.len + len < BLOCK_BYTES) {
		buf_add(&writer->pending, data, len);
		return OK;
	}
	TRY(flush(writer));
	if (len >= BLOCK_BYTES)
		return writer->objects->backend->put_write(writer, data, len);
	buf_add(&writer->pending, data, len);
	return OK;
}

/* There are no conventions for object stores; S3's requests are spans below. */
static struct span *
begin_span(const char *name, const char *key)
{
	struct span *span = span_begin(SPAN_INTERNAL, name);

	span_add(span, attr_str(ATTR_OBJECT_KEY, key));
	return span;
}

static enum err_code
commit(struct object_writer *writer, const char *key)
{
	struct span *span = begin_span("object.put", key);
	enum err_code rc = writer->objects->backend->put_commit(writer, key);

	span_end_call(span, rc);
	return rc;
}

enum err_code
object_put_commit(struct object_writer *writer, const char *key)
{
	enum err_code rc = check_key(key);

	if (rc == OK)
		rc = flush(writer);
	buf_done(&writer->pending);
	if (rc != OK) {
		writer->objects->backend->put_abort(writer);
		return rc;
	}
	return commit(writer, key);
}

void
object_put_abort(struct object_writer *writer)
{
	if (writer == NULL)
		return;
	buf_done(&writer->pending);
	writer->objects->backend->put_abort(writer);
}

enum err_code
object_put(
    struct object_store *objects, const char *key, const void *data, size_t len)
{
	struct object_writer *writer;
	enum err_code rc;

	TRY(check_key(key));
	TRY(object_put_begin(objects, &writer));
	rc = object_put_write(writer, data, len);
	if (rc != OK) {
		object_put_abort(writer);
		return rc;
	}
	return object_put_commit(writer, key);
}

enum err_code
object_get(struct object_store *objects, const char *key, size_t max_bytes,
    struct buf *data_out)
{
	struct span *span;
	enum err_code rc;

	TRY(check_key(key));
	span = begin_span("object.get", key);
	rc = objects->backend->get(objects, key, max_bytes, data_out);
	if (rc == OK)
		span_add(span, attr_int(ATTR_BYTES, (int64_t)data_out->len));
	span_end_call(span, rc);
	return rc;
}

enum err_code
object_local(struct object_store *objects, const char *key, char **path_out)
{
	struct span *span;
	enum err_code rc;

	TRY(check_key(key));
	span = begin_span("object.local", key);
	rc = objects->backend->local(objects, key, path_out);
	span_end_call(span, rc);
	return rc;
}

void
object_release(struct object_store *objects, char *path)
{
	if (path != NULL)
		objects->backend->release(objects, path);
}

enum err_code
object_delete(struct object_store *objects, const char *key)
{
	struct span *span;
	enum err_code rc;

	TRY(check_key(key));
	span = begin_span("object.delete", key);
	rc = objects->backend->delete (objects, key);
	span_end_call(span, rc);
	return rc;
}
