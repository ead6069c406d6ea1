/* SPDX-License-Identifier: Apache-2.0 */
/* The readers of single formats, in this process: what goes in, which blocks
 * come out. Office files are read in integration/formats_test.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "extract/internal.h"

static struct extract__blocks blocks;

/* "type:text" of each block, one after the other, "/" between them. */
static char *
told(void)
{
	json_auto json_t *list = NULL;
	struct buf json, out;
	json_t *block;
	size_t i;

	buf_init(&json, 0);
	buf_init(&out, 0);
	buf_addf(&json, "[%s]", buf_str(&blocks.json));
	assert_int_equal(json_parse(json.data, json.len, &list), OK);
	json_array_foreach (list, i, block)
		buf_addf(&out, "%s%s:%s", i > 0 ? "/" : "",
		    json_str(block, "type"), json_str(block, "text"));
	buf_done(&json);
	buf_adds(&out, "");
	return buf_take(&out, NULL);
}

static void
expect(const char *wanted)
{
	char *found = told();

	assert_string_equal(found, wanted);
	mem_free(found);
}

static int
set_up(void **state)
{
	(void)state;
	extract__blocks_init(&blocks, 1 << 20);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	extract__blocks_done(&blocks);
	return 0;
}

/* ---- CSV ---- */

static void
csv(const char *text)
{
	extract__csv(text, strlen(text), '\0', &blocks);
}

static void
quotes_hold_delimiters_and_lines(void **state)
{
	(void)state;
	csv("name,note\n\"a \"\"b\"\", c\",\"two\nlines\"\r\nd,e\n");
	expect("table:name | note\na \"b\", c | two lines\nd | e");
}

static void
the_delimiter_is_what_all_records_have(void **state)
{
	(void)state;
	csv("a;b\n1,5;2\n3,25;4\n");
	expect("table:a | b\n1,5 | 2\n3,25 | 4");
}

static void
excel_may_name_the_delimiter(void **state)
{
	(void)state;
	csv("sep=|\na|b,c\n1|2,3\n");
	expect("table:a | b,c\n1 | 2,3");
}

static void
empty_cells_keep_their_column(void **state)
{
	(void)state;
	csv("a,b,c\n1,,3\n,,\n4\n");
	expect("table:a | b | c\n1 |  | 3\n4");
}

static void
a_quote_that_never_ends_costs_no_more_than_its_record(void **state)
{
	struct buf text;
	char *found;

	(void)state;
	buf_init(&text, 0);
	buf_adds(&text, "a,b\n\"open,1\n");
	for (int i = 0; i < 3000; i++)
		buf_addf(&text, "row%d,2\n", i);
	csv(text.data);
	found = told();
	assert_non_null(strstr(found, "\nrow0 | 2\n"));
	assert_non_null(strstr(found, "\nrow2999 | 2"));
	mem_free(found);
	buf_done(&text);
}

static void
long_tables_are_several_with_the_header_each(void **state)
{
	struct buf text;
	char *found, *again;

	(void)state;
	buf_init(&text, 0);
	buf_adds(&text, "number,name\n");
	for (int i = 0; i < 5000; i++)
		buf_addf(&text, "%d,name of %d\n", i, i);
	csv(text.data);
	assert_true(blocks.count >= 3);
	found = told();
	again = strstr(found + 10, "/table:number | name\n");
	assert_non_null(again);
	assert_non_null(strstr(again + 10, "/table:number | name\n"));
	mem_free(found);
	buf_done(&text);
}

/* ---- e-mail ---- */

struct text {
	const char *at;
	size_t left;
};

static enum err_code
next(void *arg, const char **data_out, size_t *len_out)
{
	struct text *text = arg;
	size_t n = text->left < 7 ? text->left : 7;

	*data_out = text->at;
	*len_out = n;
	text->at += n;
	text->left -= n;
	return OK;
}

static enum err_code
mail(const char *text)
{
	struct text source = { text, strlen(text) };

	return extract__mail(next, &source, &blocks);
}

static void
headers_are_decoded_and_unfolded(void **state)
{
	(void)state;
	assert_int_equal(
	    mail(
		"From: =?utf-8?B?2LPZhNin2YU=?= <a@b.c>\r\n"
		"Subject: =?iso-8859-1?Q?caf=E9_?=\r\n =?utf-8?q?cr=C3=A8me?=\r\n"
		"Date: today\r\n\r\nHello\r\nthere\r\n"),
	    OK);
	expect("heading:café crème/paragraph:From: سلام <a@b.c>\nDate: today"
	       "/paragraph:Hello\nthere");
	assert_string_equal(blocks.title, "café crème");
}

static void
the_richest_alternative_stays(void **state)
{
	(void)state;
	mail(
	    "Subject: s\nContent-Type: multipart/alternative; boundary=\"x y\"\n"
	    "\npreamble\n--x y\nContent-Type: text/plain\n\nplain form\n--x y\n"
	    "Content-Type: text/html; charset=utf-8\n"
	    "Content-Transfer-Encoding: quoted-printable\n\n"
	    "<h2>Rich=C3=A9</h2><p>so=\nft</p>\n--x y--\nepilogue\n");
	expect("heading:s/heading:Riché/paragraph:soft");
}

static void
attachments_are_read_or_named(void **state)
{
	(void)state;
	mail("Subject: s\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n"
	     "See below.\n--b\nContent-Type: text/csv; charset=utf-8\n"
	     "Content-Disposition: attachment; filename*=utf-8''pri%63es.csv\n"
	     "Content-Transfer-Encoding: base64\n\nYSxiCjEsMgo=\n--b\n"
	     "Content-Type: image/png; name=\"logo.png\"\n"
	     "Content-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--b--\n");
	expect("heading:s/paragraph:See below./heading:Attachment: prices.csv"
	       "/table:a | b\n1 | 2/paragraph:Attachments"
	       "/list:- logo.png (image/png)");
}

static void
a_mail_inside_a_mail_is_read(void **state)
{
	(void)state;
	mail(
	    "Subject: outer\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"
	    "Content-Type: message/rfc822\n\nSubject: inner\nFrom: x@y.z\n\n"
	    "the text\n--b--\n");
	expect("heading:outer/heading:inner/paragraph:From: x@y.z"
	       "/paragraph:the text");
}

static void
an_encrypted_mail_says_so(void **state)
{
	(void)state;
	assert_int_equal(
	    mail("Subject: s\nContent-Type: multipart/encrypted; boundary=b\n\n"
		 "--b\nContent-Type: application/pgp-encrypted\n\nx\n--b--\n"),
	    ERR_INVALID);
	assert_non_null(strstr(err_message(), "encrypted"));
}

/* ---- JSON, XML, RTF ---- */

static void
records_of_json_stand_alone(void **state)
{
	static const char text[] =
	    "[{\"name\":\"a\",\"at\":{\"city\":\"b\",\"tags\":[1,true,\"x\"]}},"
	    "{\"name\":\"c\",\"none\":null}]\n{\"line\":2.5}";

	(void)state;
	assert_int_equal(extract__json(text, strlen(text), &blocks), OK);
	expect("paragraph:name: a\nat.city: b\nat.tags: 1, true, x"
	       "/paragraph:name: c/paragraph:line: 2.5");
}

static void
broken_json_says_where(void **state)
{
	(void)state;
	assert_int_equal(
	    extract__json("{\"a\":\n[1,}", 9, &blocks), ERR_INVALID);
	assert_non_null(strstr(err_message(), "line 2"));
}

static void
notebooks_are_text_and_code(void **state)
{
	static const char text[] =
	    "{\"nbformat\":4,\"cells\":[{\"cell_type\":\"markdown\",\"source\":"
	    "[\"# T\\n\",\"\\n\",\"words\"]},{\"cell_type\":\"code\","
	    "\"source\":\"x = 1\\n\"}]}";

	(void)state;
	assert_int_equal(extract__json(text, strlen(text), &blocks), OK);
	expect("heading:T/paragraph:words/code:x = 1");
}

static void
feeds_have_headings_and_markup_is_read(void **state)
{
	static const char text[] =
	    "<?xml version='1.0'?><rss><channel><title>News</title><item>"
	    "<title>One</title><link>http://x</link><description><![CDATA[<p>Hi "
	    "<b>you</b></p>]]></description></item></channel></rss>";

	(void)state;
	assert_int_equal(
	    extract__xml_document(text, strlen(text), &blocks), OK);
	expect("heading:News/heading:One/paragraph:link: http://x"
	       "/paragraph:Hi you");
}

static void
entities_and_depth_are_refused(void **state)
{
	static const char laughs[] =
	    "<!DOCTYPE x [<!ENTITY a \"ha\">]><x>&a;</x>";
	struct buf deep;

	(void)state;
	assert_int_equal(extract__xml_document(laughs, strlen(laughs), &blocks),
	    ERR_INVALID);
	assert_non_null(strstr(err_message(), "entity"));
	buf_init(&deep, 0);
	for (int i = 0; i < 2000; i++)
		buf_adds(&deep, "<a>");
	assert_int_equal(
	    extract__xml_document(deep.data, deep.len, &blocks), ERR_INVALID);
	assert_non_null(strstr(err_message(), "deep"));
	buf_done(&deep);
}

static void
rtf_leaves_its_words_out(void **state)
{
	static const char text[] =
	    "{\\rtf1\\ansi\\ansicpg1252{\\fonttbl{\\f0 Arial;}}{\\*\\gen x;}\\f0 "
	    "Caf\\'e9 \\u1593?\\par {\\b bold} \\{text\\}}";

	(void)state;
	assert_int_equal(extract__rtf(text, strlen(text), &blocks), OK);
	expect("paragraph:Café ع/paragraph:bold {text}");
}

/* ---- pages of a PDF ---- */

static const char invoice[] =
    "           Invoice 7\n\n"
    "Item            Quantity      Price\n"
    "Lamp                   2      10.00\n\n"
    "Chair                          5.50\n"
    "Delivery               1\n"
    "This is what follows below the table, a sentence that is long enough.\n";

static void
cells_of_a_page_come_in_rows_and_columns(void **state)
{
	(void)state;
	assert_true(extract__layout_is_tabular(invoice, strlen(invoice)));
	extract__layout_blocks(invoice, strlen(invoice), &blocks);
	expect("paragraph:Invoice 7/table:Item | Quantity | Price\n"
	       "Lamp | 2 | 10.00\nChair |  | 5.50\nDelivery | 1"
	       "/paragraph:This is what follows below the table, a sentence "
	       "that is long enough.");
}

static void
prose_in_columns_is_no_table(void **state)
{
	static const char line[] =
	    "the left column of a paper that goes on     the right column of a "
	    "paper that goes on\n";
	struct buf text;

	(void)state;
	buf_init(&text, 0);
	for (int i = 0; i < 20; i++)
		buf_adds(&text, line);
	assert_false(extract__layout_is_tabular(text.data, text.len));
	buf_clear(&text);
	for (int i = 0; i < 20; i++)
		buf_adds(&text, "قیمت        تعداد        کالا\n");
	assert_false(extract__layout_is_tabular(text.data, text.len));
	buf_done(&text);
}

/* ---- blocks ---- */

static void
no_block_is_longer_than_its_ceiling(void **state)
{
	struct buf text;
	char *found;

	(void)state;
	buf_init(&text, 0);
	while (text.len < 700000)
		buf_adds(&text, "سلام ");
	extract__plain(text.data, text.len, &blocks);
	assert_int_equal(blocks.count, 3);
	found = told();
	assert_non_null(strstr(found, "سلام/paragraph:سلام"));
	mem_free(found);
	buf_done(&text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(quotes_hold_delimiters_and_lines),
		TEST(the_delimiter_is_what_all_records_have),
		TEST(excel_may_name_the_delimiter),
		TEST(empty_cells_keep_their_column),
		TEST(a_quote_that_never_ends_costs_no_more_than_its_record),
		TEST(long_tables_are_several_with_the_header_each),
		TEST(headers_are_decoded_and_unfolded),
		TEST(the_richest_alternative_stays),
		TEST(attachments_are_read_or_named),
		TEST(a_mail_inside_a_mail_is_read),
		TEST(an_encrypted_mail_says_so),
		TEST(records_of_json_stand_alone),
		TEST(broken_json_says_where),
		TEST(notebooks_are_text_and_code),
		TEST(feeds_have_headings_and_markup_is_read),
		TEST(entities_and_depth_are_refused),
		TEST(rtf_leaves_its_words_out),
		TEST(cells_of_a_page_come_in_rows_and_columns),
		TEST(prose_in_columns_is_no_table),
		TEST(no_block_is_longer_than_its_ceiling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
