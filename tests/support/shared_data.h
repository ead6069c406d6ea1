/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SUPPORT_SHARED_DATA_H
#define XIN_SUPPORT_SHARED_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"

/* Test data outside the repository: under $XIN_SHARED_DATA, else beside it
 * (../shared/data, or one further up from a worktree). */
void shared_data_path(const char *name, char *path, size_t size);
/* A whole file; false when it cannot be read. buf_done. */
bool shared_data_read(const char *path, struct buf *out);

#endif
