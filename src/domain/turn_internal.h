/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_TURN_INTERNAL_H
#define XIN_DOMAIN_TURN_INTERNAL_H

#include "binding/retrieve.h"
#include "binding/turn.h"
#include "domain/turn.h"
#include "guard/guard.h"
#include "model/model.h"
#include "script/script.h"
#include "search/search.h"

/* One running turn, for turn.c (its steps) and turn_view.c (how it looks). */
struct turn {
	struct product *product;
	const struct turn_request *request;
	const struct conversation *conversation;
	const char *id;
	struct turn_sink *sink;
	const char *dedup_key;
	struct script_generation *gen; /* NULL = the active one */
	bool trial;                    /* store nothing */
	uint64_t began_ms;             /* wall */

	struct script_session *scripts;
	struct binding_turn binding;
	json_t *brand;   /* the brand module's fields */
	json_t *history; /* messages, oldest first */
	json_t *route;   /* what the brand's route() said */
	json_t *ledger;
	const char *language;

	struct guard_text *message; /* as guarded */
	struct search_hits hits;
	struct retrieval retrieval;
	struct model_reply answer;
	bool asked_model, model_failed;
	struct guard_text *reply; /* the only text that may leave */
	json_t *citations;
};

/* Onto the running span: what a trace tells of a turn. Text only as
 * XIN_TRACE_CONTENT says. */
void turn__trace(const struct turn *turn, const char *outcome);
/* What route() chose: "answer" unless it says. */
const char *turn__route_name(const struct turn *turn);
/* New references. The turn as its scripts see it, with this text; as the caller
 * gets it; and what happened, for replay and for people. */
json_t *turn__view(const struct turn *turn, const char *text);
json_t *turn__body(const struct turn *turn, const char *outcome);
json_t *turn__capsule(const struct turn *turn, const char *outcome);

#endif
