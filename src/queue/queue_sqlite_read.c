/* SPDX-License-Identifier: Apache-2.0 */
/* The embedded queue: questions, answered by reader connections. */
#include "base/mem.h"
#include "base/str.h"
#include "queue/queue_sqlite.h"

struct call {
	const char *id;
	char last_brand[BRAND_ID_SIZE];
	int64_t position;
	struct queue_depth depth;
	int limit;
	json_t *items;
};

/*
 * How many are served before the job: brands take turns, so of every other
 * brand as many as the job has before it in its own, and one more of those
 * whose turn comes earlier in the round.
 */
static enum err_code
sum_turns(
    sqlite3 *db, struct call *c, const char *brand, int64_t before, int64_t now)
{
	bool own_wraps = strcmp(brand, c->last_brand) <= 0;
	sqlite3_stmt *s;
	bool row;

	c->position = before;
	TRY(sqlite_query(db, &s,
	    "SELECT brand_id, count(*) FROM jobs WHERE state = 'waiting'"
	    " AND run_at <= ? AND brand_id <> ? GROUP BY brand_id",
	    "it", now, brand));
	for (;;) {
		const char *other;
		int64_t count, turns;
		bool wraps, earlier;

		TRY(sqlite_step(db, s, &row));
		if (!row)
			return OK;
		other = (const char *)sqlite3_column_text(s, 0);
		count = sqlite3_column_int64(s, 1);
		wraps = strcmp(other, c->last_brand) <= 0;
		earlier =
		    wraps == own_wraps ? strcmp(other, brand) < 0 : own_wraps;
		turns = before + (earlier ? 1 : 0);
		c->position += count < turns ? count : turns;
	}
}

static enum err_code
position(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int64_t now = queue_sqlite__now(), before;
	char brand[BRAND_ID_SIZE];
	sqlite3_stmt *s;
	bool found;

	c->position = -1;
	TRY(sqlite_query(db, &s,
	    "SELECT j.brand_id, (SELECT count(*) FROM jobs o"
	    " WHERE o.state = 'waiting' AND o.brand_id = j.brand_id"
	    " AND (o.run_at, o.seq) < (j.run_at, j.seq))"
	    " FROM jobs j WHERE j.id = ? AND j.state = 'waiting'",
	    "t", c->id));
	TRY(sqlite_step(db, s, &found));
	if (!found)
		return OK;
	str_copy(brand, sizeof(brand), (const char *)sqlite3_column_text(s, 0));
	before = sqlite3_column_int64(s, 1);
	return sum_turns(db, c, brand, before, now);
}

enum err_code
queue_sqlite__position(
    struct queue *queue, const char *id, int64_t *position_out)
{
	struct queue_sqlite *q = queue_sqlite__of(queue);
	struct call c = { .id = id };

	pthread_mutex_lock(&q->turn_lock);
	str_copy(c.last_brand, sizeof(c.last_brand), q->last_brand);
	pthread_mutex_unlock(&q->turn_lock);
	TRY(sqlite_read(q->db, position, &c));
	*position_out = c.position;
	return OK;
}

static enum err_code
depth(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	int64_t now = queue_sqlite__now(), oldest;
	sqlite3_stmt *s;
	bool row;

	TRY(sqlite_query(db, &s,
	    "SELECT (SELECT count(*) FROM jobs WHERE state = 'waiting'"
	    "  AND run_at <= ?1),"
	    " (SELECT count(*) FROM jobs WHERE state = 'waiting'"
	    "  AND run_at > ?1),"
	    " (SELECT count(*) FROM jobs WHERE state = 'running'),"
	    " (SELECT count(*) FROM jobs WHERE state = 'dead'),"
	    " (SELECT min(run_at) FROM jobs WHERE state = 'waiting')",
	    "i", now));
	TRY(sqlite_step(db, s, &row));
	c->depth.waiting = sqlite3_column_int64(s, 0);
	c->depth.delayed = sqlite3_column_int64(s, 1);
	c->depth.running = sqlite3_column_int64(s, 2);
	c->depth.dead = sqlite3_column_int64(s, 3);
	oldest = sqlite3_column_int64(s, 4);
	if (oldest > 0 && oldest < now)
		c->depth.oldest_wait_ms = now - oldest;
	return OK;
}

enum err_code
queue_sqlite__depth(struct queue *queue, struct queue_depth *depth_out)
{
	struct call c = { 0 };

	TRY(sqlite_read(queue_sqlite__of(queue)->db, depth, &c));
	*depth_out = c.depth;
	return OK;
}

static enum err_code
dead(sqlite3 *db, void *arg)
{
	struct call *c = arg;
	sqlite3_stmt *s;
	enum err_code rc;
	bool row;

	TRY(sqlite_query(db, &s,
	    "SELECT id, brand_id, function, kwargs, attempt, reason, put_at,"
	    " ended_at FROM jobs WHERE state = 'dead'"
	    " ORDER BY ended_at DESC, seq DESC LIMIT ?",
	    "i", (int64_t)c->limit));
	c->items = json_array();
	while ((rc = sqlite_step(db, s, &row)) == OK && row)
		json_array_append_new(c->items,
		    json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:I}", "id",
			sqlite3_column_text(s, 0), "brand_id",
			sqlite3_column_text(s, 1), "function",
			sqlite3_column_text(s, 2), "kwargs",
			sqlite3_column_text(s, 3), "attempt",
			(json_int_t)sqlite3_column_int64(s, 4), "reason",
			sqlite3_column_text(s, 5), "put_at",
			(json_int_t)sqlite3_column_int64(s, 6), "ended_at",
			(json_int_t)sqlite3_column_int64(s, 7)));
	return rc;
}

enum err_code
queue_sqlite__dead(struct queue *queue, int limit, json_t **items_out)
{
	struct call c = { .limit = limit };
	enum err_code rc = sqlite_read(queue_sqlite__of(queue)->db, dead, &c);

	if (rc != OK) {
		json_decref(c.items);
		return rc;
	}
	*items_out = c.items;
	return OK;
}
