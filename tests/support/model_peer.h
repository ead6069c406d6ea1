/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SUPPORT_MODEL_PEER_H
#define XIN_SUPPORT_MODEL_PEER_H

#include <jansson.h>
#include <stdbool.h>

/*
 * tests/support/model_server.py as a child of the test: its faults are told
 * there. The child ends with us, however we end. All calls block.
 */
/* False when python3 cannot be had. Vectors have `dimensions` numbers. */
bool model_peer_start(int dimensions);
/* "http://127.0.0.1:port/v1"; valid until the stop. */
const char *model_peer_url(void);
/* What comes next: POST /control with this JSON. */
void model_peer_script(const char *json);
/* The calls since the last forget: {"calls": [...], "connections": n}. */
json_t *model_peer_told(void);
size_t model_peer_calls(void);
void model_peer_forget(void);
void model_peer_stop(void);

#endif
