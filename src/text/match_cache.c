/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiled pattern sets on disk. Compiling a set takes 50 to 400 ms, reading it
 * back under one: the child that checks scripts fills the folder, so that the
 * loops of the service find everything compiled and are not held.
 */
#include "text/match_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/mem.h"
#include "base/str.h"

#define FILES_MAX 512
#define FILE_MAX  ((off_t)64 << 20)
#define ENDING    ".hsdb"

static char *folder; /* set once, before threads */

enum err_code
match_cache_open(const char *path)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_set(
		    ERR_IO, "cannot make %s: %s", path, strerror(errno));
	mem_free(folder);
	folder = mem_strdup(path);
	return OK;
}

const char *
match_cache_path(void)
{
	return folder;
}

void
match_cache__key(const struct match_pattern *patterns, size_t count,
    struct match_cache_key *key_out)
{
	struct buf text;

	buf_init(&text, 0);
	buf_addf(&text, "%s\n", hs_version());
	for (size_t i = 0; i < count; i++)
		buf_addf(
		    &text, "%d %s\n", patterns[i].caseless, patterns[i].regex);
	crypto_sha256_hex(text.data, text.len, key_out->hex);
	buf_done(&text);
}

static void
path_of(const struct match_cache_key *key, char *path, size_t size)
{
	snprintf(path, size, "%s/%.64s" ENDING, folder, key->hex);
}

static bool
read_whole(int fd, char *data, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = read(fd, data + got, size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

hs_database_t *
match_cache__load(const struct match_cache_key *key)
{
	hs_database_t *db = NULL;
	char path[4200], *data;
	struct stat st;
	int fd;

	if (folder == NULL)
		return NULL;
	path_of(key, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) != 0 || st.st_size <= 0 || st.st_size > FILE_MAX) {
		close(fd);
		return NULL;
	}
	data = mem_alloc((size_t)st.st_size);
	/* The bytes carry a checksum and the processor they were made for. */
	if (!read_whole(fd, data, (size_t)st.st_size) ||
	    hs_deserialize_database(data, (size_t)st.st_size, &db) !=
		HS_SUCCESS)
		db = NULL;
	mem_free(data);
	futimens(fd, NULL); /* used now */
	close(fd);
	return db;
}

/* Too many: drop all but those of the last day, or all. */
static void
sweep(void)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	char path[4500];
	int count = 0;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL)
		count += str_ends(entry->d_name, ENDING);
	rewinddir(dir);
	while (count > FILES_MAX && (entry = readdir(dir)) != NULL) {
		struct stat st;

		if (!str_ends(entry->d_name, ENDING))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (stat(path, &st) == 0 && unlink(path) == 0)
			count--;
	}
	closedir(dir);
}

static bool
write_whole(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		size -= (size_t)n;
	}
	return true;
}

void
match_cache__save(const struct match_cache_key *key, hs_database_t *db)
{
	char path[4200], temp[4300], *data = NULL;
	size_t size = 0;
	bool good;
	int fd;

	if (folder == NULL ||
	    hs_serialize_database(db, &data, &size) != HS_SUCCESS)
		return;
	path_of(key, path, sizeof(path));
	snprintf(temp, sizeof(temp), "%s.XXXXXX", path);
	fd = mkstemp(temp);
	if (fd >= 0) {
		good = write_whole(fd, data, size);
		close(fd);
		if (!good || rename(temp, path) != 0)
			unlink(temp);
		else
			sweep();
	}
	free(data); /* the library's malloc */
}
