/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `xin backup FOLDER`: a copy of the data folder, made while `xin serve` works
 * on it; the copy is a data folder itself, so that restoring it is starting on
 * it. Objects never change, they only come and go, and one comes before the row
 * that names it: so objects are copied before the database (those that may go
 * meanwhile) and after it (those that came). What is not a whole copy is called
 * FOLDER.partial.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/mem.h"
#include "base/str.h"
#include "main/back_ends.h"
#include "main/command.h"
#include "sqlite/sqlite.h"

#define CHUNK_BYTES ((size_t)1 << 20)

/* nftw(3) hands nothing through; the command is one thread. */
static struct {
	const char *from;
	char *to;
	uint64_t files, bytes;
	enum err_code rc;
} copying;

static enum err_code
failed(const char *what, const char *path)
{
	return err_set(errno == ENOSPC ? ERR_DISK_FULL : ERR_IO, "%s %s: %s",
	    what, path, strerror(errno));
}

static enum err_code
pour(int from, int to, const char *path)
{
	ssize_t got;

	do {
		got = copy_file_range(from, NULL, to, NULL, CHUNK_BYTES, 0);
	} while (got > 0);
	if (got == 0)
		return OK;
	if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP &&
	    errno != ENOSYS)
		return failed("copy to", path);
	/* Two file systems that cannot do it among themselves. */
	char *chunk = mem_alloc(CHUNK_BYTES);
	while ((got = read(from, chunk, CHUNK_BYTES)) > 0)
		if (write(to, chunk, (size_t)got) != got)
			break;
	mem_free(chunk);
	return got == 0 ? OK : failed("copy to", path);
}

static enum err_code
copy_file(const char *from_path, const char *to_path, uint64_t bytes)
{
	int from = open(from_path, O_RDONLY | O_CLOEXEC), to;
	enum err_code rc;

	if (from < 0) /* deleted since it was listed */
		return errno == ENOENT ? OK : failed("open", from_path);
	to = open(to_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	rc = to < 0 ? failed("make", to_path) : pour(from, to, to_path);
	if (to >= 0 && close(to) != 0 && rc == OK)
		rc = failed("write", to_path);
	close(from);
	if (rc == OK) {
		copying.files++;
		copying.bytes += bytes;
	}
	return rc;
}

static int
on_object(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	char *to = mem_printf("%s%s", copying.to, path + strlen(copying.from));
	enum err_code rc = OK;

	if (kind == FTW_D && str_eq(path + ftw->base, ".tmp")) {
		mem_free(to); /* writes under way */
		return FTW_SKIP_SUBTREE;
	}
	if (kind == FTW_D && mkdir(to, 0700) != 0 && errno != EEXIST)
		rc = failed("make", to);
	else if (kind == FTW_F && access(to, F_OK) != 0)
		rc = copy_file(path, to, (uint64_t)st->st_size);
	else if (kind == FTW_DNR)
		rc = failed("read", path);
	mem_free(to);
	copying.rc = rc;
	return rc == OK ? FTW_CONTINUE : FTW_STOP;
}

/* What `to` has already is left as it is. */
static enum err_code
copy_objects(const char *from, const char *to)
{
	if (from == NULL || access(from, F_OK) != 0)
		return OK;
	copying.from = from;
	copying.to = mem_printf("%s/objects", to);
	copying.rc = OK;
	if (nftw(from, on_object, 16, FTW_PHYS | FTW_ACTIONRETVAL) < 0)
		copying.rc = failed("read", from);
	mem_free(copying.to);
	return copying.rc;
}

static enum err_code
copy_database(const char *from, const char *to)
{
	char *path = mem_printf("%s/xin.db", to);
	enum err_code rc = sqlite_copy(from, path);
	struct stat st;

	if (rc == OK && stat(path, &st) == 0)
		copying.bytes += (uint64_t)st.st_size;
	mem_free(path);
	return rc;
}

/* Everything on the disk before the folder has its name. */
static enum err_code
finish(const char *partial, const char *folder)
{
	int fd = open(partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err_code rc = OK;

	if (fd < 0 || syncfs(fd) != 0)
		rc = failed("sync", partial);
	if (rc == OK && rename(partial, folder) != 0)
		rc = failed("name", folder);
	if (rc == OK && syncfs(fd) != 0)
		rc = failed("sync", folder);
	if (fd >= 0)
		close(fd);
	return rc;
}

static enum err_code
backup(const char *folder, const char *partial)
{
	char *database, *objects;
	enum err_code rc = back_ends_files(&database, &objects);

	if (rc != OK)
		return rc;
	if (access(folder, F_OK) == 0 && rmdir(folder) != 0)
		rc =
		    failed("a back-up needs a new or an empty folder,", folder);
	else if (access(database, R_OK) != 0)
		rc = failed("there is no database", database);
	else if (mkdir(partial, 0700) != 0)
		rc = errno == EEXIST
			 ? err_set(ERR_CONFLICT,
			       "%s is left of a back-up that did not end, or "
			       "of one that runs: remove it",
			       partial)
			 : failed("make", partial);
	if (rc == OK)
		rc = copy_objects(objects, partial);
	if (rc == OK)
		rc = copy_database(database, partial);
	if (rc == OK)
		rc = copy_objects(objects, partial);
	if (rc == OK)
		rc = finish(partial, folder);
	if (rc == OK && objects == NULL)
		fputs("the objects are in the storage service: back them up "
		      "there\n",
		    stderr);
	mem_free(database);
	mem_free(objects);
	return rc;
}

int
command_backup(int argc, char **argv)
{
	const struct option_spec options[] = { { 0 } };
	enum err_code rc;
	char *partial;
	int words;

	if (!command_options(argc, argv, options, &words) || words != 1) {
		fputs("usage: xin backup FOLDER\n", stderr);
		return 2;
	}
	if (!command_setup())
		return 1;
	partial = mem_printf("%s.partial", argv[0]);
	rc = backup(argv[0], partial);
	mem_free(partial);
	if (rc != OK)
		return command_fail(rc);
	printf("%s: the database and %llu objects, %llu bytes\n", argv[0],
	    (unsigned long long)copying.files,
	    (unsigned long long)copying.bytes);
	return 0;
}
