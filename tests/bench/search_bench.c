/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Embedded search at 8,500 and 85,000 chunks of made-up text, whose words are
 * as frequent as those of a language (Zipf): putting, the first query after a
 * start, queries; and with vectors. Usage: search_bench [chunks [dimensions]].
 * The disk decides about putting.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "search/search.h"
#include "sqlite/sqlite.h"

#define VOCABULARY     60000
#define CHUNK_WORDS    170
#define SOURCE_CHUNK   16
#define QUERIES        400
#define QUERY_WORDS    11

#define DIMENSIONS_MAX 4096

static unsigned seed = 1;
static size_t dimensions;

static void
need(enum err_code rc, const char *what)
{
	if (rc == OK)
		return;
	fprintf(stderr, "%s: %s\n", what, err_message());
	exit(1);
}

static double
uniform(void)
{
	unsigned high = (seed = seed * 1103515245 + 12345) >> 16;
	unsigned low = (seed = seed * 1103515245 + 12345) >> 16;

	return ((high & 0x7fff) * 32768.0 + (low & 0x7fff)) / (32768.0 * 32768);
}

/* Rank r with a probability near 1 / r. Words have no ending to stem. */
static size_t
add_word(char *out)
{
	int rank = (int)exp(uniform() * log(VOCABULARY));

	return (size_t)sprintf(out, "q%xk ", (unsigned)rank);
}

static size_t
make_text(char *out, int words, int first)
{
	size_t len = 0;

	for (int i = 0; i < words; i++)
		len += i < first
			   /* what is asked is rarer than what is said */
			   ? (size_t)sprintf(out + len, "q%xk ",
				 (unsigned)(30 + uniform() * uniform() *
						     uniform() * 20000))
			   : add_word(out + len);
	return len;
}

/* NULL without dimensions. */
static const float *
make_vector(float *out)
{
	for (size_t i = 0; i < dimensions; i++)
		out[i] = (float)(uniform() + uniform() + uniform() - 1.5);
	return dimensions > 0 ? out : NULL;
}

static enum err_code
insert_source(sqlite3 *db, void *arg)
{
	return sqlite_run(db, NULL,
	    "INSERT INTO knowledge_sources(id, brand_id, title, content_type,"
	    " sha256, object_key, status, live_version, created_at, updated_at)"
	    " VALUES (?1, 'bench', '', 'text/plain', ?1, '', 'ready', 1, 0, 0)",
	    "t", (const char *)arg);
}

static void
put_source(struct sqlite *db, struct search *search, int number)
{
	static char texts[SOURCE_CHUNK][CHUNK_WORDS * 10];
	static float vectors[SOURCE_CHUNK][DIMENSIONS_MAX];
	struct chunk chunks[SOURCE_CHUNK];
	char id[IDENT_SIZE];

	snprintf(id, sizeof(id), "kn_%08d", number);
	for (int i = 0; i < SOURCE_CHUNK; i++)
		chunks[i] = (struct chunk){ .number = i,
			.text = texts[i],
			.len = make_text(texts[i], CHUNK_WORDS, 4),
			.heading = "",
			.vector = make_vector(vectors[i]),
			.dimensions = dimensions };
	need(search_put(search, "bench", id, 1, "", chunks, SOURCE_CHUNK),
	    "put");
	need(sqlite_write(db, insert_source, id), "switch");
}

static void
find(struct search *search, const char *query, int top_k)
{
	static float vector[DIMENSIONS_MAX];
	struct search_hits hits;

	need(search_find(search,
		 &(struct search_ask){ .brand = "bench",
		     .query = query,
		     .query_len = strlen(query),
		     .top_k = top_k,
		     .vector = make_vector(vector),
		     .dimensions = dimensions },
		 &hits),
	    "find");
	search_hits_done(&hits);
}

/* Of the whole process: other people's noise touches it least. */
static uint64_t
cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int
by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void
measure(struct search *search, int top_k)
{
	static char queries[QUERIES][QUERY_WORDS * 10];
	static uint64_t times[QUERIES];
	uint64_t cpu = cpu_us();

	for (int i = 0; i < QUERIES; i++) {
		uint64_t began;

		make_text(queries[i], QUERY_WORDS, QUERY_WORDS);
		began = clock_mono_us();
		find(search, queries[i], top_k);
		times[i] = clock_mono_us() - began;
	}
	cpu = cpu_us() - cpu;
	qsort(times, QUERIES, sizeof(*times), by_time);
	printf("  top_k %3d: median %6llu us, p99 %6llu, CPU %6llu a query\n",
	    top_k, (unsigned long long)times[QUERIES / 2],
	    (unsigned long long)times[QUERIES * 99 / 100],
	    (unsigned long long)(cpu / QUERIES));
}

static double
resident_mb(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long all = 0, resident = 0;

	if (file != NULL && fscanf(file, "%ld %ld", &all, &resident) != 2)
		resident = 0;
	if (file != NULL)
		fclose(file);
	return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1048576;
}

static void
run(int chunks)
{
	char folder[] = "/tmp/xin-bench-XXXXXX";
	char *path;
	struct sqlite *db;
	struct search *search;
	uint64_t began = clock_mono_us(), cpu = cpu_us();
	struct stat st;
	double before;

	if (mkdtemp(folder) == NULL)
		exit(1);
	path = mem_printf("%s/bench.db", folder);
	need(sqlite_open(path, &db), path);
	need(search_open("sqlite:", db, &search), "search");
	for (int i = 0; i * SOURCE_CHUNK < chunks; i++)
		put_source(db, search, i);
	printf("%d chunks, %zu dimensions: put %.0f us a chunk, CPU %.0f",
	    chunks, dimensions, (double)(clock_mono_us() - began) / chunks,
	    (double)(cpu_us() - cpu) / chunks);
	search_close(search);
	sqlite_close(db);
	if (stat(path, &st) == 0)
		printf(", %.1f KB a chunk on disk\n",
		    (double)st.st_size / 1024 / chunks);
	/* A new start. */
	need(sqlite_open(path, &db), path);
	need(search_open("sqlite:", db, &search), "search");
	before = resident_mb();
	began = clock_mono_us();
	find(search, "q1fk", 8);
	printf(
	    "  first query %.1f ms", (double)(clock_mono_us() - began) / 1e3);
	printf(", %.1f MB more\n", resident_mb() - before);
	measure(search, 8);
	measure(search, 200);
	search_close(search);
	sqlite_close(db);
	unlink(path);
	mem_free(path);
	path = mem_printf("%s/xin.lock", folder);
	unlink(path);
	rmdir(folder);
	mem_free(path);
}

int
main(int argc, char **argv)
{
	if (argc > 1) {
		if (argc > 2 && atoi(argv[2]) <= DIMENSIONS_MAX)
			dimensions = (size_t)atoi(argv[2]);
		run(atoi(argv[1]));
		return 0;
	}
	run(8500);
	run(85000);
	dimensions = 768;
	run(8500);
	return 0;
}
