/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nameless files in a folder, and the count of their bytes. What has a name in
 * the folder is of a process that died between creating and unlinking, or of
 * one that is about to unlink, which does not mind being overtaken.
 */
#include "object/object_spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ident.h"
#include "base/mem.h"

struct object__spool {
	char *folder;
	uint64_t max_bytes;
	_Atomic uint64_t bytes;
};

static enum err_code
failed(const struct object__spool *spool, const char *what)
{
	int error = errno;

	if (error == ENOSPC || error == EDQUOT)
		return err_set(ERR_DISK_FULL, "%s in %s: the disk is full",
		    what, spool->folder);
	return err_set(
	    ERR_IO, "%s in %s: %s", what, spool->folder, strerror(error));
}

static enum err_code
make_folders(const char *folder)
{
	char *part = mem_strdup(folder);
	enum err_code rc = OK;

	for (char *p = part + 1; rc == OK; p++) {
		char was = *p;

		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		if (mkdir(part, 0700) != 0 && errno != EEXIST)
			rc = err_set(ERR_CONFIG, "cannot make folder %s: %s",
			    part, strerror(errno));
		*p = was;
		if (was == '\0')
			break;
	}
	mem_free(part);
	return rc;
}

static void
sweep(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL)
		unlinkat(dirfd(dir), entry->d_name, 0); /* not folders */
	closedir(dir);
}

enum err_code
object__spool_open(
    const char *folder, uint64_t max_bytes, struct object__spool **spool_out)
{
	struct object__spool *spool;

	TRY(make_folders(folder));
	sweep(folder);
	spool = mem_zero(sizeof(*spool));
	spool->folder = mem_strdup(folder);
	spool->max_bytes = max_bytes;
	*spool_out = spool;
	return OK;
}

void
object__spool_free(struct object__spool *spool)
{
	if (spool == NULL)
		return;
	mem_free(spool->folder);
	mem_free(spool);
}

/* For file systems without O_TMPFILE. */
static int
open_and_unlink(const struct object__spool *spool)
{
	char id[IDENT_SIZE], *path;
	int fd;

	ident_new("sp", id);
	path = mem_printf("%s/%s", spool->folder, id);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		unlink(path);
	mem_free(path);
	return fd;
}

enum err_code
object__spool_file(struct object__spool *spool, int *fd_out)
{
	int fd = open(spool->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		fd = open_and_unlink(spool);
	if (fd < 0)
		return failed(spool, "cannot make a file");
	*fd_out = fd;
	return OK;
}

static enum err_code
reserve(struct object__spool *spool, size_t len)
{
	if (atomic_fetch_add(&spool->bytes, len) + len <= spool->max_bytes)
		return OK;
	atomic_fetch_sub(&spool->bytes, len);
	return err_set(ERR_OVERLOADED,
	    "uploads and downloads under way fill XIN_SPOOL_BYTES (%llu)",
	    (unsigned long long)spool->max_bytes);
}

enum err_code
object__spool_add(
    struct object__spool *spool, int fd, const void *data, size_t len)
{
	const char *at = data;

	TRY(reserve(spool, len));
	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			enum err_code rc = failed(spool, "cannot write");

			atomic_fetch_sub(&spool->bytes, len);
			return rc;
		}
		at += n;
		len -= (size_t)n;
	}
	return OK;
}

static uint64_t
size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

enum err_code
object__spool_empty(struct object__spool *spool, int fd)
{
	uint64_t size = size_of(fd);

	if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0)
		return failed(spool, "cannot truncate");
	atomic_fetch_sub(&spool->bytes, size);
	return OK;
}

void
object__spool_close(struct object__spool *spool, int fd)
{
	if (fd < 0)
		return;
	atomic_fetch_sub(&spool->bytes, size_of(fd));
	close(fd);
}
