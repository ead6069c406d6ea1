/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Function words of English, Persian, Arabic, Hindi, folded; question words
 * too: they say what is asked for, not what it is about. The tokenizer leaves
 * them unstemmed, so that the list is in plain spelling. Sorted, searched by
 * bisection.
 */
#include <stdlib.h>
#include <pthread.h>
#include <string.h>

#include "text/text_internal.h"

static const char words[] =
    "a an and are as at be but by for if in into is it no not of on or such "
    "that the their then there these they this to was will with "
    "i me my we our ours you your yours he him his she her hers its them theirs "
    "what which who whom whose when where why how do does did has have had "
    "am were been being from about can could would should shall may might "
    "must than so also many much "
    "از به با در را که و یا تا بر برای این ان ها های هم هر اگر اما ولی نیز "
    "است بود شد شده می نمی ای اند ام یک خود او انها ما من تو شما ایشان انان "
    "چه چی چیست چیزی کدام کدامند کجا کجاست کی کیست چرا چگونه چطور چند چندمین چقدر "
    "ایا بودند شدند باشد باشند هست هستند نیست نیستند کرد کردند کرده کند "
    "کنند دارد دارند داشت داشتند داد بوده میشود شود شوند توسط پس پیش روی زیر "
    "چنین همین همان بین دیگر بی جز "
    "من في فی علی الی عن ما ماذا متی این کیف کم لماذا هل هو هی هم الذی التی "
    "الذین هذا هذه ذلک تلک کان کانت یکون تکون قد لقد لم لن لا ان او ثم "
    "بعض عند مع کل ای اي لدی منذ حتی التي و "
    "के का की को में है हैं से पर ने और या यह वह इस उस कि क्या कौन कब कहाँ कहां "
    "क्यों कैसे कितने कितनी कितना किस किसने किसे किन था थे थी हो होता होती एक "
    "भी तो ही कर लिए द्वारा गया गई गए जो साथ नहीं";

#define STOP_MAX 400
static char storage[sizeof(words)];
static const char *sorted[STOP_MAX];
static size_t sorted_count;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int
compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
sort_words(void)
{
	char *save = NULL, *word;

	memcpy(storage, words, sizeof(words));
	for (word = strtok_r(storage, " ", &save); word != NULL;
	     word = strtok_r(NULL, " ", &save)) {
		must(sorted_count < STOP_MAX);
		sorted[sorted_count++] = word;
	}
	qsort(sorted, sorted_count, sizeof(*sorted), compare);
}

bool
text_is_stop(const char *token, size_t len)
{
	char copy[32];
	const char *key = copy;

	if (len == 0 || len >= sizeof(copy))
		return false;
	pthread_once(&once, sort_words);
	memcpy(copy, token, len);
	copy[len] = '\0';
	return bsearch(&key, sorted, sorted_count, sizeof(*sorted), compare) !=
	       NULL;
}
