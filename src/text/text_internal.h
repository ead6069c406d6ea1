/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TEXT_TEXT_INTERNAL_H
#define XIN_TEXT_TEXT_INTERNAL_H

#include "text/text.h"

/* Shared between the files of this folder only. */

/* One folded code point and the bytes of the original it came from. */
struct text_unit {
	int32_t cp;
	uint32_t start, end;
};

/* Walks the text once; each step folds one cluster (a base and its marks). */
struct text_folder {
	const char *text;
	size_t len, at;
	struct text_unit units[64];
	size_t count, next;
};
void text__folder_init(struct text_folder *f, const char *text, size_t len);
/* False at the end. */
bool text__folder_next(struct text_folder *f, struct text_unit *unit_out);

/* Decode one code point; U+FFFD and one byte on bad input. */
size_t text__decode(const char *text, size_t len, int32_t *cp_out);

/* Stem a folded word in place; returns the new length. `arabic` when it is
 * written in Arabic letters, else Latin. */
size_t text__stem(char *word, size_t len, bool arabic);

#define TEXT_ZWNJ 0x200C

#endif
