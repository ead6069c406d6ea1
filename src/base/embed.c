/* SPDX-License-Identifier: Apache-2.0 */
/* The table of embedded files that cmake/embed.cmake writes. */
#include "base/embed.h"

#include <string.h>

extern const struct embed embed_table[] __attribute__((visibility("hidden")));

const struct embed *
embed_find(const char *name)
{
	for (const struct embed *e = embed_table; e->name != NULL; e++)
		if (strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

const struct embed *
embed_all(void)
{
	return embed_table;
}
