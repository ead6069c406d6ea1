/* SPDX-License-Identifier: Apache-2.0 */
/* The multipart parser: the shared set of bodies, and pieces of any size. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/multipart.h"
#include "shared_data.h"

static bool without_types; /* the shared set does not always name them */

/* What came out, as text: "part NAME FILENAME TYPE\n" DATA "\nend\n". */
static enum err_code
on_part(void *arg, const struct multipart_part *part)
{
	buf_addf(arg, "part %s|%s|%s\n", part->name,
	    part->filename != NULL ? part->filename : "-",
	    without_types ? "" : part->content_type);
	return OK;
}

static enum err_code
on_data(void *arg, const char *data, size_t len)
{
	assert_true(len > 0);
	buf_add(arg, data, len);
	return OK;
}

static enum err_code
on_end(void *arg)
{
	buf_adds(arg, "\nend\n");
	return OK;
}

static enum err_code
parse(const char *type, const char *body, size_t len, size_t piece,
    struct buf *seen)
{
	struct multipart_handler handler = { on_part, on_data, on_end, seen };
	struct multipart *mp;
	enum err_code rc;

	buf_init(seen, 0);
	rc = multipart_new(type, &handler, 8, &mp);
	if (rc != OK)
		return rc;
	for (size_t at = 0; rc == OK && at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;
		/* an exact copy, so that a sanitizer sees a read past it */
		char *copy = mem_alloc(n);

		memcpy(copy, body + at, n);
		rc = multipart_feed(mp, copy, n);
		mem_free(copy);
	}
	if (rc == OK)
		rc = multipart_end(mp);
	multipart_free(mp);
	return rc;
}

#define TYPE "multipart/form-data; boundary=xX"

static enum err_code
parse_text(const char *body, struct buf *seen)
{
	return parse(TYPE, body, strlen(body), 7, seen);
}

static void
fields_and_files_come_in_order(void **state)
{
	struct buf seen;

	(void)state;
	assert_int_equal(
	    parse_text("--xX\r\nContent-Disposition: form-data; name=a\r\n\r\n"
		       "one\r\n--xX\r\ncontent-disposition: form-data; "
		       "name=\"b %22q%22\"; filename=\"C:\\dir\\x.txt\"\r\n"
		       "Content-Type: text/plain\r\n\r\ntwo\r\n\r\n--xX--",
		&seen),
	    OK);
	assert_string_equal(buf_str(&seen),
	    "part a|-|\none\nend\npart b \"q\"|x.txt|text/plain\n"
	    "two\r\n\nend\n");
	buf_done(&seen);
}

static void
a_cut_body_is_refused_wherever_it_is_cut(void **state)
{
	static const char body[] =
	    "--xX\r\nContent-Disposition: form-data; name=a\r\n\r\n"
	    "one\r\n--xX--";
	struct buf seen;

	(void)state;
	for (size_t len = 0; len < sizeof(body) - 1; len++) {
		assert_int_equal(parse(TYPE, body, len, 3, &seen), ERR_INVALID);
		buf_done(&seen);
	}
	assert_int_equal(parse(TYPE, body, sizeof(body) - 1, 3, &seen), OK);
	buf_done(&seen);
}

static void
bad_heads_are_refused(void **state)
{
	static const char *const heads[] = {
		"X: y\r\n", /* no disposition */
		"Content-Disposition: attachment; name=a\r\n",
		"Content-Disposition: form-data; name=\"a\r\n",
		"Content-Disposition: form-data; name=a; name=b\r\n",
		"Content-Disposition: form-data; name=a\r\n folded\r\n",
		"Content-Disposition: form-data; name=a\nX: y\r\n",
		"Content-Disposition : form-data; name=a\r\n",
		"Content-Disposition: form-data; name=\"\xff\"\r\n",
		"Content-Disposition: form-data; name=\"a\x01\"\r\n",
		"Content-Disposition: form-data; name=a\r\n"
		"Content-Disposition: form-data; name=a\r\n",
	};
	char body[512];
	struct buf seen;

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		snprintf(
		    body, sizeof(body), "--xX\r\n%s\r\nx\r\n--xX--", heads[i]);
		if (parse_text(body, &seen) != ERR_INVALID)
			fail_msg("accepted: %s", heads[i]);
		buf_done(&seen);
	}
}

static void
bad_content_types_are_refused(void **state)
{
	struct buf seen;

	(void)state;
	assert_int_equal(parse("text/plain", "", 0, 1, &seen), ERR_MEDIA_TYPE);
	assert_int_equal(
	    parse("multipart/form-data", "", 0, 1, &seen), ERR_INVALID);
	assert_int_equal(
	    parse("multipart/form-data; boundary=\"\"", "", 0, 1, &seen),
	    ERR_INVALID);
	assert_int_equal(parse("multipart/form-data; boundary=a; boundary=b",
			     "", 0, 1, &seen),
	    ERR_INVALID);
}

static void
parts_and_heads_have_a_ceiling(void **state)
{
	struct buf body, seen;

	(void)state;
	buf_init(&body, 0);
	for (int i = 0; i < 9; i++)
		buf_adds(&body, "--xX\r\nContent-Disposition: form-data; "
				"name=a\r\n\r\n\r\n");
	buf_adds(&body, "--xX--");
	assert_int_equal(parse_text(buf_str(&body), &seen), ERR_TOO_LARGE);
	buf_done(&seen);
	buf_clear(&body);
	buf_adds(&body, "--xX\r\nX: ");
	for (int i = 0; i < 9000; i++)
		buf_addc(&body, 'a');
	assert_int_equal(parse_text(buf_str(&body), &seen), ERR_TOO_LARGE);
	buf_done(&seen);
	buf_done(&body);
}

/* ---- the shared set: NAME.http is a body, NAME.yaml what it holds ---- */

struct expected {
	char type[256];
	bool error;
	struct buf text;
};

static size_t
unbase64(const char *text, char *out)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"
				  "qrstuvwxyz0123456789+/";
	unsigned bits = 0, held = 0;
	size_t n = 0;

	for (; *text != '\0' && *text != '='; text++) {
		const char *at = strchr(set, *text);

		if (at == NULL)
			continue;
		bits = bits << 6 | (unsigned)(at - set);
		held += 6;
		if (held >= 8) {
			held -= 8;
			out[n++] = (char)(bits >> held);
		}
	}
	return n;
}

static char *
value_of(char *line)
{
	char *at = strchr(line, ':') + 1;
	size_t len;

	at += strspn(at, " ");
	len = strlen(at);
	if (len >= 2 && (*at == '\'' || *at == '"')) {
		at[len - 1] = '\0';
		at++;
	}
	return at;
}

struct item {
	char name[64], file[64], data[8192];
	bool has_file, open;
};

static void
item_done(struct item *item, struct expected *want)
{
	char *raw;

	if (item->open) {
		buf_addf(&want->text, "part %s|%s|\n", item->name,
		    item->has_file ? item->file : "-");
		raw = mem_alloc(sizeof(item->data));
		buf_add(&want->text, raw, unbase64(item->data, raw));
		buf_adds(&want->text, "\nend\n");
		mem_free(raw);
	}
	memset(item, 0, sizeof(*item));
}

static void
read_line(char *line, struct item *item, struct expected *want)
{
	char *at = line + strspn(line, " -");

	if (line[0] == '#')
		return;
	if (str_starts(at, "boundary:") && line[0] == 'b') {
		snprintf(want->type, sizeof(want->type),
		    "multipart/form-data; boundary=%.128s", value_of(line));
	} else if (str_starts(at, "error:")) {
		want->error = true;
	} else if (str_starts(at, "name:")) {
		item_done(item, want);
		item->open = true;
		str_copy(item->name, sizeof(item->name), value_of(at));
	} else if (str_starts(at, "file_name:")) {
		item->has_file = true;
		str_copy(item->file, sizeof(item->file), value_of(at));
	} else if (item->open && strchr(at, ':') == NULL) {
		strncat(item->data, at,
		    sizeof(item->data) - strlen(item->data) - 1);
	}
}

static void
read_yaml(char *text, struct expected *want)
{
	static struct item item;
	char *save, *line;

	memset(want, 0, sizeof(*want));
	memset(&item, 0, sizeof(item));
	buf_init(&want->text, 0);
	for (line = strtok_r(text, "\r\n", &save); line != NULL;
	     line = strtok_r(NULL, "\r\n", &save))
		read_line(line, &item, want);
	item_done(&item, want);
}

static void
run_case(const char *folder, const char *name)
{
	char path[1100];
	struct expected want;
	struct buf yaml, body, seen;

	snprintf(path, sizeof(path), "%.768s/%.255s.yaml", folder, name);
	assert_true(shared_data_read(path, &yaml));
	snprintf(path, sizeof(path), "%.768s/%.255s.http", folder, name);
	assert_true(shared_data_read(path, &body));
	read_yaml(yaml.data, &want);
	/* Its yaml names a boundary that its body does not have. */
	if (strcmp(name, "single_field_blocks") == 0)
		str_copy(want.type, sizeof(want.type),
		    "multipart/form-data; boundary=boundary");
	for (size_t piece = 1; piece <= body.len; piece = piece * 2 + 1) {
		enum err_code rc =
		    parse(want.type, body.data, body.len, piece, &seen);

		if ((rc != OK) != want.error)
			fail_msg("%s in pieces of %zu: %s", name, piece,
			    rc == OK ? "accepted" : err_message());
		/* RFC 7578 4.7 deprecates transfer encodings: kept as sent. */
		if (rc == OK &&
		    strcasestr(body.data, "content-transfer-encoding:") ==
			NULL &&
		    (seen.len != want.text.len ||
			memcmp(buf_str(&seen), buf_str(&want.text), seen.len) !=
			    0))
			fail_msg("%s: got %s, want %s", name, buf_str(&seen),
			    buf_str(&want.text));
		buf_done(&seen);
	}
	buf_done(&want.text);
	buf_done(&yaml);
	buf_done(&body);
}

static void
the_shared_set_gives_what_it_says(void **state)
{
	char folder[768];
	struct dirent *entry;
	size_t cases = 0;
	DIR *dir;

	(void)state;
	shared_data_path("http/multipart", folder, sizeof(folder));
	dir = opendir(folder);
	if (dir == NULL) {
		print_message("skipped: no %s (XIN_SHARED_DATA)\n", folder);
		skip();
	}
	without_types = true;
	while ((entry = readdir(dir)) != NULL) {
		char name[256];

		if (!str_ends(entry->d_name, ".yaml"))
			continue;
		str_copy_n(name, sizeof(name), entry->d_name,
		    strlen(entry->d_name) - 5);
		run_case(folder, name);
		cases++;
	}
	closedir(dir);
	assert_true(cases >= 30);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_and_files_come_in_order),
		cmocka_unit_test(a_cut_body_is_refused_wherever_it_is_cut),
		cmocka_unit_test(bad_heads_are_refused),
		cmocka_unit_test(bad_content_types_are_refused),
		cmocka_unit_test(parts_and_heads_have_a_ceiling),
		cmocka_unit_test(the_shared_set_gives_what_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
