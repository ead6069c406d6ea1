/* SPDX-License-Identifier: Apache-2.0 */
/* xin.embed: vectors of chunks. This build has no embedding back end, the
 * search is lexical: the count is 0, in every configuration, and a script can
 * see that. */
#include "binding/internal.h"

static int
embed_chunks(lua_State *lua)
{
	binding__job(lua);
	binding__check_chunks(lua, 1);
	lua_pushinteger(lua, 0);
	return 1;
}

static const struct binding_function functions[] = {
	{ "chunks", embed_chunks, IN_STEP, "chunks xin.Chunks|xin.Chunk[]",
	    "integer?, xin.Error?",
	    "Make embeddings; the number made, 0 without an embedding "
	    "model." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__embed = { "embed", "Embeddings.",
	functions, false };
