/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARQ's records in both serializers. What a job holds stays as it was written:
 * its result repeats function and arguments from the stored record, so that
 * Python's Job.info() and result() see what Python had sent.
 */
#include "queue/queue_arq.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "queue/pickle.h"

#define FUNCTION_MAX_BYTES 128
#define ARGUMENTS_MAX      ((size_t)256 << 10)
#define ARENA_BYTES        ((size_t)16 << 20)

/* ---- a job, written ---- */

static enum err_code
write_json(
    const char *function, const char *kwargs, int64_t put_at, struct buf *out)
{
	buf_adds(out, "{\"t\":null,\"f\":");
	buf_add_json(out, function, strlen(function));
	buf_addf(
	    out, ",\"a\":[],\"k\":%s,\"et\":%lld}", kwargs, (long long)put_at);
	return OK;
}

static void
add_text(struct buf *out, const char *key)
{
	pickle_add_text(out, key, strlen(key));
}

enum err_code
queue_arq__write(enum queue_arq_format format, const char *function,
    const char *kwargs, int64_t put_at, struct buf *out)
{
	json_auto json_t *k = NULL;

	TRY(json_parse(kwargs, strlen(kwargs), &k));
	if (!json_is_object(k))
		return err_set(ERR_INVALID, "job kwargs: want an object");
	if (format == QUEUE_ARQ_JSON)
		return write_json(function, kwargs, put_at, out);
	pickle_begin(out);
	pickle_open_dict(out);
	add_text(out, "t");
	pickle_add_none(out);
	add_text(out, "f");
	pickle_add_text(out, function, strlen(function));
	add_text(out, "a");
	pickle_open_tuple(out);
	pickle_close_tuple(out);
	add_text(out, "k");
	pickle_add_json(out, k);
	add_text(out, "et");
	pickle_add_int(out, put_at);
	pickle_close_dict(out);
	pickle_end(out);
	return OK;
}

/* ---- a job, read ---- */

static void
set_fault(struct job *job, const char *what)
{
	if (job->fault == NULL)
		job->fault = mem_printf("%s: %s", what, err_message());
}

/* The brand is what fair turns and the worker go by; a name or nothing. */
static void
find_brand(struct job *job)
{
	json_auto json_t *kwargs = NULL;
	const char *brand;

	if (json_parse(job->kwargs, strlen(job->kwargs), &kwargs) != OK) {
		set_fault(job, "the keyword arguments cannot be read");
		return;
	}
	brand = json_str(kwargs, "brand_id");
	if (brand != NULL && str_is_name(brand))
		str_copy(job->brand_id, sizeof(job->brand_id), brand);
}

/* JSON that we refuse (a number over 64 bits, NaN) may be meant for others:
 * "f" stands before all arguments in what ARQ writes. */
static void
guess_function(struct job *job)
{
	const char *at = strstr(job->stored, "\"f\"");
	size_t len;

	if (at == NULL)
		return;
	at += 3;
	at += strspn(at, " :");
	if (*at != '"')
		return;
	len = strcspn(at + 1, "\"\\");
	if (at[1 + len] == '"' && len <= FUNCTION_MAX_BYTES)
		job->function = mem_strndup(at + 1, len);
}

static int64_t
read_json(struct job *job)
{
	json_auto json_t *record = NULL;
	const json_t *args, *kwargs;
	const char *function;

	if (json_parse(job->stored, job->stored_len, &record) != OK) {
		set_fault(job, "the job cannot be read");
		guess_function(job);
		return 0;
	}
	function = json_str(record, "f");
	args = json_object_get(record, "a");
	kwargs = json_object_get(record, "k");
	if (function == NULL || strlen(function) > FUNCTION_MAX_BYTES ||
	    !json_is_array(args) || !json_is_object(kwargs)) {
		job->fault =
		    mem_strdup("the job is no ARQ record: it needs f, a and k");
		return 0;
	}
	job->function = mem_strdup(function);
	job->args = json_text(args);
	job->kwargs = json_text(kwargs);
	job->put_at = json_int(record, "et", 0);
	return json_int(record, "t", 0);
}

static char *
part_text(struct job *job, const struct pickle_value *part, const char *what)
{
	struct buf out;
	char *text = NULL;

	buf_init(&out, ARGUMENTS_MAX);
	if (pickle_to_json(part, &out) == OK)
		text = buf_take(&out, NULL);
	else
		set_fault(job, what);
	buf_done(&out);
	return text;
}

static int64_t
int_of(const struct pickle_value *value)
{
	return value != NULL && value->type == PICKLE_INT ? value->num : 0;
}

static int64_t
read_pickle(struct job *job, struct arena *arena)
{
	const struct pickle_value *record, *function, *args, *kwargs;

	if (pickle_read(arena, job->stored, job->stored_len, &record) != OK) {
		set_fault(job, "the job cannot be read");
		return 0;
	}
	function = pickle_get(record, "f");
	args = pickle_get(record, "a");
	kwargs = pickle_get(record, "k");
	if (function == NULL || function->type != PICKLE_STR ||
	    function->len > FUNCTION_MAX_BYTES || args == NULL ||
	    kwargs == NULL) {
		job->fault =
		    mem_strdup("the job is no ARQ record: it needs f, a and k");
		return 0;
	}
	job->function = mem_strndup(function->text, function->len);
	job->args =
	    part_text(job, args, "the positional arguments cannot be read");
	job->kwargs =
	    part_text(job, kwargs, "the keyword arguments cannot be read");
	job->put_at = int_of(pickle_get(record, "et"));
	return int_of(pickle_get(record, "t"));
}

static bool
is_pickle(const struct job *job)
{
	return job->stored_len > 1 && (uint8_t)job->stored[0] == 0x80;
}

int64_t
queue_arq__read(const void *data, size_t len, struct job *job)
{
	struct arena arena;
	int64_t job_try;

	job->stored = mem_alloc(len + 1);
	memcpy(job->stored, data, len);
	job->stored[len] = '\0';
	job->stored_len = len;
	arena_init(&arena, ARENA_BYTES);
	job_try = is_pickle(job) ? read_pickle(job, &arena) : read_json(job);
	arena_done(&arena);
	if (job->kwargs != NULL)
		find_brand(job);
	if (job->function == NULL)
		job->function = mem_strdup("");
	if (job->args == NULL)
		job->args = mem_strdup("[]");
	if (job->kwargs == NULL)
		job->kwargs = mem_strdup("{}");
	return job_try;
}

/* ---- a result ---- */

struct result {
	const struct job *job;
	const char *queue_name;
	enum queue_arq_end end;
	char *id, *function, *reason; /* clean */
	json_t *value;                /* of a job that was done; borrowed */
	int64_t now;
};

/* Reasons and ids may be cut or come from anywhere, Python's text is UTF-8. */
static char *
clean(const char *text)
{
	char *copy = mem_strdup(text != NULL ? text : "");

	if (!str_is_utf8(copy, strlen(copy)))
		for (char *c = copy; *c != '\0'; c++)
			if ((unsigned char)*c >= 0x80)
				*c = '?';
	return copy;
}

static void
result_json(const struct result *r, struct buf *out)
{
	const struct job *job = r->job;
	json_auto json_t *record = NULL, *all = NULL;
	json_t *args, *kwargs, *value;

	if (job->stored == NULL ||
	    json_parse(job->stored, job->stored_len, &record) != OK)
		record = json_object();
	args = json_incref(json_object_get(record, "a"));
	kwargs = json_incref(json_object_get(record, "k"));
	value = r->end == QUEUE_ARQ_DONE     ? json_incref(r->value)
		: r->end == QUEUE_ARQ_FAILED ? json_string(r->reason)
					     : json_string("CancelledError");
	all = json_pack("{s:I, s:s, s:o, s:o, s:I, s:b, s:o, s:I, s:I, s:s,"
			" s:s}",
	    "t", (json_int_t)job->attempt, "f", r->function, "a",
	    args != NULL ? args : json_array(), "k",
	    kwargs != NULL ? kwargs : json_object(), "et",
	    (json_int_t)job->put_at, "s", r->end == QUEUE_ARQ_DONE, "r", value,
	    "st", (json_int_t)job->taken_at, "ft", (json_int_t)r->now, "q",
	    r->queue_name, "id", r->id);
	must(all != NULL);
	json_write(all, out);
}

/* Arguments that hold classes are left out: we cannot write them again. */
static void
add_part(struct buf *out, const struct pickle_value *part, const char *empty)
{
	struct buf own;

	buf_init(&own, PICKLE_MAX_BYTES);
	if (part != NULL && pickle_add_value(&own, part) == OK)
		buf_add(out, own.data, own.len);
	else
		buf_adds(out, empty);
	buf_done(&own);
}

static void
add_outcome(struct buf *out, const struct result *r)
{
	add_text(out, "s");
	pickle_add_bool(out, r->end == QUEUE_ARQ_DONE);
	add_text(out, "r");
	if (r->end == QUEUE_ARQ_DONE)
		pickle_add_json(out, r->value);
	else if (r->end == QUEUE_ARQ_FAILED)
		pickle_add_exception(
		    out, "builtins", "RuntimeError", r->reason);
	else
		pickle_add_exception(
		    out, "asyncio.exceptions", "CancelledError", NULL);
}

static void
result_pickle(const struct result *r, struct buf *out)
{
	const struct job *job = r->job;
	const struct pickle_value *record = NULL;
	struct arena arena;

	arena_init(&arena, ARENA_BYTES);
	if (job->stored == NULL ||
	    pickle_read(&arena, job->stored, job->stored_len, &record) != OK)
		record = NULL;
	pickle_begin(out);
	pickle_open_dict(out);
	add_text(out, "t");
	pickle_add_int(out, job->attempt);
	add_text(out, "f");
	add_text(out, r->function);
	add_text(out, "a");
	add_part(out, pickle_get(record, "a"), ")");
	add_text(out, "k");
	add_part(out, pickle_get(record, "k"), "}");
	add_text(out, "et");
	pickle_add_int(out, job->put_at);
	add_outcome(out, r);
	add_text(out, "st");
	pickle_add_int(out, job->taken_at);
	add_text(out, "ft");
	pickle_add_int(out, r->now);
	add_text(out, "q");
	add_text(out, r->queue_name);
	add_text(out, "id");
	add_text(out, r->id);
	pickle_close_dict(out);
	pickle_end(out);
	arena_done(&arena);
}

void
queue_arq__result(const struct job *job, enum queue_arq_format fallback,
    const char *queue_name, enum queue_arq_end end, const char *reason,
    struct buf *out)
{
	bool known = job->function != NULL && job->function[0] != '\0';
	struct result r = { .job = job,
		.queue_name = queue_name,
		.end = end,
		.id = clean(job->id),
		.function = clean(known ? job->function : "<unknown>"),
		.reason = clean(reason),
		.now = (int64_t)clock_wall_ms() };
	json_auto json_t *value = NULL;
	bool pickle =
	    job->stored != NULL ? is_pickle(job) : fallback == QUEUE_ARQ_PICKLE;

	if (job->result == NULL ||
	    json_parse(job->result, strlen(job->result), &value) != OK)
		value = json_null();
	r.value = value;
	if (pickle)
		result_pickle(&r, out);
	else
		result_json(&r, out);
	mem_free(r.id);
	mem_free(r.function);
	mem_free(r.reason);
}
