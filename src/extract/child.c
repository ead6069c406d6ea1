/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child's side: `extract-child TYPE MAX_BYTES`, the document on descriptor
 * 3. One JSON object on stdout: what was found (exit 0), or the error and its
 * sentence (exit 1). Anything else means that a parser fell over a limit.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "extract/internal.h"

#define DOCUMENT_FD 3

static enum err_code
map_document(const char **data_out, size_t *len_out)
{
	struct stat st;
	void *map;

	if (fstat(DOCUMENT_FD, &st) != 0)
		return err_set(
		    ERR_IO, "no document on descriptor 3: %s", strerror(errno));
	if (st.st_size <= 0)
		return err_set(ERR_INVALID, "the document is empty");
	map = mmap(
	    NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, DOCUMENT_FD, 0);
	if (map == MAP_FAILED)
		return err_set(errno == ENOMEM ? ERR_TOO_LARGE : ERR_IO,
		    "cannot map the document: %s", strerror(errno));
	*data_out = map;
	*len_out = (size_t)st.st_size;
	return OK;
}

static enum err_code
parse(enum extract__format format, const struct buf *text,
    struct extract__blocks *blocks)
{
	if (format == EXTRACT_MARKDOWN)
		extract__markdown(buf_str(text), text->len, blocks);
	else if (format == EXTRACT_HTML)
		TRY(extract__html(buf_str(text), text->len, blocks));
	else
		extract__plain(buf_str(text), text->len, blocks);
	if (blocks->full)
		return err_set(ERR_TOO_LARGE,
		    "the document has more than %zu bytes of text",
		    blocks->max_bytes);
	if (blocks->count == 0)
		return err_set(ERR_INVALID, "there is no text in it");
	return OK;
}

static enum err_code
extract(enum extract__format format, size_t max_bytes, struct buf *out)
{
	struct extract__blocks blocks;
	char charset[32] = "";
	struct buf text;
	const char *data = NULL;
	enum err_code rc;
	size_t len = 0;

	TRY(map_document(&data, &len));
	extract__blocks_init(&blocks, max_bytes);
	buf_init(&text, 0);
	rc =
	    extract__to_utf8(data, len, format == EXTRACT_HTML, &text, charset);
	munmap((void *)(uintptr_t)data, len);
	if (rc == OK)
		rc = parse(format, &text, &blocks);
	if (rc == OK) {
		buf_adds(out, "{\"title\":");
		if (blocks.title != NULL)
			buf_add_json(out, blocks.title, strlen(blocks.title));
		else
			buf_adds(out, "null");
		buf_adds(out, ",\"charset\":");
		buf_add_json(out, charset, strlen(charset));
		buf_adds(out, ",\"blocks\":[");
		buf_add(out, blocks.json.data, blocks.json.len);
		buf_adds(out, "]}");
	}
	buf_done(&text);
	extract__blocks_done(&blocks);
	return rc;
}

static bool
write_all(const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

int
extract_child_main(int argc, char **argv)
{
	static const char *const names[] = { "", "markdown", "plain", "html" };
	enum extract__format format = EXTRACT_NONE;
	enum err_code rc = ERR_INVALID;
	uint64_t max_bytes = 0;
	struct buf out;
	bool written;

	for (int i = EXTRACT_MARKDOWN; argc > 1 && i <= EXTRACT_HTML; i++)
		if (strcmp(argv[1], names[i]) == 0)
			format = (enum extract__format)i;
	buf_init(&out, 0);
	if (format == EXTRACT_NONE || argc != 3 ||
	    !str_to_u64(argv[2], &max_bytes))
		err_set(rc, "usage: extract-child markdown|plain|html BYTES");
	else
		rc = extract(format, max_bytes, &out);
	if (rc != OK) {
		const char *why = err_message();

		buf_clear(&out);
		buf_addf(&out, "{\"error\":\"%s\",\"message\":", err_name(rc));
		buf_add_json(&out, why, strlen(why));
		buf_addc(&out, '}');
	}
	written = write_all(out.data, out.len);
	buf_done(&out);
	return rc == OK && written ? 0 : 1;
}
