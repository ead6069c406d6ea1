/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_FAULT_H
#define XIN_BASE_FAULT_H

/*
 * Named points where a test makes the process fail: XIN_FAULT="point:action"
 * (kill = SIGKILL to itself). Compiled out unless XIN_FAULTS is defined.
 */
#ifdef XIN_FAULTS
void fault_at(const char *point);
#else
static inline void
fault_at(const char *point)
{
	(void)point;
}
#endif

#endif
