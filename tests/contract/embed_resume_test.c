/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of a document's chunks are made once each, whatever fails between:
 * the next attempt, of another process, asks for the rest alone. */
#include "fiber_group.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "binding/binding.h"
#include "binding/internal.h"
#include "model/embed.h"
#include "model_peer.h"
#include "script_fixture.h"

#define DIMENSIONS 16
#define CHUNKS     150 /* five calls of 32 */

static bool have_server;
static struct script_generation *generation;

static struct embedder *
embedder_with(const char *script)
{
	struct embedder *e;

	assert_int_equal(embed_open(model_peer_url(), &e), OK);
	model_peer_script(script);
	return e;
}

/* The step of lua/pipelines/steps/embed.lua over the job. */
static enum err_code
embed(struct binding_job *job, struct embedder *e)
{
	json_auto json_t *args = json_pack("[o, {}]", binding_job_view(job));
	json_auto json_t *out = NULL;
	struct script_session *session;
	enum err_code rc;

	job->embedder = e;
	assert_int_equal(
	    script_session_open("alpha", generation, NULL, &session), OK);
	script_session_set_user(session, job);
	rc = script_call(session, SCRIPT_STEP, "embed", "run", args, &out);
	rc = binding_job_outcome(job, rc);
	script_session_close(session);
	embed_close(e);
	return rc;
}

static size_t
texts_answered(void)
{
	json_auto json_t *told = model_peer_told();
	json_t *call;
	size_t i, n = 0;

	json_array_foreach (json_object_get(told, "calls"), i, call) {
		const json_t *body = json_object_get(call, "body");

		if (str_eq(json_str(call, "fault"), ""))
			n += json_array_size(json_object_get(body, "input"));
	}
	return n;
}

static void
carry_over(const struct binding_job *job, struct binding_job *next)
{
	json_auto json_t *saved = NULL;
	struct buf text;

	buf_init(&text, 0);
	binding_job_save(job, &text);
	assert_int_equal(json_parse(text.data, text.len, &saved), OK);
	binding_job_load(next, saved);
	buf_done(&text);
}

static size_t
with_vector(const struct binding_job *job)
{
	size_t n = 0;

	for (size_t i = 0; i < job->chunks->count; i++)
		n += job->chunks->items[i].vector != NULL;
	return n;
}

static void
vectors_are_made_once_each(void **state)
{
	struct binding_job first = { .brand = "alpha", .source_id = "kn_1" };
	struct binding_job second = first;

	(void)state;
	if (!have_server) {
		print_message("skipped: python3 cannot be had\n");
		skip();
	}
	first.chunks = binding__chunks_new();
	for (int i = 0; i < CHUNKS; i++) {
		char text[32];

		snprintf(text, sizeof(text), "chunk number %d", i);
		binding__chunks_add(
		    first.chunks, text, strlen(text), i, i + 1, "");
	}
	assert_int_not_equal(
	    embed(&first,
		embedder_with(
		    "{\"faults\": [\"\", \"status:400\"], \"stay\": true}")),
	    OK);
	assert_non_null(strstr(err_message(), "embeddings: "));
	assert_int_equal(with_vector(&first), 32);
	assert_true(first.worth_keeping);
	carry_over(&first, &second);
	assert_int_equal(with_vector(&second), 32);
	model_peer_forget();
	assert_int_equal(embed(&second, embedder_with("{}")), OK);
	assert_int_equal(with_vector(&second), CHUNKS);
	/* One more is the question for the number of dimensions. */
	assert_int_equal(texts_answered(), CHUNKS - 32 + 1);
	assert_int_equal(second.done, CHUNKS);
	binding_job_done(&first);
	binding_job_done(&second);
}

static int
set_up(void **state)
{
	(void)state;
	have_server = model_peer_start(DIMENSIONS);
	log_setup(
	    open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_WARN, false);
	config_override(CFG_EMBEDDINGS_KEY, "sk-test");
	config_override(CFG_EMBEDDINGS_NAME, "test-embeddings");
	script_setup(binding_open);
	generation = generation_of("brands/alpha.lua",
	    "return { route = function() end }", "pipelines/steps/embed.lua",
	    "return { name = 'embed', run = function(d)\n"
	    "local n, e = xin.embed.chunks(xin.document.chunks())\n"
	    "if not n then return nil, e end return d end }",
	    NULL);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	script_generation_unref(generation);
	if (have_server)
		model_peer_stop();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest embeds[] = {
		cmocka_unit_test(vectors_are_made_once_each),
	};

	return fiber_group(embeds, set_up, tear_down);
}
