/* SPDX-License-Identifier: Apache-2.0 */
/* From a question to passages: with a vector, without, and when it cannot be
 * had. The search is a plain one that notes what it was asked. */
#include "fiber_group.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/mem.h"
#include "binding/retrieve.h"
#include "model/embed.h"
#include "model_peer.h"
#include "search/search_backend.h"

#define DIMENSIONS 16

static bool have_server;
static struct {
	int asked;
	size_t terms, dimensions;
	double length;
} seen;

static enum err_code
note_find(struct search *search, const struct search_query *query,
    struct search_hits *hits_out)
{
	(void)search;
	(void)hits_out;
	seen.asked++;
	seen.terms = query->count;
	seen.dimensions = query->vector != NULL ? query->dimensions : 0;
	seen.length = 0;
	for (size_t i = 0; i < seen.dimensions; i++)
		seen.length += (double)query->vector[i] * query->vector[i];
	return OK;
}

static const struct search_ops ops = {
	.name = "noting",
	.find = note_find,
};
static struct search search = { .ops = &ops };

static int
set_up(void **state)
{
	(void)state;
	have_server = model_peer_start(DIMENSIONS);
	log_setup(
	    open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_WARN, false);
	config_override(CFG_EMBEDDINGS_KEY, "sk-test");
	config_override(CFG_EMBEDDINGS_NAME, "test-embeddings");
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

static struct embedder *
embedder_with(const char *script)
{
	struct embedder *e;

	if (!have_server) {
		print_message("skipped: python3 cannot be had\n");
		skip();
	}
	model_peer_forget();
	assert_int_equal(embed_open(model_peer_url(), &e), OK);
	model_peer_script(script);
	return e;
}

static enum err_code
find(struct embedder *e, const char *mode_name, const char *query,
    struct retrieval *how)
{
	const struct search_ask ask = { .brand = "b",
		.query = query,
		.query_len = strlen(query),
		.top_k = 5 };
	enum retrieve_mode mode;
	struct search_hits hits = { 0 };

	memset(&seen, 0, sizeof(seen));
	TRY(retrieve_mode_parse(mode_name, &mode));
	return retrieve_find(&search, e, mode, &ask, &hits, how);
}

static void
without_an_embedder_words_alone_count(void **state)
{
	struct retrieval how;

	(void)state;
	assert_int_equal(find(NULL, NULL, "lamp return", &how), OK);
	assert_string_equal(how.mode, "keyword");
	assert_false(how.degraded);
	assert_int_equal(seen.terms, 2);
	assert_int_equal(seen.dimensions, 0);
	assert_int_equal(find(NULL, "vector", "lamp", &how), ERR_INVALID);
	assert_int_equal(find(NULL, "magic", "lamp", &how), ERR_INVALID);
}

static void
the_mode_says_what_is_asked(void **state)
{
	struct embedder *e = embedder_with("{}");
	struct retrieval how;

	(void)state;
	assert_int_equal(find(e, "hybrid", "lamp return", &how), OK);
	assert_string_equal(how.mode, "hybrid");
	assert_int_equal(seen.terms, 2);
	assert_int_equal(seen.dimensions, DIMENSIONS);
	assert_true(fabs(seen.length - 1) < 1e-5);
	assert_int_equal(find(e, "keyword", "lamp return", &how), OK);
	assert_string_equal(how.mode, "keyword");
	assert_int_equal(seen.dimensions, 0);
	assert_int_equal(find(e, "vector", "lamp return", &how), OK);
	assert_string_equal(how.mode, "vector");
	assert_int_equal(seen.terms, 0);
	assert_int_equal(seen.dimensions, DIMENSIONS);
	embed_close(e);
}

static void
a_failing_embedder_degrades_the_search_and_does_not_fail_it(void **state)
{
	struct embedder *e =
	    embedder_with("{\"faults\": [\"status:400\"], \"stay\": true}");
	struct retrieval how;

	(void)state;
	assert_int_equal(find(e, "hybrid", "lamp return", &how), OK);
	assert_string_equal(how.mode, "keyword");
	assert_true(how.degraded);
	assert_int_equal(how.why, ERR_UPSTREAM);
	assert_int_equal(seen.asked, 1);
	assert_int_equal(seen.dimensions, 0);
	assert_int_equal(find(e, "vector", "lamp return", &how), ERR_UPSTREAM);
	assert_int_equal(seen.asked, 0);
	embed_close(e);
}

static void
a_slow_embedder_is_not_waited_for(void **state)
{
	struct embedder *e =
	    embedder_with("{\"faults\": [\"slow:20000\"], \"stay\": true}");
	uint64_t began = clock_mono_ms();
	struct retrieval how;

	(void)state;
	assert_int_equal(find(e, "hybrid", "lamp return", &how), OK);
	assert_true(how.degraded);
	assert_int_equal(how.why, ERR_DEADLINE);
	assert_true(clock_mono_ms() - began < EMBED_QUESTION_MS + 2000);
	/* The next one does not wait at all. */
	began = clock_mono_ms();
	assert_int_equal(find(e, "hybrid", "other lamps", &how), OK);
	assert_int_equal(how.why, ERR_UNAVAILABLE);
	assert_true(clock_mono_ms() - began < 500);
	embed_close(e);
}

static void
nothing_but_white_space_needs_no_vector(void **state)
{
	struct embedder *e = embedder_with("{}");
	struct retrieval how;

	(void)state;
	model_peer_forget();
	assert_int_equal(find(e, "hybrid", " \n ", &how), OK);
	assert_int_equal(model_peer_calls(), 0);
	embed_close(e);
}

int
main(void)
{
	const struct CMUnitTest retrieve[] = {
		cmocka_unit_test(without_an_embedder_words_alone_count),
		cmocka_unit_test(the_mode_says_what_is_asked),
		cmocka_unit_test(
		    a_failing_embedder_degrades_the_search_and_does_not_fail_it),
		cmocka_unit_test(a_slow_embedder_is_not_waited_for),
		cmocka_unit_test(nothing_but_white_space_needs_no_vector),
	};

	return fiber_group(retrieve, set_up, tear_down);
}
