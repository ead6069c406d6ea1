/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be told of a text in a trace. Lengths of words and their first
 * letters show whether a turn ran off the rails, and nobody's secret. Numbers
 * show nothing at all.
 */
#include "domain/trace_content.h"

#include <string.h>

#include "base/config.h"

#define CONTENT_BYTES 1024

static bool
is_start(unsigned char c) /* of a character in UTF-8 */
{
	return (c & 0xc0) != 0x80;
}

static bool
is_letter(unsigned char c) /* all that is not ASCII counts as one */
{
	return c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

void
trace_content_mask(const char *text, char *out, size_t size)
{
	size_t len = 0;
	bool inside = false, shown = false;

	for (; *text != '\0' && len + 5 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (!is_start(c)) { /* goes on as its first byte did */
			if (shown)
				out[len++] = *text;
			continue;
		}
		shown = !is_digit(c) && (!is_letter(c) || !inside);
		out[len++] = shown ? *text : '*';
		inside = is_letter(c) || is_digit(c);
	}
	out[len] = '\0';
}

void
trace_content(struct span *span, enum attribute key, const char *text)
{
	char masked[CONTENT_BYTES];

	if (span == NULL || text == NULL ||
	    strcmp(config_str(CFG_TRACE_CONTENT), "masked") != 0)
		return;
	trace_content_mask(text, masked, sizeof(masked));
	span_add(span, attr_str(key, masked));
}

enum err_code
trace_content_check(void)
{
	const char *word = config_str(CFG_TRACE_CONTENT);

	if (strcmp(word, "none") == 0 || strcmp(word, "masked") == 0)
		return OK;
	return err_set(ERR_CONFIG,
	    "XIN_TRACE_CONTENT is \"%.100s\"; it must be none or masked", word);
}
