/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_OBJECT_OBJECT_BACKEND_H
#define XIN_OBJECT_OBJECT_BACKEND_H

#include "object/object.h"

/*
 * For those who implement a back end, and for the contract tests. The front
 * (object.c) has checked keys and gathered small pieces of a put before an op
 * runs. Every op is required.
 */
struct object_backend {
	const char *scheme; /* "file:" */
	enum err_code (*open)(
	    const char *url, struct object_store **objects_out);
	void (*close)(struct object_store *objects);
	enum err_code (*ping)(struct object_store *objects);
	/* After a ping that succeeded. */
	enum err_code (*checkup)(
	    struct object_store *objects, struct checkup *checkup);
	enum err_code (*put_begin)(
	    struct object_store *objects, struct object_writer **writer_out);
	enum err_code (*put_write)(
	    struct object_writer *writer, const void *data, size_t len);
	/* commit and abort free the writer, whatever happens. */
	enum err_code (*put_commit)(
	    struct object_writer *writer, const char *key);
	void (*put_abort)(struct object_writer *writer);
	enum err_code (*get)(struct object_store *objects, const char *key,
	    size_t max_bytes, struct buf *data_out);
	enum err_code (*local)(
	    struct object_store *objects, const char *key, char **path_out);
	void (*release)(struct object_store *objects, char *path);
	enum err_code (*delete)(struct object_store *objects, const char *key);
};

/* A back end's own structures begin with these, zeroed. */
struct object_store {
	const struct object_backend *backend;
};
struct object_writer {
	struct object_store *objects;
	struct buf pending; /* small pieces, not yet given to the back end */
};

extern const struct object_backend object_file_backend;
extern const struct object_backend object_s3_backend;

#endif
