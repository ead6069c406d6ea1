/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_TEXT_MATCH_CHECK_H
#define XIN_TEXT_MATCH_CHECK_H

#include <stdbool.h>
#include <stddef.h>

/* Checks beyond a pattern, inside this folder: "luhn" (ISO/IEC 7812-1), "iban"
 * (ISO 13616), "ir_national_id". Separators are skipped, digits are ASCII. */
bool match__check_known(const char *check);
bool match__check(const char *check, const char *text, size_t len);

#endif
