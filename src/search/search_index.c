/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inverted index: for each term its postings as varints in the order of
 * the chunks' places. Chunks are only ever appended; one that goes away is
 * marked dead and swept out when the dead are many. Everything is scored:
 * at some nanoseconds a posting, skipping would cost more code than it saves
 * time below a million chunks (docs/design/0005-embedded-search.md).
 */
#include "search/search_index.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "search/search_index_internal.h"

#define DEAD_MAX 1024 /* swept out when over this and a quarter of all */
#define BATCH    32   /* words of a chunk whose terms are fetched together */

static uint32_t
hash_of(const char *text, size_t len)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)text[i]) * 16777619u;
	return hash ^ hash >> 15;
}

struct search_index *
search_index_new(void)
{
	return mem_zero(sizeof(struct search_index));
}

static void
free_terms(struct index_term *terms, size_t cap)
{
	for (size_t i = 0; i < cap; i++)
		mem_free(terms[i].data);
	mem_free(terms);
}

static void
clear_source(struct search_index *index, struct index_source *source)
{
	for (size_t i = 0; i < source->metadata_count; i++)
		mem_free(source->metadata[i]);
	mem_free(source->metadata);
	mem_free(source->vectors);
	mem_free(source->codes);
	mem_free(source->code_bytes);
	index->source_bytes -= source->bytes;
	source->metadata = NULL;
	source->vectors = NULL;
	source->codes = NULL;
	source->code_bytes = NULL;
	source->metadata_count = source->vector_count = source->bytes = 0;
}

void
search_index_free(struct search_index *index)
{
	if (index == NULL)
		return;
	free_terms(index->terms, index->term_cap);
	for (size_t i = 0; i < index->source_count; i++)
		clear_source(index, &index->sources[i]);
	mem_free(index->docs);
	mem_free(index->norms);
	mem_free(index->sources);
	mem_free(index->source_places);
	mem_free(index);
}

size_t
search_index_bytes(const struct search_index *index)
{
	return sizeof(*index) + index->posting_bytes + index->source_bytes +
	       index->term_cap * sizeof(*index->terms) +
	       index->doc_cap * (sizeof(*index->docs) + sizeof(double)) +
	       index->source_cap * (sizeof(*index->sources) + 8);
}

size_t
search_index_chunks(const struct search_index *index)
{
	return index->doc_count - index->dead;
}

/* ---- terms ---- */

static struct index_term *
term_place(struct index_term *terms, size_t cap, const char *name, size_t len,
    uint32_t hash)
{
	size_t i = hash & (cap - 1);

	while (terms[i].data != NULL &&
	       (terms[i].hash != hash || terms[i].name_len != len ||
		   memcmp(terms[i].data, name, len) != 0))
		i = (i + 1) & (cap - 1);
	return &terms[i];
}

static void
resize_terms(struct search_index *index, size_t cap)
{
	struct index_term *terms = mem_zero(cap * sizeof(*terms));

	for (size_t i = 0; i < index->term_cap; i++) {
		struct index_term *old = &index->terms[i];
		size_t at = old->hash & (cap - 1);

		if (old->data == NULL)
			continue;
		while (terms[at].data != NULL)
			at = (at + 1) & (cap - 1);
		terms[at] = *old;
	}
	mem_free(index->terms);
	index->terms = terms;
	index->term_cap = cap;
}

const struct index_term *
search__index_term(const struct search_index *index, const char *name)
{
	size_t len = strlen(name);
	const struct index_term *term;

	if (index->term_cap == 0)
		return NULL;
	term = term_place(
	    index->terms, index->term_cap, name, len, hash_of(name, len));
	return term->data != NULL ? term : NULL;
}

/* The term's data with room for one posting more. */
static void
make_room(struct search_index *index, struct index_term *term)
{
	uint32_t cap = term->len + term->len / 2 + INDEX_POSTING_MAX;

	term->data = mem_resize(term->data, cap);
	index->posting_bytes += cap - term->cap;
	term->cap = cap;
}

static struct index_term *
make_term(
    struct search_index *index, const char *name, size_t len, uint32_t hash)
{
	struct index_term *term =
	    term_place(index->terms, index->term_cap, name, len, hash);

	if (term->data == NULL) {
		*term = (struct index_term){ .hash = hash,
			.name_len = (uint32_t)len,
			.len = (uint32_t)len };
		make_room(index, term);
		memcpy(term->data, name, len);
		index->term_count++;
	}
	return term;
}

/* ---- postings ---- */

static uint8_t *
put_varint(uint8_t *at, uint64_t value)
{
	while (value >= 0x80) {
		*at++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*at++ = (uint8_t)value;
	return at;
}

/* The step to the next chunk and the count in one number, since most counts
 * are 1 to 3; 0 there: the count follows. */
static uint8_t *
put_posting(uint8_t *at, uint32_t step, uint32_t count)
{
	at = put_varint(at, (uint64_t)step << 2 | (count < 4 ? count : 0));
	return count < 4 ? at : put_varint(at, count);
}

static void
add_posting(struct search_index *index, struct index_term *term, uint32_t doc,
    uint32_t count)
{
	if (term->cap - term->len < INDEX_POSTING_MAX)
		make_room(index, term);
	term->len = (uint32_t)(put_posting(term->data + term->len,
				   doc - term->last, count) -
			       term->data);
	term->last = doc;
	term->count++;
}

/* ---- sources ---- */

static size_t
source_slot(const struct search_index *index, const char *id)
{
	size_t mask = index->source_cap * 2 - 1;
	size_t i = hash_of(id, strlen(id)) & mask;

	while (index->source_places[i] != 0 &&
	       !str_eq(index->sources[index->source_places[i] - 1].id, id))
		i = (i + 1) & mask;
	return i;
}

static void
place_sources(struct search_index *index, size_t cap)
{
	index->source_cap = cap;
	index->sources =
	    mem_resize(index->sources, cap * sizeof(*index->sources));
	mem_free(index->source_places);
	index->source_places = mem_zero(cap * 2 * sizeof(uint32_t));
	for (size_t i = 0; i < index->source_count; i++)
		index->source_places[source_slot(index, index->sources[i].id)] =
		    (uint32_t)i + 1;
}

static uint32_t
make_source(struct search_index *index, const char *id)
{
	size_t slot;

	if (index->source_count == index->source_cap)
		place_sources(
		    index, index->source_cap == 0 ? 64 : index->source_cap * 2);
	slot = source_slot(index, id);
	if (index->source_places[slot] == 0) {
		struct index_source *source =
		    &index->sources[index->source_count++];

		*source = (struct index_source){ .count = 0 };
		str_copy(source->id, sizeof(source->id), id);
		index->source_places[slot] = (uint32_t)index->source_count;
	}
	return index->source_places[slot] - 1;
}

void
search_index_empty_source(struct search_index *index, const char *source_id)
{
	struct index_source *source;
	uint32_t place;

	if (index->source_cap == 0)
		return;
	place = index->source_places[source_slot(index, source_id)];
	if (place == 0)
		return;
	source = &index->sources[place - 1];
	for (uint32_t i = 0; i < source->count; i++) {
		struct index_doc *doc = &index->docs[source->first + i];

		index->tokens -= doc->length;
		index->norms[source->first + i] = INDEX_DEAD;
	}
	index->dead += source->count;
	source->count = 0;
	clear_source(index, source);
}

/* ---- chunks ---- */

void
search_index_pack(const struct search_words *words, struct buf *out)
{
	uint8_t count[10];

	for (size_t i = 0; i < words->count; i++) {
		const struct search_word *word = &words->items[i];

		must(word->len > 0 && word->len < 256);
		buf_addc(out, (char)word->len);
		buf_add(out, word->token, word->len);
		buf_add(out, count,
		    (size_t)(put_varint(count, word->count) - count));
	}
}

/* The place + 1 of a text among the source's. */
static uint32_t
keep_metadata(struct index_source *source, const char *text)
{
	size_t count = source->metadata_count;

	if (text == NULL)
		return 0;
	if (count > 0 && str_eq(source->metadata[count - 1], text))
		return (uint32_t)count;
	source->metadata = mem_resize(
	    source->metadata, (count + 1) * sizeof(*source->metadata));
	source->metadata[count] = mem_strdup(text);
	source->bytes += strlen(text) + sizeof(char *);
	return (uint32_t)++source->metadata_count;
}

static void
keep_code(struct index_source *source, const float *vector)
{
	size_t count = source->vector_count, dimensions = source->dimensions;

	source->codes =
	    mem_resize(source->codes, (count + 1) * sizeof(*source->codes));
	source->code_bytes =
	    mem_resize(source->code_bytes, (count + 1) * dimensions);
	source->codes[count] = search__encode(
	    vector, dimensions, source->code_bytes + count * dimensions);
	source->bytes += dimensions + sizeof(*source->codes);
}

/* One with other dimensions than its source's first is left out. */
static uint32_t
keep_vector(struct index_source *source, const float *vector, size_t dimensions)
{
	size_t count = source->vector_count, size = dimensions * sizeof(float);

	if (vector == NULL || dimensions == 0)
		return 0;
	if (count == 0)
		source->dimensions = dimensions;
	if (source->dimensions != dimensions)
		return 0;
	source->vectors = mem_resize(source->vectors, (count + 1) * size);
	memcpy(source->vectors + count * dimensions, vector, size);
	source->bytes += size;
	if (search__codes_pay())
		keep_code(source, vector);
	return (uint32_t)++source->vector_count;
}

static uint32_t
append_doc(struct search_index *index, const char *source_id,
    const struct search_entry *entry)
{
	uint32_t place = make_source(index, source_id);
	struct index_source *source = &index->sources[place];

	if (index->doc_count == index->doc_cap) {
		index->doc_cap = index->doc_cap == 0 ? 64 : index->doc_cap * 2;
		index->docs = mem_resize(
		    index->docs, index->doc_cap * sizeof(*index->docs));
		index->norms = mem_resize(
		    index->norms, index->doc_cap * sizeof(*index->norms));
	}
	if (source->count++ == 0)
		source->first = index->doc_count;
	must(source->first + source->count == index->doc_count + 1);
	index->source_bytes -= source->bytes;
	index->docs[index->doc_count] = (struct index_doc){
		.chunk = entry->chunk,
		.number = entry->number,
		.source = place,
		.metadata = keep_metadata(source, entry->metadata),
		.vector = keep_vector(source, entry->vector, entry->dimensions),
	};
	index->source_bytes += source->bytes;
	index->norms[index->doc_count] = 0;
	return index->doc_count++;
}

struct word {
	const char *name;
	uint32_t len, hash, count;
};

/* Up to BATCH words; ERR_IO when the bytes are damaged. */
static enum err_code
unpack(const uint8_t **at, const uint8_t *end, struct word *words,
    size_t *count_out)
{
	size_t n = 0;

	for (; n < BATCH && *at < end; n++) {
		size_t len = *(*at)++;
		uint64_t count = 0;

		/* The count's last byte has no high bit: look before. */
		if ((size_t)(end - *at) <= len || (end[-1] & 0x80) != 0)
			return err_set(
			    ERR_IO, "the words of a chunk are damaged");
		words[n].name = (const char *)*at;
		words[n].len = (uint32_t)len;
		words[n].hash = hash_of(words[n].name, len);
		*at = search__varint(*at + len, &count);
		words[n].count = (uint32_t)count;
	}
	*count_out = n;
	return OK;
}

/* Most of the time goes into waiting for memory: ask for all of a batch before
 * the first is needed. */
static void
fetch(const struct search_index *index, const struct word *words, size_t count)
{
	size_t mask = index->term_cap - 1;

	for (size_t i = 0; i < count; i++)
		__builtin_prefetch(&index->terms[words[i].hash & mask]);
	for (size_t i = 0; i < count; i++) {
		const struct index_term *term =
		    &index->terms[words[i].hash & mask];

		__builtin_prefetch(term->data);
		__builtin_prefetch(term->data + term->len);
	}
}

enum err_code
search_index_add(struct search_index *index, const char *source_id,
    const struct search_entry *entry)
{
	const uint8_t *at = entry->packed, *end = at + entry->packed_len;
	uint32_t doc = append_doc(index, source_id, entry);
	struct word words[BATCH];
	size_t count;

	while (at < end) {
		TRY(unpack(&at, end, words, &count));
		if ((index->term_count + BATCH) * 2 >= index->term_cap)
			resize_terms(index,
			    index->term_cap == 0 ? 1024 : index->term_cap * 2);
		fetch(index, words, count);
		for (size_t i = 0; i < count; i++) {
			add_posting(index,
			    make_term(index, words[i].name, words[i].len,
				words[i].hash),
			    doc, words[i].count);
			index->docs[doc].length += words[i].count;
		}
	}
	index->tokens += index->docs[doc].length;
	return OK;
}

bool *
search_index_allow(
    const struct search_index *index, search_test_fn test, const void *arg)
{
	bool *allowed = mem_zero(index->doc_count + 1);

	for (size_t i = 0; i < index->source_count; i++) {
		const struct index_source *source = &index->sources[i];
		uint32_t tested = UINT32_MAX;
		bool passes = false;

		for (uint32_t n = 0; n < source->count; n++) {
			uint32_t place = source->first + n;
			uint32_t metadata = index->docs[place].metadata;

			if (metadata != tested)
				passes = test(
				    arg, metadata > 0
					     ? source->metadata[metadata - 1]
					     : NULL);
			tested = metadata;
			allowed[place] = passes;
		}
	}
	return allowed;
}

/* ---- settling ---- */

/* Places of chunks once the dead are gone; UINT32_MAX for the dead. */
static uint32_t *
move_docs(struct search_index *index)
{
	uint32_t *to = mem_alloc((index->doc_count + 1) * sizeof(*to)), n = 0;

	for (uint32_t i = 0; i < index->doc_count; i++) {
		to[i] = UINT32_MAX;
		if (index->norms[i] == INDEX_DEAD)
			continue;
		to[i] = n;
		index->docs[n] = index->docs[i];
		index->norms[n++] = 0;
	}
	index->doc_count = n;
	return to;
}

static void
move_sources(struct search_index *index, const uint32_t *to)
{
	uint32_t *place = mem_zero((index->source_count + 1) * sizeof(*place));
	size_t n = 0;

	for (size_t i = 0; i < index->source_count; i++) {
		if (index->sources[i].count == 0)
			continue;
		place[i] = (uint32_t)n;
		index->sources[n] = index->sources[i];
		index->sources[n].first = to[index->sources[n].first];
		n++;
	}
	index->source_count = n;
	for (uint32_t i = 0; i < index->doc_count; i++)
		index->docs[i].source = place[index->docs[i].source];
	mem_free(place);
	place_sources(index, index->source_cap);
}

/* In place: what replaces postings is never longer than they were. */
static void
move_postings(struct index_term *term, const uint32_t *to)
{
	struct index_cursor cursor = search__index_cursor(term);
	uint8_t *out = term->data + term->name_len;

	term->count = 0;
	term->last = 0;
	while (search__index_step(&cursor)) {
		uint32_t doc = to[cursor.doc];

		if (doc == UINT32_MAX)
			continue;
		out = put_posting(out, doc - term->last, cursor.count);
		term->last = doc;
		term->count++;
	}
	term->len = (uint32_t)(out - term->data);
}

static void
sweep(struct search_index *index)
{
	uint32_t *to = move_docs(index);

	move_sources(index, to);
	for (size_t i = 0; i < index->term_cap; i++) {
		struct index_term *term = &index->terms[i];

		if (term->data == NULL)
			continue;
		move_postings(term, to);
		if (term->count > 0)
			continue;
		index->posting_bytes -= term->cap;
		index->term_count--;
		mem_free(term->data);
		*term = (struct index_term){ 0 };
	}
	resize_terms(index, index->term_cap); /* holes break the chains */
	index->dead = 0;
	mem_free(to);
}

void
search_index_settle(struct search_index *index)
{
	double mean;

	if (index->dead > DEAD_MAX && index->dead > index->doc_count / 4)
		sweep(index);
	mean = (double)index->tokens / (double)search_index_chunks(index);
	for (uint32_t i = 0; i < index->doc_count; i++)
		if (index->norms[i] != INDEX_DEAD)
			index->norms[i] = search_lucene_norm(
			    (double)index->docs[i].length, mean);
}
