/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a provider's refusal means, in our words: which setting is wrong, what
 * is full, what it does not like. Its own sentence is read for a few known
 * phrases and never repeated, since it may quote the key or the prompt.
 */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "model/provider_internal.h"

#define CODE_SIZE 48

/* {"error":{"message","type","code"}}, {"error":"..."}, {"message","code"},
 * {"detail":...}, HTML: whatever came. */
struct complaint {
	char code[CODE_SIZE]; /* "" unless it looks like one */
	char message[512];    /* lower case, only to be searched */
};

static void
take_code(char code[CODE_SIZE], const json_t *value)
{
	const char *text = json_string_value(value);
	size_t len = text != NULL ? strlen(text) : 0;

	if (len == 0 || len >= CODE_SIZE || code[0] != '\0' ||
	    strspn(text, "abcdefghijklmnopqrstuvwxyz"
			 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != len)
		return;
	str_copy(code, CODE_SIZE, text);
}

static void
read_complaint(const char *body, size_t len, struct complaint *complaint)
{
	json_auto json_t *value = NULL;
	const json_t *error;
	const char *text = NULL;

	*complaint = (struct complaint){ 0 };
	if (json_parse(body, len, &value) != OK)
		return;
	error = json_object_get(value, "error");
	if (json_is_string(error))
		text = json_string_value(error);
	if (!json_is_object(error))
		error = value;
	take_code(complaint->code, json_object_get(error, "code"));
	take_code(complaint->code, json_object_get(error, "type"));
	if (text == NULL)
		text = json_str(error, "message");
	if (text == NULL)
		text = json_str(error, "detail");
	if (text == NULL)
		return;
	str_copy(complaint->message, sizeof(complaint->message), text);
	for (char *c = complaint->message; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c += 32;
}

static bool
says(const struct complaint *complaint, const char *code, const char *phrase)
{
	return strstr(complaint->code, code) != NULL ||
	       (phrase != NULL && strstr(complaint->message, phrase) != NULL);
}

/* ERR_UPSTREAM with its status and code, for what has no better name. */
static enum err_code
refused(const struct provider *p, int status, const struct complaint *c)
{
	return err_set(ERR_UPSTREAM, "%s: the provider answered %d%s%s%s",
	    p->names.api, status, c->code[0] ? " (" : "", c->code,
	    c->code[0] ? ")" : "");
}

static enum err_code
explain(const struct provider *p, const char *model, int status,
    const struct complaint *c)
{
	const char *api = p->names.api;

	if (status == 401 || status == 403 || says(c, "invalid_api_key", NULL))
		return err_set(ERR_UPSTREAM,
		    "%s: the provider refuses our key (HTTP %d): check %s", api,
		    status, p->names.key);
	if (says(c, "context_length", "context length") ||
	    says(c, "string_above_max_length", "maximum context"))
		return err_set(ERR_TOO_LARGE,
		    "%s: the prompt is longer than the context of model "
		    "\"%s\": lower top_k or XIN_MAX_PROMPT_BYTES",
		    api, model);
	if (says(c, "content_filter", "content management policy") ||
	    says(c, "content_policy", NULL))
		return err_set(ERR_BLOCKED,
		    "%s: the provider's content filter refused", api);
	if (says(c, "model_not_found", NULL) ||
	    (status == 404 && says(c, "not_found", "model")))
		return err_set(ERR_UPSTREAM,
		    "%s: the provider does not know model \"%s\": check %s, "
		    "or the model that the brand names",
		    api, model, p->names.name);
	if (status == 404)
		return err_set(ERR_UPSTREAM,
		    "%s: the provider answered 404: check the path of %s", api,
		    p->names.url);
	if (says(c, "insufficient_quota", NULL))
		return err_set(ERR_UPSTREAM,
		    "%s: the quota of our key is used up: see the provider's "
		    "billing page",
		    api);
	if (status == 429)
		return err_set(ERR_OVERLOADED,
		    "%s: the provider limits our rate (HTTP 429): lower "
		    "XIN_MODEL_CALLS_PER_MINUTE",
		    api);
	/* Its gateway speaks, or it is full (529 at some): it may come back. */
	if ((status >= 502 && status <= 504) || status == 529)
		return err_set(ERR_UNAVAILABLE,
		    "%s: the provider is down (HTTP %d)", api, status);
	return refused(p, status, c);
}

enum err_code
model__provider_error(const struct provider *p, const char *model, int status,
    const char *body, size_t len)
{
	struct complaint complaint;

	read_complaint(body, len, &complaint);
	return explain(p, model, status, &complaint);
}

enum err_code
model__provider_status(const struct provider *p, const char *model, int status,
    const struct buf *body, bool *again_out)
{
	struct complaint complaint;

	read_complaint(buf_str(body), body->len, &complaint);
	*again_out =
	    status == 408 || status == 409 || status == 429 || status >= 500;
	if (says(&complaint, "insufficient_quota", NULL))
		*again_out = false;
	return explain(p, model, status, &complaint);
}
