/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TEXT_MATCH_CACHE_H
#define XIN_TEXT_MATCH_CACHE_H

#include <hs.h>
#include "text/match.h"

/* Inside the folder: compiled sets on disk, by the hash of their patterns and
 * of the library's version. Any fault is a miss: the set is compiled. */
struct match_cache_key {
	char hex[65];
};
void match_cache__key(const struct match_pattern *patterns, size_t count,
    struct match_cache_key *key_out);
/* NULL = not there. */
hs_database_t *match_cache__load(const struct match_cache_key *key);
void match_cache__save(const struct match_cache_key *key, hs_database_t *db);

#endif
