/* SPDX-License-Identifier: Apache-2.0 */
/* Finding and reading test data that is not part of the repository. */
#include "shared_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void
shared_data_path(const char *name, char *path, size_t size)
{
	const char *root = getenv("XIN_SHARED_DATA");

	if (root == NULL || root[0] == '\0')
		root = access("../shared/data", R_OK) == 0
			   ? "../shared/data"
			   : "../../shared/data";
	snprintf(path, size, "%s/%s", root, name);
}

bool
shared_data_read(const char *path, struct buf *out)
{
	FILE *file = fopen(path, "rb");
	char piece[4096];
	size_t n;

	buf_init(out, 0);
	if (file == NULL)
		return false;
	while ((n = fread(piece, 1, sizeof(piece), file)) > 0)
		buf_add(out, piece, n);
	fclose(file);
	return true;
}
