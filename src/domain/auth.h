/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_AUTH_H
#define XIN_DOMAIN_AUTH_H

#include <stdbool.h>
#include "base/error.h"
#include "base/ident.h"
#include "domain/product.h"

/*
 * Who asks, and what they may do. Keys are "xin_" and 43 base64url characters;
 * only their SHA-256 is stored. Scopes, separated by spaces: admin,
 * brand:<id> (all of it), turns:<id>, knowledge:<id>.
 */
struct principal {
	bool open; /* open access: everything is allowed */
	bool admin;
	char key_id[IDENT_SIZE];
	char scopes[1024];
};

enum auth_need { AUTH_TURNS, AUTH_KNOWLEDGE, AUTH_BRAND };

/* `authorization` is the header's value or NULL. ERR_UNAUTHORIZED. WAITS. */
enum err_code auth_identify(struct product *product, const char *authorization,
    struct principal *principal_out);
/* May the principal do this for the brand? ERR_NOT_FOUND when not: what is not
 * yours does not exist. */
enum err_code auth_allow(
    const struct principal *principal, enum auth_need need, const char *brand);
/* ERR_FORBIDDEN. */
enum err_code auth_admin(const struct principal *principal);
/* True when the principal may see the brand at all. */
bool auth_sees(const struct principal *principal, const char *brand);

/* A new key: `key_out` is shown once and never stored. WAITS. */
#define AUTH_KEY_SIZE 64
enum err_code auth_key_new(struct product *product, const char *name,
    const char *scopes, char key_out[AUTH_KEY_SIZE], char id_out[IDENT_SIZE]);
/* XIN_ADMIN_KEY, XIN_SERVICE_KEY: stored at start unless known; one that was
 * revoked stays so (a warning). WAITS. */
enum err_code auth_seed(struct product *product);
/* ERR_INVALID names the wrong scope. */
enum err_code auth_scopes_check(const char *scopes);

#endif
