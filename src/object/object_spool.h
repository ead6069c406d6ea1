/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_OBJECT_OBJECT_SPOOL_H
#define XIN_OBJECT_OBJECT_SPOOL_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/*
 * Where bytes wait on this machine on their way to or from a store elsewhere.
 * Files have no name from the beginning (O_TMPFILE, or unlinked at once), so
 * that nothing is left behind however the process ends. All of them together
 * stay under one ceiling. Functions block: call them on pool threads.
 */
struct object__spool;
/* Makes the folder, and removes what an old process may have left in it. */
enum err_code object__spool_open(
    const char *folder, uint64_t max_bytes, struct object__spool **spool_out);
void object__spool_free(struct object__spool *spool);

enum err_code object__spool_file(struct object__spool *spool, int *fd_out);
/* Append at the end of the file. ERR_DISK_FULL; ERR_OVERLOADED when the spool
 * is at its ceiling. */
enum err_code object__spool_add(
    struct object__spool *spool, int fd, const void *data, size_t len);
/* Make it empty again. */
enum err_code object__spool_empty(struct object__spool *spool, int fd);
/* Close it; its bytes are gone. */
void object__spool_close(struct object__spool *spool, int fd);

#endif
