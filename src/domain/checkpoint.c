/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing and reading checkpoints. Nothing here fails an ingestion: what cannot
 * be kept is made again. The bytes are made and read on pool threads, since a
 * long document is many megabytes.
 */
#include "domain/checkpoint.h"

#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "fiber/fiber.h"
#include "object/object.h"

/* Blocks and chunks hold the text once each, JSON adds quotes and names, and
 * there may be vectors. */
#define TEXT_FACTOR 8
#define EXTRA_BYTES ((size_t)1 << 20)

static size_t
max_bytes(void)
{
	return (size_t)config_int(CFG_MAX_TEXT_BYTES) * TEXT_FACTOR +
	       EXTRA_BYTES;
}

static void
key_of(const char *source_id, int64_t version, char key[96])
{
	snprintf(key, 96, "checkpoints/%s/%lld", source_id, (long long)version);
}

/* ---- save ---- */

struct saving {
	const char *made_with;
	const struct checkpoint *checkpoint;
	const struct binding_job *job;
	struct buf text;
};

static enum err_code
write_text(void *arg)
{
	struct saving *saving = arg;
	struct buf *out = &saving->text;

	buf_adds(out, "{\"made_with\":");
	buf_add_json(out, saving->made_with, strlen(saving->made_with));
	buf_addf(out, ",\"next\":%zu,\"indexed\":%lld,\"steps\":",
	    saving->checkpoint->next, (long long)saving->checkpoint->indexed);
	json_write(saving->checkpoint->steps, out);
	buf_adds(out, ",\"job\":");
	binding_job_save(saving->job, out);
	buf_addc(out, '}');
	return out->full ? err_set(ERR_TOO_LARGE, "over %zu bytes", out->max)
			 : OK;
}

bool
checkpoint_save(struct product *product, const struct source *source,
    const char *made_with, const struct checkpoint *checkpoint,
    const struct binding_job *job)
{
	struct saving saving = {
		.made_with = made_with, .checkpoint = checkpoint, .job = job
	};
	struct error before;
	enum err_code rc;
	char key[96];

	err_save(&before);
	key_of(source->id, source->version, key);
	buf_init(&saving.text, max_bytes());
	rc = pool_run(write_text, &saving);
	if (rc == OK)
		rc = object_put(
		    product->objects, key, saving.text.data, saving.text.len);
	buf_done(&saving.text);
	if (rc != OK && rc != ERR_CANCELLED)
		log_warn("checkpoint.not_saved",
		    kv_str("source_id", source->id),
		    kv_error("error", err_message()));
	err_restore(&before);
	return rc == OK;
}

/* ---- load ---- */

struct loading {
	struct buf text;
	const char *made_with;
	struct binding_job *job;
	struct checkpoint *checkpoint;
	bool outdated;
};

static enum err_code
read_text(void *arg)
{
	struct loading *loading = arg;
	json_auto json_t *saved = NULL;
	json_t *steps;
	int64_t next;

	TRY(json_parse(buf_str(&loading->text), loading->text.len, &saved));
	loading->outdated =
	    !str_eq(json_str(saved, "made_with"), loading->made_with);
	if (loading->outdated)
		return OK;
	steps = json_object_get(saved, "steps");
	next = json_int(saved, "next", 0);
	if (!json_is_array(steps) || next < 1)
		return err_set(ERR_INVALID, "a checkpoint without steps");
	binding_job_load(loading->job, json_object_get(saved, "job"));
	*loading->checkpoint = (struct checkpoint){ .next = (size_t)next,
		.indexed = json_int(saved, "indexed", 0),
		.steps = json_incref(steps) };
	return OK;
}

bool
checkpoint_load(struct product *product, const struct source *source,
    const char *made_with, struct binding_job *job,
    struct checkpoint *checkpoint_out)
{
	struct loading loading = {
		.made_with = made_with, .job = job, .checkpoint = checkpoint_out
	};
	enum err_code rc;
	char key[96];

	key_of(source->id, source->version, key);
	rc = object_get(product->objects, key, max_bytes(), &loading.text);
	if (rc == OK)
		rc = pool_run(read_text, &loading);
	buf_done(&loading.text);
	if (rc != OK && rc != ERR_NOT_FOUND)
		log_warn("checkpoint.not_read", kv_str("source_id", source->id),
		    kv_error("error", err_message()));
	if (rc == OK && loading.outdated)
		log_info(
		    "checkpoint.outdated", kv_str("source_id", source->id));
	checkpoint_out->outdated = loading.outdated;
	return rc == OK && !loading.outdated;
}

void
checkpoint_drop(struct product *product, const char *source_id, int64_t version)
{
	struct error before;
	char key[96];

	err_save(&before);
	key_of(source_id, version, key);
	if (object_delete(product->objects, key) != OK)
		log_warn("object.left_behind", kv_str("key", key),
		    kv_error("error", err_message()));
	err_restore(&before);
}
