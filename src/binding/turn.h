/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BINDING_TURN_H
#define XIN_BINDING_TURN_H

#include <stdint.h>

/*
 * What a brand's hooks (route, reply) may reach during one turn. The domain
 * fills it and gives it to the session with script_session_set_user; it holds
 * until the session is closed. All pointers are borrowed. A script cannot name
 * another brand or conversation: both come from here.
 */
struct store;
struct search;
struct model;
struct embedder;
struct kv;

struct binding_turn {
	const char *brand;
	const char *conversation_id;
	struct store *store;   /* xin.conversation.*; NULL = not available */
	struct search *search; /* xin.search.find; NULL = not available */
	struct embedder *embedder; /* for xin.search.find; NULL = lexical */
	struct model *model;       /* xin.model.chat; NULL = not available */
	struct kv *kv;             /* xin.kv.*; NULL = not available */
	/* What the hooks spent; the domain adds it to the turn's. */
	struct {
		int64_t prompt_tokens, completion_tokens;
		uint64_t waited_us; /* for services */
	} spent;
};

#endif
