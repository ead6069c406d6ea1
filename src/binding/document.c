/* SPDX-License-Identifier: Apache-2.0 */
/* xin.document: the blocks and chunks of the document that the running step
 * works on. They stay in the job between steps. */
#include "binding/internal.h"

static int
document_blocks(lua_State *lua)
{
	struct binding_job *job = binding__job(lua);

	if (job->blocks == NULL)
		return luaL_error(lua, "the document has no blocks yet: a step "
				       "before must call "
				       "xin.document.set_blocks");
	binding__push_blocks(lua, job->blocks);
	return 1;
}

static int
document_set_blocks(lua_State *lua)
{
	struct binding_job *job = binding__job(lua);
	struct binding_blocks *blocks = binding__check_blocks(lua, 1);

	binding__blocks_ref(blocks);
	binding__blocks_unref(job->blocks);
	job->blocks = blocks;
	return 0;
}

static int
document_chunks(lua_State *lua)
{
	struct binding_job *job = binding__job(lua);

	if (job->chunks == NULL)
		return luaL_error(lua, "the document has no chunks yet: a step "
				       "before must call "
				       "xin.document.set_chunks");
	binding__push_chunks(lua, job->chunks);
	return 1;
}

static int
document_set_chunks(lua_State *lua)
{
	struct binding_job *job = binding__job(lua);
	struct binding_chunks *chunks = binding__check_chunks(lua, 1);

	binding__chunks_ref(chunks);
	binding__chunks_unref(job->chunks);
	job->chunks = chunks;
	return 0;
}

static const struct binding_function functions[] = {
	{ "blocks", document_blocks, IN_STEP, NULL, "xin.Blocks",
	    "The blocks that a step before has set; raises when none has." },
	{ "set_blocks", document_set_blocks, IN_STEP,
	    "blocks xin.Blocks|xin.Block[]", NULL,
	    "Keep these blocks for the steps that follow." },
	{ "chunks", document_chunks, IN_STEP, NULL, "xin.Chunks",
	    "The chunks that a step before has set; raises when none has." },
	{ "set_chunks", document_set_chunks, IN_STEP,
	    "chunks xin.Chunks|xin.Chunk[]", NULL,
	    "Keep these chunks for the steps that follow." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__document = { "document",
	"The document of the running step.", functions, false };
