/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quality of retrieval and of the extractive answerer over public sets, at the
 * level of the library: a fresh database, one brand for each set, documents cut
 * at about 1,200 characters. Prints one table row for each set.
 *
 *   quality_bench DATA_FOLDER [features.tsv [set]]
 *
 * Questions are split by a hash of their id into a half for fitting and a half
 * for reporting; the table counts the reporting half. With a second argument
 * every question's confidence and label are written for the fit.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/model.h"
#include "model/model_extract.h"
#include "search/search.h"
#include "sqlite/sqlite.h"
#include "text/text.h"

#define CHUNK_CHARACTERS 1200
#define TOP_K            5
#define DEEP_K           200
#define TERMS_MAX        64
#define QUESTIONS_MAX    1200 /* of one kind in a set, evenly spread */

struct lines {
	json_t **items;
	size_t count;
};

static struct lines
read_lines(const char *folder, const char *name)
{
	struct lines lines = { NULL, 0 };
	char *path = mem_printf("%s/%s", folder, name), *line = NULL;
	FILE *file = fopen(path, "r");
	size_t cap = 0, room = 0;

	mem_free(path);
	if (file == NULL)
		return lines;
	while (getline(&line, &cap, file) > 0) {
		if (lines.count == room) {
			room = room == 0 ? 1024 : room * 2;
			lines.items = mem_resize(
			    lines.items, room * sizeof(*lines.items));
		}
		lines.items[lines.count] = json_loads(line, 0, NULL);
		if (lines.items[lines.count] != NULL)
			lines.count++;
	}
	free(line);
	fclose(file);
	return lines;
}

static const char *
member(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value != NULL ? value : "";
}

/* query id -> array of document ids */
static json_t *
read_judgements(const char *folder)
{
	char *path = mem_printf("%s/qrels.tsv", folder), line[512];
	FILE *file = fopen(path, "r");
	json_t *all = json_object();
	char query[128], document[128];
	int score;

	mem_free(path);
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		json_t *list;

		if (sscanf(line, "%127s %127s %d", query, document, &score) !=
			3 ||
		    score < 1)
			continue;
		list = json_object_get(all, query);
		if (list == NULL) {
			list = json_array();
			json_object_set_new(all, query, list);
		}
		json_array_append_new(list, json_string(document));
	}
	if (file != NULL)
		fclose(file);
	return all;
}

static bool
is_relevant(const json_t *list, const char *document)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (str_eq(
			json_string_value(json_array_get(list, i)), document))
			return true;
	return false;
}

struct house {
	struct sqlite *db;
	struct search *search;
	struct model *model;
	FILE *features;
};

struct row {
	const char *brand, *id, *title;
};

static enum err_code
insert_source(sqlite3 *db, void *arg)
{
	const struct row *row = arg;

	return sqlite_run(db, NULL,
	    "INSERT INTO knowledge_sources(id, brand_id, title, content_type,"
	    " sha256, object_key, status, live_version, created_at, updated_at)"
	    " VALUES (?1, ?2, ?3, 'text/plain', ?1, '', 'ready', 1, 0, 0)",
	    "ttt", row->id, row->brand, row->title);
}

static void
check(enum err_code rc)
{
	if (rc == OK)
		return;
	fprintf(stderr, "%s\n", err_message());
	exit(1);
}

/* Sources of several sets live in one table: ids carry the brand. */
static void
source_name(const char *brand, const char *id, char out[IDENT_SIZE])
{
	snprintf(out, IDENT_SIZE, "%.8s.%.20s", brand, id);
}

static size_t
put_document(struct house *house, const char *brand, const json_t *document)
{
	const char *text = member(document, "text");
	struct chunk chunks[256];
	size_t count = 0, at = 0, len = strlen(text);
	char id[IDENT_SIZE];
	struct row row = { brand, id, member(document, "title") };

	source_name(brand, member(document, "_id"), id);
	while (at < len && count < 256) {
		size_t n = text_offset(text + at, len - at, CHUNK_CHARACTERS);

		size_t space = n;

		while (at + n < len && space > 0 && text[at + space] != ' ')
			space--;
		if (space > 0)
			n = space;
		chunks[count] = (struct chunk){ .number = (int64_t)count,
			.text = text + at,
			.len = n,
			.start = (int64_t)at,
			.end = (int64_t)(at + n),
			.heading = "" };
		count++;
		at += n;
	}
	check(sqlite_write(house->db, insert_source, &row));
	check(
	    search_put(house->search, brand, id, 1, row.title, chunks, count));
	return count;
}

struct terms {
	struct model_term items[TERMS_MAX];
	const char *tokens[TERMS_MAX];
	double idf[TERMS_MAX];
	size_t count;
};

static bool
add_term(void *arg, const struct text_token *token)
{
	struct terms *terms = arg;

	for (size_t i = 0; i < terms->count; i++)
		if (strcmp(terms->tokens[i], token->text) == 0)
			return true;
	terms->tokens[terms->count++] = mem_strndup(token->text, token->len);
	return terms->count < TERMS_MAX;
}

static void
explain(const struct model_request *request, double features[MODEL_FEATURES])
{
	struct model_reading reading;

	memset(features, 0, MODEL_FEATURES * sizeof(*features));
	model__read(request, &reading);
	if (reading.sentence_count > 0 && reading.term_count > 0)
		model__features(request, &reading, features);
	model__reading_done(&reading);
}

/* Answer as a turn does. */
static void
ask(struct house *house, const char *brand, const char *question,
    struct search_hits *hits, struct model_reply *reply,
    double features[MODEL_FEATURES])
{
	struct model_passage passages[TOP_K];
	struct terms terms = { .count = 0 };
	struct model_request request = { .question = question,
		.passages = passages,
		.confidence_floor = -1,
		.no_answer = "-" };

	check(search_find(house->search,
	    &(struct search_ask){ .brand = brand,
		.query = question,
		.query_len = strlen(question),
		.top_k = TOP_K },
	    hits));
	text_tokens(question, strlen(question), add_term, &terms);
	check(search_idf(
	    house->search, brand, terms.tokens, terms.count, terms.idf));
	for (size_t i = 0; i < terms.count; i++)
		terms.items[i] =
		    (struct model_term){ terms.tokens[i], terms.idf[i] };
	for (size_t i = 0; i < hits->count; i++)
		passages[i] = (struct model_passage){ hits->items[i].title,
			hits->items[i].text, strlen(hits->items[i].text),
			hits->items[i].score, hits->items[i].coverage };
	request.passage_count = hits->count;
	request.terms = terms.items;
	request.term_count = terms.count;
	check(model_answer(house->model, &request, 0, reply));
	explain(&request, features);
	for (size_t i = 0; i < terms.count; i++)
		mem_free(terms.tokens[i]);
}

static bool
is_reported(const char *id)
{
	uint32_t hash = 2166136261u;

	for (; *id != '\0'; id++)
		hash = (hash ^ (unsigned char)*id) * 16777619u;
	return (hash >> 16) % 2 == 1;
}

static void
write_features(FILE *file, const char *brand, const char *id, bool answerable,
    bool first, const double features[MODEL_FEATURES])
{
	fprintf(file, "%s\t%s\t%d\t%d\t%d", brand, id, is_reported(id),
	    answerable, first);
	for (size_t i = 0; i < MODEL_FEATURES; i++)
		fprintf(file, "\t%.5f", features[i]);
	fputc('\n', file);
}

struct counts {
	size_t asked, first, cited, declined, unanswerable, refused;
};

static void
judge(struct house *house, const char *brand, const json_t *question,
    const json_t *relevant, struct counts *counts)
{
	const char *id = member(question, "_id");
	struct search_hits hits = { 0 };
	struct model_reply reply = { 0 };
	char prefix[IDENT_SIZE];
	double features[MODEL_FEATURES];
	bool first = false, cited = false;

	source_name(brand, "", prefix);
	ask(house, brand, member(question, "text"), &hits, &reply, features);
	if (hits.count > 0)
		first = is_relevant(
		    relevant, hits.items[0].source_id + strlen(prefix));
	for (size_t i = 0; i < reply.cited_count && i < 3; i++)
		cited = cited || is_relevant(relevant,
				     hits.items[reply.cited[i]].source_id +
					 strlen(prefix));
	if (house->features != NULL)
		write_features(house->features, brand, id, relevant != NULL,
		    first, features);
	if (is_reported(id) && relevant != NULL) {
		counts->asked++;
		counts->first += first;
		counts->cited += cited;
		counts->declined += !reply.answered;
	} else if (is_reported(id)) {
		counts->unanswerable++;
		counts->refused += !reply.answered;
	}
	model_reply_done(&reply);
	search_hits_done(&hits);
}

static size_t
put_all(struct house *house, const char *folder, const char *brand)
{
	struct lines corpus = read_lines(folder, "corpus.jsonl");
	size_t chunks = 0;

	for (size_t i = 0; i < corpus.count; i++) {
		chunks += put_document(house, brand, corpus.items[i]);
		json_decref(corpus.items[i]);
	}
	mem_free(corpus.items);
	return chunks;
}

static void
free_lines(struct lines *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		json_decref(lines->items[i]);
	mem_free(lines->items);
}

static double
percent(size_t part, size_t whole)
{
	return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

static size_t
stride(size_t count)
{
	return (count + QUESTIONS_MAX - 1) / QUESTIONS_MAX;
}

static void
run_questions(
    struct house *house, const char *data, const char *set, const char *brand)
{
	char *folder = mem_printf("%s/retrieval/%s", data, set);
	struct lines queries = read_lines(folder, "queries.jsonl");
	struct lines others = read_lines(folder, "unanswerable.jsonl");
	json_t *judgements = read_judgements(folder);
	struct counts counts = { 0 };
	size_t chunks = put_all(house, folder, brand);
	uint64_t begin = clock_mono_us(), each;
	size_t done = 0;

	for (size_t i = 0; i < queries.count; i += stride(queries.count)) {
		judge(house, brand, queries.items[i],
		    json_object_get(
			judgements, member(queries.items[i], "_id")),
		    &counts);
		done++;
	}
	for (size_t i = 0; i < others.count; i += stride(others.count)) {
		judge(house, brand, others.items[i], NULL, &counts);
		done++;
	}
	each = (clock_mono_us() - begin) / (done > 0 ? done : 1);
	printf("| %s | %zu | %zu | %.1f %% | %.1f %% | %.1f %% | ", set, chunks,
	    counts.asked, percent(counts.first, counts.asked),
	    percent(counts.cited, counts.asked),
	    percent(counts.declined, counts.asked));
	if (counts.unanswerable > 0)
		printf("%.1f %% of %zu",
		    percent(counts.refused, counts.unanswerable),
		    counts.unanswerable);
	printf(" | %llu us |\n", (unsigned long long)each);
	fflush(stdout);
	free_lines(&queries);
	free_lines(&others);
	json_decref(judgements);
	mem_free(folder);
}

/* Hits by source: its best chunk counts. (The sum favours long documents:
 * nDCG@10 0.54 instead of 0.70 on SciFact.) */
struct by_source {
	const char *id;
	double score;
};

static int
compare_sources(const void *a, const void *b)
{
	const struct by_source *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return strcmp(x->id, y->id);
}

static size_t
sources_of(const struct search_hits *hits, struct by_source out[DEEP_K])
{
	size_t count = 0, k;

	for (size_t i = 0; i < hits->count; i++) {
		for (k = 0; k < count; k++)
			if (str_eq(out[k].id, hits->items[i].source_id))
				break;
		if (k == count)
			out[count++] =
			    (struct by_source){ hits->items[i].source_id,
				    hits->items[i].score };
	}
	qsort(out, count, sizeof(*out), compare_sources);
	return count;
}

static void
run_ranking(
    struct house *house, const char *data, const char *set, const char *brand)
{
	char *folder = mem_printf("%s/retrieval/%s", data, set);
	struct lines queries = read_lines(folder, "queries.jsonl");
	json_t *judgements = read_judgements(folder);
	uint64_t begin = clock_mono_us(), put_us, took;
	size_t chunks = put_all(house, folder, brand), judged = 0;
	double ndcg = 0, recall = 0;
	char prefix[IDENT_SIZE];

	source_name(brand, "", prefix);
	put_us = clock_mono_us() - begin;
	begin = clock_mono_us();
	for (size_t i = 0; i < queries.count; i++) {
		const char *text = member(queries.items[i], "text");
		json_t *relevant = json_object_get(
		    judgements, member(queries.items[i], "_id"));
		size_t want = json_array_size(relevant), found = 0, count;
		struct search_hits hits = { 0 };
		struct by_source sources[DEEP_K];
		double gain = 0, ideal = 0;

		if (want == 0)
			continue;
		judged++;
		check(search_find(house->search,
		    &(struct search_ask){ .brand = brand,
			.query = text,
			.query_len = strlen(text),
			.top_k = DEEP_K },
		    &hits));
		count = sources_of(&hits, sources);
		for (size_t r = 0; r < count && r < 100; r++) {
			if (!is_relevant(
				relevant, sources[r].id + strlen(prefix)))
				continue;
			found++;
			if (r < 10)
				gain += 1 / log2((double)r + 2);
		}
		for (size_t r = 0; r < want && r < 10; r++)
			ideal += 1 / log2((double)r + 2);
		ndcg += gain / ideal;
		recall += (double)found / (double)want;
		search_hits_done(&hits);
	}
	took = clock_mono_us() - begin;
	printf("%s: %zu chunks put in %.1f s; %zu queries: nDCG@10 %.4f, "
	       "R@100 %.4f, %llu us a query\n",
	    set, chunks, (double)put_us / 1e6, judged, ndcg / (double)judged,
	    recall / (double)judged,
	    (unsigned long long)(judged > 0 ? took / judged : 0));
	fflush(stdout);
	free_lines(&queries);
	json_decref(judgements);
	mem_free(folder);
}

static bool
wanted(int argc, char **argv, const char *set)
{
	return argc < 4 || str_eq(argv[3], set);
}

int
main(int argc, char **argv)
{
	char folder[] = "/tmp/xin-quality-XXXXXX";
	struct house house = { 0 };
	char *path;

	if (argc < 2) {
		fprintf(stderr,
		    "usage: quality_bench DATA_FOLDER [features.tsv]\n");
		return 2;
	}
	if (mkdtemp(folder) == NULL)
		return 1;
	path = mem_printf("%s/xin.db", folder);
	check(sqlite_open(path, &house.db));
	check(search_open("sqlite:", house.db, &house.search));
	check(model_open("", &house.model));
	if (argc > 2)
		house.features = fopen(argv[2], "w");
	puts("| set | chunks | answerable | first hit right | right document "
	     "cited | declined | unanswerable declined | a question |");
	puts("|---|---|---|---|---|---|---|---|");
	if (wanted(argc, argv, "xquad/en"))
		run_questions(&house, argv[1], "xquad/en", "en");
	if (wanted(argc, argv, "xquad/ar"))
		run_questions(&house, argv[1], "xquad/ar", "ar");
	if (wanted(argc, argv, "xquad/zh"))
		run_questions(&house, argv[1], "xquad/zh", "zh");
	if (wanted(argc, argv, "xquad/hi"))
		run_questions(&house, argv[1], "xquad/hi", "hi");
	if (wanted(argc, argv, "pquad_validation"))
		run_questions(&house, argv[1], "pquad_validation", "fa");
	if (wanted(argc, argv, "scifact"))
		run_ranking(&house, argv[1], "scifact", "sci");
	if (house.features != NULL)
		fclose(house.features);
	model_close(house.model);
	search_close(house.search);
	sqlite_close(house.db);
	mem_free(path);
	printf("database: %s\n", folder);
	return 0;
}
