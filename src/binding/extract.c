/* SPDX-License-Identifier: Apache-2.0 */
/* xin.extract: the uploaded bytes of the running job as blocks; the reading
 * itself happens in a child process. */
#include "extract/extract.h"

#include "binding/internal.h"

struct extract_request {
	struct script_request base;
	struct binding_job *job;
	struct extracted extracted;
	struct binding_blocks *blocks;
};

static enum err_code
extract_run(struct script_request *base, struct script_session *session)
{
	struct extract_request *request = (struct extract_request *)base;
	struct binding_job *job = request->job;
	enum err_code rc;

	(void)session;
	rc = extract_file(job->path, job->content_type, job->filename,
	    job->deadline_ms, &request->extracted);
	if (rc != OK)
		return binding__job_failed(job, rc);
	job->worth_keeping = true; /* a child process read it */
	request->blocks =
	    binding__blocks_new(json_incref(request->extracted.blocks));
	return OK;
}

static int
extract_push(struct script_request *base, lua_State *lua)
{
	struct extract_request *request = (struct extract_request *)base;

	if (base->rc != OK)
		return script_push_error(lua, base->rc);
	binding__push_blocks(lua, request->blocks);
	lua_pushstring(lua, request->extracted.title); /* NULL = nil */
	return 2;
}

static void
extract_done(struct script_request *base)
{
	struct extract_request *request = (struct extract_request *)base;

	binding__blocks_unref(request->blocks);
	extracted_done(&request->extracted);
}

static int
extract_blocks(lua_State *lua)
{
	struct binding_job *job = binding__job(lua);
	struct extract_request *request;

	request = script_request_new(lua, sizeof(*request));
	request->base.run = extract_run;
	request->base.push = extract_push;
	request->base.done = extract_done;
	request->job = job;
	return script_wait(lua, &request->base);
}

static const struct binding_function functions[] = {
	{ "blocks", extract_blocks, IN_STEP, NULL,
	    "xin.Blocks?, string|xin.Error|nil",
	    "Read the upload: its blocks and the title that the document "
	    "itself names. WAITS." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__extract = { "extract",
	"From bytes to structured text.", functions, false };
