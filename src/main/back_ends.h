/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MAIN_BACK_ENDS_H
#define XIN_MAIN_BACK_ENDS_H

#include <stdbool.h>
#include "base/error.h"
#include "domain/product.h"

/* What the services stand on, chosen by the settings: embedded (SQLite, a
 * folder, the extractive answerer) unless a setting names something else. */

/* ERR_CONFIG names every setting that a role of several processes misses. */
enum err_code back_ends_shared(const char *role);
/* XIN_DATA_DIR, made when missing. */
enum err_code back_ends_folder(void);
/* Open all; loops run already. `migrate`: bring an older PostgreSQL schema up
 * to date instead of refusing it. Blocks: main thread. On an error
 * back_ends_close closes what was opened. */
enum err_code back_ends_open(struct product *product, bool migrate);
/* After the loops have stopped. */
void back_ends_close(struct product *product);

#endif
