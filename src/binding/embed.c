/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xin.embed: vectors of a document's chunks. They are kept beside the native
 * chunks and never become Lua values; xin.search.put sends them along.
 */
#include "model/embed.h"

#include "base/mem.h"
#include "binding/internal.h"

#define BATCH 32 /* one call of the model: what it made is never lost */
/* Of one document, in memory until it is indexed. */
#define VECTORS_MAX ((size_t)256 << 20)

struct embed_request {
	struct script_request base;
	struct binding_job *job;
	struct binding_chunks *chunks;
	size_t made; /* vectors of the first chunks */
};

static enum err_code
embed_batch(struct embed_request *request, size_t from, size_t count)
{
	struct embedder *embedder = request->job->embedder;
	struct binding_chunk *chunks = request->chunks->items + from;
	size_t dimensions = request->chunks->dimensions;
	float *vectors = request->chunks->vectors + from * dimensions;
	const char *texts[BATCH];
	size_t lens[BATCH];

	for (size_t i = 0; i < count; i++) {
		texts[i] = chunks[i].text;
		lens[i] = chunks[i].len;
	}
	TRY(embed_texts(
	    embedder, texts, lens, count, request->job->deadline_ms, vectors));
	for (size_t i = 0; i < count; i++)
		chunks[i].vector = vectors + i * dimensions;
	return OK;
}

/* Room for all vectors. Those that an attempt before this one made, from a
 * checkpoint, stay; others begin anew. */
static void
make_room(struct embed_request *request, size_t dimensions)
{
	struct binding_chunks *chunks = request->chunks;

	if (chunks->vectors == NULL || chunks->dimensions != dimensions) {
		for (size_t i = 0; i < chunks->count; i++)
			chunks->items[i].vector = NULL;
		mem_free(chunks->vectors);
		chunks->vectors =
		    mem_zero(chunks->count * dimensions * sizeof(float) + 1);
		chunks->dimensions = dimensions;
	}
	while (request->made < chunks->count &&
	       chunks->items[request->made].vector != NULL)
		request->made++;
}

static enum err_code
embed_all(struct embed_request *request)
{
	struct binding_job *job = request->job;
	size_t total = request->chunks->count, count;
	size_t dimensions = embed_dimensions(job->embedder);

	if (total > VECTORS_MAX / (dimensions * sizeof(float)))
		return err_set(ERR_TOO_LARGE,
		    "the vectors of %zu chunks are over %zu MiB: use larger "
		    "chunks or cut the document",
		    total, VECTORS_MAX >> 20);
	make_room(request, dimensions);
	job->done = (int64_t)request->made;
	job->total = (int64_t)total;
	for (size_t from = request->made; from < total; from += count) {
		count = total - from < BATCH ? total - from : BATCH;
		TRY(embed_batch(request, from, count));
		request->made = from + count;
		job->done = (int64_t)request->made;
		job->worth_keeping = true; /* a model was paid for it */
		TRY(binding__job_moved(job));
	}
	return OK;
}

static enum err_code
embed_run(struct script_request *base, struct script_session *session)
{
	struct embed_request *request = (struct embed_request *)base;
	enum err_code rc = embed_all(request);

	(void)session;
	return rc == OK ? OK
			: binding__job_failed(
			      request->job, err_add(rc, "embeddings"));
}

static int
embed_push(struct script_request *base, lua_State *lua)
{
	struct embed_request *request = (struct embed_request *)base;

	if (base->rc != OK)
		return script_push_error(lua, base->rc);
	lua_pushinteger(lua, (lua_Integer)request->chunks->count);
	return 1;
}

static void
embed_done(struct script_request *base)
{
	struct embed_request *request = (struct embed_request *)base;

	binding__chunks_unref(request->chunks);
}

static int
embed_chunks(lua_State *lua)
{
	struct binding_job *job = binding__job(lua);
	struct binding_chunks *chunks = binding__check_chunks(lua, 1);
	struct embed_request *request;

	if (job->embedder == NULL) {
		lua_pushinteger(lua, 0);
		return 1;
	}
	request = script_request_new(lua, sizeof(*request));
	request->base.run = embed_run;
	request->base.push = embed_push;
	request->base.done = embed_done;
	request->job = job;
	request->chunks = binding__chunks_ref(chunks);
	return script_wait(lua, &request->base);
}

static const struct binding_function functions[] = {
	{ "chunks", embed_chunks, IN_STEP, "chunks xin.Chunks",
	    "integer?, xin.Error?",
	    "Make the chunks' embeddings, kept with the list for "
	    "xin.search.put; the number made, 0 without an embedding model. "
	    "WAITS." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__embed = { "embed", "Embeddings.",
	functions, false };
