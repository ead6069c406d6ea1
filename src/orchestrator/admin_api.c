/* SPDX-License-Identifier: Apache-2.0 */
/* Brands, keys, scripts, limits: what operators and the console ask. */
#include <string.h>

#include "base/config.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"
#include "domain/brand.h"
#include "domain/playground.h"
#include "domain/scripts.h"
#include "orchestrator/api.h"
#include "queue/queue.h"
#include "store/store.h"

HANDLER(api__brands)
{
	json_auto json_t *list = NULL;

	(void)arg;
	TRY(brand_list(api__who(req), &list));
	return http_reply_json(req, 200, list);
}

HANDLER(api__keys_list)
{
	struct product *product = arg;
	json_t *items = NULL;

	TRY(auth_admin(api__who(req)));
	TRY(store_key_list(product->store, &items));
	return api__reply_page(req, items, NULL);
}

static enum err_code
read_scopes(const json_t *body, char *out, size_t size)
{
	const json_t *scopes = json_object_get(body, "scopes");
	size_t i, len = 0;
	json_t *scope;

	if (!json_is_array(scopes))
		return err_set(ERR_INVALID, "'scopes' must be a list");
	out[0] = '\0';
	json_array_foreach (scopes, i, scope) {
		const char *text = json_string_value(scope);

		if (text == NULL || strchr(text, ' ') != NULL)
			return err_set(ERR_INVALID, "a scope must be a word");
		if (len + strlen(text) + 2 > size)
			return err_set(ERR_TOO_LARGE, "too many scopes");
		if (len > 0)
			out[len++] = ' ';
		str_copy(out + len, size - len, text);
		len += strlen(text);
	}
	return OK;
}

HANDLER(api__keys_add)
{
	static const char *const known[] = { "name", "scopes", NULL };
	struct product *product = arg;
	json_auto json_t *body = NULL;
	json_auto json_t *answer = NULL;
	char scopes[1024], key[AUTH_KEY_SIZE], id[IDENT_SIZE];
	const char *name;

	TRY(auth_admin(api__who(req)));
	TRY(http_body_json(req, &body));
	TRY(json_only_keys(body, known));
	TRY(json_field_str(body, "name", true, 100, &name));
	TRY(read_scopes(body, scopes, sizeof(scopes)));
	TRY(auth_key_new(product, name, scopes, key, id));
	TRY(store_audit(
	    product->store, api__who(req)->key_id, "key.add", id, scopes));
	answer = json_pack("{s:s, s:s, s:s, s:O}", "id", id, "key", key, "name",
	    name, "scopes", json_object_get(body, "scopes"));
	return http_reply_json(req, 201, answer);
}

HANDLER(api__keys_revoke)
{
	struct product *product = arg;
	const char *id = http_param(req, "id");

	TRY(auth_admin(api__who(req)));
	TRY(store_key_revoke(product->store, id));
	TRY(store_audit(
	    product->store, api__who(req)->key_id, "key.revoke", id, ""));
	return http_reply(req, 204, NULL, NULL, 0);
}

HANDLER(api__audit)
{
	struct product *product = arg;
	json_t *items = NULL;
	char *next = NULL;
	enum err_code rc;
	int limit;

	TRY(auth_admin(api__who(req)));
	TRY(api__limit(req, &limit));
	TRY(store_audit_list(
	    product->store, http_query(req, "cursor"), limit, &items, &next));
	rc = api__reply_page(req, items, next);
	mem_free(next);
	return rc;
}

static enum err_code
reply_scripts(struct http_request *req, int status)
{
	json_auto json_t *view = NULL;

	TRY(scripts_status(&view));
	return http_reply_json(req, status, view);
}

HANDLER(api__scripts_get)
{
	(void)arg;
	return reply_scripts(req, 200);
}

HANDLER(api__scripts_check)
{
	json_auto json_t *report = NULL;

	(void)arg;
	TRY(auth_admin(api__who(req)));
	TRY(scripts_check_folder(&report));
	return http_reply_json(req, 200, report);
}

static enum err_code
audit(struct http_request *req, struct product *product, const char *action)
{
	return store_audit(
	    product->store, api__who(req)->key_id, action, "scripts", "");
}

HANDLER(api__scripts_reload)
{
	bool accepted;

	TRY(auth_admin(api__who(req)));
	TRY(scripts_reload(&accepted));
	TRY(audit(req, arg, "scripts.reload"));
	return reply_scripts(req, accepted ? 200 : 409);
}

HANDLER(api__scripts_rollback)
{
	TRY(auth_admin(api__who(req)));
	TRY(scripts_rollback());
	TRY(audit(req, arg, "scripts.rollback"));
	return reply_scripts(req, 200);
}

HANDLER(api__scripts_pin)
{
	static const char *const known[] = { "pinned", NULL };
	json_auto json_t *body = NULL;
	bool pinned;

	TRY(auth_admin(api__who(req)));
	TRY(http_body_json(req, &body));
	TRY(json_only_keys(body, known));
	TRY(json_field_bool(body, "pinned", true, &pinned));
	TRY(scripts_pin(pinned));
	TRY(audit(req, arg, pinned ? "scripts.pin" : "scripts.unpin"));
	return reply_scripts(req, 200);
}

HANDLER(api__playground)
{
	json_auto json_t *body = NULL;
	json_auto json_t *answer = NULL;
	const char *brand;

	TRY(api__brand(req, AUTH_BRAND, &brand));
	TRY(http_body_json(req, &body));
	task_self()->deadline_ms =
	    deadline_in_ms((uint64_t)config_int(CFG_TURN_MS));
	TRY(playground_run(arg, brand, body, &answer));
	return http_reply_json(req, 200, answer);
}

HANDLER(api__limits)
{
	struct buf out;
	enum err_code rc;

	(void)arg;
	buf_init(&out, 0);
	config_limits_json(&out);
	rc = http_reply(req, 200, "application/json", buf_str(&out), out.len);
	buf_done(&out);
	return rc;
}

HANDLER(api__dead_letters)
{
	struct product *product = arg;
	json_t *items = NULL;
	int limit;

	TRY(auth_admin(api__who(req)));
	TRY(api__limit(req, &limit));
	TRY(queue_dead(product->queue, limit, &items));
	return api__reply_page(req, items, NULL);
}
