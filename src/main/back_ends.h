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
/* Bring the store's schema up to date. The embedded one does so by itself. The
 * files applied and the version reached, 0 for the embedded one. Blocks. */
enum err_code back_ends_migrate(int *applied_out, int *version_out);
/* Open all; loops run already. Blocks: main thread. On an error back_ends_close
 * closes what was opened. */
enum err_code back_ends_open(struct product *product);
/* For a copy: the embedded database's file, and the folder of the objects, NULL
 * when a storage service has them; mem_free. ERR_CONFIG when the store is
 * PostgreSQL. */
enum err_code back_ends_files(char **database_out, char **objects_out);
/* After the loops have stopped. */
void back_ends_close(struct product *product);

/* ---- one by one, for xin doctor ---- */
struct checkup;
struct back_end {
	const char *name;
	const char *settings;                           /* that choose it */
	enum err_code (*open)(struct product *product); /* WAITS */
	/* NULL: nothing more to look at. WAITS. */
	enum err_code (*check)(
	    struct product *product, struct checkup *checkup);
};
/* Ended by a NULL name. */
extern const struct back_end back_ends[];
/* The embedded database, where one is needed; before the others. Blocks. */
enum err_code back_ends_database(void);

#endif
