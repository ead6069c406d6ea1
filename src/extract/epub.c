/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EPUB books: the container names the package file, the package lists the
 * chapters (manifest) in reading order (spine), each chapter is an HTML page.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "extract/internal.h"

#define ITEMS_MAX 10000
#define PATH_SIZE 256

struct item {
	char id[80], path[PATH_SIZE];
};

struct book {
	struct extract__blocks *blocks;
	char package[PATH_SIZE];
	struct item *items;
	size_t count;
	size_t *spine; /* of items */
	size_t chapters;
	bool in_title;
	struct buf title;
};

static void
container_open(struct extract__xml *xml, const char *name)
{
	struct book *book = xml->arg;

	if (str_eq(name, "rootfile") && book->package[0] == '\0')
		extract__xml_attribute(
		    xml, "full-path", book->package, PATH_SIZE);
}

/* Paths in the package are relative to it and percent-encoded. */
static void
resolve(const char *package, const char *href, char path[PATH_SIZE])
{
	const char *slash = strrchr(package, '/');
	size_t n = slash != NULL ? (size_t)(slash + 1 - package) : 0;

	str_copy_n(path, PATH_SIZE, package, n);
	n = strlen(path);
	while (*href != '\0' && *href != '#' && n + 1 < PATH_SIZE) {
		char hex[3] = { 0 };

		if (*href == '%' && href[1] != '\0' && href[2] != '\0') {
			memcpy(hex, href + 1, 2);
			path[n++] = (char)strtoul(hex, NULL, 16);
			href += 3;
		} else {
			path[n++] = *href++;
		}
	}
	path[n] = '\0';
}

static void
add_item(struct extract__xml *xml, struct book *book)
{
	struct item *item = &book->items[book->count];
	char href[PATH_SIZE] = "", type[64] = "";

	if (book->count == ITEMS_MAX)
		return;
	*item = (struct item){ .id = "" };
	extract__xml_attribute(xml, "id", item->id, sizeof(item->id));
	extract__xml_attribute(xml, "href", href, sizeof(href));
	extract__xml_attribute(xml, "media-type", type, sizeof(type));
	if (strstr(type, "html") == NULL)
		return;
	resolve(book->package, href, item->path);
	book->count++;
}

static void
package_open(struct extract__xml *xml, const char *name)
{
	struct book *book = xml->arg;
	char id[80] = "";

	if (str_eq(name, "item"))
		add_item(xml, book);
	book->in_title = str_eq(name, "title") && book->title.len == 0;
	if (!str_eq(name, "itemref") || book->chapters == ITEMS_MAX)
		return;
	extract__xml_attribute(xml, "idref", id, sizeof(id));
	for (size_t i = 0; i < book->count; i++)
		if (strcmp(book->items[i].id, id) == 0) {
			book->spine[book->chapters++] = i;
			break;
		}
}

static void
package_close(struct extract__xml *xml, const char *name)
{
	((struct book *)xml->arg)->in_title = false;
	(void)name;
}

static void
package_text(struct extract__xml *xml, const char *text, size_t len)
{
	struct book *book = xml->arg;

	if (book->in_title)
		buf_add(&book->title, text, len);
}

static enum err_code
read_chapter(struct book *book, struct extract__zip *zip, const char *path)
{
	char charset[32];
	struct buf page, text;
	enum err_code rc;

	buf_init(&text, 0);
	rc = extract__zip_buf(zip, path, 4 * book->blocks->max_bytes, &page);
	if (rc == OK && page.len > 0)
		rc =
		    extract__to_utf8(page.data, page.len, true, &text, charset);
	if (rc == OK && text.len > 0)
		rc = extract__html(text.data, text.len, book->blocks);
	buf_done(&text);
	buf_done(&page);
	return rc == ERR_NOT_FOUND ? OK : rc; /* the book lists what it lacks */
}

static enum err_code
read_book(struct book *book, struct extract__zip *zip)
{
	struct extract__xml container = { container_open, NULL, NULL, book,
		NULL, NULL, 0, 0, OK };
	struct extract__xml package = { package_open, package_close,
		package_text, book, NULL, NULL, 0, 0, OK };

	TRY(extract__zip_xml(zip, "META-INF/container.xml", &container));
	if (extract__zip_xml(zip, book->package, &package) != OK)
		return err_add(ERR_INVALID, "the book's package file");
	extract__set_title(
	    book->blocks, buf_str(&book->title), book->title.len);
	for (size_t i = 0; i < book->chapters && !book->blocks->full; i++)
		TRY(read_chapter(book, zip, book->items[book->spine[i]].path));
	return OK;
}

enum err_code
extract__epub(struct extract__zip *zip, struct extract__blocks *blocks)
{
	struct book book = { .blocks = blocks,
		.items = mem_zero((ITEMS_MAX + 1) * sizeof(struct item)),
		.spine = mem_zero(ITEMS_MAX * sizeof(size_t)) };
	enum err_code rc;

	buf_init(&book.title, 0);
	rc = read_book(&book, zip);
	buf_done(&book.title);
	mem_free(book.spine);
	mem_free(book.items);
	return rc;
}
