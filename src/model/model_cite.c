/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what a model said to a reply: its thinking is dropped, its marks "[2]",
 * "[1, 3]", "【2】", "[۲]" become citations and are numbered anew, and a text
 * that no passage backs is no answer.
 */
#include <string.h>

#include "base/str.h"
#include "model/model_backend.h"
#include "model/model_extract.h"

#define MARKS_MAX 8
#define BACKED    0.5 /* of an unmarked text's terms, in one passage */
/* Longer bracketed numbers are the text's own: years, sizes. */
#define NUMBER_MAX 99

struct mark {
	size_t numbers[MARKS_MAX];
	size_t count;
	size_t len; /* bytes of the text */
};

static bool
takes(const char **at, const char *end, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(end - *at) < len || memcmp(*at, word, len) != 0)
		return false;
	*at += len;
	return true;
}

/* ASCII, Arabic (U+0660) and Persian (U+06F0) digits; -1 when none. */
static int
take_digit(const char **at, const char *end)
{
	const unsigned char *c = (const unsigned char *)*at;

	if (*at < end && c[0] >= '0' && c[0] <= '9') {
		*at += 1;
		return c[0] - '0';
	}
	if (end - *at >= 2 && c[0] == 0xD9 && c[1] >= 0xA0 && c[1] <= 0xA9) {
		*at += 2;
		return c[1] - 0xA0;
	}
	if (end - *at >= 2 && c[0] == 0xDB && c[1] >= 0xB0 && c[1] <= 0xB9) {
		*at += 2;
		return c[1] - 0xB0;
	}
	return -1;
}

/* 0 when there is no number, or a longer one. */
static size_t
take_number(const char **at, const char *end)
{
	size_t number = 0;
	int digit;

	while ((digit = take_digit(at, end)) >= 0 && number <= NUMBER_MAX)
		number = number * 10 + (size_t)digit;
	return number <= NUMBER_MAX ? number : 0;
}

static void
add_numbers(struct mark *mark, size_t from, size_t to)
{
	for (size_t n = from; n <= to && mark->count < MARKS_MAX; n++)
		mark->numbers[mark->count++] = n;
}

/* "[" number, number, from-to "]", or the same in 【】 with "†..." after. */
static bool
read_mark(const char *at, const char *end, struct mark *mark)
{
	const char *from = at;
	bool wide = takes(&at, end, "【");
	size_t first, last;

	mark->count = 0;
	if (!wide && !takes(&at, end, "["))
		return false;
	takes(&at, end, "^");
	for (;;) {
		first = last = take_number(&at, end);
		if (takes(&at, end, "-") || takes(&at, end, "–"))
			last = take_number(&at, end);
		if (first == 0 || last < first)
			return false;
		add_numbers(mark, first, last);
		if (!takes(&at, end, ",") && !takes(&at, end, "،") &&
		    !takes(&at, end, ";"))
			break;
		takes(&at, end, " ");
	}
	if (wide && takes(&at, end, "†")) {
		at = memmem(at, (size_t)(end - at), "】", strlen("】"));
		if (at == NULL)
			return false;
	}
	if (!takes(&at, end, wide ? "】" : "]"))
		return false;
	if (at < end && *at == '(')
		return false; /* a link */
	mark->len = (size_t)(at - from);
	return true;
}

/* The passage's place among the citations, from 1; 0 when there is no room. */
static size_t
cite(struct model_reply *reply, size_t passage)
{
	const size_t max = sizeof(reply->cited) / sizeof(reply->cited[0]);

	for (size_t i = 0; i < reply->cited_count; i++)
		if (reply->cited[i] == passage)
			return i + 1;
	if (reply->cited_count == max)
		return 0;
	reply->cited[reply->cited_count++] = passage;
	return reply->cited_count;
}

/* Marks that name no passage go, with the space before them. */
static void
say_mark(const struct model_request *request, const struct mark *mark,
    struct model_reply *reply)
{
	bool said = false;

	for (size_t i = 0; i < mark->count; i++) {
		size_t number = mark->numbers[i];
		size_t place = number <= request->passage_count
				   ? cite(reply, number - 1)
				   : 0;

		if (place == 0)
			continue;
		buf_addf(&reply->text, "[%zu]", place);
		said = true;
	}
	if (!said && reply->text.len > 0 &&
	    reply->text.data[reply->text.len - 1] == ' ')
		reply->text.data[--reply->text.len] = '\0';
}

static void
say(const struct model_request *request, const char *text, size_t len,
    struct model_reply *reply)
{
	const char *end = text + len;
	struct mark mark;

	while (text < end) {
		size_t plain = 0;

		while (text + plain < end && text[plain] != '[' &&
		       text[plain] != '\xE3')
			plain++;
		buf_add(&reply->text, text, plain);
		text += plain;
		if (text < end && read_mark(text, end, &mark)) {
			say_mark(request, &mark, reply);
			text += mark.len;
		} else if (text < end) {
			buf_addc(&reply->text, *text++);
		}
	}
}

/* Which of the reply's terms stand in which passage: how well it is backed,
 * and by whom where the model set no marks. */
static double
backing(const struct model_request *request, struct model_reply *reply)
{
	struct model_request said = { .question = buf_str(&reply->text),
		.passages = request->passages,
		.passage_count = request->passage_count };
	struct model_reading reading;
	bool marked = reply->cited_count > 0;
	uint64_t terms = 0;
	double share;

	model__read(&said, &reading);
	for (size_t i = 0; !marked && i < reading.passage_count; i++)
		if (model__weight(&reading, reading.passage_terms[i]) >= BACKED)
			cite(reply, i);
	for (size_t i = 0; i < reply->cited_count; i++)
		if (reply->cited[i] < reading.passage_count)
			terms |= reading.passage_terms[reply->cited[i]];
	share = model__weight(&reading, terms);
	model__reading_done(&reading);
	return share;
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Without "<think>...</think>" at the beginning, and white space around. */
static void
strip(const char **text, size_t *len)
{
	const char *at = *text, *end = at + *len, *thought;

	while (at < end && is_space(*at))
		at++;
	if (takes(&at, end, "<think>")) {
		thought = memmem(at, (size_t)(end - at), "</think>", 8);
		at = thought != NULL ? thought + 8 : end;
	}
	while (at < end && is_space(*at))
		at++;
	while (end > at && is_space(end[-1]))
		end--;
	*text = at;
	*len = (size_t)(end - at);
}

void
model__cite(const struct model_request *request, const char *text, size_t len,
    struct model_reply *reply)
{
	strip(&text, &len);
	if (len > 0 && memmem(text, len, MODEL_NO_ANSWER,
			   strlen(MODEL_NO_ANSWER)) == NULL) {
		say(request, text, len, reply);
		reply->confidence = backing(request, reply);
	}
	reply->answered = reply->cited_count > 0;
	if (reply->answered)
		return;
	buf_clear(&reply->text);
	reply->confidence = 0;
	if (request->no_answer != NULL)
		buf_adds(&reply->text, request->no_answer);
}
