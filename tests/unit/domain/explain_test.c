/* SPDX-License-Identifier: Apache-2.0 */
/* For every state a document can be in, explain says the truth about it. */
#include "fiber_group.h"

#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "domain/knowledge.h"
#include "domain/knowledge_watch.h"
#include "fiber/fiber.h"
#include "kv/kv.h"
#include "queue/queue.h"
#include "sqlite/sqlite.h"
#include "store/store.h"

static struct product product;
static struct sqlite *db;
static char *folder;

static struct source
source_in(enum source_status status)
{
	struct source source = { .id = "kn_1",
		.brand_id = "alpha",
		.title = (char *)(uintptr_t) "t",
		.version = 1,
		.status = status,
		.step = (char *)(uintptr_t) "",
		.error_code = (char *)(uintptr_t) "",
		.error_message = (char *)(uintptr_t) "",
		.lease_owner = (char *)(uintptr_t) "" };

	return source;
}

static json_t *
explain(const struct source *source)
{
	json_t *explanation;

	assert_int_equal(knowledge_explain(&product, source, &explanation), OK);
	print_message("  %s\n", json_str(explanation, "summary"));
	return explanation;
}

static void
expect(const struct source *source, const char *reason, const char *dependency,
    const char *sentence)
{
	json_auto json_t *told = explain(source);
	const json_t *waiting = json_object_get(told, "waiting_on");

	if (reason == NULL)
		assert_true(json_is_null(waiting));
	else
		assert_string_equal(json_str(waiting, "reason"), reason);
	if (dependency == NULL)
		assert_null(json_str(waiting, "dependency"));
	else
		assert_string_equal(
		    json_str(waiting, "dependency"), dependency);
	assert_non_null(strstr(json_str(told, "summary"), sentence));
}

static void
put(const char *id)
{
	assert_int_equal(
	    queue_put(product.queue, id, "alpha", "ingest_source", "{}", 0),
	    OK);
}

/* Must run first: no worker was ever there. */
static void
a_queue_that_nobody_reads_is_told(void **state)
{
	struct source source = source_in(SOURCE_PENDING);
	struct source orphan = source_in(SOURCE_PROCESSING);

	(void)state;
	put("ingest:kn_1:1");
	expect(&source, "no_worker", NULL, "Nobody reads the queue");
	orphan.lease_owner = (char *)(uintptr_t) "wk_1";
	orphan.lease_until = 1;
	expect(&orphan, "no_worker", NULL, "no worker is there to go on");
	assert_int_equal(queue_abort(product.queue, "ingest:kn_1:1"), OK);
}

/* kv is what processes share; the sign there is enough. */
static void
a_worker_of_another_process_is_seen(void **state)
{
	struct source source = source_in(SOURCE_PENDING);

	(void)state;
	put("ingest:kn_1:1");
	assert_int_equal(
	    kv_set(product.kv, "0-workers", "seen", "1", 45000), OK);
	while (knowledge_readers(&product) != KNOWLEDGE_READ)
		fiber_sleep(50); /* the answer is cached for a second */
	expect(&source, "queue", NULL, "0 jobs before it");
	assert_int_equal(queue_abort(product.queue, "ingest:kn_1:1"), OK);
}

static void
a_place_in_the_queue_is_told(void **state)
{
	struct source source = source_in(SOURCE_PENDING);
	json_t *told;

	(void)state;
	knowledge_worker_seen(&product);
	put("ingest:kn_7:1");
	put("ingest:kn_8:1");
	put("ingest:kn_1:1");
	expect(&source, "queue", NULL, "2 jobs before it");
	told = explain(&source);
	assert_int_equal(
	    json_int(json_object_get(told, "waiting_on"), "queue_position", -1),
	    2);
	json_decref(told);
	assert_int_equal(queue_abort(product.queue, "ingest:kn_1:1"), OK);
	expect(&source, "queue_message_lost", NULL, "is being renewed");
}

static void
a_delayed_retry_says_when_and_why(void **state)
{
	struct source source = source_in(SOURCE_PENDING);
	char when[CLOCK_RFC3339_SIZE];

	(void)state;
	source.attempts = 2;
	source.next_attempt_at = (int64_t)clock_wall_ms() + 60000;
	source.error_message = (char *)(uintptr_t) "the disk sleeps";
	source.error_retryable = true;
	clock_rfc3339((uint64_t)source.next_attempt_at, when);
	expect(&source, "retry_delay", NULL, when);
	expect(&source, "retry_delay", NULL, "the disk sleeps");
	expect(&source, "retry_delay", NULL, "attempt 2 of 5");
}

static void
a_service_that_is_down_is_named(void **state)
{
	static const char *const cases[][2] = {
		{ "embeddings: HTTP 503", "embeddings" },
		{ "search index: vector server: refused", "search" },
		{ "object storage: storage: timed out", "storage" },
	};
	struct source source = source_in(SOURCE_PENDING);

	(void)state;
	source.next_attempt_at = (int64_t)clock_wall_ms() + 60000;
	source.error_retryable = true;
	for (size_t i = 0; i < 3; i++) {
		source.error_message = (char *)(uintptr_t)cases[i][0];
		expect(&source, "dependency", cases[i][1], "Waits for ");
	}
}

static void
work_in_progress_says_who_where_and_until_when(void **state)
{
	struct source source = source_in(SOURCE_PROCESSING);
	char until[CLOCK_RFC3339_SIZE];

	(void)state;
	source.lease_owner = (char *)(uintptr_t) "wk_42";
	source.lease_until = (int64_t)clock_wall_ms() + 30000;
	source.step = (char *)(uintptr_t) "index";
	source.progress_done = 640;
	source.progress_total = 1200;
	source.attempts = 1;
	clock_rfc3339((uint64_t)source.lease_until, until);
	expect(&source, NULL, NULL, "wk_42 is at step \"index\", chunk 640 of");
	expect(&source, NULL, NULL, until);
	source.cancel_requested = true;
	expect(&source, NULL, NULL, "asked to stop");
}

static void
a_worker_that_went_away_is_told(void **state)
{
	struct source source = source_in(SOURCE_PROCESSING);

	(void)state;
	knowledge_worker_seen(&product);
	source.lease_owner = (char *)(uintptr_t) "wk_42";
	source.lease_until = (int64_t)clock_wall_ms() - 1;
	source.step = (char *)(uintptr_t) "guard";
	expect(&source, "lease_expired", NULL, "another one goes on");
}

static void
a_failure_says_why_and_what_to_do(void **state)
{
	static const struct {
		const char *code, *message, *advice;
		bool retryable;
	} cases[] = {
		{ "invalid_request", "the PDF is encrypted", "upload it again",
		    false },
		{ "unsupported_media_type", "no", "can be read", false },
		{ "too_large", "no", "Split", false },
		{ "script_failed", "x.lua:3", "Mend the script", false },
		{ "unavailable", "embeddings: down", "that service is back",
		    true },
		{ "attempts_exhausted", "gave up", "logs", true },
		{ "internal", "oops", "log", false },
	};
	struct source source = source_in(SOURCE_FAILED);

	(void)state;
	source.step = (char *)(uintptr_t) "extract";
	source.attempts = 1;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *told;

		source.error_code = (char *)(uintptr_t)cases[i].code;
		source.error_message = (char *)(uintptr_t)cases[i].message;
		source.error_retryable = cases[i].retryable;
		expect(&source, NULL, NULL, cases[i].message);
		told = explain(&source);
		assert_non_null(
		    strstr(json_str(told, "advice"), cases[i].advice));
		json_decref(told);
	}
}

static void
what_is_live_is_told_beside_what_failed(void **state)
{
	struct source source = source_in(SOURCE_READY);

	(void)state;
	source.live_version = 1;
	source.chunks = 9;
	expect(&source, NULL, NULL, "version 1 with 9 chunks is live");
	source.version = 2;
	source.error_code = (char *)(uintptr_t) "invalid_request";
	source.error_message = (char *)(uintptr_t) "no text";
	expect(&source, NULL, NULL, "Version 2: Failed");
	source.status = SOURCE_CANCELLED;
	source.live_version = 0;
	expect(&source, NULL, NULL, "Retry it to start again");
}

static int ended;

static void
reap(void *arg)
{
	int64_t count;

	(void)arg;
	knowledge_reap(&product, &count);
	ended++;
}

static void
two_reapers_queue_a_lost_document_once(void **state)
{
	struct source source = { .brand_id = "alpha",
		.title = mem_strdup("t"),
		.content_type = mem_strdup("text/plain"),
		.object_key = mem_strdup("alpha/ob_1"),
		.metadata = mem_strdup("{}"),
		.size_bytes = 1 };
	struct queue_depth before, after;
	bool existed;

	(void)state;
	memset(source.sha256, 'a', 64);
	assert_int_equal(
	    store_source_add(product.store, &source, false, &existed), OK);
	assert_int_equal(queue_depth(product.queue, &before), OK);
	ended = 0;
	for (int i = 0; i < 4; i++)
		fiber_start(reap, NULL);
	while (ended < 4)
		fiber_sleep(1);
	assert_int_equal(queue_depth(product.queue, &after), OK);
	assert_int_equal(after.waiting, before.waiting + 1);
	expect(&source, "queue", NULL, "Waits in the queue");
	source_done(&source);
}

static int
open_product(void **state)
{
	char *path;

	(void)state;
	folder = test_folder_new();
	path = mem_printf("%s/x.db", folder);
	assert_int_equal(sqlite_open(path, &db), OK);
	mem_free(path);
	assert_int_equal(store_open("sqlite:", db, &product.store), OK);
	assert_int_equal(queue_open("sqlite:", db, &product.queue), OK);
	assert_int_equal(kv_open("", &product.kv), OK);
	return 0;
}

static int
close_product(void **state)
{
	(void)state;
	kv_close(product.kv);
	queue_close(product.queue);
	store_close(product.store);
	sqlite_close(db);
	test_folder_remove(folder);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_queue_that_nobody_reads_is_told),
		cmocka_unit_test(a_worker_of_another_process_is_seen),
		cmocka_unit_test(a_place_in_the_queue_is_told),
		cmocka_unit_test(a_delayed_retry_says_when_and_why),
		cmocka_unit_test(a_service_that_is_down_is_named),
		cmocka_unit_test(
		    work_in_progress_says_who_where_and_until_when),
		cmocka_unit_test(a_worker_that_went_away_is_told),
		cmocka_unit_test(a_failure_says_why_and_what_to_do),
		cmocka_unit_test(what_is_live_is_told_beside_what_failed),
		cmocka_unit_test(two_reapers_queue_a_lost_document_once),
	};

	if (config_load(NULL) != OK)
		return 1;
	return fiber_group(tests, open_product, close_product);
}
