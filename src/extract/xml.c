/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XML as a stream of events, through libxml2's push parser with our own
 * handlers: nothing is built, nothing is fetched. A document type declaration
 * is refused where it declares anything (billion laughs, external entities).
 */
#include <libxml/parser.h>
#include <string.h>

#include "base/str.h"
#include "extract/internal.h"

#define DEPTH_MAX 1000

static void
stop(struct extract__xml *xml, enum err_code rc)
{
	if (xml->rc == OK)
		xml->rc = rc;
	xmlStopParser(xml->parser);
}

static void
on_open(void *arg, const xmlChar *name, const xmlChar *prefix,
    const xmlChar *uri, int namespaces, const xmlChar **spaces, int attributes,
    int defaulted, const xmlChar **values)
{
	struct extract__xml *xml = arg;

	(void)prefix, (void)uri, (void)namespaces, (void)spaces;
	(void)defaulted;
	if (++xml->depth > DEPTH_MAX) {
		stop(xml, err_set(ERR_INVALID,
			      "its XML is nested more than %d elements deep",
			      DEPTH_MAX));
		return;
	}
	xml->attributes = values;
	xml->attribute_count = attributes;
	if (xml->rc == OK && xml->open != NULL)
		xml->open(xml, (const char *)name);
	xml->attribute_count = 0;
}

static void
on_close(
    void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
	struct extract__xml *xml = arg;

	(void)prefix, (void)uri;
	xml->depth--;
	if (xml->rc == OK && xml->close != NULL)
		xml->close(xml, (const char *)name);
}

static void
on_text(void *arg, const xmlChar *text, int len)
{
	struct extract__xml *xml = arg;

	if (xml->rc == OK && xml->text != NULL)
		xml->text(xml, (const char *)text, (size_t)len);
}

static void
on_entity(void *arg, const xmlChar *name, int type, const xmlChar *public_id,
    const xmlChar *system_id, xmlChar *content)
{
	(void)type, (void)public_id, (void)system_id, (void)content;
	stop(arg,
	    err_set(ERR_INVALID,
		"its XML declares an entity (\"%.40s\"), which is not allowed",
		(const char *)name));
}

bool
extract__xml_attribute(
    const struct extract__xml *xml, const char *name, char *value, size_t size)
{
	for (int i = 0; i < xml->attribute_count; i++) {
		const xmlChar **at = xml->attributes + 5 * (size_t)i;

		if (strcmp((const char *)at[0], name) != 0)
			continue;
		str_copy_n(
		    value, size, (const char *)at[3], (size_t)(at[4] - at[3]));
		return true;
	}
	return false;
}

enum err_code
extract__xml_begin(struct extract__xml *xml)
{
	xmlSAXHandler handler = {
		.initialized = XML_SAX2_MAGIC,
		.startElementNs = on_open,
		.endElementNs = on_close,
		.characters = on_text,
		.cdataBlock = on_text,
		.ignorableWhitespace = on_text,
		.entityDecl = on_entity,
	};
	xmlParserCtxtPtr parser;

	xml->rc = OK;
	xml->depth = 0;
	parser = xmlCreatePushParserCtxt(&handler, xml, NULL, 0, NULL);
	if (parser == NULL)
		return err_set(ERR_TOO_LARGE, "no memory for the XML parser");
	xmlCtxtUseOptions(parser, XML_PARSE_NONET | XML_PARSE_NOERROR |
				      XML_PARSE_NOWARNING | XML_PARSE_NOCDATA);
	xml->parser = parser;
	return OK;
}

/* libxml2's sentence, on one line. */
static enum err_code
broken(struct extract__xml *xml)
{
	const xmlError *error = xmlCtxtGetLastError(xml->parser);
	const char *why = error != NULL && error->message != NULL
			      ? error->message
			      : "not well formed\n";

	if (error != NULL && error->code == XML_ERR_NO_MEMORY)
		return err_set(ERR_TOO_LARGE,
		    "its XML needs more memory than XIN_EXTRACT_HEAP_BYTES "
		    "allows");
	return err_set(ERR_INVALID, "its XML is broken in line %d: \"%.*s\"",
	    error != NULL ? error->line : 0, (int)strcspn(why, "\n"), why);
}

enum err_code
extract__xml_feed(void *arg, const char *data, size_t len)
{
	struct extract__xml *xml = arg;

	while (len > 0 && xml->rc == OK) {
		int n = len < (1 << 20) ? (int)len : 1 << 20;

		if (xmlParseChunk(xml->parser, data, n, 0) != 0 &&
		    xml->rc == OK)
			xml->rc = broken(xml);
		data += n;
		len -= (size_t)n;
	}
	return xml->rc;
}

enum err_code
extract__xml_end(struct extract__xml *xml, enum err_code rc)
{
	xmlParserCtxtPtr parser;

	if (rc == OK && xmlParseChunk(xml->parser, NULL, 0, 1) != 0)
		rc = xml->rc != OK ? xml->rc : broken(xml);
	parser = xml->parser;
	xmlFreeDoc(parser->myDoc); /* it makes one for declarations */
	xmlFreeParserCtxt(parser);
	xml->parser = NULL;
	return rc;
}
