/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_EMBED_H
#define XIN_BASE_EMBED_H

#include <stddef.h>
#include <stdint.h>

/* Files that the program carries inside (CMakeLists.txt lists them), by their
 * path in the repository; each is followed by a NUL that `len` leaves out. */
struct embed {
	const char *name;
	const char *data;
	uint64_t len;
};
/* NULL when there is none. */
const struct embed *embed_find(const char *name);
/* All of them; ends with name NULL. */
const struct embed *embed_all(void);
/* Migrations: of the files "<folder>NNNN_<name>.sql" the one with the lowest
 * number over `after`, and that number; NULL at the end. */
const struct embed *embed_migration(
    const char *folder, int after, int *number_out);

#endif
