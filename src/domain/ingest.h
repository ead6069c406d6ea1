/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_INGEST_H
#define XIN_DOMAIN_INGEST_H

#include <stdint.h>
#include "base/error.h"
#include "domain/product.h"

/*
 * Bring one uploaded document from `pending` to `ready`: claim, fetch, each
 * step of the brand's pipeline (Lua), switch the new version live. The store
 * row says how it ended; the result says what to do with the job.
 */
enum ingest_outcome {
	INGEST_ENDED, /* ready, failed, cancelled, or somebody else's: finish */
	INGEST_RETRY, /* put the job back, due at retry_at */
	INGEST_DEAD,  /* failed for good: keep the job as a dead letter */
};
struct ingest_result {
	enum ingest_outcome outcome;
	int64_t retry_at; /* wall ms */
	bool away;        /* a back end is: the attempt does not count */
	char reason[256];
};

/* `owner` is the lease's name. WAITS. */
void ingest_run(struct product *product, const char *owner, const char *brand,
    const char *source_id, int64_t version, struct ingest_result *result_out);

#endif
