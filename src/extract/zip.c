/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zip files through libarchive, entry by entry as a stream: a huge file is
 * never in memory, names are compared and never become paths, zips inside are
 * not opened. Before libarchive sees the file its end record is read: too many
 * entries, or none, are refused at once.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extract/internal.h"

#define PIECE_BYTES ((size_t)64 << 10)
#define ENTRIES_MAX 20000
#define HEADERS_MAX 2000000 /* looked at, over all reads of one document */
#define END_BYTES   22      /* of the end record, without its comment */
#define TAIL_BYTES  (END_BYTES + 65535)
#define BOMB_BYTES  ((uint64_t)64 << 20)
#define BOMB_RATIO  250 /* DEFLATE reaches 1032, documents seldom 50 */
#define TEXT_FACTOR 16  /* bytes of markup for a byte of text, at most */

static unsigned
little(const unsigned char *p, int bytes)
{
	unsigned value = 0;

	for (int i = bytes - 1; i >= 0; i--)
		value = value << 8 | p[i];
	return value;
}

static enum err_code
check_end(const struct extract__zip *zip)
{
	static unsigned char tail[TAIL_BYTES];
	size_t len = zip->file_bytes < sizeof(tail) ? (size_t)zip->file_bytes
						    : sizeof(tail);
	ssize_t n = pread(zip->fd, tail, len, (off_t)(zip->file_bytes - len));
	size_t at;

	if (n != (ssize_t)len)
		return err_set(ERR_IO, "reading the document failed: %s",
		    n < 0 ? strerror(errno) : "it got shorter");
	for (at = len >= END_BYTES ? len - END_BYTES + 1 : 0; at-- > 0;)
		if (memcmp(tail + at, "PK\5\6", 4) == 0)
			break;
	if (at == (size_t)-1)
		return err_set(ERR_INVALID,
		    "the file is cut off: its end record (zip) is missing");
	if (little(tail + at + 10, 2) > ENTRIES_MAX)
		return err_set(ERR_TOO_LARGE,
		    "the zip file inside has more than %d entries",
		    ENTRIES_MAX);
	return OK;
}

enum err_code
extract__zip_open(struct extract__zip *zip, int fd, size_t max_text)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return err_set(ERR_IO, "no document: %s", strerror(errno));
	*zip = (struct extract__zip){ .fd = fd,
		.file_bytes = (uint64_t)st.st_size,
		.max_inflated = (uint64_t)max_text * TEXT_FACTOR + BOMB_BYTES };
	return check_end(zip);
}

static enum err_code
failed(struct archive *archive)
{
	const char *why = archive_error_string(archive);

	if (archive_errno(archive) == ENOMEM)
		return err_set(ERR_TOO_LARGE,
		    "the zip file needs more memory than "
		    "XIN_EXTRACT_HEAP_BYTES allows");
	return err_set(ERR_INVALID, "the file is damaged or cut off (zip): %s",
	    why != NULL ? why : "no reason");
}

static enum err_code
open_archive(const struct extract__zip *zip, struct archive **archive_out)
{
	struct archive *archive = archive_read_new();
	enum err_code rc;

	if (archive == NULL)
		return err_set(ERR_TOO_LARGE, "no memory for a zip reader");
	archive_read_support_format_zip_seekable(archive);
	if (lseek(zip->fd, 0, SEEK_SET) == 0 &&
	    archive_read_open_fd(archive, zip->fd, PIECE_BYTES) == ARCHIVE_OK) {
		*archive_out = archive;
		return OK;
	}
	rc = failed(archive);
	archive_read_free(archive);
	return rc;
}

/* The next entry's name; NULL at the end. */
static enum err_code
next_name(struct extract__zip *zip, struct archive *archive,
    struct archive_entry **entry_out, const char **name_out)
{
	int rc = archive_read_next_header(archive, entry_out);

	*name_out = NULL;
	if (rc == ARCHIVE_EOF)
		return OK;
	if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
		return failed(archive);
	if (++zip->headers > HEADERS_MAX)
		return err_set(
		    ERR_TOO_LARGE, "the zip file inside has too many entries");
	*name_out = archive_entry_pathname(*entry_out);
	if (*name_out == NULL)
		*name_out = ""; /* a name that is none in this locale */
	return OK;
}

static enum err_code
check_bomb(const struct extract__zip *zip)
{
	if (zip->inflated > zip->max_inflated ||
	    (zip->inflated > BOMB_BYTES &&
		zip->inflated / BOMB_RATIO > zip->file_bytes))
		return err_set(ERR_TOO_LARGE,
		    "a file of %llu bytes unpacks to more than %llu: it is "
		    "built to exhaust memory, or far too large",
		    (unsigned long long)zip->file_bytes,
		    (unsigned long long)zip->inflated);
	return OK;
}

static enum err_code
read_entry(struct extract__zip *zip, struct archive *archive,
    struct archive_entry *entry, extract__zip_fn fn, void *arg)
{
	static char piece[PIECE_BYTES];
	la_ssize_t n;

	if (archive_entry_is_encrypted(entry))
		return err_set(ERR_INVALID,
		    "the document is encrypted with a password: upload one "
		    "without");
	while ((n = archive_read_data(archive, piece, sizeof(piece))) > 0) {
		zip->inflated += (uint64_t)n;
		TRY(check_bomb(zip));
		TRY(fn(arg, piece, (size_t)n));
	}
	return n < 0 ? failed(archive) : OK;
}

enum err_code
extract__zip_read(
    struct extract__zip *zip, const char *name, extract__zip_fn fn, void *arg)
{
	struct archive_entry *entry;
	struct archive *archive;
	const char *found;
	enum err_code rc;

	TRY(open_archive(zip, &archive));
	do
		rc = next_name(zip, archive, &entry, &found);
	while (rc == OK && found != NULL && strcmp(found, name) != 0);
	if (rc == OK && found == NULL)
		rc =
		    err_set(ERR_NOT_FOUND, "there is no \"%.80s\" in it", name);
	else if (rc == OK)
		rc = read_entry(zip, archive, entry, fn, arg);
	archive_read_free(archive);
	return rc;
}

enum err_code
extract__zip_names(struct extract__zip *zip,
    bool (*fn)(void *arg, const char *name), void *arg)
{
	struct archive_entry *entry;
	struct archive *archive;
	const char *name;
	enum err_code rc;

	TRY(open_archive(zip, &archive));
	do
		rc = next_name(zip, archive, &entry, &name);
	while (rc == OK && name != NULL && fn(arg, name));
	archive_read_free(archive);
	return rc;
}

static enum err_code
add_piece(void *arg, const char *data, size_t len)
{
	struct buf *out = arg;

	buf_add(out, data, len);
	if (out->full)
		return err_set(ERR_TOO_LARGE,
		    "a part of the document is over %zu bytes", out->max);
	return OK;
}

enum err_code
extract__zip_buf(
    struct extract__zip *zip, const char *name, size_t max, struct buf *out)
{
	buf_init(out, max);
	return extract__zip_read(zip, name, add_piece, out);
}

enum err_code
extract__zip_xml(
    struct extract__zip *zip, const char *name, struct extract__xml *xml)
{
	TRY(extract__xml_begin(xml));
	return extract__xml_end(
	    xml, extract__zip_read(zip, name, extract__xml_feed, xml));
}
