/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SUPPORT_QDRANT_SERVER_H
#define XIN_SUPPORT_QDRANT_SERVER_H

/*
 * The double of Qdrant (tests/support/qdrant_double.py) as a child process. It
 * dies with the thread that started it. Panics when it does not come up. With
 * XIN_QDRANT_RECORD=FILE it writes down what it was asked, for
 * tests/integration/qdrant_oracle_test.py.
 */
struct qdrant_server;

/* NULL when there is no python3. `port` 0 = any free one; `api_key` may be
 * NULL. */
struct qdrant_server *qdrant_server_start(int port, const char *api_key);
void qdrant_server_stop(struct qdrant_server *server);
const char *qdrant_server_url(const struct qdrant_server *server);
int qdrant_server_port(const struct qdrant_server *server);

/* On a fiber; they WAIT. Forget all collections and failures. */
void qdrant_server_reset(const struct qdrant_server *server);
/* The next `times` requests whose path has `match` fail; `how` is JSON members
 * such as "\"status\":500". */
void qdrant_server_fail(const struct qdrant_server *server, const char *match,
    int times, const char *how);
/* How many requests of this kind came, as in "PUT /points". */
int qdrant_server_count(const struct qdrant_server *server, const char *kind);

#endif
