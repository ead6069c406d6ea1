/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From bytes in an unknown charset to UTF-8: byte order mark, valid UTF-8,
 * UTF-16 by its zero bytes, what an HTML page says of itself, then uchardet's
 * guess, then windows-1252 as browsers do. Bytes that are wrong in the chosen
 * charset become U+FFFD.
 */
#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <uchardet/uchardet.h>

#include "base/str.h"
#include "extract/internal.h"

#define META_BYTES  2048
#define GUESS_BYTES ((size_t)1 << 20)
#define REPLACEMENT "\xef\xbf\xbd"

static const char *
by_mark(const char *data, size_t len, size_t *skip)
{
	static const struct {
		const char *mark;
		size_t len;
		const char *charset;
	} marks[] = {
		{ "\xff\xfe\0\0", 4, "UTF-32LE" },
		{ "\0\0\xfe\xff", 4, "UTF-32BE" },
		{ "\xef\xbb\xbf", 3, "UTF-8" },
		{ "\xff\xfe", 2, "UTF-16LE" },
		{ "\xfe\xff", 2, "UTF-16BE" },
	};

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (len >= marks[i].len &&
		    memcmp(data, marks[i].mark, marks[i].len) == 0) {
			*skip = marks[i].len;
			return marks[i].charset;
		}
	return NULL;
}

/* Zero bytes at one parity only, in texts with ASCII spaces and newlines. */
static const char *
by_zeros(const char *data, size_t len)
{
	size_t zeros[2] = { 0, 0 }, look = len < 4096 ? len : 4096;

	for (size_t i = 0; i < look; i++)
		zeros[i & 1] += data[i] == '\0';
	if (len % 2 == 0 && zeros[1] > look / 16 && zeros[0] == 0)
		return "UTF-16LE";
	if (len % 2 == 0 && zeros[0] > look / 16 && zeros[1] == 0)
		return "UTF-16BE";
	return NULL;
}

static bool
by_meta(const char *data, size_t len, char charset[32])
{
	size_t look = len < META_BYTES ? len : META_BYTES, n = 0;
	const char *end = data + look, *at = data;

	for (; at + 8 < end; at++)
		if (strncasecmp(at, "charset=", 8) == 0)
			break;
	if (at + 8 >= end)
		return false;
	at += 8;
	while (at < end && (*at == '"' || *at == '\'' || *at == ' '))
		at++;
	while (at < end && n < 31 && strchr("\"' >;/", *at) == NULL)
		charset[n++] = *at++;
	charset[n] = '\0';
	/* A page that we read as bytes is not in 16 bits, whatever it says. */
	return n > 0 && strncasecmp(charset, "utf-16", 6) != 0;
}

static bool
by_guess(const char *data, size_t len, char charset[32])
{
	uchardet_t detector = uchardet_new();
	bool found = false;

	if (detector == NULL)
		return false;
	if (uchardet_handle_data(
		detector, data, len < GUESS_BYTES ? len : GUESS_BYTES) == 0) {
		uchardet_data_end(detector);
		str_copy(charset, 32, uchardet_get_charset(detector));
		found = charset[0] != '\0';
	}
	uchardet_delete(detector);
	return found;
}

/* gcc's analyzer takes the (iconv_t)-1 of a failure for something to close. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
static enum err_code
convert(const char *data, size_t len, const char *charset, struct buf *out)
{
	iconv_t cd = iconv_open("UTF-8", charset);
	char *in = (char *)(uintptr_t)data;
	char piece[16384];

	if (cd == (iconv_t)-1)
		return err_set(
		    ERR_INVALID, "charset \"%s\" is not known", charset);
	while (len > 0) {
		char *to = piece;
		size_t room = sizeof(piece);
		size_t rc = iconv(cd, &in, &len, &to, &room);

		buf_add(out, piece, (size_t)(to - piece));
		if (rc != (size_t)-1 || errno == E2BIG)
			continue;
		buf_adds(out, REPLACEMENT);
		if (errno == EINVAL) /* cut off in the middle of a character */
			break;
		in++;
		len--;
	}
	iconv_close(cd);
	return OK;
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/* Binary files that came under a text type. */
static enum err_code
refuse_binary(const char *data, size_t len)
{
	const char *zero = memchr(data, '\0', len);

	if (zero == NULL)
		return OK;
	return err_set(ERR_INVALID,
	    "this is no text: it has a zero byte at offset %zu",
	    (size_t)(zero - data));
}

enum err_code
extract__to_utf8(const char *data, size_t len, bool html, struct buf *text_out,
    char charset_out[32])
{
	size_t skip = 0;
	const char *sure = by_mark(data, len, &skip);

	data += skip;
	len -= skip;
	if (sure == NULL)
		sure = by_zeros(data, len);
	if ((sure == NULL || strcmp(sure, "UTF-8") == 0) &&
	    str_is_utf8(data, len)) {
		str_copy(charset_out, 32, "UTF-8");
		TRY(refuse_binary(data, len));
		buf_add(text_out, data, len);
		return OK;
	}
	if (sure != NULL) {
		str_copy(charset_out, 32, sure);
		return convert(data, len, sure, text_out);
	}
	TRY(refuse_binary(data, len));
	if (html && by_meta(data, len, charset_out) &&
	    convert(data, len, charset_out, text_out) == OK)
		return OK;
	if (by_guess(data, len, charset_out) &&
	    convert(data, len, charset_out, text_out) == OK)
		return OK;
	str_copy(charset_out, 32, "windows-1252");
	return convert(data, len, charset_out, text_out);
}

bool
extract__is_wide(const char *data, size_t len)
{
	size_t skip = 0;
	const char *charset = by_mark(data, len, &skip);

	if (charset == NULL)
		charset = by_zeros(data, len & ~(size_t)1);
	return charset != NULL && strcmp(charset, "UTF-8") != 0;
}

enum err_code
extract__from_charset(
    const char *data, size_t len, const char *charset, struct buf *text_out)
{
	char guessed[32];

	if ((strcasecmp(charset, "utf-8") == 0 || charset[0] == '\0' ||
		strcasecmp(charset, "us-ascii") == 0) ||
	    convert(data, len, charset, text_out) != OK)
		return extract__to_utf8(data, len, false, text_out, guessed);
	return OK;
}
