/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, scopes, and the answer to "may they": not yours is not there. */
#include "domain/auth.h"

#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/store.h"

#define KEY_PREFIX "xin_"

/* Is `kind` (or `kind:brand`) one of the words in `scopes`? */
static bool
has_scope(const char *scopes, const char *kind, const char *brand)
{
	char want[128];
	size_t len;

	snprintf(want, sizeof(want), brand ? "%s:%s" : "%s", kind,
	    brand ? brand : "");
	len = strlen(want);
	while (*scopes != '\0') {
		size_t n = strcspn(scopes, " ");

		if (n == len && memcmp(scopes, want, n) == 0)
			return true;
		scopes += n;
		scopes += strspn(scopes, " ");
	}
	return false;
}

enum err_code
auth_identify(struct product *product, const char *authorization,
    struct principal *principal_out)
{
	struct principal who = { 0 };
	char hash[SHA256_HEX_SIZE];
	struct api_key key;
	const char *token;
	enum err_code rc;

	if (authorization == NULL && product->open_access) {
		who.open = who.admin = true;
		*principal_out = who;
		return OK;
	}
	if (authorization == NULL || strncasecmp(authorization, "Bearer ", 7))
		return err_set(ERR_UNAUTHORIZED,
		    "send a key: Authorization: Bearer xin_...");
	token = authorization + 7;
	crypto_sha256_hex(token, strlen(token), hash);
	rc = store_key_find(product->store, hash, &key);
	if (rc == ERR_NOT_FOUND)
		return err_set(ERR_UNAUTHORIZED, "the key is not known");
	if (rc != OK)
		return rc;
	str_copy(who.key_id, sizeof(who.key_id), key.id);
	str_copy(who.scopes, sizeof(who.scopes), key.scopes);
	who.admin = has_scope(key.scopes, "admin", NULL);
	api_key_done(&key);
	*principal_out = who;
	return OK;
}

enum err_code
auth_allow(const struct principal *who, enum auth_need need, const char *brand)
{
	static const char *const kinds[] = { "turns", "knowledge", "brand" };

	if (who->open || who->admin || has_scope(who->scopes, "brand", brand) ||
	    has_scope(who->scopes, kinds[need], brand))
		return OK;
	return err_set(ERR_NOT_FOUND, "brand \"%s\"", brand);
}

bool
auth_sees(const struct principal *who, const char *brand)
{
	return who->open || who->admin ||
	       has_scope(who->scopes, "brand", brand) ||
	       has_scope(who->scopes, "turns", brand) ||
	       has_scope(who->scopes, "knowledge", brand);
}

enum err_code
auth_admin(const struct principal *who)
{
	if (who->open || who->admin)
		return OK;
	return err_set(ERR_FORBIDDEN, "this needs a key with scope admin");
}

static bool
is_scope(const char *scope)
{
	const char *colon = strchr(scope, ':');

	if (strcmp(scope, "admin") == 0)
		return true;
	return colon != NULL && str_is_name(colon + 1) &&
	       (str_starts(scope, "brand:") || str_starts(scope, "turns:") ||
		   str_starts(scope, "knowledge:"));
}

enum err_code
auth_scopes_check(const char *scopes)
{
	char one[128];

	if (scopes[0] == '\0')
		return err_set(ERR_INVALID, "no scope is named");
	while (*scopes != '\0') {
		size_t n = strcspn(scopes, " ");

		if (!str_copy_n(one, sizeof(one), scopes, n) || !is_scope(one))
			return err_set(ERR_INVALID,
			    "scope \"%s\": known are admin, brand:<id>, "
			    "turns:<id>, knowledge:<id>",
			    one);
		scopes += n;
		scopes += strspn(scopes, " ");
	}
	return OK;
}

enum err_code
auth_key_new(struct product *product, const char *name, const char *scopes,
    char key_out[AUTH_KEY_SIZE], char id_out[IDENT_SIZE])
{
	char hash[SHA256_HEX_SIZE], code[48];
	uint8_t noise[32];

	TRY(auth_scopes_check(scopes));
	crypto_random(noise, sizeof(noise));
	crypto_base64url(noise, sizeof(noise), code);
	snprintf(key_out, AUTH_KEY_SIZE, KEY_PREFIX "%s", code);
	crypto_sha256_hex(key_out, strlen(key_out), hash);
	return store_key_add(product->store, name, scopes, hash, id_out);
}

static enum err_code
seed_one(struct product *product, enum config setting, const char *name)
{
	const char *key = config_str(setting);
	char hash[SHA256_HEX_SIZE], id[IDENT_SIZE];
	struct api_key known;
	enum err_code rc;

	if (key[0] == '\0')
		return OK;
	if (!str_starts(key, KEY_PREFIX) || strlen(key) < 24)
		return err_set(ERR_CONFIG,
		    "%s must be \"xin_\" and at least 20 more characters",
		    config_name(setting));
	crypto_sha256_hex(key, strlen(key), hash);
	rc = store_key_find(product->store, hash, &known);
	if (rc == OK)
		api_key_done(&known);
	if (rc != ERR_NOT_FOUND)
		return rc;
	rc = store_key_add(product->store, name, "admin", hash, id);
	if (rc != ERR_CONFLICT)
		return rc;
	/* Revoked: it stays so, and the service is up without it. */
	log_warn("auth.revoked_key", kv_str("setting", name));
	return OK;
}

enum err_code
auth_seed(struct product *product)
{
	TRY(seed_one(product, CFG_ADMIN_KEY, "XIN_ADMIN_KEY"));
	return seed_one(product, CFG_SERVICE_KEY, "XIN_SERVICE_KEY");
}
