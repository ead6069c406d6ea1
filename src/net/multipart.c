/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multipart/form-data as a push parser. The delimiter is "\r\n--boundary"; the
 * boundary has no CR, so that a partial match that fails can only begin anew at
 * the byte that broke it: `matched` is all the memory that searching needs. The
 * data between delimiters is handed on in place, in pieces as large as they
 * came; only the head of a part is collected.
 */
#include "net/multipart.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/internal.h"

#define BOUNDARY_MAX   70 /* RFC 2046 5.1.1 */
#define PART_HEAD_MAX  ((size_t)8192)
#define PART_LINES_MAX 16
#define LEAD_LINES_MAX 16 /* blank lines before the first boundary */

enum state {
	START,  /* blank lines, then the first boundary */
	BORDER, /* a delimiter was matched: "\r\n" or "--" must follow */
	HEAD,
	DATA,
	END,
};

struct multipart {
	struct multipart_handler handler;
	size_t max_parts, parts;
	enum state state;
	bool in_part;   /* part() was called, part_end() was not */
	size_t matched; /* bytes of the delimiter seen */
	char border;    /* BORDER: its first byte, 0 = none yet */
	size_t lead_lines;
	struct buf head;
	size_t delim_len;
	char delim[4 + BOUNDARY_MAX + 1];
};

/* ---- Content-Type ---- */

static bool
is_boundary(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > BOUNDARY_MAX || text[len - 1] == ' ')
		return false;
	for (; *text != '\0'; text++)
		if (!net__is_alnum(*text) &&
		    strchr("'()+_,-./:=? ", *text) == NULL)
			return false;
	return true;
}

enum err_code
multipart_new(const char *content_type, const struct multipart_handler *handler,
    size_t max_parts, struct multipart **multipart_out)
{
	static const char kind[] = "multipart/form-data";
	size_t len = content_type == NULL ? 0 : strcspn(content_type, "; \t");
	char boundary[BOUNDARY_MAX + 2];
	struct multipart *mp;

	if (len != sizeof(kind) - 1 ||
	    strncasecmp(content_type, kind, len) != 0)
		return err_set(ERR_MEDIA_TYPE, "send multipart/form-data");
	if (net__param(content_type + len, "boundary", boundary,
		sizeof(boundary)) != NET_PARAM_FOUND ||
	    !is_boundary(boundary))
		return err_set(ERR_INVALID,
		    "the Content-Type has no good boundary parameter");
	mp = mem_zero(sizeof(*mp));
	mp->handler = *handler;
	mp->max_parts = max_parts;
	buf_init(&mp->head, PART_HEAD_MAX);
	memcpy(mp->delim, "\r\n--", 4);
	memcpy(mp->delim + 4, boundary, strlen(boundary) + 1);
	mp->delim_len = 4 + strlen(boundary);
	mp->matched = 2; /* the first boundary needs no line end before it */
	*multipart_out = mp;
	return OK;
}

void
multipart_free(struct multipart *mp)
{
	if (mp == NULL)
		return;
	buf_done(&mp->head);
	mem_free(mp);
}

/* ---- the head of a part ---- */

/* Browsers write a quote in a name as %22 (WHATWG HTML 4.10.21.8). */
static void
unescape_quotes(char *text)
{
	char *to = text;

	for (; *text != '\0'; text++) {
		if (strncmp(text, "%22", 3) == 0) {
			*to++ = '"';
			text += 2;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

/* Only the last segment: some clients send the whole path. */
static const char *
without_path(const char *name)
{
	const char *slash;

	slash = strrchr(name, '/');
	name = slash != NULL ? slash + 1 : name;
	slash = strrchr(name, '\\');
	return slash != NULL ? slash + 1 : name;
}

static enum err_code
take_disposition(
    const char *value, struct multipart_part *part, char *name, char *filename)
{
	size_t len = strcspn(value, "; \t");
	enum net_param found;

	if (len != 9 || strncasecmp(value, "form-data", len) != 0)
		return err_set(
		    ERR_INVALID, "a part's disposition must be form-data");
	found = net__param(value + len, "name", name, PART_HEAD_MAX);
	if (found == NET_PARAM_BAD)
		return err_set(ERR_INVALID, "bad Content-Disposition");
	if (found == NET_PARAM_FOUND) {
		unescape_quotes(name);
		part->name = name;
	}
	found = net__param(value + len, "filename", filename, PART_HEAD_MAX);
	if (found == NET_PARAM_BAD)
		return err_set(ERR_INVALID, "bad Content-Disposition");
	if (found == NET_PARAM_FOUND) {
		unescape_quotes(filename);
		part->filename = without_path(filename);
	}
	if (!str_is_utf8(part->name, strlen(part->name)) ||
	    (part->filename != NULL &&
		!str_is_utf8(part->filename, strlen(part->filename))))
		return err_set(ERR_INVALID, "a part's name is not UTF-8");
	return OK;
}

/* One line without its CRLF, split in place. */
static enum err_code
take_line(char *line, size_t len, struct multipart_part *part, char *name,
    char *filename, bool *disposed)
{
	char *colon = memchr(line, ':', len), *end = line + len;

	if (colon == NULL || colon == line)
		return err_set(ERR_INVALID, "a part's header has no name");
	for (char *p = line; p < colon; p++)
		if (!net__is_token(*p))
			return err_set(ERR_INVALID,
			    "bad character in the name of a part's header");
	for (char *p = colon; p < end; p++)
		if ((*p >= 0 && *p < ' ' && *p != '\t') || *p == 0x7f)
			return err_set(ERR_INVALID,
			    "control character in a part's header");
	*colon++ = '\0';
	while (*colon == ' ' || *colon == '\t')
		colon++;
	while (end > colon && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*end = '\0';
	if (strcasecmp(line, "content-type") == 0)
		part->content_type = colon;
	if (strcasecmp(line, "content-disposition") != 0)
		return OK;
	if (*disposed)
		return err_set(ERR_INVALID, "two Content-Dispositions");
	*disposed = true;
	return take_disposition(colon, part, name, filename);
}

static enum err_code
split_head(struct multipart *mp, struct multipart_part *part, char *names)
{
	char *line = mp->head.data, *end = line + mp->head.len - 2;
	bool disposed = false;
	size_t lines = 0;

	for (; line < end; lines++) {
		char *eol = memmem(line, (size_t)(end - line), "\r\n", 2);

		if (lines == PART_LINES_MAX)
			return err_set(ERR_TOO_LARGE,
			    "a part has more than %d header lines",
			    PART_LINES_MAX);
		TRY(take_line(line, (size_t)(eol - line), part, names,
		    names + PART_HEAD_MAX, &disposed));
		line = eol + 2;
	}
	if (!disposed)
		return err_set(
		    ERR_INVALID, "a part has no Content-Disposition");
	return OK;
}

static enum err_code
head_done(struct multipart *mp)
{
	struct multipart_part part = { "", NULL, "" };
	char *names = mem_alloc(2 * PART_HEAD_MAX);
	enum err_code rc = OK;

	if (++mp->parts > mp->max_parts)
		rc = err_set(ERR_TOO_LARGE, "the body has more than %zu parts",
		    mp->max_parts);
	if (rc == OK)
		rc = split_head(mp, &part, names);
	if (rc == OK)
		rc = mp->handler.part(mp->handler.arg, &part);
	mem_free(names);
	buf_clear(&mp->head);
	mp->in_part = true;
	mp->state = DATA;
	mp->matched = 0;
	return rc;
}

/* Collects up to the empty line; tells how much it took. */
static enum err_code
feed_head(struct multipart *mp, const char *data, size_t len, size_t *taken_out)
{
	const char *lf = memchr(data, '\n', len);
	size_t take = lf != NULL ? (size_t)(lf - data) + 1 : len;
	const struct buf *head = &mp->head;

	buf_add(&mp->head, data, take);
	*taken_out = take;
	if (mp->head.full)
		return err_set(ERR_TOO_LARGE,
		    "the head of a part is over %zu bytes", PART_HEAD_MAX);
	if (lf == NULL)
		return OK;
	if (head->len < 2 || head->data[head->len - 2] != '\r')
		return err_set(ERR_INVALID, "a part's header ends without CR");
	if (head->len == 2 ||
	    (head->len >= 4 &&
		memcmp(head->data + head->len - 4, "\r\n", 2) == 0))
		return head_done(mp);
	return OK;
}

/* ---- delimiters ---- */

static enum err_code
emit(struct multipart *mp, const char *data, size_t len)
{
	return len == 0 ? OK : mp->handler.data(mp->handler.arg, data, len);
}

/* Nothing but empty lines may stand before the first boundary. */
static enum err_code
feed_start(struct multipart *mp, char c)
{
	if (mp->matched == 2 && c == '\r' && mp->lead_lines < LEAD_LINES_MAX) {
		mp->lead_lines++;
		mp->matched = 1;
		return OK;
	}
	if (c != mp->delim[mp->matched])
		return err_set(
		    ERR_INVALID, "the body does not begin with its boundary");
	if (++mp->matched == mp->delim_len) {
		mp->state = BORDER;
		mp->border = 0;
	}
	return OK;
}

/* What looked like a delimiter was data. */
static enum err_code
border_fails(struct multipart *mp)
{
	if (!mp->in_part)
		return err_set(ERR_INVALID, "bad first boundary");
	mp->state = DATA;
	mp->matched = 0;
	TRY(emit(mp, mp->delim, mp->delim_len));
	return emit(mp, &mp->border, mp->border != 0);
}

static enum err_code
feed_border(struct multipart *mp, char c, size_t *taken_out)
{
	*taken_out = 1;
	if (mp->border == 0 && (c == '\r' || c == '-')) {
		mp->border = c;
		return OK;
	}
	if (!(mp->border == '\r' && c == '\n') &&
	    !(mp->border == '-' && c == '-')) {
		*taken_out = 0; /* looked at again, as data */
		return border_fails(mp);
	}
	mp->state = c == '-' ? END : HEAD;
	if (!mp->in_part)
		return OK;
	mp->in_part = false;
	return mp->handler.part_end(mp->handler.arg);
}

static enum err_code
feed_data(struct multipart *mp, const char *data, size_t len, size_t *taken_out)
{
	size_t at = 0, kept = mp->matched; /* from earlier pieces */
	const char *cr;

	if (kept > 0 && data[0] != mp->delim[kept]) {
		*taken_out = 0;
		mp->matched = 0;
		return emit(mp, mp->delim, kept);
	}
	if (kept == 0) {
		cr = memchr(data, '\r', len);
		at = cr != NULL ? (size_t)(cr - data) : len;
		*taken_out = at;
		if (cr == NULL || at > 0)
			return emit(mp, data, at);
	}
	while (at < len && mp->matched < mp->delim_len &&
	       data[at] == mp->delim[mp->matched]) {
		at++;
		mp->matched++;
	}
	*taken_out = at;
	if (mp->matched == mp->delim_len) {
		mp->state = BORDER;
		mp->border = 0;
	}
	return OK;
}

enum err_code
multipart_feed(struct multipart *mp, const char *data, size_t len)
{
	while (len > 0 && mp->state != END) {
		enum err_code rc = OK;
		size_t taken = 1;

		switch (mp->state) {
		case START:
			rc = feed_start(mp, *data);
			break;
		case BORDER:
			rc = feed_border(mp, *data, &taken);
			break;
		case HEAD:
			rc = feed_head(mp, data, len, &taken);
			break;
		case DATA:
			rc = feed_data(mp, data, len, &taken);
			break;
		case END:
			break;
		}
		if (rc != OK)
			return rc;
		data += taken;
		len -= taken;
	}
	return OK; /* what follows the closing boundary is ignored */
}

enum err_code
multipart_end(struct multipart *mp)
{
	if (mp->state != END)
		return err_set(
		    ERR_INVALID, "the body ends before its closing boundary");
	return OK;
}
