/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folding, one pass. The text is cut into clusters (a base and what composes
 * with it); each goes through NFKC and case folding (utf8proc), then through
 * our table: Arabic and Persian letters on the Persian ones, digits of all
 * scripts on ASCII, vowel marks, tatweel, bidi controls and other invisible
 * characters away. Offsets of the original are kept for each code point.
 * ZWNJ stays: the tokenizer needs it.
 */
#include <string.h>
#include <utf8proc.h>

#include "text/text_internal.h"

#define CLUSTER_MAX 16

size_t
text__decode(const char *text, size_t len, int32_t *cp_out)
{
	utf8proc_int32_t cp;
	utf8proc_ssize_t n;

	n = utf8proc_iterate((const utf8proc_uint8_t *)text,
	    len > 8 ? 8 : (utf8proc_ssize_t)len, &cp);
	if (n <= 0) {
		*cp_out = 0xFFFD;
		return 1;
	}
	*cp_out = cp;
	return (size_t)n;
}

/* The Arabic block; 0 = leave out. One direction of Lucene's normalizers, with
 * the Persian letters as targets. */
static int32_t
fold_arabic(int32_t cp)
{
	if ((cp >= 0x610 && cp <= 0x61A) || (cp >= 0x64B && cp <= 0x65F) ||
	    (cp >= 0x6D6 && cp <= 0x6ED && cp != 0x6DD && cp != 0x6E5 &&
		cp != 0x6E6 && cp != 0x6E9))
		return 0;
	switch (cp) {
	case 0x622: /* with madda, hamza above and below, wasla */
	case 0x623:
	case 0x625:
	case 0x671:
		return 0x627;
	case 0x624:
		return 0x648;
	case 0x626:
	case 0x649:
	case 0x64A:
	case 0x6D2:
	case 0x6D3:
		return 0x6CC;
	case 0x643:
		return 0x6A9;
	case 0x629:
	case 0x6C0:
	case 0x6C1:
	case 0x6C2:
	case 0x6C3:
	case 0x6D5:
		return 0x647;
	case 0x640: /* tatweel */
	case 0x670: /* superscript alef */
	case 0x66C: /* thousands separator */
	case 0x61C: /* Arabic letter mark */
		return 0;
	case 0x66B:
		return '.';
	default:
		return cp;
	}
}

static bool
is_invisible(int32_t cp)
{
	return cp == 0xAD || cp == 0x200D || cp == 0x200E || cp == 0x200F ||
	       (cp >= 0x202A && cp <= 0x202E) ||
	       (cp >= 0x2060 && cp <= 0x2069) || cp == 0xFEFF ||
	       (cp >= 0xFE00 && cp <= 0xFE0F);
}

/* Rows of ten digits start at a multiple of sixteen or six after it. */
static int32_t
digit_value(int32_t cp)
{
	int32_t low = cp & 0xF;

	if (low <= 9 && utf8proc_category(cp - low) == UTF8PROC_CATEGORY_ND)
		return low;
	return low >= 6 ? low - 6 : low;
}

static int32_t
fold_one(int32_t cp)
{
	if (cp < 0x80)
		return cp;
	if (is_invisible(cp))
		return 0;
	if (utf8proc_category(cp) == UTF8PROC_CATEGORY_ND)
		return '0' + digit_value(cp);
	if (cp >= 0x600 && cp <= 0x6FF)
		return fold_arabic(cp);
	return cp;
}

/* Whether it may compose with, or be reordered around, what stands before. */
static bool
continues(int32_t cp)
{
	const utf8proc_property_t *p;

	if (cp < 0x300)
		return false;
	if (cp >= 0x1160 && cp <= 0x11FF) /* Hangul vowels and finals */
		return true;
	p = utf8proc_get_property(cp);
	return p->combining_class != 0 || p->category == UTF8PROC_CATEGORY_MN ||
	       p->category == UTF8PROC_CATEGORY_MC;
}

void
text__folder_init(struct text_folder *f, const char *text, size_t len)
{
	f->text = text;
	f->len = len;
	f->at = 0;
	f->count = f->next = 0;
}

/* `cluster` back as NFKC, case folded; the original when it will not fit. */
static size_t
normalise(int32_t *cluster, size_t count, int32_t out[64])
{
	utf8proc_option_t options = UTF8PROC_COMPAT | UTF8PROC_COMPOSE |
				    UTF8PROC_CASEFOLD | UTF8PROC_STABLE;
	utf8proc_ssize_t used = 0, n;
	int last_class = 0;
	size_t i;

	for (i = 0; i < count; i++) {
		n = utf8proc_decompose_char(
		    cluster[i], out + used, 64 - used, options, &last_class);
		if (n < 0 || used + n > 64) {
			memcpy(out, cluster, count * sizeof(*out));
			return count;
		}
		used += n;
	}
	/* Canonical order: marks sorted by class, stably. */
	for (i = 1; i < (size_t)used; i++) {
		size_t j = i;
		int32_t cp = out[i];
		int class = utf8proc_get_property(cp)->combining_class;

		while (class != 0 && j > 0 &&
		       utf8proc_get_property(out[j - 1])->combining_class >
			   class) {
			out[j] = out[j - 1];
			j--;
		}
		out[j] = cp;
	}
	n = utf8proc_normalize_utf32(out, used, options);
	return n < 0 ? 0 : (size_t)n;
}

/* Most code points have no form but their own. */
static bool
is_plain(int32_t cp)
{
	const utf8proc_property_t *p = utf8proc_get_property(cp);

	return p->decomp_seqindex == UINT16_MAX &&
	       p->casefold_seqindex == UINT16_MAX && p->combining_class == 0;
}

static void
fold_cluster(struct text_folder *f)
{
	int32_t cluster[CLUSTER_MAX], out[64], cp;
	size_t start = f->at, count = 0, n, i;

	f->count = f->next = 0;
	f->at +=
	    text__decode(f->text + f->at, f->len - f->at, &cluster[count++]);
	while (f->at < f->len && count < CLUSTER_MAX) {
		n = text__decode(f->text + f->at, f->len - f->at, &cp);
		if (!continues(cp))
			break;
		cluster[count++] = cp;
		f->at += n;
	}
	if (count == 1 && cluster[0] < 0x80) {
		cp = cluster[0];
		out[0] = cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
		n = 1;
	} else if (count == 1 && is_plain(cluster[0])) {
		out[0] = cluster[0];
		n = 1;
	} else {
		n = normalise(cluster, count, out);
	}
	for (i = 0; i < n; i++) {
		cp = fold_one(out[i]);
		if (cp == 0 && out[i] != 0)
			continue;
		f->units[f->count].cp = cp;
		f->units[f->count].start = (uint32_t)start;
		f->units[f->count++].end = (uint32_t)f->at;
	}
}

bool
text__folder_next(struct text_folder *f, struct text_unit *unit_out)
{
	while (f->next >= f->count) {
		if (f->at >= f->len)
			return false;
		fold_cluster(f);
	}
	*unit_out = f->units[f->next++];
	return true;
}

void
text_fold(const char *text, size_t len, struct buf *out)
{
	struct text_folder f;
	struct text_unit unit;
	uint8_t bytes[4];

	text__folder_init(&f, text, len);
	while (text__folder_next(&f, &unit))
		buf_add(
		    out, bytes, (size_t)utf8proc_encode_char(unit.cp, bytes));
}
