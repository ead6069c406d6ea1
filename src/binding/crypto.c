/* SPDX-License-Identifier: Apache-2.0 */
/* xin.crypto: hashes only. Scripts never see keys; the host signs. */
#include "base/crypto.h"

#include "binding/internal.h"

#define HASHED_MAX ((size_t)4 << 20)

static int
crypto_sha256_(lua_State *lua)
{
	char hex[SHA256_HEX_SIZE];
	const char *data;
	size_t len;

	luaL_checktype(lua, 1, LUA_TSTRING);
	data = lua_tolstring(lua, 1, &len);
	luaL_argcheck(lua, len <= HASHED_MAX, 1, "more than 4 MiB");
	crypto_sha256_hex(data, len, hex);
	lua_pushstring(lua, hex);
	return 1;
}

static const struct binding_function functions[] = {
	{ "sha256", crypto_sha256_, ANYWHERE, "data string", "string",
	    "SHA-256 as 64 hex digits." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__crypto = { "crypto", "Hashes.", functions,
	false };
