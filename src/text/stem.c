/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stemming of folded words: Porter for Latin letters (libstemmer, one stemmer
 * for each thread: it is not shareable), and light affix stripping for Arabic
 * letters, where Arabic and Persian cannot be told apart word by word. The
 * affixes are those of Lucene's ArabicStemmer and PersianStemmer.
 */
#include <libstemmer.h>
#include <pthread.h>
#include <string.h>

#include "base/error.h"
#include "text/text_internal.h"

static pthread_key_t stemmer_key;
static pthread_once_t stemmer_once = PTHREAD_ONCE_INIT;

static void
free_stemmer(void *stemmer)
{
	sb_stemmer_delete(stemmer);
}

static void
make_key(void)
{
	must(pthread_key_create(&stemmer_key, free_stemmer) == 0);
}

static struct sb_stemmer *
stemmer_of_thread(void)
{
	struct sb_stemmer *stemmer;

	pthread_once(&stemmer_once, make_key);
	stemmer = pthread_getspecific(stemmer_key);
	if (stemmer == NULL) {
		stemmer = sb_stemmer_new("porter", "UTF_8");
		must(stemmer != NULL);
		pthread_setspecific(stemmer_key, stemmer);
	}
	return stemmer;
}

static size_t
stem_latin(char *word, size_t len)
{
	struct sb_stemmer *stemmer = stemmer_of_thread();
	const sb_symbol *stem;
	size_t n;

	stem = sb_stemmer_stem(stemmer, (const sb_symbol *)word, (int)len);
	if (stem == NULL) /* out of memory: the word as it is */
		return len;
	n = (size_t)sb_stemmer_length(stemmer);
	if (n == 0) /* "s": a word of one letter is no ending */
		return len;
	if (n > len) /* "hop" from "hopp", "hope" from "hop": never longer */
		n = len;
	memcpy(word, stem, n);
	return n;
}

/* Letters of the Arabic block take two bytes each. */
#define LETTER 2

static const char *const prefixes[] = { "وال", "بال", "کال", "فال", "ال",
	"لل" };
static const char *const suffixes[] = { "ها", "های", "ترین", "تر", "ان", "ات",
	"ون", "ین", "یه", "یی", "ه", "ی" };

static size_t
stem_arabic(char *word, size_t len)
{
	size_t i, n;

	for (i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		n = strlen(prefixes[i]);
		if (len >= n + 3 * LETTER &&
		    memcmp(word, prefixes[i], n) == 0) {
			memmove(word, word + n, len - n);
			len -= n;
			break;
		}
	}
	for (i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		n = strlen(suffixes[i]);
		if (len >= n + 2 * LETTER &&
		    memcmp(word + len - n, suffixes[i], n) == 0)
			len -= n;
	}
	return len;
}

size_t
text__stem(char *word, size_t len, bool arabic)
{
	return arabic ? stem_arabic(word, len) : stem_latin(word, len);
}
