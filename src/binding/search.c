/* SPDX-License-Identifier: Apache-2.0 */
/* xin.search: find for a brand's routes and replies, put for steps. The brand,
 * source and version come from what the call works on. */
#include "search/search.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "binding/internal.h"
#include "binding/retrieve.h"

#define QUERY_MAX 16384
#define TOP_K_MAX 50
#define PUT_BATCH 128 /* 10 KiB on a fiber's stack */

/* ---- find ---- */

struct find_request {
	struct script_request base;
	struct binding_turn *turn;
	int top_k;
	json_t *filter;
	struct search_hits hits;
	size_t len;
	char query[];
};

static enum err_code
find_run(struct script_request *base, struct script_session *session)
{
	struct find_request *request = (struct find_request *)base;

	const struct search_ask ask = { .brand = request->turn->brand,
		.query = request->query,
		.query_len = request->len,
		.top_k = request->top_k,
		.filter = request->filter };

	struct retrieval how;

	(void)session;
	TRY(retrieve_find(request->turn->search, request->turn->embedder,
	    RETRIEVE_HYBRID, &ask, &request->hits, &how));
	request->turn->spent.waited_us += how.waited_us;
	return OK;
}

static void
set_string(lua_State *lua, const char *key, const char *value)
{
	if (value == NULL)
		return;
	lua_pushstring(lua, value);
	lua_setfield(lua, -2, key);
}

static void
push_hit(lua_State *lua, const struct search_hit *hit)
{
	lua_createtable(lua, 0, 10);
	set_string(lua, "source_id", hit->source_id);
	set_string(lua, "title", hit->title);
	set_string(lua, "text", hit->text);
	set_string(lua, "heading", hit->heading);
	set_string(lua, "source_url", hit->source_url);
	lua_pushinteger(lua, hit->number);
	lua_setfield(lua, -2, "chunk");
	lua_pushnumber(lua, hit->score);
	lua_setfield(lua, -2, "score");
	lua_pushnumber(lua, hit->coverage);
	lua_setfield(lua, -2, "coverage");
	lua_pushinteger(lua, hit->start);
	lua_setfield(lua, -2, "start");
	lua_pushinteger(lua, hit->end);
	lua_setfield(lua, -2, "end");
}

static int
find_push(struct script_request *base, lua_State *lua)
{
	struct find_request *request = (struct find_request *)base;

	if (base->rc != OK)
		return script_push_error(lua, base->rc);
	lua_createtable(lua, (int)request->hits.count, 0);
	for (size_t i = 0; i < request->hits.count; i++) {
		push_hit(lua, &request->hits.items[i]);
		lua_rawseti(lua, -2, (lua_Integer)i + 1);
	}
	return 1;
}

static void
find_done(struct script_request *base)
{
	struct find_request *request = (struct find_request *)base;

	json_decref(request->filter);
	search_hits_done(&request->hits);
}

/* top_k and filter of the options table, the filter in a box. */
static int
find_options(lua_State *lua, int index, json_t **filter)
{
	lua_Integer top_k = 8;

	if (lua_isnoneornil(lua, index))
		return (int)top_k;
	luaL_checktype(lua, index, LUA_TTABLE);
	lua_pushliteral(lua, "top_k");
	lua_rawget(lua, index);
	if (!lua_isnil(lua, -1)) {
		luaL_argcheck(lua, lua_isinteger(lua, -1), index,
		    "top_k must be an integer");
		top_k = lua_tointeger(lua, -1);
	}
	luaL_argcheck(lua, top_k >= 1 && top_k <= TOP_K_MAX, index,
	    "top_k must be from 1 to 50");
	lua_pushliteral(lua, "filter");
	lua_rawget(lua, index);
	if (!lua_isnil(lua, -1)) {
		luaL_argcheck(
		    lua, lua_istable(lua, -1), index, "filter must be a table");
		*filter = script_to_json(lua, -1);
		luaL_argcheck(lua, json_is_object(*filter), index,
		    "filter must have names as keys");
	}
	lua_pop(lua, 2);
	return (int)top_k;
}

static int
search_find_(lua_State *lua)
{
	struct binding_turn *turn = binding__turn(lua);
	size_t len;
	const char *query = binding__text_arg(lua, 1, QUERY_MAX, &len);
	json_t **filter = binding__json_box(lua);
	int top_k = find_options(lua, 2, filter);
	struct find_request *request;

	if (turn == NULL || turn->search == NULL)
		return script_push_error(
		    lua, err_set(ERR_UNAVAILABLE, "there is no search here"));
	request = script_request_new(lua, sizeof(*request) + len + 1);
	request->base.run = find_run;
	request->base.push = find_push;
	request->base.done = find_done;
	request->turn = turn;
	request->top_k = top_k;
	request->filter = json_incref(*filter);
	request->len = len;
	memcpy(request->query, query, len + 1);
	return script_wait(lua, &request->base);
}

/* ---- put ---- */

struct put_request {
	struct script_request base;
	struct binding_job *job;
	struct binding_chunks *chunks;
};

static const json_t *
metadata_of(const struct binding_job *job)
{
	return job->made_metadata != NULL ? job->made_metadata : job->metadata;
}

/* The document's metadata with the chunk's page in it, so that citations and
 * filters have it; a "page" of the upload's own stands. mem_free. */
static char *
with_page(const json_t *metadata, int64_t page)
{
	json_auto json_t *all = metadata != NULL
				    ? json_copy((json_t *)(uintptr_t)metadata)
				    : json_object();

	if (json_object_get(all, "page") == NULL)
		json_object_set_new(all, "page", json_integer(page));
	return json_text(all);
}

static enum err_code
put_batch(const struct put_request *request, size_t from, size_t count,
    const char *metadata)
{
	const struct binding_job *job = request->job;
	const char *title =
	    job->made_title != NULL ? job->made_title : job->title;
	struct chunk batch[PUT_BATCH];
	char *paged[PUT_BATCH];
	enum err_code rc;

	if (title == NULL || title[0] == '\0')
		title = job->filename;
	for (size_t i = 0; i < count; i++) {
		const struct binding_chunk *item =
		    &request->chunks->items[from + i];

		paged[i] = item->page > 0
			       ? with_page(metadata_of(job), item->page)
			       : NULL;
		batch[i] = (struct chunk){
			.number = (int64_t)(from + i),
			.text = item->text,
			.len = item->len,
			.start = item->start,
			.end = item->end,
			.heading = item->heading,
			.metadata = paged[i] != NULL ? paged[i] : metadata,
			.vector = item->vector,
			.dimensions = item->vector != NULL
					  ? request->chunks->dimensions
					  : 0,
		};
	}
	rc = search_put(job->search, job->brand, job->source_id, job->version,
	    title != NULL ? title : "", batch, count);
	for (size_t i = 0; i < count; i++)
		mem_free(paged[i]);
	return rc;
}

static enum err_code
put_all(struct put_request *request, const char *metadata)
{
	struct binding_job *job = request->job;
	size_t total = request->chunks->count;
	size_t from = 0, count;

	/* Chunks that an attempt before this one has put are there. */
	if (job->resume_at > 0 && (size_t)job->resume_at <= total)
		from = (size_t)job->resume_at;
	job->resume_at = 0;
	job->indexed = job->put = (int64_t)from;
	job->total = (int64_t)total;
	for (; from < total; from += count) {
		count = total - from < PUT_BATCH ? total - from : PUT_BATCH;
		TRY(put_batch(request, from, count, metadata));
		job->indexed += (int64_t)count;
		job->done = job->put = job->indexed;
		TRY(binding__job_moved(job));
	}
	return OK;
}

static enum err_code
put_run(struct script_request *base, struct script_session *session)
{
	struct put_request *request = (struct put_request *)base;
	struct binding_job *job = request->job;
	const json_t *metadata = metadata_of(job);
	char *text = metadata != NULL ? json_text(metadata) : NULL;
	enum err_code rc;

	(void)session;
	rc = put_all(request, text);
	mem_free(text);
	return rc == OK ? OK
			: binding__job_failed(job, err_add(rc, "search index"));
}

static int
put_push(struct script_request *base, lua_State *lua)
{
	struct put_request *request = (struct put_request *)base;

	if (base->rc != OK)
		return script_push_error(lua, base->rc);
	lua_pushinteger(lua, request->job->indexed);
	return 1;
}

static void
put_done(struct script_request *base)
{
	binding__chunks_unref(((struct put_request *)base)->chunks);
}

static int
search_put_(lua_State *lua)
{
	struct binding_job *job = binding__job(lua);
	struct binding_chunks *chunks = binding__check_chunks(lua, 1);
	struct put_request *request;

	if (job->search == NULL)
		return script_push_error(lua,
		    binding__job_failed(job,
			err_set(ERR_UNAVAILABLE, "there is no search here")));
	request = script_request_new(lua, sizeof(*request));
	request->base.run = put_run;
	request->base.push = put_push;
	request->base.done = put_done;
	request->job = job;
	request->chunks = binding__chunks_ref(chunks);
	return script_wait(lua, &request->base);
}

static const struct binding_function functions[] = {
	{ "find", search_find_, IN_BRAND,
	    "query string\noptions? { top_k: integer?, filter: table? }",
	    "xin.SearchHit[]?, xin.Error?",
	    "Search the brand's live chunks, best first; 8 unless said, at "
	    "most 50. WAITS." },
	{ "put", search_put_, IN_STEP, "chunks xin.Chunks|xin.Chunk[]",
	    "integer?, xin.Error?",
	    "Put the document's chunks into the index, aside: the host "
	    "switches the version live at the end. Their number. WAITS." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__search = { "search",
	"The brand's knowledge.", functions, false };
