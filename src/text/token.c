/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens over folded text: the words of UAX #29 as far as they matter for
 * search. Letters, digits and marks make a word; an apostrophe or a dot
 * between letters and a separator between digits stay inside; ZWNJ ends a
 * word, and the joined form follows its parts. Han, Kana, Thai and their kin
 * write no spaces: pairs of neighbours are the tokens. Unlike UAX #29 an
 * underscore separates, since titles and file names use it as a space.
 */
#include <string.h>
#include <utf8proc.h>

#include "text/text_internal.h"

#define TOKEN_MAX 64

enum class {
	CLASS_OTHER,
	CLASS_WORD, /* letters of scripts with spaces, and marks */
	CLASS_DIGIT,
	CLASS_PAIR, /* scripts without spaces */
};

static bool
is_unspaced(int32_t cp)
{
	return (cp >= 0x0E00 && cp <= 0x0EFF) || /* Thai, Lao */
	       (cp >= 0x1000 && cp <= 0x109F) || /* Myanmar */
	       (cp >= 0x1780 && cp <= 0x17FF) || /* Khmer */
	       (cp >= 0x3005 && cp <= 0x3007) || /* ideographic marks */
	       (cp >= 0x3040 && cp <= 0x30FF) || /* Kana */
	       (cp >= 0x31F0 && cp <= 0x31FF) || /* Kana extensions */
	       (cp >= 0x3400 && cp <= 0x9FFF) || /* Han */
	       (cp >= 0xF900 && cp <= 0xFAFF) ||
	       (cp >= 0x1B000 && cp <= 0x1B16F) || /* Kana supplements */
	       (cp >= 0x20000 && cp <= 0x3FFFF);   /* Han extensions */
}

static enum class class_of(int32_t cp) {
	if (cp < 0x80){
	    if (cp >= '0' && cp <= '9') return CLASS_DIGIT;
	    return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z')
		       ? CLASS_WORD
		       : CLASS_OTHER; }
switch (utf8proc_category(cp))
{
case UTF8PROC_CATEGORY_LU:
case UTF8PROC_CATEGORY_LL:
case UTF8PROC_CATEGORY_LT:
case UTF8PROC_CATEGORY_LM:
case UTF8PROC_CATEGORY_LO:
case UTF8PROC_CATEGORY_MN:
case UTF8PROC_CATEGORY_MC:
case UTF8PROC_CATEGORY_NL:
	return is_unspaced(cp) ? CLASS_PAIR : CLASS_WORD;
case UTF8PROC_CATEGORY_ND:
case UTF8PROC_CATEGORY_NO:
	return CLASS_DIGIT;
default:
	return CLASS_OTHER;
}
}

struct piece {
	char text[TOKEN_MAX + 1];
	size_t len;
	size_t letters; /* code points */
	size_t start, end;
	bool latin, arabic;
	bool cut; /* a longer word was cut */
};

struct scanner {
	text_token_fn fn;
	void *arg;
	bool stopped;
	struct piece word;   /* since the last boundary or ZWNJ */
	struct piece joined; /* over ZWNJ */
	unsigned parts;      /* parts in `joined` */
	size_t dots;         /* left out inside the word: u.s.a. */
	bool zwnj;           /* a ZWNJ stands right before */
	struct piece pair;   /* the one before, in scripts without spaces */
	bool pair_used;
	struct text_unit mid; /* a separator that may stay inside */
	enum class mid_after; /* class before it; CLASS_OTHER = none */
	enum class last;
};

static void
piece_clear(struct piece *p)
{
	p->len = p->letters = 0;
	p->latin = p->arabic = p->cut = false;
}

static void
piece_add(struct piece *p, const struct text_unit *unit)
{
	uint8_t bytes[4];
	size_t n = (size_t)utf8proc_encode_char(unit->cp, bytes);

	if (p->len == 0)
		p->start = unit->start;
	p->end = unit->end;
	if (p->cut || p->len + n > TOKEN_MAX) {
		p->cut = true;
		return;
	}
	memcpy(p->text + p->len, bytes, n);
	p->len += n;
	p->letters++;
	p->latin = p->latin || (unit->cp >= 'a' && unit->cp <= 'z');
	p->arabic = p->arabic || (unit->cp >= 0x620 && unit->cp <= 0x6FF);
}

static void
emit(struct scanner *s, struct piece *p)
{
	struct text_token token;

	if (s->stopped || p->len == 0)
		return;
	if (p->len > 2 && p->latin && !p->cut &&
	    memcmp(p->text + p->len - 2, "'s", 2) == 0)
		p->len -= 2;
	if (!p->cut && (p->latin || p->arabic) &&
	    !text_is_stop(p->text, p->len))
		p->len = text__stem(p->text, p->len, p->arabic && !p->latin);
	p->text[p->len] = '\0';
	token.text = p->text;
	token.len = p->len;
	token.start = p->start;
	token.end = p->end;
	s->stopped = !s->fn(s->arg, &token);
}

/* The part up to a ZWNJ. */
static void
end_part(struct scanner *s)
{
	emit(s, &s->word);
	piece_clear(&s->word);
	s->dots = 0;
}

static void
end_word(struct scanner *s)
{
	if (s->word.len > 0)
		end_part(s);
	if (s->parts > 1)
		emit(s, &s->joined);
	piece_clear(&s->joined);
	s->parts = 0;
	s->zwnj = false;
	s->mid_after = CLASS_OTHER;
}

static void
end_pairs(struct scanner *s)
{
	if (s->pair.len > 0 && !s->pair_used) /* a lone one */
		emit(s, &s->pair);
	piece_clear(&s->pair);
	s->pair_used = false;
}

static void
add_to_word(struct scanner *s, const struct text_unit *unit)
{
	if (s->word.len == 0)
		s->parts++;
	piece_add(&s->word, unit);
	piece_add(&s->joined, unit);
}

static void
add_pair(struct scanner *s, const struct text_unit *unit)
{
	struct piece both;

	if (s->pair.len > 0) {
		both = s->pair;
		piece_add(&both, unit);
		emit(s, &both);
		s->pair_used = true;
	}
	piece_clear(&s->pair);
	piece_add(&s->pair, unit);
}

/* Whether `cp` may stand inside a word after that class. */
static bool
may_join(int32_t cp, enum class after)
{
	if (after == CLASS_WORD)
		return cp == '\'' || cp == 0x2019 || cp == '.';
	if (after == CLASS_DIGIT)
		return cp == '.' || cp == ',' || cp == 0x60C;
	return false;
}

/* Between letters the apostrophe is kept and a dot is not (u.s. = us), but only
 * after single letters; between digits the dot is kept, the comma is not. */
static bool
join(struct scanner *s, enum class now)
{
	struct text_unit unit = s->mid;
	bool same = s->mid_after == now;

	s->mid_after = CLASS_OTHER;
	if (!same)
		return false;
	if (now == CLASS_DIGIT) {
		if (unit.cp == '.')
			add_to_word(s, &unit);
		return true;
	}
	if (unit.cp == '.')
		return s->word.letters == ++s->dots;
	unit.cp = '\'';
	add_to_word(s, &unit);
	return true;
}

static void
take_word(struct scanner *s, const struct text_unit *unit, enum class now)
{
	end_pairs(s);
	if (s->mid_after != CLASS_OTHER && !join(s, now))
		end_word(s);
	s->zwnj = false;
	add_to_word(s, unit);
}

static void
take(struct scanner *s, const struct text_unit *unit)
{
	enum class now = class_of(unit->cp);

	if (now == CLASS_WORD || now == CLASS_DIGIT) {
		take_word(s, unit, now);
	} else if (unit->cp == TEXT_ZWNJ) {
		if (s->mid_after != CLASS_OTHER)
			end_word(s);
		else if (s->word.len > 0)
			end_part(s);
		now = s->last;
	} else if (now == CLASS_PAIR) {
		end_word(s);
		add_pair(s, unit);
	} else {
		end_pairs(s);
		if (s->word.len > 0 && s->mid_after == CLASS_OTHER &&
		    may_join(unit->cp, s->last)) {
			s->mid = *unit;
			s->mid_after = s->last;
		} else {
			end_word(s);
		}
	}
	s->last = now;
}

void
text_tokens(const char *text, size_t len, text_token_fn fn, void *arg)
{
	struct scanner s;
	struct text_folder f;
	struct text_unit unit;

	memset(&s, 0, sizeof(s));
	s.fn = fn;
	s.arg = arg;
	text__folder_init(&f, text, len);
	while (!s.stopped && text__folder_next(&f, &unit))
		take(&s, &unit);
	end_pairs(&s);
	end_word(&s);
}

static bool
add_token(void *arg, const struct text_token *token)
{
	struct buf *out = arg;

	if (out->len > 0)
		buf_addc(out, ' ');
	buf_add(out, token->text, token->len);
	return true;
}

void
text_token_string(const char *text, size_t len, struct buf *out)
{
	text_tokens(text, len, add_token, out);
}
