/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of one conversation run one after the other, in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "domain/conversation.h"
#include "fiber/fiber.h"
#include "fiber_group.h"
#include "kv/kv.h"

#define ID "cv_01"

static struct kv *kv;
static char order[64];
static int inside, most_inside, ended;

static void
visitor(void *arg)
{
	char name[2] = { (char)('a' + (intptr_t)arg), '\0' };

	if (conversation_enter(kv, ID, 0) == OK) {
		inside++;
		if (inside > most_inside)
			most_inside = inside;
		strcat(order, name);
		fiber_sleep(2);
		inside--;
		conversation_leave(kv, ID);
	}
	ended++;
}

static void
visitors_come_one_at_a_time_and_in_order(void **state)
{
	(void)state;
	order[0] = '\0';
	inside = most_inside = ended = 0;
	for (intptr_t i = 0; i < 8; i++)
		fiber_start(visitor, (void *)i);
	while (ended < 8)
		fiber_sleep(1);
	assert_string_equal(order, "abcdefgh");
	assert_int_equal(most_inside, 1);
}

static void
a_visitor_that_gives_up_does_not_block_the_next(void **state)
{
	(void)state;
	order[0] = '\0';
	inside = ended = 0;
	assert_int_equal(conversation_enter(kv, ID, 0), OK);
	fiber_start(visitor, (void *)0);
	struct fiber *impatient = fiber_start(visitor, (void *)1);
	fiber_start(visitor, (void *)2);
	fiber_sleep(1);
	fiber_cancel(impatient);
	fiber_sleep(1);
	conversation_leave(kv, ID);
	while (ended < 3)
		fiber_sleep(1);
	assert_string_equal(order, "ac");
}

static void
too_many_waiting_is_overload(void **state)
{
	enum err_code rc;

	(void)state;
	ended = 0;
	order[0] = '\0';
	assert_int_equal(conversation_enter(kv, ID, 0), OK);
	for (int i = 0; i < 32; i++)
		fiber_start(visitor, (void *)0);
	fiber_sleep(1);
	rc = conversation_enter(kv, ID, 0);
	conversation_leave(kv, ID);
	while (ended < 32)
		fiber_sleep(1);
	assert_int_equal(rc, ERR_OVERLOADED);
}

static void
a_deadline_ends_the_wait(void **state)
{
	(void)state;
	assert_int_equal(conversation_enter(kv, ID, 0), OK);
	assert_int_equal(
	    conversation_enter(kv, ID, deadline_in_ms(5)), ERR_DEADLINE);
	conversation_leave(kv, ID);
	assert_int_equal(conversation_enter(kv, ID, deadline_in_ms(5)), OK);
	conversation_leave(kv, ID);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(visitors_come_one_at_a_time_and_in_order),
		cmocka_unit_test(
		    a_visitor_that_gives_up_does_not_block_the_next),
		cmocka_unit_test(too_many_waiting_is_overload),
		cmocka_unit_test(a_deadline_ends_the_wait),
	};
	int failed;

	must(kv_open("", &kv) == OK);
	failed = fiber_group(tests, NULL, NULL);
	kv_close(kv);
	return failed;
}
