/* SPDX-License-Identifier: Apache-2.0 */
/* The table of embedded files that cmake/embed.cmake writes. */
#include "base/embed.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"

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

/* 0 when the name is not that of a migration. */
static int
number_of(const char *name, const char *folder)
{
	int number = 0;

	if (!str_starts(name, folder) || !str_ends(name, ".sql"))
		return 0;
	name += strlen(folder);
	for (int i = 0; i < 4; i++) {
		if (!isdigit((unsigned char)name[i]))
			return 0;
		number = number * 10 + (name[i] - '0');
	}
	return name[4] == '_' ? number : 0;
}

const struct embed *
embed_migration(const char *folder, int after, int *number_out)
{
	const struct embed *best = NULL;
	int lowest = 0;

	for (const struct embed *e = embed_table; e->name != NULL; e++) {
		int number = number_of(e->name, folder);

		if (number <= after || (best != NULL && number >= lowest))
			continue;
		best = e;
		lowest = number;
	}
	if (best != NULL)
		*number_out = lowest;
	return best;
}
