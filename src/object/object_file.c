/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects in a folder. A put goes to a temporary file in `.tmp` of the same
 * folder (same file system), which is synced, renamed into its place, and then
 * the folders whose entries changed are synced: a put that returned is whole
 * and survives a power cut, one that did not leaves only a temporary file,
 * swept at the next open. All file work runs on pool threads.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/checkup.h"
#include "base/clock.h"
#include "base/ident.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "object/object_backend.h"

#define SCHEME "file:"
#define TMP    ".tmp"
/* Another process may share the folder: spare what may still be written. */
#define STALE_MS     ((uint64_t)3600 * 1000)

#define DISK_LOW_MIB 1024

struct folder {
	struct object_store objects; /* first */
	char *root;
};

struct file_writer {
	struct object_writer writer; /* first */
	char *path;
	int fd;
};

/* One op's arguments, for its function on the pool thread. */
struct call {
	struct folder *folder;
	struct file_writer *writer;
	const char *key;
	const void *data;
	size_t len;
	struct buf buf;
	char *path;
};

static enum err_code
run(pool_fn fn, struct call *c)
{
	return fiber_self() != NULL ? pool_run(fn, c) : fn(c);
}

/* Record errno with what was tried. */
static enum err_code
failed(const char *what, const char *path)
{
	int error = errno;

	if (error == ENOENT || error == ENOTDIR)
		return err_set(ERR_NOT_FOUND, "no object %s", path);
	if (error == ENOSPC || error == EDQUOT)
		return err_set(
		    ERR_DISK_FULL, "%s %s: the disk is full", what, path);
	return err_set(ERR_IO, "%s %s: %s", what, path, strerror(error));
}

static char *
path_of(const struct folder *folder, const char *key)
{
	return mem_printf("%s/%s", folder->root, key);
}

static enum err_code
sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err_code rc = OK;

	if (fd < 0)
		return failed("open folder", path);
	if (fsync(fd) != 0)
		rc = failed("sync folder", path);
	close(fd);
	return rc;
}

/* Sync the folder that holds `path`. */
static enum err_code
sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *parent = slash == NULL || slash == path
			   ? mem_strdup(slash == NULL ? "." : "/")
			   : mem_strndup(path, (size_t)(slash - path));
	enum err_code rc = sync_folder(parent);

	mem_free(parent);
	return rc;
}

/* A new folder's name is durable once its parent is synced. */
static enum err_code
make_folder(const char *path)
{
	if (mkdir(path, 0700) == 0)
		return sync_parent(path);
	return errno == EEXIST ? OK : failed("make folder", path);
}

/* Every folder above `path`, from `from` characters on. */
static enum err_code
make_parents(const char *path, size_t from)
{
	char *part = mem_strdup(path);
	enum err_code rc = OK;

	for (char *p = part + from; rc == OK && *p != '\0'; p++) {
		if (*p != '/' || p == part)
			continue;
		*p = '\0';
		rc = make_folder(part);
		*p = '/';
	}
	mem_free(part);
	return rc;
}

/* ---- open ---- */

static void
sweep(const char *tmp)
{
	DIR *dir = opendir(tmp);
	struct dirent *entry;
	uint64_t now = clock_wall_ms();
	struct stat st;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		if (fstatat(dirfd(dir), entry->d_name, &st,
			AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		if ((uint64_t)st.st_mtime * 1000 + STALE_MS < now)
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	closedir(dir);
}

static void
file_close(struct object_store *objects)
{
	struct folder *folder = (struct folder *)objects;

	mem_free(folder->root);
	mem_free(folder);
}

static enum err_code
file_open(const char *url, struct object_store **objects_out)
{
	const char *root = url + strlen(SCHEME);
	struct folder *folder;
	enum err_code rc;
	char *tmp;

	if (root[0] == '/' && root[1] == '/') /* file:///path */
		root += 2;
	if (root[0] == '\0')
		return err_set(ERR_CONFIG, "objects URL: want file:/path");
	tmp = mem_printf("%s/" TMP "/x", root);
	rc = make_parents(tmp, 0);
	tmp[strlen(tmp) - 2] = '\0';
	if (rc == OK)
		sweep(tmp);
	mem_free(tmp);
	if (rc != OK)
		return rc;
	folder = mem_zero(sizeof(*folder));
	folder->root = mem_strdup(root);
	*objects_out = &folder->objects;
	return OK;
}

/* ---- put ---- */

static enum err_code
begin(void *arg)
{
	struct call *c = arg;
	struct file_writer *w = c->writer;
	char id[IDENT_SIZE];

	ident_new("ob", id);
	w->path = mem_printf("%s/" TMP "/%s", c->folder->root, id);
	w->fd = open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (w->fd < 0)
		return err_set(ERR_IO, "cannot write in %s/" TMP ": %s",
		    c->folder->root, strerror(errno));
	return OK;
}

static void
writer_free(struct file_writer *w)
{
	if (w->fd >= 0)
		close(w->fd);
	mem_free(w->path);
	mem_free(w);
}

static enum err_code
file_put_begin(struct object_store *objects, struct object_writer **writer_out)
{
	struct file_writer *w = mem_zero(sizeof(*w));
	struct call c = { .folder = (struct folder *)objects, .writer = w };
	enum err_code rc;

	w->fd = -1;
	rc = run(begin, &c);
	if (rc != OK) {
		writer_free(w);
		return rc;
	}
	*writer_out = &w->writer;
	return OK;
}

static enum err_code
append(void *arg)
{
	struct call *c = arg;
	const char *at = c->data;
	size_t left = c->len;

	while (left > 0) {
		ssize_t n = write(c->writer->fd, at, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return failed("write", c->writer->path);
		at += n;
		left -= (size_t)n;
	}
	return OK;
}

static enum err_code
file_put_write(struct object_writer *writer, const void *data, size_t len)
{
	struct call c = {
		.writer = (struct file_writer *)writer, .data = data, .len = len
	};

	return run(append, &c);
}

static enum err_code
put_in_place(struct call *c)
{
	struct file_writer *w = c->writer;
	enum err_code rc;
	char *path;

	if (fsync(w->fd) != 0)
		return failed("sync", w->path);
	path = path_of(c->folder, c->key);
	rc = make_parents(path, strlen(c->folder->root) + 1);
	if (rc == OK && rename(w->path, path) != 0)
		rc = failed("rename to", path);
	if (rc == OK)
		rc = sync_parent(path);
	mem_free(path);
	return rc;
}

static enum err_code
commit(void *arg)
{
	struct call *c = arg;
	enum err_code rc = put_in_place(c);

	if (rc != OK)
		unlink(c->writer->path); /* gone already after the rename */
	return rc;
}

static enum err_code
file_put_commit(struct object_writer *writer, const char *key)
{
	struct file_writer *w = (struct file_writer *)writer;
	struct call c = { .folder = (struct folder *)writer->objects,
		.writer = w,
		.key = key };
	enum err_code rc = run(commit, &c);

	writer_free(w);
	return rc;
}

static enum err_code
forget(void *arg)
{
	struct call *c = arg;

	unlink(c->writer->path);
	return OK;
}

static void
file_put_abort(struct object_writer *writer)
{
	struct file_writer *w = (struct file_writer *)writer;
	struct call c = { .writer = w };
	struct error kept;

	err_save(&kept);
	(void)run(forget, &c);
	err_restore(&kept);
	writer_free(w);
}

/* ---- get, local, delete, ping ---- */

static enum err_code
read_all(int fd, const char *key, size_t max_bytes, struct buf *out)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return failed("stat", key);
	if (!S_ISREG(st.st_mode))
		return err_set(ERR_NOT_FOUND, "no object %s", key);
	if ((uint64_t)st.st_size > max_bytes)
		return err_set(ERR_TOO_LARGE,
		    "object %s has %lld bytes, over the ceiling of %zu", key,
		    (long long)st.st_size, max_bytes);
	buf_reserve(out, (size_t)st.st_size + 1);
	while (out->len < (size_t)st.st_size) {
		ssize_t n = read(
		    fd, out->data + out->len, (size_t)st.st_size - out->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return failed("read", key);
		if (n == 0)
			return err_set(ERR_IO, "object %s was cut short", key);
		out->len += (size_t)n;
	}
	out->data[out->len] = '\0';
	return OK;
}

static enum err_code
get(void *arg)
{
	struct call *c = arg;
	char *path = path_of(c->folder, c->key);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum err_code rc;

	mem_free(path);
	if (fd < 0)
		return failed("open", c->key);
	rc = read_all(fd, c->key, c->len, &c->buf);
	close(fd);
	return rc;
}

static enum err_code
file_get(struct object_store *objects, const char *key, size_t max_bytes,
    struct buf *data_out)
{
	struct call c = {
		.folder = (struct folder *)objects, .key = key, .len = max_bytes
	};
	enum err_code rc;

	buf_init(&c.buf, 0);
	rc = run(get, &c);
	if (rc == OK)
		*data_out = c.buf;
	else
		buf_done(&c.buf);
	return rc;
}

static enum err_code
local(void *arg)
{
	struct call *c = arg;
	struct stat st;

	c->path = path_of(c->folder, c->key);
	if (stat(c->path, &st) == 0 && S_ISREG(st.st_mode))
		return OK;
	mem_free(c->path);
	return err_set(ERR_NOT_FOUND, "no object %s", c->key);
}

static enum err_code
file_local(struct object_store *objects, const char *key, char **path_out)
{
	struct call c = { .folder = (struct folder *)objects, .key = key };

	TRY(run(local, &c));
	*path_out = c.path;
	return OK;
}

static void
file_release(struct object_store *objects, char *path)
{
	(void)objects; /* the path is the object itself */
	mem_free(path);
}

/* What is gone already is deleted. */
static enum err_code delete (void *arg) {
	struct call *c = arg; char *path = path_of(c->folder, c->key);
	enum err_code rc = OK;

	if (unlink(path) == 0) rc = sync_parent(path);
	else if (errno != ENOENT && errno != ENOTDIR)
	    rc = failed("delete", c->key);
	mem_free(path);
	return rc;
}

static enum err_code
file_delete(struct object_store *objects, const char *key)
{
	struct call c = { .folder = (struct folder *)objects, .key = key };

	return run(delete, &c);
}

static enum err_code
file_ping(struct object_store *objects)
{
	struct object_writer *writer;
	enum err_code rc;

	TRY(file_put_begin(objects, &writer));
	writer->objects = objects;
	rc = file_put_write(writer, "x", 1);
	file_put_abort(writer);
	return rc;
}

static enum err_code
file_checkup(struct object_store *objects, struct checkup *checkup)
{
	const struct folder *folder = (const struct folder *)objects;
	struct statvfs disk;
	uint64_t free_mib;

	if (statvfs(folder->root, &disk) != 0)
		return err_set(ERR_IO, "%s: %s", folder->root, strerror(errno));
	free_mib = (uint64_t)disk.f_bavail * disk.f_frsize >> 20;
	snprintf(checkup->facts, sizeof(checkup->facts),
	    "folder %.160s, %llu MiB free", folder->root,
	    (unsigned long long)free_mib);
	if (free_mib < DISK_LOW_MIB)
		snprintf(checkup->advice, sizeof(checkup->advice),
		    "the disk of %.160s is nearly full: uploads will be refused",
		    folder->root);
	return OK;
}

const struct object_backend object_file_backend = {
	.scheme = SCHEME,
	.open = file_open,
	.close = file_close,
	.ping = file_ping,
	.checkup = file_checkup,
	.put_begin = file_put_begin,
	.put_write = file_put_write,
	.put_commit = file_put_commit,
	.put_abort = file_put_abort,
	.get = file_get,
	.local = file_local,
	.release = file_release,
	.delete = file_delete,
};
