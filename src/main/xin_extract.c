/* SPDX-License-Identifier: Apache-2.0 */
/* `xin extract-child` as a program of its own, for its few libraries. */
#include <stdio.h>
#include <string.h>

#include "extract/extract.h"

int
main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "extract-child") == 0)
		return extract_child_main(argc - 1, argv + 1);
	fputs("xin-extract is run by xin for each document\n", stderr);
	return 2;
}
