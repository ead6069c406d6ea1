/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SEARCH_SEARCH_SQLITE_H
#define XIN_SEARCH_SEARCH_SQLITE_H

#include <pthread.h>
#include "search/search_backend.h"
#include "search/search_index.h"
#include "sqlite/sqlite.h"

/*
 * Inside the embedded back end: a brand's index in memory and its place in the
 * database's history. Many search it under the read lock; who finds it behind
 * brings it forward under the write lock.
 */
struct search_brand {
	struct search_brand *next;
	char *name;
	pthread_rwlock_t lock; /* of index and stamp */
	struct search_index *index;
	int64_t stamp; /* search_live is read up to here; 0 = nothing */
	/* Of the cache's lock: */
	size_t bytes;
	unsigned users;
};

struct search_embedded {
	struct search base;
	struct sqlite *db;
	pthread_mutex_t lock;
	struct search_brand *first; /* the most recently used first */
	size_t bytes, bytes_max;    /* of all brands; tests lower the ceiling */
};

/* The brand's index, kept until given back. Any thread. */
struct search_brand *search_sqlite__take(
    struct search_embedded *embedded, const char *brand);
/* Over the ceiling, the indexes that were not used for the longest time go. */
void search_sqlite__give(
    struct search_embedded *embedded, struct search_brand *brand);
/* All of them, at the end. */
void search_sqlite__forget(struct search_embedded *embedded);

/* Lock the index in the state of the snapshot that begins here (nothing was
 * read in this transaction before): under the read lock, *stale_out when it is
 * behind; with `refresh` under the write lock, brought forward. Locked when it
 * returns OK and !*stale_out: pthread_rwlock_unlock. ERR_TOO_LARGE when the
 * brand does not fit into the ceiling. */
enum err_code search_sqlite__lock(struct search_embedded *embedded, sqlite3 *db,
    struct search_brand *brand, bool refresh, bool *stale_out);

#endif
