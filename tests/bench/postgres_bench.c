/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a turn asks of the store, on PostgreSQL: claim of the message,
 * conversation, history, the turn itself. One caller, then many on all loops.
 * Usage: python3 tests/support/postgres_server.py run
 * build/bench/postgres_bench (or any XIN_TEST_POSTGRES_URL). Prints one line a
 * figure.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "postgres/postgres.h"
#include "store/store.h"

#define EACH 200

static struct store *store;
static _Atomic int alive, number;

static void
need(enum err_code rc, const char *what)
{
	if (rc == OK)
		return;
	fprintf(stderr, "%s: %s\n", what, err_message());
	exit(1);
}

static void
one_turn(const char *user)
{
	char key[32], *answer;
	struct turn_row t = { .brand_id = "bench",
		.channel = "webchat",
		.user_id = user,
		.message = "When does the ferry leave?",
		.reply = "At nine, from the second pier.",
		.outcome = "done",
		.body = "{\"reply\":\"At nine, from the second pier.\"}",
		.dedup_key = key };
	struct conversation c;
	json_t *history;

	snprintf(key, sizeof(key), "bench|%d", atomic_fetch_add(&number, 1));
	need(store_dedup_begin(store, key, "", 1000, &answer), "dedup");
	mem_free(answer);
	need(store_conversation_open(
		 store, "bench", "webchat", user, NULL, 1800000, &c),
	    "open");
	need(store_history(store, "bench", c.id, 20, &history), "history");
	ident_new("tn", t.id);
	str_copy(t.conversation_id, sizeof(t.conversation_id), c.id);
	need(store_turn_add(store, &t), "turn");
	json_decref(history);
	conversation_done(&c);
}

static void
member(void *arg)
{
	char user[16];

	(void)arg;
	snprintf(user, sizeof(user), "u%d", atomic_fetch_add(&number, 1));
	for (int i = 0; i < EACH; i++)
		one_turn(user);
	atomic_fetch_sub(&alive, 1);
}

static void
measure(unsigned fibers)
{
	double trips = metric_value(METRIC_STORE_ROUND_TRIPS, METRIC_NO_LABELS);
	uint64_t began = clock_mono_us(), us;
	double turns = fibers * EACH;

	atomic_store(&alive, (int)fibers);
	for (unsigned i = 0; i < fibers; i++)
		loop_spawn(loop_at(i % loops_count()), SERVICE_ORCHESTRATOR,
		    member, NULL);
	while (atomic_load(&alive) > 0)
		fiber_sleep(1);
	us = clock_mono_us() - began;
	trips =
	    metric_value(METRIC_STORE_ROUND_TRIPS, METRIC_NO_LABELS) - trips;
	printf(
	    "%3u callers: %7.0f turns/s, %6.2f ms a turn, %.2f round trips\n",
	    fibers, turns * 1e6 / (double)us, (double)us / 1e3 / EACH,
	    trips / turns);
}

static enum err_code
run(void *arg)
{
	TRY(store_open(arg, NULL, &store));
	measure(1);
	measure(16);
	measure(64);
	store_close(store);
	return OK;
}

int
main(void)
{
	char *url = getenv("XIN_TEST_POSTGRES_URL");
	int applied, version;

	if (url == NULL) {
		fprintf(stderr, "set XIN_TEST_POSTGRES_URL\n");
		return 2;
	}
	need(postgres_migrate(url, &applied, &version), "migrate");
	need(loops_start(0), "loops");
	need(loop_call(loop_at(0), run, url), "run");
	loops_stop(1000);
	return 0;
}
