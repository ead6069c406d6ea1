/* SPDX-License-Identifier: Apache-2.0 */
/* Reading an answer of the embeddings API into unit vectors. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/embed_internal.h"

/* Providers round; what is further off is not normalised at all. */
#define NEARLY_ONE 1e-4

static enum err_code
broken(const char *what)
{
	return err_set(
	    ERR_UPSTREAM, "embeddings: the provider's answer %s", what);
}

/* Base64 (RFC 4648 section 4) of float32; false unless `size` bytes come of it
 * exactly. x86 and ARM are little-endian, as the wire is. */
static bool
read_base64(const char *text, size_t len, void *out, size_t size)
{
	uint8_t *at = out;
	uint32_t bits = 0;
	unsigned have = 0;
	size_t n = 0;

	while (len > 0 && text[len - 1] == '=')
		len--;
	for (size_t i = 0; i < len; i++) {
		int value = str_base64_value(text[i]);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		if (n == size)
			return false;
		at[n++] = (uint8_t)(bits >> have);
	}
	return n == size;
}

static size_t
length_of(const json_t *embedding)
{
	size_t len;
	const char *text;

	if (json_is_array(embedding))
		return json_array_size(embedding);
	text = json_string_value(embedding);
	len = json_string_length(embedding);
	while (len > 0 && text[len - 1] == '=')
		len--;
	return len * 3 / 4 / sizeof(float);
}

static bool
read_numbers(const json_t *array, float *out)
{
	const json_t *number;
	size_t i;

	json_array_foreach (array, i, number) {
		if (!json_is_number(number))
			return false;
		out[i] = (float)json_number_value(number);
	}
	return true;
}

static bool
normalise(float *vector, size_t dimensions)
{
	double sum = 0, length;

	for (size_t i = 0; i < dimensions; i++)
		sum += (double)vector[i] * (double)vector[i];
	length = sqrt(sum);
	if (!isfinite(length) || length < 1e-12)
		return false;
	if (fabs(length - 1) > NEARLY_ONE)
		for (size_t i = 0; i < dimensions; i++)
			vector[i] = (float)((double)vector[i] / length);
	return true;
}

static enum err_code
read_one(const json_t *embedding, size_t dimensions, float *out)
{
	bool good;

	if (length_of(embedding) != dimensions)
		return err_set(ERR_UPSTREAM,
		    "embeddings: the provider answered a vector of %zu "
		    "numbers, %zu were expected: see XIN_EMBEDDINGS_NAME and "
		    "XIN_EMBEDDINGS_DIMENSIONS",
		    length_of(embedding), dimensions);
	if (json_is_array(embedding))
		good = read_numbers(embedding, out);
	else
		good = read_base64(json_string_value(embedding),
		    json_string_length(embedding), out,
		    dimensions * sizeof(float));
	if (!good)
		return broken("holds no vector of numbers");
	if (!normalise(out, dimensions))
		return broken("holds a vector without a direction");
	return OK;
}

static enum err_code
read_data(const json_t *data, size_t count, size_t dimensions, float *vectors)
{
	bool *seen = mem_zero(count);
	enum err_code rc = OK;
	const json_t *item;
	size_t i;

	if (json_array_size(data) != count)
		rc = broken("has not one vector for each text");
	json_array_foreach (data, i, item) {
		int64_t index = json_int(item, "index", (int64_t)i);

		if (rc != OK)
			break;
		if (index < 0 || index >= (int64_t)count || seen[index]) {
			rc = broken("has wrong indices");
			break;
		}
		seen[index] = true;
		rc = read_one(json_object_get(item, "embedding"), dimensions,
		    vectors + (size_t)index * dimensions);
	}
	mem_free(seen);
	return rc;
}

enum err_code
embed__read(const char *text, size_t len, size_t count, size_t *dimensions,
    float **vectors_out)
{
	json_auto json_t *answer = NULL;
	const json_t *data;
	float *vectors;
	size_t length;
	enum err_code rc;

	if (json_parse(text, len, &answer) != OK)
		return broken("is no JSON");
	data = json_object_get(answer, "data");
	length = *dimensions;
	if (length == 0)
		length = length_of(
		    json_object_get(json_array_get(data, 0), "embedding"));
	if (length == 0 || length > EMBED_DIMENSIONS_MAX)
		return broken("holds no vector");
	vectors = mem_alloc(count * length * sizeof(*vectors));
	rc = read_data(data, count, length, vectors);
	if (rc != OK) {
		mem_free(vectors);
		return rc;
	}
	*dimensions = length;
	*vectors_out = vectors;
	return OK;
}
