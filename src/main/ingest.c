/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `xin ingest`: upload files (folders are walked) and follow them to their
 * end. The path below a walked folder is the document's external id, so that
 * ingesting a tree again makes new versions of the same documents.
 */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "extract/extract.h"
#include "fiber/fiber.h"
#include "main/command.h"
#include "net/url.h"

#define FILE_MAX      ((off_t)100 << 20)
#define FOLLOW_MS     250
#define FOLLOW_MAX_MS (60 * 60 * 1000)

struct document {
	char *path;
	char *external_id;
	char id[64];
	char status[16];
};

static struct {
	const char *brand;
	bool force;
	struct document *items;
	size_t count;
	size_t root_len; /* of the folder that is being walked */
} job;

static void
add_document(const char *path, const char *external_id)
{
	job.items = mem_resize(job.items, (job.count + 1) * sizeof(*job.items));
	job.items[job.count] = (struct document){ 0 };
	job.items[job.count].path = mem_strdup(path);
	job.items[job.count].external_id = mem_strdup(external_id);
	job.count++;
}

static int
walk_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	if (type != FTW_F || path[ftw->base] == '.')
		return 0;
	if (extract_check(NULL, path, NULL, 0) == OK)
		add_document(path, path + job.root_len + 1);
	return 0;
}

static bool
collect(const char *path)
{
	struct stat st;
	size_t len = strlen(path);

	if (stat(path, &st) != 0) {
		fprintf(stderr, "xin: %s: %s\n", path, strerror(errno));
		return false;
	}
	if (!S_ISDIR(st.st_mode)) {
		const char *slash = strrchr(path, '/');

		add_document(path, slash != NULL ? slash + 1 : path);
		return true;
	}
	while (len > 1 && path[len - 1] == '/')
		len--;
	job.root_len = len;
	return nftw(path, walk_one, 16, FTW_PHYS) == 0;
}

static enum err_code
read_file(void *arg)
{
	struct buf *out = ((void **)arg)[1];
	const char *path = ((void **)arg)[0];
	FILE *file = fopen(path, "rbe");
	char piece[65536];
	size_t n;
	bool bad;

	if (file == NULL)
		return err_set(ERR_IO, "%s: %s", path, strerror(errno));
	while ((n = fread(piece, 1, sizeof(piece), file)) > 0 && !out->full)
		buf_add(out, piece, n);
	bad = ferror(file);
	fclose(file);
	if (out->full)
		return err_set(ERR_TOO_LARGE, "%s is over 100 MiB", path);
	return bad ? err_set(ERR_IO, "%s: cannot be read", path) : OK;
}

static void
add_field(
    struct buf *body, const char *boundary, const char *name, const char *value)
{
	buf_addf(body,
	    "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n",
	    boundary, name, value);
}

static enum err_code
upload(struct document *doc)
{
	const char *slash = strrchr(doc->path, '/');
	const char *name = slash != NULL ? slash + 1 : doc->path;
	char boundary[48] = "xin-", type[96], path[256];
	json_auto json_t *answer = NULL;
	struct buf data, body;
	void *args[] = { doc->path, &data };
	uint8_t noise[16];
	enum err_code rc;

	crypto_random(noise, sizeof(noise));
	crypto_hex(noise, sizeof(noise), boundary + 4);
	buf_init(&data, (size_t)FILE_MAX);
	buf_init(&body, 0);
	rc = pool_run(read_file, args);
	if (rc == OK) {
		add_field(&body, boundary, "external_id", doc->external_id);
		buf_addf(&body,
		    "--%s\r\nContent-Disposition: form-data; name=\"file\"; "
		    "filename=\"",
		    boundary);
		for (const char *p = name; *p != '\0'; p++)
			buf_addc(&body, *p == '"' || *p == '\\' ? '_' : *p);
		buf_adds(&body, "\"\r\n\r\n");
		buf_add(&body, data.data, data.len);
		buf_addf(&body, "\r\n--%s--\r\n", boundary);
		snprintf(type, sizeof(type), "multipart/form-data; boundary=%s",
		    boundary);
		snprintf(path, sizeof(path), "/v1/brands/%.63s/knowledge%s",
		    job.brand, job.force ? "?force=true" : "");
		rc = client_call(
		    "POST", path, type, body.data, body.len, &answer);
	}
	buf_done(&data);
	buf_done(&body);
	if (rc != OK)
		return rc;
	str_copy(doc->id, sizeof(doc->id), json_str(answer, "id") ?: "");
	str_copy(
	    doc->status, sizeof(doc->status), json_str(answer, "status") ?: "");
	return OK;
}

static bool
has_ended(const struct document *doc)
{
	return strcmp(doc->status, "pending") != 0 &&
	       strcmp(doc->status, "processing") != 0;
}

static void
show(const struct document *doc, const json_t *view)
{
	const json_t *error = json_object_get(view, "error");

	if (strcmp(doc->status, "ready") == 0)
		printf("%-10s %s  %s, %lld chunks\n", doc->status,
		    doc->external_id, doc->id,
		    (long long)json_int(view, "chunks", 0));
	else
		printf("%-10s %s  %s\n", doc->status, doc->external_id,
		    json_str(error, "message") ?: "");
	fflush(stdout);
}

static enum err_code
follow(struct document *doc, bool *ended_out)
{
	json_auto json_t *view = NULL;
	char path[256];

	snprintf(path, sizeof(path), "/v1/brands/%.63s/knowledge/%s", job.brand,
	    doc->id);
	TRY(client_json("GET", path, NULL, &view));
	str_copy(
	    doc->status, sizeof(doc->status), json_str(view, "status") ?: "");
	*ended_out = has_ended(doc);
	if (*ended_out)
		show(doc, view);
	return OK;
}

static enum err_code
follow_all(size_t *open)
{
	uint64_t until = deadline_in_ms(FOLLOW_MAX_MS);
	bool *done = mem_zero(job.count * sizeof(*done));
	enum err_code rc = OK;

	while (rc == OK && *open > 0 && deadline_left_ms(until) > 0) {
		for (size_t i = 0; i < job.count && rc == OK; i++) {
			struct document *doc = &job.items[i];

			if (done[i] || doc->id[0] == '\0')
				continue;
			rc = follow(doc, &done[i]);
			if (done[i])
				(*open)--;
			else
				break; /* the queue is in order: wait for it */
		}
		if (isatty(2) && *open > 0)
			fprintf(stderr, "\r%zu of %zu documents to go ", *open,
			    job.count);
		if (rc == OK && *open > 0)
			rc = fiber_sleep(FOLLOW_MS);
	}
	if (isatty(2))
		fputs("\r                                        \r", stderr);
	mem_free(done);
	return rc;
}

static enum err_code
run(void *arg)
{
	size_t failed = 0, open = 0;

	(void)arg;
	for (size_t i = 0; i < job.count; i++) {
		struct document *doc = &job.items[i];

		if (upload(doc) == OK) {
			open++;
			continue;
		}
		printf("%-10s %s  %s\n", "refused", doc->external_id,
		    err_message());
		failed++;
	}
	TRY(follow_all(&open));
	for (size_t i = 0; i < job.count; i++)
		if (job.items[i].id[0] != '\0' &&
		    strcmp(job.items[i].status, "ready") != 0)
			failed++;
	printf("%zu ready, %zu not\n", job.count - failed, failed);
	return failed == 0 ? OK
			   : err_set(ERR_CONFLICT,
				 "%zu documents are not ready", failed);
}

int
command_ingest(int argc, char **argv)
{
	struct option_spec specs[] = { { "brand", &job.brand, NULL },
		{ "force", NULL, &job.force }, { 0 } };
	int count, code;

	job.brand = "default";
	if (!command_options(argc, argv, specs, &count) || count == 0) {
		fputs(
		    "usage: xin ingest FILE|FOLDER... --brand BRAND\n", stderr);
		return 2;
	}
	if (!command_setup())
		return 1;
	for (int i = 0; i < count; i++)
		if (!collect(argv[i]))
			return 1;
	if (job.count == 0) {
		fputs("xin: no documents there (PDF, docx, md, html ...)\n",
		    stderr);
		return 1;
	}
	code = client_run(run, NULL);
	for (size_t i = 0; i < job.count; i++) {
		mem_free(job.items[i].path);
		mem_free(job.items[i].external_id);
	}
	mem_free(job.items);
	return code;
}
