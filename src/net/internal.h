/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_NET_INTERNAL_H
#define XIN_NET_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

/* Header syntax that several files read (RFC 9110 5.6). */
bool net__is_alnum(char c);
bool net__is_token(char c);

enum net_param { NET_PARAM_ABSENT, NET_PARAM_FOUND, NET_PARAM_BAD };
/* The parameter `name` of "; a=b; c=\"d\"", unquoted. BAD: not well formed,
 * given twice, or longer than size - 1. Escaped are \" and \\ alone, because
 * clients send Windows paths as they are. */
enum net_param net__param(
    const char *params, const char *name, char *value, size_t size);

#endif
