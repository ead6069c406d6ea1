/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door of every turn: authentication, size, de-duplication, limits, the
 * conversation; then the turn runs on the conversation's loop and the caller
 * waits for it. Turns that run are in one table, so that they can be counted
 * and cancelled.
 */
#include "domain/turn.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"
#include "domain/brand.h"
#include "domain/conversation.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "kv/kv.h"
#include "store/store.h"

#define CONVERSATION_IDLE_MS (30 * 60 * 1000)
#define COPY_POLL_MS         25

/* A turn in flight: lives on its caller's stack, linked while it runs. */
struct running {
	struct running *next;
	char id[IDENT_SIZE];
	char brand[BRAND_ID_SIZE];
	struct loop *loop;
	struct fiber *fiber;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct running *running_turns;
static unsigned running_count;

struct errand {
	struct product *product;
	const struct turn_request *request;
	struct conversation conversation;
	struct turn_sink *sink;
	const char *dedup_key;
	struct running *running;
	const struct task *caller;
	json_t *answer;
	enum err_code rc;
	struct error error;
	struct fiber_done done;
};

unsigned
turn_in_flight(void)
{
	unsigned count;

	pthread_mutex_lock(&lock);
	count = running_count;
	pthread_mutex_unlock(&lock);
	return count;
}

/* Take a place among the turns in flight, or ERR_OVERLOADED. */
static enum err_code
running_enter(struct running *me)
{
	unsigned of_brand = 0;
	enum err_code rc = OK;

	pthread_mutex_lock(&lock);
	for (struct running *r = running_turns; r != NULL; r = r->next)
		of_brand += strcmp(r->brand, me->brand) == 0;
	if (running_count >= (unsigned)config_int(CFG_MAX_TURNS) ||
	    of_brand >= (unsigned)config_int(CFG_MAX_BRAND_TURNS)) {
		rc = ERR_OVERLOADED;
	} else {
		me->next = running_turns;
		running_turns = me;
		running_count++;
	}
	pthread_mutex_unlock(&lock);
	if (rc != OK)
		return err_set(rc, "too many turns are in flight");
	return OK;
}

static void
running_leave(struct running *me)
{
	pthread_mutex_lock(&lock);
	for (struct running **at = &running_turns; *at; at = &(*at)->next) {
		if (*at != me)
			continue;
		*at = me->next;
		running_count--;
		break;
	}
	pthread_mutex_unlock(&lock);
}

/* On the turn's own loop, where its fiber cannot end meanwhile. */
static void
cancel_on_loop(void *arg)
{
	char *id = arg;

	pthread_mutex_lock(&lock);
	for (struct running *r = running_turns; r != NULL; r = r->next)
		if (strcmp(r->id, id) == 0 && r->fiber != NULL)
			fiber_cancel(r->fiber);
	pthread_mutex_unlock(&lock);
	mem_free(id);
}

/* OK when the turn has ended, ERR_NOT_FOUND when there never was one. */
static enum err_code
check_ended(struct product *product, const char *brand, const char *turn_id)
{
	json_t *body = NULL, *capsule = NULL;

	TRY(store_turn_get(product->store, brand, turn_id, &body, &capsule));
	json_decref(body);
	json_decref(capsule);
	return OK;
}

enum err_code
turn_cancel(struct product *product, const char *brand, const char *turn_id)
{
	struct loop *loop = NULL;
	char *id;

	pthread_mutex_lock(&lock);
	for (struct running *r = running_turns; r != NULL; r = r->next)
		if (strcmp(r->id, turn_id) == 0 && strcmp(r->brand, brand) == 0)
			loop = r->loop;
	pthread_mutex_unlock(&lock);
	if (loop == NULL)
		return check_ended(product, brand, turn_id);
	id = mem_strdup(turn_id);
	if (!loop_post(loop, cancel_on_loop, id))
		mem_free(id);
	return OK;
}

/* The turn's fiber, on the conversation's loop. */
static void
errand_run(void *arg)
{
	struct errand *errand = arg;
	struct running *running = errand->running;
	struct task *task = task_self();
	struct span *span;

	task_inherit(task, errand->caller);
	str_copy(task->brand_id, sizeof(task->brand_id), running->brand);
	task->deadline_ms = errand->caller->deadline_ms;
	pthread_mutex_lock(&lock);
	running->fiber = fiber_self();
	pthread_mutex_unlock(&lock);

	span = span_begin(SPAN_INTERNAL, "turn");
	span_add(span, attr_str(ATTR_TURN, running->id),
	    attr_str(ATTR_CHANNEL, errand->request->channel),
	    attr_str(ATTR_AI_CONVERSATION, errand->conversation.id));
	errand->rc =
	    conversation_enter(errand->product->kv, errand->conversation.id, 0);
	if (errand->rc == OK) {
		errand->rc = turn_run(errand->product, errand->request,
		    &errand->conversation, running->id, errand->sink,
		    errand->dedup_key, &errand->answer);
		conversation_leave(
		    errand->product->kv, errand->conversation.id);
	}
	err_save(&errand->error);
	span_end_call(span, errand->rc);

	pthread_mutex_lock(&lock);
	running->fiber = NULL;
	pthread_mutex_unlock(&lock);
	fiber_done_fulfil(&errand->done);
}

static enum err_code
run_on_its_loop(struct errand *errand)
{
	const char *id = errand->conversation.id;

	errand->caller = task_self();
	errand->running->loop = loop_of(id, strlen(id));
	fiber_done_init(&errand->done);
	if (!loop_spawn(errand->running->loop, errand->caller->service,
		errand_run, errand))
		return err_set(ERR_OVERLOADED, "the server is stopping");
	fiber_done_wait(&errand->done);
	if (errand->rc != OK)
		err_restore(&errand->error);
	return errand->rc;
}

static enum err_code
check_request(const struct turn_request *request)
{
	size_t len = strlen(request->message);

	TRY(brand_exists(request->brand));
	if (len == 0)
		return err_set(ERR_INVALID, "the message is empty");
	if (len > (size_t)config_int(CFG_MAX_MESSAGE_BYTES))
		return err_set(ERR_TOO_LARGE, "the message is over %lld bytes",
		    (long long)config_int(CFG_MAX_MESSAGE_BYTES));
	if (strlen(request->user_id) > 256)
		return err_set(ERR_INVALID, "user.id is over 256 bytes");
	return OK;
}

/* Token buckets of the brand and of the user. */
static enum err_code
check_rates(struct product *product, const struct turn_request *request,
    uint64_t *retry_after_ms_out)
{
	int64_t brand_rate = config_int(CFG_BRAND_RATE);
	int64_t user_rate = config_int(CFG_USER_RATE);
	char key[512];
	enum err_code rc;

	snprintf(key, sizeof(key), "turns|%s", request->brand);
	rc = kv_take_token(
	    product->kv, key, brand_rate, brand_rate, retry_after_ms_out);
	if (rc == OK && request->user_id[0] != '\0') {
		snprintf(key, sizeof(key), "turns|%s|%s|%.256s", request->brand,
		    request->channel, request->user_id);
		rc = kv_take_token(
		    product->kv, key, user_rate, user_rate, retry_after_ms_out);
	}
	if (rc == ERR_RATE_LIMITED)
		metric_count(METRIC_RATE_LIMITED, LABELS("turns"), 1);
	return rc;
}

/* "brand|channel|message id", or the idempotency key; false = none. */
static bool
dedup_key(const struct turn_request *request, char *key, size_t size,
    char fingerprint[SHA256_HEX_SIZE])
{
	const char *id = request->message_id;
	struct buf body;

	if (id == NULL && request->idempotency_key == NULL)
		return false;
	if (id != NULL)
		snprintf(key, size, "turn|%s|%s|%.256s", request->brand,
		    request->channel, id);
	else
		snprintf(key, size, "idem|turn|%s|%.256s", request->brand,
		    request->idempotency_key);
	buf_init(&body, 0);
	if (id == NULL) /* a channel's message id alone says "the same" */
		buf_addf(&body, "%s|%s|%s", request->user_id,
		    request->conversation_id ? request->conversation_id : "",
		    request->message);
	crypto_sha256_hex(buf_str(&body), body.len, fingerprint);
	buf_done(&body);
	return true;
}

/* Ours to run (*answer_out NULL), or the first one's answer; a copy that comes
 * while the first runs waits for it here. */
static enum err_code
dedup_wait(struct product *product, const char *key, const char *fingerprint,
    json_t **answer_out)
{
	int64_t lease_ms = config_int(CFG_TURN_MS) + 5000;
	uint64_t pause = COPY_POLL_MS;
	char *text = NULL;
	enum err_code rc;

	for (;;) {
		rc = store_dedup_begin(
		    product->store, key, fingerprint, lease_ms, &text);
		if (rc != ERR_CONFLICT)
			break;
		TRY(fiber_sleep(pause));
		if (deadline_left_ms(task_self()->deadline_ms) == 0)
			return err_set(ERR_DEADLINE,
			    "the first copy of this message still runs");
		pause = pause < 400 ? pause * 2 : pause;
	}
	if (rc != OK || text == NULL)
		return rc;
	rc = json_parse(text, strlen(text), answer_out);
	mem_free(text);
	return rc;
}

static enum err_code
accept_new(struct product *product, const struct turn_request *request,
    struct turn_sink *sink, const char *key, json_t **answer_out,
    uint64_t *retry_after_ms_out)
{
	struct running running = { 0 };
	struct errand errand = {
		.product = product,
		.request = request,
		.sink = sink,
		.dedup_key = key,
		.running = &running,
	};
	enum err_code rc;

	TRY(check_rates(product, request, retry_after_ms_out));
	ident_new("tn", running.id);
	str_copy(running.brand, sizeof(running.brand), request->brand);
	TRY(running_enter(&running));
	rc = store_conversation_open(product->store, request->brand,
	    request->channel, request->user_id, request->conversation_id,
	    CONVERSATION_IDLE_MS, &errand.conversation);
	if (rc == OK) {
		rc = run_on_its_loop(&errand);
		conversation_done(&errand.conversation);
	}
	running_leave(&running);
	if (rc == OK)
		*answer_out = errand.answer;
	else if (rc == ERR_OVERLOADED)
		*retry_after_ms_out = 1000;
	return rc;
}

static enum err_code
accept(struct product *product, const struct principal *who,
    const struct turn_request *request, struct turn_sink *sink,
    json_t **answer_out, bool *duplicate_out, uint64_t *retry_after_ms_out)
{
	uint64_t began_us = clock_mono_us();
	char key[640], fingerprint[SHA256_HEX_SIZE];
	json_t *first = NULL;
	struct error why;
	enum err_code rc;
	bool keyed;

	*duplicate_out = false;
	*retry_after_ms_out = 0;
	TRY(auth_allow(who, AUTH_TURNS, request->brand));
	TRY(check_request(request));
	str_copy(task_self()->brand_id, BRAND_ID_SIZE, request->brand);

	keyed = dedup_key(request, key, sizeof(key), fingerprint);
	if (keyed)
		TRY(dedup_wait(product, key, fingerprint, &first));
	if (first != NULL) {
		span_add(span_current(), attr_str(ATTR_OUTCOME, "duplicate"));
		metric_count(METRIC_DUPLICATES, LABELS(request->channel), 1);
		metric_count(
		    METRIC_TURNS, LABELS(request->brand, "duplicate"), 1);
		*answer_out = first;
		*duplicate_out = true;
		return OK;
	}
	rc = accept_new(product, request, sink, keyed ? key : NULL, answer_out,
	    retry_after_ms_out);
	if (rc != OK && keyed) {
		err_save(&why);
		fiber_shield();
		store_dedup_drop(product->store, key);
		fiber_unshield();
		err_restore(&why);
	}
	metric_observe_us(METRIC_TURN_LATENCY, LABELS(request->brand),
	    clock_mono_us() - began_us);
	log_info("turn.done", kv_str("outcome", rc == OK ? "ok" : err_name(rc)),
	    kv_str("channel", request->channel),
	    kv_int("message_bytes", (int64_t)strlen(request->message)),
	    kv_real("duration_ms", (double)(clock_mono_us() - began_us) / 1000),
	    kv_str("turn_id", rc == OK ? json_str(*answer_out, "id") : NULL));
	return rc;
}

/* Whoever calls, from here on it is the orchestrator's work: its log lines,
 * its metrics. */
enum err_code
turn_accept(struct product *product, const struct principal *who,
    const struct turn_request *request, struct turn_sink *sink,
    json_t **answer_out, bool *duplicate_out, uint64_t *retry_after_ms_out)
{
	enum service caller = task_self()->service;
	enum err_code rc;

	task_self()->service = SERVICE_ORCHESTRATOR;
	rc = accept(product, who, request, sink, answer_out, duplicate_out,
	    retry_after_ms_out);
	task_self()->service = caller;
	return rc;
}
