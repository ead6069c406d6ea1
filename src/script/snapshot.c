/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the script folder as one consistent set. The kubelet swaps a mount
 * by renaming its `..data` link, so everything is read through one descriptor
 * of what that link pointed at. Plain folders are listed before and after;
 * whatever changed meanwhile starts the reading over.
 */
#include "script/generation.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

#define SNAPSHOT_TRIES 8
#define SNAPSHOT_DEPTH 4
#define SNAPSHOT_NAME  256

/* What a file looked like when it was opened: to notice writers in between. */
struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
};

struct reading {
	struct script_file *files;
	struct stamp *stamps;
	size_t count;
	size_t cap;
	size_t bytes;
	bool changed; /* start over */
};

static void
reading_done(struct reading *reading)
{
	for (size_t i = 0; i < reading->count; i++) {
		mem_free(reading->files[i].name);
		mem_free(reading->files[i].text);
	}
	mem_free(reading->files);
	mem_free(reading->stamps);
	memset(reading, 0, sizeof(*reading));
}

static struct stamp
stamp_of(const struct stat *st)
{
	return (
	    struct stamp){ st->st_dev, st->st_ino, st->st_size, st->st_mtim };
}

static bool
same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime.tv_sec == b->mtime.tv_sec &&
	       a->mtime.tv_nsec == b->mtime.tv_nsec;
}

static enum err_code
read_whole(
    int fd, const char *name, size_t size, char **text_out, size_t *len_out)
{
	char *text = mem_alloc(size + 2);
	size_t len = 0;

	while (len <= size) {
		ssize_t n = read(fd, text + len, size + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			mem_free(text);
			return err_set(ERR_IO, "%s: %s", name, strerror(errno));
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	text[len < size ? len : size] = '\0';
	*text_out = text;
	*len_out = len;
	return OK;
}

static void
keep(struct reading *reading, const char *name, char *text, size_t len,
    const struct stat *st)
{
	if (reading->count == reading->cap) {
		reading->cap = reading->cap == 0 ? 32 : reading->cap * 2;
		reading->files = mem_resize(
		    reading->files, reading->cap * sizeof(*reading->files));
		reading->stamps = mem_resize(
		    reading->stamps, reading->cap * sizeof(*reading->stamps));
	}
	reading->files[reading->count] =
	    (struct script_file){ mem_strdup(name), text, len };
	reading->stamps[reading->count++] = stamp_of(st);
	reading->bytes += len;
}

static enum err_code
read_file(struct reading *reading, int fd, const char *name)
{
	struct stat st;
	char *text;
	size_t len;

	if (fstat(fd, &st) != 0)
		return err_set(ERR_IO, "%s: %s", name, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return OK;
	if (st.st_size < 0 || (size_t)st.st_size > GENERATION_FILE_MAX)
		return err_set(ERR_TOO_LARGE, "%s is over %zu bytes", name,
		    GENERATION_FILE_MAX);
	if (reading->count >= GENERATION_FILES_MAX)
		return err_set(ERR_TOO_LARGE, "more than %d script files",
		    GENERATION_FILES_MAX);
	TRY(read_whole(fd, name, (size_t)st.st_size, &text, &len));
	if (len != (size_t)st.st_size)
		reading->changed = true;
	keep(reading, name, text,
	    len > (size_t)st.st_size ? (size_t)st.st_size : len, &st);
	if (reading->bytes > GENERATION_BYTES_MAX)
		return err_set(ERR_TOO_LARGE, "scripts are over %zu bytes",
		    GENERATION_BYTES_MAX);
	return OK;
}

/* `meta` holds annotations for editors, never run. Bad names are left out
 * rather than refused: editors leave all kinds of files behind. */
static bool
wanted(const char *entry, int depth)
{
	for (const char *p = entry; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || *p == '\\' || *p == 127)
			return false;
	return entry[0] != '.' && !(depth == 0 && str_eq(entry, "meta"));
}

static enum err_code read_folder(
    struct reading *reading, int fd, const char *prefix, int depth);

static enum err_code
read_entry(struct reading *reading, int folder, const char *prefix,
    const char *entry, int depth)
{
	char name[SNAPSHOT_NAME];
	struct stat st;
	enum err_code rc = OK;
	int fd;

	if (snprintf(name, sizeof(name), "%s%s", prefix, entry) >=
	    (int)sizeof(name))
		return err_set(
		    ERR_TOO_LARGE, "%s%s: name too long", prefix, entry);
	fd = openat(folder, entry, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0) {
		if (errno == ENOENT || errno == ESTALE)
			reading->changed = true;
		else if (str_ends(entry, ".lua"))
			rc = err_set(ERR_IO, "%s: %s", name, strerror(errno));
	} else if (S_ISDIR(st.st_mode)) {
		if (depth + 1 < SNAPSHOT_DEPTH &&
		    snprintf(name, sizeof(name), "%s%s/", prefix, entry) <
			(int)sizeof(name))
			return read_folder(reading, fd, name, depth + 1);
	} else if (str_ends(entry, ".lua")) {
		rc = read_file(reading, fd, name);
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

/* Takes over `fd`. */
static enum err_code
read_folder(struct reading *reading, int fd, const char *prefix, int depth)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;
	enum err_code rc = OK;

	if (dir == NULL) {
		close(fd);
		return err_set(ERR_IO, "%s: %s", prefix, strerror(errno));
	}
	while (rc == OK && (entry = readdir(dir)) != NULL)
		if (wanted(entry->d_name, depth))
			rc = read_entry(
			    reading, dirfd(dir), prefix, entry->d_name, depth);
	closedir(dir);
	return rc;
}

/* The folder itself, or what its ..data link points at now. */
static int
open_root(const char *folder)
{
	int top = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int data;

	if (top < 0)
		return -1;
	data = openat(top, "..data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (data < 0)
		return top;
	close(top);
	return data;
}

static bool
has_brands(const struct reading *reading)
{
	for (size_t i = 0; i < reading->count; i++)
		if (str_starts(reading->files[i].name, "brands/"))
			return true;
	return false;
}

/* True when every file that was read is still the same one, reached anew. */
static bool
still_the_same(const struct reading *reading, const char *folder)
{
	int root = open_root(folder);
	bool same = root >= 0;

	for (size_t i = 0; same && i < reading->count; i++) {
		struct stat st;
		struct stamp now;

		if (fstatat(root, reading->files[i].name, &st, 0) != 0) {
			same = false;
			break;
		}
		now = stamp_of(&st);
		same = same_stamp(&now, &reading->stamps[i]);
	}
	if (root >= 0)
		close(root);
	return same;
}

enum err_code
script_snapshot(const char *folder, struct script_generation **gen_out)
{
	for (int i = 0; i < SNAPSHOT_TRIES; i++) {
		struct reading reading = { 0 };
		enum err_code rc;
		int root = open_root(folder);

		if (root < 0)
			return err_set(ERR_NOT_FOUND, "script folder %s: %s",
			    folder, strerror(errno));
		rc = read_folder(&reading, root, "", 0);
		if (rc == OK && !reading.changed &&
		    still_the_same(&reading, folder)) {
			if (!has_brands(&reading)) {
				reading_done(&reading);
				return err_set(ERR_NOT_FOUND,
				    "script folder %s has no brands/*.lua",
				    folder);
			}
			mem_free(reading.stamps);
			*gen_out = script__generation_new(
			    reading.files, reading.count);
			return OK;
		}
		reading_done(&reading);
		if (rc != OK && !reading.changed)
			return err_add(rc, "script folder %s", folder);
		usleep(10000);
	}
	return err_set(ERR_CONFLICT, "script folder %s keeps changing", folder);
}
