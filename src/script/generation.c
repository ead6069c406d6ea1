/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A generation: the set of script files that is loaded, checked and switched
 * as one. Immutable once made, counted over all threads, named by the SHA-256
 * of its sorted names and contents. Packing turns it into one blob for the
 * child that checks it and for the store that keeps the last good one.
 */
#include "script/generation.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/mem.h"
#include "base/str.h"

#define PACK_MAGIC "XINGEN1\n"

static int
by_name(const void *a, const void *b)
{
	const struct script_file *x = a;
	const struct script_file *y = b;

	return strcmp(x->name, y->name);
}

static void
add_length(struct crypto_hash *hash, size_t len)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)((uint64_t)len >> (8 * i));
	crypto_hash_add(hash, bytes, sizeof(bytes));
}

/* Lengths go in too, so that no two sets share a byte stream. */
static void
identify(struct script_generation *gen)
{
	struct crypto_hash *hash = crypto_hash_new();
	uint8_t digest[SHA256_SIZE];

	for (size_t i = 0; i < gen->count; i++) {
		const struct script_file *file = &gen->files[i];

		add_length(hash, strlen(file->name));
		crypto_hash_add(hash, file->name, strlen(file->name));
		add_length(hash, file->len);
		crypto_hash_add(hash, file->text, file->len);
		gen->bytes += file->len;
	}
	crypto_hash_end(hash, digest);
	crypto_hash_free(hash);
	crypto_hex(digest, sizeof(digest), gen->hash);
	memcpy(gen->id, gen->hash, sizeof(gen->id) - 1);
}

struct script_generation *
script__generation_new(struct script_file *files, size_t count)
{
	struct script_generation *gen = mem_zero(sizeof(*gen));

	atomic_init(&gen->refs, 1);
	gen->files = files;
	gen->count = count;
	if (count > 1)
		qsort(files, count, sizeof(*files), by_name);
	pthread_mutex_init(&gen->compiling, NULL);
	identify(gen);
	atomic_store(&gen->since_ms, clock_wall_ms());
	return gen;
}

void
script__generation_free(struct script_generation *gen)
{
	for (size_t i = 0; i < gen->count; i++) {
		mem_free(gen->files[i].name);
		mem_free(gen->files[i].text);
		if (gen->chunks != NULL) {
			mem_free(gen->chunks[i].code);
			mem_free(gen->chunks[i].error);
		}
	}
	mem_free(gen->files);
	mem_free(gen->chunks);
	pthread_mutex_destroy(&gen->compiling);
	mem_free(gen);
}

struct script_generation *
script_generation_ref(struct script_generation *gen)
{
	if (gen != NULL)
		atomic_fetch_add(&gen->refs, 1);
	return gen;
}

/* Idle states hold no reference: the last one goes away with the turns and
 * the active slot, and the loops then drop what they made of it. */
void
script_generation_unref(struct script_generation *gen)
{
	if (gen == NULL || atomic_fetch_sub(&gen->refs, 1) != 1)
		return;
	if (atomic_load(&gen->has_states))
		script__states_release(gen);
	else
		script__generation_free(gen);
}

const char *
script_generation_id(const struct script_generation *gen)
{
	return gen->id;
}

const char *
script_generation_hash(const struct script_generation *gen)
{
	return gen->hash;
}

size_t
script_generation_files(
    const struct script_generation *gen, const struct script_file **files_out)
{
	*files_out = gen->files;
	return gen->count;
}

long
script__generation_find(const struct script_generation *gen, const char *name)
{
	size_t low = 0;
	size_t high = gen->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(name, gen->files[mid].name);

		if (order == 0)
			return (long)mid;
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return -1;
}

const struct script_file *
script_generation_file(const struct script_generation *gen, const char *name)
{
	long at = script__generation_find(gen, name);

	return at < 0 ? NULL : &gen->files[at];
}

uint64_t
script_generation_since_ms(const struct script_generation *gen)
{
	return atomic_load(
	    &((struct script_generation *)(uintptr_t)gen)->since_ms);
}

static void
pack_u32(struct buf *out, size_t value)
{
	for (int i = 0; i < 4; i++)
		buf_addc(out, (char)((value >> (8 * i)) & 0xff));
}

void
script_generation_pack(const struct script_generation *gen, struct buf *out)
{
	buf_adds(out, PACK_MAGIC);
	pack_u32(out, gen->count);
	for (size_t i = 0; i < gen->count; i++) {
		const struct script_file *file = &gen->files[i];

		pack_u32(out, strlen(file->name));
		pack_u32(out, file->len);
		buf_add(out, file->name, strlen(file->name));
		buf_add(out, file->text, file->len);
	}
}

struct reader {
	const uint8_t *at;
	size_t left;
};

static bool
read_u32(struct reader *in, size_t *value_out)
{
	if (in->left < 4)
		return false;
	*value_out = (size_t)in->at[0] | (size_t)in->at[1] << 8 |
		     (size_t)in->at[2] << 16 | (size_t)in->at[3] << 24;
	in->at += 4;
	in->left -= 4;
	return true;
}

static bool
read_text(struct reader *in, size_t len, char **text_out)
{
	if (in->left < len)
		return false;
	*text_out = mem_strndup("", 0);
	*text_out = mem_resize(*text_out, len + 1);
	memcpy(*text_out, in->at, len);
	(*text_out)[len] = '\0';
	in->at += len;
	in->left -= len;
	return true;
}

static bool
unpack_file(struct reader *in, struct script_file *file)
{
	size_t name_len;

	if (!read_u32(in, &name_len) || !read_u32(in, &file->len))
		return false;
	if (name_len == 0 || name_len > 255 || file->len > GENERATION_FILE_MAX)
		return false;
	return read_text(in, name_len, &file->name) &&
	       strlen(file->name) == name_len &&
	       read_text(in, file->len, &file->text);
}

enum err_code
script_generation_unpack(
    const void *data, size_t len, struct script_generation **gen_out)
{
	struct reader in = { data, len };
	struct script_file *files;
	size_t count = 0;
	size_t done = 0;

	if (len < strlen(PACK_MAGIC) ||
	    memcmp(data, PACK_MAGIC, strlen(PACK_MAGIC)) != 0)
		return err_set(ERR_INVALID, "not a packed script generation");
	in.at += strlen(PACK_MAGIC);
	in.left -= strlen(PACK_MAGIC);
	if (!read_u32(&in, &count) || count > GENERATION_FILES_MAX)
		return err_set(ERR_INVALID, "packed generation: bad count");
	files = mem_zero((count + 1) * sizeof(*files));
	while (done < count && unpack_file(&in, &files[done]))
		done++;
	if (done == count && in.left == 0) {
		*gen_out = script__generation_new(files, count);
		return OK;
	}
	for (size_t i = 0; i <= done && i < count; i++) {
		mem_free(files[i].name);
		mem_free(files[i].text);
	}
	mem_free(files);
	return err_set(ERR_INVALID, "packed generation is cut or damaged");
}

static bool
is_script_name(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && len < 128 && name[0] != '/' &&
	       str_ends(name, ".lua") && strstr(name, "..") == NULL &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-/.") == len;
}

static void
set_file(struct script_file *files, size_t *count, const char *name,
    const char *text, size_t len)
{
	size_t i = 0;

	while (i < *count && strcmp(files[i].name, name) != 0)
		i++;
	if (i == *count) {
		files[(*count)++].name = mem_strdup(name);
	} else {
		mem_free(files[i].text);
	}
	files[i].text = mem_strndup(text, len);
	files[i].len = len;
}

enum err_code
script_generation_edit(const struct script_generation *base,
    const struct script_file *edits, size_t count,
    struct script_generation **gen_out)
{
	struct script_file *files;
	size_t total = 0;

	if (base->count + count > GENERATION_FILES_MAX)
		return err_set(
		    ERR_TOO_LARGE, "over %d scripts", GENERATION_FILES_MAX);
	for (size_t i = 0; i < count; i++) {
		if (!is_script_name(edits[i].name))
			return err_set(ERR_INVALID,
			    "\"%.128s\" is no script's name", edits[i].name);
		if (edits[i].len > GENERATION_FILE_MAX)
			return err_set(
			    ERR_TOO_LARGE, "%s is over 1 MiB", edits[i].name);
	}
	files = mem_zero((base->count + count + 1) * sizeof(*files));
	for (size_t i = 0; i < base->count; i++)
		set_file(files, &total, base->files[i].name,
		    base->files[i].text, base->files[i].len);
	for (size_t i = 0; i < count; i++)
		set_file(
		    files, &total, edits[i].name, edits[i].text, edits[i].len);
	*gen_out = script__generation_new(files, total);
	return OK;
}
