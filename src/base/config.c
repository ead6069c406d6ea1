/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings from the environment and `.env`, held against the table. Loaded
 * once before threads start; constant afterwards.
 */
#include "base/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

extern char **environ;

static const struct {
	const char *name;
	enum config_type type;
	const char *fallback;
	int64_t min, max;
	const char *help;
} table[CONFIG_COUNT] = {
#define CONFIG(sym, type, name, fallback, min, max, help)                      \
	[sym] = { name, type, fallback, min, max, help },
#include "base/config.def"
#undef CONFIG
};

static struct {
	char *text;
	int64_t number;
	bool set;
} values[CONFIG_COUNT];

static struct brand_secret {
	struct brand_secret *next;
	char *name;
	char *value;
} * brand_secrets;

#define BRAND_SECRET "GATEWAY_WEBHOOK_SECRET_"

/* Names that the process reads elsewhere or that belong to other tools. */
static const char *const other_names[] = { "XIN_BINARY", "XIN_SHARED_DATA",
	"XIN_FAULT", "XIN_URL", "XIN_KEY", NULL };

static enum err_code
assign(int i, const char *value)
{
	int64_t number = 0;

	if (value[0] == '\0') { /* empty counts as unset */
		value = table[i].fallback;
		values[i].set = false;
	} else {
		values[i].set = true;
	}
	if (table[i].type == CONFIG_INT) {
		if (str_starts(value, "tcp://"))
			return err_set(ERR_CONFIG,
			    "%s is \"%s\": a Kubernetes service link; set "
			    "enableServiceLinks: false or name the port",
			    table[i].name, value);
		if (!str_to_i64(value, &number) || number < table[i].min ||
		    number > table[i].max)
			return err_set(ERR_CONFIG,
			    "%s is \"%s\"; it must be a number from %lld to "
			    "%lld",
			    table[i].name, value, (long long)table[i].min,
			    (long long)table[i].max);
	}
	mem_free(values[i].text);
	values[i].text = mem_strdup(value);
	values[i].number = number;
	return OK;
}

static int
find(const char *name)
{
	for (int i = 0; i < CONFIG_COUNT; i++)
		if (strcmp(table[i].name, name) == 0)
			return i;
	return -1;
}

static bool
is_service_link(const char *name, const char *value)
{
	return str_starts(name, "XIN_PLATFORM_") ||
	       str_ends(name, "_SERVICE_HOST") ||
	       str_ends(name, "_SERVICE_PORT") ||
	       (strstr(name, "_PORT") != NULL && str_starts(value, "tcp://"));
}

static enum err_code
refuse_unknown(const char *name)
{
	unsigned best = 8;
	const char *nearest = NULL;

	for (int i = 0; i < CONFIG_COUNT; i++) {
		unsigned distance = str_distance(name, table[i].name);

		if (distance < best) {
			best = distance;
			nearest = table[i].name;
		}
	}
	if (nearest != NULL)
		return err_set(ERR_CONFIG,
		    "unknown setting %s; did you mean %s?", name, nearest);
	return err_set(ERR_CONFIG,
	    "unknown setting %s; `xin help settings` lists them", name);
}

static void
keep_brand_secret(const char *name, const char *value)
{
	struct brand_secret *secret = mem_zero(sizeof(*secret));

	secret->name = mem_strdup(name + strlen(BRAND_SECRET));
	secret->value = mem_strdup(value);
	secret->next = brand_secrets;
	brand_secrets = secret;
}

static enum err_code
take(const char *name, const char *value)
{
	int i = find(name);

	if (i >= 0)
		return assign(i, value);
	if (str_starts(name, BRAND_SECRET) && value[0] != '\0') {
		keep_brand_secret(name, value);
		return OK;
	}
	if (!str_starts(name, "XIN_"))
		return OK;
	for (size_t k = 0; other_names[k] != NULL; k++)
		if (strcmp(name, other_names[k]) == 0)
			return OK;
	if (is_service_link(name, value)) {
		log_warn("config.service_link_ignored", kv_str("name", name));
		return OK;
	}
	return refuse_unknown(name);
}

/* NAME=value, `#` comments, optional double quotes; no expansion. */
static enum err_code
take_line(const char *file, int number, char *line)
{
	char *name = line, *value, *end;

	while (isspace((unsigned char)*name))
		name++;
	if (*name == '\0' || *name == '#')
		return OK;
	if (str_starts(name, "export "))
		name += 7;
	value = strchr(name, '=');
	if (value == NULL || value == name)
		return err_set(
		    ERR_CONFIG, "%s:%d: expected NAME=value", file, number);
	*value++ = '\0';
	end = value + strlen(value);
	while (end > value && isspace((unsigned char)end[-1]))
		*--end = '\0';
	if (*value == '"') {
		if (end - value < 2 || end[-1] != '"')
			return err_set(ERR_CONFIG, "%s:%d: quote not closed",
			    file, number);
		end[-1] = '\0';
		value++;
	}
	if (getenv(name) != NULL)
		return OK; /* the environment wins */
	return take(name, value);
}

static enum err_code
load_file(const char *path)
{
	FILE *file = fopen(path, "re");
	enum err_code rc = OK;
	size_t cap = 0;
	char *line = NULL;
	int number = 0;

	if (file == NULL) {
		if (errno == ENOENT)
			return OK;
		return err_set(
		    ERR_CONFIG, "cannot read %s: %s", path, strerror(errno));
	}
	while (rc == OK && getline(&line, &cap, file) >= 0)
		rc = take_line(path, ++number, line);
	free(line);
	fclose(file);
	return rc;
}

/* Names that other programs use for the same thing: ours wins. */
static enum err_code
take_other_names(void)
{
	static const struct {
		enum config from, to;
	} other[] = {
		{ CFG_DATABASE_URL, CFG_STORE_URL },
		{ CFG_QDRANT_URL, CFG_SEARCH_URL },
	};

	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		if (!config_is_set(other[i].to) && config_is_set(other[i].from))
			TRY(assign(
			    (int)other[i].to, config_str(other[i].from)));
	return OK;
}

enum err_code
config_load(const char *env_file)
{
	for (int i = 0; i < CONFIG_COUNT; i++)
		TRY(assign(i, ""));
	if (env_file != NULL)
		TRY(load_file(env_file));
	for (char **env = environ; *env != NULL; env++) {
		const char *equals = strchr(*env, '=');
		enum err_code rc;
		char *name;

		if (equals == NULL)
			continue;
		name = mem_strndup(*env, (size_t)(equals - *env));
		rc = take(name, equals + 1);
		mem_free(name);
		if (rc != OK)
			return rc;
	}
	return take_other_names();
}

const char *
config_str(enum config setting)
{
	if (values[setting].text == NULL)
		return table[setting].fallback;
	return values[setting].text;
}

int64_t
config_int(enum config setting)
{
	int64_t number = 0;

	if (values[setting].text == NULL)
		str_to_i64(table[setting].fallback, &number);
	else
		number = values[setting].number;
	return number;
}

bool
config_is_set(enum config setting)
{
	return values[setting].set;
}

const char *
config_brand_secret(const char *brand_id)
{
	for (struct brand_secret *s = brand_secrets; s != NULL; s = s->next) {
		size_t i;

		for (i = 0; brand_id[i] != '\0'; i++) {
			char c =
			    brand_id[i] == '-'
				? '_'
				: (char)toupper((unsigned char)brand_id[i]);

			if (s->name[i] != c)
				break;
		}
		if (brand_id[i] == '\0' && s->name[i] == '\0')
			return s->value;
	}
	return NULL;
}

void
config_override(enum config setting, const char *value)
{
	must(assign((int)setting, value) == OK);
}

const char *
config_name(enum config setting)
{
	return table[setting].name;
}

void
config_describe(struct buf *out)
{
	for (int i = 0; i < CONFIG_COUNT; i++)
		buf_addf(out, "%s\n    %s%s%s%s\n", table[i].name,
		    table[i].help, table[i].fallback[0] ? " Default: " : "",
		    table[i].fallback, table[i].fallback[0] ? "." : "");
}

void
config_limits_json(struct buf *out)
{
	bool first = true;

	buf_addc(out, '{');
	for (int i = 0; i < CONFIG_COUNT; i++) {
		if (table[i].type != CONFIG_INT ||
		    !str_starts(table[i].name, "XIN_"))
			continue;
		buf_addf(out, "%s\"", first ? "" : ",");
		for (const char *p = table[i].name + 4; *p != '\0'; p++)
			buf_addc(out, (char)tolower((unsigned char)*p));
		buf_addf(out, "\":%lld", (long long)config_int((enum config)i));
		first = false;
	}
	buf_addc(out, '}');
}
