/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SUPPORT_S3_SERVER_H
#define XIN_SUPPORT_S3_SERVER_H

#include <stdbool.h>

/*
 * A real S3 server for tests, over a folder, on a free port of 127.0.0.1; it
 * dies with this process. Start it before loops start. The settings STORAGE_*
 * and XIN_DATA_DIR then lead to it.
 */
#define S3_SERVER_REGION "eu-test-1"
#define S3_SERVER_KEY    "xin-test-key"
#define S3_SERVER_SECRET "xin-test-secret"

/* False, with a line on stderr, when the server cannot be had here. */
bool s3_server_start(const char *folder);
/* From any thread but that of the loops' fibers it blocks. The second start
 * has the same port and the objects of before. */
void s3_server_kill(void);
void s3_server_again(void);
void s3_server_stop(void);
/* STOP and CONT: a server that holds its connections and says nothing. */
void s3_server_freeze(bool frozen);
const char *s3_server_url(void);

#endif
