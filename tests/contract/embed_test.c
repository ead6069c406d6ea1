/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of embeddings over an OpenAI-compatible service. */
#include "fiber_group.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "model/embed.h"
#include "model_peer.h"

#define DIMENSIONS 64

static bool have_server;

#define NEEDS_SERVER()                                                         \
	do {                                                                   \
		(void)state;                                                   \
		if (!have_server) {                                            \
			print_message("skipped: python3 cannot be had\n");     \
			skip();                                                \
		}                                                              \
	} while (0)

static int
set_up(void **state)
{
	(void)state;
	have_server = model_peer_start(DIMENSIONS);
	log_setup(
	    open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_WARN, false);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	if (have_server)
		model_peer_stop();
	return 0;
}

static int
begin(void **state)
{
	(void)state;
	if (!have_server)
		return 0;
	config_override(CFG_EMBEDDINGS_KEY, "sk-test");
	config_override(CFG_EMBEDDINGS_NAME, "test-embeddings");
	config_override(CFG_EMBEDDINGS_DIMENSIONS, "0");
	config_override(CFG_EMBEDDINGS_CACHE, "1000000");
	config_override(CFG_MODEL_MS, "8000");
	model_peer_forget();
	return 0;
}

/* Opened, and the probe forgotten; then these faults. */
static struct embedder *
open_with(const char *faults)
{
	struct embedder *e;
	char script[256];

	if (embed_open(model_peer_url(), &e) != OK)
		fail_msg("open: %s", err_message());
	model_peer_forget();
	snprintf(script, sizeof(script), "{\"faults\": [%s]}", faults);
	model_peer_script(script);
	return e;
}

static double
dot(const float *a, const float *b)
{
	double sum = 0;

	for (size_t i = 0; i < DIMENSIONS; i++)
		sum += (double)a[i] * b[i];
	return sum;
}

static const char *const texts[] = { "returns of lamps within thirty days",
	"lamps and their returns", "the football championship" };
static const size_t lens[] = { 35, 23, 25 };

static enum err_code
embed(struct embedder *e, float out[3][DIMENSIONS])
{
	return embed_texts(e, texts, lens, 3, 0, out[0]);
}

static void
expect_vectors(const char *faults)
{
	struct embedder *e = open_with(faults);
	float v[3][DIMENSIONS];

	if (embed(e, v) != OK)
		fail_msg("%s: %s", faults, err_message());
	for (int i = 0; i < 3; i++)
		assert_true(fabs(dot(v[i], v[i]) - 1) < 1e-5);
	assert_true(dot(v[0], v[1]) > 0.4);
	assert_true(dot(v[0], v[2]) < dot(v[0], v[1]));
	embed_close(e);
}

static void
like_texts_are_near_whatever_form_their_vectors_come_in(void **state)
{
	NEEDS_SERVER();
	expect_vectors("");
	expect_vectors("\"floats\"");
	expect_vectors("\"unnormalised\"");
	expect_vectors("\"shuffled\"");
	expect_vectors("\"status:500\", \"reset\"");
}

static void
expect_failure(const char *faults, enum err_code code, const char *says)
{
	struct embedder *e = open_with(faults);
	float v[3][DIMENSIONS];

	assert_int_equal(embed(e, v), code);
	if (strstr(err_message(), says) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err_message(), says);
	embed_close(e);
}

static void
broken_vectors_are_refused(void **state)
{
	NEEDS_SERVER();
	expect_failure("\"dimensions:32\"", ERR_UPSTREAM, "32 numbers, 64");
	expect_failure("\"zero\"", ERR_UPSTREAM, "without a direction");
	expect_failure("\"nan\"", ERR_UPSTREAM, "without a direction");
	expect_failure("\"nan:floats\"", ERR_UPSTREAM, "no JSON");
	expect_failure("\"missing\"", ERR_UPSTREAM, "each text");
	expect_failure("\"badjson\"", ERR_UPSTREAM, "no JSON");
	expect_failure("\"status:400\"", ERR_UPSTREAM, "answered 400");
}

static void
texts_seen_before_are_not_asked_again(void **state)
{
	struct embedder *e;
	float v[3][DIMENSIONS], again[3][DIMENSIONS];
	double cached;

	NEEDS_SERVER();
	e = open_with("");
	cached = metric_value(METRIC_EMBEDDINGS, LABELS("cached"));
	assert_int_equal(embed(e, v), OK);
	assert_int_equal(embed(e, again), OK);
	assert_memory_equal(v, again, sizeof(v));
	assert_int_equal(model_peer_calls(), 1);
	assert_true(
	    metric_value(METRIC_EMBEDDINGS, LABELS("cached")) == cached + 3);
	embed_close(e);
}

static void
the_cache_forgets_what_was_not_used_for_longest(void **state)
{
	struct embedder *e;
	float v[DIMENSIONS];

	NEEDS_SERVER();
	/* Room for two entries of about 330 bytes. */
	config_override(CFG_EMBEDDINGS_CACHE, "700");
	e = open_with("");
	for (int i = 0; i < 2; i++)
		assert_int_equal(
		    embed_texts(e, &texts[i], &lens[i], 1, 0, v), OK);
	assert_int_equal(embed_texts(e, &texts[0], &lens[0], 1, 0, v), OK);
	assert_int_equal(model_peer_calls(), 2);
	assert_int_equal(embed_texts(e, &texts[2], &lens[2], 1, 0, v), OK);
	assert_int_equal(embed_texts(e, &texts[0], &lens[0], 1, 0, v), OK);
	assert_int_equal(model_peer_calls(), 3);
	assert_int_equal(embed_texts(e, &texts[1], &lens[1], 1, 0, v), OK);
	assert_int_equal(model_peer_calls(), 4);
	embed_close(e);
}

static void
many_texts_go_in_batches_and_come_back_in_order(void **state)
{
	enum { MANY = 100 };
	const char *list[MANY];
	size_t sizes[MANY];
	char words[MANY][32];
	float *v = mem_alloc(sizeof(float) * MANY * DIMENSIONS);
	float one[DIMENSIONS];
	struct embedder *e;

	NEEDS_SERVER();
	config_override(CFG_EMBEDDINGS_CACHE, "0");
	e = open_with("");
	for (int i = 0; i < MANY; i++) {
		sizes[i] =
		    (size_t)snprintf(words[i], sizeof(words[i]), "word%d", i);
		list[i] = words[i];
	}
	assert_int_equal(embed_texts(e, list, sizes, MANY, 0, v), OK);
	assert_int_equal(model_peer_calls(), 4);
	for (int i = 0; i < MANY; i += 33) {
		assert_int_equal(
		    embed_texts(e, &list[i], &sizes[i], 1, 0, one), OK);
		assert_true(dot(one, v + i * DIMENSIONS) > 0.999);
	}
	embed_close(e);
	mem_free(v);
}

static void
long_texts_are_cut_at_a_character(void **state)
{
	size_t len = 3 * EMBED_TEXT_MAX;
	char *text = mem_alloc(len);
	const char *list[1] = { text };
	float v[DIMENSIONS];
	struct embedder *e;
	json_t *told;
	const json_t *input;

	NEEDS_SERVER();
	for (size_t i = 0; i < len; i += 3)
		memcpy(text + i, "\xE2\x82\xAC", 3);
	e = open_with("");
	assert_int_equal(embed_texts(e, list, &len, 1, 0, v), OK);
	told = model_peer_told();
	input = json_object_get(
	    json_object_get(
		json_array_get(json_object_get(told, "calls"), 0), "body"),
	    "input");
	assert_int_equal(json_string_length(json_array_get(input, 0)),
	    EMBED_TEXT_MAX / 3 * 3);
	json_decref(told);
	len = 0;
	assert_int_equal(embed_texts(e, list, &len, 1, 0, v), ERR_INVALID);
	embed_close(e);
	mem_free(text);
}

static void
the_probe_tells_the_dimensions(void **state)
{
	struct embedder *e;

	NEEDS_SERVER();
	assert_int_equal(embed_open(model_peer_url(), &e), OK);
	assert_int_equal(embed_dimensions(e), DIMENSIONS);
	assert_string_equal(embed_name(e), "test-embeddings");
	embed_close(e);
	config_override(CFG_EMBEDDINGS_DIMENSIONS, "128");
	assert_int_equal(embed_open(model_peer_url(), &e), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "is 128"));
	assert_non_null(strstr(err_message(), "64 numbers"));
}

static void
start_up_says_what_is_wrong(void **state)
{
	struct embedder *e;

	NEEDS_SERVER();
	assert_int_equal(embed_open("", &e), OK);
	assert_null(e);
	config_override(CFG_EMBEDDINGS_KEY, "sk-wrong");
	assert_int_equal(embed_open(model_peer_url(), &e), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "XIN_EMBEDDINGS_KEY"));
	assert_null(strstr(err_message(), "sk-wrong"));
	config_override(CFG_EMBEDDINGS_KEY, "sk-test");
	config_override(CFG_EMBEDDINGS_NAME, "other");
	assert_int_equal(embed_open(model_peer_url(), &e), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "XIN_EMBEDDINGS_NAME"));
	config_override(CFG_EMBEDDINGS_NAME, "");
	assert_int_equal(embed_open(model_peer_url(), &e), ERR_CONFIG);
	config_override(CFG_EMBEDDINGS_NAME, "test-embeddings");
	config_override(CFG_MODEL_MS, "500");
	assert_int_equal(embed_open("http://127.0.0.1:9/v1", &e), ERR_CONFIG);
	assert_non_null(strstr(err_message(), "XIN_EMBEDDINGS_DIMENSIONS"));
	config_override(CFG_EMBEDDINGS_DIMENSIONS, "64");
	assert_int_equal(embed_open("http://127.0.0.1:9/v1", &e), OK);
	assert_int_equal(embed_dimensions(e), 64);
	embed_close(e);
}

#define T(test) cmocka_unit_test_setup(test, begin)

int
main(void)
{
	const struct CMUnitTest embeddings[] = {
		T(like_texts_are_near_whatever_form_their_vectors_come_in),
		T(broken_vectors_are_refused),
		T(texts_seen_before_are_not_asked_again),
		T(the_cache_forgets_what_was_not_used_for_longest),
		T(many_texts_go_in_batches_and_come_back_in_order),
		T(long_texts_are_cut_at_a_character),
		T(the_probe_tells_the_dimensions),
		T(start_up_says_what_is_wrong),
	};

	return fiber_group(embeddings, set_up, tear_down);
}
