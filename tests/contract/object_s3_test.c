/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is special about S3: refusals, clocks, silence, parts. Against a real
 * server where one can show it, else against a double that answers as told.
 */
#include "fiber_group.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "http_double.h"
#include "object/object.h"
#include "s3_server.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define OK_EMPTY    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define OK_TAGGED   "HTTP/1.1 200 OK\r\nETag: \"t\"\r\nContent-Length: 0\r\n\r\n"
#define SLOW_DOWN                                                              \
	"HTTP/1.1 503 Slow Down\r\nContent-Length: 56\r\n\r\n"                 \
	"<Error><Code>SlowDown</Code><Message>m</Message></Error>close"

static char double_url[64];
static bool have_server;

static struct object_store *
open_store(void)
{
	struct object_store *objects = NULL;

	assert_int_equal(object_open("s3:", &objects), OK);
	return objects;
}

/* As a test that failed may not have left them. */
static void
good_settings(void)
{
	config_override(CFG_STORAGE_ACCESS_KEY, S3_SERVER_KEY);
	config_override(CFG_STORAGE_SECRET_KEY, S3_SERVER_SECRET);
	config_override(CFG_STORAGE_REGION, S3_SERVER_REGION);
	config_override(CFG_STORAGE_STYLE, "path");
	config_override(CFG_SPOOL_BYTES, "8589934592");
}

static int
at_server(void **state)
{
	static int number;
	char name[32];

	*state = NULL;
	good_settings();
	if (!have_server)
		return 0;
	snprintf(name, sizeof(name), "xin-case-%d", ++number);
	config_override(CFG_STORAGE_BUCKET, name);
	config_override(CFG_STORAGE_ENDPOINT, s3_server_url());
	*state = open_store();
	return 0;
}

static int
at_double(void **state)
{
	good_settings();
	config_override(CFG_STORAGE_BUCKET, "bucket");
	config_override(CFG_STORAGE_ENDPOINT, double_url);
	*state = open_store();
	return 0;
}

static int
tear_down(void **state)
{
	object_close(*state);
	return 0;
}

#define need_server()                                                          \
	do {                                                                   \
		if (!have_server)                                              \
			skip();                                                \
	} while (0)

static void
expect(struct object_store *objects, const char *key, const char *text)
{
	struct buf data;

	assert_int_equal(object_get(objects, key, 1000, &data), OK);
	assert_string_equal(buf_str(&data), text);
	buf_done(&data);
}

static void
expect_sentence(const char *first, const char *second)
{
	if (strstr(err_message(), first) == NULL ||
	    strstr(err_message(), second) == NULL)
		fail_msg("\"%s\" names neither %s nor %s", err_message(), first,
		    second);
}

/* ---- settings ---- */

static void
missing_settings_are_named(void **state)
{
	struct object_store *objects;

	(void)state;
	config_override(CFG_STORAGE_SECRET_KEY, "");
	config_override(CFG_STORAGE_REGION, "");
	assert_int_equal(object_open("s3:", &objects), ERR_CONFIG);
	expect_sentence("STORAGE_SECRET_KEY", "STORAGE_REGION");
	assert_null(strstr(err_message(), "needs STORAGE_ENDPOINT_URL"));
	config_override(CFG_STORAGE_SECRET_KEY, S3_SERVER_SECRET);
	config_override(CFG_STORAGE_REGION, S3_SERVER_REGION);
}

static void
expect_refused(enum config setting, const char *bad, const char *good)
{
	struct object_store *objects;

	config_override(setting, bad);
	assert_int_equal(object_open("s3:", &objects), ERR_CONFIG);
	expect_sentence(config_name(setting), "");
	config_override(setting, good);
}

static void
settings_that_make_no_sense_are_named(void **state)
{
	(void)state;
	expect_refused(CFG_STORAGE_BUCKET, "No_Bucket", "bucket");
	expect_refused(CFG_STORAGE_BUCKET, "ab", "bucket");
	expect_refused(CFG_STORAGE_ENDPOINT, "ftp://x", double_url);
	expect_refused(CFG_STORAGE_ENDPOINT, "http://u:p@x", double_url);
	expect_refused(CFG_STORAGE_ENDPOINT, "http:///x", double_url);
	expect_refused(CFG_STORAGE_REGION, "a b", S3_SERVER_REGION);
	expect_refused(CFG_STORAGE_STYLE, "virtuel", "path");
}

/* ---- the real server ---- */

static void
expect_all_refused(enum config setting, const char *bad, const char *good)
{
	struct object_store *objects;
	struct buf data;
	char *path;

	objects = open_store(); /* some look for the bucket first */
	assert_int_equal(object_ping(objects), OK);
	object_close(objects);
	config_override(setting, bad);
	objects = open_store();
	assert_int_equal(object_put(objects, "k", "x", 1), ERR_UNAVAILABLE);
	expect_sentence("storage", config_name(setting));
	assert_null(strstr(err_message(), "wrong-secret"));
	assert_int_equal(object_get(objects, "k", 10, &data), ERR_UNAVAILABLE);
	assert_int_equal(object_local(objects, "k", &path), ERR_UNAVAILABLE);
	assert_int_equal(object_delete(objects, "k"), ERR_UNAVAILABLE);
	expect_sentence("storage", config_name(setting));
	assert_int_equal(object_ping(objects), ERR_UNAVAILABLE);
	expect_sentence("storage", config_name(setting));
	object_close(objects);
	config_override(setting, good);
}

static void
a_wrong_key_or_region_is_an_error_that_names_it(void **state)
{
	(void)state;
	need_server();
	expect_all_refused(
	    CFG_STORAGE_SECRET_KEY, "wrong-secret", S3_SERVER_SECRET);
	expect_all_refused(CFG_STORAGE_ACCESS_KEY, "nobody", S3_SERVER_KEY);
	expect_all_refused(CFG_STORAGE_REGION, "us-test-9", S3_SERVER_REGION);
}

static void
a_ping_makes_the_bucket(void **state)
{
	need_server();
	assert_int_equal(object_ping(*state), OK);
	assert_int_equal(object_ping(*state), OK);
}

struct racer {
	struct object_store *objects;
	char key[16];
	enum err_code rc;
	int *running;
};

static void
put_first(void *arg)
{
	struct racer *r = arg;

	r->rc = object_put(r->objects, r->key, "first", 5);
	--*r->running;
}

static void
several_may_make_the_bucket_at_the_same_time(void **state)
{
	struct racer racers[6];
	int running = 6;

	need_server();
	for (int i = 0; i < 6; i++) {
		racers[i] =
		    (struct racer){ .objects = *state, .running = &running };
		snprintf(racers[i].key, sizeof(racers[i].key), "race-%d", i);
		fiber_start(put_first, &racers[i]);
	}
	while (running > 0)
		fiber_sleep(10);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(racers[i].rc, OK);
		expect(*state, racers[i].key, "first");
	}
}

static void
come_back(void *arg)
{
	fiber_sleep(600);
	s3_server_again();
	*(bool *)arg = true;
}

static void
a_server_that_was_away_is_used_again(void **state)
{
	enum err_code rc = ERR_UNAVAILABLE;
	bool back = false;

	need_server();
	assert_int_equal(object_put(*state, "k", "before", 6), OK);
	s3_server_kill();
	assert_int_equal(object_ping(*state), ERR_UNAVAILABLE);
	expect_sentence("storage", "127.0.0.1");
	fiber_start(come_back, &back);
	for (int i = 0; i < 10 && rc != OK; i++) /* slow machines */
		rc = object_put(*state, "k2", "after", 5);
	assert_int_equal(rc, OK);
	assert_true(back);
	expect(*state, "k", "before");
	expect(*state, "k2", "after");
}

static void
thaw(void *arg)
{
	fiber_sleep(1500);
	s3_server_freeze(false);
	*(bool *)arg = true;
}

static void
a_server_that_hangs_is_left_and_asked_again(void **state)
{
	bool thawed = false;

	need_server();
	assert_int_equal(object_put(*state, "k", "before", 6), OK);
	s3_server_freeze(true);
	fiber_start(thaw, &thawed);
	assert_int_equal(object_put(*state, "k", "after", 5), OK);
	assert_true(thawed);
	expect(*state, "k", "after");
}

static size_t
names_in_spool(void)
{
	char *folder = mem_printf("%s/spool", config_str(CFG_DATA_DIR));
	DIR *dir = opendir(folder);
	struct dirent *entry;
	size_t n = 0;

	mem_free(folder);
	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void
fill(char *piece, size_t len, size_t at)
{
	for (size_t i = 0; i < len; i++, at++)
		piece[i] = (char)(at * 2654435761u >> 13);
}

static void
put_much(struct object_store *objects, const char *key, size_t total)
{
	char *piece = mem_alloc(1 << 20);
	struct object_writer *writer;

	assert_int_equal(object_put_begin(objects, &writer), OK);
	for (size_t at = 0, n; at < total; at += n) {
		n = total - at < 1 << 20 ? total - at : 1 << 20;
		fill(piece, n, at);
		assert_int_equal(object_put_write(writer, piece, n), OK);
		assert_int_equal(names_in_spool(), 0);
	}
	assert_int_equal(object_put_commit(writer, key), OK);
	mem_free(piece);
}

static void
expect_much(struct object_store *objects, const char *key, size_t total)
{
	char *want = mem_alloc(1 << 20), *have = mem_alloc(1 << 20), *path;
	struct stat st;
	int fd;

	assert_int_equal(object_local(objects, key, &path), OK);
	assert_int_equal(names_in_spool(), 0);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, total);
	for (size_t at = 0, n; at < total; at += n) {
		n = total - at < 1 << 20 ? total - at : 1 << 20;
		fill(want, n, at);
		assert_int_equal(read(fd, have, n), n);
		assert_memory_equal(have, want, n);
	}
	close(fd);
	object_release(objects, path);
	mem_free(want);
	mem_free(have);
}

static void
objects_around_the_size_of_a_part_come_back_whole(void **state)
{
	static const size_t sizes[] = { (16 << 20) - 1, 16 << 20,
		(16 << 20) + 1, (40 << 20) + 12345 };

	need_server();
	for (size_t i = 0; i < COUNT(sizes); i++) {
		put_much(*state, "big/one", sizes[i]);
		expect_much(*state, "big/one", sizes[i]);
	}
}

static void
a_full_spool_is_said_and_freed_again(void **state)
{
	char *piece;
	struct object_store *objects;
	struct object_writer *one, *two;

	(void)state;
	need_server();
	piece = mem_zero(700000);
	config_override(CFG_SPOOL_BYTES, "1048576");
	objects = open_store();
	assert_int_equal(object_put_begin(objects, &one), OK);
	assert_int_equal(object_put_write(one, piece, 700000), OK);
	assert_int_equal(object_put_begin(objects, &two), OK);
	assert_int_equal(object_put_write(two, piece, 700000), ERR_OVERLOADED);
	expect_sentence("XIN_SPOOL_BYTES", "1048576");
	object_put_abort(two);
	if (object_put_commit(one, "k") != OK)
		fail_msg("%s", err_message());
	for (int i = 0; i < 5; i++) /* what was freed is free */
		assert_int_equal(object_put(objects, "k", piece, 700000), OK);
	object_close(objects);
	config_override(CFG_SPOOL_BYTES, "8589934592");
	mem_free(piece);
}

static void
what_a_dead_process_left_is_swept_at_open(void **state)
{
	char *path = mem_printf("%s/spool/left", config_str(CFG_DATA_DIR));

	(void)state;
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(names_in_spool(), 1);
	object_close(open_store());
	assert_int_equal(names_in_spool(), 0);
	mem_free(path);
}

/* ---- the double ---- */

static void
too_busy_is_tried_again(void **state)
{
	static const char *const answers[] = { SLOW_DOWN, "close",
		OK_EMPTY "close" };

	http_double_answers(answers, COUNT(answers));
	assert_int_equal(object_put(*state, "k", "x", 1), OK);
	assert_int_equal(http_double_seen(), 3);
}

static void
too_busy_for_long_is_an_error_that_names_storage(void **state)
{
	static const char *const answers[] = { SLOW_DOWN, SLOW_DOWN, SLOW_DOWN,
		SLOW_DOWN, OK_EMPTY };

	http_double_answers(answers, COUNT(answers));
	assert_int_equal(object_put(*state, "k", "x", 1), ERR_UNAVAILABLE);
	expect_sentence("storage", "SlowDown");
	assert_int_equal(http_double_seen(), 4);
}

/* The value of a header in the head of a request, up to the line's end. */
static void
header_of(size_t request, const char *name, char *value, size_t size)
{
	const char *head = http_double_head(request);
	const char *at = strcasestr(head, name);

	assert_non_null(at);
	at += strlen(name) + 2;
	str_copy_n(value, size, at, strcspn(at, "\r"));
}

static void
skewed(char *answer, size_t size, int64_t seconds)
{
	time_t then = (time_t)((int64_t)clock_wall_ms() / 1000 + seconds);
	char date[64];
	struct tm tm;

	gmtime_r(&then, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	snprintf(answer, size,
	    "HTTP/1.1 403 Forbidden\r\nDate: %s\r\n"
	    "Content-Length: 48\r\n\r\n"
	    "<Error><Code>RequestTimeTooSkewed</Code></Error>close",
	    date);
}

static void
a_wrong_clock_is_corrected_by_the_time_of_storage(void **state)
{
	char answer[512], stamp[32], want[32];
	const char *const answers[] = { answer, OK_EMPTY, OK_EMPTY "close" };
	time_t then = (time_t)(clock_wall_ms() / 1000 + 1800);
	struct tm tm;

	skewed(answer, sizeof(answer), 1800);
	http_double_answers(answers, COUNT(answers));
	assert_int_equal(object_put(*state, "k", "x", 1), OK);
	assert_int_equal(object_put(*state, "k", "x", 1), OK);
	assert_int_equal(http_double_seen(), 3); /* learned once */
	gmtime_r(&then, &tm);
	strftime(want, sizeof(want), "%Y%m%dT%H%M", &tm);
	header_of(2, "x-amz-date", stamp, sizeof(stamp));
	if (tm.tm_sec < 55) /* not around a new minute */
		assert_memory_equal(stamp, want, strlen(want));
}

static void
a_clock_that_stays_wrong_is_named_with_its_difference(void **state)
{
	char answer[512];
	const char *const answers[] = { answer, answer };

	skewed(answer, sizeof(answer), -7205);
	http_double_answers(answers, COUNT(answers));
	assert_int_equal(object_put(*state, "k", "x", 1), ERR_UNAVAILABLE);
	expect_sentence("storage", "720");
	expect_sentence("clock", "ahead of");
	assert_int_equal(http_double_seen(), 2);
}

static void
the_bucket_stands_before_the_host_in_virtual_style(void **state)
{
	static const char *const answers[] = { OK_EMPTY, OK_EMPTY "close" };
	struct object_store *objects;
	char url[64], host[64], want[64];

	(void)state;
	snprintf(
	    url, sizeof(url), "http://localhost%s/", strrchr(double_url, ':'));
	snprintf(
	    want, sizeof(want), "bucket.localhost%s", strrchr(double_url, ':'));
	config_override(CFG_STORAGE_ENDPOINT, url);
	config_override(CFG_STORAGE_STYLE, "virtual");
	objects = open_store();
	http_double_answers(answers, COUNT(answers));
	assert_int_equal(object_put(objects, "a/k", "x", 1), OK);
	assert_int_equal(object_ping(objects), OK);
	assert_memory_equal(http_double_head(0), "PUT /a/k HTTP/1.1\r\n", 19);
	assert_memory_equal(http_double_head(1), "HEAD / HTTP/1.1\r\n", 17);
	header_of(0, "\nhost", host, sizeof(host));
	assert_string_equal(host, want);
	object_close(objects);
	config_override(CFG_STORAGE_STYLE, "path");
}

static void
a_body_that_was_cut_is_fetched_from_its_beginning(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234close",
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789close",
	};
	char text[20] = "", *path;
	int fd;

	http_double_answers(answers, 2);
	expect(*state, "k", "0123456789");
	http_double_answers(answers, 2);
	assert_int_equal(object_local(*state, "k", &path), OK);
	assert_int_equal(http_double_seen(), 2);
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, text, sizeof(text)), 10);
	assert_string_equal(text, "0123456789");
	close(fd);
	object_release(*state, path);
}

static void
a_server_that_says_nothing_is_left(void **state)
{
	static const char *const answers[] = { HTTP_DOUBLE_HANG,
		OK_EMPTY "close" };
	uint64_t began = clock_mono_ms();

	http_double_answers(answers, COUNT(answers));
	assert_int_equal(object_put(*state, "k", "x", 1), OK);
	assert_in_range(clock_mono_ms() - began, 900, 30000);
	http_double_answers(answers, 1);
	config_override(CFG_STORAGE_STALL_MS, "60000");
	began = clock_mono_ms();
	assert_int_equal(object_ping(*state), ERR_UNAVAILABLE);
	assert_in_range(clock_mono_ms() - began, 1900, 30000);
	config_override(CFG_STORAGE_STALL_MS, "1000");
}

static void
another_region_is_named_as_storage_names_it(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 301 Moved\r\nx-amz-bucket-region: eu-central-1\r\n"
		"Content-Length: 0\r\n\r\nclose",
		"HTTP/1.1 400 Bad\r\nContent-Length: 89\r\n\r\n"
		"<Error><Code>AuthorizationHeaderMalformed</Code>"
		"<Region>eu-west-9</Region></Error>       close",
	};

	http_double_answers(answers, COUNT(answers));
	assert_int_equal(object_put(*state, "k", "x", 1), ERR_UNAVAILABLE);
	expect_sentence("STORAGE_REGION", "eu-central-1");
	assert_int_equal(object_put(*state, "k", "x", 1), ERR_UNAVAILABLE);
	expect_sentence("STORAGE_REGION", "eu-west-9");
}

#define UPLOAD_ID                                                              \
	"HTTP/1.1 200 OK\r\nContent-Length: 93\r\n\r\n"                        \
	"<InitiateMultipartUploadResult><UploadId>a&amp;b/c</UploadId>"        \
	"</InitiateMultipartUploadResult>"
#define ERROR_IN_200                                                           \
	"HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n"                        \
	"<Error><Code>InternalError</Code></Error>"
#define NO_SUCH_UPLOAD                                                         \
	"HTTP/1.1 404 Not Found\r\nContent-Length: 40\r\n\r\n"                 \
	"<Error><Code>NoSuchUpload</Code></Error>"
#define DENIED                                                                 \
	"HTTP/1.1 403 Forbidden\r\nContent-Length: 40\r\n\r\n"                 \
	"<Error><Code>AccessDenied</Code></Error>"

static enum err_code
put_two_parts(struct object_store *objects)
{
	size_t len = (16 << 20) + 5;
	char *data = mem_zero(len);
	enum err_code rc = object_put(objects, "k", data, len);

	mem_free(data);
	return rc;
}

static void
an_error_inside_an_ok_is_an_error(void **state)
{
	static const char *const answers[] = { UPLOAD_ID, OK_TAGGED, OK_TAGGED,
		ERROR_IN_200, OK_EMPTY "close" };

	http_double_answers(answers, COUNT(answers));
	assert_int_equal(put_two_parts(*state), OK);
	assert_int_equal(http_double_seen(), 5);
	assert_memory_equal(http_double_head(1),
	    "PUT /bucket/k?partNumber=1&uploadId=a%26b%2Fc HTTP/1.1", 54);
	assert_memory_equal(http_double_head(4),
	    "POST /bucket/k?uploadId=a%26b%2Fc HTTP/1.1", 42);
}

static void
a_completion_whose_answer_was_lost_is_found_out(void **state)
{
	static const char *const there[] = { UPLOAD_ID, OK_TAGGED, OK_TAGGED,
		"close", NO_SUCH_UPLOAD,
		"HTTP/1.1 200 OK\r\nContent-Length: 16777221\r\n\r\nclose" };
	static const char *const other[] = { UPLOAD_ID, OK_TAGGED, OK_TAGGED,
		"close", NO_SUCH_UPLOAD,
		"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\nclose" };

	http_double_answers(there, COUNT(there));
	assert_int_equal(put_two_parts(*state), OK);
	http_double_answers(other, COUNT(other));
	assert_int_equal(put_two_parts(*state), ERR_UNAVAILABLE);
	expect_sentence("storage", "forgot");
}

static void
a_failed_upload_in_parts_is_aborted(void **state)
{
	static const char *const answers[] = { UPLOAD_ID, OK_TAGGED, DENIED,
		"HTTP/1.1 204 No Content\r\n\r\nclose" };

	http_double_answers(answers, COUNT(answers));
	assert_int_equal(put_two_parts(*state), ERR_UNAVAILABLE);
	expect_sentence("denies access", "STORAGE_ACCESS_KEY");
	assert_int_equal(http_double_seen(), 4);
	assert_memory_equal(http_double_head(3),
	    "DELETE /bucket/k?uploadId=a%26b%2Fc HTTP/1.1", 44);
}

struct cancelled {
	struct object_store *objects;
	enum err_code rc;
	bool ended;
};

static void
put_and_note(void *arg)
{
	struct cancelled *c = arg;

	c->rc = put_two_parts(c->objects);
	c->ended = true;
}

static void
a_cancelled_upload_in_parts_is_aborted(void **state)
{
	static const char *const answers[] = { UPLOAD_ID, HTTP_DOUBLE_HANG,
		"HTTP/1.1 204 No Content\r\n\r\nclose" };
	struct cancelled c = { .objects = *state };
	struct fiber *fiber;

	config_override(CFG_STORAGE_STALL_MS, "60000");
	http_double_answers(answers, COUNT(answers));
	fiber = fiber_start(put_and_note, &c);
	for (int i = 0; i < 500 && http_double_seen() < 2; i++)
		fiber_sleep(10);
	fiber_cancel(fiber);
	for (int i = 0; i < 500 && !c.ended; i++)
		fiber_sleep(10);
	config_override(CFG_STORAGE_STALL_MS, "1000");
	assert_true(c.ended);
	assert_int_equal(c.rc, ERR_CANCELLED);
	assert_int_equal(http_double_seen(), 3);
	assert_memory_equal(http_double_head(2), "DELETE ", 7);
}

#define AT_SERVER(name)                                                        \
	cmocka_unit_test_setup_teardown(name, at_server, tear_down)
#define AT_DOUBLE(name)                                                        \
	cmocka_unit_test_setup_teardown(name, at_double, tear_down)

static const struct CMUnitTest object_s3[] = {
	AT_DOUBLE(missing_settings_are_named),
	AT_DOUBLE(settings_that_make_no_sense_are_named),
	AT_DOUBLE(what_a_dead_process_left_is_swept_at_open),
	AT_SERVER(a_ping_makes_the_bucket),
	AT_SERVER(a_wrong_key_or_region_is_an_error_that_names_it),
	AT_SERVER(several_may_make_the_bucket_at_the_same_time),
	AT_SERVER(objects_around_the_size_of_a_part_come_back_whole),
	AT_SERVER(a_full_spool_is_said_and_freed_again),
	AT_SERVER(a_server_that_hangs_is_left_and_asked_again),
	AT_SERVER(a_server_that_was_away_is_used_again),
	AT_DOUBLE(too_busy_is_tried_again),
	AT_DOUBLE(too_busy_for_long_is_an_error_that_names_storage),
	AT_DOUBLE(a_wrong_clock_is_corrected_by_the_time_of_storage),
	AT_DOUBLE(a_clock_that_stays_wrong_is_named_with_its_difference),
	AT_DOUBLE(the_bucket_stands_before_the_host_in_virtual_style),
	AT_DOUBLE(a_body_that_was_cut_is_fetched_from_its_beginning),
	AT_DOUBLE(a_server_that_says_nothing_is_left),
	AT_DOUBLE(another_region_is_named_as_storage_names_it),
	AT_DOUBLE(an_error_inside_an_ok_is_an_error),
	AT_DOUBLE(a_completion_whose_answer_was_lost_is_found_out),
	AT_DOUBLE(a_failed_upload_in_parts_is_aborted),
	AT_DOUBLE(a_cancelled_upload_in_parts_is_aborted),
};

int
main(void)
{
	char *folder = test_folder_new(), *data;
	int failed;

	setenv("no_proxy", "127.0.0.1,localhost", 1);
	if (config_load(NULL) != OK)
		return 1;
	if (getenv("S3_TEST_LOG") == NULL)
		log_setup(open("/dev/null", O_WRONLY | O_CLOEXEC),
		    LOG_LEVEL_INFO, false);
	config_override(CFG_STORAGE_STALL_MS, "1000");
	have_server = s3_server_start(folder);
	data = mem_printf("%s/data", folder);
	config_override(CFG_DATA_DIR, data);
	mem_free(data);
	snprintf(double_url, sizeof(double_url), "http://127.0.0.1:%d",
	    http_double_start());
	failed = fiber_group(object_s3, NULL, NULL);
	http_double_stop();
	s3_server_stop();
	test_folder_remove(folder);
	return failed;
}
