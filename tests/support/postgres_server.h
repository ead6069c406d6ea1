/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SUPPORT_POSTGRES_SERVER_H
#define XIN_SUPPORT_POSTGRES_SERVER_H

/*
 * A real PostgreSQL for tests, through tests/support/postgres_server.py: it
 * ends with this process, however that ends. One for the whole program.
 */

/* Its URL, with the password; NULL when there is none here: the reason is on
 * stderr, and the tests are to be skipped by name. Starts it when first called,
 * which blocks for some seconds. */
const char *postgres_server_url(void);
/* Blocks until done. */
void postgres_server_kill(void);  /* SIGKILL */
void postgres_server_start(void); /* again, when it does not run */
void postgres_server_stop(void);
void postgres_server_freeze(void); /* SIGSTOP */
void postgres_server_thaw(void);
/* A new, empty database, and its URL (mem_free). */
char *postgres_server_fresh(void);
/* Ends it and removes its folder. */
void postgres_server_done(void);

#endif
