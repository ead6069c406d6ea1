/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST and PUT of knowledge: multipart with files and fields, or JSON with the
 * text inside. Files stream into object writers while they come; rows and jobs
 * are made when the whole body was understood.
 */
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "domain/knowledge.h"
#include "fiber/fiber.h"
#include "net/multipart.h"
#include "object/object.h"
#include "orchestrator/api.h"

#define FILES_MAX        64
#define FIELD_MAX        ((size_t)64 << 10)
#define WAIT_POLL_MS     100
#define WAIT_SECONDS_MAX 30

struct file {
	struct object_writer *writer;
	struct crypto_hash *hash;
	char *filename;
	char *content_type;
	char sha256[65];
	int64_t size;
	char head[KNOWLEDGE_HEAD_BYTES]; /* what tells the format */
	size_t head_len;
	bool checked;
};

struct upload {
	struct product *product;
	const char *brand;
	struct file files[FILES_MAX];
	size_t file_count;
	struct file *now;  /* the file part that is coming in */
	struct buf *field; /* or the field */
	struct buf title, metadata, external_id, source_url, content_type;
};

static void
upload_init(struct upload *up, struct product *product, const char *brand)
{
	memset(up, 0, sizeof(*up));
	up->product = product;
	up->brand = brand;
	buf_init(&up->title, 1024);
	buf_init(&up->metadata, FIELD_MAX);
	buf_init(&up->external_id, 256);
	buf_init(&up->source_url, 2048);
	buf_init(&up->content_type, 256);
}

static void
upload_done(struct upload *up)
{
	for (size_t i = 0; i < up->file_count; i++) {
		struct file *file = &up->files[i];

		if (file->writer != NULL)
			object_put_abort(file->writer);
		crypto_hash_free(file->hash);
		mem_free(file->filename);
		mem_free(file->content_type);
	}
	buf_done(&up->title);
	buf_done(&up->metadata);
	buf_done(&up->external_id);
	buf_done(&up->source_url);
	buf_done(&up->content_type);
}

static enum err_code
file_begin(struct upload *up, const char *filename, const char *type)
{
	struct file *file;

	if (up->file_count == FILES_MAX)
		return err_set(ERR_TOO_LARGE, "more than %d files", FILES_MAX);
	file = &up->files[up->file_count];
	TRY(object_put_begin(up->product->objects, &file->writer));
	file->hash = crypto_hash_new();
	file->filename = filename != NULL ? mem_strdup(filename) : NULL;
	file->content_type = mem_strdup(type);
	up->file_count++;
	up->now = file;
	return OK;
}

static enum err_code
file_check(struct file *file)
{
	file->checked = true;
	return knowledge_check_type(
	    file->content_type, file->filename, file->head, file->head_len);
}

static enum err_code
file_add(struct file *file, const char *data, size_t len)
{
	size_t n = sizeof(file->head) - file->head_len;

	n = n < len ? n : len;
	memcpy(file->head + file->head_len, data, n);
	file->head_len += n;
	if (file->head_len == sizeof(file->head) && !file->checked)
		TRY(file_check(file));
	crypto_hash_add(file->hash, data, len);
	file->size += (int64_t)len;
	return object_put_write(file->writer, data, len);
}

static enum err_code
file_end(struct file *file)
{
	uint8_t digest[SHA256_SIZE];

	if (!file->checked)
		TRY(file_check(file));
	crypto_hash_end(file->hash, digest);
	crypto_hex(digest, sizeof(digest), file->sha256);
	return OK;
}

static struct buf *
field_of(struct upload *up, const char *name)
{
	if (strcmp(name, "title") == 0)
		return &up->title;
	if (strcmp(name, "metadata") == 0)
		return &up->metadata;
	if (strcmp(name, "external_id") == 0)
		return &up->external_id;
	if (strcmp(name, "source_url") == 0)
		return &up->source_url;
	if (strcmp(name, "content_type") == 0)
		return &up->content_type;
	return NULL;
}

static enum err_code
on_part(void *arg, const struct multipart_part *part)
{
	struct upload *up = arg;

	up->now = NULL;
	up->field = NULL;
	if (part->filename != NULL || strcmp(part->name, "file") == 0)
		return file_begin(up, part->filename, part->content_type);
	up->field = field_of(up, part->name);
	if (up->field == NULL)
		return err_set(ERR_INVALID,
		    "unknown field \"%.64s\"; known are file, title, metadata, "
		    "external_id, source_url, content_type",
		    part->name);
	return OK;
}

static enum err_code
on_data(void *arg, const char *data, size_t len)
{
	struct upload *up = arg;

	if (up->now != NULL)
		return file_add(up->now, data, len);
	buf_add(up->field, data, len);
	if (up->field->full)
		return err_set(ERR_TOO_LARGE, "a field is over its ceiling");
	return OK;
}

static enum err_code
on_part_end(void *arg)
{
	struct upload *up = arg;
	struct file *file = up->now;

	up->now = NULL;
	return file != NULL ? file_end(file) : OK;
}

static enum err_code
read_multipart(struct http_request *req, struct upload *up, const char *type)
{
	struct multipart_handler handler = { on_part, on_data, on_part_end,
		up };
	struct multipart *parser;
	const char *data;
	enum err_code rc;
	size_t len;

	TRY(multipart_new(
	    type, &handler, (size_t)config_int(CFG_MAX_PARTS), &parser));
	do {
		rc = http_read(req, &data, &len);
		if (rc == OK && len > 0)
			rc = multipart_feed(parser, data, len);
	} while (rc == OK && len > 0);
	if (rc == OK)
		rc = multipart_end(parser);
	multipart_free(parser);
	return rc;
}

static enum err_code
keep_field(struct buf *field, const json_t *body, const char *key)
{
	const char *text;

	TRY(json_field_str(body, key, false, field->max, &text));
	if (text != NULL)
		buf_adds(field, text);
	return OK;
}

static enum err_code
take_json(struct upload *up, const json_t *body)
{
	static const char *const known[] = { "title", "content", "content_type",
		"metadata", "external_id", "source_url", "filename", NULL };
	const json_t *metadata = json_object_get(body, "metadata");
	const char *content, *type, *filename;

	if (!json_is_object(body))
		return err_set(ERR_INVALID, "the body must be a JSON object");
	TRY(json_only_keys(body, known));
	TRY(json_field_str(body, "content", true, SIZE_MAX, &content));
	TRY(json_field_str(body, "content_type", false, 256, &type));
	TRY(json_field_str(body, "filename", false, 255, &filename));
	TRY(keep_field(&up->title, body, "title"));
	TRY(keep_field(&up->external_id, body, "external_id"));
	TRY(keep_field(&up->source_url, body, "source_url"));
	if (metadata != NULL && !json_is_object(metadata))
		return err_set(ERR_INVALID, "'metadata' must be an object");
	if (metadata != NULL)
		json_write(metadata, &up->metadata);
	TRY(file_begin(up, filename, type != NULL ? type : "text/markdown"));
	TRY(file_add(up->now, content, strlen(content)));
	TRY(file_end(up->now));
	up->now = NULL;
	return OK;
}

static enum err_code
read_json(struct http_request *req, struct upload *up)
{
	json_auto json_t *body = NULL;
	const char *data;
	struct buf text;
	enum err_code rc;
	size_t len;

	buf_init(&text, (size_t)config_int(CFG_MAX_JSON_BYTES));
	do {
		rc = http_read(req, &data, &len);
		buf_add(&text, data, rc == OK ? len : 0);
		if (rc == OK && text.full)
			rc = err_set(ERR_TOO_LARGE,
			    "a JSON body is at most %zu bytes; send larger "
			    "documents as multipart/form-data",
			    text.max);
	} while (rc == OK && len > 0);
	if (rc == OK)
		rc = json_parse(buf_str(&text), text.len, &body);
	if (rc == OK)
		rc = take_json(up, body);
	buf_done(&text);
	return rc;
}

static enum err_code
check_fields(struct upload *up)
{
	json_auto json_t *metadata = NULL;
	struct buf *texts[] = { &up->title, &up->external_id, &up->source_url };

	for (size_t i = 0; i < 3; i++)
		if (!str_is_utf8(buf_str(texts[i]), texts[i]->len))
			return err_set(
			    ERR_INVALID, "a field is not valid UTF-8");
	if (up->file_count == 0)
		return err_set(ERR_INVALID, "no file was sent: send a part "
					    "named 'file', or JSON with "
					    "'content'");
	if (up->file_count > 1 && up->external_id.len > 0)
		return err_set(
		    ERR_INVALID, "external_id goes with exactly one file");
	if (up->metadata.len > 0) {
		TRY(json_parse(
		    buf_str(&up->metadata), up->metadata.len, &metadata));
		if (!json_is_object(metadata))
			return err_set(
			    ERR_INVALID, "metadata must be a JSON object");
	}
	for (size_t i = 0; i < up->file_count; i++)
		if (up->files[i].size == 0)
			return err_set(ERR_INVALID, "the file is empty");
	return OK;
}

static const char *
or_null(const struct buf *buf)
{
	return buf->len > 0 ? buf_str(buf) : NULL;
}

static enum err_code
add_one(struct upload *up, struct file *file, bool force, const char *replace,
    struct source *source_out, bool *existed_out)
{
	struct knowledge_upload upload = {
		.brand = up->brand,
		.title = up->file_count == 1 ? or_null(&up->title) : NULL,
		.filename = file->filename,
		.content_type = up->content_type.len > 0
				    ? buf_str(&up->content_type)
				    : file->content_type,
		.external_id = or_null(&up->external_id),
		.source_url = or_null(&up->source_url),
		.metadata = or_null(&up->metadata),
		.size_bytes = file->size,
		.force = force,
		.replace_id = replace,
	};
	struct object_writer *writer = file->writer;

	memcpy(upload.sha256, file->sha256, sizeof(upload.sha256));
	file->writer = NULL; /* knowledge_add takes it over */
	return knowledge_add(
	    up->product, &upload, writer, source_out, existed_out);
}

/* ?wait=: until the document has ended, at most so many seconds. */
static enum err_code
wait_for_end(struct http_request *req, struct upload *up, struct source *source)
{
	const char *text = http_query(req, "wait");
	uint64_t seconds = 0, until;

	if (text == NULL)
		return OK;
	if (!str_to_u64(text, &seconds) || seconds > WAIT_SECONDS_MAX)
		return err_set(
		    ERR_INVALID, "wait must be from 0 to %d", WAIT_SECONDS_MAX);
	until = deadline_in_ms(seconds * 1000);
	while ((source->status == SOURCE_PENDING ||
		   source->status == SOURCE_PROCESSING) &&
	       deadline_left_ms(until) > 0) {
		char id[IDENT_SIZE];

		str_copy(id, sizeof(id), source->id);
		TRY(fiber_sleep(WAIT_POLL_MS));
		source_done(source);
		memset(source, 0, sizeof(*source));
		TRY(store_source_get(
		    up->product->store, up->brand, id, source));
	}
	return OK;
}

static enum err_code
add_all(struct http_request *req, struct upload *up, const char *replace,
    json_t **answer_out, bool *existed_out)
{
	bool force = str_eq(http_query(req, "force"), "true");
	json_t *items = json_array();
	enum err_code rc = OK;

	*existed_out = true;
	for (size_t i = 0; i < up->file_count && rc == OK; i++) {
		struct source source = { 0 };
		bool existed = false;

		rc = add_one(
		    up, &up->files[i], force, replace, &source, &existed);
		if (rc != OK)
			break;
		rc = wait_for_end(req, up, &source);
		if (rc == OK)
			json_array_append_new(
			    items, knowledge_view(up->product, &source));
		source_done(&source);
		*existed_out = *existed_out && existed;
	}
	if (rc != OK) {
		json_decref(items);
		return rc;
	}
	if (up->file_count == 1) {
		*answer_out = json_incref(json_array_get(items, 0));
		json_decref(items);
	} else {
		*answer_out = json_pack("{s:o}", "items", items);
	}
	return OK;
}

/* Idempotency-Key: the same key and body get the first answer. */
static enum err_code
add_once(struct http_request *req, struct upload *up, const char *replace,
    json_t **answer_out, bool *existed_out)
{
	const char *header = http_header(req, "idempotency-key");
	char key[480], *text = NULL;
	struct store *store = up->product->store;
	struct error why;
	enum err_code rc;

	if (header == NULL)
		return add_all(req, up, replace, answer_out, existed_out);
	if (strlen(header) > 255)
		return err_set(
		    ERR_INVALID, "Idempotency-Key is over 255 bytes");
	snprintf(key, sizeof(key), "idem|knowledge|%s|%s", up->brand, header);
	rc = store_dedup_begin(store, key, up->files[0].sha256, 60000, &text);
	if (rc == ERR_CONFLICT)
		return err_set(ERR_CONFLICT,
		    "a request with this Idempotency-Key still runs");
	if (rc != OK)
		return rc;
	if (text != NULL) {
		*existed_out = true;
		rc = json_parse(text, strlen(text), answer_out);
		mem_free(text);
		return rc;
	}
	rc = add_all(req, up, replace, answer_out, existed_out);
	if (rc == OK) {
		text = json_text(*answer_out);
		rc = store_dedup_finish(store, key, text);
		mem_free(text);
		return rc;
	}
	err_save(&why);
	store_dedup_drop(store, key);
	err_restore(&why);
	return rc;
}

static enum err_code
receive(struct http_request *req, struct upload *up, const char *replace)
{
	const char *type = http_header(req, "content-type");
	json_auto json_t *answer = NULL;
	bool existed;

	if (type != NULL && strncasecmp(type, "multipart/form-data", 19) == 0)
		TRY(read_multipart(req, up, type));
	else if (type == NULL || strncasecmp(type, "application/json", 16) == 0)
		TRY(read_json(req, up));
	else
		return err_set(ERR_MEDIA_TYPE,
		    "send multipart/form-data or application/json");
	TRY(check_fields(up));
	TRY(add_once(req, up, replace, &answer, &existed));
	return http_reply_json(req, existed ? 200 : 202, answer);
}

static enum err_code
upload_handle(
    struct http_request *req, struct product *product, const char *replace)
{
	struct upload *up;
	const char *brand;
	enum err_code rc;

	rc = api__brand(req, AUTH_KNOWLEDGE, &brand);
	if (rc == OK) {
		up = mem_zero(sizeof(*up));
		upload_init(up, product, brand);
		rc = receive(req, up, replace);
		upload_done(up);
		mem_free(up);
	}
	if (rc != OK)
		log_warn("document.refused", kv_str("error_code", err_name(rc)),
		    kv_error("error", err_message()));
	return rc;
}

HANDLER(api__knowledge_post)
{
	return upload_handle(req, arg, NULL);
}

HANDLER(api__knowledge_put)
{
	return upload_handle(req, arg, http_param(req, "id"));
}
