/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which format a document is in. The first bytes count where they tell (a lie
 * in the name does not hurt), then the declared type, then the file name. A
 * format that must begin with certain bytes and does not is read as text, if
 * it is text.
 */
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "extract/internal.h"

#define COUNT(a)       (sizeof(a) / sizeof((a)[0]))
#define PDF_JUNK_BYTES 1024 /* what readers accept before "%PDF-" */
#define KNOWN                                                                  \
	"PDF, Word (docx), PowerPoint (pptx), Excel (xlsx), OpenDocument "     \
	"(odt, ods, odp), EPUB, RTF, HTML, Markdown, CSV, TSV, e-mail (eml), " \
	"JSON, XML and plain text can"

static const char *const names[EXTRACT_FORMATS] = { "", "markdown", "plain",
	"html", "csv", "tsv", "json", "xml", "mail", "rtf", "pdf", "zip",
	"ole" };

static const struct {
	const char *type;
	enum extract__format format;
} types[] = {
	{ "text/markdown", EXTRACT_MARKDOWN },
	{ "text/x-markdown", EXTRACT_MARKDOWN },
	{ "text/plain", EXTRACT_PLAIN },
	{ "text/html", EXTRACT_HTML },
	{ "application/xhtml+xml", EXTRACT_HTML },
	{ "text/csv", EXTRACT_CSV },
	{ "application/csv", EXTRACT_CSV },
	{ "text/tab-separated-values", EXTRACT_TSV },
	{ "application/json", EXTRACT_JSON },
	{ "application/ld+json", EXTRACT_JSON },
	{ "application/x-ndjson", EXTRACT_JSON },
	{ "application/jsonl", EXTRACT_JSON },
	{ "application/x-ipynb+json", EXTRACT_JSON },
	{ "application/xml", EXTRACT_XML },
	{ "text/xml", EXTRACT_XML },
	{ "application/rss+xml", EXTRACT_XML },
	{ "application/atom+xml", EXTRACT_XML },
	{ "message/rfc822", EXTRACT_MAIL },
	{ "application/rtf", EXTRACT_RTF },
	{ "text/rtf", EXTRACT_RTF },
	{ "application/pdf", EXTRACT_PDF },
	{ "application/x-pdf", EXTRACT_PDF },
	{ "application/epub+zip", EXTRACT_ZIP },
	{ "application/vnd.openxmlformats-officedocument."
	  "wordprocessingml.document",
	    EXTRACT_ZIP },
	{ "application/vnd.openxmlformats-officedocument."
	  "presentationml.presentation",
	    EXTRACT_ZIP },
	{ "application/vnd.openxmlformats-officedocument."
	  "spreadsheetml.sheet",
	    EXTRACT_ZIP },
	{ "application/vnd.oasis.opendocument.text", EXTRACT_ZIP },
	{ "application/vnd.oasis.opendocument.spreadsheet", EXTRACT_ZIP },
	{ "application/vnd.oasis.opendocument.presentation", EXTRACT_ZIP },
};

static const struct {
	const char *suffix;
	enum extract__format format;
} suffixes[] = {
	{ ".md", EXTRACT_MARKDOWN },
	{ ".markdown", EXTRACT_MARKDOWN },
	{ ".mkd", EXTRACT_MARKDOWN },
	{ ".txt", EXTRACT_PLAIN },
	{ ".text", EXTRACT_PLAIN },
	{ ".html", EXTRACT_HTML },
	{ ".htm", EXTRACT_HTML },
	{ ".xhtml", EXTRACT_HTML },
	{ ".csv", EXTRACT_CSV },
	{ ".tsv", EXTRACT_TSV },
	{ ".tab", EXTRACT_TSV },
	{ ".json", EXTRACT_JSON },
	{ ".jsonl", EXTRACT_JSON },
	{ ".ndjson", EXTRACT_JSON },
	{ ".ipynb", EXTRACT_JSON },
	{ ".xml", EXTRACT_XML },
	{ ".rss", EXTRACT_XML },
	{ ".atom", EXTRACT_XML },
	{ ".eml", EXTRACT_MAIL },
	{ ".rtf", EXTRACT_RTF },
	{ ".pdf", EXTRACT_PDF },
	{ ".docx", EXTRACT_ZIP },
	{ ".docm", EXTRACT_ZIP },
	{ ".dotx", EXTRACT_ZIP },
	{ ".pptx", EXTRACT_ZIP },
	{ ".pptm", EXTRACT_ZIP },
	{ ".ppsx", EXTRACT_ZIP },
	{ ".xlsx", EXTRACT_ZIP },
	{ ".xlsm", EXTRACT_ZIP },
	{ ".odt", EXTRACT_ZIP },
	{ ".ods", EXTRACT_ZIP },
	{ ".odp", EXTRACT_ZIP },
	{ ".epub", EXTRACT_ZIP },
};

/* What begins with these bytes; without a format it is refused by its name. */
static const struct {
	const char *bytes;
	size_t len;
	enum extract__format format;
	const char *what;
} magics[] = {
	{ "%PDF-", 5, EXTRACT_PDF, NULL },
	{ "PK\3\4", 4, EXTRACT_ZIP, NULL },
	{ "PK\5\6", 4, EXTRACT_ZIP, NULL },
	{ "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 8, EXTRACT_OLE, NULL },
	{ "{\\rtf", 5, EXTRACT_RTF, NULL },
	{ "\x89PNG", 4, EXTRACT_NONE, "a PNG image" },
	{ "\xff\xd8\xff", 3, EXTRACT_NONE, "a JPEG image" },
	{ "GIF8", 4, EXTRACT_NONE, "a GIF image" },
	{ "II*\0", 4, EXTRACT_NONE, "a TIFF image" },
	{ "\x1f\x8b\x08", 3, EXTRACT_NONE, "a gzip archive" },
	{ "7z\xbc\xaf", 4, EXTRACT_NONE, "a 7-Zip archive" },
	{ "Rar!\x1a", 5, EXTRACT_NONE, "a RAR archive" },
	{ "\x7f"
	  "ELF",
	    4, EXTRACT_NONE, "a program" },
	{ "MZ\x90\0", 4, EXTRACT_NONE, "a program" },
	{ "SQLite format 3", 15, EXTRACT_NONE, "a database" },
};

const char *
extract__format_name(enum extract__format format)
{
	return names[format];
}

enum extract__format
extract__format_named(const char *name)
{
	for (int i = 1; i < EXTRACT_FORMATS; i++)
		if (strcmp(name, names[i]) == 0)
			return (enum extract__format)i;
	return EXTRACT_NONE;
}

static bool
has_suffix(const char *filename, const char *suffix)
{
	size_t len = filename == NULL ? 0 : strlen(filename);
	size_t n = strlen(suffix);

	return len > n && strcasecmp(filename + len - n, suffix) == 0;
}

static enum extract__format
by_suffix(const char *filename)
{
	for (size_t i = 0; i < COUNT(suffixes); i++)
		if (has_suffix(filename, suffixes[i].suffix))
			return suffixes[i].format;
	return EXTRACT_NONE;
}

static bool
is_type(const char *type, size_t len, const char *wanted)
{
	return strlen(wanted) == len && strncasecmp(type, wanted, len) == 0;
}

/* Plain text is what clients call everything that they do not know, and
 * browsers on Windows call CSV Excel. */
static enum extract__format
declared(const char *type, const char *filename)
{
	size_t len = type == NULL ? 0 : strcspn(type, "; \t");
	enum extract__format named = by_suffix(filename);

	if (len == 0 || is_type(type, len, "application/octet-stream"))
		return named;
	if (named == EXTRACT_CSV &&
	    is_type(type, len, "application/vnd.ms-excel"))
		return named;
	if (is_type(type, len, "text/plain") && named != EXTRACT_NONE)
		return named;
	for (size_t i = 0; i < COUNT(types); i++)
		if (is_type(type, len, types[i].type))
			return types[i].format;
	return len > 5 && strncasecmp(type, "text/", 5) == 0 ? EXTRACT_PLAIN
							     : EXTRACT_NONE;
}

static bool
needs_magic(enum extract__format format)
{
	return format == EXTRACT_PDF || format == EXTRACT_ZIP ||
	       format == EXTRACT_RTF;
}

static bool
begins(const char *head, size_t len, const char *word)
{
	return len >= strlen(word) &&
	       strncasecmp(head, word, strlen(word)) == 0;
}

/* HTML and XML say so themselves; EXTRACT_NONE for any other text. */
static enum extract__format
by_markup(const char *head, size_t len)
{
	if (len >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0) {
		head += 3;
		len -= 3;
	}
	while (len > 0 && strchr(" \t\r\n", *head) != NULL) {
		head++;
		len--;
	}
	if (begins(head, len, "<!doctype html") || begins(head, len, "<html"))
		return EXTRACT_HTML;
	if (begins(head, len, "<?xml"))
		return EXTRACT_XML;
	return EXTRACT_NONE;
}

static enum err_code
refuse_ole(const char *filename)
{
	bool mail = has_suffix(filename, ".msg");

	return err_set(ERR_MEDIA_TYPE,
	    "%s cannot be read; save it as %s and upload that",
	    mail ? "an Outlook message (msg)"
		 : "an Office document from before 2007 (doc, xls, ppt)",
	    mail ? "eml" : "docx, xlsx, pptx or PDF");
}

/* *done when the first bytes have decided. */
static enum err_code
by_magic(const char *head, size_t len, enum extract__format wanted,
    const char *filename, enum extract__format *format_out, bool *done)
{
	*done = true;
	for (size_t i = 0; i < COUNT(magics); i++) {
		if (len < magics[i].len ||
		    memcmp(head, magics[i].bytes, magics[i].len) != 0)
			continue;
		if (magics[i].format == EXTRACT_NONE)
			return err_set(ERR_MEDIA_TYPE,
			    "this is %s, which cannot be read; " KNOWN,
			    magics[i].what);
		if (magics[i].format == EXTRACT_OLE && wanted != EXTRACT_ZIP)
			return refuse_ole(filename);
		*format_out = magics[i].format;
		return OK;
	}
	if (wanted == EXTRACT_PDF && memmem(head, len, "%PDF-", 5) != NULL) {
		*format_out = EXTRACT_PDF;
		return OK;
	}
	*done = false;
	return OK;
}

static bool
is_text(const char *head, size_t len)
{
	return extract__is_wide(head, len) || memchr(head, '\0', len) == NULL;
}

enum err_code
extract__format_of(const char *type, const char *filename, const void *head,
    size_t len, enum extract__format *format_out)
{
	enum extract__format wanted = declared(type, filename), markup;
	bool done;

	if (len > PDF_JUNK_BYTES)
		len = PDF_JUNK_BYTES;
	if (head != NULL) {
		TRY(by_magic(head, len, wanted, filename, format_out, &done));
		if (done)
			return OK;
	}
	if (head != NULL && len > 0 && needs_magic(wanted)) {
		if (!is_text(head, len))
			return err_set(ERR_INVALID,
			    "this does not begin as %s does: it is damaged, "
			    "or something else",
			    wanted == EXTRACT_PDF   ? "a PDF"
			    : wanted == EXTRACT_RTF ? "an RTF document"
						    : "an Office document");
		wanted = EXTRACT_PLAIN;
	}
	markup = head != NULL ? by_markup(head, len) : EXTRACT_NONE;
	if (markup == EXTRACT_HTML &&
	    (wanted == EXTRACT_PLAIN || wanted == EXTRACT_XML ||
		wanted == EXTRACT_NONE))
		wanted = EXTRACT_HTML;
	if (markup == EXTRACT_XML &&
	    (wanted == EXTRACT_PLAIN || wanted == EXTRACT_NONE))
		wanted = EXTRACT_XML;
	if (wanted == EXTRACT_NONE)
		return err_set(ERR_MEDIA_TYPE,
		    "\"%.64s (%.64s)\" cannot be read; " KNOWN,
		    type != NULL && type[0] != '\0' ? type : "no content type",
		    filename != NULL ? filename : "no file name");
	*format_out = wanted;
	return OK;
}
