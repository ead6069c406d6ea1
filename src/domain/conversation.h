/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_CONVERSATION_H
#define XIN_DOMAIN_CONVERSATION_H

#include <stdint.h>
#include "base/error.h"

/*
 * Messages of one conversation run one after the other, in the order in which
 * they came. A conversation is owned by the loop of its hash; these functions
 * run on that loop. Replicas that share a kv take turns by a lease in it, first
 * come first served within each replica.
 */
struct kv;

/* Enter the conversation; at most 32 others may be waiting (ERR_OVERLOADED).
 * WAITS. */
enum err_code conversation_enter(
    struct kv *kv, const char *id, uint64_t deadline_ms);
/* WAITS where the kv is shared. */
void conversation_leave(struct kv *kv, const char *id);

#endif
