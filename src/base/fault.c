/* SPDX-License-Identifier: Apache-2.0 */
/* Fault points of test builds; an empty file in releases. */
#include "base/fault.h"

#ifdef XIN_FAULTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
fault_at(const char *point)
{
	const char *wanted = getenv("XIN_FAULT");
	size_t len = strlen(point);

	if (wanted != NULL && strncmp(wanted, point, len) == 0 &&
	    strcmp(wanted + len, ":kill") == 0)
		kill(getpid(), SIGKILL);
}
#else
extern const char fault_compiled_out;
const char fault_compiled_out = 1;
#endif
