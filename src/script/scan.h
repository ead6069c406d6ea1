/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_SCRIPT_SCAN_H
#define XIN_SCRIPT_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "script/script.h"

/* Undeclared and assigned globals, and writes of functions to module locals,
 * in bytecode that script__compile made. */
void script__scan(const char *file, const char *code, size_t len,
    bool (*known)(const char *name), struct script_report *report);

#endif
