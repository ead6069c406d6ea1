/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of the store, over every back end: conversations, turns,
 * de-duplication, erasure and the audit.
 */
#include "store_fixture.h"

#include <stdio.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

/* ---- conversations and turns ---- */

static struct conversation
opened(struct store *store, const char *user)
{
	struct conversation c;

	assert_int_equal(store_conversation_open(
			     store, "acme", "webchat", user, NULL, 1800000, &c),
	    OK);
	return c;
}

static void
say(struct store *store, const struct conversation *c, const char *message,
    const char *reply, const char *dedup)
{
	struct turn_row t = { .channel = "webchat",
		.user_id = "u1",
		.message = message,
		.reply = reply,
		.outcome = "done",
		.body = "{\"reply\":\"hi\",\"citations\":[{\"title\":\"T\"}]}",
		.capsule = "{\"steps\":[]}",
		.generation = "g1",
		.started_at = (int64_t)clock_wall_ms(),
		.ended_at = (int64_t)clock_wall_ms(),
		.dedup_key = dedup };

	ident_new("tn", t.id);
	str_copy(t.brand_id, sizeof(t.brand_id), "acme");
	str_copy(t.conversation_id, sizeof(t.conversation_id), c->id);
	assert_int_equal(store_turn_add(store, &t), OK);
}

static void
an_open_conversation_goes_on_until_it_is_idle(void **state)
{
	struct store *store = store_of(state);
	struct conversation a = opened(store, "u1"), b, c, d;

	assert_true(ident_valid(a.id, "cv"));
	assert_string_equal(a.status, "open");
	assert_string_equal(a.slots, "{}");
	clock_fake_advance(1799999);
	say(store, &a, "hello", "hi", NULL);
	clock_fake_advance(1799999);
	b = opened(store, "u1");
	assert_string_equal(b.id, a.id);
	assert_int_equal(b.messages, 2);
	clock_fake_advance(2);
	c = opened(store, "u1");
	assert_string_not_equal(c.id, a.id);
	d = opened(store, "u2");
	assert_string_not_equal(d.id, c.id);
	conversation_done(&a);
	conversation_done(&b);
	conversation_done(&c);
	conversation_done(&d);
}

static void
a_closed_conversation_is_followed_by_a_new_one(void **state)
{
	struct store *store = store_of(state);
	struct conversation a = opened(store, "u1"), b, c;

	assert_int_equal(
	    store_conversation_status(store, "acme", a.id, "handoff"), OK);
	b = opened(store, "u1");
	assert_string_equal(b.id, a.id);
	assert_string_equal(b.status, "handoff");
	assert_int_equal(
	    store_conversation_status(store, "acme", a.id, "closed"), OK);
	c = opened(store, "u1");
	assert_string_not_equal(c.id, a.id);
	assert_int_equal(
	    store_conversation_status(store, "acme", a.id, "odd"), ERR_INVALID);
	assert_int_equal(
	    store_conversation_status(store, "acme", "cv_none", "open"),
	    ERR_NOT_FOUND);
	conversation_done(&a);
	conversation_done(&b);
	conversation_done(&c);
}

static void
a_conversation_is_its_users_and_its_brands(void **state)
{
	struct store *store = store_of(state);
	struct conversation a = opened(store, "u1"), b;
	json_t *items;
	char *next;

	assert_int_equal(store_conversation_open(
			     store, "acme", "webchat", "u1", a.id, 1, &b),
	    OK);
	conversation_done(&b);
	assert_int_equal(store_conversation_open(
			     store, "acme", "webchat", "u2", a.id, 1, &b),
	    ERR_NOT_FOUND);
	assert_int_equal(store_conversation_open(
			     store, "other", "webchat", "u1", a.id, 1, &b),
	    ERR_NOT_FOUND);
	assert_int_equal(
	    store_conversation_get(store, "other", a.id, &b), ERR_NOT_FOUND);
	assert_int_equal(
	    store_messages(store, "other", a.id, NULL, 10, &items, &next),
	    ERR_NOT_FOUND);
	assert_int_equal(
	    store_history(store, "other", a.id, 10, &items), ERR_NOT_FOUND);
	assert_int_equal(store_conversation_slots(store, "other", a.id, "{}"),
	    ERR_NOT_FOUND);
	conversation_done(&a);
}

static void
slots_are_kept(void **state)
{
	struct store *store = store_of(state);
	struct conversation a = opened(store, "u1"), b;

	assert_int_equal(store_conversation_slots(
			     store, "acme", a.id, "{\"name\":\"Sara\"}"),
	    OK);
	assert_int_equal(
	    store_conversation_slots(store, "acme", a.id, "[]"), ERR_INVALID);
	assert_int_equal(store_conversation_get(store, "acme", a.id, &b), OK);
	assert_string_equal(b.slots, "{\"name\":\"Sara\"}");
	conversation_done(&a);
	conversation_done(&b);
}

static void
messages_come_in_order_with_their_citations(void **state)
{
	struct store *store = store_of(state);
	struct conversation c = opened(store, "u1");
	json_t *items;
	char *next = NULL, *after;

	say(store, &c, "one", "two", NULL);
	say(store, &c, "three", "", NULL); /* no reply, no message */
	say(store, &c, "four", "five", NULL);
	assert_int_equal(
	    store_messages(store, "acme", c.id, NULL, 3, &items, &next), OK);
	assert_int_equal(json_array_size(items), 3);
	assert_string_equal(json_str(json_array_get(items, 0), "text"), "one");
	assert_string_equal(json_str(json_array_get(items, 0), "role"), "user");
	assert_string_equal(json_str(json_array_get(items, 1), "text"), "two");
	assert_string_equal(
	    json_str(json_array_get(items, 1), "role"), "assistant");
	assert_int_equal(json_array_size(json_object_get(
			     json_array_get(items, 1), "citations")),
	    1);
	assert_string_equal(
	    json_str(json_array_get(items, 2), "text"), "three");
	assert_non_null(next);
	json_decref(items);
	assert_int_equal(
	    store_messages(store, "acme", c.id, next, 3, &items, &after), OK);
	assert_int_equal(json_array_size(items), 2);
	assert_null(after);
	json_decref(items);
	mem_free(next);

	assert_int_equal(store_history(store, "acme", c.id, 3, &items), OK);
	assert_int_equal(json_array_size(items), 3);
	assert_string_equal(
	    json_str(json_array_get(items, 0), "text"), "three");
	assert_string_equal(json_str(json_array_get(items, 2), "text"), "five");
	json_decref(items);
	conversation_done(&c);
}

static void
conversations_are_listed_by_user(void **state)
{
	struct store *store = store_of(state);
	struct conversation a = opened(store, "u1"), b = opened(store, "u2");
	json_t *items;
	char *next;

	assert_int_equal(store_conversation_list(
			     store, "acme", NULL, NULL, 1, &items, &next),
	    OK);
	assert_int_equal(json_array_size(items), 1);
	assert_non_null(next);
	mem_free(next);
	json_decref(items);
	assert_int_equal(store_conversation_list(
			     store, "acme", "u2", NULL, 9, &items, &next),
	    OK);
	assert_int_equal(json_array_size(items), 1);
	assert_string_equal(json_str(json_array_get(items, 0), "id"), b.id);
	assert_null(next);
	json_decref(items);
	conversation_done(&a);
	conversation_done(&b);
}

static void
a_turn_needs_its_conversation_and_comes_once(void **state)
{
	struct store *store = store_of(state);
	struct conversation c = opened(store, "u1");
	struct turn_row t = { .id = "tn_1",
		.brand_id = "acme",
		.conversation_id = "cv_none",
		.channel = "webchat",
		.user_id = "u1",
		.message = "m",
		.reply = "r",
		.outcome = "done",
		.body = "{\"n\":1}",
		.dedup_key = "k" };
	json_t *body, *capsule;
	char *answer;

	assert_int_equal(store_turn_add(store, &t), ERR_NOT_FOUND);
	/* Nothing of a refused turn remains. */
	assert_int_equal(store_dedup_begin(store, "k", "f", 1000, &answer), OK);
	assert_null(answer);
	str_copy(t.conversation_id, sizeof(t.conversation_id), c.id);
	assert_int_equal(store_turn_add(store, &t), OK);
	assert_int_equal(store_turn_add(store, &t), ERR_CONFLICT);
	assert_int_equal(
	    store_turn_get(store, "acme", "tn_1", &body, &capsule), OK);
	assert_int_equal(json_int(body, "n", 0), 1);
	assert_int_equal(json_object_size(capsule), 0);
	json_decref(body);
	json_decref(capsule);
	assert_int_equal(
	    store_turn_get(store, "other", "tn_1", &body, NULL), ERR_NOT_FOUND);
	assert_int_equal(
	    store_turn_feedback(store, "acme", "tn_1", "up", NULL), OK);
	assert_int_equal(
	    store_turn_feedback(store, "acme", "tn_1", "sideways", NULL),
	    ERR_INVALID);
	assert_int_equal(store_turn_feedback(store, "other", "tn_1", "up", ""),
	    ERR_NOT_FOUND);
	conversation_done(&c);
}

/* ---- de-duplication ---- */

static void
a_duplicate_gets_the_first_answer(void **state)
{
	struct store *store = store_of(state);
	struct conversation c = opened(store, "u1");
	char *answer = NULL;

	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), OK);
	assert_null(answer);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), ERR_CONFLICT);
	assert_int_equal(store_dedup_begin(store, "k1", "g", 1000, &answer),
	    ERR_IDEMPOTENCY);
	say(store, &c, "hello", "hi", "k1");
	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), OK);
	assert_non_null(strstr(answer, "\"reply\":\"hi\""));
	mem_free(answer);
	/* A later finish does not replace it. */
	assert_int_equal(store_dedup_finish(store, "k1", "late"), OK);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), OK);
	assert_string_not_equal(answer, "late");
	mem_free(answer);
	assert_int_equal(store_dedup_begin(store, "k1", "g", 1000, &answer),
	    ERR_IDEMPOTENCY);
	conversation_done(&c);
}

static void
a_claim_whose_owner_died_is_taken_over(void **state)
{
	struct store *store = store_of(state);
	char *answer = NULL;

	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), OK);
	clock_fake_advance(1000);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), OK);
	assert_null(answer);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "f", 1000, &answer), ERR_CONFLICT);
	assert_int_equal(store_dedup_drop(store, "k1"), OK);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "other", 1000, &answer), OK);
	assert_null(answer);
}

static void
an_answer_is_forgotten_after_a_day(void **state)
{
	struct store *store = store_of(state);
	char *answer = NULL;

	assert_int_equal(store_dedup_finish(store, "k1", "first"), OK);
	clock_fake_advance(24 * 3600 * 1000 - 1);
	assert_int_equal(store_sweep(store), OK);
	assert_int_equal(store_dedup_begin(store, "k1", "", 1000, &answer), OK);
	assert_string_equal(answer, "first");
	mem_free(answer);
	clock_fake_advance(1);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "new", 1000, &answer), OK);
	assert_null(answer);
	assert_int_equal(store_sweep(store), OK);
	assert_int_equal(
	    store_dedup_begin(store, "k1", "new", 1000, &answer), ERR_CONFLICT);
}

/* ---- erasure and retention ---- */

/* A turn whose stored answer names its conversation, as real ones do. */
static void
say_fully(struct store *store, const struct conversation *c, const char *key)
{
	char body[160];
	struct turn_row t = { .brand_id = "acme",
		.channel = "webchat",
		.user_id = c->user_id,
		.message = "my number is 555",
		.reply = "noted",
		.outcome = "done",
		.body = body,
		.dedup_key = key };

	ident_new("tn", t.id);
	str_copy(t.conversation_id, sizeof(t.conversation_id), c->id);
	snprintf(body, sizeof(body), "{\"conversation_id\":\"%s\"}", c->id);
	assert_int_equal(store_turn_add(store, &t), OK);
}

static bool
is_claimable(struct store *store, const char *key)
{
	char *answer = NULL;

	assert_int_equal(store_dedup_begin(store, key, "", 1, &answer), OK);
	mem_free(answer);
	return answer == NULL;
}

static void
an_erased_user_leaves_nothing_behind(void **state)
{
	struct store *store = store_of(state);
	struct conversation mine = opened(store, "u1"), kept;
	struct store_erasure e = { .brand = "other", .user_id = "u1" };
	json_t *items;
	char *next;
	int64_t n;

	say_fully(store, &mine, "turn|acme|webchat|1");
	say_fully(store, &mine, "idem|turn|acme|1");
	kept = opened(store, "u2");
	say_fully(store, &kept, "turn|acme|webchat|2");
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 0); /* another brand's user of that name */
	e.brand = "acme";
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 1);
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 0);
	assert_int_equal(
	    store_messages(store, "acme", mine.id, NULL, 9, &items, &next),
	    ERR_NOT_FOUND);
	assert_true(is_claimable(store, "turn|acme|webchat|1"));
	assert_true(is_claimable(store, "idem|turn|acme|1"));
	assert_false(is_claimable(store, "turn|acme|webchat|2"));
	assert_int_equal(
	    store_messages(store, "acme", kept.id, NULL, 9, &items, &next), OK);
	assert_int_equal(json_array_size(items), 2);
	json_decref(items);
	conversation_done(&mine);
	conversation_done(&kept);
}

/* Turns wait for the writer meanwhile: the answers of others are looked through
 * once, not once for each conversation. */
static void
erasing_takes_one_look_at_the_answers_of_others(void **state)
{
	struct store *store = store_of(state);
	struct store_erasure e = { .brand = "acme", .user_id = "u1" };
	struct conversation c = { 0 };
	struct timespec began, ended;
	struct buf answer;
	char key[64];
	int64_t n;

	for (int i = 0; i < STORE_ERASE_MAX; i++) {
		c = opened(store, "u1");
		if (i < STORE_ERASE_MAX - 1)
			conversation_done(&c);
		clock_fake_advance(31 * 60 * 1000);
	}
	buf_init(&answer, 0);
	buf_addf(&answer, "{\"reply\":\"%s%30000s\"}", c.id, "");
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "turn|acme|webchat|o%d", i);
		assert_int_equal(
		    store_dedup_finish(store, key, buf_str(&answer)), OK);
	}
	say_fully(store, &c, "turn|acme|webchat|1");
	clock_gettime(CLOCK_MONOTONIC, &began);
	assert_int_equal(store_erase(store, &e, &n), OK);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_int_equal(n, STORE_ERASE_MAX);
	assert_in_range(ended.tv_sec - began.tv_sec, 0, 2);
	assert_true(is_claimable(store, "turn|acme|webchat|1"));
	/* To speak of a conversation is not to be of it. */
	assert_false(is_claimable(store, "turn|acme|webchat|o1"));
	buf_done(&answer);
	conversation_done(&c);
}

static void
one_conversation_is_erased_with_its_turns(void **state)
{
	struct store *store = store_of(state);
	struct conversation c = opened(store, "u1");
	struct store_erasure e = { .brand = "other", .conversation_id = c.id };
	json_t *body;
	int64_t n;
	struct turn_row t = { .id = "tn_gone",
		.brand_id = "acme",
		.channel = "webchat",
		.user_id = "u1",
		.message = "m",
		.outcome = "done",
		.body = "{}" };

	str_copy(t.conversation_id, sizeof(t.conversation_id), c.id);
	assert_int_equal(store_turn_add(store, &t), OK);
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 0);
	e.brand = "acme";
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 1);
	assert_int_equal(store_turn_get(store, "acme", "tn_gone", &body, NULL),
	    ERR_NOT_FOUND);
	/* A turn that was running in it stores nothing. */
	str_copy(t.id, sizeof(t.id), "tn_late");
	assert_int_equal(store_turn_add(store, &t), ERR_NOT_FOUND);
	e = (struct store_erasure){ .brand = "acme" };
	assert_int_equal(store_erase(store, &e, &n), ERR_INVALID);
	conversation_done(&c);
}

static void
old_conversations_are_erased_some_at_a_time(void **state)
{
	struct store *store = store_of(state);
	struct store_erasure e = { 0 };
	char user[16];
	json_t *items;
	char *next;
	int64_t n;

	for (int i = 0; i < STORE_ERASE_MAX + 1; i++) {
		struct conversation c;

		snprintf(user, sizeof(user), "u%d", i);
		c = opened(store, user);
		conversation_done(&c);
	}
	clock_fake_advance(1000);
	e.before = (int64_t)clock_wall_ms();
	clock_fake_advance(1000);
	{
		struct conversation fresh = opened(store, "fresh");

		conversation_done(&fresh);
	}
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, STORE_ERASE_MAX);
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 1);
	assert_int_equal(store_erase(store, &e, &n), OK);
	assert_int_equal(n, 0);
	assert_int_equal(store_conversation_list(
			     store, "acme", NULL, NULL, 9, &items, &next),
	    OK);
	assert_int_equal(json_array_size(items), 1);
	json_decref(items);
}

static void
the_audit_is_read_newest_first_and_forgotten_by_age(void **state)
{
	struct store *store = store_of(state);
	json_t *items;
	char *next, *end;

	assert_int_equal(store_audit(store, "ky_1", "key.add", "a", "x"), OK);
	assert_int_equal(store_audit(store, "ky_1", "key.add", "b", ""), OK);
	clock_fake_advance(1000);
	assert_int_equal(store_audit(store, "ky_2", "key.revoke", "a", ""), OK);
	assert_int_equal(store_audit_list(store, NULL, 2, &items, &next), OK);
	assert_int_equal(json_array_size(items), 2);
	assert_string_equal(
	    json_str(json_array_get(items, 0), "action"), "key.revoke");
	json_decref(items);
	assert_int_equal(store_audit_list(store, next, 2, &items, &end), OK);
	assert_int_equal(json_array_size(items), 1);
	assert_string_equal(json_str(json_array_get(items, 0), "detail"), "x");
	assert_null(end);
	json_decref(items);
	mem_free(next);
	assert_int_equal(
	    store_audit_forget(store, (int64_t)clock_wall_ms()), OK);
	assert_int_equal(store_audit_list(store, NULL, 9, &items, &end), OK);
	assert_int_equal(json_array_size(items), 1);
	json_decref(items);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(an_open_conversation_goes_on_until_it_is_idle),
		STORE_TEST(a_closed_conversation_is_followed_by_a_new_one),
		STORE_TEST(a_conversation_is_its_users_and_its_brands),
		STORE_TEST(slots_are_kept),
		STORE_TEST(messages_come_in_order_with_their_citations),
		STORE_TEST(conversations_are_listed_by_user),
		STORE_TEST(a_turn_needs_its_conversation_and_comes_once),
		STORE_TEST(a_duplicate_gets_the_first_answer),
		STORE_TEST(a_claim_whose_owner_died_is_taken_over),
		STORE_TEST(an_answer_is_forgotten_after_a_day),
		STORE_TEST(an_erased_user_leaves_nothing_behind),
		STORE_TEST(erasing_takes_one_look_at_the_answers_of_others),
		STORE_TEST(one_conversation_is_erased_with_its_turns),
		STORE_TEST(old_conversations_are_erased_some_at_a_time),
		STORE_TEST(the_audit_is_read_newest_first_and_forgotten_by_age),
	};

	return store_fixture_run(
	    "store_talk_contract", tests, sizeof(tests) / sizeof(tests[0]));
}
