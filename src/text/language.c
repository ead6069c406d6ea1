/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guess at the language from scripts, tell-tale letters and, for Latin
 * letters, function words; and the similarity of two texts. Only the first
 * kilobytes are looked at.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/text_internal.h"

#define LOOK_BYTES 4096

struct counts {
	size_t latin, arabic, persian, arabic_only, urdu, han, kana, hangul;
	size_t devanagari, cyrillic, ukrainian, greek, hebrew, thai;
};

static void
count_arabic(struct counts *c, int32_t cp)
{
	c->arabic++;
	if (cp == 0x67E || cp == 0x686 || cp == 0x698 || cp == 0x6AF ||
	    cp == 0x6A9 || cp == 0x6CC)
		c->persian++;
	else if (cp == 0x643 || cp == 0x64A || cp == 0x629 || cp == 0x649 ||
		 cp == 0x623 || cp == 0x625)
		c->arabic_only++;
	else if (cp == 0x679 || cp == 0x688 || cp == 0x691 || cp == 0x6BA ||
		 cp == 0x6D2 || cp == 0x6BE || cp == 0x6C1)
		c->urdu++;
}

static void
count_one(struct counts *c, int32_t cp)
{
	if ((cp >= 'A' && cp <= 'Z') || (cp >= 'a' && cp <= 'z') ||
	    (cp >= 0xC0 && cp <= 0x24F))
		c->latin++;
	else if (cp >= 0x620 && cp <= 0x6FF)
		count_arabic(c, cp);
	else if (cp >= 0x370 && cp <= 0x3FF)
		c->greek++;
	else if (cp >= 0x400 && cp <= 0x52F) {
		c->cyrillic++;
		c->ukrainian += cp == 0x456 || cp == 0x457 || cp == 0x454;
	} else if (cp >= 0x5D0 && cp <= 0x5EA)
		c->hebrew++;
	else if (cp >= 0x900 && cp <= 0x97F)
		c->devanagari++;
	else if (cp >= 0xE00 && cp <= 0xE7F)
		c->thai++;
	else if (cp >= 0x3040 && cp <= 0x30FF)
		c->kana++;
	else if (cp >= 0xAC00 && cp <= 0xD7A3)
		c->hangul++;
	else if (cp >= 0x3400 && cp <= 0x9FFF)
		c->han++;
}

static const struct {
	const char *name, *words;
} latin[] = {
	{ "en",
	    " the and of to in is are was what how do can my with for you it "
	    "where when which who i a does not " },
	{ "de", " der die das und ist nicht ein eine ich zu mit wie was wo den "
		"auf für sie wir " },
	{ "fr", " le la les des et est une un je vous que pour dans comment du "
		"pas où mon ma qui " },
	{ "es",
	    " el los las de y es una un que en por para como con mi no cómo "
	    "qué dónde se " },
	{ "it",
	    " il lo gli di e è una un che per come con non sono mi dove del "
	    "della " },
	{ "pt", " o os as de e é uma um que em por para como com não meu minha "
		"onde do da " },
	{ "nl",
	    " de het een en is niet ik van hoe wat waar met voor zijn op te "
	    "mijn " },
	{ "tr",
	    " ve bir bu için ne nasıl mi mı ile de da nerede benim var değil "
	    "kadar " },
};
#define LATIN_COUNT (sizeof(latin) / sizeof(*latin))

struct votes {
	size_t count[LATIN_COUNT];
	size_t words;
};

static bool
vote(struct votes *votes, const char *word, size_t len)
{
	char key[24];
	size_t i;

	if (len == 0 || len > sizeof(key) - 3)
		return true;
	key[0] = ' ';
	memcpy(key + 1, word, len);
	key[len + 1] = ' ';
	key[len + 2] = '\0';
	votes->words++;
	for (i = 0; i < LATIN_COUNT; i++)
		votes->count[i] += strstr(latin[i].words, key) != NULL;
	return true;
}

static const char *
latin_language(const char *text, size_t len)
{
	struct votes votes = { 0 };
	struct buf folded;
	size_t best = 0, from = 0, i;
	const char *s;

	buf_init(&folded, 0);
	text_fold(text, len, &folded);
	s = buf_str(&folded);
	for (i = 0; i <= folded.len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c >= 0x80 || (c >= 'a' && c <= 'z'))
			continue;
		vote(&votes, s + from, i - from);
		from = i + 1;
	}
	buf_done(&folded);
	for (i = 1; i < LATIN_COUNT; i++)
		if (votes.count[i] > votes.count[best])
			best = i;
	return votes.count[best] > 0 ? latin[best].name : "und";
}

static const char *
arabic_language(const struct counts *c)
{
	if (c->urdu * 10 > c->arabic)
		return "ur";
	if (c->persian > c->arabic_only)
		return "fa";
	return c->arabic_only > 0 ? "ar" : "fa";
}

const char *
text_language(const char *text, size_t len)
{
	struct counts c = { 0 };
	size_t at = 0, look = len < LOOK_BYTES ? len : LOOK_BYTES, best;
	int32_t cp;

	while (look < len && look > 0 &&
	       ((unsigned char)text[look] & 0xC0) == 0x80)
		look--;
	while (at < look) {
		at += text__decode(text + at, look - at, &cp);
		count_one(&c, cp);
	}
	best = c.latin;
	if (c.kana > 0 && (c.kana + c.han) * 2 > best)
		return "ja";
	if (c.han * 3 > best && c.han > 0)
		return "zh";
	if (c.arabic > best)
		return arabic_language(&c);
	if (c.devanagari > best)
		return "hi";
	if (c.hangul > best)
		return "ko";
	if (c.cyrillic > best)
		return c.ukrainian > 0 ? "uk" : "ru";
	if (c.greek > best)
		return "el";
	if (c.hebrew > best)
		return "he";
	if (c.thai > best)
		return "th";
	return c.latin > 0 ? latin_language(text, look) : "und";
}

#define SET_MAX 4096
struct set {
	uint64_t *items;
	size_t count;
};

static bool
collect(void *arg, const struct text_token *token)
{
	struct set *set = arg;
	uint64_t hash = UINT64_C(14695981039346656037);
	size_t i;

	for (i = 0; i < token->len; i++)
		hash = (hash ^ (unsigned char)token->text[i]) *
		       UINT64_C(1099511628211);
	set->items[set->count++] = hash;
	return set->count < SET_MAX;
}

static int
compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void
set_of(const char *text, size_t len, struct set *set)
{
	size_t i, n = 0;

	set->items = mem_alloc(SET_MAX * sizeof(*set->items));
	set->count = 0;
	text_tokens(text, len, collect, set);
	qsort(set->items, set->count, sizeof(*set->items), compare);
	for (i = 0; i < set->count; i++)
		if (n == 0 || set->items[n - 1] != set->items[i])
			set->items[n++] = set->items[i];
	set->count = n;
}

double
text_similarity(const char *a, size_t a_len, const char *b, size_t b_len)
{
	struct set x, y;
	size_t i = 0, j = 0, common = 0, all;

	set_of(a, a_len, &x);
	set_of(b, b_len, &y);
	while (i < x.count && j < y.count) {
		if (x.items[i] == y.items[j]) {
			common++;
			i++;
			j++;
		} else if (x.items[i] < y.items[j]) {
			i++;
		} else {
			j++;
		}
	}
	all = x.count + y.count;
	mem_free(x.items);
	mem_free(y.items);
	return all == 0 ? 0 : 2.0 * (double)common / (double)all;
}
