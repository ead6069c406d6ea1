/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_CHECKPOINT_H
#define XIN_DOMAIN_CHECKPOINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"
#include "binding/job.h"
#include "domain/product.h"
#include "store/store.h"

/*
 * What the finished steps of a document made, kept in the object store under
 * checkpoints/<source>/<version>, so that the next attempt (after a failure, a
 * kill, or POST .../retry) goes on with the step that did not end. One object
 * a version, replaced after each step that was dear to run, dropped when the
 * document is ready, deleted or replaced.
 *
 * It counts only for what it was `made_with`, the scripts' generation, the
 * program and the embedding model in words: with another one every step may say
 * something else, so the document begins anew.
 */
struct checkpoint {
	size_t next;     /* the step to go on with, from 0 */
	int64_t indexed; /* chunks that this step had put already */
	json_t *steps;   /* the ended ones, as the row shows them */
	bool outdated;   /* there is one that does not count any more */
};

/* Keep the job as it is before step `next`. A failure is logged, gives false,
 * and costs only the next attempt's time. WAITS. */
bool checkpoint_save(struct product *product, const struct source *source,
    const char *made_with, const struct checkpoint *checkpoint,
    const struct binding_job *job);
/* Fill the job from what was kept. False: there is none that counts, and the
 * job is as it was. *checkpoint_out: the caller frees steps. WAITS. */
bool checkpoint_load(struct product *product, const struct source *source,
    const char *made_with, struct binding_job *job,
    struct checkpoint *checkpoint_out);
void checkpoint_drop(
    struct product *product, const char *source_id, int64_t version);

#endif
