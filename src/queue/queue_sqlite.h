/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_QUEUE_QUEUE_SQLITE_H
#define XIN_QUEUE_QUEUE_SQLITE_H

#include <pthread.h>
#include <stdatomic.h>
#include "queue/queue_backend.h"
#include "sqlite/sqlite.h"

/* Shared between the files queue_sqlite*.c only. */

struct queue_sqlite {
	struct queue queue; /* first */
	struct sqlite *db;
	/* The writer thread's alone. */
	int64_t waiting, dead;
	/* The counts are wrong: a write that had changed them was not
	 * committed. */
	atomic_bool stale;
	/* Whose job was taken last; the next turn is the next brand's. */
	pthread_mutex_t turn_lock;
	char last_brand[BRAND_ID_SIZE];
};

static inline struct queue_sqlite *
queue_sqlite__of(struct queue *queue)
{
	return (struct queue_sqlite *)queue;
}

enum err_code queue_sqlite__position(
    struct queue *queue, const char *id, int64_t *position_out);
enum err_code queue_sqlite__depth(
    struct queue *queue, struct queue_depth *depth_out);
enum err_code queue_sqlite__dead(
    struct queue *queue, int limit, json_t **items_out);
int64_t queue_sqlite__now(void);

#endif
