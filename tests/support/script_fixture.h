/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SUPPORT_SCRIPT_FIXTURE_H
#define XIN_SUPPORT_SCRIPT_FIXTURE_H

#include "script/script.h"

/* A generation from names and texts: generation_of(name, text, ..., NULL). */
struct script_generation *generation_of(const char *name, ...)
    __attribute__((sentinel));

/* Run `body` as brands/alpha.lua's route(message, ...) (its first line is line
 * 3 of the file) with `args` (JSON array) under default limits, a 50 ms CPU
 * budget. The second form gives the code, the first NULL on failure. */
json_t *run_lua(const char *body, const char *args);
enum err_code run_lua_rc(
    const char *body, const char *args, json_t **result_out);

#endif
