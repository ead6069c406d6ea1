/* SPDX-License-Identifier: Apache-2.0 */
/* The growing buffer, and JSON string escaping that every writer shares. */
#include "base/buf.h"

#include <stdio.h>

#include "base/error.h"
#include "base/mem.h"

void
buf_init(struct buf *buf, size_t max)
{
	*buf = (struct buf){ .max = max };
}

void
buf_done(struct buf *buf)
{
	mem_free(buf->data);
	*buf = (struct buf){ .max = buf->max };
}

void
buf_clear(struct buf *buf)
{
	buf->len = 0;
	buf->full = false;
	if (buf->data != NULL)
		buf->data[0] = '\0';
}

void
buf_reserve(struct buf *buf, size_t more)
{
	size_t need = buf->len + more + 1;
	size_t cap = buf->cap < 64 ? 64 : buf->cap;

	if (need <= buf->cap)
		return;
	while (cap < need)
		cap += cap / 2 + 64;
	buf->data = mem_resize(buf->data, cap);
	buf->cap = cap;
}

void
buf_add(struct buf *buf, const void *data, size_t len)
{
	if (buf->max != 0 && (buf->full || len > buf->max - buf->len)) {
		buf->full = true;
		return;
	}
	if (buf->len + len >= buf->cap)
		buf_reserve(buf, len);
	if (len > 0)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void
buf_adds(struct buf *buf, const char *s)
{
	buf_add(buf, s, strlen(s));
}

void
buf_addc(struct buf *buf, char c)
{
	buf_add(buf, &c, 1);
}

void
buf_addi(struct buf *buf, int64_t number)
{
	char digits[20], *p = digits + sizeof(digits);
	uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;

	do
		*--p = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	if (number < 0)
		*--p = '-';
	buf_add(buf, p, (size_t)(digits + sizeof(digits) - p));
}

void
buf_vaddf(struct buf *buf, const char *fmt, va_list ap)
{
	char small[256];
	va_list again;
	char *big;
	int n;

	va_copy(again, ap);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	if (n < 0)
		panic("bad format: %s", fmt);
	if ((size_t)n < sizeof(small)) {
		buf_add(buf, small, (size_t)n);
	} else {
		big = mem_alloc((size_t)n + 1);
		vsnprintf(big, (size_t)n + 1, fmt, again);
		buf_add(buf, big, (size_t)n);
		mem_free(big);
	}
	va_end(again);
}

void
buf_addf(struct buf *buf, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(buf, fmt, ap);
	va_end(ap);
}

/* Length of the valid UTF-8 sequence at `s`, 0 when it is none (RFC 3629). */
static size_t
utf8_len(const unsigned char *s, size_t left)
{
	unsigned char c = s[0];

	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf)
		return left >= 2 && (s[1] & 0xc0) == 0x80 ? 2 : 0;
	if (c >= 0xe0 && c <= 0xef) {
		if (left < 3 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80)
			return 0;
		if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f))
			return 0;
		return 3;
	}
	if (c >= 0xf0 && c <= 0xf4) {
		if (left < 4 || (s[1] & 0xc0) != 0x80 ||
		    (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80)
			return 0;
		if ((c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f))
			return 0;
		return 4;
	}
	return 0;
}

static void
add_escaped(struct buf *buf, unsigned char c)
{
	switch (c) {
	case '"':
		buf_add(buf, "\\\"", 2);
		break;
	case '\\':
		buf_add(buf, "\\\\", 2);
		break;
	case '\n':
		buf_add(buf, "\\n", 2);
		break;
	case '\r':
		buf_add(buf, "\\r", 2);
		break;
	case '\t':
		buf_add(buf, "\\t", 2);
		break;
	default:
		buf_addf(buf, "\\u%04x", c);
	}
}

/* Bytes that a JSON string holds as they are, whatever is around them. */
static const bool is_plain[256] = {
	[' ' ... '!'] = true,
	['#' ... '['] = true,
	[']' ... '~'] = true,
};

void
buf_add_json(struct buf *buf, const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t i = 0, from = 0, n;

	buf_addc(buf, '"');
	while (i < len) {
		if (is_plain[p[i]]) {
			i++;
			continue;
		}
		n = utf8_len(p + i, len - i);
		if (n > 1) {
			i += n;
			continue;
		}
		buf_add(buf, s + from, i - from);
		if (n == 0)
			buf_add(buf, "\xef\xbf\xbd", 3);
		else
			add_escaped(buf, p[i]);
		from = ++i;
	}
	buf_add(buf, s + from, len - from);
	buf_addc(buf, '"');
}

void
buf_drop(struct buf *buf, size_t len)
{
	must(len <= buf->len);
	if (len == 0)
		return;
	memmove(buf->data, buf->data + len, buf->len - len);
	buf->len -= len;
	buf->data[buf->len] = '\0';
}

const char *
buf_str(const struct buf *buf)
{
	return buf->data == NULL ? "" : buf->data;
}

char *
buf_take(struct buf *buf, size_t *len_out)
{
	char *data = buf->data != NULL ? buf->data : mem_strdup("");

	if (len_out != NULL)
		*len_out = buf->len;
	*buf = (struct buf){ .max = buf->max };
	return data;
}
