/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_OBJECT_OBJECT_H
#define XIN_OBJECT_OBJECT_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/*
 * Objects: the uploaded bytes. Keys are made by the caller from [A-Za-z0-9._/-]
 * (no "..", no leading "/"). A put is atomic: whole or absent, and durable
 * (fsync of file and folder) when it returned. All functions WAIT.
 */
struct object_store;
enum err_code object_open(const char *url, struct object_store **objects_out);
void object_close(struct object_store *objects);
enum err_code object_ping(struct object_store *objects);
struct checkup;
enum err_code object_checkup(
    struct object_store *objects, struct checkup *checkup);

/* A streaming put: begin, write pieces of any size, commit (key decided at the
 * end, e.g. by hash) or abort. Exactly one of commit and abort. */
struct object_writer;
enum err_code object_put_begin(
    struct object_store *objects, struct object_writer **writer_out);
enum err_code object_put_write(
    struct object_writer *writer, const void *data, size_t len);
enum err_code object_put_commit(struct object_writer *writer, const char *key);
void object_put_abort(struct object_writer *writer);

enum err_code object_put(struct object_store *objects, const char *key,
    const void *data, size_t len);
/* ERR_NOT_FOUND; ERR_TOO_LARGE over max_bytes. */
enum err_code object_get(struct object_store *objects, const char *key,
    size_t max_bytes, struct buf *data_out);
/* A path on this machine that holds the object for the child that extracts;
 * the caller gives it back with object_release. */
enum err_code object_local(
    struct object_store *objects, const char *key, char **path_out);
void object_release(struct object_store *objects, char *path);
enum err_code object_delete(struct object_store *objects, const char *key);

#endif
