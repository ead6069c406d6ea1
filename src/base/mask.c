/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sentences without what came from outside. A length is all that is told of
 * it: a hash, even a keyed one, would join a person's lines over time.
 */
#include "base/mask.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

#define WORD_MAX  64
#define KNOWN_MIN 6
#define WORD                                                                   \
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-"

bool
mask_is_id(const char *text, size_t len)
{
	size_t good = 0;

	if (len != 29 || text[2] != '_')
		return false;
	for (size_t i = 0; i < len; i++)
		good += (text[i] >= 'a' && text[i] <= 'z') ||
			(i > 2 && text[i] >= '0' && text[i] <= '9');
	return good == 28;
}

void
mask_quoted(const char *sentence, char *out, size_t size)
{
	const char *first = sentence != NULL ? strchr(sentence, '"') : NULL;
	const char *last;
	size_t len;

	if (first == NULL) {
		str_copy(out, size, sentence != NULL ? sentence : "");
		return;
	}
	len = strlen(sentence);
	last = strrchr(first, '"') + 1;
	if (last == first + 1 || len >= ERR_MESSAGE_MAX - 1)
		last = sentence + len;
	if (mask_is_id(first + 1, (size_t)(last - first) - 2))
		str_copy(out, size, sentence);
	else
		snprintf(out, size, "%.*s(%zu bytes)%s",
		    (int)(first - sentence), sentence, (size_t)(last - first),
		    last);
}

void
mask_unless_word(const char *text, char *out, size_t size)
{
	size_t len = strlen(text);

	if (len <= WORD_MAX && strspn(text, WORD) == len)
		str_copy(out, size, text);
	else
		snprintf(out, size, "(%zu bytes)", len);
}

/* The longest beginning of `text` that stands in `known`, 0 when short. */
static size_t
known_here(const char *text, size_t len, const char *known, size_t known_len)
{
	size_t good = 0, more = KNOWN_MIN;

	while (good + more <= len &&
	       memmem(known, known_len, text, good + more) != NULL) {
		good += more;
		more = 1;
	}
	return good;
}

void
mask_quote_foreign(const char *text, const char *known, size_t known_len,
    char *out, size_t size)
{
	size_t len = strlen(text), first = len, last = 0, good;

	for (size_t at = 0; at < len; at += good) {
		good = known_here(text + at, len - at, known, known_len);
		if (good > 0)
			continue;
		good = 1;
		if (first == len)
			first = at;
		last = at + 1;
	}
	if (first == len)
		str_copy(out, size, text);
	else
		snprintf(out, size, "%.*s\"%.*s\"%s", (int)first, text,
		    (int)(last - first), text + first, text + last);
}
