/* SPDX-License-Identifier: Apache-2.0 */
/* What documents become, through the real child process: this program is its
 * own child. */
#include "fiber_group.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/task.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "extract/extract.h"

static enum err_code
extract_bytes(
    const char *data, size_t len, const char *type, struct extracted *out)
{
	char name[] = "/tmp/xin-extract-XXXXXX";
	int fd = mkstemp(name);
	enum err_code rc;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	close(fd);
	*out = (struct extracted){ NULL, NULL, NULL };
	rc = extract_file(name, type, NULL, deadline_in_ms(20000), out);
	unlink(name);
	return rc;
}

static void
read_text(const char *text, const char *type, struct extracted *out)
{
	enum err_code rc = extract_bytes(text, strlen(text), type, out);

	if (rc != OK)
		print_error("%s\n", err_message());
	assert_int_equal(rc, OK);
}

static void
expect_block(
    const struct extracted *e, size_t i, const char *type, const char *text)
{
	const json_t *block = json_array_get(e->blocks, i);

	assert_non_null(block);
	assert_string_equal(json_str(block, "type"), type);
	assert_string_equal(json_str(block, "text"), text);
}

/* ---- Markdown ---- */

static void
markdown_becomes_typed_blocks(void **state)
{
	struct extracted e;

	(void)state;
	read_text("# Hours { #hours }\n\nWe are **open** on\nMonday, see "
		  "[the map](http://x/y){.internal target=_blank}.\n\n"
		  "* one\n* two\n    1. deep\n    2. deeper\n\n"
		  "> quoted\n> words\n\n```c\n  int x;\n{ #keep }\n```\n\n"
		  "Second level\n---\n",
	    "text/markdown", &e);
	assert_string_equal(e.title, "Hours");
	assert_string_equal(e.charset, "UTF-8");
	expect_block(&e, 0, "heading", "Hours");
	assert_int_equal(json_int(json_array_get(e.blocks, 0), "level", 0), 1);
	expect_block(&e, 1, "paragraph", "We are open on Monday, see the map.");
	expect_block(&e, 2, "list", "- one\n- two\n  1. deep\n  2. deeper");
	expect_block(&e, 3, "quote", "quoted words");
	expect_block(&e, 4, "code", "  int x;\n{ #keep }");
	expect_block(&e, 5, "heading", "Second level");
	assert_int_equal(json_int(json_array_get(e.blocks, 5), "level", 0), 2);
	assert_int_equal(json_array_size(e.blocks), 6);
	extracted_done(&e);
}

static void
markdown_tables_become_rows(void **state)
{
	struct extracted e;

	(void)state;
	read_text("Prices:\n| Item | Price |\n|:-----|------:|\n"
		  "| Tea  | 2 EUR |\n| **Cake** |  |\n\nAfter | it\n",
	    "text/markdown; charset=utf-8", &e);
	expect_block(&e, 0, "paragraph", "Prices:");
	expect_block(&e, 1, "table", "Item | Price\nTea | 2 EUR\nCake");
	expect_block(&e, 2, "paragraph", "After | it");
	extracted_done(&e);
}

static void
front_matter_gives_the_title_and_goes(void **state)
{
	struct extracted e;

	(void)state;
	read_text(
	    "---\ntitle: \"Shipping policy\"\ntags: [a]\n---\n"
	    "/// note | Good to know\n\nText {* ../a.py hl[1] *} here.\n\n"
	    "///\n\n```Python\n{!../../a.py!}\n```\n",
	    "text/markdown", &e);
	assert_string_equal(e.title, "Shipping policy");
	expect_block(&e, 0, "paragraph", "Good to know");
	expect_block(&e, 1, "paragraph", "Text  here.");
	assert_int_equal(json_array_size(e.blocks), 2);
	extracted_done(&e);
	/* A rule at the top is no front matter. */
	read_text("---\n\nText\n", "text/markdown", &e);
	expect_block(&e, 0, "paragraph", "Text");
	extracted_done(&e);
}

/* ---- plain text ---- */

static void
plain_text_splits_at_blank_lines(void **state)
{
	struct extracted e;

	(void)state;
	read_text("OPENING HOURS\r\n=============\r\nDaily\r\n\r\n"
		  "first line\r\nsecond line\r\n\r\n\r\n- - -\r\nlast",
	    "text/plain", &e);
	assert_string_equal(e.title, "OPENING HOURS");
	expect_block(&e, 0, "heading", "OPENING HOURS");
	expect_block(&e, 1, "paragraph", "Daily");
	expect_block(&e, 2, "paragraph", "first line\nsecond line");
	expect_block(&e, 3, "paragraph", "- - -\nlast");
	assert_int_equal(json_array_size(e.blocks), 4);
	extracted_done(&e);
}

static void
charsets_become_utf8(void **state)
{
	static const char latin[] =
	    "Caf\xe9 au lait co\xfbte deux euros, d\xe9j\xe0 vu "
	    "\xe0 la carte, gar\xe7on na\xefve fian\xe7"
	    "ailles";
	struct extracted e;

	(void)state;
	assert_int_equal(extract_bytes("\xff\xfe"
				       "a\0\xe9\0",
			     6, "text/plain", &e),
	    OK);
	expect_block(&e, 0, "paragraph", "a\xc3\xa9");
	assert_string_equal(e.charset, "UTF-16LE");
	extracted_done(&e);
	assert_int_equal(
	    extract_bytes(latin, sizeof(latin) - 1, "text/plain", &e), OK);
	assert_non_null(strstr(
	    json_str(json_array_get(e.blocks, 0), "text"), "Caf\xc3\xa9"));
	extracted_done(&e);
	/* Wrong bytes never come out. */
	assert_int_equal(
	    extract_bytes("ok \xff\xfe\xfd \xc3", 8, "text/plain", &e), OK);
	assert_true(str_is_utf8(json_str(json_array_get(e.blocks, 0), "text"),
	    strlen(json_str(json_array_get(e.blocks, 0), "text"))));
	extracted_done(&e);
}

/* ---- HTML ---- */

static void
html_keeps_what_a_reader_sees(void **state)
{
	struct extracted e;

	(void)state;
	read_text("<!doctype html><html><head><title>Our  shop</title>"
		  "<style>p{}</style><script>alert('no')</script></head><body>"
		  "<nav><a href=/>Home</a></nav><h2>Prices <em>now</em></h2>"
		  "<p>Tea &amp; cake<br>daily, <a href=x>see</a> "
		  "<img alt='a map'></p>loose text"
		  "<ul><li>one<ul><li>deep</li></ul></li><li>two</li></ul>"
		  "<table><tr><th>Item<th>Price</tr><tr><td>Tea<td>2</tr>"
		  "</table><pre>  a\n b</pre><blockquote><p>said</p><p>so</p>"
		  "</blockquote><div hidden>secret</div></body></html>",
	    "text/html", &e);
	assert_string_equal(e.title, "Our shop");
	expect_block(&e, 0, "heading", "Prices now");
	expect_block(&e, 1, "paragraph", "Tea & cake\ndaily, see a map");
	expect_block(&e, 2, "paragraph", "loose text");
	expect_block(&e, 3, "list", "- one\n  - deep\n- two");
	expect_block(&e, 4, "table", "Item | Price\nTea | 2");
	expect_block(&e, 5, "code", "  a\n b");
	expect_block(&e, 6, "quote", "said\nso");
	assert_int_equal(json_array_size(e.blocks), 7);
	extracted_done(&e);
}

static void
html_says_its_own_charset(void **state)
{
	static const char page[] =
	    "<html><head><meta charset=\"windows-1256\"></head>"
	    "<body><p>\xd3\xe1\xc7\xe3</p></body></html>";
	struct extracted e;

	(void)state;
	assert_int_equal(
	    extract_bytes(page, sizeof(page) - 1, "text/html", &e), OK);
	expect_block(&e, 0, "paragraph", "\xd8\xb3\xd9\x84\xd8\xa7\xd9\x85");
	extracted_done(&e);
}

/* ---- hostile ---- */

static void
deep_nesting_ends_in_an_answer(void **state)
{
	size_t n = 100000;
	struct extracted e;
	struct buf text;
	enum err_code rc;

	(void)state;
	buf_init(&text, 0);
	for (size_t i = 0; i < n; i++)
		buf_adds(&text, "<div><ul><li>");
	buf_adds(&text, "bottom");
	rc = extract_bytes(text.data, text.len, "text/html", &e);
	assert_true(rc == OK || rc == ERR_INVALID || rc == ERR_TOO_LARGE);
	extracted_done(&e);
	buf_clear(&text);
	for (size_t i = 0; i < 5000; i++)
		buf_adds(&text, "> ");
	buf_adds(&text, "bottom");
	rc = extract_bytes(text.data, text.len, "text/markdown", &e);
	assert_true(rc == OK || rc == ERR_INVALID || rc == ERR_TOO_LARGE);
	extracted_done(&e);
	buf_done(&text);
}

static void
documents_without_text_say_why(void **state)
{
	struct extracted e;

	(void)state;
	assert_int_equal(extract_bytes("", 0, "text/plain", &e), ERR_INVALID);
	assert_string_equal(err_message(), "the document is empty");
	assert_int_equal(
	    extract_bytes(" \n\n ", 4, "text/plain", &e), ERR_INVALID);
	assert_string_equal(err_message(), "there is no text in it");
	assert_int_equal(extract_bytes("\x7f"
				       "ALF\0\1\2\0\3",
			     9, "text/plain", &e),
	    ERR_INVALID);
	assert_non_null(strstr(err_message(), "zero byte"));
	assert_int_equal(
	    extract_bytes("%PDF-1.4", 8, "application/pdf", &e), ERR_INVALID);
	assert_non_null(strstr(err_message(), "damaged or cut off"));
	assert_int_equal(
	    extract_bytes("x", 1, "image/png", &e), ERR_MEDIA_TYPE);
	assert_non_null(strstr(err_message(), "image/png"));
	assert_int_equal(
	    extract_file("/nonexistent", "text/plain", NULL, 0, &e),
	    ERR_NOT_FOUND);
}

static void
text_over_the_ceiling_is_refused(void **state)
{
	size_t len = (size_t)config_int(CFG_MAX_TEXT_BYTES) + 2;
	char *text = mem_alloc(len);
	struct extracted e;

	(void)state;
	memset(text, 'a', len);
	assert_int_equal(
	    extract_bytes(text, len, "text/plain", &e), ERR_TOO_LARGE);
	assert_non_null(strstr(err_message(), "bytes of text"));
	mem_free(text);
}

/* libxml2 used to say so on stderr, in the middle of our answer. */
static void
a_page_over_the_memory_limit_says_so(void **state)
{
	struct extracted e;
	struct buf page;

	(void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* no memory limit there */
#endif
	buf_init(&page, 0);
	while (page.len < 4000000)
		buf_adds(&page, "<p>a</p>\n");
	config_override(CFG_EXTRACT_HEAP_BYTES, "67108864");
	assert_int_equal(
	    extract_bytes(page.data, page.len, "text/html", &e), ERR_TOO_LARGE);
	if (strstr(err_message(), "memory") == NULL)
		fail_msg("%s", err_message());
	config_override(CFG_EXTRACT_HEAP_BYTES, "536870912");
	buf_done(&page);
}

static void
type_and_name_choose_the_format(void **state)
{
	(void)state;
	assert_int_equal(extract_check("text/markdown", NULL, NULL, 0), OK);
	assert_int_equal(
	    extract_check("Text/HTML; charset=utf-8", "x.exe", NULL, 0), OK);
	assert_int_equal(extract_check(NULL, "a.MD", NULL, 0), OK);
	assert_int_equal(
	    extract_check("application/octet-stream", "a.htm", NULL, 0), OK);
	assert_int_equal(
	    extract_check("application/octet-stream", "a.exe", NULL, 0),
	    ERR_MEDIA_TYPE);
	assert_int_equal(
	    extract_check("image/png", "a.md", NULL, 0), ERR_MEDIA_TYPE);
	assert_int_equal(extract_check(NULL, NULL, NULL, 0), ERR_MEDIA_TYPE);
	assert_int_equal(extract_check("", ".md", NULL, 0), ERR_MEDIA_TYPE);
	/* The bytes know better. */
	assert_int_equal(
	    extract_check("image/png", "a.exe", "%PDF-1.4\n", 9), OK);
	assert_int_equal(extract_check("text/plain", "a.txt", "\x89PNG\r\n", 6),
	    ERR_MEDIA_TYPE);
	assert_int_equal(
	    extract_check("", "a.doc", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 8),
	    ERR_MEDIA_TYPE);
	assert_int_equal(
	    extract_check("application/pdf", "a.pdf", "no PDF", 6), OK);
	assert_int_equal(
	    extract_check("application/pdf", "a.pdf", "\0\1\2\0\0\3\4\0", 8),
	    ERR_INVALID);
}

/* ---- documents that nobody here wrote ---- */

static unsigned documents, readable;

static void
check_document(const char *path)
{
	struct extracted e = { NULL, NULL, NULL };
	enum err_code rc =
	    extract_file(path, NULL, path, deadline_in_ms(20000), &e);

	documents++;
	if (rc != OK) {
		/* An honest reason: these have no text. */
		if (rc != ERR_INVALID)
			print_error("%s: %s\n", path, err_message());
		assert_int_equal(rc, ERR_INVALID);
		assert_true(strlen(err_message()) > 10);
		return;
	}
	readable++;
	for (size_t i = 0; i < json_array_size(e.blocks); i++) {
		const char *text =
		    json_str(json_array_get(e.blocks, i), "text");

		assert_true(str_is_utf8(text, strlen(text)));
		assert_true(text[0] != '\0');
		assert_null(strchr(text, '\r'));
	}
	extracted_done(&e);
}

static void
check_folder(const char *folder, int depth)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		char *path = mem_printf("%s/%s", folder, entry->d_name);
		struct stat st;

		if (entry->d_name[0] != '.' && stat(path, &st) == 0) {
			if (S_ISDIR(st.st_mode) && depth < 8)
				check_folder(path, depth + 1);
			else if (S_ISREG(st.st_mode) &&
				 extract_check(NULL, path, NULL, 0) == OK)
				check_document(path);
		}
		mem_free(path);
	}
	closedir(dir);
}

static void
real_documents_extract_or_say_why(void **state)
{
	const char *shared = getenv("XIN_SHARED_DATA");
	const char *tries[] = { shared, "../shared/data", "../../shared/data" };
	char folder[512] = "";

	(void)state;
	for (size_t i = 0; i < 3 && folder[0] == '\0'; i++) {
		char path[512];

		snprintf(path, sizeof(path), "%s/ingest",
		    tries[i] == NULL ? "" : tries[i]);
		if (access(path, R_OK) == 0)
			str_copy(folder, sizeof(folder), path);
	}
	if (folder[0] == '\0') {
		print_message("real_documents_extract_or_say_why: no shared "
			      "data (XIN_SHARED_DATA)\n");
		skip();
	}
	check_folder(folder, 0);
	print_message("%u documents, %u with text\n", documents, readable);
	assert_true(documents > 0);
	assert_true(readable * 100 >= documents * 95);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(markdown_becomes_typed_blocks),
		cmocka_unit_test(markdown_tables_become_rows),
		cmocka_unit_test(front_matter_gives_the_title_and_goes),
		cmocka_unit_test(plain_text_splits_at_blank_lines),
		cmocka_unit_test(charsets_become_utf8),
		cmocka_unit_test(html_keeps_what_a_reader_sees),
		cmocka_unit_test(html_says_its_own_charset),
		cmocka_unit_test(deep_nesting_ends_in_an_answer),
		cmocka_unit_test(documents_without_text_say_why),
		cmocka_unit_test(text_over_the_ceiling_is_refused),
		cmocka_unit_test(a_page_over_the_memory_limit_says_so),
		cmocka_unit_test(type_and_name_choose_the_format),
		cmocka_unit_test(real_documents_extract_or_say_why),
	};

	if (argc > 1 && strcmp(argv[1], "extract-child") == 0)
		return extract_child_main(argc - 1, argv + 1);
	if (config_load(NULL) != OK) {
		fprintf(stderr, "%s\n", err_message());
		return 1;
	}
	config_override(CFG_MAX_TEXT_BYTES, "1048576");
	return fiber_group(tests, NULL, NULL);
}
