/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_LOG_INTERNAL_H
#define XIN_BASE_LOG_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

/* log_out.c: a whole line to the log's descriptor; never blocks while the
 * writer runs. Takes no part in formatting. */
void log_out__line(const char *line, size_t len);
void log_out__descriptor(int fd);
/* Whose line this is: the task's service, else the process' owner. */
const char *log__service(const struct task *task);

/* log_limit.c: may this line be written? `suppressed_out` gets how many like
 * it were not since the last one that was. */
bool log_limit__pass(
    enum log_level level, const char *event, uint64_t *suppressed_out);
/* Some were suppressed in a second that is over, or is not yet. */
bool log_limit__owes(void);
/* Say them: of all, or of the seconds that are over. */
void log_limit__settle(bool all);

#endif
