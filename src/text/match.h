/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TEXT_MATCH_H
#define XIN_TEXT_MATCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/*
 * Pattern sets over vectorscan: linear time, whatever the pattern. A set is
 * compiled once (slow: call off the loop), immutable, shared by all threads,
 * counted. Scanning needs scratch, kept for each thread here.
 */
struct match_pattern {
	const char *name;  /* reported with each hit; several may share one */
	const char *regex; /* vectorscan's PCRE subset; UTF-8 */
	bool caseless;
	/* A check beyond the pattern, on the hit with separators removed and
	 * digits made ASCII: "luhn", "iban", "ir_national_id", or NULL. */
	const char *check;
	bool word_edges; /* neighbours must be no letters or digits */
};
struct match_set;
/* ERR_INVALID names the pattern and vectorscan's reason. At most 1,000
 * patterns of 1,000 bytes. `fold` = scan digits of all scripts as ASCII and
 * skip ZWNJ and bidi controls, offsets mapped back to the original. */
enum err_code match_compile(const struct match_pattern *patterns, size_t count,
    bool fold, struct match_set **set_out);
struct match_set *match_ref(struct match_set *set);
void match_unref(struct match_set *set);

struct match_hit {
	unsigned pattern; /* index in the set */
	const char *name;
	size_t start, end; /* bytes */
};
/* Leftmost-longest, non-overlapping within one name, sorted by start. At most
 * `max` hits are written. Returns their number. */
size_t match_scan(struct match_set *set, const char *text, size_t len,
    struct match_hit *hits, size_t max);
bool match_any(struct match_set *set, const char *text, size_t len);
/* Keep compiled sets in this folder (made when missing), so that they are
 * compiled once for a machine. Before threads start; at most 512 files. */
enum err_code match_cache_open(const char *path);
const char *match_cache_path(void); /* NULL = none */
/* ERR_CONFIG when the CPU cannot run vectorscan (no SSE4.2). */
enum err_code match_platform_check(void);

#endif
