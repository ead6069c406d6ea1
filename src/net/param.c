/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens and parameters of header values (RFC 9110 5.6.2, 5.6.6). Reading is
 * strict: a value that is not well formed as a whole gives no parameter. */
#include <string.h>
#include <strings.h>

#include "net/internal.h"

bool
net__is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z');
}

bool
net__is_token(char c)
{
	return net__is_alnum(c) ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static const char *
skip_space(const char *at)
{
	return at + strspn(at, " \t");
}

struct value {
	char *text; /* NULL: only looked over */
	size_t len, size;
	bool cut;
};

static void
add(struct value *value, char c)
{
	if (value->text == NULL)
		return;
	if (value->len + 1 >= value->size) {
		value->cut = true;
		return;
	}
	value->text[value->len++] = c;
}

/* After "name=": a token or a quoted string; NULL when it is neither. */
static const char *
take_value(const char *at, struct value *value)
{
	if (*at != '"') {
		const char *from = at;

		while (net__is_token(*at))
			add(value, *at++);
		return at == from ? NULL : at;
	}
	for (at++; *at != '"'; at++) {
		if (*at == '\0')
			return NULL;
		if (*at == '\\' && (at[1] == '"' || at[1] == '\\') &&
		    at[1] != '\0')
			at++;
		add(value, *at);
	}
	return at + 1;
}

enum net_param
net__param(const char *at, const char *name, char *text, size_t size)
{
	size_t name_len = strlen(name);
	bool found = false;

	for (at = skip_space(at); *at != '\0'; at = skip_space(at)) {
		struct value value = { .size = size };
		const char *from;

		if (*at != ';')
			return NET_PARAM_BAD;
		at = from = skip_space(at + 1);
		if (*at == '\0')
			break; /* a last semicolon, which some clients send */
		while (net__is_token(*at))
			at++;
		if (at == from || *at != '=')
			return NET_PARAM_BAD;
		if ((size_t)(at - from) == name_len &&
		    strncasecmp(from, name, name_len) == 0) {
			if (found)
				return NET_PARAM_BAD;
			found = true;
			value.text = text;
		}
		at = take_value(at + 1, &value);
		if (at == NULL || value.cut)
			return NET_PARAM_BAD;
		if (value.text != NULL)
			value.text[value.len] = '\0';
	}
	return found ? NET_PARAM_FOUND : NET_PARAM_ABSENT;
}
