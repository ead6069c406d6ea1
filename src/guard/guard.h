/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_GUARD_GUARD_H
#define XIN_GUARD_GUARD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"
#include "script/script.h"

/*
 * The guard stage: a brand's guardrails, run in the order that the brand names
 * them. Text for a client exists only as a struct guard_text, and only this
 * folder makes one: whoever writes to a client takes nothing else.
 *
 * A guard that fails is decided by its `on_error`; one that cannot run for a
 * reason outside it blocks. Shadow guards run and are recorded, never act.
 */
enum guard_stage { GUARD_INPUT, GUARD_OUTPUT, GUARD_DOCUMENT };
const char *guard_stage_name(enum guard_stage stage);
bool guard_stage_parse(const char *name, enum guard_stage *stage_out);

struct guard_context {
	const char *language;
	const char *user_id;
};

/* Text that passed a stage. */
struct guard_text;
const char *guard_text_str(const struct guard_text *text);
size_t guard_text_len(const struct guard_text *text);
/* True when a guard blocked: the text is then the sentence to show instead. */
bool guard_text_blocked(const struct guard_text *text);
const char *guard_text_reason(const struct guard_text *text); /* or NULL */
bool guard_text_rewritten(const struct guard_text *text);
void guard_text_free(struct guard_text *text);

/*
 * Run the stage. `guardrails` is the brand's list ([{name, settings, shadow}]);
 * `blocked_text` is what stands for blocked text. Appends to `ledger` (array)
 * one {"guard","stage","action","reason","ms","shadow"} for each guard that
 * was due. Fails only when the turn as a whole cannot go on (cancelled,
 * deadline). WAITS.
 */
enum err_code guard_run(struct script_session *session,
    const json_t *guardrails, enum guard_stage stage,
    const struct guard_context *context, const char *text, size_t len,
    const char *blocked_text, json_t *ledger, struct guard_text **text_out);

#endif
