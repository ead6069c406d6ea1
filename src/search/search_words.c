/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a chunk says, for every back end: its distinct tokens and how often each
 * counts. The title counts twice, since a chunk in the middle of a document
 * says little of what the document is about.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "search/search_backend.h"
#include "text/text.h"

struct collector {
	struct search_words *words;
	size_t cap;
	uint32_t weight;
};

static bool
collect(void *arg, const struct text_token *token)
{
	struct collector *to = arg;
	struct search_words *words = to->words;

	if (words->count == to->cap) {
		to->cap = to->cap == 0 ? 256 : to->cap * 2;
		words->items =
		    mem_resize(words->items, to->cap * sizeof(*words->items));
	}
	/* The text grows and moves: positions now, pointers at the end. */
	words->items[words->count++] = (struct search_word){
		.at = words->text.len, .len = token->len, .count = to->weight
	};
	buf_add(&words->text, token->text, token->len);
	buf_addc(&words->text, '\0');
	words->length += to->weight;
	return true;
}

static int
by_token(const void *a, const void *b)
{
	const struct search_word *x = a, *y = b;

	return strcmp(x->token, y->token);
}

static void
merge(struct search_words *words)
{
	size_t kept = 0;

	for (size_t i = 0; i < words->count; i++)
		words->items[i].token = words->text.data + words->items[i].at;
	if (words->count > 0)
		qsort(words->items, words->count, sizeof(*words->items),
		    by_token);
	for (size_t i = 0; i < words->count; i++) {
		if (kept > 0 &&
		    by_token(&words->items[kept - 1], &words->items[i]) == 0)
			words->items[kept - 1].count += words->items[i].count;
		else
			words->items[kept++] = words->items[i];
	}
	words->count = kept;
}

void
search_words_of(
    const char *title, const struct chunk *chunk, struct search_words *out)
{
	const char *heading = chunk->heading != NULL ? chunk->heading : "";
	struct collector to = { .words = out, .weight = 2 };

	*out = (struct search_words){ 0 };
	if (title != NULL)
		text_tokens(title, strlen(title), collect, &to);
	to.weight = 1;
	text_tokens(heading, strlen(heading), collect, &to);
	text_tokens(chunk->text, chunk->len, collect, &to);
	merge(out);
}

void
search_words_done(struct search_words *words)
{
	buf_done(&words->text);
	mem_free(words->items);
	*words = (struct search_words){ 0 };
}
