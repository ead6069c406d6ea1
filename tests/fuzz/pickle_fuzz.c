/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a pickle: reading must end within its ceilings, and what reads
 * as plain values must survive being written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "queue/pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
check_again(struct arena *arena, const struct pickle_value *value,
    const struct buf *json)
{
	const struct pickle_value *again;
	struct buf ours, second;

	buf_init(&ours, 1 << 20);
	buf_init(&second, 65536);
	pickle_begin(&ours);
	if (pickle_add_value(&ours, value) == OK) {
		pickle_end(&ours);
		if (pickle_read(arena, ours.data, ours.len, &again) == OK) {
			must(pickle_to_json(again, &second) == OK);
			must(strcmp(buf_str(json), buf_str(&second)) == 0);
		}
	}
	buf_done(&ours);
	buf_done(&second);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct pickle_value *value;
	struct arena arena;
	struct buf json;

	arena_init(&arena, 4 << 20);
	buf_init(&json, 65536);
	if (pickle_read(&arena, data, len, &value) == OK) {
		pickle_get(value, "k");
		if (pickle_to_json(value, &json) == OK)
			check_again(&arena, value, &json);
	}
	buf_done(&json);
	arena_done(&arena);
	return 0;
}
