/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large pages and Markdown files are mostly what nobody reads: pictures inside
 * of data: addresses, scripts, styles, comments. While the file is read, each
 * such stretch is cut after its first KEEP_BYTES; its end stays, so that the
 * parser sees the same structure, and memory follows the text. Works on bytes
 * of any charset in which ASCII stands for itself.
 */
#include <string.h>

#include "extract/internal.h"

#define KEEP_BYTES ((size_t)4 << 10)

/* At most eight characters each, in lower case. */
static const struct {
	const char *begin, *end;
	bool html_only;
} stretches[] = {
	{ "<!--", "-->", false },
	{ "<script", "</script", true },
	{ "<style", "</style", true },
};
#define STRETCHES (int)(sizeof(stretches) / sizeof(stretches[0]))

void
extract__slim_init(struct extract__slim *slim, bool html)
{
	*slim = (struct extract__slim){ .html = html, .inside = -1 };
}

static bool
ends_with(uint64_t last, const char *mark)
{
	for (size_t n = strlen(mark); n > 0; n--, last >>= 8)
		if ((char)last != mark[n - 1])
			return false;
	return true;
}

/* Those of base64 and its variants for addresses. */
static bool
is_dense(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       strchr("+/=%-_", c) != NULL;
}

static void
feed_text(struct extract__slim *slim, char c, char lower, struct buf *out)
{
	slim->run = is_dense(lower) ? slim->run + 1 : 0;
	if (slim->run <= KEEP_BYTES)
		buf_addc(out, c);
	if (lower != '-' && lower != 't' && lower != 'e')
		return; /* no beginning ends so */
	for (int i = 0; i < STRETCHES; i++) {
		if ((stretches[i].html_only && !slim->html) ||
		    !ends_with(slim->last, stretches[i].begin))
			continue;
		slim->inside = i;
		slim->run = 0;
		return;
	}
}

static void
feed_stretch(struct extract__slim *slim, char c, char lower, struct buf *out)
{
	const char *end = stretches[slim->inside].end;

	if (++slim->run <= KEEP_BYTES)
		buf_addc(out, c);
	if ((lower != '>' && lower != 't' && lower != 'e') ||
	    !ends_with(slim->last, end))
		return;
	if (slim->run > KEEP_BYTES)
		buf_adds(out, end);
	slim->inside = -1;
	slim->run = 0;
}

void
extract__slim_feed(
    struct extract__slim *slim, const char *data, size_t len, struct buf *out)
{
	for (size_t i = 0; i < len; i++) {
		char c = data[i];
		char lower = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;

		slim->last = slim->last << 8 | (unsigned char)lower;
		if (slim->inside < 0)
			feed_text(slim, c, lower, out);
		else
			feed_stretch(slim, c, lower, out);
	}
}
