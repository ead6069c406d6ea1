/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of blocks that a document becomes, written as JSON while it grows.
 * With a descriptor a long list leaves piece by piece, so that the child holds
 * no second copy of the text.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "extract/internal.h"

#define BLOCK_BYTES ((size_t)256 << 10)
#define TITLE_MAX   500
#define KEPT_BYTES  ((size_t)64 << 10)

static const char *const type_names[] = {
	[BLOCK_HEADING] = "heading",
	[BLOCK_PARAGRAPH] = "paragraph",
	[BLOCK_LIST] = "list",
	[BLOCK_TABLE] = "table",
	[BLOCK_CODE] = "code",
	[BLOCK_QUOTE] = "quote",
};

void
extract__blocks_init(struct extract__blocks *blocks, size_t max_bytes)
{
	*blocks = (struct extract__blocks){ .max_bytes = max_bytes, .fd = -1 };
	buf_init(&blocks->json, 0);
}

/* A reader that went away has killed us, or will. */
static void
pass_on(struct extract__blocks *blocks)
{
	size_t done = 0;

	while (done < blocks->json.len) {
		ssize_t n = write(blocks->fd, blocks->json.data + done,
		    blocks->json.len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	buf_clear(&blocks->json);
}

enum err_code
extract__check_full(const struct extract__blocks *blocks)
{
	if (!blocks->full)
		return OK;
	return err_set(ERR_TOO_LARGE,
	    "the document has more than %zu bytes of text (XIN_MAX_TEXT_BYTES)",
	    blocks->max_bytes);
}

void
extract__blocks_done(struct extract__blocks *blocks)
{
	buf_done(&blocks->json);
	mem_free(blocks->title);
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Code keeps its first line's indentation. */
static void
trim(const char **text, size_t *len, bool code)
{
	while (*len > 0 && is_blank((*text)[*len - 1]))
		--*len;
	while (*len > 0 && ((*text)[0] == '\n' || (*text)[0] == '\r' ||
			       (!code && is_blank((*text)[0])))) {
		++*text;
		--*len;
	}
}

/* U+FEFF inside a text, C0 and C1 controls and DEL say nothing to a reader. */
static size_t
skip_length(const unsigned char *p, size_t left)
{
	if ((p[0] < ' ' && p[0] != '\n' && p[0] != '\t') || p[0] == 0x7f)
		return 1;
	if (left >= 2 && p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
		return 2;
	if (left >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf)
		return 3;
	return 0;
}

static void
clean(const char *text, size_t len, bool code, struct buf *out)
{
	const unsigned char *p = (const unsigned char *)text;
	unsigned newlines = 0;

	buf_reserve(out, len);
	for (size_t i = 0; i < len;) {
		size_t skip = skip_length(p + i, len - i);

		if (skip > 0) {
			i += skip;
			continue;
		}
		newlines = p[i] == '\n' ? newlines + 1 : 0;
		if (newlines <= 2 || code)
			buf_addc(out, (char)p[i]);
		i++;
	}
}

void
extract__set_title(struct extract__blocks *blocks, const char *text, size_t len)
{
	struct buf title;

	trim(&text, &len, false);
	if (blocks->title != NULL || len == 0)
		return;
	if (len > TITLE_MAX) {
		len = TITLE_MAX;
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
	}
	buf_init(&title, 0);
	clean(text, len, false, &title);
	for (size_t i = 0; i < title.len; i++)
		if (is_blank(title.data[i]))
			title.data[i] = ' ';
	blocks->title = buf_take(&title, NULL);
}

static void
add_block(struct extract__blocks *blocks, enum block_type type, int level,
    const char *text, size_t len)
{
	struct buf cleaned;
	const char *at;

	if (blocks->full)
		return;
	buf_init(&cleaned, 0);
	clean(text, len, type == BLOCK_CODE, &cleaned);
	at = buf_str(&cleaned);
	len = cleaned.len;
	trim(&at, &len, type == BLOCK_CODE);
	blocks->text_bytes += len;
	if (blocks->text_bytes > blocks->max_bytes)
		blocks->full = true;
	if (len > 0 && !blocks->full) {
		buf_addf(&blocks->json, "%s{\"type\":\"%s\"",
		    blocks->count++ > 0 ? "," : "", type_names[type]);
		if (type == BLOCK_HEADING)
			buf_addf(&blocks->json, ",\"level\":%d", level);
		if (blocks->page > 0)
			buf_addf(&blocks->json, ",\"page\":%lld",
			    (long long)blocks->page);
		buf_adds(&blocks->json, ",\"text\":");
		buf_add_json(&blocks->json, at, len);
		buf_addc(&blocks->json, '}');
		if (blocks->fd >= 0 && blocks->json.len > KEPT_BYTES)
			pass_on(blocks);
	}
	if (type == BLOCK_HEADING && level == 1)
		extract__set_title(blocks, at, len);
	buf_done(&cleaned);
}

/* Where a text that is too long for one block may be cut: behind a line, a
 * word, or a character. */
static size_t
cut_length(const char *text, size_t len)
{
	static const char *const at[] = { "\n", " " };
	size_t cut = len;

	if (len <= BLOCK_BYTES)
		return len;
	for (size_t i = 0; i < 2; i++) {
		const char *found =
		    memrchr(text + BLOCK_BYTES / 2, at[i][0], BLOCK_BYTES / 2);

		if (found != NULL)
			return (size_t)(found + 1 - text);
	}
	for (cut = BLOCK_BYTES; cut > 0; cut--)
		if (((unsigned char)text[cut] & 0xc0) != 0x80)
			break;
	return cut > 0 ? cut : BLOCK_BYTES;
}

void
extract__add(struct extract__blocks *blocks, enum block_type type, int level,
    const char *text, size_t len)
{
	size_t cut;

	do {
		cut = cut_length(text, len);
		add_block(blocks, type, level, text, cut);
		text += cut;
		len -= cut;
	} while (len > 0 && !blocks->full);
}
