/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the contract of the store cannot say for every back end: a server that
 * goes away and comes back, statements that are cut off, several replicas,
 * migrations. Over a real PostgreSQL; skipped by name when there is none.
 */
#include "fiber_group.h"
#include "postgres_server.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/embed.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "postgres/postgres.h"
#include "store/store.h"

#define HASH "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const char *url;

static struct postgres *
link_with(const char *connections, const char *statement_ms)
{
	struct postgres *link;

	config_override(CFG_STORE_CONNECTIONS, connections);
	config_override(CFG_STORE_STATEMENT_MS, statement_ms);
	assert_int_equal(postgres_open(url, &link), OK);
	config_override(CFG_STORE_CONNECTIONS, "8");
	config_override(CFG_STORE_STATEMENT_MS, "10000");
	return link;
}

static struct store *
opened(void)
{
	struct store *store;

	assert_int_equal(store_open(url, NULL, &store), OK);
	return store;
}

static int64_t
number(struct postgres *link, const char *sql)
{
	struct postgres_batch batch = { 0 };
	int64_t value;

	postgres_add(&batch, sql, "");
	assert_int_equal(postgres_run(link, &batch), OK);
	value = postgres_int(postgres_row(&batch, 0, 0), 0);
	postgres_clear(&batch);
	return value;
}

#define BACKEND "SELECT pg_backend_pid()"
#define SLEEPERS                                                               \
	"SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"         \
	" AND query LIKE '%pg_sleep(%' AND pid <> pg_backend_pid()"

static enum err_code
sleep_on_server(struct postgres *link)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch, "SELECT pg_sleep(20)", "");
	rc = postgres_run(link, &batch);
	postgres_clear(&batch);
	return rc;
}

/* ---- the server goes away ---- */

static void
a_killed_server_is_said_at_once_and_found_again(void **state)
{
	struct store *store = opened();
	uint64_t began;
	int64_t n;

	(void)state;
	assert_int_equal(store_key_count(store, &n), OK);
	postgres_server_kill();
	began = clock_mono_ms();
	for (int i = 0; i < 20; i++)
		assert_int_equal(store_key_count(store, &n), ERR_UNAVAILABLE);
	assert_int_equal(store_ping(store), ERR_UNAVAILABLE);
	assert_non_null(strstr(err_message(), "store"));
	assert_null(strstr(err_message(), "se%cret"));
	assert_true(clock_mono_ms() - began < 3000);
	postgres_server_start();
	began = clock_mono_ms();
	while (store_key_count(store, &n) != OK) {
		assert_true(clock_mono_ms() - began < 5000);
		assert_int_equal(fiber_sleep(20), OK);
	}
	assert_int_equal(store_ping(store), OK);
	store_close(store);
}

/* Connections that died while nobody used them cost nobody an error. */
static void
a_server_that_was_started_anew_meanwhile_is_not_noticed(void **state)
{
	struct store *store = opened();
	int64_t n;

	(void)state;
	assert_int_equal(store_key_count(store, &n), OK);
	postgres_server_stop();
	postgres_server_start();
	assert_int_equal(store_key_count(store, &n), OK);
	store_close(store);
}

struct later {
	struct postgres *link;
	enum err_code rc;
	uint64_t deadline_ms, took_ms;
	bool ended;
};

static void
sleep_in_fiber(void *arg)
{
	struct later *later = arg;
	uint64_t began = clock_mono_ms();

	task_self()->deadline_ms = later->deadline_ms;
	later->rc = sleep_on_server(later->link);
	later->took_ms = clock_mono_ms() - began;
	later->ended = true;
}

static void
end_of(struct later *later)
{
	while (!later->ended)
		assert_int_equal(fiber_sleep(2), OK);
}

static void
a_call_that_the_server_dies_under_ends_at_once(void **state)
{
	struct later later = { .link = link_with("2", "10000") };

	(void)state;
	fiber_start(sleep_in_fiber, &later);
	while (number(later.link, SLEEPERS) == 0)
		assert_int_equal(fiber_sleep(5), OK);
	postgres_server_kill();
	end_of(&later);
	assert_int_equal(later.rc, ERR_UNAVAILABLE);
	postgres_server_start();
	while (postgres_run(later.link, &(struct postgres_batch){ 0 }) != OK)
		assert_int_equal(fiber_sleep(20), OK);
	postgres_close(later.link);
}

/* ---- deadlines ---- */

static void
the_tasks_deadline_cancels_on_the_server(void **state)
{
	struct later later = { .link = link_with("1", "10000") };
	struct postgres *other = link_with("1", "10000");
	int64_t backend = number(later.link, BACKEND);

	(void)state;
	later.deadline_ms = deadline_in_ms(150);
	fiber_start(sleep_in_fiber, &later);
	end_of(&later);
	assert_int_equal(later.rc, ERR_DEADLINE);
	assert_in_range(later.took_ms, 100, 2000);
	/* The only connection of the pool comes back, and is the same. */
	assert_int_equal(number(later.link, BACKEND), backend);
	assert_int_equal(number(other, SLEEPERS), 0);
	postgres_close(later.link);
	postgres_close(other);
}

static void
the_statement_limit_holds_without_a_deadline(void **state)
{
	struct later later = { .link = link_with("1", "200") };
	int64_t backend = number(later.link, BACKEND);

	(void)state;
	fiber_start(sleep_in_fiber, &later);
	end_of(&later);
	assert_int_equal(later.rc, ERR_DEADLINE);
	assert_in_range(later.took_ms, 150, 2000);
	assert_int_equal(number(later.link, BACKEND), backend);
	postgres_close(later.link);
}

static void
a_cancelled_fiber_leaves_nothing_running(void **state)
{
	struct later later = { .link = link_with("2", "10000") };
	struct fiber *fiber = fiber_start(sleep_in_fiber, &later);
	uint64_t began;

	(void)state;
	while (number(later.link, SLEEPERS) == 0)
		assert_int_equal(fiber_sleep(5), OK);
	fiber_cancel(fiber);
	end_of(&later);
	assert_int_equal(later.rc, ERR_CANCELLED);
	began = clock_mono_ms();
	while (number(later.link, SLEEPERS) > 0) {
		assert_true(clock_mono_ms() - began < 2000);
		assert_int_equal(fiber_sleep(5), OK);
	}
	postgres_close(later.link);
}

static void
sleepers_are_cancelled_each(void **state)
{
	struct postgres *link = link_with("4", "10000");
	struct postgres *other = link_with("1", "10000");
	struct later later[4];
	uint64_t began;

	(void)state;
	for (int i = 0; i < 4; i++) {
		later[i] = (struct later){ .link = link,
			.deadline_ms = deadline_in_ms(400) };
		fiber_start(sleep_in_fiber, &later[i]);
	}
	for (int i = 0; i < 4; i++) {
		end_of(&later[i]);
		assert_int_equal(later[i].rc, ERR_DEADLINE);
	}
	began = clock_mono_ms();
	while (number(other, SLEEPERS) > 0) {
		assert_true(clock_mono_ms() - began < 2000);
		assert_int_equal(fiber_sleep(5), OK);
	}
	assert_true(number(link, BACKEND) > 0);
	postgres_close(link);
	postgres_close(other);
}

/* Nothing answers, the cancel neither; yet everything ends in its time. */
static void
a_frozen_server_holds_nobody(void **state)
{
	struct later later = { .link = link_with("2", "10000") };
	uint64_t began;

	(void)state;
	assert_true(number(later.link, BACKEND) > 0);
	postgres_server_freeze();
	later.deadline_ms = deadline_in_ms(200);
	fiber_start(sleep_in_fiber, &later);
	end_of(&later);
	began = clock_mono_ms();
	postgres_close(later.link);
	postgres_server_thaw();
	assert_int_equal(later.rc, ERR_DEADLINE);
	assert_in_range(later.took_ms, 150, 2000);
	assert_true(clock_mono_ms() - began < 9000);
}

struct hold {
	struct postgres *link;
	int64_t ms;
	bool read_only; /* makes the connection so */
	bool ended;
};

/* Holds a connection between two statements, where no statement limit ends
 * it. */
static enum err_code
hold_it(struct postgres_tx *tx, void *arg)
{
	struct hold *hold = arg;
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch,
	    hold->read_only ? "SET default_transaction_read_only = on"
			    : "SELECT 1",
	    "");
	rc = postgres_tx_run(tx, &batch);
	postgres_clear(&batch);
	return rc == OK ? fiber_sleep((uint64_t)hold->ms) : rc;
}

static void
hold_in_fiber(void *arg)
{
	struct hold *hold = arg;

	postgres_transaction(hold->link, hold_it, hold);
	hold->ended = true;
}

static void
a_busy_pool_is_waited_for_until_the_deadline(void **state)
{
	struct postgres *link = link_with("1", "10000");
	struct hold hold = { .link = link, .ms = 1500 };
	struct later hasty = { .link = link };

	(void)state;
	fiber_start(hold_in_fiber, &hold);
	assert_int_equal(fiber_sleep(50), OK);
	assert_int_equal(
	    metric_value(METRIC_STORE_CONNECTIONS, LABELS("busy")), 1);
	hasty.deadline_ms = deadline_in_ms(50);
	fiber_start(sleep_in_fiber, &hasty);
	end_of(&hasty);
	assert_int_equal(hasty.rc, ERR_DEADLINE);
	assert_in_range(hasty.took_ms, 30, 1000);
	assert_false(hold.ended);
	/* One whose turn comes in time is served. */
	assert_true(number(link, BACKEND) > 0);
	assert_true(hold.ended);
	postgres_close(link);
}

static void
a_pool_that_stays_exhausted_is_overloaded(void **state)
{
	struct postgres *link = link_with("1", "200");
	struct hold hold = { .link = link, .ms = 3000 };
	struct postgres_batch batch = { 0 };
	uint64_t began;

	(void)state;
	fiber_start(hold_in_fiber, &hold);
	assert_int_equal(fiber_sleep(50), OK);
	began = clock_mono_ms();
	postgres_add(&batch, BACKEND, "");
	assert_int_equal(postgres_run(link, &batch), ERR_OVERLOADED);
	assert_in_range(clock_mono_ms() - began, 150, 2000);
	assert_non_null(strstr(err_message(), "busy"));
	while (!hold.ended)
		assert_int_equal(fiber_sleep(5), OK);
	assert_int_equal(postgres_run(link, &batch), OK);
	postgres_clear(&batch);
	postgres_close(link);
}

struct greedy {
	struct postgres *link;
	int calls;
	bool ended;
};

static void
call_without_a_pause(void *arg)
{
	struct greedy *greedy = arg;
	struct postgres_batch batch = { 0 };

	for (; greedy->calls < 300; greedy->calls++) {
		postgres_add(&batch, BACKEND, "");
		postgres_run(greedy->link, &batch);
		postgres_clear(&batch);
	}
	greedy->ended = true;
}

static void
a_busy_caller_does_not_keep_the_others_out(void **state)
{
	struct greedy greedy = { .link = link_with("1", "10000") };

	(void)state;
	fiber_start(call_without_a_pause, &greedy);
	while (greedy.calls == 0)
		assert_int_equal(fiber_sleep(1), OK);
	assert_true(number(greedy.link, BACKEND) > 0);
	assert_true(greedy.calls < 200);
	while (!greedy.ended)
		assert_int_equal(fiber_sleep(1), OK);
	postgres_close(greedy.link);
}

/* ---- transactions ---- */

struct change {
	int runs;
	int first, second; /* rows locked in this order */
	bool locked;       /* the first */
	const struct change *other;
	enum err_code end;
	enum err_code rc;
	struct postgres *link;
	bool ended;
};

static enum err_code
lock_row(struct postgres_tx *tx, int row)
{
	struct postgres_batch batch = { 0 };
	enum err_code rc;

	postgres_add(&batch,
	    "INSERT INTO audit(at, actor, action, subject)"
	    " VALUES($1, 'a', 'b', 'c')",
	    "i", (int64_t)row);
	postgres_add(&batch, "UPDATE api_keys SET revoked_at = 1 WHERE id = $1",
	    "t", row == 1 ? "ky_1" : "ky_2");
	rc = postgres_tx_run(tx, &batch);
	postgres_clear(&batch);
	return rc;
}

static enum err_code
change_both(struct postgres_tx *tx, void *arg)
{
	struct change *change = arg;

	change->runs++;
	TRY(lock_row(tx, change->first));
	change->locked = true;
	while (change->other != NULL && !change->other->locked)
		TRY(fiber_sleep(1));
	TRY(lock_row(tx, change->second));
	return change->end == OK ? OK : err_set(change->end, "on purpose");
}

static void
change_in_fiber(void *arg)
{
	struct change *change = arg;

	change->rc = postgres_transaction(change->link, change_both, change);
	change->ended = true;
}

static void
two_keys(struct postgres *link)
{
	struct postgres_batch batch = { 0 };

	postgres_add(&batch, "TRUNCATE api_keys, audit", "");
	postgres_add(&batch,
	    "INSERT INTO api_keys(id, name, scopes, sha256, created_at)"
	    " VALUES('ky_1', '', '', '1', 0), ('ky_2', '', '', '2', 0)",
	    "");
	assert_int_equal(postgres_run(link, &batch), OK);
	postgres_clear(&batch);
}

static void
a_deadlock_is_tried_again(void **state)
{
	struct postgres *link = link_with("4", "10000");
	struct change a = { .link = link, .first = 1, .second = 2 };
	struct change b = { .link = link, .first = 2, .second = 1 };

	(void)state;
	two_keys(link);
	a.other = &b;
	b.other = &a;
	fiber_start(change_in_fiber, &a);
	fiber_start(change_in_fiber, &b);
	while (!a.ended || !b.ended)
		assert_int_equal(fiber_sleep(5), OK);
	assert_int_equal(a.rc, OK);
	assert_int_equal(b.rc, OK);
	assert_in_range(a.runs + b.runs, 3, 6);
	assert_int_equal(number(link, "SELECT count(*) FROM audit"), 4);
	postgres_close(link);
}

static void
a_transaction_that_fails_leaves_nothing(void **state)
{
	struct postgres *link = link_with("1", "10000");
	struct change change = {
		.link = link, .first = 1, .second = 2, .end = ERR_BLOCKED
	};

	(void)state;
	two_keys(link);
	assert_int_equal(
	    postgres_transaction(link, change_both, &change), ERR_BLOCKED);
	assert_string_equal(err_message(), "on purpose");
	assert_int_equal(change.runs, 1);
	assert_int_equal(number(link, "SELECT count(*) FROM audit"), 0);
	postgres_close(link);
}

static void
a_transaction_that_is_cut_off_keeps_no_lock(void **state)
{
	struct postgres *link = link_with("2", "10000");
	struct change never = { 0 };
	struct change slow = {
		.link = link, .first = 1, .second = 2, .other = &never
	};
	struct change next = { .link = link, .first = 1, .second = 2 };
	struct fiber *fiber;

	(void)state;
	two_keys(link);
	fiber = fiber_start(change_in_fiber, &slow);
	while (!slow.locked)
		assert_int_equal(fiber_sleep(2), OK);
	fiber_cancel(fiber);
	while (!slow.ended)
		assert_int_equal(fiber_sleep(2), OK);
	assert_int_equal(slow.rc, ERR_CANCELLED);
	assert_int_equal(postgres_transaction(link, change_both, &next), OK);
	assert_int_equal(number(link, "SELECT count(*) FROM audit"), 2);
	postgres_close(link);
}

static void
a_statement_that_fails_takes_its_batch_with_it(void **state)
{
	struct postgres *link = link_with("1", "10000");
	struct postgres_batch batch = { 0 };
	int64_t backend = number(link, BACKEND);

	(void)state;
	two_keys(link);
	postgres_add(&batch, "UPDATE api_keys SET revoked_at = 7", "");
	postgres_add(&batch,
	    "INSERT INTO api_keys(id, name, scopes, sha256, created_at)"
	    " VALUES('ky_1', '', '', '3', 0)",
	    "");
	assert_int_equal(postgres_run(link, &batch), ERR_CONFLICT);
	postgres_clear(&batch);
	assert_int_equal(number(link, "SELECT count(*) FROM api_keys"
				      " WHERE revoked_at = 7"),
	    0);
	postgres_add(&batch, "SELECT $1::text", "t", "\xff");
	assert_int_equal(postgres_run(link, &batch), ERR_INVALID);
	postgres_clear(&batch);
	postgres_add(&batch, "SELECT * FROM of_a_later_schema", "");
	assert_int_equal(postgres_run(link, &batch), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "xin migrate"));
	postgres_clear(&batch);
	assert_int_equal(number(link, BACKEND), backend);
	postgres_close(link);
}

/* ---- several replicas ---- */

struct race {
	struct store *stores[2];
	char id[IDENT_SIZE];
	_Atomic int next, alive, arrived, won, lost, wrong;
	_Atomic(char *) ids[40];
};

static void
race_to_claim(void *arg)
{
	struct race *r = arg;
	int n = atomic_fetch_add(&r->next, 1);
	struct source row;
	char owner[16];
	enum err_code rc;

	snprintf(owner, sizeof(owner), "w%d", n);
	rc = store_source_claim(
	    r->stores[n % 2], "acme", r->id, 1, owner, 30000, 5, &row);
	if (rc == OK)
		source_done(&row);
	atomic_fetch_add(rc == OK             ? &r->won
			 : rc == ERR_CONFLICT ? &r->lost
					      : &r->wrong,
	    1);
	atomic_fetch_sub(&r->alive, 1);
}

static void
race_to_answer(void *arg)
{
	struct race *r = arg;
	int n = atomic_fetch_add(&r->next, 1);
	char *answer = NULL;
	enum err_code rc =
	    store_dedup_begin(r->stores[n % 2], r->id, "f", 60000, &answer);

	atomic_fetch_add(rc == OK             ? &r->won
			 : rc == ERR_CONFLICT ? &r->lost
					      : &r->wrong,
	    1);
	mem_free(answer);
	atomic_fetch_sub(&r->alive, 1);
}

static struct source
document(const char *title)
{
	struct source s = { 0 };

	str_copy(s.brand_id, sizeof(s.brand_id), "acme");
	s.title = mem_strdup(title);
	s.content_type = mem_strdup("text/plain");
	str_copy(s.sha256, sizeof(s.sha256), HASH);
	s.object_key = mem_printf("acme/%s", title);
	return s;
}

static void
race_to_upload(void *arg)
{
	struct race *r = arg;
	int n = atomic_fetch_add(&r->next, 1);
	struct source s = document("raced");
	bool existed;

	if (store_source_add(r->stores[n % 2], &s, false, &existed) != OK)
		atomic_fetch_add(&r->wrong, 1);
	else
		atomic_fetch_add(existed ? &r->lost : &r->won, 1);
	atomic_store(&r->ids[n], mem_strdup(s.id));
	source_done(&s);
	atomic_fetch_sub(&r->alive, 1);
}

#define USERS 20

/* Every fiber opens the conversation of every user, all of them one user after
 * the other, so that they meet on connections that are there already. */
static void
race_to_talk(void *arg)
{
	struct race *r = arg;
	int n = atomic_fetch_add(&r->next, 1);

	for (int u = 0; u < USERS; u++) {
		struct conversation c = { 0 };
		char *first = NULL, *mine, user[16];

		atomic_fetch_add(&r->arrived, 1);
		while (atomic_load(&r->arrived) < 40 * (u + 1))
			fiber_sleep(1);
		snprintf(user, sizeof(user), "raced%d", u);
		if (store_conversation_open(r->stores[n % 2], "acme", "webchat",
			user, NULL, 1800000, &c) != OK)
			atomic_fetch_add(&r->wrong, 1);
		mine = mem_strdup(c.id);
		if (atomic_compare_exchange_strong(&r->ids[u], &first, mine))
			mine = NULL;
		else if (!str_eq(first, mine))
			atomic_fetch_add(&r->wrong, 1);
		mem_free(mine);
		conversation_done(&c);
	}
	atomic_fetch_sub(&r->alive, 1);
}

static void
run_race(struct race *r, fiber_fn fn)
{
	r->stores[0] = opened();
	r->stores[1] = opened();
	atomic_store(&r->alive, 40);
	for (unsigned i = 0; i < 40; i++)
		assert_true(loop_spawn(loop_at(i % 2), SERVICE_WORKER, fn, r));
	while (atomic_load(&r->alive) > 0)
		assert_int_equal(fiber_sleep(1), OK);
	store_close(r->stores[0]);
	store_close(r->stores[1]);
	assert_int_equal(r->wrong, 0);
}

static void
assert_one_id(struct race *r)
{
	for (int i = 1; i < 40; i++) {
		assert_string_equal(r->ids[i], r->ids[0]);
		mem_free(r->ids[i]);
	}
	mem_free(r->ids[0]);
}

static void
of_the_workers_of_two_replicas_one_claims(void **state)
{
	struct store *store = opened();
	struct source s = document("claimed");
	struct race r = { 0 };
	bool existed;

	(void)state;
	assert_int_equal(store_source_add(store, &s, true, &existed), OK);
	str_copy(r.id, sizeof(r.id), s.id);
	run_race(&r, race_to_claim);
	assert_int_equal(r.won, 1);
	assert_int_equal(r.lost, 39);
	source_done(&s);
	store_close(store);
}

static void
of_copies_at_two_replicas_one_runs(void **state)
{
	struct race r = { .id = "raced copy" };

	(void)state;
	run_race(&r, race_to_answer);
	assert_int_equal(r.won, 1);
	assert_int_equal(r.lost, 39);
}

static void
the_same_bytes_at_two_replicas_are_one_source(void **state)
{
	struct race r = { 0 };

	(void)state;
	run_race(&r, race_to_upload);
	assert_int_equal(r.won, 1);
	assert_int_equal(r.lost, 39);
	assert_one_id(&r);
}

static void
first_messages_at_two_replicas_are_one_conversation(void **state)
{
	struct race r = { 0 };

	(void)state;
	run_race(&r, race_to_talk);
	for (int u = 0; u < USERS; u++)
		mem_free(r.ids[u]);
}

/* ---- the cost of a turn ---- */

static void
a_turn_takes_four_round_trips(void **state)
{
	struct store *store = opened();
	struct conversation c;
	struct turn_row t = { .brand_id = "acme",
		.channel = "webchat",
		.user_id = "counted",
		.message = "m",
		.reply = "r",
		.outcome = "done",
		.body = "{}",
		.dedup_key = "counted" };
	char *answer;
	json_t *history;
	double before;
	int64_t n;

	(void)state;
	assert_int_equal(store_key_count(store, &n), OK); /* connects */
	before = metric_value(METRIC_STORE_ROUND_TRIPS, METRIC_NO_LABELS);
	assert_int_equal(
	    store_dedup_begin(store, "counted", "f", 1000, &answer), OK);
	assert_int_equal(store_conversation_open(store, "acme", "webchat",
			     "counted", NULL, 1800000, &c),
	    OK);
	assert_int_equal(store_history(store, "acme", c.id, 20, &history), OK);
	ident_new("tn", t.id);
	str_copy(t.conversation_id, sizeof(t.conversation_id), c.id);
	assert_int_equal(store_turn_add(store, &t), OK);
	assert_int_equal(
	    metric_value(METRIC_STORE_ROUND_TRIPS, METRIC_NO_LABELS) - before,
	    4);
	json_decref(history);
	conversation_done(&c);
	store_close(store);
}

/* ---- where it connects ---- */

static void
a_wrong_password_names_the_store_and_no_password(void **state)
{
	char *wrong = mem_printf("postgresql://xin:Wr0ng%s", strchr(url, '@'));
	struct store *store;

	(void)state;
	assert_int_equal(store_open(wrong, NULL, &store), ERR_UNAVAILABLE);
	assert_non_null(strstr(err_message(), "store"));
	assert_non_null(strstr(err_message(), "password authentication"));
	assert_null(strstr(err_message(), "Wr0ng"));
	mem_free(wrong);
}

static void
an_url_that_cannot_be_read_is_not_quoted(void **state)
{
	static const char *const bad[] = {
		"postgresql://u:s3cret@h:port:x/",
		"postgresql://u:s3cret@h:0/",
		"postgresql://u:s3cret@more@h/db",
		"postgresql://u:s3cret/more@h/db",
		"postgresql://u:s3cret@h/db?sslmod=require",
		"postgres:u:s3cret",
		"mysql://u:s3cret@h/",
		"u:s3cret@h/db",
	};
	struct store *store;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(store_open(bad[i], NULL, &store), ERR_CONFIG);
		assert_non_null(strstr(err_message(), "URL"));
		assert_null(strstr(err_message(), "s3c"));
		assert_null(strstr(err_message(), "more"));
	}
}

/* A socket that takes connections and never says a word. */
static int
silent_listener(char *port, size_t size)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	snprintf(port, size, "%d", ntohs(at.sin_port));
	return fd;
}

static void
a_dead_host_costs_its_time_once(void **state)
{
	char silent[8];
	int fd = silent_listener(silent, sizeof(silent));
	const char *port = strstr(url, "port=") + 5;
	char *login = mem_strndup(url, (size_t)(strchr(url, '@') - url));
	char *several = mem_printf("%s@127.0.0.1:%s,localhost:%s/postgres"
				   "?connect_timeout=1",
	    login, silent, port);
	struct store *store;
	uint64_t began;
	int64_t n;

	(void)state;
	assert_int_equal(store_open(several, NULL, &store), OK);
	began = clock_mono_ms();
	assert_int_equal(store_key_count(store, &n), OK);
	assert_in_range(clock_mono_ms() - began, 900, 5000);
	/* Now the good one is known. */
	postgres_server_stop();
	postgres_server_start();
	began = clock_mono_ms();
	while (store_key_count(store, &n) != OK)
		assert_int_equal(fiber_sleep(10), OK);
	assert_true(clock_mono_ms() - began < 900);
	store_close(store);
	close(fd);
	mem_free(several);
	mem_free(login);
}

/* The same database over TCP, with more parameters (mem_free). */
static char *
tcp_url(const char *more)
{
	const char *port = strstr(url, "port=") + 5;

	return mem_printf("%.*s@localhost:%s/postgres%s",
	    (int)(strchr(url, '@') - url), url, port, more);
}

/* The folder of the test's server has its certificate. */
static char *
certificate(void)
{
	const char *folder = strstr(url, "host=") + 5;

	return mem_printf("%.*s/server.crt", (int)strcspn(folder, "&"), folder);
}

static void
tls_is_spoken_as_the_url_says(void **state)
{
	char *path = certificate();
	char *more = mem_printf("?sslmode=verify-full&sslrootcert=%s", path);
	char *trusted = tcp_url(more);
	char *unknown = tcp_url("?sslmode=verify-full&sslrootcert=/dev/null");
	struct store *store;
	struct postgres *link;

	(void)state;
	if (access(path, R_OK) != 0) {
		print_message("no openssl here: TLS is not tested\n");
	} else {
		assert_int_equal(postgres_open(trusted, &link), OK);
		assert_int_equal(number(link, "SELECT ssl::int FROM pg_stat_ssl"
					      " WHERE pid = pg_backend_pid()"),
		    1);
		/* More than one TLS record each way. */
		assert_int_equal(
		    number(link, "SELECT length(string_agg(repeat('x',"
				 " 100000), '')) FROM generate_series(1, 9)"),
		    900000);
		postgres_close(link);
		assert_int_equal(
		    store_open(unknown, NULL, &store), ERR_UNAVAILABLE);
		assert_non_null(strstr(err_message(), "certificate"));
	}
	mem_free(path);
	mem_free(more);
	mem_free(trusted);
	mem_free(unknown);
}

/* docs/runbook.md has this query. */
static void
an_operator_finds_stuck_rows_by_an_index(void **state)
{
	struct postgres *link = link_with("1", "10000");
	struct postgres_batch batch = { 0 };
	bool by_index = false;

	(void)state;
	postgres_add(&batch, "SET LOCAL enable_seqscan = off", "");
	postgres_add(&batch,
	    "EXPLAIN select id, brand_id, status, step, attempts,"
	    " error_message, updated_at from knowledge_sources"
	    " where status in ('pending', 'processing')"
	    " and updated_at < now() - interval '10 minutes'"
	    " order by updated_at limit 20",
	    "");
	assert_int_equal(postgres_run(link, &batch), OK);
	for (int i = 0; i < postgres_rows(&batch, 1); i++)
		by_index |= strstr(postgres_str(postgres_row(&batch, 1, i), 0),
				"knowledge_sources_stuck") != NULL;
	assert_true(by_index);
	postgres_clear(&batch);
	postgres_close(link);
}

static void
set_read_only(struct postgres *link, bool on)
{
	struct postgres_batch batch = { 0 };

	if (on)
		postgres_add(&batch,
		    "ALTER DATABASE postgres SET default_transaction_read_only"
		    " = on",
		    "");
	else
		postgres_add(&batch,
		    "ALTER DATABASE postgres RESET"
		    " default_transaction_read_only",
		    "");
	assert_int_equal(postgres_run(link, &batch), OK);
	postgres_clear(&batch);
}

/* What a server is after another has become the primary. */
static void
a_server_that_takes_no_writes_is_not_the_store(void **state)
{
	struct postgres *writer = link_with("1", "10000");
	struct store *store;
	enum err_code rc;
	char why[ERR_MESSAGE_MAX];

	(void)state;
	assert_true(number(writer, BACKEND) > 0);
	set_read_only(writer, true);
	rc = store_open(url, NULL, &store);
	str_copy(why, sizeof(why), err_message());
	set_read_only(writer, false);
	postgres_close(writer);
	assert_int_equal(rc, ERR_UNAVAILABLE);
	assert_non_null(strstr(why, "read-only"));
}

/* A primary that became a replica under our connections: one call says so, and
 * all of them are left. */
static void
connections_that_turned_read_only_are_left(void **state)
{
	struct postgres *link = link_with("2", "10000");
	struct hold hold = { .link = link, .ms = 100, .read_only = true };
	struct hold second = hold;
	struct postgres_batch batch = { 0 };

	(void)state;
	fiber_start(hold_in_fiber, &hold);
	fiber_start(hold_in_fiber, &second);
	while (!hold.ended || !second.ended)
		assert_int_equal(fiber_sleep(5), OK);
	postgres_add(&batch, "UPDATE health SET at = 1", "");
	assert_int_equal(postgres_run(link, &batch), ERR_UNAVAILABLE);
	assert_int_equal(postgres_run(link, &batch), OK);
	postgres_clear(&batch);
	postgres_close(link);
}

/* Silently gone, as behind a firewall: found by asking before it is used. */
static void
a_connection_idle_for_long_is_asked_first(void **state)
{
	struct postgres *link = link_with("1", "10000");
	double before;
	int64_t backend;

	(void)state;
	clock_fake_start(1760000000000);
	backend = number(link, BACKEND);
	before = metric_value(METRIC_STORE_ROUND_TRIPS, METRIC_NO_LABELS);
	clock_fake_advance(31000);
	assert_int_equal(number(link, BACKEND), backend);
	assert_int_equal(number(link, BACKEND), backend);
	assert_int_equal(
	    metric_value(METRIC_STORE_ROUND_TRIPS, METRIC_NO_LABELS) - before,
	    3);
	clock_fake_stop();
	postgres_close(link);
}

/* ---- migrations: outside fibers, as `xin migrate` ---- */

static int
exit_code(pid_t child)
{
	int status;

	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static void
processes_that_migrate_at_once_do_it_once(void **state)
{
	char *fresh = postgres_server_fresh();
	pid_t child[4];
	int total = 0, applied = -1, version = 0;

	(void)state;
	for (int i = 0; i < 4; i++) {
		child[i] = fork();
		if (child[i] == 0)
			_exit(postgres_migrate(fresh, &applied, &version) == OK
				  ? applied
				  : 100);
	}
	for (int i = 0; i < 4; i++)
		total += exit_code(child[i]);
	assert_int_equal(postgres_migrate(fresh, &applied, &version), OK);
	assert_int_equal(applied, 0);
	assert_int_equal(total, version); /* one file for each version */
	mem_free(fresh);
}

static void
sql(const char *at, const char *text)
{
	char *line = mem_printf("psql -qX '%s' -c \"%s\" >/dev/null", at, text);

	assert_int_equal(system(line), 0);
	mem_free(line);
}

static void
another_schema_says_to_migrate(void **state)
{
	char *fresh = postgres_server_fresh();
	struct store *store;
	int applied, version;

	(void)state;
	assert_int_equal(store_open(fresh, NULL, &store), ERR_CONFLICT);
	assert_non_null(strstr(err_message(), "run `xin migrate`"));
	assert_int_equal(postgres_migrate(fresh, &applied, &version), OK);
	assert_int_equal(store_open(fresh, NULL, &store), OK);
	store_close(store);
	sql(fresh, "insert into schema_migrations values(9, 'x')");
	assert_int_equal(store_open(fresh, NULL, &store), ERR_CONFLICT);
	assert_non_null(strstr(err_message(), "newer version"));
	assert_int_equal(
	    postgres_migrate(fresh, &applied, &version), ERR_CONFLICT);
	mem_free(fresh);
}

/* The replicas of a roll-out that are still to go, and those of a roll-back,
 * whose hook migrates too. */
static void
a_newer_schema_that_lets_old_programs_in_is_served(void **state)
{
	char *fresh = postgres_server_fresh();
	int applied, known, version;
	struct store *store;

	(void)state;
	assert_int_equal(postgres_migrate(fresh, &applied, &known), OK);
	sql(fresh, "insert into schema_migrations(version, name, min_reader)"
		   " values(90, 'x', 1), (91, 'y', 2)");
	assert_int_equal(store_open(fresh, NULL, &store), OK);
	store_close(store);
	assert_int_equal(postgres_migrate(fresh, &applied, &version), OK);
	assert_int_equal(applied, 0);
	assert_int_equal(version, 91);

	/* The strictest of them counts, not the last. */
	sql(fresh, "update schema_migrations set min_reader = 90"
		   " where version = 90");
	assert_int_equal(store_open(fresh, NULL, &store), ERR_CONFLICT);
	assert_non_null(strstr(err_message(), "knows 90 at least"));
	assert_int_equal(
	    postgres_migrate(fresh, &applied, &version), ERR_CONFLICT);
	mem_free(fresh);
}

/* As it was before there was such a column. */
static void
a_schema_without_the_column_is_known_and_gets_it(void **state)
{
	char *fresh = postgres_server_fresh();
	int applied, version;
	struct store *store;

	(void)state;
	assert_int_equal(postgres_migrate(fresh, &applied, &version), OK);
	sql(fresh, "alter table schema_migrations drop column min_reader");
	assert_int_equal(store_open(fresh, NULL, &store), OK);
	store_close(store);
	assert_int_equal(postgres_migrate(fresh, &applied, &version), OK);
	assert_int_equal(applied, 0);
	sql(fresh, "select min_reader from schema_migrations");
	mem_free(fresh);
}

/* A database as the first program left it. */
static void
first_schema(const char *at)
{
	char *line = mem_printf("psql -qX '%s' >/dev/null", at);
	FILE *psql = popen(line, "w");
	int version;

	assert_non_null(psql);
	fputs(embed_migration("schemas/postgres/", 0, &version)->data, psql);
	fputs("create table schema_migrations(version integer primary key,"
	      " name text not null, applied_at timestamptz default now());"
	      "insert into schema_migrations values(1, '0001_init.sql')",
	    psql);
	assert_int_equal(pclose(psql), 0);
	mem_free(line);
}

/* From schema 1, while a long reader holds the table that 2 alters: others who
 * read it meanwhile wait for a part of their limit only. */
static void
a_migration_lets_the_traffic_through(void **state)
{
	char *fresh = postgres_server_fresh();
	char *hold = mem_printf(
	    "psql -qX '%s' -c \"begin; lock table knowledge_sources in access"
	    " share mode; select pg_sleep(6)\" >/dev/null & sleep 0.3",
	    fresh);
	int applied, version;
	pid_t child;

	(void)state;
	first_schema(fresh);
	assert_int_equal(system(hold), 0);
	child = fork();
	if (child == 0)
		_exit(postgres_migrate(fresh, &applied, &version) == OK
			  ? applied
			  : 100);
	for (int i = 0; i < 20; i++)
		sql(fresh, "set statement_timeout = '3500ms';"
			   " select 1 from knowledge_sources");
	assert_in_range(exit_code(child), 1, 99);
	mem_free(hold);
	mem_free(fresh);
}

static int
run_all(void)
{
	const struct CMUnitTest migrations[] = {
		cmocka_unit_test(processes_that_migrate_at_once_do_it_once),
		cmocka_unit_test(another_schema_says_to_migrate),
		cmocka_unit_test(
		    a_newer_schema_that_lets_old_programs_in_is_served),
		cmocka_unit_test(
		    a_schema_without_the_column_is_known_and_gets_it),
		cmocka_unit_test(a_migration_lets_the_traffic_through),
	};
	const struct CMUnitTest store_postgres[] = {
		cmocka_unit_test(
		    a_killed_server_is_said_at_once_and_found_again),
		cmocka_unit_test(
		    a_server_that_was_started_anew_meanwhile_is_not_noticed),
		cmocka_unit_test(
		    a_call_that_the_server_dies_under_ends_at_once),
		cmocka_unit_test(the_tasks_deadline_cancels_on_the_server),
		cmocka_unit_test(the_statement_limit_holds_without_a_deadline),
		cmocka_unit_test(a_cancelled_fiber_leaves_nothing_running),
		cmocka_unit_test(sleepers_are_cancelled_each),
		cmocka_unit_test(a_frozen_server_holds_nobody),
		cmocka_unit_test(a_busy_pool_is_waited_for_until_the_deadline),
		cmocka_unit_test(a_pool_that_stays_exhausted_is_overloaded),
		cmocka_unit_test(a_busy_caller_does_not_keep_the_others_out),
		cmocka_unit_test(a_deadlock_is_tried_again),
		cmocka_unit_test(a_transaction_that_fails_leaves_nothing),
		cmocka_unit_test(a_transaction_that_is_cut_off_keeps_no_lock),
		cmocka_unit_test(
		    a_statement_that_fails_takes_its_batch_with_it),
		cmocka_unit_test(of_the_workers_of_two_replicas_one_claims),
		cmocka_unit_test(of_copies_at_two_replicas_one_runs),
		cmocka_unit_test(the_same_bytes_at_two_replicas_are_one_source),
		cmocka_unit_test(
		    first_messages_at_two_replicas_are_one_conversation),
		cmocka_unit_test(a_turn_takes_four_round_trips),
		cmocka_unit_test(
		    a_wrong_password_names_the_store_and_no_password),
		cmocka_unit_test(an_url_that_cannot_be_read_is_not_quoted),
		cmocka_unit_test(a_dead_host_costs_its_time_once),
		cmocka_unit_test(connections_that_turned_read_only_are_left),
		cmocka_unit_test(a_connection_idle_for_long_is_asked_first),
		cmocka_unit_test(tls_is_spoken_as_the_url_says),
		cmocka_unit_test(an_operator_finds_stuck_rows_by_an_index),
		cmocka_unit_test(
		    a_server_that_takes_no_writes_is_not_the_store),
	};
	int applied, version;
	int failed = cmocka_run_group_tests(migrations, NULL, NULL);

	if (postgres_migrate(url, &applied, &version) != OK)
		panic("%s", err_message());
	return failed + fiber_group(store_postgres, NULL, NULL);
}

int
main(void)
{
	int failed;

	url = postgres_server_url();
	if (url == NULL)
		return 0;
	failed = run_all();
	postgres_server_done();
	return failed;
}
