/* SPDX-License-Identifier: Apache-2.0 */
/* What the rest of the domain wants to know of a brand. */
#include "domain/brand.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/task.h"

enum err_code
brand_exists(const char *brand)
{
	struct script_generation *gen;
	char name[96];
	bool found;

	if (!str_is_name(brand))
		return err_set(ERR_NOT_FOUND, "brand");
	gen = script_active();
	if (gen == NULL)
		return err_set(ERR_UNAVAILABLE, "no scripts are active");
	snprintf(name, sizeof(name), "brands/%s.lua", brand);
	found = script_generation_file(gen, name) != NULL;
	script_generation_unref(gen);
	if (!found)
		return err_set(ERR_NOT_FOUND, "brand \"%s\"", brand);
	return OK;
}

const char *
brand_sentence(const json_t *fields, const char *key, const char *language)
{
	json_t *value = json_object_get(fields, key);
	const char *text;
	void *first;

	if (json_is_string(value))
		return json_string_value(value);
	if (!json_is_object(value))
		return NULL;
	text = language != NULL ? json_str(value, language) : NULL;
	if (text == NULL)
		text = json_str(value, "en");
	first = json_object_iter(value);
	if (text == NULL && first != NULL)
		text = json_string_value(json_object_iter_value(first));
	return text;
}

static json_t *
strings_or_empty(const json_t *fields, const char *key)
{
	json_t *list = json_object_get(fields, key);

	return json_is_array(list) ? json_incref(list) : json_array();
}

static bool
reads_right_to_left(const json_t *fields)
{
	const json_t *languages = json_object_get(fields, "languages");
	const char *first = json_string_value(json_array_get(languages, 0));
	const char *given = json_str(fields, "direction");

	if (given != NULL)
		return strcmp(given, "rtl") == 0;
	return first != NULL &&
	       (strcmp(first, "fa") == 0 || strcmp(first, "ar") == 0 ||
		   strcmp(first, "he") == 0 || strcmp(first, "ur") == 0);
}

static enum err_code
describe(struct script_generation *gen, const char *brand, json_t *list)
{
	json_auto json_t *fields = NULL;
	struct script_session *session;
	const char *title;
	enum err_code rc;

	TRY(script_session_open(brand, gen, NULL, &session));
	rc = script_module_fields(session, SCRIPT_BRAND, brand, &fields);
	script_session_close(session);
	if (rc != OK)
		return rc;
	title = json_str(fields, "title");
	json_array_append_new(
	    list, json_pack("{s:s, s:s, s:o, s:o, s:s}", "id", brand, "title",
		      title != NULL ? title : brand, "languages",
		      strings_or_empty(fields, "languages"), "channels",
		      strings_or_empty(fields, "channels"), "direction",
		      reads_right_to_left(fields) ? "rtl" : "ltr"));
	return OK;
}

enum err_code
brand_list(const struct principal *who, json_t **list_out)
{
	struct script_generation *gen = script_active();
	const struct script_file *files;
	json_t *list;
	size_t count;

	if (gen == NULL)
		return err_set(ERR_UNAVAILABLE, "no scripts are active");
	list = json_array();
	count = script_generation_files(gen, &files);
	for (size_t i = 0; i < count; i++) {
		const char *name = files[i].name;
		char brand[BRAND_ID_SIZE];

		if (!str_starts(name, "brands/") || !str_ends(name, ".lua") ||
		    str_ends(name, "_spec.lua"))
			continue;
		str_copy_n(brand, sizeof(brand), name + 7, strlen(name) - 11);
		if (!str_is_name(brand) || !auth_sees(who, brand))
			continue;
		if (describe(gen, brand, list) != OK)
			log_warn("brand.unreadable", kv_str("brand", brand),
			    kv_error("error", err_message()));
	}
	script_generation_unref(gen);
	*list_out = json_pack("{s:o}", "brands", list);
	return OK;
}
