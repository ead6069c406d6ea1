/* SPDX-License-Identifier: Apache-2.0 */
/* The OTEL_* settings, held against what they may be. */
#include "telemetry/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/config.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/protobuf.h"
#include "base/str.h"

#define ATTRIBUTES_MAX 64

/* ---- pairs ---- */

static char *
trimmed(const char *text, size_t len)
{
	while (len > 0 && (*text == ' ' || *text == '\t'))
		text++, len--;
	while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
		len--;
	return mem_strndup(text, len);
}

/* In place; false for a "%" without two digits, or what is no text. */
static bool
percent_decode(char *text)
{
	char *to = text;

	for (; *text != '\0'; text++) {
		uint8_t byte;

		if (*text != '%') {
			*to++ = *text;
			continue;
		}
		if (!crypto_unhex(text + 1, strnlen(text + 1, 2), &byte, 1) ||
		    byte == 0)
			return false;
		*to++ = (char)byte;
		text += 2;
	}
	*to = '\0';
	return true;
}

static enum err_code
one_pair(const char *text, size_t len, unsigned place, settings_pair_fn pair,
    void *arg)
{
	const char *equals = memchr(text, '=', len);
	char *key, *value;
	bool good;
	enum err_code rc;

	if (equals == NULL)
		return pair(arg, place, "", NULL);
	key = trimmed(text, (size_t)(equals - text));
	value = trimmed(equals + 1, len - (size_t)(equals - text) - 1);
	good = key[0] != '\0' && percent_decode(value) &&
	       str_is_utf8(value, strlen(value));
	rc = pair(arg, place, key, good ? value : NULL);
	mem_free(key);
	mem_free(value);
	return rc;
}

enum err_code
settings_pairs(const char *text, settings_pair_fn pair, void *arg)
{
	for (unsigned place = 1; *text != '\0'; place++) {
		size_t len = strcspn(text, ",");
		size_t blank = strspn(text, " \t");

		if (blank < len) /* empty ones are none */
			TRY(one_pair(text, len, place, pair, arg));
		text += len;
		text += *text == ',';
	}
	return OK;
}

/* ---- headers ---- */

struct header_list {
	struct trace_settings *settings;
	const char *setting;
	size_t count;
};

static bool
is_token(const char *name)
{
	for (; *name != '\0'; name++)
		if (!((*name >= 'a' && *name <= 'z') ||
			(*name >= 'A' && *name <= 'Z') ||
			(*name >= '0' && *name <= '9') ||
			strchr("!#$%&'*+-.^_`|~", *name) != NULL))
			return false;
	return true;
}

static bool
is_header_value(const char *value)
{
	for (; *value != '\0'; value++)
		if ((unsigned char)*value < ' ' || *value == 0x7f)
			return false;
	return true;
}

/* Neither key nor value is said: a slip may have put a secret into either. */
static enum err_code
add_header(void *arg, unsigned place, const char *key, const char *value)
{
	struct header_list *list = arg;

	if (value == NULL || !is_token(key) || !is_header_value(value) ||
	    list->count == SETTINGS_HEADERS_MAX) {
		log_warn("tracing.header_skipped",
		    kv_str("setting", list->setting), kv_int("pair", place),
		    kv_str("reason", list->count == SETTINGS_HEADERS_MAX
					 ? "too many"
					 : "want key=value"));
		return OK;
	}
	list->settings->headers[list->count++] =
	    mem_printf("%s: %s", key, value);
	return OK;
}

static enum config
first_set(enum config a, enum config b, enum config c)
{
	return config_is_set(a) ? a : config_is_set(b) ? b : c;
}

static enum err_code
read_headers(struct trace_settings *settings)
{
	enum config from = first_set(
	    CFG_OTEL_HEADERS, CFG_OTLP_TRACES_HEADERS, CFG_OTLP_HEADERS);
	struct header_list list = { settings, config_name(from), 0 };

	return settings_pairs(config_str(from), add_header, &list);
}

/* ---- the endpoint ---- */

static enum err_code
check_url(enum config from)
{
	const char *url = config_str(from);
	size_t scheme = strncasecmp(url, "http://", 7) == 0    ? 7
			: strncasecmp(url, "https://", 8) == 0 ? 8
							       : 0;

	if (scheme > 0 && strcspn(url + scheme, "/?#:") > 0 &&
	    strpbrk(url, " \t\r\n#") == NULL)
		return OK;
	return err_set(ERR_CONFIG,
	    "%s is \"%.200s\"; it must be a URL such as "
	    "http://otel-collector:4318/v1/traces",
	    config_name(from), url);
}

static enum err_code
read_endpoint(struct trace_settings *settings)
{
	enum config from = first_set(
	    CFG_OTEL_ENDPOINT, CFG_OTLP_TRACES_ENDPOINT, CFG_OTLP_ENDPOINT);
	const char *url = config_str(from);
	size_t len = strlen(url);

	if (len == 0)
		return OK;
	TRY(check_url(from));
	if (from == CFG_OTLP_ENDPOINT) {
		while (len > 0 && url[len - 1] == '/')
			len--;
		settings->url = mem_printf("%.*s/v1/traces", (int)len, url);
	} else {
		settings->url = mem_strdup(url);
	}
	settings->on = true;
	return OK;
}

/* ---- words ---- */

/* The place of a setting's value in a list of words. */
static enum err_code
read_word(enum config setting, const char *const *words, int *word_out)
{
	const char *value = config_str(setting);
	char list[256] = "";
	size_t used = 0;

	for (int i = 0; words[i] != NULL; i++) {
		if (strcasecmp(value, words[i]) == 0) {
			*word_out = i;
			return OK;
		}
		used += (size_t)snprintf(list + used, sizeof(list) - used,
		    "%s%s", i > 0 ? ", " : "", words[i]);
	}
	return err_set(ERR_CONFIG, "%s is \"%.100s\"; it must be one of: %s",
	    config_name(setting), value, list);
}

static enum err_code
read_sampler(struct trace_options *out)
{
	static const char *const words[] = { [TRACE_PARENT_ALWAYS_ON] =
						 "parentbased_always_on",
		[TRACE_PARENT_ALWAYS_OFF] = "parentbased_always_off",
		[TRACE_PARENT_RATIO] = "parentbased_traceidratio",
		[TRACE_ALWAYS_ON] = "always_on",
		[TRACE_ALWAYS_OFF] = "always_off",
		[TRACE_RATIO] = "traceidratio",
		NULL };
	const char *arg = config_str(CFG_OTEL_SAMPLER_ARG);
	char *end;
	int word;

	TRY(read_word(CFG_OTEL_SAMPLER, words, &word));
	out->sampler = (enum trace_sampler)word;
	out->ratio = 1;
	if (arg[0] == '\0')
		return OK;
	out->ratio = strtod(arg, &end);
	if (*end != '\0' || !(out->ratio >= 0 && out->ratio <= 1))
		return err_set(ERR_CONFIG,
		    "OTEL_TRACES_SAMPLER_ARG is \"%.100s\"; it must be a share "
		    "from 0 to 1",
		    arg);
	return OK;
}

static enum err_code
read_propagators(struct trace_options *out)
{
	const char *at = config_str(CFG_OTEL_PROPAGATORS);

	out->no_context = out->no_baggage = true;
	while (*at != '\0') {
		size_t len = strcspn(at, ",");
		char *word = trimmed(at, len);
		bool known = true;

		if (strcmp(word, "tracecontext") == 0)
			out->no_context = false;
		else if (strcmp(word, "baggage") == 0)
			out->no_baggage = false;
		else
			known = strcmp(word, "none") == 0 || *word == '\0';
		mem_free(word);
		if (!known)
			return err_set(ERR_CONFIG,
			    "OTEL_PROPAGATORS is \"%.100s\"; known are "
			    "tracecontext, baggage and none",
			    config_str(CFG_OTEL_PROPAGATORS));
		at += len;
		at += *at == ',';
	}
	return OK;
}

static enum err_code
read_switches(struct trace_settings *settings)
{
	static const char *const bools[] = { "false", "true", NULL };
	static const char *const exporters[] = { "otlp", "none", NULL };
	static const char *const protocols[] = { "http/protobuf", NULL };
	static const char *const packing[] = { "none", "gzip", NULL };
	int disabled, exporter, protocol, gzip;

	TRY(read_word(CFG_OTEL_DISABLED, bools, &disabled));
	TRY(read_word(CFG_OTEL_TRACES_EXPORTER, exporters, &exporter));
	TRY(read_word(config_is_set(CFG_OTLP_TRACES_PROTOCOL)
			  ? CFG_OTLP_TRACES_PROTOCOL
			  : CFG_OTLP_PROTOCOL,
	    protocols, &protocol));
	TRY(read_word(config_is_set(CFG_OTLP_TRACES_COMPRESSION)
			  ? CFG_OTLP_TRACES_COMPRESSION
			  : CFG_OTLP_COMPRESSION,
	    packing, &gzip));
	settings->gzip = gzip == 1;
	settings->told_off = disabled == 1 || exporter == 1;
	settings->on = settings->on && !settings->told_off;
	return OK;
}

/* ---- files and numbers ---- */

static enum err_code
read_file_name(enum config own, enum config general, const char **name_out)
{
	enum config from = config_is_set(own) ? own : general;
	const char *name = config_str(from);

	*name_out = name[0] != '\0' ? name : NULL;
	if (*name_out != NULL && access(name, R_OK) != 0)
		return err_set(ERR_CONFIG,
		    "%s is \"%.200s\", which cannot be read", config_name(from),
		    name);
	return OK;
}

static enum err_code
read_tls(struct http_tls *out)
{
	TRY(read_file_name(
	    CFG_OTLP_TRACES_CERTIFICATE, CFG_OTLP_CERTIFICATE, &out->ca));
	TRY(read_file_name(CFG_OTLP_TRACES_CLIENT_CERTIFICATE,
	    CFG_OTLP_CLIENT_CERTIFICATE, &out->cert));
	return read_file_name(
	    CFG_OTLP_TRACES_CLIENT_KEY, CFG_OTLP_CLIENT_KEY, &out->key);
}

static enum err_code
read_numbers(struct trace_settings *settings)
{
	settings->timeout_ms = (uint64_t)config_int(
	    config_is_set(CFG_OTLP_TRACES_TIMEOUT) ? CFG_OTLP_TRACES_TIMEOUT
						   : CFG_OTLP_TIMEOUT);
	settings->export_ms = (uint64_t)config_int(CFG_BSP_EXPORT_TIMEOUT);
	settings->schedule_ms = (uint64_t)config_int(CFG_BSP_DELAY);
	settings->queue_max = (uint64_t)config_int(CFG_BSP_QUEUE);
	settings->batch_max = (uint64_t)config_int(CFG_BSP_BATCH);
	if (settings->batch_max > settings->queue_max)
		return err_set(ERR_CONFIG,
		    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is over "
		    "OTEL_BSP_MAX_QUEUE_SIZE");
	return OK;
}

enum err_code
settings_read(struct trace_settings *settings_out)
{
	struct trace_settings settings = { 0 };
	struct buf resource;
	enum err_code rc = read_endpoint(&settings);

	buf_init(&resource, 0);
	if (rc == OK)
		rc = read_switches(&settings);
	if (rc == OK)
		rc = read_sampler(&settings.context);
	if (rc == OK)
		rc = read_propagators(&settings.context);
	if (rc == OK)
		rc = read_tls(&settings.tls);
	if (rc == OK)
		rc = read_numbers(&settings);
	if (rc == OK)
		rc = settings_resource(SERVICE_NONE, &resource);
	if (rc == OK && settings.on)
		rc = read_headers(&settings);
	buf_done(&resource);
	if (rc != OK) {
		settings_done(&settings);
		return rc;
	}
	*settings_out = settings;
	return OK;
}

void
settings_done(struct trace_settings *settings)
{
	mem_free(settings->url);
	for (size_t i = 0; i < SETTINGS_HEADERS_MAX; i++)
		mem_free(settings->headers[i]);
	*settings = (struct trace_settings){ 0 };
}

/* ---- the resource ---- */

struct resource {
	struct buf *out;
	const char *keys[ATTRIBUTES_MAX];
	size_t count;
};

static void
put_attribute(struct buf *out, const char *key, const char *value)
{
	size_t k = strlen(key), v = strlen(value);
	size_t any = 1 + pb_varint_size(v) + v;
	size_t pair = 1 + pb_varint_size(k) + k + 1 + pb_varint_size(any) + any;
	uint8_t *p;

	buf_reserve(out, pair + 12);
	p = (uint8_t *)out->data + out->len;
	p = pb_varint(pb_tag(p, 1, PB_BYTES), pair);
	p = pb_bytes(p, 1, key, k);
	p = pb_varint(pb_tag(p, 2, PB_BYTES), any);
	p = pb_bytes(p, 1, value, v);
	out->len = (size_t)((char *)p - out->data);
}

/* Keys are unique in a list. */
static bool
is_taken(const struct resource *resource, const char *key)
{
	for (size_t i = 0; i < resource->count; i++)
		if (strcmp(resource->keys[i], key) == 0)
			return true;
	return false;
}

static void
add_attribute(struct resource *resource, const char *key, const char *value)
{
	if (value[0] == '\0' || resource->count == ATTRIBUTES_MAX ||
	    is_taken(resource, key))
		return;
	resource->keys[resource->count++] = mem_strdup(key);
	put_attribute(resource->out, key, value);
}

static enum err_code
add_given(void *arg, unsigned place, const char *key, const char *value)
{
	if (value == NULL)
		return err_set(ERR_CONFIG,
		    "OTEL_RESOURCE_ATTRIBUTES: pair %u must be key=value, with "
		    "blanks, commas and %% as %%XX",
		    place);
	add_attribute(arg, key, value);
	return OK;
}

enum err_code
settings_resource(enum service service, struct buf *out)
{
	static char instance[33];
	struct resource resource = { .out = out };
	char host[256] = "", pid[16];
	uint8_t noise[16];
	enum err_code rc;

	if (instance[0] == '\0') {
		crypto_random(noise, sizeof(noise));
		crypto_hex(noise, sizeof(noise), instance);
	}
	gethostname(host, sizeof(host) - 1);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	add_attribute(&resource, "service.name", service_name(service));
	rc =
	    settings_pairs(config_str(CFG_OTEL_RESOURCE), add_given, &resource);
	add_attribute(&resource, "service.namespace", "xin");
	add_attribute(&resource, "service.version", XIN_VERSION);
	add_attribute(&resource, "service.instance.id", instance);
	add_attribute(&resource, "host.name", host);
	add_attribute(&resource, "telemetry.sdk.name", "xin");
	add_attribute(&resource, "telemetry.sdk.language", "c");
	add_attribute(&resource, "telemetry.sdk.version", XIN_VERSION);
	for (size_t i = 0; i < resource.count; i++)
		mem_free(resource.keys[i]);
	return rc;
}
