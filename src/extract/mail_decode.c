/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encodings of e-mail: base64 and quoted-printable bodies (RFC 2045), words
 * in headers (RFC 2047), parameters of headers (RFC 2045, RFC 2231). Lenient as
 * readers must be: what is no valid encoding stands as it is.
 */
#include "extract/mail_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "extract/internal.h"

/* Mail in the wild has the URL-safe alphabet too. */
static int
base64_value(char c)
{
	return c == '-' ? 62 : c == '_' ? 63 : str_base64_value(c);
}

static void
decode_base64(struct mail__decoder *decoder, const char *text, size_t len,
    struct buf *out)
{
	for (size_t i = 0; i < len; i++) {
		int value = base64_value(text[i]);

		if (text[i] == '=') { /* the end of one run of bytes */
			decoder->bit_count = 0;
			decoder->bits = 0;
		}
		if (value < 0)
			continue;
		decoder->bits = (decoder->bits << 6 | (unsigned)value) & 0xffff;
		decoder->bit_count += 6;
		if (decoder->bit_count >= 8) {
			decoder->bit_count -= 8;
			buf_addc(
			    out, (char)(decoder->bits >> decoder->bit_count));
		}
	}
}

/* "=3D"; `underscore` is a space in headers. False at a soft line end. */
static bool
decode_quoted(const char *text, size_t len, bool underscore, struct buf *out)
{
	for (size_t i = 0; i < len; i++) {
		int high, low;

		if (text[i] == '_' && underscore) {
			buf_addc(out, ' ');
			continue;
		}
		if (text[i] != '=') {
			buf_addc(out, text[i]);
			continue;
		}
		if (strspn(text + i + 1, " \t\r\n") >= len - i - 1)
			return false;
		high = i + 2 < len ? str_hex_value(text[i + 1]) : -1;
		low = i + 2 < len ? str_hex_value(text[i + 2]) : -1;
		if (high < 0 || low < 0) {
			buf_addc(out, '=');
			continue;
		}
		buf_addc(out, (char)(high << 4 | low));
		i += 2;
	}
	return true;
}

void
mail__decode_line(struct mail__decoder *decoder, const char *line, size_t len,
    struct buf *out)
{
	if (decoder->encoding == MAIL_BASE64) {
		decode_base64(decoder, line, len, out);
		return;
	}
	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		len--;
	if (decoder->encoding == MAIL_PLAIN)
		buf_add(out, line, len);
	else if (!decode_quoted(line, len, false, out))
		return;
	buf_addc(out, '\n');
}

/* ---- headers ---- */

/* "=?utf-8?B?...?=" at `s`: its length, decoded into `out`; 0 = none. */
static size_t
encoded_word(const char *s, size_t len, struct buf *out)
{
	const char *charset = s + 2, *mark, *text, *end;
	struct mail__decoder decoder = { .encoding = MAIL_BASE64 };
	char name[40];
	struct buf bytes;

	if (len < 8 || memcmp(s, "=?", 2) != 0)
		return 0;
	mark = memchr(charset, '?', len - 2);
	if (mark == NULL || s + len - mark < 5 || mark[2] != '?')
		return 0;
	text = mark + 3;
	end = memmem(text, (size_t)(s + len - text), "?=", 2);
	if (end == NULL)
		return 0;
	str_copy_n(name, sizeof(name), charset, (size_t)(mark - charset));
	name[strcspn(name, "*")] = '\0'; /* a language may follow */
	buf_init(&bytes, 0);
	if (mark[1] == 'B' || mark[1] == 'b')
		decode_base64(&decoder, text, (size_t)(end - text), &bytes);
	else
		decode_quoted(text, (size_t)(end - text), true, &bytes);
	if (bytes.len > 0)
		extract__from_charset(bytes.data, bytes.len, name, out);
	buf_done(&bytes);
	return (size_t)(end + 2 - s);
}

static void
add_folded(struct buf *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool space = isspace((unsigned char)text[i]);

		if (!space)
			buf_addc(out, text[i]);
		else if (out->len > 0 && out->data[out->len - 1] != ' ')
			buf_addc(out, ' ');
	}
}

void
mail__header_text(const char *value, size_t len, struct buf *out)
{
	struct buf text;
	bool after_word = false;
	char charset[32];

	buf_init(&text, 0);
	for (size_t i = 0; i < len;) {
		size_t gap = i, n;

		/* Space between two encoded words is none. */
		while (after_word && gap < len &&
		       isspace((unsigned char)value[gap]))
			gap++;
		n = encoded_word(value + gap, len - gap, &text);
		after_word = n > 0;
		if (n > 0)
			i = gap + n;
		else
			buf_addc(&text, value[i++]);
	}
	if (str_is_utf8(buf_str(&text), text.len)) {
		add_folded(out, buf_str(&text), text.len);
	} else {
		struct buf guessed;

		buf_init(&guessed, 0);
		if (extract__to_utf8(
			text.data, text.len, false, &guessed, charset) == OK)
			add_folded(out, buf_str(&guessed), guessed.len);
		buf_done(&guessed);
	}
	buf_done(&text);
}

void
mail__type(const char *header, char *type, size_t size)
{
	size_t n;

	while (isspace((unsigned char)*header))
		header++;
	n = strcspn(header, "; \t\r\n");
	str_copy_n(type, size, header, n);
	for (char *c = type; *c != '\0'; c++)
		*c = (char)tolower((unsigned char)*c);
}

/* The value after "name=", quoted or not. */
static const char *
copy_value(const char *at, char *value, size_t size)
{
	size_t n = 0;

	if (*at == '"') {
		for (at++; *at != '\0' && *at != '"'; at++) {
			if (*at == '\\' && at[1] != '\0')
				at++;
			if (n + 1 < size)
				value[n++] = *at;
		}
	} else {
		for (; *at != '\0' && strchr("; \t\r\n", *at) == NULL; at++)
			if (n + 1 < size)
				value[n++] = *at;
	}
	value[n] = '\0';
	return at;
}

/* RFC 2231: utf-8'en'%e2%82%ac to UTF-8, in place. */
static void
decode_extended(char *value, size_t size)
{
	char *quote = strchr(value, '\'');
	char *text = quote != NULL ? strchr(quote + 1, '\'') : NULL;
	struct buf bytes, out;

	if (text == NULL)
		return;
	*quote = '\0';
	buf_init(&bytes, 0);
	buf_init(&out, 0);
	for (char *c = text + 1; *c != '\0'; c++) {
		int high = *c == '%' ? str_hex_value(c[1]) : -1;
		int low = high >= 0 ? str_hex_value(c[2]) : -1;

		if (low >= 0)
			c += 2;
		buf_addc(&bytes, low >= 0 ? (char)(high << 4 | low) : *c);
	}
	if (bytes.len > 0)
		extract__from_charset(bytes.data, bytes.len, value, &out);
	str_copy(value, size, buf_str(&out));
	buf_done(&bytes);
	buf_done(&out);
}

bool
mail__parameter(const char *header, const char *name, char *value, size_t size)
{
	const char *at = strchr(header, ';');
	size_t n = strlen(name);

	if (at == NULL)
		return false;
	while (*at != '\0') {
		at += strspn(at, "; \t\r\n");
		if (strncasecmp(at, name, n) == 0) {
			const char *equals = at + n;
			bool extended = *equals == '*';

			equals += strspn(equals, "*0");
			equals += strspn(equals, " \t");
			if (*equals == '=') {
				equals += 1 + strspn(equals + 1, " \t\r\n");
				copy_value(equals, value, size);
				if (extended)
					decode_extended(value, size);
				return value[0] != '\0';
			}
		}
		at += strcspn(at, ";\"");
		while (*at == '"') { /* over a quoted value */
			char none[2];

			at = copy_value(at, none, sizeof(none));
			at += *at == '"';
			at += strcspn(at, ";\"");
		}
	}
	return false;
}
