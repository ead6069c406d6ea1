/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of the object store: the same tests over every back end. A new
 * back end adds its entry to `kinds`.
 */
#include "fiber_group.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/config.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "object/object.h"
#include "s3_server.h"

/* "%s" becomes a new empty folder. */
static const char *const kinds[] = { "file:%s/objects", "s3:" };
static const char *kind;

struct fixture {
	char *folder, *url;
	struct object_store *objects;
};

static char *
url_of(const char *folder)
{
	const char *place = strstr(kind, "%s");

	if (place == NULL)
		return mem_strdup(kind);
	return mem_printf(
	    "%.*s%s%s", (int)(place - kind), kind, folder, place + 2);
}

/* Every test has a bucket of its own, which is not there yet. */
static void
next_bucket(void)
{
	static int number;
	char name[32];

	snprintf(name, sizeof(name), "xin-test-%d", ++number);
	config_override(CFG_STORAGE_BUCKET, name);
}

static int
set_up(void **state)
{
	struct fixture *f = mem_zero(sizeof(*f));

	next_bucket();
	f->folder = test_folder_new();
	f->url = url_of(f->folder);
	assert_int_equal(object_open(f->url, &f->objects), OK);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	object_close(f->objects);
	test_folder_remove(f->folder);
	mem_free(f->url);
	mem_free(f);
	return 0;
}

static struct object_store *
objects_of(void **state)
{
	return ((struct fixture *)*state)->objects;
}

static void
expect(struct object_store *objects, const char *key, const char *text)
{
	struct buf data;

	assert_int_equal(object_get(objects, key, 1000, &data), OK);
	assert_int_equal(data.len, strlen(text));
	assert_string_equal(buf_str(&data), text);
	buf_done(&data);
}

static void
what_was_put_comes_back(void **state)
{
	struct object_store *objects = objects_of(state);
	struct buf data;

	assert_int_equal(
	    object_put(objects, "acme/ab/doc-1.txt", "hello", 5), OK);
	expect(objects, "acme/ab/doc-1.txt", "hello");
	assert_int_equal(object_put(objects, "empty", "", 0), OK);
	expect(objects, "empty", "");
	assert_int_equal(
	    object_get(objects, "acme/none", 1000, &data), ERR_NOT_FOUND);
	assert_int_equal(
	    object_get(objects, "empty/below", 1000, &data), ERR_NOT_FOUND);
	assert_int_equal(
	    object_get(objects, "acme", 1000, &data), ERR_NOT_FOUND);
}

static void
a_put_replaces_the_whole_object(void **state)
{
	struct object_store *objects = objects_of(state);

	assert_int_equal(object_put(objects, "k", "a longer text", 13), OK);
	assert_int_equal(object_put(objects, "k", "short", 5), OK);
	expect(objects, "k", "short");
}

static void
a_get_over_its_ceiling_is_refused(void **state)
{
	struct object_store *objects = objects_of(state);
	struct buf data;

	assert_int_equal(object_put(objects, "k", "12345678", 8), OK);
	assert_int_equal(object_get(objects, "k", 7, &data), ERR_TOO_LARGE);
	assert_int_equal(object_get(objects, "k", 8, &data), OK);
	buf_done(&data);
}

static void
a_streamed_put_of_any_pieces_is_one_object(void **state)
{
	struct object_store *objects = objects_of(state);
	static const size_t pieces[] = { 1, 1000, 300000, 7, 262144, 262143, 2,
		600000 };
	struct object_writer *writer;
	size_t total = 0, at = 0;
	struct buf data;
	char *all;

	for (size_t i = 0; i < 8; i++)
		total += pieces[i];
	all = mem_alloc(total);
	for (size_t i = 0; i < total; i++)
		all[i] = (char)(i * 31 + i / 251);
	assert_int_equal(object_put_begin(objects, &writer), OK);
	for (size_t i = 0; i < 8; at += pieces[i++])
		assert_int_equal(
		    object_put_write(writer, all + at, pieces[i]), OK);
	assert_int_equal(object_get(objects, "big", total, &data),
	    ERR_NOT_FOUND); /* nothing before the commit */
	assert_int_equal(object_put_commit(writer, "big"), OK);
	assert_int_equal(object_get(objects, "big", total, &data), OK);
	assert_int_equal(data.len, total);
	assert_memory_equal(data.data, all, total);
	buf_done(&data);
	mem_free(all);
}

static void
an_aborted_put_leaves_nothing(void **state)
{
	struct object_store *objects = objects_of(state);
	struct object_writer *writer;
	struct buf data;

	assert_int_equal(object_put(objects, "k", "old", 3), OK);
	assert_int_equal(object_put_begin(objects, &writer), OK);
	assert_int_equal(object_put_write(writer, "new", 3), OK);
	object_put_abort(writer);
	object_put_abort(NULL);
	expect(objects, "k", "old");
	assert_int_equal(object_put_begin(objects, &writer), OK);
	assert_int_equal(object_put_commit(writer, "../bad"), ERR_INVALID);
	assert_int_equal(object_get(objects, "bad", 10, &data), ERR_NOT_FOUND);
}

static void
keys_that_could_leave_the_folder_are_refused(void **state)
{
	static const char *const bad[] = { "", "/etc/passwd", "../x", "a/../b",
		"a//b", "a/", ".tmp/x", "a/.hidden", "a b", "a\\b", "a\nb",
		"\xd8\xa7" };
	struct object_store *objects = objects_of(state);
	struct buf data;
	char *path;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
		    object_put(objects, bad[i], "x", 1), ERR_INVALID);
		assert_int_equal(
		    object_get(objects, bad[i], 10, &data), ERR_INVALID);
		assert_int_equal(
		    object_local(objects, bad[i], &path), ERR_INVALID);
		assert_int_equal(object_delete(objects, bad[i]), ERR_INVALID);
	}
	assert_int_equal(object_put(objects, "a..b/c.d-e_F9", "x", 1), OK);
}

static void
deleting_is_idempotent(void **state)
{
	struct object_store *objects = objects_of(state);
	struct buf data;

	assert_int_equal(object_put(objects, "a/k", "x", 1), OK);
	assert_int_equal(object_delete(objects, "a/k"), OK);
	assert_int_equal(object_delete(objects, "a/k"), OK);
	assert_int_equal(object_get(objects, "a/k", 10, &data), ERR_NOT_FOUND);
}

static void
a_local_path_holds_the_bytes(void **state)
{
	struct object_store *objects = objects_of(state);
	char text[8] = "";
	char *path;
	int fd;

	assert_int_equal(object_put(objects, "a/k", "bytes", 5), OK);
	assert_int_equal(object_local(objects, "a/k", &path), OK);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, text, sizeof(text)), 5);
	close(fd);
	assert_string_equal(text, "bytes");
	object_release(objects, path);
	assert_int_equal(object_local(objects, "a/none", &path), ERR_NOT_FOUND);
}

static void
objects_survive_a_reopening(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(object_put(f->objects, "a/k", "kept", 4), OK);
	object_close(f->objects);
	assert_int_equal(object_open(f->url, &f->objects), OK);
	expect(f->objects, "a/k", "kept");
	assert_int_equal(object_ping(f->objects), OK);
}

struct racer {
	struct object_store *objects;
	const char *text;
	int *running, failed;
	struct fiber_cond *over;
};

static void
race(void *arg)
{
	struct racer *r = arg;

	for (int i = 0; i < 10; i++)
		if (object_put(r->objects, "raced/k", r->text, 4) != OK)
			r->failed++;
	if (--*r->running == 0)
		fiber_cond_signal(r->over);
}

static void
concurrent_puts_of_one_key_end_with_one_whole_object(void **state)
{
	struct object_store *objects = objects_of(state);
	struct fiber_cond over = { 0 };
	int running = 4, failed = 0;
	struct racer racers[4];
	struct buf data;

	for (int i = 0; i < 4; i++) {
		static const char *const texts[] = { "aaaa", "bbbb", "cccc",
			"dddd" };

		racers[i] =
		    (struct racer){ objects, texts[i], &running, 0, &over };
		fiber_start(race, &racers[i]);
	}
	while (running > 0)
		assert_int_equal(fiber_cond_wait(&over, 0), OK);
	for (int i = 0; i < 4; i++)
		failed += racers[i].failed;
	assert_int_equal(failed, 0);
	assert_int_equal(object_get(objects, "raced/k", 10, &data), OK);
	assert_int_equal(data.len, 4);
	assert_true(data.data[0] == data.data[3]);
	buf_done(&data);
}

/* ---- of the folder only ---- */

static void
stale_temporary_files_are_swept_at_open(void **state)
{
	struct fixture *f = *state;
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	char *stale, *fresh;

	if (!str_starts(kind, "file:"))
		skip();
	stale = mem_printf("%s/objects/.tmp/ob_stale", f->folder);
	fresh = mem_printf("%s/objects/.tmp/ob_fresh", f->folder);
	close(open(stale, O_CREAT | O_WRONLY, 0600));
	close(open(fresh, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(utimensat(AT_FDCWD, stale, old, 0), 0);
	object_close(f->objects);
	assert_int_equal(object_open(f->url, &f->objects), OK);
	assert_int_equal(access(stale, F_OK), -1);
	assert_int_equal(access(fresh, F_OK), 0);
	mem_free(stale);
	mem_free(fresh);
}

static void
an_unusable_folder_is_said_in_words(void **state)
{
	struct fixture *f = *state;
	struct object_store *objects;
	char *url;

	if (!str_starts(kind, "file:"))
		skip();
	assert_int_equal(object_put(f->objects, "plain", "x", 1), OK);
	url = mem_printf("%s/plain/below", f->url);
	assert_int_not_equal(object_open(url, &objects), OK);
	mem_free(url);
	assert_int_equal(object_open("file:", &objects), ERR_CONFIG);
	assert_int_equal(object_open("ftp://x", &objects), ERR_CONFIG);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest object_contract[] = {
		T(what_was_put_comes_back),
		T(a_put_replaces_the_whole_object),
		T(a_get_over_its_ceiling_is_refused),
		T(a_streamed_put_of_any_pieces_is_one_object),
		T(an_aborted_put_leaves_nothing),
		T(keys_that_could_leave_the_folder_are_refused),
		T(deleting_is_idempotent),
		T(a_local_path_holds_the_bytes),
		T(objects_survive_a_reopening),
		T(concurrent_puts_of_one_key_end_with_one_whole_object),
		T(stale_temporary_files_are_swept_at_open),
		T(an_unusable_folder_is_said_in_words),
	};
	char *folder = test_folder_new();
	int failed = 0;

	setenv("no_proxy", "127.0.0.1", 1);
	if (config_load(NULL) != OK)
		return 1;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		kind = kinds[i];
		if (str_starts(kind, "s3:") && !s3_server_start(folder))
			continue;
		failed += fiber_group(object_contract, NULL, NULL);
	}
	s3_server_stop();
	test_folder_remove(folder);
	return failed;
}
