/* SPDX-License-Identifier: Apache-2.0 */
/*
 * E-mail (RFC 5322, MIME) line by line, so that attachments of any size pass
 * without being held. The subject becomes the title, sender and date a
 * paragraph; of alternatives the richest one that we can read stays (RFC 2046,
 * 5.1.4); attachments are named, and read when they are text. Parts nest to a
 * ceiling; deeper ones are left out.
 */
#include "extract/mail_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "extract/internal.h"

#define NEST_MAX      20
#define PARTS_MAX     500
#define HEADERS_BYTES ((size_t)256 << 10) /* of one part; the rest is left */
#define LINE_BYTES    ((size_t)64 << 10)  /* a longer line comes in pieces */
#define NAME_SIZE     256

struct level {
	char boundary[80];
	size_t boundary_len;
	bool alternative;
	int id, branch; /* of an alternative: which of its parts */
};

/* One part with text that was kept. */
struct part {
	bool html, csv;
	int group, branch; /* the alternative around it; 0 = none */
	char name[NAME_SIZE];
	struct buf text;
};

struct mail {
	struct extract__blocks *blocks;
	struct level levels[NEST_MAX];
	int depth;
	struct buf headers; /* of the part, unfolded */
	bool in_headers, top;
	int groups;
	/* the open part's body */
	struct part *part; /* NULL = its body is left out */
	struct mail__decoder decoder;
	struct buf bytes;
	char charset[40];
	struct part *parts[PARTS_MAX];
	size_t count;
	struct buf about;    /* From, To, Date */
	struct buf attached; /* names of attachments that are no text */
	bool encrypted;
};

/* ---- headers ---- */

/* The value of a header; the headers are lines "name: value\n". */
static const char *
header(const struct mail *mail, const char *name, size_t *len_out)
{
	const char *at = buf_str(&mail->headers);
	size_t n = strlen(name);

	while (*at != '\0') {
		size_t len = strcspn(at, "\n");

		if (len > n && strncasecmp(at, name, n) == 0 && at[n] == ':') {
			*len_out = len - n - 1;
			return at + n + 1;
		}
		at += len + (at[len] == '\n');
	}
	return NULL;
}

static void
copy_header(const struct mail *mail, const char *name, char *out, size_t size)
{
	size_t len;
	const char *value = header(mail, name, &len);

	out[0] = '\0';
	if (value != NULL)
		str_copy_n(out, size, value, len);
}

static void
add_about(struct mail *mail, const char *name)
{
	size_t len;
	const char *value = header(mail, name, &len);

	if (value == NULL)
		return;
	buf_addf(&mail->about, "%s: ", name);
	mail__header_text(value, len, &mail->about);
	buf_addc(&mail->about, '\n');
}

/* The mail's own headers, or those of one that was forwarded inside. */
static void
take_subject(struct mail *mail)
{
	size_t len;
	const char *value = header(mail, "Subject", &len);
	struct buf text;

	add_about(mail, "From");
	add_about(mail, "To");
	add_about(mail, "Cc");
	add_about(mail, "Date");
	buf_init(&text, 0);
	if (value != NULL)
		mail__header_text(value, len, &text);
	extract__add(mail->blocks, BLOCK_HEADING, mail->depth > 0 ? 2 : 1,
	    buf_str(&text), text.len);
	extract__add(mail->blocks, BLOCK_PARAGRAPH, 0, buf_str(&mail->about),
	    mail->about.len);
	buf_clear(&mail->about);
	buf_done(&text);
}

/* ---- parts ---- */

static struct level *
innermost_alternative(struct mail *mail)
{
	for (int i = mail->depth; i-- > 0;)
		if (mail->levels[i].alternative)
			return &mail->levels[i];
	return NULL;
}

static void
part_free(struct part *part)
{
	if (part == NULL)
		return;
	buf_done(&part->text);
	mem_free(part);
}

/* A later alternative takes the place of the earlier ones. */
static void
drop_poorer(struct mail *mail, const struct part *better)
{
	size_t kept = 0;

	for (size_t i = 0; i < mail->count; i++) {
		struct part *part = mail->parts[i];

		if (part->group == better->group &&
		    part->branch != better->branch)
			part_free(part);
		else
			mail->parts[kept++] = part;
	}
	mail->count = kept;
}

static enum mail__encoding
encoding_of(const struct mail *mail)
{
	char value[32];

	copy_header(mail, "Content-Transfer-Encoding", value, sizeof(value));
	if (strcasestr(value, "base64") != NULL)
		return MAIL_BASE64;
	return strcasestr(value, "quoted-printable") != NULL ? MAIL_QUOTED
							     : MAIL_PLAIN;
}

/* The file's name, from either header that may carry it. */
static void
part_name(const struct mail *mail, const char *type, char name[NAME_SIZE])
{
	char disposition[1024], raw[NAME_SIZE] = "";
	struct buf text;

	copy_header(
	    mail, "Content-Disposition", disposition, sizeof(disposition));
	if (!mail__parameter(disposition, "filename", raw, sizeof(raw)))
		mail__parameter(type, "name", raw, sizeof(raw));
	if (raw[0] == '\0' && strcasestr(disposition, "attachment") != NULL)
		str_copy(raw, sizeof(raw), "unnamed");
	buf_init(&text, 0);
	mail__header_text(raw, strlen(raw), &text);
	str_copy(name, NAME_SIZE, buf_str(&text));
	buf_done(&text);
}

static void
begin_part(struct mail *mail, const char *header_type, const char *type)
{
	struct level *alternative = innermost_alternative(mail);
	char name[NAME_SIZE];
	struct part *part;

	part_name(mail, header_type, name);
	if (!str_starts(type, "text/") || mail->count == PARTS_MAX ||
	    str_eq(type, "text/calendar")) {
		if (name[0] != '\0' && mail->attached.len < HEADERS_BYTES)
			buf_addf(&mail->attached, "- %s (%s)\n", name, type);
		return;
	}
	part = mem_zero(sizeof(*part));
	part->html = str_eq(type, "text/html");
	part->csv = str_eq(type, "text/csv");
	str_copy(part->name, sizeof(part->name), name);
	buf_init(&part->text, 0);
	if (alternative != NULL && name[0] == '\0') {
		part->group = alternative->id;
		part->branch = alternative->branch;
	}
	mail->part = part;
	mail->decoder = (struct mail__decoder){ .encoding = encoding_of(mail) };
	mail->charset[0] = '\0';
	mail__parameter(
	    header_type, "charset", mail->charset, sizeof(mail->charset));
}

static bool
is_blank(const struct buf *text)
{
	return strspn(buf_str(text), " \t\r\n") == text->len;
}

static void
end_part(struct mail *mail)
{
	struct part *part = mail->part;
	char charset[32];

	if (part == NULL)
		return;
	mail->part = NULL;
	if (mail->bytes.len == 0)
		;
	else if (mail->charset[0] != '\0')
		extract__from_charset(mail->bytes.data, mail->bytes.len,
		    mail->charset, &part->text);
	else
		extract__to_utf8(mail->bytes.data, mail->bytes.len, part->html,
		    &part->text, charset);
	buf_clear(&mail->bytes);
	if (is_blank(&part->text)) {
		part_free(part);
		return;
	}
	if (part->group > 0)
		drop_poorer(mail, part);
	mail->parts[mail->count++] = part;
}

static void
enter_multipart(struct mail *mail, const char *header_type, const char *type)
{
	struct level *level = &mail->levels[mail->depth];

	if (mail->depth == NEST_MAX)
		return;
	*level = (struct level){ .alternative =
				     str_eq(type, "multipart/alternative"),
		.id = ++mail->groups };
	mail__parameter(
	    header_type, "boundary", level->boundary, sizeof(level->boundary));
	level->boundary_len = strlen(level->boundary);
	if (level->boundary_len > 0)
		mail->depth++;
}

/* The empty line after the headers. */
static void
end_headers(struct mail *mail)
{
	char header_type[2048], type[100];

	mail->in_headers = false;
	copy_header(mail, "Content-Type", header_type, sizeof(header_type));
	mail__type(header_type[0] != '\0' ? header_type : "text/plain", type,
	    sizeof(type));
	if (mail->top)
		take_subject(mail);
	mail->top = false;
	if (str_eq(type, "multipart/encrypted") ||
	    str_eq(type, "application/pkcs7-mime"))
		mail->encrypted = true;
	if (str_starts(type, "multipart/")) {
		enter_multipart(mail, header_type, type);
	} else if (str_eq(type, "message/rfc822")) {
		mail->in_headers = true;
		mail->top = true;
	} else {
		begin_part(mail, header_type, type);
	}
	buf_clear(&mail->headers);
}

/* ---- lines ---- */

/* Does the line end a part? A boundary of any open level does; those inside
 * it end too. */
static bool
at_boundary(struct mail *mail, const char *line, size_t len)
{
	if (len < 3 || line[0] != '-' || line[1] != '-')
		return false;
	for (int i = mail->depth; i-- > 0;) {
		struct level *level = &mail->levels[i];
		size_t n = level->boundary_len;
		const char *rest = line + 2 + n;
		bool last;

		if (len - 2 < n || memcmp(line + 2, level->boundary, n) != 0)
			continue;
		last = len - 2 - n >= 2 && rest[0] == '-' && rest[1] == '-';
		if (!last && strspn(rest, " \t\r\n") < len - 2 - n)
			continue; /* only begins like it */
		end_part(mail);
		mail->depth = last ? i : i + 1;
		level->branch++;
		mail->in_headers = !last;
		mail->top = false;
		buf_clear(&mail->headers);
		return true;
	}
	return false;
}

static void
header_line(struct mail *mail, const char *line, size_t len)
{
	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		len--;
	if (len == 0) {
		end_headers(mail);
		return;
	}
	if (mail->headers.len + len > HEADERS_BYTES)
		return;
	if ((line[0] == ' ' || line[0] == '\t') && mail->headers.len > 0)
		mail->headers.data[--mail->headers.len] = '\0'; /* unfold */
	for (size_t i = 0; i < len; i++)
		buf_addc(&mail->headers,
		    line[i] == '\0' || line[i] == '\n' ? ' ' : line[i]);
	buf_addc(&mail->headers, '\n');
}

static void
take_line(struct mail *mail, const char *line, size_t len)
{
	if (at_boundary(mail, line, len))
		return;
	if (mail->in_headers) {
		header_line(mail, line, len);
		return;
	}
	if (mail->part == NULL)
		return;
	mail__decode_line(&mail->decoder, line, len, &mail->bytes);
	if (mail->bytes.len > 4 * mail->blocks->max_bytes)
		mail->blocks->full = true;
}

/* A mail without headers at all is only a body. */
static bool
looks_like_header(const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);

	if (len > 5 && memcmp(line, "From ", 5) == 0)
		return true; /* of a mailbox file */
	if (colon == NULL || colon == line)
		return false;
	for (const char *c = line; c < colon; c++)
		if (*c <= ' ' || *c > '~')
			return false;
	return true;
}

static enum err_code
read_lines(struct mail *mail, extract__source_fn source, void *arg)
{
	struct buf rest;
	enum err_code rc;
	const char *data;
	bool first = true;
	size_t len;

	buf_init(&rest, 0);
	do {
		size_t at = 0;

		rc = source(arg, &data, &len);
		if (rc == OK)
			buf_add(&rest, data, len);
		while (rc == OK && !mail->blocks->full && at < rest.len) {
			const char *line = rest.data + at;
			const char *end = memchr(line, '\n', rest.len - at);
			size_t n = end != NULL ? (size_t)(end + 1 - line)
					       : rest.len - at;

			if (end == NULL && n < LINE_BYTES && len > 0)
				break;
			if (first && !looks_like_header(line, n))
				end_headers(mail);
			first = false;
			take_line(mail, line, n);
			at += n;
		}
		buf_drop(&rest, at);
	} while (rc == OK && len > 0 && !mail->blocks->full);
	buf_done(&rest);
	return rc;
}

/* ---- the result ---- */

static enum err_code
add_part(struct mail *mail, const struct part *part)
{
	const char *text = buf_str(&part->text);

	if (part->name[0] != '\0') {
		struct buf heading;

		buf_init(&heading, 0);
		buf_addf(&heading, "Attachment: %s", part->name);
		extract__add(
		    mail->blocks, BLOCK_HEADING, 2, heading.data, heading.len);
		buf_done(&heading);
	}
	if (part->html)
		return extract__html(text, part->text.len, mail->blocks);
	if (part->csv)
		extract__csv(text, part->text.len, '\0', mail->blocks);
	else
		extract__plain(text, part->text.len, mail->blocks);
	return OK;
}

static enum err_code
add_parts(struct mail *mail)
{
	if (mail->encrypted && mail->count == 0)
		return err_set(
		    ERR_INVALID, "the mail is encrypted: upload it decrypted");
	for (size_t i = 0; i < mail->count; i++)
		TRY(add_part(mail, mail->parts[i]));
	if (mail->attached.len > 0) {
		static const char title[] = "Attachments";

		extract__add(
		    mail->blocks, BLOCK_PARAGRAPH, 0, title, strlen(title));
		extract__add(mail->blocks, BLOCK_LIST, 0, mail->attached.data,
		    mail->attached.len);
	}
	return OK;
}

static void
mail_done(struct mail *mail)
{
	part_free(mail->part);
	for (size_t i = 0; i < mail->count; i++)
		part_free(mail->parts[i]);
	buf_done(&mail->headers);
	buf_done(&mail->bytes);
	buf_done(&mail->about);
	buf_done(&mail->attached);
	mem_free(mail);
}

enum err_code
extract__mail(
    extract__source_fn source, void *arg, struct extract__blocks *blocks)
{
	struct mail *mail = mem_zero(sizeof(*mail));
	enum err_code rc;

	mail->blocks = blocks;
	mail->in_headers = mail->top = true;
	buf_init(&mail->headers, 0);
	buf_init(&mail->bytes, 0);
	buf_init(&mail->about, 0);
	buf_init(&mail->attached, 0);
	rc = read_lines(mail, source, arg);
	if (rc == OK && mail->in_headers)
		end_headers(mail);
	end_part(mail);
	if (rc == OK)
		rc = add_parts(mail);
	mail_done(mail);
	return rc;
}
