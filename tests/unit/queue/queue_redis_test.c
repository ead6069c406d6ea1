/* SPDX-License-Identifier: Apache-2.0 */
/* What the shared queue promises beyond the contract: ARQ's records as Python
 * writes and reads them, against a real server. */
#include "fiber_group.h"

#include <stdio.h>
#include <string.h>

#include "base/checkup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "queue/pickle.h"
#include "queue/queue.h"
#include "redis/redis.h"
#include "redis_server.h"

#define LEASE ((int64_t)30000)

static struct redis_server *server;
static struct queue *queue;
static struct redis *redis;
static const char *const functions[] = { "ingest_source", NULL };

/* pickle.dumps({"t": None, "f": "ingest_source", "a": (), "k": {"source_id":
 * "kn_1", "brand_id": "acme", "version": 3}, "et": 1795416939164}) */
#define PLAIN_4                                                                \
	"80049569000000000000007d94288c0174944e8c0166948c0d696e676573745f736f" \
	"75726365948c016194298c016b947d94288c09736f757263655f6964948c046b6e5f" \
	"31948c086272616e645f6964948c0461636d65948c0776657273696f6e944b03758c" \
	"026574948a069c5a3007a201752e"
/* {"f": "g", "a": (datetime.datetime(2026, 1, 1),), "k": {}} */
#define DATE_4                                                                 \
	"80049542000000000000007d94288c0166948c0167948c0161948c08646174657469" \
	"6d65948c086461746574696d65949394430a07ea0101000000000000948594529485" \
	"948c016b947d94752e"

static int
set_up(void **state)
{
	const struct redis_options options = redis_options_from_config();

	(void)state;
	config_override(CFG_QUEUE_FORMAT, "json");
	redis_server_flush(server);
	assert_int_equal(redis_open(&options, &redis), OK);
	assert_int_equal(queue_open("redis:", NULL, &queue), OK);
	queue_serve(queue, functions);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	queue_close(queue);
	redis_close(redis);
	return 0;
}

/* As a Python client does it. */
static void
python_puts(const char *id, const void *record, size_t len)
{
	char key[64];

	snprintf(key, sizeof(key), "arq:job:%s", id);
	assert_int_equal(redis_call(redis, 0, NULL, "ttib", "PSETEX", key,
			     (int64_t)86400000, record, len),
	    OK);
	assert_int_equal(redis_call(redis, 0, NULL, "ttit", "ZADD", "arq:queue",
			     (int64_t)clock_wall_ms() - 5, id),
	    OK);
}

static void
python_puts_hex(const char *id, const char *hex)
{
	uint8_t record[512];
	size_t len = strlen(hex) / 2;

	assert_true(crypto_unhex(hex, 2 * len, record, len));
	python_puts(id, record, len);
}

static enum err_code
take(struct job *job)
{
	return queue_take(queue, LEASE, clock_mono_ms(), job);
}

static struct redis_reply *
result_of(const char *id)
{
	struct redis_reply *reply;
	char key[64];

	snprintf(key, sizeof(key), "arq:result:%s", id);
	assert_int_equal(redis_call(redis, 0, &reply, "tt", "GET", key), OK);
	return reply;
}

static void
a_pickled_job_is_answered_in_pickle(void **state)
{
	const struct pickle_value *value;
	struct redis_reply *reply;
	struct arena arena;
	struct job job;
	struct buf text;
	size_t len;

	(void)state;
	python_puts_hex("p1", PLAIN_4);
	assert_int_equal(take(&job), OK);
	assert_string_equal(job.brand_id, "acme");
	assert_string_equal(job.kwargs, "{\"source_id\":\"kn_1\",\"brand_id\":"
					"\"acme\",\"version\":3}");
	job.result = mem_strdup("{\"ok\":[1,null]}");
	assert_int_equal(queue_finish(queue, &job), OK);
	reply = result_of("p1");
	arena_init(&arena, 1 << 20);
	buf_init(&text, 65536);
	assert_non_null(redis_str(reply, &len));
	assert_int_equal(
	    pickle_read(&arena, redis_str(reply, NULL), len, &value), OK);
	assert_int_equal(pickle_to_json(pickle_get(value, "r"), &text), OK);
	assert_string_equal(buf_str(&text), "{\"ok\":[1,null]}");
	buf_clear(&text);
	assert_int_equal(pickle_to_json(value, &text), OK);
	assert_non_null(strstr(buf_str(&text), "\"f\":\"ingest_source\""));
	assert_non_null(strstr(buf_str(&text), "\"et\":1795416939164"));
	assert_non_null(strstr(buf_str(&text), "\"s\":true"));
	assert_non_null(strstr(buf_str(&text), "\"q\":\"arq:queue\""));
	assert_int_equal(pickle_get(value, "a")->type, PICKLE_TUPLE);
	buf_done(&text);
	arena_done(&arena);
	redis_reply_free(reply);
	job_done(&job);
}

static void
a_json_job_is_answered_in_json(void **state)
{
	static const char record[] =
	    "{\"t\": null, \"f\": \"ingest_source\", \"a\": [7], \"k\": "
	    "{\"brand_id\": \"acme\"}, \"et\": 5}";
	struct redis_reply *reply;
	json_t *result;
	struct job job;
	size_t len;

	(void)state;
	python_puts("j1", record, strlen(record));
	assert_int_equal(take(&job), OK);
	assert_string_equal(job.args, "[7]");
	assert_int_equal(queue_bury(queue, &job, "no \xff good"), OK);
	job_done(&job);
	reply = result_of("j1");
	assert_non_null(redis_str(reply, &len));
	assert_int_equal(json_parse(redis_str(reply, NULL), len, &result), OK);
	assert_string_equal(json_str(result, "r"), "no ? good");
	assert_false(json_bool(result, "s", true));
	assert_int_equal(json_int(result, "et", 0), 5);
	assert_string_equal(json_str(result, "id"), "j1");
	json_decref(result);
	redis_reply_free(reply);
}

static void
ours_in_pickle_reads_back(void **state)
{
	struct job job;

	(void)state;
	queue_close(queue);
	config_override(CFG_QUEUE_FORMAT, "pickle");
	assert_int_equal(queue_open("redis:", NULL, &queue), OK);
	assert_int_equal(queue_put(queue, "o1", "acme", "ingest_source",
			     "{\"brand_id\":\"acme\",\"version\":7}", 0),
	    OK);
	assert_int_equal(take(&job), OK);
	assert_int_equal((uint8_t)job.stored[0], 0x80);
	assert_string_equal(
	    job.kwargs, "{\"brand_id\":\"acme\",\"version\":7}");
	assert_int_equal(queue_finish(queue, &job), OK);
	job_done(&job);
	config_override(CFG_QUEUE_FORMAT, "msgpack");
	queue_close(queue);
	assert_int_equal(queue_open("redis:", NULL, &queue), ERR_CONFIG);
	config_override(CFG_QUEUE_FORMAT, "json");
	assert_int_equal(queue_open("redis:", NULL, &queue), OK);
}

static void
expect_letter(const char *id, const char *reason)
{
	const char *found = NULL;
	json_t *items, *item;
	size_t i;

	assert_int_equal(queue_dead(queue, 100, &items), OK);
	json_array_foreach (items, i, item)
		if (strcmp(json_str(item, "id"), id) == 0)
			found = json_str(item, "reason");
	if (found == NULL || strstr(found, reason) == NULL)
		fail_msg("%s: \"%s\" lacks \"%s\"", id,
		    found != NULL ? found : "", reason);
	json_decref(items);
}

static void
what_cannot_be_read_is_a_dead_letter(void **state)
{
	struct job job;

	(void)state;
	queue_serve(queue, (const char *const[]){ "g", NULL });
	python_puts_hex("date", DATE_4);
	python_puts("junk", "\x80\x04junk", 6);
	python_puts("text", "hello", 5);
	python_puts("list", "[1]", 3);
	assert_int_equal(redis_call(redis, 0, NULL, "tttt", "ZADD", "arq:queue",
			     "5", "expired"),
	    OK);
	assert_int_equal(take(&job), ERR_DEADLINE);
	expect_letter("date", "datetime.datetime");
	expect_letter("junk", "cannot be read");
	expect_letter("text", "cannot be read");
	expect_letter("list", "no ARQ record");
	expect_letter("expired", "expired");
}

static void
a_huge_record_harms_nobody(void **state)
{
	size_t len = 3 << 20;
	char *record = mem_alloc(len);
	struct queue_depth depth;
	struct job job;

	(void)state;
	memset(record, 'x', len);
	memcpy(record, "{\"t\": null, \"f\": \"ingest_source\", \"", 36);
	python_puts("ours", record, len);
	memcpy(record, "\x80\x02}(X\1\0\0\0tNX\1\0\0\0fX\6\0\0\0theirs", 28);
	python_puts("theirs", record, len);
	assert_int_equal(take(&job), ERR_DEADLINE);
	expect_letter("ours", "over 1 MiB");
	assert_int_equal(queue_depth(queue, &depth), OK);
	assert_int_equal(depth.waiting, 1);
	mem_free(record);
}

static void
other_functions_stay_for_their_workers(void **state)
{
	static const char big[] =
	    "{\"t\":null,\"f\":\"theirs\",\"a\":[123456789"
	    "01234567890123],\"k\":{},\"et\":1}";
	struct redis_reply *reply;
	struct queue_depth depth;
	struct job job;

	(void)state;
	python_puts_hex("date", DATE_4);
	python_puts("big", big, strlen(big));
	assert_int_equal(take(&job), ERR_DEADLINE);
	assert_int_equal(queue_depth(queue, &depth), OK);
	assert_int_equal(depth.waiting, 2);
	assert_int_equal(depth.dead, 0);
	assert_int_equal(depth.running, 0);
	assert_int_equal(redis_call(redis, 0, &reply, "ttt", "EXISTS",
			     "arq:retry:date", "arq:in-progress:date"),
	    OK);
	assert_int_equal(redis_int(reply, -1), 0);
	redis_reply_free(reply);
}

static void
an_abort_is_told_before_and_during_the_run(void **state)
{
	struct redis_reply *reply;
	const char *text;
	struct job job;
	size_t len;

	(void)state;
	python_puts_hex("p1", PLAIN_4);
	assert_int_equal(
	    redis_call(redis, 0, NULL, "tttt", "ZADD", "arq:abort", "1", "p1"),
	    OK);
	assert_int_equal(take(&job), OK);
	assert_true(job.aborted);
	assert_int_equal(queue_finish(queue, &job), OK);
	job_done(&job);
	reply = result_of("p1");
	text = redis_str(reply, &len);
	assert_non_null(memmem(text, len, "CancelledError", 14));
	redis_reply_free(reply);

	python_puts_hex("p2", PLAIN_4);
	assert_int_equal(take(&job), OK);
	assert_int_equal(queue_renew(queue, &job, LEASE), OK);
	assert_int_equal(queue_abort(queue, "p2"), OK);
	assert_int_equal(queue_renew(queue, &job, LEASE), ERR_CANCELLED);
	assert_true(job.aborted);
	assert_int_equal(queue_finish(queue, &job), OK);
	job_done(&job);
	assert_int_equal(
	    redis_call(redis, 0, &reply, "tt", "EXISTS", "arq:abort"), OK);
	assert_int_equal(redis_int(reply, -1), 0);
	redis_reply_free(reply);
}

static void
after_a_flush_an_owner_has_lost_its_lease(void **state)
{
	struct job job;

	(void)state;
	python_puts_hex("p1", PLAIN_4);
	assert_int_equal(take(&job), OK);
	redis_server_flush(server);
	assert_int_equal(queue_renew(queue, &job, LEASE), ERR_CONFLICT);
	assert_int_equal(queue_retry(queue, &job, 0, true), ERR_CONFLICT);
	assert_int_equal(queue_finish(queue, &job), ERR_CONFLICT);
	job_done(&job);
	assert_int_equal(queue_put(queue, "p1", "acme", "ingest_source",
			     "{\"brand_id\":\"acme\"}", 0),
	    OK);
	assert_int_equal(take(&job), OK);
	assert_int_equal(job.attempt, 1);
	job_done(&job);
}

static void
the_producers_try_counts(void **state)
{
	static const char record[] =
	    "{\"t\":3,\"f\":\"ingest_source\",\"a\":[],"
	    "\"k\":{},\"et\":1}";
	struct job job;

	(void)state;
	python_puts("t3", record, strlen(record));
	assert_int_equal(take(&job), OK);
	assert_int_equal(job.attempt, 3);
	assert_string_equal(job.brand_id, "");
	assert_int_equal(queue_retry(queue, &job, 0, true), OK);
	job_done(&job);
	assert_int_equal(take(&job), OK);
	assert_int_equal(job.attempt, 4);
	job_done(&job);
}

static void
a_small_brand_behind_a_large_one_is_next(void **state)
{
	char id[16];
	struct job job;

	(void)state;
	for (int i = 0; i < 500; i++) {
		snprintf(id, sizeof(id), "big%d", i);
		assert_int_equal(queue_put(queue, id, "big", "ingest_source",
				     "{\"brand_id\":\"big\"}", 0),
		    OK);
	}
	assert_int_equal(queue_put(queue, "small", "small", "ingest_source",
			     "{\"brand_id\":\"small\"}", 0),
	    OK);
	assert_int_equal(take(&job), OK);
	assert_string_equal(job.brand_id, "big");
	job_done(&job);
	assert_int_equal(take(&job), OK);
	assert_string_equal(job.id, "small");
	job_done(&job);
}

static void
a_checkup_tells_facts_and_advice(void **state)
{
	struct checkup checkup = { .facts = "" };

	(void)state;
	assert_int_equal(queue_checkup(queue, &checkup), OK);
	assert_non_null(strstr(checkup.facts, "arq:queue in json"));
	assert_non_null(strstr(checkup.advice, "appendonly"));
	assert_int_equal(redis_call(redis, 0, NULL, "tttt", "CONFIG", "SET",
			     "maxmemory-policy", "allkeys-lru"),
	    OK);
	assert_int_equal(queue_checkup(queue, &checkup), OK);
	assert_non_null(strstr(checkup.advice, "set noeviction"));
	assert_int_equal(redis_call(redis, 0, NULL, "tttt", "CONFIG", "SET",
			     "maxmemory-policy", "noeviction"),
	    OK);
}

static void
without_redis_a_put_names_it(void **state)
{
	char name[64];

	(void)state;
	redis_server_kill(server);
	assert_int_equal(
	    queue_put(queue, "a", "acme", "ingest_source", "{}", 0),
	    ERR_UNAVAILABLE);
	snprintf(name, sizeof(name), "Redis 127.0.0.1:%d cannot be reached",
	    redis_server_port(server));
	assert_non_null(strstr(err_message(), name));
	redis_server_restart(server);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest shared_queue[] = {
		T(a_pickled_job_is_answered_in_pickle),
		T(a_json_job_is_answered_in_json),
		T(ours_in_pickle_reads_back),
		T(what_cannot_be_read_is_a_dead_letter),
		T(a_huge_record_harms_nobody),
		T(other_functions_stay_for_their_workers),
		T(an_abort_is_told_before_and_during_the_run),
		T(after_a_flush_an_owner_has_lost_its_lease),
		T(the_producers_try_counts),
		T(a_small_brand_behind_a_large_one_is_next),
		T(a_checkup_tells_facts_and_advice),
		T(without_redis_a_put_names_it),
	};
	int failed;

	if (!redis_server_have())
		return 0;
	server = redis_server_start(NULL);
	redis_server_configure(server);
	failed = fiber_group(shared_queue, NULL, NULL);
	redis_server_stop(server);
	return failed;
}
